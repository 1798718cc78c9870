//! What was on the host before qiji changed it, and putting it back.
//!
//! Flow: before the first change of a path, setting, unit or module, its former state is appended to `changes.jsonl` and synced
//! (a file's content is first copied below `before/` and synced). Only then is it changed. [`Record::undo`] reads the list and puts
//! everything back, newest first, then forgets it.
//!
//! Guarantees: a crash at any instant leaves a record that is complete for whatever was changed; `undo` cut short can be run again.
//! Limits: what programs do by themselves (`Run`) is not recorded, nor are extended attributes. A folder that qiji made is
//! removed only if it is empty by then; an unpacked tree is removed whole. A module still in use stays loaded.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::root::{self, Root, crash_point};

/// State of something before its first change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "of")]
pub enum Change {
    /// A path.
    Path {
        /// The path.
        path: String,
        /// What was there.
        former: Former,
    },
    /// A kernel setting.
    Sysctl {
        /// Dotted key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A systemd unit.
    Unit {
        /// Name with suffix.
        name: String,
        /// Whether it started at boot.
        enabled: bool,
        /// Whether it ran.
        active: bool,
    },
    /// A kernel module that was not loaded.
    Module {
        /// Its name.
        name: String,
    },
}

/// What was at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "was")]
pub enum Former {
    /// Nothing; a file, link or empty folder that is there now is removed.
    Missing,
    /// Nothing; a whole tree that is there now is removed.
    MissingTree,
    /// A file.
    File {
        /// Name of the copy below `before/`.
        copy: String,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Nanoseconds since 1970 of its last change.
        modified: u64,
    },
    /// A symbolic link.
    Link {
        /// Its target.
        target: String,
    },
    /// A folder with this mode.
    Folder {
        /// Permission bits.
        mode: u32,
    },
    /// Something that was moved aside.
    Moved {
        /// Where it is now.
        to: String,
    },
}

impl Change {
    fn key(&self) -> String {
        match self {
            Self::Path { path, .. } => format!("path {path}"),
            Self::Sysctl { key, .. } => format!("sysctl {key}"),
            Self::Unit { name, .. } => format!("unit {name}"),
            Self::Module { name } => format!("module {name}"),
        }
    }
}

/// Deeds on units, settings and modules that undoing needs; a fake in tests.
pub trait Undoer {
    /// Stop a unit and keep it from starting at boot.
    fn stop_unit(&self, name: &str) -> Result<(), Fault>;
    /// Read unit files anew.
    fn reload_units(&self) -> Result<(), Fault>;
    /// Make a unit start at boot, or start it now.
    fn restore_unit(&self, name: &str, enabled: bool, active: bool) -> Result<(), Fault>;
    /// Unload a module, if it can be.
    fn unload(&self, module: &str);
    /// Say what was left as it is.
    fn note(&self, line: &str);
}

/// The list of former states of one host.
#[derive(Debug)]
pub struct Record {
    root: Root,
    seen: Mutex<Option<BTreeSet<String>>>,
}

impl Record {
    /// The list of this host; nothing is read yet.
    pub fn new(root: Root) -> Self {
        Self { root, seen: Mutex::new(None) }
    }

    fn list(&self) -> PathBuf {
        self.root.state("changes.jsonl")
    }

    fn before(&self) -> PathBuf {
        self.root.state("before")
    }

    /// Former states, oldest first.
    pub fn changes(&self) -> Result<Vec<Change>, Fault> {
        Ok(root::read_lines(&self.list())?)
    }

    /// Appends a former state unless one is known for the same thing.
    pub fn note(&self, change: &Change) -> Result<(), Fault> {
        self.note_with(&change.key(), || Ok(change.clone()))
    }

    fn note_with(&self, key: &str, former: impl FnOnce() -> Result<Change, Fault>) -> Result<(), Fault> {
        let mut guard = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            *guard = Some(self.changes()?.iter().map(Change::key).collect());
        }
        let seen = guard.get_or_insert_default();
        if seen.contains(key) {
            return Ok(());
        }
        root::make_state_folder(&self.root.state(""), 0o700)?;
        root::append_line(&self.list(), &former()?)?;
        seen.insert(key.to_owned());
        Ok(())
    }

    /// Records what is at a path, before it is changed for the first time. A tree that is made there later is undone whole.
    pub fn before_path(&self, path: &Path, tree: bool) -> Result<(), Fault> {
        let shown = self.root.shown(path);
        self.note_with(&format!("path {shown}"), || {
            let former = match root::look(path)? {
                None if tree => Former::MissingTree,
                None => Former::Missing,
                Some(found) => self.keep(path, &shown, &found, tree)?,
            };
            Ok(Change::Path { path: shown.clone(), former })
        })
    }

    fn keep(&self, path: &Path, shown: &str, found: &std::fs::Metadata, tree: bool) -> Result<Former, Fault> {
        let mode = found.permissions().mode() & 0o7777;
        if found.is_symlink() {
            let target = fs_err::read_link(path)?;
            return Ok(Former::Link { target: target.to_string_lossy().into_owned() });
        }
        if found.is_dir() {
            let aside = format!("{shown}.qiji-before");
            return Ok(if tree { Former::Moved { to: aside } } else { Former::Folder { mode } });
        }
        if !found.is_file() {
            return Err(Fault::new(format!(
                "{shown} is neither a file, a link nor a folder; it is left alone"
            )));
        }
        let copy = Digest::of(shown.as_bytes()).short();
        self.copy_aside(path, &copy)?;
        let modified = found.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
        Ok(Former::File { copy, mode, uid: found.uid(), gid: found.gid(), modified })
    }

    fn copy_aside(&self, path: &Path, name: &str) -> Result<(), Fault> {
        let folder = self.before();
        root::make_state_folder(&folder, 0o700)?;
        let part = folder.join(format!("{name}.part"));
        fs_err::copy(path, &part)?;
        fs_err::set_permissions(&part, std::fs::Permissions::from_mode(0o600))?;
        fs_err::File::open(&part)?.sync_all()?;
        crash_point();
        fs_err::rename(&part, folder.join(name))?;
        root::sync_folder(&folder)?;
        Ok(())
    }

    /// Makes the missing parents of a path, 0755, each recorded.
    pub fn make_parents(&self, path: &Path) -> Result<bool, Fault> {
        let Some(parent) = path.parent() else { return Ok(false) };
        if parent.is_dir() {
            return Ok(false);
        }
        self.make_parents(parent)?;
        self.before_path(parent, false)?;
        crash_point();
        make_folder(parent, 0o755)?;
        Ok(true)
    }

    /// Puts everything back, newest first, and forgets it. The agent's own binary and the lock stay.
    ///
    /// # Errors
    /// The first thing that could not be put back; the record stays and undoing can be tried again.
    pub fn undo(&self, with: &impl Undoer) -> Result<bool, Fault> {
        let mut guard = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = self.changes()?;
        changes.reverse();
        for change in &changes {
            if let Change::Unit { name, .. } = change {
                with.stop_unit(name)?;
            }
        }
        for change in &changes {
            if let Change::Path { path, former } = change {
                let place = self.root.path(path)?;
                self.put_back(&place, former, with)
                    .map_err(|fault| fault.within(format!("cannot put back {path}")))?;
                crash_point();
            }
        }
        self.undo_kernel_and_units(&changes, with)?;
        let forgotten = self.forget()?;
        *guard = None;
        Ok(!changes.is_empty() || forgotten)
    }

    fn undo_kernel_and_units(&self, changes: &[Change], with: &impl Undoer) -> Result<(), Fault> {
        if changes.iter().any(|change| matches!(change, Change::Unit { .. })) {
            with.reload_units()?;
        }
        for change in changes {
            match change {
                Change::Unit { name, enabled, active } if *enabled || *active => {
                    with.restore_unit(name, *enabled, *active)?;
                }
                Change::Sysctl { key, value } => {
                    let path = self.root.path(&format!("/proc/sys/{}", key.replace('.', "/")))?;
                    if path.exists() && fs_err::write(&path, value).is_err() {
                        with.note(&format!("{key} could not be set back to {value}"));
                    }
                }
                Change::Module { name } => with.unload(name),
                Change::Unit { .. } | Change::Path { .. } => {}
            }
        }
        Ok(())
    }

    fn put_back(&self, path: &Path, former: &Former, with: &impl Undoer) -> Result<(), Fault> {
        remove_tree(&root::beside(path))?;
        match former {
            Former::Missing => remove_what_we_made(path, with, &self.root),
            Former::MissingTree => Ok(remove_tree(path)?),
            Former::Link { target } => Ok(put_link(path, target)?),
            Former::Folder { mode } => {
                make_folder(path, *mode)?;
                Ok(fs_err::set_permissions(path, std::fs::Permissions::from_mode(*mode))?)
            }
            Former::Moved { to } => {
                let aside = self.root.path(to)?;
                if root::look(&aside)?.is_some() {
                    remove_tree(path)?;
                    crash_point();
                    fs_err::rename(&aside, path)?;
                }
                Ok(())
            }
            Former::File { copy, mode, uid, gid, modified } => {
                let content = fs_err::read(self.before().join(copy))?;
                if let Some(parent) = path.parent() {
                    fs_err::create_dir_all(parent)?;
                }
                root::write_whole(path, *mode, &content)?;
                std::os::unix::fs::chown(path, Some(*uid), Some(*gid))?;
                fs_err::set_permissions(path, std::fs::Permissions::from_mode(*mode))?;
                let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(*modified);
                fs_err::File::open(path)?.file().set_modified(at)?;
                Ok(())
            }
        }
    }

    /// Removes all that the agent keeps, but its own binary and the lock; the list goes before the copies it names.
    fn forget(&self) -> Result<bool, Fault> {
        let folder = self.root.state("");
        let mut last = Vec::new();
        let mut removed = false;
        let entries = match fs_err::read_dir(&folder) {
            Ok(entries) => entries,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(fault) => return Err(fault.into()),
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_name().to_string_lossy().as_ref() {
                "agent" | "lock" => {}
                "changes.jsonl" => last.insert(0, entry.path()),
                "before" => last.push(entry.path()),
                _ => {
                    remove_tree(&entry.path())?;
                    removed = true;
                }
            }
        }
        for path in last {
            crash_point();
            remove_tree(&path)?;
            removed = true;
        }
        Ok(removed)
    }
}

fn remove_what_we_made(path: &Path, with: &impl Undoer, root: &Root) -> Result<(), Fault> {
    match root::look(path)? {
        None => Ok(()),
        Some(found) if found.is_dir() => {
            match fs_err::remove_dir(path) {
                Ok(()) => {}
                Err(fault) if fault.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    with.note(&format!("{} is not empty and stays", root.shown(path)));
                }
                Err(fault) => return Err(fault.into()),
            }
            Ok(())
        }
        Some(_) => Ok(fs_err::remove_file(path)?),
    }
}

/// Makes one folder with this mode, whatever the umask; fine if it is there.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    match fs_err::create_dir(path) {
        Ok(()) => fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)),
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// Puts a symbolic link in place of a file or link, at once.
pub fn put_link(path: &Path, target: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let beside = root::beside(path);
    match fs_err::remove_file(&beside) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
        _ => {}
    }
    fs_err::os::unix::fs::symlink(target, &beside)?;
    crash_point();
    fs_err::rename(&beside, path)?;
    root::sync_folder(folder)
}

/// Removes a file, a link, or a folder with all in it; fine if it is not there. Links are not followed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match root::look(path)? {
        None => Ok(()),
        Some(found) if found.is_dir() => match fs_err::remove_dir_all(path) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        },
        Some(_) => fs_err::remove_file(path),
    }
}
