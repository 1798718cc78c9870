//! The resolved site: what every later stage works with. It holds no spans and no defaults to fill in; ranges are expanded,
//! inheritance (site → group → node) has been applied, and every fault has already been reported.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::brought::{BroughtChart, BroughtImage};

/// A whole site, checked and resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Name of the site, a DNS label.
    pub name: String,
    /// Version of the description, as semantic version; the bundle's version.
    pub version: semver::Version,
    /// Name of the edition, a key of the catalogue's editions.
    pub edition: String,
    /// The Kubernetes cluster.
    pub cluster: Cluster,
    /// Address ranges and name service.
    pub network: Network,
    /// Every host, control plane first, then groups in the order written; names and addresses are unique.
    pub nodes: Vec<Node>,
    /// Components of the platform, beyond those that every cluster has, in the order written.
    pub components: Vec<ComponentChoice>,
    /// Images that are brought along, in the order written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<BroughtImage>,
    /// Helm charts that are brought along, in the order written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<BroughtChart>,
}

impl Site {
    /// The control-plane hosts, first one first.
    pub fn control_plane(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::ControlPlane)
    }

    /// The hosts that only run workloads.
    pub fn workers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Worker)
    }

    /// Architectures of all hosts, sorted, each once.
    pub fn architectures(&self) -> Vec<Arch> {
        let mut all: Vec<_> = self.nodes.iter().map(|node| node.arch).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The Kubernetes cluster of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Name of the cluster, a DNS label.
    pub name: String,
    /// Version of Kubernetes, such as 1.36.3.
    pub version: semver::Version,
    /// Host (address or name) and port at which the API is reached: the first control-plane host's address and 6443 unless written.
    pub endpoint: Endpoint,
}

/// Where the Kubernetes API is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address or DNS name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Address ranges and name service of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Addresses that pods get.
    pub pods: IpNet,
    /// Addresses that Services get.
    pub services: IpNet,
    /// The site's own subnets, in which all hosts lie; may be empty when not written.
    pub hosts: Vec<IpNet>,
    /// DNS domain of the cluster, `cluster.local` unless written.
    pub domain: String,
    /// Name servers outside the cluster that `CoreDNS` forwards to; empty on a site that has none.
    pub dns_upstream: Vec<IpAddr>,
    /// Backend of the pod network.
    pub backend: PodBackend,
}

/// How pod traffic crosses hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodBackend {
    /// VXLAN tunnels (UDP 8472); hosts need only reach one another.
    Vxlan,
    /// Plain routes; hosts must share a link.
    HostGw,
}

/// What a host does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs etcd, the API server, the controller manager and the scheduler.
    ControlPlane,
    /// Runs workloads only.
    Worker,
}

/// A processor architecture, under Go's name for it, as the OCI image specification has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// `x86_64`: Intel, AMD, Hygon, Zhaoxin.
    Amd64,
    /// `aarch64`: Kunpeng, Phytium.
    Arm64,
    /// `loongarch64`: Loongson 3A5000 and later.
    Loong64,
    /// `riscv64`: `SpacemiT` and others.
    Riscv64,
}

impl Arch {
    /// All that qiji knows.
    pub const ALL: [Self; 4] = [Self::Amd64, Self::Arm64, Self::Loong64, Self::Riscv64];

    /// Go's and OCI's name: `amd64`, `arm64`, `loong64`, `riscv64`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::Loong64 => "loong64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// What `uname -m` prints there.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
            Self::Loong64 => "loongarch64",
            Self::Riscv64 => "riscv64",
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Host name, a DNS label; also the Kubernetes node name.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Name of its group; `control-plane` for control-plane hosts.
    pub group: String,
    /// The address at which the other hosts and the installer reach it.
    pub address: IpAddr,
    /// Its architecture, from its chip.
    pub arch: Arch,
    /// Its chip, a key of the catalogue's chips.
    pub chip: String,
    /// Accelerators, keys of the catalogue's accelerator vendors, such as `ascend`.
    pub accelerators: Vec<String>,
    /// Kubernetes labels.
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints.
    pub taints: Vec<Taint>,
    /// How to log in.
    pub access: Access,
}

/// A Kubernetes taint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Taint {
    /// Key, such as `node-role.kubernetes.io/control-plane`.
    pub key: String,
    /// Value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// How the installer logs in to a host. Holds no secret: passwords come from a prompt or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// User to log in as.
    pub user: String,
    /// TCP port of the SSH server.
    pub port: u16,
    /// Ways to log in, tried in this order.
    pub methods: Vec<AccessMethod>,
    /// How to become root when `user` is not.
    pub sudo: Sudo,
    /// The host's SSH public key (`ssh-ed25519 AAAA…`), where the site pins it.
    pub host_key: Option<String>,
}

/// A way to log in over SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "method")]
pub enum AccessMethod {
    /// A private key file; `~` is the caller's home.
    Key {
        /// Path of the private key.
        path: String,
    },
    /// The running SSH agent (`SSH_AUTH_SOCK`).
    Agent,
    /// A password, from the file named or else from a prompt.
    Password {
        /// Path of a file whose first line is the password.
        file: Option<String>,
    },
}

/// How to become root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sudo {
    /// The user is root.
    None,
    /// `sudo -n`.
    NoPassword,
    /// `sudo -S`, with the login password unless a file is named.
    Password {
        /// Path of a file whose first line is the password.
        file: Option<String>,
    },
}

/// A component that the site asks for, with the version that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentChoice {
    /// Name in the catalogue.
    pub name: String,
    /// Version in the catalogue.
    pub version: String,
}
