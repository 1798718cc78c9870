//! What is on the host of what bundles unpacked there. Nothing is changed.
//!
//! Flow: the packages' folder is walked without following links → paths are sorted → those behind the one that is known already are hashed,
//! as many as fit an answer. A file that goes away meanwhile is left out; sockets and devices, which no layer can hold, are too.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use qiji_blueprint::Digest;
use qiji_plan::{Found, FoundFile, paths};
use sha2::{Digest as _, Sha256};

use crate::fault::Fault;
use crate::root::{self, Root};
use crate::store::hash_into;
use crate::wire::FRAME_LIMIT;

/// Files in one answer.
const AT_ONCE: usize = 1024;
/// Bytes that a file takes in an answer beside its path and its link's target, at most.
const ENTRY: usize = 64;

/// Files and links of unpacked packages in the order of their paths, those behind `after`.
pub fn files(root: &Root, after: Option<&str>) -> Result<Vec<FoundFile>, Fault> {
    let folder = root.known(paths::PACKAGES);
    let mut found = Vec::new();
    let mut left = FRAME_LIMIT - 1024;
    for (name, path) in walk(&folder)? {
        if after.is_some_and(|after| name.as_str() <= after) {
            continue;
        }
        let Some(what) = look(&path)? else { continue };
        let target = if let Found::Link { target } = &what { target.len() } else { 0 };
        let size = name.len() + target + ENTRY;
        if found.len() == AT_ONCE || size > left {
            break;
        }
        left -= size;
        found.push(FoundFile { path: name, what });
    }
    Ok(found)
}

/// All that is not a folder: path below the folder, and whole path, sorted.
fn walk(folder: &Path) -> Result<Vec<(String, PathBuf)>, Fault> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_path_buf()];
    while let Some(next) = todo.pop() {
        let Some(entries) = gone(fs_err::read_dir(&next))? else { continue };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                todo.push(path);
            } else {
                let below = path.strip_prefix(folder).unwrap_or(&path);
                found.push((below.to_string_lossy().into_owned(), path));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn look(path: &Path) -> Result<Option<Found>, Fault> {
    let Some(metadata) = root::look(path)? else { return Ok(None) };
    if metadata.is_symlink() {
        let target = gone(fs_err::read_link(path))?;
        return Ok(target.map(|target| Found::Link { target: target.to_string_lossy().into_owned() }));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    let Some(file) = gone(fs_err::File::open(path))? else { return Ok(None) };
    let mut hasher = Sha256::new();
    let size = hash_into(file, &mut hasher)?;
    let mode = metadata.permissions().mode() & 0o7777;
    Ok(Some(Found::File { digest: Digest::from_bytes(hasher.finalize().into()), size, mode }))
}

/// Nothing, where it is not there (any more).
fn gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
