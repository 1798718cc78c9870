//! Everything that the machine must have before test hosts can start on it, checked at once.
//!
//! Kernel features are tried, not read from a list: in a network namespace that ends with the trial.

use std::env;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use fs_err as fs;

use crate::{Kind, TestbedSpec, cgroup};

/// Disk space that sites need, in MiB: one host's system with images, and the base.
const DISK_MIB: u64 = 4096;
/// Memory that must be free for one `Nspawn` host with Kubernetes in it, in MiB.
const MEMORY_MIB: u64 = 1024;

/// Something that the machine lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// What it is for.
    pub why: String,
    /// How to get it.
    pub how_to_fix: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.what, self.why, self.how_to_fix)
    }
}

/// The tools of every kind of host, each with its Debian package and what it is for.
const TOOLS: [(&str, &str, &str); 13] = [
    ("ip", "iproute2", "makes the site's network"),
    ("tc", "iproute2", "limits the rate of a host's network"),
    ("nft", "nftables", "counts what leaves the site"),
    ("sysctl", "procps", "sets up the site's network"),
    ("nsenter", "util-linux", "enters a host"),
    ("unshare", "util-linux", "tries what the kernel can do"),
    ("mount", "mount", "gives a host a disk of its own"),
    ("mkfs.ext4", "e2fsprogs", "gives a host a disk of its own"),
    ("bash", "bash", "asks a host's sshd whether it answers"),
    ("systemd-nspawn", "systemd-container", "contains a host"),
    ("ssh-keygen", "openssh-client", "makes the hosts' keys"),
    ("sshd", "openssh-server", "is what netns hosts run"),
    ("openssl", "openssl", "hashes the passwords of a host's users"),
];

/// Features of the kernel: a name, a trial in a fresh network namespace, and what it is for.
const FEATURES: [(&str, &str, &str); 6] = [
    ("veth", "ip link add name one type veth peer name two", "joins the hosts"),
    ("bridge", "ip link add name one type bridge", "joins the hosts"),
    ("nf_tables", "nft add table ip one", "counts what leaves the site, and carries the cluster's services"),
    (
        "tbf",
        "tc qdisc add dev lo root tbf rate 1mbit burst 16kb latency 50ms",
        "limits the rate of a host's network",
    ),
    ("vxlan", "ip link add name one type vxlan id 1 dstport 4789", "carries pods' packets between hosts"),
    (
        "br_netfilter",
        "modprobe -q br_netfilter; test -e /proc/sys/net/bridge",
        "lets services reach pods on the same host",
    ),
];

/// What the machine lacks for hosts of this kind, all at once; empty when nothing is.
pub fn requirements(kind: Kind) -> Vec<Missing> {
    if !nix::unistd::geteuid().is_root() {
        return vec![missing(
            "root",
            "test hosts need namespaces and mounts",
            "run it as root, for instance with sudo",
        )];
    }
    let mut lacks: Vec<Missing> = TOOLS.into_iter().filter_map(tool).collect();
    lacks.extend(FEATURES.into_iter().filter_map(feature));
    lacks.extend(controllers());
    lacks.extend(disk_space());
    if kind == Kind::Nspawn {
        lacks.extend(tool(("mmdebstrap", "mmdebstrap", "builds the system that hosts are copied from")));
        lacks.extend(keyring());
        lacks.extend(overlay());
        lacks.extend(memory(1));
    }
    lacks
}

/// What the machine lacks for this testbed.
pub(crate) fn of_spec(spec: &TestbedSpec) -> Vec<Missing> {
    let whole = spec.hosts.iter().filter(|host| host.kind == Kind::Nspawn).count();
    let mut lacks = requirements(if whole > 0 { Kind::Nspawn } else { Kind::Netns });
    let sudo = spec.hosts.iter().any(|host| host.kind == Kind::Netns && host.ops.is_some());
    if sudo {
        lacks.extend(tool(("sudo", "sudo", "lets a netns host's `ops` user become root")));
    }
    if whole > 1 && !lacks.iter().any(|lack| lack.what.starts_with("memory")) {
        lacks.extend(memory(whole as u64));
    }
    lacks
}

fn missing(what: &str, why: &str, how_to_fix: &str) -> Missing {
    Missing { what: what.to_owned(), why: why.to_owned(), how_to_fix: how_to_fix.to_owned() }
}

fn tool((name, package, why): (&str, &str, &str)) -> Option<Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(Into::into);
    let found = env::split_paths(&path).chain(sbin).any(|dir| dir.join(name).is_file());
    (!found)
        .then(|| missing(&format!("the tool {name}"), why, &format!("install the Debian package {package}")))
}

fn feature((name, trial, why): (&str, &str, &str)) -> Option<Missing> {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", trial])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let works = command.status().is_ok_and(|status| status.success());
    let fix = format!("use a kernel with {name}, or load its module");
    (!works).then(|| missing(&format!("the kernel feature {name}"), why, &fix))
}

fn controllers() -> Vec<Missing> {
    let hierarchies = cgroup::hierarchies().unwrap_or_default();
    let mut found: Vec<String> = hierarchies.iter().flat_map(|one| one.controllers.clone()).collect();
    for v2 in hierarchies.iter().filter(|one| one.v2) {
        let text = fs::read_to_string(v2.dir.join("cgroup.controllers")).unwrap_or_default();
        found.extend(text.split_whitespace().map(str::to_owned));
    }
    let lacks = cgroup::NEEDED.into_iter().filter(|name| !found.iter().any(|one| one == name));
    let fix = "boot with it enabled, or mount its hierarchy";
    lacks
        .map(|name| missing(&format!("the control-group controller {name}"), "limits hosts and pods", fix))
        .collect()
}

fn keyring() -> Option<Missing> {
    let found = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists();
    let why = "verifies the packages of the hosts' system";
    (!found).then(|| missing("Debian's keyring", why, "install the Debian package debian-archive-keyring"))
}

fn overlay() -> Option<Missing> {
    let trial = "mkdir -p /tmp/l /tmp/u /tmp/w /tmp/m && mount -t overlay -o lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w o /tmp/m";
    feature((
        "overlay",
        &format!("unshare --mount sh -c 'mount -t tmpfs t /tmp && {trial}'"),
        "holds containers' file systems",
    ))
}

fn disk_space() -> Option<Missing> {
    let place = Path::new("/var/lib");
    let free = nix::sys::statvfs::statvfs(place)
        .map_or(0, |fs| fs.blocks_available() * fs.fragment_size() / (1 << 20));
    let what = format!("disk space in {}: {DISK_MIB} MiB ({free} MiB are free)", place.display());
    (free < DISK_MIB).then(|| missing(&what, "holds the hosts' disks", "make room there"))
}

fn memory(hosts: u64) -> Option<Missing> {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok());
    let free = kib.unwrap_or(0_u64) / 1024;
    let needed = MEMORY_MIB * hosts;
    let what = format!("memory: {needed} MiB for {hosts} hosts ({free} MiB are free)");
    (free < needed)
        .then(|| missing(&what, "runs Kubernetes in them", "end other programs, or start fewer hosts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_not_there_is_named_with_its_package() {
        let lack = tool(("no-such-tool", "no-such-package", "does nothing")).unwrap();
        let text = "the tool no-such-tool: does nothing (install the Debian package no-such-package)";
        assert_eq!(lack.to_string(), text);
        assert_eq!(tool(("sh", "dash", "runs scripts")), None);
    }
}
