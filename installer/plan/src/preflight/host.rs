//! One host by itself.

use std::collections::BTreeMap;

use qiji_blueprint::site::{Node, PodBackend, Role};

use super::{Answer, Finding, Measure, Severity, finding, kernel_version};
use crate::facts::{Cgroup, Facts};
use crate::inventory::Offer;

/// The oldest kernel that Kubernetes' own checks know (`k8s.io/system-validators`, `DefaultSysSpec`).
const KERNEL: (u32, u32) = (4, 19);
/// The oldest kernel that kube-proxy's nftables mode was made for (`pkg/util/kernel`, `NFTablesKubeProxyKernelVersion`).
const KERNEL_OF_KUBE_PROXY: (u32, u32) = (5, 13);
const MIB: u64 = 1 << 20;
/// Least memory. A host of 2 GiB shows less than that: kubeadm asks for 1700 MiB too.
const MEMORY_CONTROL_PLANE: u64 = 1700 * MIB;
const MEMORY_WORKER: u64 = 850 * MIB;
/// How many times as large content is once unpacked. Measured: the Kubernetes binary, 4.9.
const UNPACKED: u64 = 5;
/// Room beyond what is installed: logs, etcd, pods.
const ROOM_CONTROL_PLANE: u64 = 2048 * MIB;
const ROOM_WORKER: u64 = 1024 * MIB;
/// Files that an installation makes, with room for pods.
const INODES: u64 = 20_000;
/// Percent of its disk that kubelet wants free for images, unless told otherwise (`imagefs.available`).
const KUBELET_ROOM: u64 = 15;
/// Clock offsets in milliseconds.
const CLOCK_WARNING: i64 = 2_000;
const CLOCK_BLOCKER: i64 = 30_000;
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
const PORTS: [(u16, &str); 5] = [
    (10246, "flannel's health"),
    (10248, "kubelet's health"),
    (10249, "kube-proxy's metrics"),
    (10250, "kubelet"),
    (10256, "kube-proxy's health"),
];
const CONTROL_PLANE_PORTS: [(u16, &str); 6] = [
    (2379, "etcd"),
    (2380, "etcd's peers"),
    (2381, "etcd's metrics"),
    (10257, "the controller manager"),
    (10259, "the scheduler"),
    (6443, "the Kubernetes API"),
];
/// UDP port of vxlan (flannel `pkg/backend/vxlan`, and the kernel's own).
const VXLAN: u16 = 8472;
/// Leftovers that can stay beside ours.
const HARMLESS: [&str; 3] = ["/etc/kubernetes", "/var/lib/docker", "/run/docker.sock"];

/// A host being judged.
struct Case<'a> {
    measure: Measure<'a>,
    node: &'a Node,
    facts: &'a Facts,
    findings: &'a mut Vec<Finding>,
}

/// Adds all findings on one host.
pub(super) fn judge(
    measure: Measure<'_>,
    node: &Node,
    facts: &Facts,
    answer: &Answer,
    findings: &mut Vec<Finding>,
) {
    let mut case = Case { measure, node, facts, findings };
    case.machine();
    case.kernel();
    case.features();
    case.control_groups();
    case.processes();
    case.memory();
    case.filesystems();
    case.room();
    case.clock(answer);
    case.names();
    case.network();
    if case.facts.installed_site.as_deref() != Some(&case.measure.site.name) {
        case.ports();
        case.leftovers();
    }
}

impl Case<'_> {
    fn block(&mut self, code: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.push(finding(Some(&self.node.name), Severity::Blocker, code, message, hint));
    }

    fn warn(&mut self, code: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.push(finding(Some(&self.node.name), Severity::Warning, code, message, hint));
    }

    fn is_control_plane(&self) -> bool {
        self.node.role == Role::ControlPlane
    }

    fn machine(&mut self) {
        let (declared, found) = (self.node.arch, self.facts.machine.clone());
        if declared.machine() != found {
            let message =
                format!("its processor is {found}, but the site says {declared} ({})", self.node.chip);
            self.block(
                "wrong-architecture",
                message,
                "correct the chip in the site, then lock and build again",
            );
        }
        let Some(chip) = self.measure.chips.get(&self.node.chip) else { return };
        let size = self.facts.page_size;
        if !chip.page_sizes.contains(&size) {
            let sizes: Vec<String> = chip.page_sizes.iter().map(u64::to_string).collect();
            let message = format!("its kernel has memory pages of {size} bytes, not {}", sizes.join(" or "));
            self.block("page-size", message, "boot a kernel with pages of that size");
        }
    }

    fn kernel(&mut self) {
        let release = self.facts.kernel.clone();
        let Some(found) = kernel_version(&release) else {
            return self.warn(
                "kernel",
                format!("cannot tell the version of its kernel {release}"),
                "check it by hand",
            );
        };
        let asked = self.measure.chips.get(&self.node.chip).map_or(KERNEL, |chip| chip.kernel).max(KERNEL);
        let (major, minor) = asked;
        if found < asked {
            let message = format!("its kernel {release} is older than {major}.{minor}");
            self.block("old-kernel", message, format!("boot a kernel {major}.{minor} or later"));
        } else if found < KERNEL_OF_KUBE_PROXY {
            let message = format!("its kernel {release} is older than 5.13, for which Services were made");
            self.warn("old-kernel", message, "try it with `qiji rehearse` first, or boot a newer kernel");
        }
    }

    fn features(&mut self) {
        let vxlan = self.measure.site.network.backend == PodBackend::Vxlan;
        let absent = self.facts.features.iter().filter(|feature| !feature.present);
        let needed = absent.filter(|feature| vxlan || feature.name != "vxlan");
        let names: Vec<String> = needed.map(|feature| feature.name.clone()).collect();
        for name in names {
            let hint = "install the kernel's modules, or boot a kernel that has it";
            self.block("kernel-feature", format!("its kernel lacks {name}"), hint);
        }
    }

    fn control_groups(&mut self) {
        match self.facts.cgroup {
            Cgroup::V2 => {}
            Cgroup::V1 => {
                let hint = "boot with systemd.unified_cgroup_hierarchy=1 where the distribution can";
                self.warn(
                    "cgroup-v1",
                    "it has control groups of version 1, which Kubernetes is leaving",
                    hint,
                );
            }
            Cgroup::Missing => {
                self.block("no-cgroups", "it has no control groups", "mount them at /sys/fs/cgroup");
                return;
            }
        }
        let known = &self.facts.cgroup_controllers;
        let missing: Vec<&str> =
            CONTROLLERS.into_iter().filter(|name| !known.iter().any(|known| known == name)).collect();
        if !missing.is_empty() {
            let message = format!("it lacks the control group controllers {}", missing.join(", "));
            self.block("cgroup-controllers", message, "enable them on the kernel's command line");
        }
    }

    fn processes(&mut self) {
        if self.facts.systemd.is_none() {
            self.block("no-systemd", "process 1 is not systemd", "install on a host that runs systemd");
        }
        if !self.facts.root {
            let hint = "log in as root, or let the user use sudo and say so in the site";
            self.block("not-root", "the agent does not run as root", hint);
        }
        if self.facts.swap {
            self.warn(
                "swap",
                "swap is on; pods will not use it",
                "turn it off with swapoff -a and in /etc/fstab",
            );
        }
        if self.is_control_plane() && self.facts.cpus < 2 {
            let message = "it has one processor; a control plane wants two";
            self.warn("few-processors", message, "give the host another processor");
        }
    }

    fn memory(&mut self) {
        let (least, what) = if self.is_control_plane() {
            (MEMORY_CONTROL_PLANE, "a control-plane host needs 2 GiB")
        } else {
            (MEMORY_WORKER, "a worker needs 1 GiB")
        };
        if self.facts.memory < least {
            let message = format!("it has {} MiB of memory; {what}", self.facts.memory / MIB);
            self.block("little-memory", message, "give the host more memory");
        }
    }

    fn filesystems(&mut self) {
        let locked = self.facts.filesystems.iter().filter(|fs| fs.read_only);
        let locked: Vec<String> = locked.map(|fs| fs.path.clone()).collect();
        for path in locked {
            let message = format!("{path} is on a file system that is mounted read-only");
            self.block("read-only", message, "mount it writable");
        }
    }

    fn room(&mut self) {
        if self.facts.installed_site.is_some() {
            return; // what is there already would be counted again
        }
        let needed = self.needed_room();
        let mut devices: BTreeMap<u64, (Vec<&str>, u64)> = BTreeMap::new();
        for (path, bytes) in &needed {
            let Some(fs) = self.facts.filesystems.iter().find(|fs| fs.path == *path) else { continue };
            let device = devices.entry(fs.device).or_default();
            device.0.push(path);
            device.1 += bytes;
        }
        for (device, (paths, bytes)) in devices {
            let Some(fs) = self.facts.filesystems.iter().find(|fs| fs.device == device) else { continue };
            let (free, inodes_free, inodes_total) = (fs.free, fs.inodes_free, fs.inodes_total);
            let left = 100 * free.saturating_sub(bytes) / fs.total.max(1);
            let is_kubelets = paths.contains(&"/var/lib");
            let paths = paths.join(" and ");
            if free < bytes {
                let message = format!("{paths}: {} MiB free, {} MiB needed", free / MIB, bytes / MIB);
                self.block("disk-full", message, "free some room or mount a larger disk there");
            } else if is_kubelets && left < KUBELET_ROOM {
                let message = format!(
                    "{paths}: {left} % of the disk will be left free, and below {KUBELET_ROOM} % kubelet starts no pods and ends some"
                );
                self.warn("little-room", message, "free some room or mount a larger disk there");
            }
            if inodes_total > 0 && inodes_free < INODES {
                let message = format!("{paths}: {inodes_free} inodes free, {INODES} needed");
                self.block("no-inodes", message, "remove small files or make the file system anew");
            }
        }
    }

    /// Bytes to be written below each folder.
    fn needed_room(&self) -> [(&'static str, u64); 2] {
        let empty = Offer::default();
        let offer = self.measure.inventory.offers.get(&self.node.arch).unwrap_or(&empty);
        let role = self.node.role;
        let packages = offer.packages.iter().filter(|package| package.roles.contains(&role));
        let mut blobs = BTreeMap::new();
        let mut unpacked = 0;
        for layer in packages.flat_map(|package| &package.layers) {
            unpacked += layer.size * UNPACKED;
            blobs.insert(layer.digest, layer.size);
        }
        let mut images = BTreeMap::new();
        for image in offer.images.iter().filter(|image| image.roles.contains(&role)) {
            images.extend(image.blobs.iter().map(|blob| (blob.digest, blob.size)));
        }
        let images: u64 = images.values().sum();
        // Staged, in containerd's store, and unpacked there.
        let staged = blobs.values().sum::<u64>() + images;
        let spare = if self.is_control_plane() { ROOM_CONTROL_PLANE } else { ROOM_WORKER };
        [("/var/lib", staged + images * (1 + UNPACKED) + spare), ("/opt", unpacked)]
    }

    fn clock(&mut self, answer: &Answer) {
        let there = self.facts.unix_time_ms;
        let offset = (there - answer.answered_ms).max(0) - (answer.asked_ms - there).max(0);
        let seconds = offset.abs() / 1000;
        let side = if offset > 0 { "ahead of" } else { "behind" };
        let message = format!("its clock is {seconds} s {side} this machine's");
        let hint = "set the clocks, with a time server of the site where there is one";
        if offset.abs() > CLOCK_BLOCKER {
            self.block("clock", message, hint);
        } else if offset.abs() > CLOCK_WARNING {
            self.warn("clock", message, hint);
        }
    }

    fn names(&mut self) {
        if self.facts.hostname != self.node.name {
            let message = format!("it calls itself {}, the site {}", self.facts.hostname, self.node.name);
            self.warn(
                "host-name",
                message,
                "the node gets the site's name; rename the host to avoid mix-ups",
            );
        }
        if let Some(other) = self.facts.installed_site.clone().filter(|name| *name != self.measure.site.name)
        {
            let message = format!("it belongs to the site {other}");
            self.block("other-site", message, format!("run `qiji reset` for {other} on it first"));
        }
    }

    fn network(&mut self) {
        let address = self.node.address;
        if !self.facts.addresses.iter().any(|found| found.address == address) {
            let message = format!("none of its links has the address {address}");
            let hint = "name the host's own address in the site, not one that is translated to it";
            self.block("wrong-address", message, hint);
        }
        if !self.facts.default_route {
            let hint = "add one, if only to the site's own gateway, before installing what needs it";
            let message =
                "it has no default route, so programs on the host itself cannot reach Services (pods can)";
            self.warn("no-default-route", message, hint);
        }
        let network = &self.measure.site.network;
        for (range, what) in [(network.pods, "pods"), (network.services, "Services")] {
            let foreign = self.facts.addresses.iter().filter(|found| !is_ours(&found.link));
            let taken = foreign.filter_map(|found| {
                let subnet = ipnet::IpNet::new(found.address, found.prefix).ok()?;
                let overlaps = subnet.contains(&range.network()) || range.contains(&found.address);
                overlaps.then(|| format!("{} has {subnet}", found.link))
            });
            let taken: Vec<String> = taken.collect();
            if !taken.is_empty() {
                let message = format!("the range of {what}, {range}, is in use: {}", taken.join(", "));
                self.block("range-overlap", message, "choose another range in the site");
            }
        }
    }

    fn ports(&mut self) {
        let mut wanted: Vec<(&str, u16, &str)> =
            PORTS.iter().map(|(port, what)| ("tcp", *port, *what)).collect();
        if self.is_control_plane() {
            wanted.extend(CONTROL_PLANE_PORTS.iter().map(|(port, what)| ("tcp", *port, *what)));
            let port = self.measure.site.cluster.endpoint.port;
            if port != 6443 {
                wanted.push(("tcp", port, "the Kubernetes API"));
            }
        }
        if self.measure.site.network.backend == PodBackend::Vxlan {
            wanted.push(("udp", VXLAN, "the pod network"));
        }
        for (protocol, port, what) in wanted {
            let facts = self.facts;
            let taken = facts.listeners.iter().find(|at| at.protocol == protocol && at.port == port);
            let Some(taken) = taken else { continue };
            let by = taken.process.as_ref().map(|name| format!(" by {name}")).unwrap_or_default();
            let message = format!("{protocol} port {port}, for {what}, is in use{by}");
            self.block("port-in-use", message, "stop what listens there");
        }
    }

    fn leftovers(&mut self) {
        for path in self.facts.leftovers.clone() {
            let message = format!("{path} is left from something else");
            if HARMLESS.contains(&path.as_str()) {
                self.warn("leftover", message, "remove it if nothing uses it");
            } else {
                self.block("leftover", message, "take away what made it, then remove it");
            }
        }
    }
}

/// Links that the pod network makes.
fn is_ours(link: &str) -> bool {
    link == "lo" || link == "cni0" || link.starts_with("flannel")
}
