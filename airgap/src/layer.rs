//! A file system layer: a tar, compressed with zstd, that is the same bytes on every machine.
//!
//! 1. All entries are checked, and all faults of a layer told at once: paths that leave the layer, that come twice, or that need a folder where a
//!    file is; artifacts and members that are not there.
//! 2. Entries are written sorted by path, missing parents added with mode 0755, owner 0:0, no names, time 0, GNU headers as the `tar` crate writes
//!    them (a long name is an entry before its own; no pax records).
//! 3. One zstd frame, one thread, fixed level and window, with checksum and without content size.
//! 4. The result is remembered under a key of all that; while nothing changes it is taken from the store.
//!
//! Every byte from the store is compared with its digest while it is read. Memory does not grow with the layer.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};

use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Layer, LayerEntry, Pinned};
use qiji_blueprint::site::Arch;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::deb;
use crate::error::StoreError;
use crate::store::{CHUNK, Store};

/// Level of compression. Beyond it each percent costs several times the time, here and once more where a delta is applied; decision 4 has the figures.
const LEVEL: i32 = 9;

/// Window, as a power of two: 4 MiB, which whoever unpacks needs as memory. With it, making all layers of the node binaries two at once
/// peaked at 50 MB for the whole process.
const WINDOW_LOG: u32 = 22;

/// Raised when the way of writing changes, so that what was remembered is written again. The library's version is part of the key as well.
const METHOD: &str = "layer 1";

/// A layer cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// An entry is wrong.
    #[error("layer {layer} for {arch}, entry {path}: {reason}")]
    Entry {
        /// Layer.
        layer: String,
        /// Architecture.
        arch: Arch,
        /// Path of the entry.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry could not be read or written.
    #[error("cannot write layer {layer} for {arch}, entry {path}")]
    Io {
        /// Layer.
        layer: String,
        /// Architecture.
        arch: Arch,
        /// Path of the entry.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The store failed.
    #[error("cannot make layer {layer} for {arch}")]
    Store {
        /// Layer.
        layer: String,
        /// Architecture.
        arch: Arch,
        /// The cause.
        source: StoreError,
    },
}

/// A layer in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerBlob {
    /// The compressed bytes.
    pub(crate) blob: Pinned,
    /// Digest of the tar itself.
    pub(crate) diff_id: Digest,
}

/// An entry with everything that its bytes depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
enum Planned {
    Folder { mode: u32 },
    Link { target: String },
    Text { content: String, mode: u32 },
    File { artifact: Pinned, member: Option<(String, u64)>, mode: u32 },
}

/// Puts a layer into the store, or finds it there. `artifact` gives the pin of an artifact of the layer's architecture by name.
pub(crate) fn make(
    store: &Store,
    layer: &Layer,
    artifact: impl Fn(&str) -> Option<Pinned>,
) -> Result<LayerBlob, Vec<LayerError>> {
    let entries = Planner { store, layer, artifact, tables: BTreeMap::new() }.plan()?;
    let fault = |source| vec![LayerError::Store { layer: layer.name.clone(), arch: layer.arch, source }];
    let key = key(&entries);
    let _making = store.lock(&key).map_err(fault)?;
    if let Some(made) = store.recall::<LayerBlob>(&key)
        && store.holds(&made.blob).map_err(fault)?
    {
        return Ok(made);
    }
    let made = write(store, layer, &entries).map_err(|error| vec![error])?;
    store.remember(&key, &made).map_err(fault)?;
    Ok(made)
}

/// Compresses a layer that is whole already, or finds the result of an earlier time. All of `from` is read, so that a wrong tar shows by its digest;
/// `expected` only names what is remembered.
pub(crate) fn compress(store: &Store, from: &mut impl Read, expected: &Digest) -> io::Result<LayerBlob> {
    let parts = (METHOD, "compressed", zstd::zstd_safe::version_number(), LEVEL, WINDOW_LOG, expected);
    let key = Digest::of(&serde_json::to_vec(&parts)?);
    let _making = store.lock(&key).map_err(io::Error::other)?;
    if let Some(made) = store.recall::<LayerBlob>(&key)
        && store.holds(&made.blob).map_err(io::Error::other)?
    {
        let diff_id = crate::store::hash(from)?.digest;
        return Ok(LayerBlob { diff_id, ..made });
    }
    let mut encoder = zstd::Encoder::new(store.writer().map_err(io::Error::other)?, LEVEL)?;
    tune(&mut encoder)?;
    let mut hashing = Hashing { inner: encoder, hasher: Sha256::new() };
    io::copy(from, &mut hashing)?;
    let blob = hashing.inner.finish()?.finish().map_err(io::Error::other)?;
    let made = LayerBlob { blob, diff_id: Digest::from_bytes(hashing.hasher.finalize().into()) };
    if made.diff_id == *expected {
        store.remember(&key, &made).map_err(io::Error::other)?;
    }
    Ok(made)
}

fn key(entries: &BTreeMap<String, Planned>) -> Digest {
    let parts = (METHOD, zstd::zstd_safe::version_number(), LEVEL, WINDOW_LOG, entries);
    // Plain data with string keys: there is nothing in it that JSON cannot hold.
    Digest::of(&serde_json::to_vec(&parts).unwrap_or_default())
}

/// Checks a layer's entries and finds what they are made of.
struct Planner<'a, F> {
    store: &'a Store,
    layer: &'a Layer,
    artifact: F,
    /// Tables of the packages read so far.
    tables: BTreeMap<Digest, Result<deb::Table, String>>,
}

impl<F: Fn(&str) -> Option<Pinned>> Planner<'_, F> {
    fn plan(mut self) -> Result<BTreeMap<String, Planned>, Vec<LayerError>> {
        let (mut entries, mut faults) = (BTreeMap::new(), Vec::new());
        for entry in &self.layer.entries {
            let path = path_of(entry);
            let planned = check_path(path).and_then(|()| self.plan_entry(entry));
            match planned {
                Ok(planned) => {
                    if entries.insert(path.to_owned(), planned).is_some() {
                        faults.push(self.fault(path, "it comes twice".to_owned()));
                    }
                }
                Err(reason) => faults.push(self.fault(path, reason)),
            }
        }
        self.add_parents(&mut entries, &mut faults);
        if faults.is_empty() { Ok(entries) } else { Err(faults) }
    }

    fn fault(&self, path: &str, reason: String) -> LayerError {
        let (layer, path) = (self.layer.name.clone(), path.to_owned());
        LayerError::Entry { layer, arch: self.layer.arch, path, reason }
    }

    fn plan_entry(&mut self, entry: &LayerEntry) -> Result<Planned, String> {
        Ok(match entry {
            LayerEntry::Folder { mode, .. } => Planned::Folder { mode: check_mode(*mode)? },
            LayerEntry::Link { target, .. } => Planned::Link { target: check_target(target)? },
            LayerEntry::Text { content, mode, .. } => {
                Planned::Text { content: content.clone(), mode: check_mode(*mode)? }
            }
            LayerEntry::File { artifact, member, mode, .. } => {
                let pin = (self.artifact)(artifact)
                    .ok_or_else(|| format!("the lock has no artifact {artifact} for {}", self.layer.arch))?;
                let member = member.as_deref().map(|member| self.find_member(artifact, &pin, member));
                Planned::File { artifact: pin, member: member.transpose()?, mode: check_mode(*mode)? }
            }
        })
    }

    fn find_member(&mut self, name: &str, pin: &Pinned, member: &str) -> Result<(String, u64), String> {
        if member.matches('*').count() > 1 {
            return Err(format!("member {member} has more than one *"));
        }
        let store = self.store;
        let table = self.tables.entry(pin.digest).or_insert_with(|| read_table(store, pin));
        table
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|table| table.find(member))
            .map_err(|reason| format!("package {name}: {reason}"))
    }

    /// Adds the folders that entries lie in.
    fn add_parents(&self, entries: &mut BTreeMap<String, Planned>, faults: &mut Vec<LayerError>) {
        for path in entries.keys().cloned().collect::<Vec<_>>() {
            for (end, _) in path.match_indices('/') {
                let parent = &path[..end];
                match entries.get(parent) {
                    None => drop(entries.insert(parent.to_owned(), Planned::Folder { mode: 0o755 })),
                    Some(Planned::Folder { .. }) => {}
                    Some(_) => faults.push(self.fault(&path, format!("{parent} is not a folder"))),
                }
            }
        }
    }
}

/// Reads a package's table after comparing the whole package with its digest.
fn read_table(store: &Store, pin: &Pinned) -> Result<deb::Table, String> {
    store.verify(&pin.digest, Some(pin.size)).map_err(|error| error.to_string())?;
    let file = store.read(&pin.digest).map_err(|error| error.to_string())?;
    deb::Table::read(BufReader::with_capacity(CHUNK, file))
        .map_err(|error| format!("it is not a Debian package: {error}"))
}

fn path_of(entry: &LayerEntry) -> &str {
    match entry {
        LayerEntry::File { path, .. }
        | LayerEntry::Link { path, .. }
        | LayerEntry::Folder { path, .. }
        | LayerEntry::Text { path, .. } => path,
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if path.contains('\0') {
        return Err("the path holds a zero byte".to_owned());
    }
    match path.split('/').find(|part| matches!(*part, "" | "." | "..")) {
        Some(_) => {
            Err("the path must be relative and plain: no leading or double slash, no `.` or `..`".to_owned())
        }
        None => Ok(()),
    }
}

fn check_target(target: &str) -> Result<String, String> {
    if target.is_empty() || target.contains('\0') {
        return Err("the link has no usable target".to_owned());
    }
    Ok(target.to_owned())
}

fn check_mode(mode: u32) -> Result<u32, String> {
    if mode > 0o7777 { Err(format!("mode {mode:o} has bits beyond 7777")) } else { Ok(mode) }
}

fn write(store: &Store, layer: &Layer, entries: &BTreeMap<String, Planned>) -> Result<LayerBlob, LayerError> {
    let (name, arch) = (&layer.name, layer.arch);
    let store_fault = |source| LayerError::Store { layer: name.clone(), arch, source };
    let io_fault = |path: &str| {
        let (layer, path) = (name.clone(), path.to_owned());
        move |source| LayerError::Io { layer, arch, path, source }
    };
    let mut encoder =
        zstd::Encoder::new(store.writer().map_err(store_fault)?, LEVEL).map_err(io_fault("(start)"))?;
    tune(&mut encoder).map_err(io_fault("(start)"))?;
    let mut tar = tar::Builder::new(Hashing { inner: encoder, hasher: Sha256::new() });
    for (path, entry) in entries {
        write_entry(&mut tar, store, path, entry).map_err(io_fault(path))?;
    }
    let Hashing { inner, hasher } = tar.into_inner().map_err(io_fault("(end)"))?;
    let blob = inner.finish().map_err(io_fault("(end)"))?.finish().map_err(store_fault)?;
    Ok(LayerBlob { blob, diff_id: Digest::from_bytes(hasher.finalize().into()) })
}

fn tune<W: Write>(encoder: &mut zstd::Encoder<'_, W>) -> io::Result<()> {
    encoder.window_log(WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    encoder.include_contentsize(false)
}

fn write_entry(
    tar: &mut tar::Builder<impl Write>,
    store: &Store,
    path: &str,
    entry: &Planned,
) -> io::Result<()> {
    match entry {
        Planned::Folder { mode } => {
            tar.append_data(&mut header(EntryType::Directory, *mode, 0), format!("{path}/"), io::empty())
        }
        Planned::Link { target } => tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target),
        Planned::Text { content, mode } => {
            let mut header = header(EntryType::Regular, *mode, content.len() as u64);
            tar.append_data(&mut header, path, content.as_bytes())
        }
        Planned::File { artifact, member: None, mode } => {
            let mut header = header(EntryType::Regular, *mode, artifact.size);
            let file = store.read(&artifact.digest).map_err(io::Error::other)?;
            let mut reader = Hashing { inner: BufReader::with_capacity(CHUNK, file), hasher: Sha256::new() };
            tar.append_data(&mut header, path, Exact { inner: &mut reader, rest: artifact.size })?;
            let found = Digest::from_bytes(reader.hasher.finalize().into());
            if found == artifact.digest {
                return Ok(());
            }
            let (path, expected) = (store.blob_path(&artifact.digest), artifact.digest);
            Err(io::Error::other(StoreError::Damaged { path, expected, found }))
        }
        Planned::File { artifact, member: Some((member, size)), mode } => {
            let mut header = header(EntryType::Regular, *mode, *size);
            let file = store.read(&artifact.digest).map_err(io::Error::other)?;
            deb::copy_file(BufReader::with_capacity(CHUNK, file), member, |content| {
                tar.append_data(&mut header, path, Exact { inner: content, rest: *size })
            })
        }
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Gives exactly `rest` bytes, or an error: a tar entry must be as long as its header says.
struct Exact<R> {
    inner: R,
    rest: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than it should be"));
        }
        self.rest -= count as u64;
        Ok(count)
    }
}

/// Hashes what passes through.
struct Hashing<I> {
    inner: I,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
