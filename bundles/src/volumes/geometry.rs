//! Where things lie: which sector of the bundle is on which volume, and where in the volume's file.
//!
//! A bundle of T sectors on K data volumes gives each of them R = ⌈T/K⌉ rows, the last one what is left. Row r of all volumes together is one code word: what
//! is missing of it is restored from the rest. Parity volumes have R rows. In the file, rows lie in frames of [`FRAME`] with a check sector before and
//! after each frame.

use qiji_blueprint::Digest;

/// Bytes in a sector.
pub(crate) const SECTOR: u64 = 4096;
/// Bytes of a sector in memory.
pub(crate) type Sector = [u8; 4096];
/// A sector of zeros.
pub(crate) const ZEROS: Sector = [0; 4096];
/// Rows in a frame; the last one of a volume may have fewer.
pub(crate) const FRAME: u64 = 500;
/// Sectors that a whole frame takes: rows and two check sectors.
const FRAME_SECTORS: u64 = FRAME + 2;
/// Most data volumes.
pub(crate) const MAX_DATA: u16 = 999;
/// Most parity volumes.
pub(crate) const MAX_PARITY: u16 = 99;

/// What all volumes of a set have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// SHA-256 of the bundle's file.
    pub bundle: Digest,
    /// Bytes of the bundle's file.
    pub length: u64,
    /// Data volumes.
    pub data: u16,
    /// Parity volumes.
    pub parity: u16,
}

impl Shape {
    /// The shape, if volumes can have it.
    pub(crate) fn checked(self) -> Option<Self> {
        let counts = (1..=MAX_DATA).contains(&self.data) && self.parity <= MAX_PARITY.min(self.data);
        let length = (1..1 << 56).contains(&self.length);
        (counts && length && u64::from(self.data - 1) * self.rows() < self.sectors()).then_some(self)
    }

    /// Data and parity volumes.
    pub const fn volumes(&self) -> u16 {
        self.data + self.parity
    }

    /// Sectors of the bundle.
    fn sectors(&self) -> u64 {
        self.length.div_ceil(SECTOR)
    }

    /// Rows of each volume but the last data volume.
    pub(crate) fn rows(&self) -> u64 {
        self.sectors().div_ceil(u64::from(self.data))
    }

    /// Rows of a volume.
    pub(crate) fn rows_of(&self, number: u16) -> u64 {
        let before = u64::from(number) * self.rows();
        if number < self.data { self.rows().min(self.sectors().saturating_sub(before)) } else { self.rows() }
    }

    /// Bytes of a volume's file.
    pub(crate) fn file_size(&self, number: u16) -> u64 {
        let rows = self.rows_of(number);
        (rows + 2 * rows.div_ceil(FRAME)) * SECTOR
    }

    /// Rows of a frame of a volume.
    pub(crate) fn frame_rows(&self, number: u16, frame: u64) -> u64 {
        self.rows_of(number).saturating_sub(frame.saturating_mul(FRAME)).min(FRAME)
    }

    /// Volume and row of a byte of the bundle.
    pub(crate) fn place(&self, offset: u64) -> (u16, u64) {
        let sector = offset / SECTOR;
        let number = sector / self.rows();
        (u16::try_from(number).unwrap_or(u16::MAX), sector % self.rows())
    }

    /// Where a row of a data volume starts in the bundle.
    pub(crate) fn offset(&self, number: u16, row: u64) -> u64 {
        (u64::from(number) * self.rows() + row) * SECTOR
    }
}

/// Where a row starts in a volume's file.
pub(crate) const fn row_at(row: u64) -> u64 {
    (row / FRAME * FRAME_SECTORS + 1 + row % FRAME) * SECTOR
}

/// Where the check sector before a frame starts.
pub(crate) const fn check_at(frame: u64) -> u64 {
    frame * FRAME_SECTORS * SECTOR
}

/// Most rows that a volume of at most `size` bytes can have.
pub(crate) const fn rows_within(size: u64) -> u64 {
    let sectors = size / SECTOR;
    sectors / FRAME_SECTORS * FRAME + (sectors % FRAME_SECTORS).saturating_sub(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(length: u64, data: u16) -> Shape {
        Shape { bundle: Digest::of(b""), length, data, parity: 0 }
    }

    #[test]
    fn rows_lie_between_check_sectors() {
        assert_eq!([0, 499, 500].map(row_at), [1, 500, 503].map(|sector| sector * SECTOR));
        assert_eq!([0, 1].map(check_at), [0, 502 * SECTOR]);
        assert_eq!(
            [0, 2, 3, 502, 504, 505].map(|sectors| rows_within(sectors * SECTOR)),
            [0, 0, 1, 500, 500, 501]
        );
    }

    #[test]
    fn shapes_without_sense_are_refused() {
        for (length, data) in [(0, 1), (SECTOR, 2), (1, 0), (1 << 56, 9), (10 * SECTOR, 6), (1 << 40, 1000)] {
            assert_eq!(shape(length, data).checked(), None, "{length} on {data}");
        }
        let too_much = Shape { parity: 4, ..shape(1 << 30, 3) };
        assert_eq!(too_much.checked(), None);
    }

    proptest! {
        #[test]
        fn every_byte_has_its_place(length in 1_u64..1 << 45, data in 1_u16..=MAX_DATA, at in any::<prop::sample::Index>()) {
            let Some(shape) = shape(length, data).checked() else { return Ok(()) };
            let total: u64 = (0..data).map(|number| shape.rows_of(number)).sum();
            prop_assert_eq!(total, length.div_ceil(SECTOR));
            let offset = at.index(usize::try_from(length).unwrap()) as u64;
            let (number, row) = shape.place(offset);
            prop_assert!(row < shape.rows_of(number));
            prop_assert_eq!(shape.offset(number, row), offset / SECTOR * SECTOR);
            prop_assert!(row_at(row) + SECTOR < shape.file_size(number));
            prop_assert!(rows_within(shape.file_size(number)) >= shape.rows_of(number));
        }
    }
}
