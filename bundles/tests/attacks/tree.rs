//! A picture of all files below a folder, to see whether anything was written.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use qiji_blueprint::Digest;

/// Path of each file, and what it is: mode, owner, times, size and content.
pub(crate) type Tree = BTreeMap<PathBuf, String>;

/// Everything below `root` but what lies below `scratch`.
pub(crate) fn tree(root: &Path, scratch: &Path) -> Tree {
    let mut all = Tree::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path == scratch {
                continue;
            }
            let found = path.symlink_metadata().unwrap();
            let content = if found.is_symlink() {
                fs_err::read_link(&path).unwrap().display().to_string()
            } else if found.is_dir() {
                folders.push(path.clone());
                String::new()
            } else {
                content(&path, found.len())
            };
            let (mode, owner) = (found.mode(), (found.uid(), found.gid()));
            let time = if found.is_dir() { 0 } else { found.mtime_nsec() };
            all.insert(path, format!("{mode:o} {owner:?} {time} {content}"));
        }
    }
    all
}

/// A file's content in short. One of many gigabytes is a hole, of which the size is enough.
fn content(path: &Path, size: u64) -> String {
    if size > 1 << 28 {
        return size.to_string();
    }
    Digest::of(&fs_err::read(path).unwrap()).to_string()
}
