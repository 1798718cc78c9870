//! Puts the volumes of a set together to one file again.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fs_err::File;

use super::set::VolumeSet;
use super::writer::{partial_path, sync_folder};
use crate::Progress;
use crate::hash::BUFFER;
use crate::read::Medium as _;

impl VolumeSet {
    /// Writes the bundle's file, replacing one of that name once the new one is complete. Only a set whose bundle was verified should be put together.
    pub fn join(&self, out: &Path, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let partial: PathBuf = partial_path(out);
        let written = self.write_whole(&partial, progress).and_then(|()| fs_err::rename(&partial, out));
        if written.is_err() {
            // The first error counts; there may be no file to remove.
            drop(fs_err::remove_file(&partial));
        }
        written.and_then(|()| sync_folder(out))
    }

    fn write_whole(&self, path: &Path, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let mut file = File::create(path)?;
        let (mut buffer, mut done, total) = (vec![0; BUFFER], 0, self.size());
        while done < total {
            let count = self.read_at(&mut buffer, done)?;
            file.write_all(&buffer[..count])?;
            done += count as u64;
            progress(Progress { done, total });
        }
        file.sync_all()
    }
}
