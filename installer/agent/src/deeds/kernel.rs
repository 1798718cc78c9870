//! Kernel modules and settings. A module is loaded by `modprobe` where the host has it, else by the agent itself from `modules.dep`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::Checked;
use crate::fault::Fault;
use crate::host::Task;
use crate::record::Change;
use crate::root::{self, Root};

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h: the kernel unpacks the file itself.
const COMPRESSED: i32 = 4;

/// `O_NONBLOCK` of `delete_module`(2): do not wait for users.
const NO_WAIT: i32 = 0o4000;

/// Whether a module is loaded or built in.
pub(crate) fn module_is_in(root: &Root, name: &str) -> Result<bool, Fault> {
    let plain = name.replace('-', "_");
    if root.known(&format!("/sys/module/{plain}")).exists() {
        return Ok(true);
    }
    let loaded = root::read_text(&root.known("/proc/modules"))?.unwrap_or_default();
    if loaded.lines().any(|line| line.split(' ').next() == Some(plain.as_str())) {
        return Ok(true);
    }
    let builtin = root::read_text(&modules_folder(root).join("modules.builtin"))?.unwrap_or_default();
    Ok(builtin.lines().any(|line| module_name(line) == plain))
}

/// Whether a module file for this kernel is on the host.
pub(crate) fn module_is_at_hand(root: &Root, name: &str) -> Result<bool, Fault> {
    Ok(dependencies(root)?.contains_key(&name.replace('-', "_")))
}

fn modules_folder(root: &Root) -> PathBuf {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let merged = root.known("/lib/modules").join(&release);
    if merged.is_dir() { merged } else { root.known("/usr/lib/modules").join(release) }
}

fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// Module → its file and then the files that it needs, out of `modules.dep`.
fn dependencies(root: &Root) -> Result<BTreeMap<String, Vec<PathBuf>>, Fault> {
    let folder = modules_folder(root);
    let text = root::read_text(&folder.join("modules.dep"))?.unwrap_or_default();
    let parse = |line: &str| {
        let (file, needs) = line.split_once(':')?;
        let files = std::iter::once(file).chain(needs.split_whitespace()).map(|file| folder.join(file));
        Some((module_name(file), files.collect()))
    };
    Ok(text.lines().filter_map(parse).collect())
}

pub(super) fn check_module(task: Task<'_>, name: &str, shown_by: &str) -> Checked {
    let root = &task.host.root;
    let there = (!shown_by.is_empty() && root.path(shown_by)?.exists()) || module_is_in(root, name)?;
    Ok((!there).then(|| format!("module {name} is not loaded")))
}

pub(super) fn module(task: Task<'_>, name: &str, shown_by: &str) -> Result<bool, Fault> {
    if check_module(task, name, shown_by)?.is_none() {
        return Ok(false);
    }
    task.host.record.note(&Change::Module { name: name.to_owned() })?;
    let loaded = match find_program(&["/usr/sbin/modprobe", "/sbin/modprobe", "/usr/bin/modprobe"]) {
        Some(modprobe) => task.must(&[modprobe, name]).map(drop),
        None => load(&task.host.root, name),
    };
    loaded.map_err(|fault| {
        fault
            .within(format!("cannot load kernel module {name}"))
            .hint(format!("install a kernel that has `{name}`, or its modules package, on this host"))
    })?;
    match check_module(task, name, shown_by)? {
        None => Ok(true),
        Some(still) => Err(Fault::new(format!("{still}, though loading it went well"))),
    }
}

fn find_program<'a>(places: &[&'a str]) -> Option<&'a str> {
    places.iter().copied().find(|place| Path::new(place).exists())
}

fn load(root: &Root, name: &str) -> Result<(), Fault> {
    let Some(files) = dependencies(root)?.remove(&name.replace('-', "_")) else {
        return Err(Fault::new("the host has no such module for its kernel"));
    };
    for file in files.iter().rev() {
        let compressed = file.extension().is_some_and(|end| end != "ko");
        let opened = fs_err::File::open(file)?;
        match rustix::system::finit_module(&opened, c"", if compressed { COMPRESSED } else { 0 }) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(Fault::from(errno).within(format!("cannot load {}", file.display()))),
        }
    }
    Ok(())
}

/// Unloads a module if nothing uses it.
pub(super) fn unload(name: &str) -> bool {
    let Ok(name) = CString::new(name.replace('-', "_")) else { return false };
    rustix::system::delete_module(&name, NO_WAIT).is_ok()
}

fn sysctl_path(task: Task<'_>, key: &str) -> Result<PathBuf, Fault> {
    task.host.root.path(&format!("/proc/sys/{}", key.replace('.', "/")))
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

pub(super) fn check_sysctl(task: Task<'_>, key: &str, value: &str, at_least: bool) -> Checked {
    let Some(now) = root::read_text(&sysctl_path(task, key)?)? else {
        return Ok(Some(format!("{key} is not there")));
    };
    let enough = at_least
        && match (now.trim().parse::<i128>(), value.trim().parse::<i128>()) {
            (Ok(now), Ok(wanted)) => now >= wanted,
            _ => false,
        };
    Ok((!enough && words(&now) != words(value)).then(|| format!("{key} is {}", now.trim())))
}

pub(super) fn sysctl(task: Task<'_>, key: &str, value: &str, at_least: bool) -> Result<bool, Fault> {
    if check_sysctl(task, key, value, at_least)?.is_none() {
        return Ok(false);
    }
    let path = sysctl_path(task, key)?;
    let Some(now) = root::read_text(&path)? else {
        return Err(Fault::new(format!("kernel setting {key} is not there"))
            .hint("the kernel lacks the feature or its module is not loaded"));
    };
    task.host.record.note(&Change::Sysctl { key: key.to_owned(), value: now.trim().to_owned() })?;
    fs_err::write(&path, format!("{value}\n"))?;
    Ok(true)
}
