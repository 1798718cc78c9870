//! The Reed–Solomon code over one row of all volumes: GF(2^16), any K of the K + M sectors give the others.
//!
//! The code is the high-rate one of Leopard-RS, as `reed-solomon-simd` computes it; `docs/volume-format.md` gives it as a formula, and a test below
//! computes that formula the slow way. Positions in a row are coded apart from each other, 64 bytes at a time, so rows can be put together: shards here are the
//! same rows of each volume.

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};

/// A code of K data and M parity shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code {
    data: usize,
    parity: usize,
}

impl Code {
    /// The code for these numbers of volumes; there must be at least one of each kind.
    pub(crate) fn new(data: u16, parity: u16) -> Self {
        Self { data: data.into(), parity: parity.into() }
    }

    /// Gives each parity shard with its number, from 0, to `take`. All shards have one size, a multiple of 64 bytes.
    pub(crate) fn encode(
        self,
        shards: &[impl AsRef<[u8]>],
        mut take: impl FnMut(usize, &[u8]),
    ) -> Result<(), reed_solomon_simd::Error> {
        let size = shards.first().map_or(0, |shard| shard.as_ref().len());
        let mut encoder = HighRateEncoder::new(self.data, self.parity, size, DefaultEngine::new(), None)?;
        for shard in shards {
            encoder.add_original_shard(shard)?;
        }
        encoder.encode()?.recovery_iter().enumerate().for_each(|(number, shard)| take(number, shard));
        Ok(())
    }

    /// Gives each missing data shard with its number to `take`. `shards` are at least K of those that are there, with numbers as volumes have them.
    pub(crate) fn decode<'s>(
        self,
        size: usize,
        shards: impl IntoIterator<Item = (usize, &'s [u8])>,
        mut take: impl FnMut(usize, &[u8]),
    ) -> Result<(), reed_solomon_simd::Error> {
        let mut decoder = HighRateDecoder::new(self.data, self.parity, size, DefaultEngine::new(), None)?;
        for (number, shard) in shards {
            match number.checked_sub(self.data) {
                None => decoder.add_original_shard(number, shard)?,
                Some(parity) => decoder.add_recovery_shard(parity, shard)?,
            }
        }
        decoder.decode()?.restored_original_iter().for_each(|(number, shard)| take(number, shard));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The formula of the specification, with arithmetic as it is written there.
    mod by_the_book {
        const POLYNOMIAL: u32 = 0x1_002D;
        const BASIS: [u16; 16] = [
            0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012, 0x6C98, 0x10D8, 0x6A72, 0xB900,
            0xFDB8, 0xFB34, 0xFF38, 0x991E,
        ];

        /// From coordinates in the basis to the polynomial.
        fn polynomial(element: u16) -> u16 {
            (0..16).filter(|bit| element >> bit & 1 == 1).fold(0, |sum, bit| sum ^ BASIS[bit])
        }

        /// The inverse, by elimination: the basis is a basis.
        fn coordinates(polynomial: u16) -> u16 {
            let mut rows: Vec<(u16, u16)> = (0..16).map(|bit| (BASIS[bit], 1 << bit)).collect();
            let (mut rest, mut found) = (polynomial, 0);
            for bit in (0..16).rev() {
                let Some(at) = rows.iter().position(|(row, _)| row >> bit == 1) else { continue };
                let (pivot, sum) = rows.remove(at);
                for row in rows.iter_mut().filter(|(row, _)| row >> bit & 1 == 1) {
                    *row = (row.0 ^ pivot, row.1 ^ sum);
                }
                if rest >> bit & 1 == 1 {
                    (rest, found) = (rest ^ pivot, found ^ sum);
                }
            }
            found
        }

        pub(super) fn multiply(left: u16, right: u16) -> u16 {
            let (left, right) = (u32::from(polynomial(left)), u32::from(polynomial(right)));
            let mut product =
                (0..16).filter(|bit| right >> bit & 1 == 1).fold(0, |sum, bit| sum ^ left << bit);
            for bit in (16..32).rev().filter(|bit| *bit < 32) {
                if product >> bit & 1 == 1 {
                    product ^= POLYNOMIAL << (bit - 16);
                }
            }
            coordinates(u16::try_from(product).unwrap())
        }

        pub(super) fn inverse(element: u16) -> u16 {
            // element^(2^16 - 2)
            let (mut power, mut square) = (1_u16, element);
            for _ in 1..16 {
                square = multiply(square, square);
                power = if power == 1 { square } else { multiply(power, square) };
            }
            power
        }

        /// The factor by which data symbol `i` goes into parity symbol `j`.
        pub(super) fn factor(i: u16, j: u16, parity: u16) -> u16 {
            let m = parity.next_power_of_two();
            let product = |elements: &mut dyn Iterator<Item = u16>| elements.fold(1, multiply);
            let above = product(&mut (0..m).map(|k| (m + i) ^ k));
            let below = product(&mut (0..m).filter(|&k| k != j).map(|k| j ^ k));
            multiply(above, inverse(multiply((m + i) ^ j, below)))
        }
    }

    fn symbol(shard: &[u8], at: usize) -> u16 {
        let block = at / 32 * 64 + at % 32;
        u16::from(shard[block]) | u16::from(shard[block + 32]) << 8
    }

    #[test]
    fn the_code_is_that_of_the_specification() {
        for (data, parity) in [(1_u16, 1_u16), (3, 2), (5, 3), (4, 4), (7, 1), (20, 6)] {
            let shards: Vec<Vec<u8>> = (0..data)
                .map(|number| {
                    (0..64_u32)
                        .map(|byte| ((u32::from(number) * 97 + byte * 31) % 256).try_into().unwrap())
                        .collect()
                })
                .collect();
            let mut found = vec![Vec::new(); parity.into()];
            Code::new(data, parity).encode(&shards, |number, shard| found[number] = shard.to_vec()).unwrap();
            for (j, at) in (0..parity).flat_map(|j| [0, 17].map(|at| (j, at))) {
                let terms = (0..data).map(|i| {
                    by_the_book::multiply(
                        symbol(&shards[usize::from(i)], at),
                        by_the_book::factor(i, j, parity),
                    )
                });
                let expected = terms.fold(0, |sum, term| sum ^ term);
                assert_eq!(
                    symbol(&found[usize::from(j)], at),
                    expected,
                    "{data} + {parity}, parity {j}, symbol {at}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_k_of_all_give_the_rest(data in 1_usize..12, extra in 0_usize..12, seed in any::<u8>(), order in any::<u64>()) {
            let parity = extra % data + 1;
            let code = Code { data, parity };
            let shards: Vec<Vec<u8>> = (0..data).map(|number| (0..128_usize).map(|byte| u8::try_from((number * 37 + byte * 11) % 251).unwrap() ^ seed).collect()).collect();
            let mut all = shards.clone();
            code.encode(&shards, |_, shard| all.push(shard.to_vec())).unwrap();
            let mut left: Vec<usize> = (0..data + parity).collect();
            left.sort_by_key(|number| (*number as u64 + 1).wrapping_mul(order | 1) >> 32);
            left.truncate(data);
            let mut restored = 0;
            code.decode(128, left.iter().map(|&number| (number, &all[number][..])), |number, shard| {
                assert_eq!(shard, shards[number]);
                restored += 1;
            }).unwrap();
            prop_assert_eq!(restored, (0..data).filter(|number| !left.contains(number)).count());
        }
    }
}
