//! What a layer may hold, and putting it into a folder.
//!
//! A layer comes out of a verified bundle and is held to rules all the same: whoever may sign must not thereby write where they like on a
//! host, nor fill its memory or its disk.
//!
//! 1. Entries are regular files, folders, hard and symbolic links. Device nodes, pipes, sparse files and unknown kinds are refused.
//! 2. Paths, and targets of hard links, are relative and plain: no leading slash, no `..`. The folder that an entry lies in is inside, with all
//!    links followed. Where a symbolic link points is not looked at, since nothing is written through it.
//! 3. A whiteout removes what a lower layer put there (OCI image-spec, layer.md "Whiteouts"), by the same rules.
//!
//! Limits: [`MAX_ENTRIES`] entries, [`MAX_NAMES`] bytes of names and extended headers between two of them, and [`room`] bytes in all. What is beyond
//! is never read, so memory stays flat.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use tar::{Entry, EntryType};

use crate::fault::Fault;
use crate::record::remove_tree;

/// Most entries of a layer.
pub const MAX_ENTRIES: u32 = 200_000;
/// Most bytes of headers, long names and records before an entry.
pub const MAX_NAMES: u64 = 256 << 10;
/// First bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Largest window, as a power of two, that is unpacked: 128 MiB of memory.
const MAX_WINDOW: u32 = 27;

/// Most bytes that a layer may unpack to: 200 times its size, and 64 MiB for any.
pub const fn room(size: u64) -> u64 {
    const FLOOR: u64 = 64 << 20;
    let most = size.saturating_mul(200);
    if most < FLOOR { FLOOR } else { most }
}

/// Unpacks a layer of `size` bytes, compressed with zstd or not, over what `folder` holds, until `cancelled`. The caller compares the digest of
/// what was read.
///
/// # Errors
/// The layer breaks a rule of this module; the fault names the entry. What came before it is in the folder.
pub fn unpack(mut from: impl BufRead, size: u64, folder: &Path, cancelled: &AtomicBool) -> Result<(), Fault> {
    let folder = fs_err::canonicalize(folder)?;
    if from.fill_buf()?.starts_with(&ZSTD_MAGIC) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?;
        decoder.window_log_max(MAX_WINDOW)?;
        extract(decoder, size, &folder, cancelled)
    } else {
        extract(from, size, &folder, cancelled)
    }
}

fn extract(tar: impl Read, size: u64, folder: &Path, cancelled: &AtomicBool) -> Result<(), Fault> {
    let next = Rc::new(Cell::new(MAX_NAMES));
    let mut archive = tar::Archive::new(Meter { tar, next: Rc::clone(&next), left: room(size) });
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(rustix::process::geteuid().is_root());
    archive.set_preserve_mtime(true);
    archive.set_overwrite(true);
    let mut entries = archive.entries()?;
    for count in 0.. {
        if cancelled.load(Ordering::SeqCst) {
            return Err(Fault::new("nobody waits for it any more"));
        }
        next.set(MAX_NAMES);
        let Some(entry) = entries.next() else { return Ok(()) };
        if count == MAX_ENTRIES {
            return Err(Fault::new(format!("the layer has more than {MAX_ENTRIES} entries")));
        }
        let mut entry = entry?;
        next.set(entry.size());
        put(&mut entry, folder)?;
    }
    Ok(())
}

/// Puts an entry into its place, or removes what it says is gone.
fn put(entry: &mut Entry<'_, impl Read>, folder: &Path) -> Result<(), Fault> {
    let path = entry.path()?.into_owned();
    check(entry, &path)?;
    inside(folder, &path)?;
    if entry.header().entry_type() == EntryType::Link {
        inside(folder, &entry.link_name()?.unwrap_or_default())?;
    }
    if whiteout(folder, &path)? {
        return Ok(());
    }
    if entry.unpack_in(folder)? { Ok(()) } else { Err(leads_out(&path)) }
}

fn check(entry: &Entry<'_, impl Read>, path: &Path) -> Result<(), Fault> {
    plain(path)?;
    let name = path.display().to_string().escape_debug().to_string();
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => return Ok(()),
        EntryType::Directory | EntryType::Symlink => {}
        EntryType::Link => plain(&entry.link_name()?.unwrap_or_default())?,
        other => {
            return Err(Fault::new(format!("the layer has {name}, which is {}", kind(other))));
        }
    }
    if entry.size() > 0 {
        return Err(Fault::new(format!("the layer has {name}, which has bytes and is no file")));
    }
    Ok(())
}

fn kind(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char | EntryType::Block => "a device node",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "neither file nor folder nor link",
    }
}

fn leads_out(path: &Path) -> Fault {
    Fault::new(format!(
        "the layer names {}, which leads out of its folder",
        path.display().to_string().escape_debug()
    ))
}

/// Requires a relative path without `..`.
fn plain(path: &Path) -> Result<(), Fault> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if plain && path.as_os_str().len() < 4096 { Ok(()) } else { Err(leads_out(path)) }
}

/// Requires that what there is of an entry's folder lies in `folder`, with links followed.
fn inside(folder: &Path, path: &Path) -> Result<(), Fault> {
    let mut above = path.ancestors().skip(1).map(|parent| folder.join(parent));
    let there = above.find(|parent| parent.symlink_metadata().is_ok()).unwrap_or_else(|| folder.to_owned());
    match fs_err::canonicalize(&there) {
        Ok(real) if real.starts_with(folder) => Ok(()),
        _ => Err(leads_out(path)),
    }
}

/// Whether the entry only says that something of a lower layer is gone; then removes that.
fn whiteout(folder: &Path, path: &Path) -> Result<bool, Fault> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(hidden) = name.strip_prefix(".wh.") else { return Ok(false) };
    let place: PathBuf = folder.join(path.parent().unwrap_or(Path::new("")));
    match hidden {
        ".wh..opq" if place.is_dir() => {
            for inner in fs_err::read_dir(&place)? {
                remove_tree(&inner?.path())?;
            }
        }
        ".wh..opq" => {}
        "" | "." | ".." => return Err(leads_out(path)),
        hidden => remove_tree(&place.join(hidden))?,
    }
    Ok(true)
}

/// Reads no more than is allowed for what comes next, and for the whole.
struct Meter<R> {
    tar: R,
    next: Rc<Cell<u64>>,
    left: u64,
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.next.get().min(self.left);
        if most == 0 && !buffer.is_empty() {
            let what = if self.left == 0 {
                "unpacks to far more than its size"
            } else {
                "has names that are too long"
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the layer {what}")));
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.tar.read(&mut buffer[..most])?;
        self.next.set(self.next.get() - count as u64);
        self.left -= count as u64;
        Ok(count)
    }
}
