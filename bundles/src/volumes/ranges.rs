//! Ranges of numbers, merged where they touch: damaged rows, and damaged bytes of a file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};

/// Most ranges that are kept; with more, those nearest to each other are told as one.
const MOST: usize = 1 << 14;
/// Ranges that are shown one by one.
const SHOWN: usize = 8;

/// A set of numbers as ranges, each from its first to the one after its last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    by_start: BTreeMap<u64, u64>,
    /// Ranges nearer to each other than this are one; grows where there are too many.
    gap: u64,
}

impl Ranges {
    /// Adds a range.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        let reach = end.saturating_add(self.gap);
        while let Some((&known, &known_end)) = self.by_start.range(..=reach).next_back() {
            if known_end.saturating_add(self.gap) < start {
                break;
            }
            self.by_start.remove(&known);
            (start, end) = (start.min(known), end.max(known_end));
        }
        self.by_start.insert(start, end);
        while self.by_start.len() > MOST {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.gap = (self.gap * 2).max(1);
        for (start, end) in std::mem::take(&mut self.by_start) {
            match self.by_start.last_entry() {
                Some(mut last) if last.get() + self.gap >= start => drop(last.insert(end)),
                _ => drop(self.by_start.insert(start, end)),
            }
        }
    }

    /// Each range, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.by_start.iter().map(|(&start, &end)| start..end)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// Whether a number is in one.
    pub fn has(&self, number: u64) -> bool {
        self.by_start.range(..=number).next_back().is_some_and(|(_, &end)| number < end)
    }

    /// Numbers in all ranges together.
    pub fn total(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// What both have.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for range in self.iter() {
            let before = other.by_start.range(..range.start).next_back().map(|(&start, _)| start);
            for (&start, &end) in other.by_start.range(before.unwrap_or(range.start)..range.end) {
                both.add(start.max(range.start)..end.min(range.end));
            }
        }
        both
    }
}

impl Extend<Range<u64>> for Ranges {
    fn extend<I: IntoIterator<Item = Range<u64>>>(&mut self, ranges: I) {
        ranges.into_iter().for_each(|range| self.add(range));
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut all = Self::default();
        all.extend(ranges);
        all
    }
}

impl fmt::Display for Ranges {
    /// `4096 to 8191, 12288 to 16383 and 12 more places`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.iter().take(SHOWN).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{} to {}", range.start, range.end - 1)?;
        }
        match self.by_start.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more places"),
        }
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|range| [range.start, range.end]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().flatten().collect()
    }

    #[test]
    fn many_ranges_are_told_as_fewer() {
        let mut ranges = Ranges::default();
        ranges.extend((0..100_000).map(|number| number * 3..number * 3 + 1));
        assert!(ranges.by_start.len() <= MOST && ranges.total() >= 100_000);
        assert_eq!(Ranges::default().to_string(), "");
        ranges.add(0..300_000);
        assert_eq!(ranges.to_string(), "0 to 299999");
    }

    proptest! {
        #[test]
        fn ranges_are_sets(left in prop::collection::vec((0_u64..200, 0_u64..20), 0..20), right in prop::collection::vec((0_u64..200, 0_u64..20), 0..20)) {
            let build = |list: &[(u64, u64)]| {
                let mut ranges = Ranges::default();
                ranges.extend(list.iter().map(|&(start, size)| start..start + size));
                ranges
            };
            let (left_ranges, right_ranges) = (build(&left), build(&right));
            let expected: BTreeSet<u64> = left.iter().flat_map(|&(start, size)| start..start + size).collect();
            prop_assert_eq!(&numbers(&left_ranges), &expected);
            prop_assert_eq!(left_ranges.total(), expected.len() as u64);
            let touching = left_ranges.iter().zip(left_ranges.iter().skip(1)).any(|(one, next)| one.end >= next.start);
            prop_assert!(!touching);
            let both: BTreeSet<u64> = expected.intersection(&numbers(&right_ranges)).copied().collect();
            prop_assert_eq!(numbers(&left_ranges.and(&right_ranges)), both);
        }
    }
}
