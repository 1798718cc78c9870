//! Which files of the hosts differ: the layers of packages that differ are read, entry by entry.
//!
//! Layers are unpacked over one another in the mind only: a later entry takes the place of an earlier one of the same path. Contents are hashed while
//! they stream by; nothing is written and nothing is kept but paths and digests.
//!
//! Limits: a layer of more than 65,536 entries or 16 GiB unpacked is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};

use qiji_blueprint::site::Arch;

use super::{Change, Item, Key, Sort};
use crate::RAW_FILE;
use crate::contents::{Blob, PackageEntry};
use crate::error::VerifyError;
use crate::hash::{BUFFER, Hasher};
use crate::read::Side;

const MAX_ENTRIES: usize = 1 << 16;
const MAX_UNPACKED: u64 = 16 << 30;

/// Files of hosts that differ, by package and path.
pub fn file_changes(from: Side<'_>, to: Side<'_>) -> Result<Vec<Change>, VerifyError> {
    let (before, after) = (packages(from), packages(to));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let mut changes = Vec::new();
    for name in names {
        let (old, new) = (before.get(&name), after.get(&name));
        if old.map(|package| &package.blobs) == new.map(|package| &package.blobs) {
            continue;
        }
        let old = old.map(|package| files(from, package)).transpose()?.unwrap_or_default();
        let new = new.map(|package| files(to, package)).transpose()?.unwrap_or_default();
        changes.extend(compare(name, &old, &new));
    }
    Ok(changes)
}

pub(super) type Files = BTreeMap<String, Item>;

fn packages(side: Side<'_>) -> BTreeMap<(&str, Arch), &PackageEntry> {
    side.packages().map(|package| ((package.name.as_str(), package.arch), package)).collect()
}

fn compare((package, arch): (&str, Arch), old: &Files, new: &Files) -> Vec<Change> {
    let paths: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let changed = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    changed
        .map(|path| {
            let name = if path.is_empty() { package.to_owned() } else { format!("{package}/{path}") };
            let key = Key { sort: Sort::HostFile, name, arch: Some(arch), kind: None };
            Change { key, from: old.get(path).cloned(), to: new.get(path).cloned(), hosts: Vec::new() }
        })
        .collect()
}

/// The files of a package by path; a package that is one file has it under the empty path.
pub(super) fn files(side: Side<'_>, package: &PackageEntry) -> Result<Files, VerifyError> {
    let mut files = Files::new();
    for blob in &package.blobs {
        if blob.media_type == RAW_FILE {
            let item = Item { digest: Some(blob.digest), size: Some(blob.size), ..Item::default() };
            files.insert(String::new(), item);
        } else {
            let mut reader = side.blob(&blob.digest)?;
            let read = layer(blob, &mut reader, &mut files);
            // To its end, where it is compared with its digest.
            read.and_then(|()| io::copy(&mut reader, &mut io::sink())).map_err(|error| side.failed(error))?;
        }
    }
    Ok(files)
}

fn layer(blob: &Blob, reader: impl Read, files: &mut Files) -> io::Result<()> {
    let reader = BufReader::with_capacity(BUFFER, reader);
    let content: Box<dyn Read> = match blob.media_type.rsplit(['.', '+']).next() {
        Some("zstd") => Box::new(zstd::Decoder::new(reader)?),
        Some("tar") => Box::new(reader),
        _ => return Err(io::Error::other(format!("layers of type {} are not looked into", blob.media_type))),
    };
    let mut archive = tar::Archive::new(content.take(MAX_UNPACKED));
    for (count, entry) in archive.entries()?.enumerate() {
        if count == MAX_ENTRIES {
            return Err(io::Error::other("a layer has more than 65,536 entries"));
        }
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_end_matches('/').to_owned();
        if let Some(item) = item(&mut entry)? {
            files.insert(plain(&path), item);
        }
    }
    Ok(())
}

/// A path that can be shown: what a terminal would obey is written out.
pub(super) fn plain(path: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    path.chars().map(shown).collect()
}

/// A file or a link; nothing for a folder.
fn item(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Option<Item>> {
    if let Some(target) = entry.link_name()? {
        return Ok(Some(Item::link(&target.to_string_lossy())));
    }
    if !entry.header().entry_type().is_file() {
        return Ok(None);
    }
    let mode = entry.header().mode()?;
    let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0, vec![0; BUFFER]);
    loop {
        let count = entry.read(&mut buffer)?;
        if count == 0 {
            return Ok(Some(Item::file(hasher.finish(), size, mode)));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}
