//! Writes one volume: rows in order, and around each frame its check sector. The file has its name only when it is whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::geometry::{FRAME, SECTOR, Shape, check_at, row_at};
use super::sector::{CheckSector, check};
use super::volume::bytes;

/// A volume that is being written, under a partial name. Dropped before [`VolumeWriter::publish`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct VolumeWriter {
    file: File,
    path: PathBuf,
    partial: PathBuf,
    next: CheckSector,
    row: u64,
}

impl VolumeWriter {
    /// Starts a volume.
    pub(crate) fn create(path: PathBuf, shape: Shape, number: u16) -> io::Result<Self> {
        let partial = partial_path(&path);
        let file = fs_err::File::create(&partial)?.into_parts().0;
        let next =
            CheckSector { shape, number, frame: 0, checks: Vec::with_capacity(bytes(FRAME) / bytes(1)) };
        Ok(Self { file, path, partial, next, row: 0 })
    }

    /// Adds rows, as far as the volume has any left.
    pub(crate) fn push(&mut self, rows: &[u8]) -> io::Result<()> {
        let left = self.next.shape.rows_of(self.next.number) - self.row;
        let mut rest = &rows[..bytes(left).min(rows.len())];
        while !rest.is_empty() {
            let count = (FRAME - self.row % FRAME).min(rest.len() as u64 / SECTOR);
            let (part, after) = rest.split_at(bytes(count));
            self.file.write_all_at(part, row_at(self.row)).map_err(|error| self.failed(&error))?;
            self.next.checks.extend(part.chunks_exact(bytes(1)).map(check));
            self.row += count;
            rest = after;
            if self.row.is_multiple_of(FRAME) || self.row == self.next.shape.rows_of(self.next.number) {
                self.end_frame().map_err(|error| self.failed(&error))?;
            }
        }
        Ok(())
    }

    fn end_frame(&mut self) -> io::Result<()> {
        let sector = self.next.to_bytes();
        self.file.write_all_at(&sector, row_at(self.row - 1) + SECTOR)?;
        self.file.write_all_at(&sector, check_at(self.next.frame))?;
        self.next.frame += 1;
        self.next.checks.clear();
        Ok(())
    }

    /// Brings what was written to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all().map_err(|error| self.failed(&error))
    }

    /// Gives the file its name, which another of that name loses.
    pub(crate) fn publish(self) -> io::Result<PathBuf> {
        fs_err::rename(&self.partial, &self.path)?;
        Ok(self.path.clone())
    }

    fn failed(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot write {}: {error}", self.partial.display()))
    }
}

impl Drop for VolumeWriter {
    fn drop(&mut self) {
        // After `publish` there is nothing to remove, and what cannot be removed hinders nobody.
        drop(fs_err::remove_file(&self.partial));
    }
}

/// The name of a file that is not complete.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    partial.into()
}

/// Makes sure that new names of files stay.
pub(crate) fn sync_folder(of: &Path) -> io::Result<()> {
    let folder = of.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs_err::File::open(folder)?.sync_all()
}
