//! Cutting a bundle into volumes.
//!
//! 1. The bundle is read once for its digest, which names the set.
//! 2. It is read once more. With parity, the same rows of all data volumes are taken together and coded; without, volumes are written one after another.
//! 3. Files get their names when all are complete and synced.
//!
//! Volumes are as equal in size as whole sectors allow, rather than full but for the last: parity volumes are as large as the largest.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::code::Code;
use super::geometry::{MAX_DATA, MAX_PARITY, SECTOR, Shape, rows_within};
use super::names;
use super::restore::slice_rows;
use super::volume::bytes;
use super::writer::{VolumeWriter, sync_folder};
use crate::Progress;
use crate::hash::{BUFFER, Hasher};
use crate::read::{FileMedium, Medium};

/// How many parity volumes there shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// So many.
    Volumes(u16),
    /// So many for a hundred data volumes, rounded up.
    Percent(u16),
}

/// How a bundle is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// Most bytes of a volume's file.
    pub volume_size: u64,
    /// Parity volumes.
    pub parity: Parity,
}

/// A bundle could not be split.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The bundle cannot be read.
    #[error("cannot read {}", .path.display())]
    Input {
        /// The bundle.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Volumes of this size would be too many.
    #[error(
        "volumes of at most {volume_size} bytes are too small: a bundle of {length} bytes may have {MAX_DATA} of them"
    )]
    TooSmall {
        /// What was asked for.
        volume_size: u64,
        /// Bytes of the bundle.
        length: u64,
    },
    /// More parity than makes sense.
    #[error(
        "{parity} parity volumes are too many for {data} data volumes: there may be as many as data volumes, and at most {MAX_PARITY}"
    )]
    TooMuchParity {
        /// What was asked for.
        parity: u64,
        /// Data volumes.
        data: u16,
    },
    /// Volumes of an earlier, larger set would be mixed with these.
    #[error("volumes of another set are in the way: {}", .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    InTheWay(Vec<PathBuf>),
    /// A volume cannot be written; the error names the file.
    #[error("cannot write the volumes")]
    Output(#[source] io::Error),
}

/// A set that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitVolumes {
    /// What the volumes have in common.
    pub shape: Shape,
    /// The files, data first, with their sizes.
    pub files: Vec<(PathBuf, u64)>,
}

/// Splits the file `bundle` into volumes that are named `stem` and a suffix.
pub fn split(
    bundle: &Path,
    stem: &Path,
    division: Division,
    progress: &mut dyn FnMut(Progress),
) -> Result<SplitVolumes, SplitError> {
    let unreadable = |source| SplitError::Input { path: bundle.to_owned(), source };
    let source = FileMedium::open(bundle).map_err(unreadable)?;
    let total = 2 * source.size();
    let mut shape = shape(source.size(), division)?;
    let files: Vec<PathBuf> = (0..shape.volumes()).map(|number| names::file(stem, &shape, number)).collect();
    let mut in_the_way = names::beside(stem).map_err(SplitError::Output)?;
    in_the_way.retain(|file| !files.contains(file));
    if !in_the_way.is_empty() {
        return Err(SplitError::InTheWay(in_the_way));
    }
    shape.bundle = digest(&source, &mut |done| progress(Progress { done, total })).map_err(unreadable)?;
    let writers =
        files.iter().zip(0..).map(|(file, number)| VolumeWriter::create(file.clone(), shape, number));
    let writers = writers.collect::<io::Result<Vec<_>>>().map_err(SplitError::Output)?;
    let mut cut = Cut { source: &source, shape, writers, done: source.size(), progress };
    cut.run().map_err(|error| match error {
        Side::Source(error) => unreadable(error),
        Side::Volume(error) => SplitError::Output(error),
    })?;
    publish(cut.writers).map_err(SplitError::Output)?;
    Ok(SplitVolumes {
        shape,
        files: files.into_iter().zip(0..).map(|(file, number)| (file, shape.file_size(number))).collect(),
    })
}

/// The shape, its digest still to come.
fn shape(length: u64, division: Division) -> Result<Shape, SplitError> {
    let Division { volume_size, parity } = division;
    let sectors = length.div_ceil(SECTOR);
    let too_small = || SplitError::TooSmall { volume_size, length };
    let data = sectors.checked_div(rows_within(volume_size)).ok_or_else(too_small)?;
    let data = data + u64::from(data * rows_within(volume_size) < sectors);
    let data = u16::try_from(data).ok().filter(|&data| data <= MAX_DATA).ok_or_else(too_small)?;
    let parity = match parity {
        Parity::Volumes(count) => u64::from(count),
        Parity::Percent(percent) => (u64::from(data) * u64::from(percent)).div_ceil(100),
    };
    let bundle = qiji_blueprint::Digest::from_bytes([0; 32]);
    let fitting =
        u16::try_from(parity).ok().and_then(|parity| Shape { bundle, length, data, parity }.checked());
    fitting.ok_or(SplitError::TooMuchParity { parity, data })
}

fn digest(source: &FileMedium, progress: &mut dyn FnMut(u64)) -> io::Result<qiji_blueprint::Digest> {
    let (mut hasher, mut buffer, mut done) = (Hasher::new(), vec![0; BUFFER], 0);
    while done < source.size() {
        let count = usize::try_from(source.size() - done).unwrap_or(BUFFER).min(BUFFER);
        source.read_exact_at(&mut buffer[..count], done)?;
        hasher.update(&buffer[..count]);
        done += count as u64;
        progress(done);
    }
    Ok(hasher.finish())
}

fn publish(writers: Vec<VolumeWriter>) -> io::Result<()> {
    writers.iter().try_for_each(VolumeWriter::sync)?;
    let files = writers.into_iter().map(VolumeWriter::publish).collect::<io::Result<Vec<_>>>()?;
    files.first().map_or(Ok(()), |file| sync_folder(file))
}

/// Which side of the work failed.
enum Side {
    Source(io::Error),
    Volume(io::Error),
}

/// The second pass.
struct Cut<'a> {
    source: &'a FileMedium,
    shape: Shape,
    writers: Vec<VolumeWriter>,
    done: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl Cut<'_> {
    fn run(&mut self) -> Result<(), Side> {
        if self.shape.parity > 0 {
            return self.columns(0..self.shape.data);
        }
        (0..self.shape.data).try_for_each(|number| self.columns(number..number + 1))
    }

    /// Writes some data volumes side by side, and the parity volumes where these are all of them.
    fn columns(&mut self, numbers: Range<u16>) -> Result<(), Side> {
        let code = (self.shape.parity > 0).then(|| Code::new(self.shape.data, self.shape.parity));
        let together = u16::try_from(numbers.len()).unwrap_or(u16::MAX) + self.shape.parity;
        let (rows, step) = (self.shape.rows(), slice_rows(together));
        let mut shards = vec![vec![0; bytes(step.min(rows))]; numbers.len()];
        for row in (0..rows).step_by(usize::try_from(step).unwrap_or(1)) {
            let count = step.min(rows - row);
            for (number, shard) in numbers.clone().zip(&mut shards) {
                shard.resize(bytes(count), 0);
                self.read(number, row, shard).map_err(Side::Source)?;
                self.writers[usize::from(number)].push(shard).map_err(Side::Volume)?;
            }
            if let Some(code) = code {
                self.parity(code, &shards).map_err(Side::Volume)?;
            }
            (self.progress)(Progress { done: self.done, total: 2 * self.shape.length });
        }
        Ok(())
    }

    /// Fills `shard` from the bundle; what lies beyond the volume or the bundle is zero.
    fn read(&mut self, number: u16, row: u64, shard: &mut [u8]) -> io::Result<()> {
        let start = self.shape.offset(number, row).min(self.shape.length);
        let end = self.shape.offset(number, self.shape.rows_of(number)).min(self.shape.length);
        let count = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX).min(shard.len());
        let (part, beyond) = shard.split_at_mut(count);
        self.source.read_exact_at(part, start)?;
        beyond.fill(0);
        self.done += count as u64;
        Ok(())
    }

    fn parity(&mut self, code: Code, shards: &[Vec<u8>]) -> io::Result<()> {
        let writers = &mut self.writers[usize::from(self.shape.data)..];
        let mut outcome = Ok(());
        let coded = code.encode(shards, |number, shard| {
            if outcome.is_ok() {
                outcome = writers[number].push(shard);
            }
        });
        coded.map_err(io::Error::other)?;
        outcome
    }
}
