//! A site on disk, and its end.
//!
//! Everything that a site consists of can be found from its folder `/var/lib/qiji-hosts/ID`: `state.json` in it names the
//! owner and the control groups, and the namespaces carry the ID in their names. So the same [`Site::remove`] serves an
//! ordinary end, a signal, and the janitor that comes after a killed owner.
//!
//! A folder appears under its final name only with its `state.json` in it. An owner is a process ID together with the
//! process's start time and the machine's boot, so that a reused process ID is not taken for it.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{process, thread};

use fs_err as fs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::command::run;
use crate::{HostsError, cgroup};

/// Where sites live. A place on disk, since whole operating systems lie in it.
pub(crate) const ROOT: &str = "/var/lib/qiji-hosts";
/// How long a killed process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// The age at which an unfinished folder belongs to nobody any more.
const UNFINISHED_LIMIT: Duration = Duration::from_mins(1);

/// The sites of this process, for the signal handler.
static LIVE: Mutex<Vec<Site>> = Mutex::new(Vec::new());

/// A site's identity: its short ID, its folder, and the control groups that hold its hosts.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    groups: Vec<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    name: String,
    owner: Owner,
    groups: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    pid: u32,
    /// Clock ticks from boot to its start (field 22 of `/proc/PID/stat`).
    started: u64,
    boot: String,
}

impl Owner {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // A zombie has ended; only its parent has not noticed.
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        let started = fields.get(19)?.parse().ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Self { pid, started, boot })
    }

    fn lives(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

impl Site {
    /// Claims a fresh site for this process and sees to its end by signal.
    pub(crate) fn claim(name: &str) -> Result<Self, HostsError> {
        fs::create_dir_all(ROOT)?;
        loop {
            let id = fresh_id()?;
            let dir = Path::new(ROOT).join(&id);
            let groups = cgroup::folders(&group_name(&id))?;
            let owner = Owner::of(process::id())
                .ok_or_else(|| std::io::Error::other("cannot read /proc/self/stat"))?;
            let state = State { name: name.to_owned(), owner, groups: groups.clone() };
            let unfinished = Path::new(ROOT).join(format!(".new-{id}-{}", process::id()));
            fs::create_dir(&unfinished)?;
            // Keys and whole systems lie below: nobody but root has business there.
            fs::set_permissions(&unfinished, PermissionsExt::from_mode(0o700))?;
            let text = serde_json::to_string_pretty(&state).map_err(std::io::Error::other)?;
            fs::write(unfinished.join("state.json"), text)?;
            if dir.exists() || fs::rename(&unfinished, &dir).is_err() {
                fs::remove_dir_all(&unfinished)?;
                continue;
            }
            let site = Self { id, dir, groups };
            remove_on_signals();
            live(|sites| sites.push(site.clone()));
            return Ok(site);
        }
    }

    /// The name of the site's control group.
    pub(crate) fn group(&self) -> String {
        group_name(&self.id)
    }

    /// Removes everything of the site: processes, namespaces, mounts, control groups, files. Tells what it could not.
    pub(crate) fn remove(&self) -> Result<(), HostsError> {
        live(|sites| sites.retain(|site| site.id != self.id));
        let locks = self.nspawn_locks();
        kill_all(|| self.processes());
        for netns in self.namespaces() {
            // What is left is named below.
            let _ = run("ip", &["netns", "del", &netns]);
        }
        for mount in self.mounts()?.iter().rev() {
            let _ = run("umount", &[mount]);
        }
        cgroup::remove(&self.groups);
        self.forget_nspawn(&locks);
        let mut left = self.mounts()?;
        if left.is_empty() {
            // Only now: a file system that is still mounted below must not be emptied.
            let _ = fs::remove_dir_all(&self.dir);
        }
        left.extend(self.processes().iter().map(|pid| format!("process {pid}")));
        left.extend(self.namespaces());
        let paths = self.groups.iter().chain([&self.dir]).filter(|path| path.exists());
        left.extend(paths.map(|path| path.display().to_string()));
        if left.is_empty() { Ok(()) } else { Err(HostsError::Left { dir: self.dir.clone(), left }) }
    }

    /// The site's processes: those of its hosts, and whatever else runs in its namespaces. Never this process.
    fn processes(&self) -> BTreeSet<i32> {
        let in_netns = self.namespaces().into_iter().flat_map(|netns| {
            let text = run("ip", &["netns", "pids", &netns]).unwrap_or_default();
            text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>()
        });
        let own = i32::try_from(process::id()).unwrap_or_default();
        cgroup::processes(&self.groups)
            .into_iter()
            .chain(in_netns)
            .filter(|&pid| pid > 1 && pid != own)
            .collect()
    }

    fn namespaces(&self) -> Vec<String> {
        let prefix = format!("qiji-{}", self.id);
        let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| name.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with(['-', '.'])))
            .collect()
    }

    /// Mount points below the site's folder, outermost first.
    fn mounts(&self) -> Result<Vec<String>, HostsError> {
        let below = format!("{}/", self.dir.display());
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        Ok(points.filter(|point| point.starts_with(&below)).map(str::to_owned).collect())
    }

    /// systemd-nspawn removes its own traces, unless it was killed.
    fn forget_nspawn(&self, locks: &[PathBuf]) {
        let prefix = format!("qiji-{}-", self.id);
        for entry in fs::read_dir("/run/systemd/nspawn/propagate").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = fs::remove_dir(entry.path());
            }
        }
        for lock in locks {
            let _ = fs::remove_file(lock);
        }
    }

    /// The lock files that systemd-nspawn holds on the hosts' roots: one by device and inode each.
    fn nspawn_locks(&self) -> Vec<PathBuf> {
        let hosts = fs::read_dir(self.dir.join("hosts")).into_iter().flatten().flatten();
        let roots = hosts.filter_map(|host| fs::metadata(host.path().join("root")).ok());
        let names = roots.map(|meta| format!("inode-{}:{}", meta.dev(), meta.ino()));
        names.map(|name| Path::new("/run/systemd/nspawn/locks").join(name)).collect()
    }
}

/// Removes the sites whose owner is gone, and gives back their names. [`Testbed::start`](crate::Testbed::start) does it first.
pub fn sweep() -> Result<Vec<String>, HostsError> {
    fs::create_dir_all(ROOT)?;
    let lock = fs::File::create(Path::new(ROOT).join(".lock"))?;
    lock.file().lock()?;
    let mut removed = Vec::new();
    for entry in fs::read_dir(ROOT)? {
        let (path, name) =
            (entry.as_ref().map(fs::DirEntry::path), entry.as_ref().map(fs::DirEntry::file_name));
        let (Ok(path), Ok(name)) = (path, name) else { continue };
        let id = name.to_string_lossy().into_owned();
        if id.starts_with(".new-") {
            remove_unfinished(&path);
            continue;
        }
        let Ok(text) = fs::read_to_string(path.join("state.json")) else { continue };
        let state: State = serde_json::from_str(&text)
            .map_err(|source| HostsError::Answer { tool: "state.json", source })?;
        if !state.owner.lives() {
            Site { id, dir: path, groups: state.groups }.remove()?;
            removed.push(state.name);
        }
    }
    Ok(removed)
}

fn remove_unfinished(path: &Path) {
    let made = fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or_else(|_| SystemTime::now());
    if made.elapsed().is_ok_and(|age| age > UNFINISHED_LIMIT) {
        let _ = fs::remove_dir_all(path);
    }
}

/// Kills the processes that `find` finds, again and again until it finds none or time is up.
fn kill_all(find: impl Fn() -> BTreeSet<i32>) {
    let start = Instant::now();
    loop {
        let found = find();
        if found.is_empty() || start.elapsed() > KILL_LIMIT {
            return;
        }
        for pid in found {
            // Gone in the meantime is as good.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// On SIGINT, SIGTERM and SIGHUP: removes this process's sites, then lets the signal do what it does by default.
fn remove_on_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        thread::spawn(move || {
            for signal in signals.forever() {
                for site in live(|sites| sites.clone()) {
                    if let Err(error) = site.remove() {
                        eprintln!("{error}");
                    }
                }
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        });
    });
}

fn live<T>(with: impl FnOnce(&mut Vec<Site>) -> T) -> T {
    with(&mut LIVE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn group_name(id: &str) -> String {
    format!("qiji-hosts-{id}")
}

/// Four hexadecimal digits, fresh from the kernel's random source.
fn fresh_id() -> Result<String, HostsError> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(uuid[..4].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_a_reused_id_or_a_zombie_does_not() {
        let own = Owner::of(process::id()).unwrap();
        assert!(own.lives());
        assert!(!Owner { started: own.started + 1, ..own.clone() }.lives());
        assert!(!Owner { boot: "another boot".to_owned(), ..own }.lives());
        let mut child = process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner::of(child.id()).unwrap();
        assert!(owner.lives());
        child.kill().unwrap();
        thread::sleep(Duration::from_millis(100));
        assert!(Path::new(&format!("/proc/{}", child.id())).exists(), "it is not a zombie");
        assert!(!owner.lives());
        child.wait().unwrap();
    }
}
