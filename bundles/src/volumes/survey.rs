//! Looks at every byte of every volume, and says whether what is damaged can be restored.

use std::fmt;
use std::ops::Range;

use super::geometry::{FRAME, SECTOR, row_at};
use super::ranges::Ranges;
use super::report::{Condition, VolumeHealth};
use super::set::VolumeSet;
use super::volume::{Volume, bytes};
use crate::Progress;

/// More is damaged than the parity volumes can restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hopeless {
    /// Parity volumes of the set.
    pub parity: u16,
    /// Parity volumes that would have been enough.
    pub needed: usize,
    /// Volumes that are missing, or damaged where too many are.
    pub volumes: Vec<VolumeHealth>,
}

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parity, needed, volumes } = self;
        write!(f, "at one place {needed} volumes are lost or damaged, and parity is there for {parity}: ")?;
        write!(f, "{needed} parity volumes would be needed")?;
        volumes.iter().try_for_each(|volume| write!(f, "; {volume}"))
    }
}

impl VolumeSet {
    /// Reads every byte of every volume once, each from its start to its end.
    pub fn survey(&self, progress: &mut dyn FnMut(Progress)) {
        self.look_at(0..self.shape.volumes(), progress);
    }

    /// Reads the parity volumes: what remains after the bundle itself has been read.
    pub fn survey_parity(&self, progress: &mut dyn FnMut(Progress)) {
        self.look_at(self.shape.data..self.shape.volumes(), progress);
    }

    fn look_at(&self, numbers: Range<u16>, progress: &mut dyn FnMut(Progress)) {
        let there: Vec<&Volume> =
            self.volumes[numbers.start.into()..numbers.end.into()].iter().flatten().collect();
        let total = there.iter().map(|volume| self.shape.rows_of(volume.number) * SECTOR).sum();
        let (mut done, mut buffer) = (0, vec![0; bytes(FRAME)]);
        for volume in there {
            let rows = self.shape.rows_of(volume.number);
            for row in (0..rows).step_by(usize::try_from(FRAME).unwrap_or(1)) {
                let part = &mut buffer[..bytes(FRAME.min(rows - row))];
                drop(volume.read(row, part));
                done += part.len() as u64;
                progress(Progress { done, total });
            }
        }
    }

    /// What makes the set hopeless, by what was read of it so far.
    pub fn hopeless(&self) -> Option<Hopeless> {
        let rows: Vec<Ranges> = (0..self.shape.volumes()).map(|number| self.bad_rows(number)).collect();
        let (needed, lost) = crowded(&rows, self.shape.parity.into());
        if lost.is_empty() {
            return None;
        }
        let mut volumes = Vec::new();
        for (volume, bad) in self.health().volumes.into_iter().zip(rows) {
            let bytes: Ranges = bad.and(&lost).iter().flat_map(rows_at).collect();
            match volume.condition {
                Condition::Missing => volumes.push(volume),
                _ if !bytes.is_empty() => {
                    volumes.push(VolumeHealth { condition: Condition::Damaged { bytes }, ..volume });
                }
                _ => {}
            }
        }
        Some(Hopeless { parity: self.shape.parity, needed, volumes })
    }

    fn bad_rows(&self, number: u16) -> Ranges {
        match &self.volumes[usize::from(number)] {
            Some(volume) => volume.damage().rows,
            None => std::iter::once(0..self.shape.rows_of(number)).collect(),
        }
    }
}

/// Where rows lie in a volume's file: in one piece within each frame.
fn rows_at(rows: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let frames = rows.start / FRAME..rows.end.div_ceil(FRAME);
    frames.map(move |frame| {
        let (start, end) = (rows.start.max(frame * FRAME), rows.end.min((frame + 1) * FRAME));
        row_at(start)..row_at(end - 1) + SECTOR
    })
}

/// How many of the sets have a number in common at most, and the numbers that more than `limit` have.
fn crowded(sets: &[Ranges], limit: usize) -> (usize, Ranges) {
    let mut events: Vec<(u64, bool)> = sets
        .iter()
        .flat_map(Ranges::iter)
        .flat_map(|range| [(range.start, true), (range.end, false)])
        .collect();
    events.sort_unstable();
    let (mut most, mut count, mut crowd) = (0, 0_usize, Ranges::default());
    for (index, &(at, starts)) in events.iter().enumerate() {
        count = if starts { count + 1 } else { count - 1 };
        most = most.max(count);
        let next = events.get(index + 1).map_or(at, |(next, _)| *next);
        if count > limit {
            crowd.add(at..next);
        }
    }
    (most, crowd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_crowded_place_is_found() {
        let set = |ranges: &[(u64, u64)]| ranges.iter().map(|&(start, end)| start..end).collect::<Ranges>();
        let sets = [set(&[(0, 10), (20, 30)]), set(&[(5, 25)]), set(&[(8, 9), (30, 40)]), set(&[])];
        let (most, crowd) = crowded(&sets, 1);
        assert_eq!((most, crowd.iter().collect::<Vec<_>>()), (3, vec![5..10, 20..25]));
        assert!(crowded(&sets, 3).1.is_empty());
        assert_eq!(crowded(&[], 0).0, 0);
    }

    #[test]
    fn rows_of_two_frames_lie_in_two_pieces() {
        let pieces: Vec<_> = rows_at(499..501).collect();
        assert_eq!(pieces, [500 * SECTOR..501 * SECTOR, 503 * SECTOR..504 * SECTOR]);
    }
}
