//! The check sector: says which volume of which set this is, and holds a check of each row of its frame.
//!
//! One stands before each frame and the same one after it, so that a bad spot anywhere costs at most the rows that it covers, and what is left of a volume can
//! still be told. Layout (integers big-endian):
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `QIJIVOL1` |
//! | 8 | 32 | SHA-256 of the bundle's file |
//! | 40 | 8 | bytes of the bundle's file |
//! | 48 | 2 | data volumes, K |
//! | 50 | 2 | parity volumes |
//! | 52 | 2 | number of this volume: data from 0, parity from K |
//! | 54 | 2 | zero |
//! | 56 | 8 | number of this frame, from 0 |
//! | 64 | 4000 | for each row of the frame the first 8 bytes of its SHA-256; zero where there is no row |
//! | 4064 | 32 | SHA-256 of the 4064 bytes before |

use qiji_blueprint::Digest;

use super::geometry::{FRAME, Sector, Shape, ZEROS};
use crate::hash;

const MAGIC: &[u8; 8] = b"QIJIVOL1";
const CHECKS: usize = 64;
const SEAL: usize = CHECKS + 8 * ROWS;
const ROWS: usize = 500;
const _: () = assert!(ROWS as u64 == FRAME);

/// The check of a row.
pub(crate) type Check = [u8; 8];

/// The check of a sector's bytes.
pub(crate) fn check(bytes: &[u8]) -> Check {
    let mut check = [0; 8];
    check.copy_from_slice(&hash::digest(bytes).as_bytes()[..8]);
    check
}

/// What a check sector says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckSector {
    pub(crate) shape: Shape,
    /// Number of the volume: data from 0, then parity.
    pub(crate) number: u16,
    /// Number of the frame in the volume.
    pub(crate) frame: u64,
    /// One for each row of the frame.
    pub(crate) checks: Vec<Check>,
}

impl CheckSector {
    /// The bytes.
    pub(crate) fn to_bytes(&self) -> Sector {
        let mut bytes = ZEROS;
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, MAGIC);
        put(8, self.shape.bundle.as_bytes());
        put(40, &self.shape.length.to_be_bytes());
        put(48, &self.shape.data.to_be_bytes());
        put(50, &self.shape.parity.to_be_bytes());
        put(52, &self.number.to_be_bytes());
        put(56, &self.frame.to_be_bytes());
        put(CHECKS, self.checks.as_flattened());
        let seal = hash::digest(&bytes[..SEAL]);
        bytes[SEAL..].copy_from_slice(seal.as_bytes());
        bytes
    }

    /// Reads a check sector; nothing where the bytes are not exactly one.
    pub(crate) fn parse(bytes: &Sector) -> Option<Self> {
        if bytes[..8] != *MAGIC || hash::digest(&bytes[..SEAL]).as_bytes() != &bytes[SEAL..] {
            return None;
        }
        let shape = Shape {
            bundle: Digest::from_bytes(array(bytes, 8)),
            length: u64::from_be_bytes(array(bytes, 40)),
            data: u16::from_be_bytes(array(bytes, 48)),
            parity: u16::from_be_bytes(array(bytes, 50)),
        };
        let shape = shape.checked()?;
        let (number, frame) = (u16::from_be_bytes(array(bytes, 52)), u64::from_be_bytes(array(bytes, 56)));
        let rows =
            (number < shape.volumes()).then(|| shape.frame_rows(number, frame)).filter(|&rows| rows > 0)?;
        let checks = bytes[CHECKS..SEAL].as_chunks().0[..usize::try_from(rows).ok()?].to_vec();
        let sector = Self { shape, number, frame, checks };
        (sector.to_bytes() == *bytes).then_some(sector)
    }
}

fn array<const N: usize>(bytes: &Sector, at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CheckSector {
        let shape = Shape { bundle: Digest::of(b"bundle"), length: 5_000_000, data: 2, parity: 1 };
        CheckSector { shape, number: 2, frame: 1, checks: vec![check(b"x"); 111] }
    }

    #[test]
    fn a_check_sector_comes_back() {
        assert_eq!(CheckSector::parse(&sample().to_bytes()), Some(sample()));
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let good = sample().to_bytes();
        for index in 0..good.len() {
            let mut bad = good;
            bad[index] ^= 0x10;
            assert_eq!(CheckSector::parse(&bad), None, "byte {index}");
        }
    }

    #[test]
    fn a_sealed_sector_without_sense_is_refused() {
        let good = sample();
        let shape = |shape| CheckSector { shape, ..good.clone() };
        let checks = vec![[1; 8]; 500];
        let bad = [
            CheckSector { number: 3, ..good.clone() },
            CheckSector { frame: 2, ..good.clone() },
            CheckSector { checks, ..good.clone() },
            shape(Shape { data: 0, ..good.shape }),
            shape(Shape { parity: 3, ..good.shape }),
            shape(Shape { length: 0, ..good.shape }),
        ];
        for (index, bad) in bad.iter().enumerate() {
            assert!(CheckSector::parse(&bad.to_bytes()).is_none(), "number {index}");
        }
    }
}
