//! What can be told of a host's state, and how two states differ.
//!
//! Made for one question: is a host, after an installation was taken away again, as it was before? So it holds what an
//! installation may touch: files, units, mounts, links and routes, packet-filter rules, kernel parameters. What a host
//! changes by itself is left out by name ([`EXCLUDED`]), each with its reason. File times are not held.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::command::run;
use crate::net::json;
use crate::{Host, HostsError, Kind};

/// Paths that a host changes by itself, with everything below them, each with the reason.
pub const EXCLUDED: [(&str, &str); 22] = [
    ("/dev", "made anew at each boot"),
    ("/proc", "the kernel's view, not a disk"),
    ("/sys", "the kernel's view, not a disk"),
    ("/run/dbus", "the message bus's socket and process ID"),
    ("/run/host", "the container manager's own channel"),
    ("/run/lock", "locks of running programs"),
    ("/run/log", "the volatile journal"),
    ("/run/motd.dynamic", "the greeting, made at each login"),
    ("/run/sshd.pid", "a process ID"),
    ("/run/sudo", "who has proved a password, and when"),
    ("/run/systemd", "systemd's own state: unit files are compared by name and state instead"),
    (
        "/run/test-host",
        "what stands for kernel parameters that a test host does not have: compared as parameters",
    ),
    ("/run/user", "folders of users that are logged in"),
    ("/run/utmp", "who is logged in"),
    ("/var/cache/ldconfig", "a cache of the dynamic linker"),
    ("/var/lib/sudo", "whom sudo has lectured"),
    ("/var/lib/systemd", "random seed, timer stamps, catalogue"),
    ("/var/log/btmp", "failed logins"),
    ("/var/log/journal", "the journal"),
    ("/var/log/lastlog", "who has logged in"),
    ("/var/log/wtmp", "who has logged in"),
    ("/var/lib/wtmpdb", "who has logged in"),
];
/// Folders that systemd makes for services with a private `/tmp`; their names change at each start.
const PRIVATE_TMP: &str = "systemd-private-";
/// Kernel parameters that a Kubernetes host sets. Those below `net` come from the host's own namespace.
const PARAMETERS: [&str; 7] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
];
/// Routes that the kernel makes for IPv6 on each link by itself, and in its own time.
const OWN_ROUTES: [&str; 2] = ["fe80::", "ff00::/8"];
/// Units that come and go with logins.
const LOGIN_UNITS: [&str; 3] = ["session-", "user@", "user-runtime-dir@"];

/// A part of a host's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Files, by path: kind, mode, owner, size, SHA-256 or link target.
    File,
    /// systemd's unit files, by name: enabled or not; and what is loaded and running.
    Unit,
    /// Mounts, by mount point: type and source.
    Mount,
    /// Network links, by name: MTU, flags, addresses.
    Link,
    /// Routes, one a line.
    Route,
    /// Lines of the packet filter, without counters.
    PacketFilter,
    /// Kernel parameters, by name.
    Parameter,
}

/// The state of a host at one moment: for each area, names with a value in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    areas: BTreeMap<Area, BTreeMap<String, String>>,
}

/// One thing in which two states differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The area it is in.
    pub area: Area,
    /// Its name there.
    pub name: String,
    /// What it was; `None` when it was not there.
    pub before: Option<String>,
    /// What it is now; `None` when it is gone.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: ", self.area, self.name)?;
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "new: {after}"),
            (Some(before), None) => write!(f, "gone, was: {before}"),
            (before, after) => {
                write!(f, "{} -> {}", before.as_deref().unwrap_or("-"), after.as_deref().unwrap_or("-"))
            }
        }
    }
}

impl HostState {
    /// Looks at a running host.
    pub(crate) fn of(host: &Host) -> Result<Self, HostsError> {
        let mut areas = BTreeMap::new();
        areas.insert(Area::File, files(host)?);
        areas.insert(Area::Mount, mounts(host)?);
        areas.insert(Area::Link, links(host)?);
        areas.insert(Area::Route, routes(host)?);
        areas.insert(Area::PacketFilter, packet_filter(host)?);
        areas.insert(Area::Parameter, parameters(host)?);
        if host.spec().kind == Kind::Nspawn {
            areas.insert(Area::Unit, units(host)?);
        }
        Ok(Self { areas })
    }

    /// What is held of `area`, by name.
    pub fn area(&self, area: Area) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.areas.get(&area).unwrap_or(&NONE)
    }

    /// In what `later` differs from this state, by area and name.
    pub fn diff(&self, later: &Self) -> Vec<Difference> {
        let areas: BTreeSet<Area> = self.areas.keys().chain(later.areas.keys()).copied().collect();
        areas.into_iter().flat_map(|area| diff_area(area, self.area(area), later.area(area))).collect()
    }
}

fn diff_area(
    area: Area,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let difference = |name: &String| Difference {
        area,
        name: name.clone(),
        before: before.get(name).cloned(),
        after: after.get(name).cloned(),
    };
    changed.map(difference).collect()
}

/// The host's files as its first process sees them, mounts and all.
fn files(host: &Host) -> Result<BTreeMap<String, String>, HostsError> {
    let root = PathBuf::from(format!("/proc/{}/root/", host.pid()?));
    let shared = (host.spec().kind == Kind::Netns).then_some("/usr");
    let left_out = |path: &str| {
        let named = EXCLUDED.iter().any(|(excluded, _)| *excluded == path) || shared == Some(path);
        named || path.rsplit('/').next().is_some_and(|name| name.starts_with(PRIVATE_TMP))
    };
    let mut files = BTreeMap::new();
    let entries =
        WalkDir::new(&root).into_iter().filter_entry(|entry| !left_out(&inside(&root, entry.path())));
    for entry in entries {
        let entry = match entry {
            // A file that goes away while one looks is no fault.
            Err(error) if error.io_error().is_some_and(|io| io.kind() == io::ErrorKind::NotFound) => continue,
            entry => entry.map_err(io::Error::from)?,
        };
        if let Some(told) = tell_file(entry.path())? {
            files.insert(inside(&root, entry.path()), told);
        }
    }
    Ok(files)
}

fn inside(root: &Path, path: &Path) -> String {
    format!("/{}", path.strip_prefix(root).unwrap_or(path).display())
}

/// A file in words; `None` when it has gone.
fn tell_file(path: &Path) -> io::Result<Option<String>> {
    let told = || -> io::Result<String> {
        let meta = fs::symlink_metadata(path)?;
        let kind = meta.file_type();
        let owner = format!("{:04o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
        Ok(match () {
            () if kind.is_symlink() => format!("link -> {}", fs::read_link(path)?.display()),
            () if kind.is_dir() => format!("folder {owner}"),
            () if kind.is_file() => format!("file {owner} {} bytes sha256:{}", meta.len(), digest(path)?),
            () if kind.is_socket() => format!("socket {owner}"),
            () if kind.is_fifo() => format!("pipe {owner}"),
            () => format!("device {owner} {}", meta.rdev()),
        })
    };
    match told() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        told => told.map(Some),
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let (mut hasher, mut file) = (Sha256::new(), fs::File::open(path)?);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn units(host: &Host) -> Result<BTreeMap<String, String>, HostsError> {
    let flags = ["--no-legend", "--no-pager", "--plain", "--full"];
    let files = host.run(&[&["systemctl", "list-unit-files"][..], &flags].concat())?;
    let mut units: BTreeMap<String, String> = pairs(&files, 1).collect();
    // Mounts are compared as such; systemd takes note of them only some time later.
    let kinds = "--type=service,socket,timer,path";
    let active =
        host.run(&[&["systemctl", "list-units", "--state=active,failed", kinds][..], &flags].concat())?;
    for (name, state) in
        pairs(&active, 2).filter(|(name, _)| !LOGIN_UNITS.iter().any(|part| name.starts_with(part)))
    {
        let entry = units.entry(name).or_default();
        format!("{entry} {state}").trim().clone_into(entry);
    }
    Ok(units)
}

/// The first and the `at`th word of each line.
fn pairs(text: &str, at: usize) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(move |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(((*words.first()?).to_owned(), (*words.get(at)?).to_owned()))
    })
}

fn mounts(host: &Host) -> Result<BTreeMap<String, String>, HostsError> {
    let text = fs::read_to_string(format!("/proc/{}/mountinfo", host.pid()?))?;
    let told = text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        let what = after.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let volatile =
            ["/run/user/", "/run/credentials/", "/run/host/"].iter().any(|dir| point.starts_with(dir));
        (!volatile).then(|| (point.to_owned(), what))
    });
    let mut mounts: BTreeMap<String, String> = BTreeMap::new();
    for (point, what) in told {
        // Mounts may lie on top of one another.
        mounts.entry(point).and_modify(|below| *below = format!("{below}, {what}")).or_insert(what);
    }
    Ok(mounts)
}

/// Runs a tool of the machine in the host's network namespace: the host need not have it.
fn in_network(host: &Host, arguments: &[&str]) -> Result<String, HostsError> {
    let target = host.pid()?.to_string();
    run("nsenter", &[&["--target", &target, "--net", "--"], arguments].concat())
}

fn links(host: &Host) -> Result<BTreeMap<String, String>, HostsError> {
    let answer = json("ip", &in_network(host, &["ip", "-j", "addr"])?)?;
    let links = answer.as_array().cloned().unwrap_or_default();
    Ok(links
        .iter()
        .map(|link| (link["ifname"].as_str().unwrap_or("?").to_owned(), tell_link(link)))
        .collect())
}

fn tell_link(link: &Value) -> String {
    let addresses = link["addr_info"].as_array().cloned().unwrap_or_default();
    let mut told: Vec<String> = addresses
        .iter()
        .map(|one| format!("{}/{}", one["local"].as_str().unwrap_or("?"), one["prefixlen"]))
        .collect();
    told.sort();
    let mut flags: Vec<&str> =
        link["flags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    flags.sort_unstable();
    format!("{} mtu {} {}", flags.join(","), link["mtu"], told.join(" ")).trim().to_owned()
}

fn routes(host: &Host) -> Result<BTreeMap<String, String>, HostsError> {
    let mut routes = BTreeMap::new();
    for family in ["-4", "-6"] {
        let text = in_network(host, &["ip", family, "route", "show", "table", "all"])?;
        let lines = text.lines().map(|line| line.split(" expires ").next().unwrap_or(line).trim().to_owned());
        let kept = lines.filter(|line| !OWN_ROUTES.iter().any(|own| line.contains(own)));
        routes.extend(kept.map(|line| (line, "present".to_owned())));
    }
    Ok(routes)
}

/// Each rule by its place: table, chain and line, so that equal lines of two chains stay apart.
fn packet_filter(host: &Host) -> Result<BTreeMap<String, String>, HostsError> {
    let text = in_network(host, &["nft", "--stateless", "list", "ruleset"])?;
    let (mut table, mut block, mut rules) = ("", "", BTreeMap::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match line.len() - line.trim_start().len() {
            0 => table = line,
            1 => block = line.trim(),
            _ => {}
        }
        rules.insert(format!("{table} {block} {}", line.trim()), "present".to_owned());
    }
    Ok(rules)
}

fn parameters(host: &Host) -> Result<BTreeMap<String, String>, HostsError> {
    let script = "cd /proc/sys && for name; do [ -e $name ] && echo $name $(cat $name); done; true";
    let text = host.run(&[&["sh", "-c", script, "sh"][..], &PARAMETERS].concat())?;
    Ok(pairs(&text, 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(files: &[(&str, &str)]) -> HostState {
        let files = files.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HostState { areas: BTreeMap::from([(Area::File, files)]) }
    }

    #[test]
    fn a_difference_is_told_in_words() {
        let before = state(&[("/a", "file 1"), ("/b", "file 2"), ("/c", "file 3")]);
        let after = state(&[("/a", "file 1"), ("/b", "file 9"), ("/d", "file 4")]);
        let told: Vec<String> = before.diff(&after).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["File /b: file 2 -> file 9", "File /c: gone, was: file 3", "File /d: new: file 4"]);
        assert!(before.diff(&before).is_empty());
    }

    #[test]
    fn a_file_is_told_with_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "abc").unwrap();
        let told = tell_file(&file).unwrap().unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(told.ends_with(&format!("3 bytes sha256:{abc}")), "{told}");
        assert_eq!(tell_file(&dir.path().join("none")).unwrap(), None);
    }
}
