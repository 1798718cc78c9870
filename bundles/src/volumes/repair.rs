//! Writes volumes that are missing or damaged anew, beside the old ones, which they then replace.
//!
//! Only a set whose bundle was verified should be repaired: what is written is what reading gives.

use std::io;
use std::path::PathBuf;

use super::geometry::SECTOR;
use super::names;
use super::report::Condition;
use super::restore::slice_rows;
use super::set::VolumeSet;
use super::volume::bytes;
use super::writer::{VolumeWriter, sync_folder};
use crate::Progress;

/// Volumes could not be repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A file that is something else has the name of a volume that is to be written.
    #[error("cannot write {label} to {}: {reason}", .file.display())]
    Taken {
        /// What the volume is called.
        label: String,
        /// Its name.
        file: PathBuf,
        /// What the file is.
        reason: String,
    },
    /// Reading or writing failed; the error names the file.
    #[error("cannot write the repaired volumes")]
    Io(#[from] io::Error),
}

impl VolumeSet {
    /// Writes each volume anew of which damage was seen, and gives their files. Volumes that were not read are not known to be damaged.
    pub fn repair(&self, progress: &mut dyn FnMut(Progress)) -> Result<Vec<PathBuf>, RepairError> {
        let health = self.health();
        let ailing: Vec<u16> = (0..self.shape.volumes())
            .zip(&health.volumes)
            .filter(|(_, volume)| volume.condition != Condition::Whole)
            .map(|(number, _)| number)
            .collect();
        let files = ailing.iter().map(|&number| self.target(number)).collect::<Result<Vec<_>, _>>()?;
        let total = ailing.iter().map(|&number| self.shape.rows_of(number) * SECTOR).sum();
        let mut done = 0;
        for (&number, file) in ailing.iter().zip(&files) {
            self.write_anew(number, file.clone(), &mut |count| {
                done += count;
                progress(Progress { done, total });
            })?;
        }
        Ok(files)
    }

    /// The file to write a volume to: its own, or a name that nothing else has.
    fn target(&self, number: u16) -> Result<PathBuf, RepairError> {
        if let Some(volume) = &self.volumes[usize::from(number)] {
            return Ok(volume.path.clone());
        }
        let (file, label) = (names::file(&self.stem, &self.shape, number), names::label(&self.shape, number));
        let taken = |reason: String| RepairError::Taken { label: label.clone(), file: file.clone(), reason };
        if let Some(other) = self.volumes.iter().flatten().find(|other| other.path == file) {
            return Err(taken(format!("it is {}", names::label(&self.shape, other.number))));
        }
        match self.health().strays.into_iter().find(|stray| stray.file == file) {
            Some(stray) => Err(taken(format!("it {}", stray.reason))),
            None => Ok(file),
        }
    }

    fn write_anew(&self, number: u16, file: PathBuf, done: &mut dyn FnMut(u64)) -> io::Result<()> {
        let rows = self.shape.rows_of(number);
        let step = slice_rows(self.shape.volumes());
        let mut buffer = vec![0; bytes(step.min(rows))];
        let mut writer = VolumeWriter::create(file, self.shape, number)?;
        for row in (0..rows).step_by(usize::try_from(step).unwrap_or(1)) {
            let part = &mut buffer[..bytes(step.min(rows - row))];
            self.rows(number, row, part)?;
            writer.push(part)?;
            done(part.len() as u64);
        }
        writer.sync()?;
        sync_folder(&writer.publish()?)
    }
}
