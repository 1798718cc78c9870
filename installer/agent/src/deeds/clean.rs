//! Taking things away: control groups with their processes, mounts, files, links, and all that qiji changed.
//!
//! Guarantees: removing never crosses into a mounted file system (it is unmounted first), and never touches `/` or a system folder
//! itself. Unmounting goes deepest first; a mount that is in use is detached, so that it goes when its last user does.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink};
use rustix::process::{Pid, Signal};

use super::{Checked, kernel, units};
use crate::fault::Fault;
use crate::host::Task;
use crate::record::{Undoer, remove_tree};
use crate::root::{self, Root};

/// Folders that are never removed, whatever a plan says; nor are their parents.
const KEPT: [&str; 22] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/systemd",
    "/etc/systemd/system",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
];

fn mountinfo(root: &Root) -> Result<String, Fault> {
    Ok(root::read_text(&root.known("/proc/self/mountinfo"))?.unwrap_or_default())
}

/// Mount points out of `/proc/self/mountinfo` (proc(5)), in the order mounted.
fn mount_points(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect()
}

/// `\040` and the like back to the characters that they stand for.
fn unescape(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let code = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|t| u8::from_str_radix(t, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Mount points at or below these paths, deepest first.
fn mounts_below(task: Task<'_>, below: &[String]) -> Result<Vec<String>, Fault> {
    let mut found: Vec<String> = mount_points(&mountinfo(&task.host.root)?)
        .into_iter()
        .filter(|point| below.iter().any(|top| Path::new(point).starts_with(top)))
        .collect();
    found.reverse();
    found.sort_by_key(|point| std::cmp::Reverse(Path::new(point).components().count()));
    Ok(found)
}

pub(super) fn check_mounts(task: Task<'_>, below: &[String]) -> Checked {
    let found = mounts_below(task, below)?;
    Ok(found.first().map(|first| format!("{} mounts, such as {first}", found.len())))
}

pub(super) fn unmount(task: Task<'_>, below: &[String]) -> Result<bool, Fault> {
    let found = mounts_below(task, below)?;
    for point in &found {
        let path = task.host.root.path(point)?;
        if rustix::mount::unmount(&path, UnmountFlags::NOFOLLOW).is_ok() {
            continue;
        }
        match rustix::mount::unmount(&path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
            Ok(()) => (task.log)(&format!("{point} was in use and is detached")),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(Fault::from(errno).within(format!("cannot unmount {point}"))),
        }
    }
    Ok(!found.is_empty())
}

pub(super) fn check_removed(task: Task<'_>, paths: &[String]) -> Checked {
    for path in paths {
        if root::look(&task.host.root.path(path)?)?.is_some() {
            return Ok(Some(format!("{path} is there")));
        }
    }
    Ok(None)
}

/// Removes files and folders that are there, unmounting what is mounted below them first.
///
/// # Errors
/// A path is a system folder, or something below it cannot be removed.
pub fn remove(task: Task<'_>, paths: &[String]) -> Result<bool, Fault> {
    let places = paths.iter().map(|path| removable(&task.host.root, path)).collect::<Result<Vec<_>, _>>()?;
    let mut changed = false;
    for (path, place) in paths.iter().zip(places) {
        if root::look(&place)?.is_none() {
            continue;
        }
        unmount(task, std::slice::from_ref(path))?;
        remove_tree(&place)?;
        changed = true;
    }
    Ok(changed)
}

fn removable(root: &Root, path: &str) -> Result<PathBuf, Fault> {
    let place = root.path(path)?;
    let plain = root.shown(&place);
    if KEPT.contains(&plain.trim_end_matches('/')) || plain == "/" {
        return Err(Fault::new(format!("{path} belongs to the system and is not removed")));
    }
    if let Some(parent) = place.parent().filter(|parent| parent.exists()) {
        let real = fs_err::canonicalize(parent)?.join(place.file_name().unwrap_or_default());
        if KEPT.contains(&root.shown(&real).as_str()) {
            return Err(Fault::new(format!("{path} leads to a system folder and is not removed")));
        }
    }
    Ok(place)
}

/// Groups below `/sys/fs/cgroup` whose own name holds one of these words, and all below them, deepest first.
fn groups(root: &Root, holding: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![(root.known("/sys/fs/cgroup"), false)];
    while let Some((folder, inside)) = todo.pop() {
        let Ok(entries) = fs_err::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let hit = inside || holding.iter().any(|word| name.contains(word.as_str()));
            if hit {
                found.push(entry.path());
            }
            todo.push((entry.path(), hit));
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    found
}

fn processes(group: &Path) -> Vec<Pid> {
    let text = root::read_text(&group.join("cgroup.procs")).ok().flatten().unwrap_or_default();
    let own = rustix::process::getpid();
    let pids = text.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw);
    pids.filter(|pid| *pid != own).collect()
}

pub(super) fn check_cgroups(task: Task<'_>, holding: &[String]) -> Option<String> {
    let found = groups(&task.host.root, holding);
    (!found.is_empty()).then(|| format!("{} control groups are there", found.len()))
}

pub(super) fn kill_cgroups(task: Task<'_>, holding: &[String]) -> Result<bool, Fault> {
    let found = groups(&task.host.root, holding);
    if found.is_empty() {
        return Ok(false);
    }
    end_processes(task, &found)?;
    let mut left = None;
    for _ in 0..50 {
        left = None;
        for group in groups(&task.host.root, holding) {
            if let Err(fault) = fs_err::remove_dir(&group)
                && fault.kind() != io::ErrorKind::NotFound
            {
                left = Some(fault);
            }
        }
        if left.is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    match left {
        None => Ok(true),
        Some(fault) => Err(Fault::from(fault).within("cannot remove a control group")),
    }
}

/// TERM, a moment, then KILL until none is left: a process may fork while it is being ended.
fn end_processes(task: Task<'_>, found: &[PathBuf]) -> Result<(), Fault> {
    let begun = Instant::now();
    let mut which = Signal::TERM;
    loop {
        let mut alive = 0;
        for group in found {
            if which == Signal::KILL {
                let _ = std::fs::OpenOptions::new()
                    .write(true)
                    .open(group.join("cgroup.kill"))
                    .and_then(|mut file| io::Write::write_all(&mut file, b"1"));
            }
            for pid in processes(group) {
                alive += 1;
                let _ = rustix::process::kill_process(pid, which);
            }
        }
        if alive == 0 {
            return Ok(());
        }
        if Instant::now() >= task.deadline || begun.elapsed() > Duration::from_secs(30) {
            return Err(Fault::new(format!("{alive} processes could not be ended")));
        }
        if begun.elapsed() > Duration::from_secs(3) {
            which = Signal::KILL;
        }
        std::thread::sleep(Duration::from_millis(if which == Signal::TERM { 250 } else { 50 }));
    }
}

/// Links that the names ask for, with their index.
fn links(names: &[String]) -> Result<Vec<(String, u32)>, Fault> {
    let all = nix::net::if_::if_nameindex().map_err(|errno| Fault::from(io::Error::from(errno)))?;
    let there = all.iter().map(|link| (link.name().to_string_lossy().into_owned(), link.index()));
    let wanted = |name: &str| {
        names.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => !start.is_empty() && name.starts_with(start),
            None => name == pattern,
        })
    };
    Ok(there.filter(|(name, _)| wanted(name)).collect())
}

pub(super) fn check_links(names: &[String]) -> Checked {
    let found: Vec<String> = links(names)?.into_iter().map(|(name, _)| name).collect();
    Ok((!found.is_empty()).then(|| format!("{} is there", found.join(", "))))
}

pub(super) fn delete_links(names: &[String]) -> Result<bool, Fault> {
    let found = links(names)?;
    for (name, index) in &found {
        delete_link(*index).map_err(|fault| fault.within(format!("cannot delete link {name}")))?;
    }
    Ok(!found.is_empty())
}

/// `RTM_DELLINK` over netlink (rtnetlink(7)); a link that went by itself, as the other end of a pair does, is fine.
fn delete_link(index: u32) -> Result<(), Fault> {
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?; // protocol 0: NETLINK_ROUTE
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(socket.as_fd(), &dellink(index), SendFlags::empty(), &kernel)?;
    let mut answer = [0; 4096];
    let (length, _) = rustix::net::recv(socket.as_fd(), &mut answer, RecvFlags::empty())?;
    let code =
        answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    match -code {
        0 | 19 => Ok(()), // ENODEV
        code => Err(io::Error::from_raw_os_error(code).into()),
    }
}

/// A netlink header (netlink(7)) with `REQUEST | ACK`, and an `ifinfomsg`.
fn dellink(index: u32) -> [u8; 32] {
    const RTM_DELLINK: u16 = 17;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    let mut message = [0; 32];
    message[0..4].copy_from_slice(&32_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_DELLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
    message[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    message[20..24].copy_from_slice(&index.to_ne_bytes());
    message
}

struct ForReal<'a>(Task<'a>);

impl Undoer for ForReal<'_> {
    fn stop_unit(&self, name: &str) -> Result<(), Fault> {
        units::stop_if_there(self.0, name)
    }

    fn reload_units(&self) -> Result<(), Fault> {
        units::reload(self.0)
    }

    fn restore_unit(&self, name: &str, enabled: bool, active: bool) -> Result<(), Fault> {
        units::restore(self.0, name, enabled, active)
    }

    fn unload(&self, module: &str) {
        if !kernel::unload(module) {
            self.note(&format!("kernel module {module} stays loaded"));
        }
    }

    fn note(&self, line: &str) {
        (self.0.log)(line);
    }
}

pub(super) fn undo(task: Task<'_>) -> Result<bool, Fault> {
    task.host.record.undo(&ForReal(task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_folders_are_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        fs_err::create_dir_all(folder.path().join("var/lib")).unwrap();
        fs_err::os::unix::fs::symlink("/", folder.path().join("var/lib/x")).unwrap();
        for path in ["/", "//", "/etc", "/etc/", "/var/lib", "etc", "/var/lib/../x"] {
            assert!(removable(&root, path).is_err(), "{path}");
        }
        assert!(removable(&root, "/var/lib/kubelet").is_ok());
        assert!(removable(&Root::host(), "/var/../etc").is_err());
    }

    #[test]
    fn mount_points_with_blanks_are_read() {
        let text = "1 2 0:1 / /var/lib/a\\040b rw - tmpfs x rw\n3 2 0:1 / /proc rw - proc p rw\n";
        assert_eq!(mount_points(text), ["/var/lib/a b", "/proc"]);
    }

    #[test]
    fn a_pattern_needs_a_beginning() {
        assert!(links(&["*".to_owned()]).unwrap().is_empty());
        assert_eq!(links(&["lo".to_owned()]).unwrap(), [("lo".to_owned(), 1)]);
    }
}
