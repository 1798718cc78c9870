//! What a site holds already: where its blobs come from, and their contents, each blob held to its digest while it is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use qiji_blueprint::Digest;

use super::error::DeltaError;
use super::packing;
use super::recipe::Old;
use crate::hash::{Hasher, fill};
use crate::read::{BlobRange, Untrusted};
use crate::write::BlobSource;

/// Blobs of several bundles; each comes from the first that has it. The bundles need not be verified: whoever reads an old blob compares it
/// with the digest that was asked for.
#[derive(Debug, Default)]
pub struct OldBundles(pub Vec<Untrusted>);

impl BlobSource for OldBundles {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        let range: Option<BlobRange> = self.0.iter().find_map(|bundle| bundle.open_blob(digest));
        Ok(Box::new(range.ok_or(io::ErrorKind::NotFound)?))
    }
}

/// Blobs of two sources; each comes from the first that has it.
pub struct Either<'a>(pub &'a dyn BlobSource, pub &'a dyn BlobSource);

impl BlobSource for Either<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        match self.0.open(digest) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.1.open(digest),
            found => found,
        }
    }
}

/// A scratch file in a folder, without a name.
pub(super) fn scratch(folder: &Path) -> Result<File, DeltaError> {
    tempfile::tempfile_in(folder)
        .map_err(DeltaError::io(format!("make a scratch file in {}", folder.display())))
}

/// Adds the content of a blob to a file, and gives its size. It has at most `most` bytes.
pub(super) fn add_content(
    source: &dyn BlobSource,
    digest: Digest,
    most: u64,
    to: &File,
) -> Result<u64, DeltaError> {
    let failed = || DeltaError::io(format!("read the old blob {digest}"));
    let mut blob = Hashed { inner: source.open(&digest).map_err(failed())?, hasher: Hasher::new() };
    let content = packing::unpack(&mut blob, to, most);
    if blob.finish().map_err(failed())? != digest {
        return Err(DeltaError::OldDamaged(digest));
    }
    content.map_err(failed())
}

/// A scratch file with the contents of old blobs, one after another, each of the size that the recipe says.
pub(super) fn contents(source: &dyn BlobSource, old: &[Old], folder: &Path) -> Result<File, DeltaError> {
    let file = scratch(folder)?;
    for old in old {
        if add_content(source, old.digest, old.content, &file)? != old.content {
            return Err(DeltaError::Recipe(format!("the content of {} has another size", old.digest)));
        }
    }
    Ok(file)
}

/// Hashes what is read.
struct Hashed<'s> {
    inner: Box<dyn Read + 's>,
    hasher: Hasher,
}

impl Hashed<'_> {
    /// Reads what is left, and gives the digest of all.
    fn finish(mut self) -> io::Result<Digest> {
        let mut rest = vec![0; 64 << 10];
        while fill(&mut self, &mut rest)? > 0 {}
        Ok(self.hasher.finish())
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
