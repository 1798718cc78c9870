//! What a bundle is read from: one file, or a set of volumes that stands for one.
//!
//! Readers ask for bytes at offsets and keep to one direction where they can, since a medium may be a disc on which each step back costs as much
//! as reading a megabyte: headers are read front to back, documents level by level in the order in which they lie, and the pass over all
//! bytes of a slow medium is one sweep.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

/// Bytes that can be read at any place, by several readers at once.
pub trait Medium: fmt::Debug + Send + Sync {
    /// Bytes in all.
    fn size(&self) -> u64;

    /// Reads bytes from `offset` on: at least one, unless the end is reached or `buffer` is empty.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Something that changes whenever the bytes are written to; nothing where that cannot be told.
    fn stamp(&self) -> Option<Stamp> {
        None
    }

    /// Fills `buffer` from `offset` on; an end on the way is an error.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// When a file was last written to, and its size then. The kernel sets the time of change; nobody can set it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    seconds: i64,
    nanoseconds: i64,
    size: u64,
}

/// A file, as long as it was when it was opened. It stays open: another file of the same name is not read.
#[derive(Debug)]
pub struct FileMedium {
    file: File,
    size: u64,
}

impl FileMedium {
    /// Opens a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = fs_err::File::open(path)?.into_parts().0;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl Medium for FileMedium {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn stamp(&self) -> Option<Stamp> {
        let about = self.file.metadata().ok()?;
        Some(Stamp { seconds: about.ctime(), nanoseconds: about.ctime_nsec(), size: about.len() })
    }
}
