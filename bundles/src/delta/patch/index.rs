//! Where blocks of the old content are: a table from the hash of a block to its place.
//!
//! Every `stride`-th block is in it, blocks lying side by side. The stride grows with the content, so that the table stays below [`SLOTS`] slots of
//! four bytes. Slots hold the number of a block and a few bits of its hash; what is found is a guess, which the caller compares.

use std::fs::File;
use std::io;

use super::pages::Pages;

/// Most slots: 32 MiB.
const SLOTS: usize = 1 << 23;
/// Bits of a slot that number a block, from 1; the others are bits of its hash.
const NUMBER_BITS: u32 = 22;
const NUMBERS: u64 = (1 << NUMBER_BITS) - 1;
/// Smallest blocks. Smaller ones are found at many wrong places.
const MIN_STRIDE: u64 = 24;
/// Slots that are tried one after another.
const PROBES: usize = 8;
/// Bytes that are read at once, about.
const AHEAD: usize = 256 << 10;
/// Multiplier of the rolling hash: odd, its bits spread (from `xxHash`, its first 64-bit prime).
const PRIME: u64 = 0x9E37_79B1_85EB_CA87;

/// The table.
pub(super) struct Index {
    stride: usize,
    slots: Vec<u32>,
}

impl Index {
    /// Reads the old content once.
    pub(super) fn of(old: &File) -> io::Result<Self> {
        let mut pages = Pages::new(old)?;
        let stride = pages.size().div_ceil(NUMBERS).max(MIN_STRIDE);
        let blocks = usize::try_from(pages.size() / stride).map_err(io::Error::other)?;
        let slots = (blocks + blocks / 2).next_power_of_two().clamp(16, SLOTS);
        let stride = usize::try_from(stride).map_err(io::Error::other)?;
        let mut index = Self { stride, slots: vec![0; slots] };
        let (together, mut buffer) = (AHEAD.div_ceil(stride), Vec::new());
        for first in (0..blocks).step_by(together) {
            pages.fill((first * stride) as u64, &mut buffer, together * stride)?;
            for (number, block) in (first..blocks).zip(buffer.chunks_exact(stride)) {
                if block.iter().any(|&byte| byte != block[0]) {
                    index.insert(hash(block), number);
                }
            }
        }
        Ok(index)
    }

    /// Bytes of a block.
    pub(super) const fn stride(&self) -> usize {
        self.stride
    }

    /// Places of blocks that may have this hash.
    pub(super) fn places(&self, hash: u64) -> impl Iterator<Item = u64> + use<'_> {
        let (first, tag) = self.slot(hash);
        let tried = (0..PROBES).map(move |probe| self.slots[(first + probe) % self.slots.len()]);
        let there = tried.take_while(|&slot| slot != 0);
        let same = there.filter(move |&slot| slot >> NUMBER_BITS == tag);
        same.map(|slot| ((u64::from(slot) & NUMBERS) - 1) * self.stride as u64)
    }

    /// The first blocks of a hash are kept.
    fn insert(&mut self, hash: u64, number: usize) {
        let (first, tag) = self.slot(hash);
        let length = self.slots.len();
        let free = (0..PROBES).map(|probe| (first + probe) % length).find(|&at| self.slots[at] == 0);
        if let Some(at) = free {
            let number = u32::try_from(number + 1).expect("the stride keeps numbers small");
            self.slots[at] = tag << NUMBER_BITS | number;
        }
    }

    /// The first slot for a hash, and the bits that go into it.
    fn slot(&self, hash: u64) -> (usize, u32) {
        let mixed = (hash ^ hash >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let [.., tag, _] = mixed.to_be_bytes();
        let tag = u32::from(tag) | u32::from(mixed.to_be_bytes()[7] & 0b11) << 8;
        let length = self.slots.len() as u64;
        (usize::try_from((mixed >> 24) % length).expect("a slot's number is that of a place in memory"), tag)
    }
}

/// The hash of a block.
fn hash(block: &[u8]) -> u64 {
    block.iter().fold(0, |hash, &byte| push(hash, byte))
}

const fn push(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(PRIME).wrapping_add(byte as u64 + 1)
}

/// The hash of each block of a content in turn, wherever it begins.
pub(super) struct Roller<'f> {
    pages: Pages<'f>,
    stride: usize,
    /// What a byte's part in the hash is multiplied by when it leaves the block.
    leaving: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins.
    start: u64,
    /// Where the block begins in the buffer.
    at: usize,
    hash: u64,
}

impl<'f> Roller<'f> {
    pub(super) fn new(content: &'f File, stride: usize) -> io::Result<Self> {
        let leaving = (1..stride).fold(1_u64, |power, _| power.wrapping_mul(PRIME));
        let pages = Pages::new(content)?;
        Ok(Self { pages, stride, leaving, buffer: Vec::new(), start: 0, at: 0, hash: 0 })
    }

    /// The hash of the block that begins at `place`; nothing where the content ends before the block does. Quick for the next place.
    pub(super) fn hash_at(&mut self, place: u64) -> io::Result<Option<u64>> {
        let inside = place.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = inside.filter(|at| at + self.stride <= self.buffer.len()) {
            self.move_to(at);
            return Ok(Some(self.hash));
        }
        self.pages.fill(place, &mut self.buffer, self.stride + AHEAD)?;
        self.start = place;
        if self.buffer.len() < self.stride {
            return Ok(None);
        }
        self.at = 0;
        self.hash = hash(&self.buffer[..self.stride]);
        Ok(Some(self.hash))
    }

    fn move_to(&mut self, to: usize) {
        if to < self.at || to - self.at >= self.stride {
            self.hash = hash(&self.buffer[to..to + self.stride]);
            self.at = to;
        }
        while self.at < to {
            let (out, into) = (self.buffer[self.at], self.buffer[self.at + self.stride]);
            let left = (u64::from(out) + 1).wrapping_mul(self.leaving);
            self.hash = push(self.hash.wrapping_sub(left), into);
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_hash_that_rolled_is_that_of_the_block() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> =
            (0..700_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        file.write_all(&bytes).unwrap();
        let mut roller = Roller::new(&file, 24).unwrap();
        for place in (0..100).chain(40..90).chain(300_000..300_040).chain(5..20).chain(699_970..699_977) {
            let expected = hash(&bytes[place..place + 24]);
            assert_eq!(roller.hash_at(place as u64).unwrap(), Some(expected), "{place}");
        }
        assert_eq!(roller.hash_at(699_977).unwrap(), None);
        assert_eq!(roller.hash_at(800_000).unwrap(), None);
    }

    #[test]
    fn blocks_are_found_where_they_are() {
        let mut file = tempfile::tempfile().unwrap();
        let block = |number: u8| {
            std::array::from_fn::<u8, 24, _>(|at| number.wrapping_mul(31).wrapping_add(at.to_le_bytes()[0]))
        };
        for number in 0..50 {
            file.write_all(&block(number)).unwrap();
        }
        let index = Index::of(&file).unwrap();
        assert_eq!(index.stride(), 24);
        for number in 0..50 {
            assert!(index.places(hash(&block(number))).any(|place| place == u64::from(number) * 24));
        }
    }
}
