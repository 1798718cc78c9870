//! Finding where the old content is like the new one.
//!
//! 1. A seed: a place of the new content where a whole block is found in the old one. Of several the longest counts, and of equal ones that
//!    which goes on where the last copy was.
//! 2. From the seed the copy grows to both sides for as long as more bytes are equal than not. That is what makes it good for programs: a function
//!    that only moved is one copy, though each address in it is another.
//! 3. It ends early where a block is found elsewhere that is better by [`BETTER`] bytes.
//!
//! What lies between copies is literal.

use std::fs::File;
use std::io::{self, Write};

use super::PIECE;
use super::encode::Blocks;
use super::index::{Index, Roller};
use super::pages::Pages;

/// How far the count of equal bytes may fall behind its best, each other byte counting one less, before a copy is at its end.
const PATIENCE: i64 = 64;
/// How many bytes better another place must be.
const BETTER: u64 = 8;
/// Other bytes among the last 64 from which on other places are looked for.
const DOUBT: u32 = 6;
/// Most equal bytes that are counted, after and before a seed.
const COUNTED: u64 = 1024;

/// Tells `to` what the new content is made of, from its start to its end.
pub(super) fn find<W: Write>(old: &File, new: &File, to: &mut Blocks<W>) -> io::Result<()> {
    let index = Index::of(old)?;
    let roller = Roller::new(new, index.stride())?;
    let mut finder = Finder { index, roller, old: Pages::new(old)?, new: Pages::new(new)? };
    let (mut done, mut cursor) = (0, 0);
    while let Some(seed) = finder.seed(done, cursor)? {
        let copy = finder.grow(seed, done)?;
        finder.write(done, copy, to)?;
        done = copy.new + copy.length;
        cursor = copy.old + copy.length;
    }
    finder.literal(done, finder.new.size(), to)
}

/// Equal or like bytes at a place of each content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Copy {
    old: u64,
    new: u64,
    length: u64,
}

struct Finder<'f> {
    index: Index,
    roller: Roller<'f>,
    old: Pages<'f>,
    new: Pages<'f>,
}

impl Finder<'_> {
    /// The first seed from `done` on, where all before `done` is written and the last copy ended at `cursor`.
    fn seed(&mut self, done: u64, cursor: u64) -> io::Result<Option<Copy>> {
        let mut at = done;
        while let Some(hash) = self.roller.hash_at(at)? {
            let going_on = cursor + (at - done);
            let mut best = self.judge(going_on, at, done)?;
            let places: [u64; 8] = self.places(hash);
            for place in places.into_iter().take_while(|&place| place != u64::MAX) {
                best = best.max(self.judge(place, at, done)?);
            }
            if let Some((_, place)) = best {
                return Ok(Some(Copy { old: place, new: at, length: self.index.stride() as u64 }));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Places that the index gives, filled up with the largest number.
    fn places(&self, hash: u64) -> [u64; 8] {
        let mut all = [u64::MAX; 8];
        all.iter_mut().zip(self.index.places(hash)).for_each(|(to, place)| *to = place);
        all
    }

    /// How many bytes are equal around a seed, and its place; nothing where it is none.
    fn judge(&mut self, old: u64, new: u64, done: u64) -> io::Result<Option<(u64, u64)>> {
        let after = self.equal_after(old, new, COUNTED)?;
        if after < self.index.stride() as u64 {
            return Ok(None);
        }
        let before = self.equal_before(old, new, COUNTED.min(new - done))?;
        Ok(Some((after + before, old)))
    }

    fn equal_after(&mut self, old: u64, new: u64, most: u64) -> io::Result<u64> {
        let mut count = 0;
        while count < most {
            let (left, right) = (self.old.from(old + count)?, self.new.from(new + count)?);
            let equal = left.iter().zip(right).take_while(|(old, new)| old == new).count();
            count += equal as u64;
            if equal == 0 || equal < left.len().min(right.len()) {
                break;
            }
        }
        Ok(count.min(most))
    }

    fn equal_before(&mut self, old: u64, new: u64, most: u64) -> io::Result<u64> {
        let mut count = 0;
        while count < most && count < old {
            let (left, right) = (self.old.up_to(old - count)?, self.new.up_to(new - count)?);
            let pairs = left.iter().rev().zip(right.iter().rev());
            let equal = pairs.take_while(|(old, new)| old == new).count();
            count += equal as u64;
            if equal == 0 || equal < left.len().min(right.len()) {
                break;
            }
        }
        Ok(count.min(most))
    }

    /// The copy around a seed, which begins at `done` or later.
    fn grow(&mut self, seed: Copy, done: u64) -> io::Result<Copy> {
        let before = self.grow_before(seed, done)?;
        let after = self.grow_after(seed)?;
        Ok(Copy { old: seed.old - before, new: seed.new - before, length: before + after })
    }

    fn grow_before(&mut self, seed: Copy, done: u64) -> io::Result<u64> {
        let most = seed.old.min(seed.new - done);
        let mut walk = Walk::default();
        while walk.length < most && !walk.is_over() {
            let left = self.old.up_to(seed.old - walk.length)?.iter().rev();
            let right = self.new.up_to(seed.new - walk.length)?.iter().rev();
            let room = usize::try_from(most - walk.length).unwrap_or(usize::MAX);
            walk.go(left.zip(right).take(room), |_| false);
        }
        Ok(walk.best)
    }

    fn grow_after(&mut self, seed: Copy) -> io::Result<u64> {
        let mut walk = Walk::default();
        loop {
            let left = self.old.from(seed.old + walk.length)?;
            let right = self.new.from(seed.new + walk.length)?;
            if left.is_empty() || right.is_empty() {
                return Ok(walk.best);
            }
            walk.go(left.iter().zip(right), Walk::is_doubtful);
            if walk.is_over() {
                return Ok(walk.best);
            }
            let stride = self.index.stride() as u64;
            if let Some(at) = walk.length.checked_sub(stride).filter(|&at| at >= stride && walk.is_doubtful())
                && self.is_better_elsewhere(seed, at)?
            {
                return Ok(walk.best.min(at));
            }
        }
    }

    /// Whether the block at `at` of a copy is found at another place and much better there.
    fn is_better_elsewhere(&mut self, copy: Copy, at: u64) -> io::Result<bool> {
        let (here, new) = (copy.old + at, copy.new + at);
        let Some(hash) = self.roller.hash_at(new)? else { return Ok(false) };
        for place in self.places(hash).into_iter().take_while(|&place| place != u64::MAX) {
            let equal = if place == here { 0 } else { self.equal_after(place, new, COUNTED)? };
            if equal >= self.index.stride() as u64 && equal > self.equal_within(here, new, equal)? + BETTER {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many of `length` bytes are equal.
    fn equal_within(&mut self, old: u64, new: u64, length: u64) -> io::Result<u64> {
        let (mut seen, mut equal) = (0, 0);
        while seen < length {
            let (left, right) = (self.old.from(old + seen)?, self.new.from(new + seen)?);
            let room = usize::try_from(length - seen).unwrap_or(usize::MAX);
            let count = left.len().min(right.len()).min(room);
            if count == 0 {
                break;
            }
            equal += left.iter().zip(right).take(count).filter(|(old, new)| old == new).count() as u64;
            seen += count as u64;
        }
        Ok(equal)
    }

    /// Writes the literals before a copy, and the copy.
    fn write<W: Write>(&mut self, done: u64, copy: Copy, to: &mut Blocks<W>) -> io::Result<()> {
        self.literal(done, copy.new, to)?;
        let mut at = 0;
        while at < copy.length {
            let (left, right) = (self.old.from(copy.old + at)?, self.new.from(copy.new + at)?);
            let room = usize::try_from(copy.length - at).unwrap_or(usize::MAX).min(PIECE);
            let length = left.len().min(right.len()).min(room);
            to.copy(copy.old + at, &left[..length], &right[..length])?;
            at += length as u64;
        }
        Ok(())
    }

    fn literal<W: Write>(&mut self, mut at: u64, end: u64, to: &mut Blocks<W>) -> io::Result<()> {
        while at < end {
            let bytes = self.new.from(at)?;
            let room = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = &bytes[..bytes.len().min(room)];
            to.literal(bytes)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }
}

/// A way along both contents, which knows where it was best to stop.
#[derive(Debug, Default)]
struct Walk {
    length: u64,
    score: i64,
    best_score: i64,
    best: u64,
    /// The last 64 bytes: which were other ones.
    recent: u64,
}

impl Walk {
    /// Goes on, to the end of the bytes, the end of its patience, or for `pause`.
    fn go<'b>(&mut self, pairs: impl Iterator<Item = (&'b u8, &'b u8)>, pause: impl Fn(&Self) -> bool) {
        for (old, new) in pairs {
            let equal = old == new;
            self.score += if equal { 1 } else { -1 };
            self.recent = self.recent << 1 | u64::from(!equal);
            self.length += 1;
            if self.score > self.best_score {
                (self.best_score, self.best) = (self.score, self.length);
            }
            if self.is_over() || pause(self) {
                return;
            }
        }
    }

    const fn is_over(&self) -> bool {
        self.score < self.best_score - PATIENCE
    }

    const fn is_doubtful(&self) -> bool {
        self.length.is_multiple_of(4) && self.recent.count_ones() >= DOUBT
    }
}
