//! A set of volumes as one medium.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::geometry::{SECTOR, Sector, Shape, ZEROS};
use super::names;
use super::report::{Condition, Health, Stray, VolumeHealth};
use super::volume::{Volume, bytes, identify};
use crate::read::{FileMedium, Medium};

/// The volumes of one bundle, those that are there. Reading it gives the bundle's bytes, restored where they must be.
#[derive(Debug)]
pub struct VolumeSet {
    /// What the names of the volumes have in common.
    pub(super) stem: PathBuf,
    pub(super) shape: Shape,
    /// By number.
    pub(super) volumes: Vec<Option<Volume>>,
    strays: Vec<Stray>,
    /// The sector that a part was read of last, by its number in the bundle: the next part is often of the same.
    last: Mutex<(u64, Sector)>,
}

/// No set of volumes was found.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be read.
    #[error("cannot look for volumes")]
    Folder(#[source] io::Error),
    /// Volumes of several bundles lie in the folder.
    #[error("holds volumes of several bundles: {}", list(.0))]
    Several(Vec<PathBuf>),
    /// No file is a volume, or none is left to be told as one.
    #[error("holds no volume of a bundle{}", told(.0))]
    Nothing(Vec<Stray>),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn told(strays: &[Stray]) -> String {
    strays.iter().fold(String::new(), |text, stray| text + "; " + &stray.to_string())
}

impl VolumeSet {
    /// Finds the volumes: of a folder, or beside a file that may itself be lost.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (stem, files) = if path.is_dir() {
            let files = names::within(path).map_err(OpenError::Folder)?;
            let mut stems: Vec<PathBuf> = files.iter().filter_map(|file| names::stem(file)).collect();
            stems.dedup();
            if stems.len() > 1 {
                return Err(OpenError::Several(stems));
            }
            (stems.pop().unwrap_or_else(|| path.to_owned()), files)
        } else {
            let stem = names::stem(path).unwrap_or_else(|| path.to_owned());
            let files = names::beside(&stem).map_err(OpenError::Folder)?;
            (stem, files)
        };
        let media = files.into_iter().map(|file| {
            let medium = FileMedium::open(&file).map(|medium| Arc::new(medium) as Arc<dyn Medium>);
            (file, medium)
        });
        Self::over(stem, media)
    }

    /// The set that most of these files are of. `stem` is what their names have in common.
    pub fn over(
        stem: PathBuf,
        media: impl IntoIterator<Item = (PathBuf, io::Result<Arc<dyn Medium>>)>,
    ) -> Result<Self, OpenError> {
        let mut strays = Vec::new();
        let mut by_shape: BTreeMap<Shape, Vec<Volume>> = BTreeMap::new();
        for (file, medium) in media {
            let found = medium.map_err(|error| format!("cannot be opened: {error}"));
            let found = found.and_then(|medium| match identify(&*medium) {
                Some((shape, number)) => Ok(Volume::new(&file, medium, shape, number)),
                None => Err("is no volume, or damaged beyond recognition".to_owned()),
            });
            match found {
                Ok(volume) => by_shape.entry(*volume.shape()).or_default().push(volume),
                Err(reason) => strays.push(Stray { file, reason }),
            }
        }
        // Of two sets that are equal in number, the one whose files come first: the order of names is that of the media.
        let chosen = by_shape
            .iter()
            .max_by_key(|(_, volumes)| (volumes.len(), std::cmp::Reverse(volumes[0].path.clone())));
        let Some(shape) = chosen.map(|(shape, _)| *shape) else { return Err(OpenError::Nothing(strays)) };
        let volumes = (0..shape.volumes()).map(|_| None).collect();
        let last = Mutex::new((u64::MAX, ZEROS));
        let mut set = Self { stem, shape, volumes, strays, last };
        for (other, volumes) in by_shape {
            for volume in volumes {
                set.place(&other, volume);
            }
        }
        Ok(set)
    }

    /// Gives a volume its place, or its reason for having none. A file with the right name comes before others.
    fn place(&mut self, shape: &Shape, volume: Volume) {
        let number = usize::from(volume.number);
        let label = names::label(shape, volume.number);
        let right = |volume: &Volume| volume.path == names::file(&self.stem, &self.shape, volume.number);
        if *shape != self.shape {
            let reason = format!("is {label} of another set, of the bundle with {}", shape.bundle);
            self.strays.push(Stray { file: volume.path, reason });
            return;
        }
        let keep = self.volumes[number].as_ref().is_some_and(|known| right(known) || !right(&volume));
        let spare = if keep { Some(volume) } else { self.volumes[number].replace(volume) };
        let over = spare.map(|spare| Stray { file: spare.path, reason: format!("is {label} once more") });
        self.strays.extend(over);
    }

    fn sector(&self, sector: u64) -> io::Result<Sector> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 == sector {
            return Ok(last.1);
        }
        let (number, row) = self.shape.place(sector * SECTOR);
        let mut bytes = ZEROS;
        self.rows(number, row, &mut bytes)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (sector, bytes);
        Ok(bytes)
    }

    /// What all volumes have in common.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How the volumes are, as far as they were read.
    pub fn health(&self) -> Health {
        let volumes = (0..self.shape.volumes()).zip(&self.volumes).map(|(number, volume)| {
            let file = volume.as_ref().map(|volume| volume.path.clone());
            let condition =
                volume.as_ref().map_or(Condition::Missing, |volume| match volume.damage().bytes {
                    bytes if bytes.is_empty() => Condition::Whole,
                    bytes => Condition::Damaged { bytes },
                });
            VolumeHealth {
                volume: names::label(&self.shape, number),
                file: file.unwrap_or_else(|| names::file(&self.stem, &self.shape, number)),
                condition,
            }
        });
        Health { volumes: volumes.collect(), strays: self.strays.clone() }
    }
}

impl Medium for VolumeSet {
    fn size(&self) -> u64 {
        self.shape.length
    }

    /// Whole sectors go straight into `buffer`; parts of one are taken from a copy.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.shape.length.saturating_sub(offset);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let (number, row) = self.shape.place(offset);
        let within = usize::try_from(offset % SECTOR).unwrap_or(0);
        let rows = (wanted as u64 / SECTOR).min(self.shape.rows_of(number) - row);
        if within == 0 && rows > 0 {
            let whole = bytes(rows);
            self.rows(number, row, &mut buffer[..whole])?;
            return Ok(whole);
        }
        let sector = self.sector(offset / SECTOR)?;
        let count = wanted.min(sector.len() - within);
        buffer[..count].copy_from_slice(&sector[within..within + count]);
        Ok(count)
    }
}
