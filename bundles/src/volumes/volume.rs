//! One volume, as it is read: rows are held to their checks, and what is damaged is noted.
//!
//! Whatever goes wrong below (a sector that cannot be read, a file that is too short, bytes that do not fit their check) is the same here: the row is bad.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::geometry::{FRAME, SECTOR, Sector, Shape, ZEROS, check_at, row_at};
use super::ranges::Ranges;
use super::sector::{CheckSector, check};
use crate::read::Medium;

/// Frames whose checks are kept, for readers at several places.
const KEPT: usize = 8;

/// Damage that was seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Rows that cannot be used.
    pub(crate) rows: Ranges,
    /// Bytes of the file that are not what they must be.
    pub(crate) bytes: Ranges,
}

/// A volume that is there.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) number: u16,
    pub(crate) path: PathBuf,
    medium: Arc<dyn Medium>,
    shape: Shape,
    recent: Mutex<VecDeque<(u64, Option<Arc<Frame>>)>>,
    damage: Mutex<Damage>,
}

#[derive(Debug)]
struct Frame {
    sector: CheckSector,
    bytes: Sector,
}

impl Volume {
    /// A volume that says that it is this one.
    pub(crate) fn new(path: &Path, medium: Arc<dyn Medium>, shape: Shape, number: u16) -> Self {
        let (size, expected) = (medium.size(), shape.file_size(number));
        let mut damage = Damage::default();
        damage.bytes.add(size.min(expected)..size.max(expected));
        let path = path.to_owned();
        Self { number, path, medium, shape, recent: Mutex::default(), damage: Mutex::new(damage) }
    }

    /// What the volume says of its set.
    pub(crate) const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What was seen so far.
    pub(crate) fn damage(&self) -> Damage {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fills `buffer`, whole sectors, from a row on. Gives the rows that are bad; their bytes in `buffer` mean nothing.
    pub(crate) fn read(&self, mut row: u64, mut buffer: &mut [u8]) -> Ranges {
        let mut bad = Ranges::default();
        while !buffer.is_empty() {
            let rows = (FRAME - row % FRAME).min(buffer.len() as u64 / SECTOR);
            let (part, rest) = buffer.split_at_mut(bytes(rows));
            self.read_in_frame(row..row + rows, part, &mut bad);
            (row, buffer) = (row + rows, rest);
        }
        if !bad.is_empty() {
            self.damage.lock().unwrap_or_else(PoisonError::into_inner).rows.extend(bad.iter());
        }
        bad
    }

    fn read_in_frame(&self, rows: Range<u64>, part: &mut [u8], bad: &mut Ranges) {
        let number = rows.start / FRAME;
        let Some(frame) = self.frame(number) else {
            bad.add(rows);
            return;
        };
        self.fetch(rows.start, part);
        let first = bytes(rows.start % FRAME) / bytes(1);
        let checks = frame.sector.checks.iter().skip(first);
        for ((row, sector), expected) in (rows.start..).zip(part.chunks_exact(bytes(1))).zip(checks) {
            if check(sector) != *expected {
                bad.add(row..row + 1);
                self.note(row_at(row)..row_at(row) + SECTOR);
            }
        }
        if rows.end - number * FRAME == self.shape.frame_rows(self.number, number) {
            self.compare_copy(number, &frame);
        }
    }

    /// Reads at once, and sector by sector where that fails. A sector that cannot be read is zero; its check will tell.
    fn fetch(&self, row: u64, part: &mut [u8]) {
        if self.medium.read_exact_at(part, row_at(row)).is_ok() {
            return;
        }
        for (row, sector) in (row..).zip(part.chunks_exact_mut(bytes(1))) {
            if self.medium.read_exact_at(sector, row_at(row)).is_err() {
                sector.fill(0);
            }
        }
    }

    /// The checks of a frame, from before it or from after it.
    fn frame(&self, number: u64) -> Option<Arc<Frame>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = recent.iter().find(|(kept, _)| *kept == number) {
            return known.clone();
        }
        let places = [check_at(number), self.copy_at(number)];
        let found = places.into_iter().find_map(|at| {
            let frame = self.frame_at(number, at);
            if frame.is_none() {
                self.note(at..at + SECTOR);
            }
            frame.map(Arc::new)
        });
        recent.push_front((number, found.clone()));
        recent.truncate(KEPT);
        found
    }

    fn frame_at(&self, number: u64, at: u64) -> Option<Frame> {
        let mut bytes = ZEROS;
        self.medium.read_exact_at(&mut bytes, at).ok()?;
        let sector = CheckSector::parse(&bytes)?;
        let fits = sector.shape == self.shape && sector.number == self.number && sector.frame == number;
        fits.then_some(Frame { sector, bytes })
    }

    /// The check sector after a frame is read as well: it is next in the file, and no damage shall stay unseen.
    fn compare_copy(&self, number: u64, frame: &Frame) {
        let (mut bytes, at) = (ZEROS, self.copy_at(number));
        if self.medium.read_exact_at(&mut bytes, at).is_err() || bytes != frame.bytes {
            self.note(at..at + SECTOR);
        }
    }

    fn copy_at(&self, number: u64) -> u64 {
        check_at(number) + (1 + self.shape.frame_rows(self.number, number)) * SECTOR
    }

    fn note(&self, bytes: Range<u64>) {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).bytes.add(bytes);
    }
}

/// Bytes of some rows.
pub(crate) fn bytes(rows: u64) -> usize {
    usize::try_from(rows * SECTOR).unwrap_or(usize::MAX)
}

/// Which volume of which set a file is, by the first check sector that can be read anywhere in it.
pub(crate) fn identify(medium: &dyn Medium) -> Option<(Shape, u16)> {
    let sectors = medium.size() / SECTOR;
    let frames = 0..sectors.div_ceil(FRAME + 2);
    let places = frames.flat_map(|frame| [check_at(frame), check_at(frame + 1).saturating_sub(SECTOR)]);
    places.chain(sectors.checked_sub(1).map(|last| last * SECTOR)).find_map(|at| {
        let mut bytes = ZEROS;
        medium.read_exact_at(&mut bytes, at).ok()?;
        CheckSector::parse(&bytes).map(|sector| (sector.shape, sector.number))
    })
}
