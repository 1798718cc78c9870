//! What an agent finds on a host. Gathered by reading only; judged by the preflight.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Facts of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `uname -n`.
    pub hostname: String,
    /// `uname -m`.
    pub machine: String,
    /// `uname -r`.
    pub kernel: String,
    /// `PRETTY_NAME` of `/etc/os-release`, without quotes.
    pub os: String,
    /// Content of `/etc/machine-id`.
    pub machine_id: String,
    /// Version of systemd as process 1; nothing where process 1 is something else.
    pub systemd: Option<String>,
    /// How control groups are mounted.
    pub cgroup: Cgroup,
    /// Controllers that are there.
    pub cgroup_controllers: Vec<String>,
    /// Processors that are online.
    pub cpus: u32,
    /// Bytes of memory (`MemTotal`).
    pub memory: u64,
    /// Bytes of a memory page.
    pub page_size: u64,
    /// Whether any swap is on.
    pub swap: bool,
    /// Whether the agent runs as root.
    pub root: bool,
    /// File systems below the folders that will be written: `/var/lib`, `/opt`, `/etc`, `/run`.
    pub filesystems: Vec<FilesystemFacts>,
    /// TCP and UDP ports with a listener.
    pub listeners: Vec<Listener>,
    /// Milliseconds since 1970 at the moment of asking.
    pub unix_time_ms: i64,
    /// Addresses of all links, with prefix length.
    pub addresses: Vec<LinkAddress>,
    /// Whether there is a default route.
    pub default_route: bool,
    /// Kernel features found or not.
    pub features: Vec<KernelFeature>,
    /// Paths of another Kubernetes or container engine that are already there.
    pub leftovers: Vec<String>,
    /// Name of the site that qiji installed here before.
    pub installed_site: Option<String>,
    /// What the host remembers of trust ([`crate::paths::TRUST`]), as it was written there.
    pub trust: Option<String>,
}

/// How control groups are mounted at `/sys/fs/cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cgroup {
    /// One hierarchy.
    V2,
    /// One hierarchy a controller (with or without a hybrid v2 mount).
    V1,
    /// None.
    Missing,
}

/// Room on a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemFacts {
    /// Folder that was asked about.
    pub path: String,
    /// Device number, to tell which folders share a file system.
    pub device: u64,
    /// Type, such as `ext4`.
    pub kind: String,
    /// Bytes free for root.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
    /// Inodes free; 0 of 0 where the file system has no such limit.
    pub inodes_free: u64,
    /// Inodes in all.
    pub inodes_total: u64,
    /// Mounted read-only.
    pub read_only: bool,
}

/// A port with a listener.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Address that it listens on.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Name of the process, where it could be found.
    pub process: Option<String>,
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAddress {
    /// Link name.
    pub link: String,
    /// Address.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

/// A kernel feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelFeature {
    /// `overlay`, `br_netfilter`, `nf_tables`, `vxlan`, …
    pub name: String,
    /// Loaded, built in, or loadable.
    pub present: bool,
}
