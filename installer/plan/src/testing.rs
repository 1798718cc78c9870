//! A site, a bundle and hosts to test with.

use std::collections::BTreeMap;
use std::net::IpAddr;

use qiji_blueprint::Digest;
use qiji_blueprint::site::{
    Access, AccessMethod, Arch, Cluster, Endpoint, Network, Node, PodBackend, Role, Site, Sudo,
};

use crate::action::BlobRef;
use crate::facts::{Cgroup, Facts, FilesystemFacts, KernelFeature, LinkAddress};
use crate::inventory::{HostImage, HostPackage, Inventory, Offer};

/// `cp1` and as many workers, `w1`, `w2`, …
pub(crate) fn site(workers: u8) -> Site {
    let mut nodes = vec![node("cp1", Role::ControlPlane, 11)];
    nodes.extend((1..=workers).map(|n| node(&format!("w{n}"), Role::Worker, 20 + n)));
    Site {
        name: "quickstart".into(),
        version: semver::Version::new(1, 0, 0),
        edition: "community".into(),
        cluster: Cluster {
            name: "quickstart".into(),
            version: semver::Version::new(1, 36, 3),
            endpoint: Endpoint { host: "10.20.0.11".into(), port: 6443 },
        },
        network: Network {
            pods: "10.244.0.0/16".parse().unwrap(),
            services: "10.96.0.0/16".parse().unwrap(),
            hosts: vec!["10.20.0.0/24".parse().unwrap()],
            domain: "cluster.local".into(),
            dns_upstream: vec![],
            backend: PodBackend::Vxlan,
        },
        nodes,
        components: vec![],
        images: vec![],
        charts: vec![],
    }
}

/// A host at 10.20.0.`last`.
pub(crate) fn node(name: &str, role: Role, last: u8) -> Node {
    Node {
        name: name.into(),
        role,
        group: if role == Role::Worker { "workers" } else { "control-plane" }.into(),
        address: IpAddr::from([10, 20, 0, last]),
        arch: Arch::Amd64,
        chip: "generic-amd64".into(),
        accelerators: vec![],
        labels: BTreeMap::new(),
        taints: vec![],
        access: Access {
            user: "root".into(),
            port: 22,
            methods: vec![AccessMethod::Agent],
            sudo: Sudo::None,
            host_key: None,
        },
    }
}

pub(crate) fn blob(name: &str, size: u64) -> BlobRef {
    BlobRef { digest: Digest::of(name.as_bytes()), size }
}

/// A bundle that has all that a cluster needs, for each architecture.
pub(crate) fn inventory() -> Inventory {
    Inventory { offers: Arch::ALL.into_iter().map(|arch| (arch, offer(arch))).collect() }
}

fn offer(arch: Arch) -> Offer {
    let both = [Role::ControlPlane, Role::Worker];
    let package = |name: &str, version: &str, roles: &[Role], mib: u64| HostPackage {
        name: name.into(),
        version: version.into(),
        roles: roles.to_vec(),
        layers: vec![blob(&format!("{arch} {name}"), mib << 20)],
    };
    let image = |name: &str, roles: &[Role], layer: &str, mib: u64| HostImage {
        name: format!("qiji.local/{name}"),
        roles: roles.to_vec(),
        manifest: blob(&format!("{arch} manifest {name}"), 500),
        index: None,
        blobs: vec![
            blob(&format!("{arch} config {name}"), 400),
            blob(&format!("{arch} layer {layer}"), mib << 20),
        ],
    };
    Offer {
        packages: vec![
            package("agent", "0.1.0", &both, 3),
            package("cni", "1.9.1", &both, 8),
            package("containerd", "2.4.2", &both, 20),
            package("etcd", "3.7.3", &both[..1], 10),
            package("kubernetes", "1.36.3", &both, 40),
            package("nftables", "1.1.3", &both, 1),
            package("runc", "1.5.2", &both, 4),
        ],
        images: vec![
            image("coredns:v1.15.0", &both, "coredns", 20),
            image("etcd:3.7.3-0", &both[..1], "etcd", 10),
            image("flannel:v0.28.10", &both, "flannel", 12),
            image("kube-apiserver:v1.36.3", &both[..1], "kube", 40),
            image("kube-controller-manager:v1.36.3", &both[..1], "kube", 40),
            image("kube-proxy:v1.36.3", &both, "kube", 40),
            image("kube-scheduler:v1.36.3", &both[..1], "kube", 40),
            image("pause:3.10", &both, "pause", 1),
            image("probe:0.1.0", &both, "probe", 1),
        ],
    }
}

/// Facts of hosts that have nothing wrong.
pub(crate) fn facts(site: &Site) -> BTreeMap<String, Facts> {
    site.nodes.iter().map(|node| (node.name.clone(), facts_of(node))).collect()
}

pub(crate) fn facts_of(node: &Node) -> Facts {
    Facts {
        hostname: node.name.clone(),
        machine: node.arch.machine().into(),
        kernel: "6.12.48+deb13-amd64".into(),
        os: "Debian GNU/Linux 13 (trixie)".into(),
        machine_id: Digest::of(node.name.as_bytes()).hex()[..32].into(),
        systemd: Some("257".into()),
        cgroup: Cgroup::V2,
        cgroup_controllers: ["cpu", "cpuset", "io", "memory", "pids"].map(Into::into).into(),
        cpus: 4,
        memory: 8 << 30,
        page_size: 4096,
        swap: false,
        root: true,
        filesystems: ["/var/lib", "/opt", "/etc", "/run"].map(filesystem).into(),
        listeners: vec![],
        unix_time_ms: 1_800_000_000_000,
        addresses: vec![LinkAddress { link: "eth0".into(), address: node.address, prefix: 24 }],
        default_route: false,
        features: ["br_netfilter", "nf_conntrack", "nf_tables", "overlay", "vxlan"]
            .map(|name| KernelFeature { name: name.into(), present: true })
            .into(),
        leftovers: vec![],
        installed_site: None,
        trust: None,
    }
}

fn filesystem(path: &str) -> FilesystemFacts {
    FilesystemFacts {
        path: path.into(),
        device: if path == "/run" { 2 } else { 1 },
        kind: if path == "/run" { "tmpfs" } else { "ext4" }.into(),
        free: 40 << 30,
        total: 60 << 30,
        inodes_free: 3_000_000,
        inodes_total: 4_000_000,
        read_only: false,
    }
}
