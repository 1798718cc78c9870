//! Rows of a volume, restored from the others where they are bad.
//!
//! Restoring works on slices: the same rows of all other volumes, as many as fit into [`ROOM`]. Data volumes are read first, then as many parity
//! volumes as are needed until each row has enough. Rows that lack the same volumes are decoded together.

use std::fmt;
use std::io;
use std::ops::Range;

use super::code::Code;
use super::geometry::SECTOR;
use super::names;
use super::ranges::Ranges;
use super::set::VolumeSet;
use super::volume::bytes;

/// Bytes of one slice over all volumes. The decoder holds about as much again.
pub(crate) const ROOM: u64 = 8 << 20;

/// Some rows cannot be restored. The survey says more.
#[derive(Debug)]
pub(crate) struct Unrestorable {
    volume: String,
    row: u64,
}

impl std::error::Error for Unrestorable {}

impl fmt::Display for Unrestorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be restored from the other volumes, in row {}", self.volume, self.row)
    }
}

/// The same rows of one volume.
struct Column {
    number: u16,
    bytes: Vec<u8>,
    bad: Ranges,
}

impl Column {
    fn is_good(&self, row: u64) -> bool {
        !self.bad.has(row)
    }
}

impl VolumeSet {
    /// Fills `buffer`, whole sectors, with rows of a volume.
    pub(crate) fn rows(&self, number: u16, row: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bad = self.read(number, row, buffer);
        for range in bad.iter() {
            let start = bytes(range.start - row);
            let part = &mut buffer[start..start + bytes(range.end - range.start)];
            self.restore(number, range, part)?;
        }
        Ok(())
    }

    /// Reads rows as they are. What lies beyond the end of the last data volume is zero.
    fn read(&self, number: u16, row: u64, buffer: &mut [u8]) -> Ranges {
        let all = row..row + buffer.len() as u64 / SECTOR;
        let there = self.shape.rows_of(number).clamp(all.start, all.end) - all.start;
        let (part, beyond) = buffer.split_at_mut(bytes(there));
        beyond.fill(0);
        match &self.volumes[usize::from(number)] {
            Some(volume) => volume.read(row, part),
            None => std::iter::once(row..row + there).collect(),
        }
    }

    fn restore(&self, number: u16, rows: Range<u64>, out: &mut [u8]) -> io::Result<()> {
        let step = slice_rows(self.shape.volumes());
        let starts = (rows.start..rows.end).step_by(usize::try_from(step).unwrap_or(1));
        for (start, part) in starts.zip(out.chunks_mut(bytes(step))) {
            self.restore_slice(number, start..(start + step).min(rows.end), part)?;
        }
        Ok(())
    }

    fn restore_slice(&self, number: u16, rows: Range<u64>, out: &mut [u8]) -> io::Result<()> {
        let columns = self.gather(number, &rows)?;
        let good = |row: u64| -> Vec<bool> { columns.iter().map(|column| column.is_good(row)).collect() };
        let mut start = rows.start;
        while start < rows.end {
            let pattern = good(start);
            let end = (start + 1..rows.end).find(|&row| good(row) != pattern).unwrap_or(rows.end);
            let place = bytes(start - rows.start)..bytes(end - rows.start);
            let shards = columns.iter().filter(|column| column.is_good(start));
            let shards = shards.map(|column| (usize::from(column.number), &column.bytes[place.clone()]));
            let needed: Vec<(usize, &[u8])> = shards.take(self.shape.data.into()).collect();
            self.decode(number, &needed, &mut out[place.clone()]).map_err(io::Error::other)?;
            start = end;
        }
        Ok(())
    }

    /// Columns of other volumes, until each row has as many good ones as there are data volumes.
    fn gather(&self, number: u16, rows: &Range<u64>) -> io::Result<Vec<Column>> {
        let mut columns: Vec<Column> = Vec::new();
        let enough = |columns: &[Column], row: u64| {
            columns.iter().filter(|column| column.is_good(row)).count() >= usize::from(self.shape.data)
        };
        for other in (0..self.shape.volumes()).filter(|&other| other != number) {
            if other >= self.shape.data && rows.clone().all(|row| enough(&columns, row)) {
                break;
            }
            let mut buffer = vec![0; bytes(rows.end - rows.start)];
            let bad = self.read(other, rows.start, &mut buffer);
            columns.push(Column { number: other, bytes: buffer, bad });
        }
        match rows.clone().find(|&row| !enough(&columns, row)) {
            None => Ok(columns),
            Some(row) => {
                let volume = names::label(&self.shape, number);
                Err(io::Error::new(io::ErrorKind::InvalidData, Unrestorable { volume, row }))
            }
        }
    }

    /// Writes the rows of `number` into `out`: a data volume's by decoding, a parity volume's by encoding once more.
    fn decode(
        &self,
        number: u16,
        shards: &[(usize, &[u8])],
        out: &mut [u8],
    ) -> Result<(), reed_solomon_simd::Error> {
        let code = Code::new(self.shape.data, self.shape.parity);
        let (size, wanted) = (out.len(), usize::from(number));
        if number < self.shape.data {
            return code.decode(size, shards.iter().copied(), |restored, shard| {
                if restored == wanted {
                    out.copy_from_slice(shard);
                }
            });
        }
        let data = usize::from(self.shape.data);
        let mut all = vec![Vec::new(); data];
        shards
            .iter()
            .filter(|(number, _)| *number < data)
            .for_each(|(number, shard)| all[*number] = shard.to_vec());
        code.decode(size, shards.iter().copied(), |restored, shard| all[restored] = shard.to_vec())?;
        code.encode(&all, |parity, shard| {
            if parity + data == wanted {
                out.copy_from_slice(shard);
            }
        })
    }
}

/// Rows of a slice over this many volumes.
pub(crate) const fn slice_rows(volumes: u16) -> u64 {
    let rows = ROOM / SECTOR / volumes as u64;
    if rows == 0 { 1 } else { rows }
}

/// Whether a read failed for good.
pub(crate) fn is_unrestorable(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Unrestorable>)
}
