//! The artifact store: a folder in which every blob's name is its digest.
//!
//! ```text
//! blobs/sha256/HEX    whole blobs, as in an OCI image layout
//! partial/HEX         the beginning of a transfer, and HEX.origin: where it came from
//! partial/new-XXXX    a blob being written
//! index/HEX           remembered results: what a build with the key HEX gave
//! locks/HEX           advisory locks, one per thing in the making
//! ```
//!
//! A blob is written beside, hashed while it is written, and renamed to its name when it is whole; so a blob that is there was
//! right when it came. Disks rot and people edit: [`Store::verify`] reads a blob again, and callers do so before they rely on it.
//! Any number of processes may use one store: renames are atomic, two that make the same blob make the same bytes, and long
//! work (a build, a transfer) is held by a lock so that it is done once.
//!
//! Limits: nothing is ever deleted but damaged blobs and finished partials; the folder may be removed whole at any time.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs_err::{File, OpenOptions};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::Pinned;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::StoreError;

/// Bytes read or written at once.
pub(crate) const CHUNK: usize = 128 * 1024;

/// A content-addressed folder. Cloning gives another handle to the same folder.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store at `root`, making its folders where they are missing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        for folder in ["blobs/sha256", "partial", "index", "locks"] {
            fs_err::create_dir_all(root.join(folder)).map_err(StoreError::io(format!("make {folder}")))?;
        }
        Ok(Self { root })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that a blob has or would have.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// A blob for reading, as it lies there; see [`Store::verify`].
    pub fn read(&self, digest: &Digest) -> Result<File, StoreError> {
        File::open(self.blob_path(digest)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { digest: *digest },
            _ => StoreError::Io { deed: format!("open blob {}", digest.short()), source },
        })
    }

    /// Reads a blob whole and compares it with its name and, where given, its size. Returns its size.
    ///
    /// A damaged blob is an error; [`Store::discard`] removes it so that it can be fetched again.
    pub fn verify(&self, digest: &Digest, size: Option<u64>) -> Result<u64, StoreError> {
        let mut reader = self.read(digest)?;
        let found = hash(&mut reader).map_err(StoreError::io(format!("read blob {}", digest.short())))?;
        if found.digest != *digest || size.is_some_and(|size| size != found.size) {
            let path = self.blob_path(digest);
            return Err(StoreError::Damaged { path, expected: *digest, found: found.digest });
        }
        Ok(found.size)
    }

    /// Whether the blob is there and whole; a damaged one is removed.
    pub fn holds(&self, pin: &Pinned) -> Result<bool, StoreError> {
        match self.verify(&pin.digest, Some(pin.size)) {
            Ok(_) => Ok(true),
            Err(StoreError::Missing { .. }) => Ok(false),
            Err(StoreError::Damaged { .. }) => self.discard(&pin.digest).map(|()| false),
            Err(other) => Err(other),
        }
    }

    /// Removes a blob; one that is not there is no error.
    pub fn discard(&self, digest: &Digest) -> Result<(), StoreError> {
        remove(&self.blob_path(digest)).map_err(StoreError::io(format!("remove blob {}", digest.short())))
    }

    /// Puts a small blob.
    pub fn put(&self, bytes: &[u8]) -> Result<Pinned, StoreError> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(StoreError::io("write a blob"))?;
        writer.finish()
    }

    /// Copies all that `reader` gives into a blob.
    pub fn put_reader(&self, reader: &mut impl Read) -> Result<Pinned, StoreError> {
        let mut writer = self.writer()?;
        io::copy(reader, &mut writer).map_err(StoreError::io("write a blob"))?;
        writer.finish()
    }

    /// Starts a blob whose digest is known when it is whole.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        let file = tempfile::Builder::new()
            .prefix("new-")
            .tempfile_in(self.root.join("partial"))
            .map_err(StoreError::io("make a file"))?;
        Ok(BlobWriter { store: self.clone(), file, hasher: Sha256::new(), size: 0 })
    }

    /// A scratch folder in the store's file system, removed with its handle.
    pub(crate) fn scratch(&self) -> Result<tempfile::TempDir, StoreError> {
        tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(self.root.join("partial"))
            .map_err(StoreError::io("make a folder"))
    }

    /// What was remembered under `key`; what cannot be read is as good as forgotten.
    pub(crate) fn recall<T: DeserializeOwned>(&self, key: &Digest) -> Option<T> {
        let text = fs_err::read(self.root.join("index").join(key.hex())).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Remembers `value` under `key` for later runs.
    pub(crate) fn remember<T: Serialize>(&self, key: &Digest, value: &T) -> Result<(), StoreError> {
        let fault = || StoreError::io("remember a result");
        let folder = self.root.join("index");
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(fault())?;
        serde_json::to_writer(&mut file, value).map_err(io::Error::other).map_err(fault())?;
        file.persist(folder.join(key.hex())).map_err(|error| error.error).map_err(fault())?;
        Ok(())
    }

    /// Waits until no other process or task makes what `key` names. Blocks.
    pub(crate) fn lock(&self, key: &Digest) -> Result<Lock, StoreError> {
        let path = self.root.join("locks").join(key.hex());
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(StoreError::io("make a lock"))?;
        file.file().lock().map_err(StoreError::io("take a lock"))?;
        Ok(Lock { _file: file })
    }

    /// The partial transfer under `key`, with what an earlier run left of it. Blocks while another process has it.
    pub(crate) fn partial(&self, key: &Digest) -> Result<Partial, StoreError> {
        let lock = self.lock(key)?;
        let path = self.root.join("partial").join(key.hex());
        let fault = || StoreError::io(format!("open partial {}", key.short()));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(fault())?;
        let mut hasher = Sha256::new();
        let size = hash_into(&mut file, &mut hasher).map_err(fault())?;
        let origin = fs_err::read(path.with_extension("origin")).ok();
        let origin = origin.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(Partial { store: self.clone(), path, file, hasher, size, origin, _lock: lock })
    }
}

/// Held while its owner makes one thing; freed when dropped, or when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// A blob being written.
pub struct BlobWriter {
    store: Store,
    file: tempfile::NamedTempFile,
    hasher: Sha256,
    size: u64,
}

impl BlobWriter {
    /// Gives the blob its name.
    pub fn finish(self) -> Result<Pinned, StoreError> {
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        let path = self.store.blob_path(&digest);
        self.file.persist(path).map_err(|error| error.error).map_err(StoreError::io("name a blob"))?;
        Ok(Pinned { digest, size: self.size })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Where the bytes of a partial transfer come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) url: String,
    /// Strong entity tag, where the server gave one.
    pub(crate) etag: Option<String>,
}

/// The beginning of a blob, kept across runs until it is whole.
pub(crate) struct Partial {
    store: Store,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    size: u64,
    origin: Option<Origin>,
    _lock: Lock,
}

impl Partial {
    /// Bytes that are there.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Where they came from.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Throws away what is there.
    pub(crate) fn restart(&mut self) -> Result<(), StoreError> {
        let fault = || StoreError::io("empty a partial");
        self.file.set_len(0).map_err(fault())?;
        self.file.seek(SeekFrom::Start(0)).map_err(fault())?;
        (self.hasher, self.size, self.origin) = (Sha256::new(), 0, None);
        Ok(())
    }

    /// Notes where the bytes come from.
    pub(crate) fn set_origin(&mut self, origin: Origin) -> Result<(), StoreError> {
        let text = serde_json::to_vec(&origin).map_err(io::Error::other);
        text.and_then(|text| fs_err::write(self.path.with_extension("origin"), text))
            .map_err(StoreError::io("note a transfer's origin"))?;
        self.origin = Some(origin);
        Ok(())
    }

    /// Adds bytes at the end. They go to the page cache, so this is quick enough for an async task.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(StoreError::io("write a partial"))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Digest and size of what is there.
    pub(crate) fn pin(&self) -> Pinned {
        Pinned { digest: Digest::from_bytes(self.hasher.clone().finalize().into()), size: self.size }
    }

    /// The bytes are whole: gives them their name.
    pub(crate) fn finish(self) -> Result<Pinned, StoreError> {
        let pin = self.pin();
        fs_err::rename(&self.path, self.store.blob_path(&pin.digest))
            .map_err(StoreError::io("name a blob"))?;
        remove(&self.path.with_extension("origin")).map_err(StoreError::io("tidy a partial"))?;
        Ok(pin)
    }

    /// The bytes are of no use: removes them.
    pub(crate) fn discard(self) -> Result<(), StoreError> {
        remove(&self.path)
            .and_then(|()| remove(&self.path.with_extension("origin")))
            .map_err(StoreError::io("remove a partial"))
    }
}

/// Digest and size of all that `reader` gives.
pub(crate) fn hash(reader: &mut impl Read) -> io::Result<Pinned> {
    let mut hasher = Sha256::new();
    let size = hash_into(reader, &mut hasher)?;
    Ok(Pinned { digest: Digest::from_bytes(hasher.finalize().into()), size })
}

fn hash_into(reader: &mut impl Read, hasher: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(size);
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
