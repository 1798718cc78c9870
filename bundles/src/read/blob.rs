//! Readers of single blobs. They share one open medium and read at positions, so any number of them can run at once.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use qiji_blueprint::Digest;

use super::medium::Medium;
use super::scan::Extent;
use crate::contents::Owner;
use crate::error::{Fault, VerifyError};
use crate::hash::Hasher;

/// Reads a blob from its start and hashes it on the way: where its end would be reported, a blob that has changed since it was verified gives an
/// error of kind `InvalidData` with a [`VerifyError`] inside. What was read before must not be used until the end has been reached.
pub struct VerifyingReader {
    range: BlobRange,
    hasher: Option<Hasher>,
    digest: Digest,
    owner: Owner,
    path: PathBuf,
}

impl VerifyingReader {
    pub(crate) fn new(range: BlobRange, digest: Digest, owner: Owner, path: PathBuf) -> Self {
        Self { range, hasher: Some(Hasher::new()), digest, owner, path }
    }

    /// Bytes of the whole blob.
    pub const fn size(&self) -> u64 {
        self.range.extent.size
    }

    fn damaged(&self) -> io::Error {
        let Extent { start, .. } = self.range.extent;
        let fault = Fault::Blob {
            digest: self.digest,
            owner: self.owner.clone(),
            start,
            end: self.range.extent.end(),
        };
        io::Error::new(
            io::ErrorKind::InvalidData,
            VerifyError { path: self.path.clone(), fault: Box::new(fault) },
        )
    }
}

impl Read for VerifyingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.range.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if count == 0
            && let Some(hasher) = self.hasher.take()
            && (self.range.position < self.size() || hasher.finish() != self.digest)
        {
            return Err(self.damaged());
        }
        Ok(count)
    }
}

/// Reads a blob from anywhere, as it lies in the file. A part of a blob cannot be held to the blob's digest: whoever gets the bytes must check them.
#[derive(Debug, Clone)]
pub struct BlobRange {
    medium: Arc<dyn Medium>,
    extent: Extent,
    position: u64,
}

impl BlobRange {
    pub(crate) fn new(medium: Arc<dyn Medium>, extent: Extent, position: u64) -> Self {
        Self { medium, extent, position }
    }

    /// Bytes of the whole blob.
    pub const fn size(&self) -> u64 {
        self.extent.size
    }
}

impl Read for BlobRange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.extent.size.saturating_sub(self.position);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.medium.read_at(&mut buffer[..count], self.extent.start + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for BlobRange {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.extent.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
