//! The staging store: blobs of the bundle on their way into the host, under `/var/lib/qiji/blobs`.
//!
//! A blob is written to `HEX.part`; what an earlier run left is hashed again and gone on with. When whole it is compared with its
//! digest, synced and renamed to `HEX`. A file named `HEX` has therefore been verified; one that does not match is removed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use qiji_blueprint::Digest;
use qiji_plan::{BlobRef, paths};
use sha2::{Digest as _, Sha256};

use crate::fault::Fault;
use crate::root::{self, Root, crash_point};

/// Size of the pieces in which files are read.
const PIECE: usize = 128 << 10;

/// The staging store of one host.
#[derive(Debug)]
pub struct Store {
    root: Root,
    receiving: Mutex<Vec<Digest>>,
}

impl Store {
    /// The store of this host.
    pub fn new(root: Root) -> Self {
        Self { root, receiving: Mutex::new(Vec::new()) }
    }

    /// Where a whole blob lies.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root.state("blobs").join(digest.hex())
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.root.state("blobs").join(format!("{}.part", digest.hex()))
    }

    /// Whether a blob is there, whole.
    pub fn has(&self, blob: &BlobRef) -> Result<bool, Fault> {
        Ok(root::look(&self.path(&blob.digest))?.is_some_and(|found| found.len() == blob.size))
    }

    /// Bytes of a blob that are there; its size only once it is whole and verified. One that lacks no byte but was not yet
    /// compared when a run was cut off is compared now.
    pub fn status(&self, blob: &BlobRef) -> Result<u64, Fault> {
        if self.has(blob)? {
            return Ok(blob.size);
        }
        let part = root::look(&self.part(&blob.digest))?.map(|found| found.len());
        Ok(match part {
            Some(part) if part == blob.size => {
                let compared = self.receive(*blob, part).and_then(Incoming::finish);
                if compared.is_ok() { blob.size } else { 0 }
            }
            Some(part) if part < blob.size => part,
            _ => 0,
        })
    }

    /// Whole blobs that the host has, here or in containerd's store, in the order of their digests: at most `most` of those after `after`.
    pub fn held(&self, after: Option<Digest>, most: usize) -> Result<Vec<BlobRef>, Fault> {
        let mut held = BTreeMap::new();
        for folder in [self.root.state("blobs"), self.root.known(paths::CONTAINERD_BLOBS)] {
            if root::look(&folder)?.is_none() {
                continue;
            }
            for entry in fs_err::read_dir(&folder)? {
                let entry = entry?;
                // What is on its way has another name.
                let digest =
                    entry.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
                if let Some(digest) = digest.filter(|digest| after.is_none_or(|after| *digest > after)) {
                    held.insert(digest, entry.metadata()?.len());
                }
            }
        }
        Ok(held.into_iter().take(most).map(|(digest, size)| BlobRef { digest, size }).collect())
    }

    /// At most `most` bytes of a whole blob that the host has, from `offset` on.
    pub fn piece(&self, blob: &BlobRef, offset: u64, most: usize) -> Result<Vec<u8>, Fault> {
        use std::os::unix::fs::FileExt as _;
        let file = if self.has(blob)? { self.open(blob)? } else { self.of_containerd(blob)? };
        let left = usize::try_from(blob.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(most)];
        file.file().read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn of_containerd(&self, blob: &BlobRef) -> Result<fs_err::File, Fault> {
        let path = self.root.known(paths::CONTAINERD_BLOBS).join(blob.digest.hex());
        match root::look(&path)? {
            Some(found) if found.len() == blob.size => Ok(fs_err::File::open(path)?),
            _ => Err(Fault::new(format!("blob {} is not on the host", blob.digest.short()))),
        }
    }

    /// Opens a whole blob.
    pub fn open(&self, blob: &BlobRef) -> Result<fs_err::File, Fault> {
        if !self.has(blob)? {
            return Err(Fault::new(format!("blob {} is not in the staging store", blob.digest.short())));
        }
        Ok(fs_err::File::open(self.path(&blob.digest))?)
    }

    /// Starts to receive a blob, from `offset` on.
    pub fn receive(&self, blob: BlobRef, offset: u64) -> Result<Incoming<'_>, Fault> {
        let name = blob.digest.short();
        {
            let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
            if receiving.contains(&blob.digest) {
                return Err(Fault::new(format!("blob {name} is being received already")));
            }
            receiving.push(blob.digest);
        }
        let incoming = Incoming { store: self, blob, file: None, hasher: Sha256::new(), at: 0 };
        incoming.begin(offset).map_err(|fault| fault.within(format!("cannot receive blob {name}")))
    }
}

/// A blob that is being received.
#[derive(Debug)]
pub struct Incoming<'a> {
    store: &'a Store,
    blob: BlobRef,
    file: Option<fs_err::File>,
    hasher: Sha256,
    at: u64,
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        let mut receiving = self.store.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        receiving.retain(|digest| *digest != self.blob.digest);
    }
}

impl Incoming<'_> {
    fn begin(mut self, offset: u64) -> Result<Self, Fault> {
        if self.store.has(&self.blob)? {
            self.at = self.blob.size;
            return Ok(self);
        }
        root::make_state_folder(&self.store.root.state(""), 0o700)?;
        root::make_state_folder(&self.store.root.state("blobs"), 0o700)?;
        let mut options = fs_err::OpenOptions::new();
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let path = self.store.part(&self.blob.digest);
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let there = file.metadata()?.len();
        if offset > there || offset > self.blob.size {
            return Err(Fault::new(format!("asked to go on at byte {offset}, {there} are there")));
        }
        file.set_len(offset)?;
        self.at = hash_into(&mut file, &mut self.hasher)?;
        self.file = Some(file);
        Ok(self)
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.at + bytes.len() as u64 > self.blob.size {
            return Err(Fault::new(format!(
                "blob {} is longer than its {} bytes",
                self.blob.digest.short(),
                self.blob.size
            )));
        }
        file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        crash_point();
        Ok(())
    }

    /// Compares and puts the blob in its place.
    pub fn finish(mut self) -> Result<(), Fault> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let name = self.blob.digest.short();
        if self.at != self.blob.size {
            return Err(Fault::new(format!(
                "blob {name} ended after {} of {} bytes",
                self.at, self.blob.size
            )));
        }
        let found = Digest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        let part = self.store.part(&self.blob.digest);
        if found != self.blob.digest {
            fs_err::remove_file(part)?;
            let fault = Fault::new(format!("blob {name} arrived as {}", found.short()));
            return Err(fault.hint("run the same command again; if it happens again, verify the bundle"));
        }
        file.sync_data()?;
        crash_point();
        fs_err::rename(part, self.store.path(&self.blob.digest))?;
        crash_point();
        Ok(root::sync_folder(&self.store.root.state("blobs"))?)
    }
}

/// Hashes all that is left to read; tells how many bytes that was.
pub fn hash_into(mut from: impl Read, hasher: &mut Sha256) -> io::Result<u64> {
    let mut piece = vec![0; PIECE];
    let mut total = 0;
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                hasher.update(&piece[..count]);
                total += count as u64;
            }
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
}

/// Reads through to `from` and hashes what passes.
#[derive(Debug)]
pub struct HashingReader<R> {
    from: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> HashingReader<R> {
    /// Wraps a reader.
    pub fn new(from: R) -> Self {
        Self { from, hasher: Sha256::new(), bytes: 0 }
    }

    /// Reads on to the end, then compares with what the blob should be.
    pub fn finish(mut self, blob: &BlobRef) -> Result<(), Fault> {
        let mut rest = vec![0; PIECE];
        while self.read(&mut rest)? > 0 {}
        let found = Digest::from_bytes(self.hasher.finalize().into());
        if self.bytes != blob.size || found != blob.digest {
            return Err(Fault::new(format!("blob {} was changed in the staging store", blob.digest.short()))
                .hint("run `qiji reset` and install again; check the host's disk"));
        }
        Ok(())
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}
