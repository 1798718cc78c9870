//! Folders, files and links. Files are written beside their place and renamed; what was there before is recorded first.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use qiji_blueprint::Digest;
use qiji_plan::{Content, Step};

use super::{Checked, Deed, fill};
use crate::fault::Fault;
use crate::host::Task;
use crate::journal;
use crate::record::{make_folder, put_link};
use crate::root::{self, crash_point};

fn mode_of(found: &std::fs::Metadata) -> u32 {
    found.permissions().mode() & 0o7777
}

pub(super) fn check_folder(task: Task<'_>, path: &str, mode: u32) -> Checked {
    let found = root::look(&task.host.root.path(path)?)?;
    Ok(match found {
        None => Some(format!("{path} is missing")),
        Some(found) if !found.is_dir() => Some(format!("{path} is not a folder")),
        Some(found) if mode_of(&found) != mode => Some(format!("{path} has mode {:o}", mode_of(&found))),
        Some(_) => None,
    })
}

pub(super) fn folder(task: Task<'_>, path: &str, mode: u32) -> Result<bool, Fault> {
    if check_folder(task, path, mode)?.is_none() {
        return Ok(false);
    }
    let place = task.host.root.path(path)?;
    task.host.record.make_parents(&place)?;
    task.host.record.before_path(&place, false)?;
    crash_point();
    make_folder(&place, mode)?;
    fs_err::set_permissions(&place, std::fs::Permissions::from_mode(mode))?;
    Ok(true)
}

pub(super) fn check_file(task: Task<'_>, step: &Step, path: &str, mode: u32, content: &Content) -> Checked {
    if content.inputs.is_empty() {
        return differs(task, path, mode, &Digest::of(content.text.as_bytes()));
    }
    let mark = journal::done_mark(&task.host.root, &step.id)?;
    let fingerprint = journal::fingerprint(&step.action)?;
    let known =
        mark.filter(|mark| mark.fingerprint == fingerprint).and_then(|mark| mark.files.get(path).copied());
    match known {
        Some(digest) => differs(task, path, mode, &digest),
        None => Ok(Some(format!("{path} was not written from these values"))),
    }
}

/// How a file differs from what it should be.
fn differs(task: Task<'_>, path: &str, mode: u32, digest: &Digest) -> Checked {
    let place = task.host.root.path(path)?;
    Ok(match root::look(&place)? {
        None => Some(format!("{path} is missing")),
        Some(found) if !found.is_file() => Some(format!("{path} is not a plain file")),
        Some(found) if mode_of(&found) != mode => Some(format!("{path} has mode {:o}", mode_of(&found))),
        Some(_) if Digest::of(&fs_err::read(&place)?) != *digest => Some(format!("{path} has other content")),
        Some(_) => None,
    })
}

pub(super) fn file(
    task: Task<'_>,
    path: &str,
    mode: u32,
    content: &Content,
    values: &BTreeMap<String, String>,
) -> Result<Deed, Fault> {
    let text = fill(content, values)?;
    let digest = Digest::of(text.as_bytes());
    let mut deed = Deed::changed(differs(task, path, mode, &digest)?.is_some());
    if deed.changed {
        let place = task.host.root.path(path)?;
        task.host.record.make_parents(&place)?;
        task.host.record.before_path(&place, false)?;
        crash_point();
        root::write_whole(&place, mode, text.as_bytes())?;
    }
    if !content.inputs.is_empty() {
        deed.files.insert(path.to_owned(), digest);
    }
    Ok(deed)
}

pub(super) fn check_link(task: Task<'_>, path: &str, target: &str) -> Checked {
    let place = task.host.root.path(path)?;
    Ok(match root::look(&place)? {
        None => Some(format!("{path} is missing")),
        Some(found) if !found.is_symlink() => Some(format!("{path} is not a link")),
        Some(_) => {
            let now = fs_err::read_link(&place)?;
            (now.as_os_str() != target).then(|| format!("{path} points to {}", now.display()))
        }
    })
}

pub(super) fn link(task: Task<'_>, path: &str, target: &str) -> Result<bool, Fault> {
    if check_link(task, path, target)?.is_none() {
        return Ok(false);
    }
    let place = task.host.root.path(path)?;
    task.host.record.make_parents(&place)?;
    task.host.record.before_path(&place, false)?;
    crash_point();
    put_link(&place, target)?;
    Ok(true)
}
