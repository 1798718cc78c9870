//! What sets a test host apart from a bare one, and the drop-ins that tell kubelet and containerd so.
//!
//! A test host shares the machine's kernel, so some of what software on a bare host may do is not allowed in it. None of
//! that belongs in what a real host gets. It is kept here: in a short script that runs in the host before systemd
//! ([`SETUP`]), and in drop-ins that the site's own configuration must leave room for, as it does for any site:
//! [`KUBELET_DROP_IN`] in `/etc/kubernetes/kubelet.conf.d/` (kubelet's `--config-dir`) and [`CONTAINERD_DROP_IN`] in
//! `/etc/containerd/conf.d/` (containerd's `imports`).
//!
//! What stays different, and a site must not trip over:
//! - With v1 hierarchies kubeadm's preflight fails on `SystemVerification` and on nothing else: it must be told to ignore
//!   that one check (`nodeRegistration.ignorePreflightErrors`), on v1 only.
//! - No kernel modules: `modprobe` fails, `/proc/modules` and `/sys/module` are absent. What the kernel has is built in.
//! - `net.netfilter.nf_conntrack_max` and its like are read-only outside the machine's own network namespace:
//!   kube-proxy needs `conntrack: {maxPerCore: 0}`.
//! - `vm.overcommit_memory`, `kernel.panic` and `kernel.panic_on_oops` are files that only look like the kernel's.
//! - Where the machine withholds `CAP_SYS_RESOURCE`, `oom_score_adj` cannot be lowered and file limits cannot be raised;
//!   kubelet, containerd and systemd each say so once and go on.
//! - `/dev/kmsg` is empty, so kubelet reports no out-of-memory kills.
//!
//! Tried with these drop-ins and nothing else: containerd 2.4.2 with its overlayfs snapshotter, runc, etcd and
//! Kubernetes 1.36.3 by `kubeadm init` and `join`; kube-proxy in nftables mode; both nodes Ready, nothing escaped.

/// Where [`KUBELET_DROP_IN`] lies in a host.
pub const KUBELET_DROP_IN_PATH: &str = "/etc/kubernetes/kubelet.conf.d/90-test-host.conf";

/// kubelet on a test host: what it must put up with, each with its reason. kubelet merges it over its main file.
pub const KUBELET_DROP_IN: &str = "\
# This is a test host: it shares the kernel and the control groups of the machine that runs it.
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
# The machine may have v1 hierarchies, which systemd in a container does not manage for others.
failCgroupV1: false
cgroupDriver: cgroupfs
# The host has a control-group namespace of its own, so its root is the host.
cgroupRoot: /
# Swap is the machine's business.
failSwapOn: false
# So is its disk: how full others keep it says nothing of this host. Only its very end counts.
evictionHard:
  memory.available: 100Mi
  nodefs.available: 256Mi
  nodefs.inodesFree: 1%
  imagefs.available: 256Mi
  imagefs.inodesFree: 1%
featureGates:
  # Go on where oom_score_adj or a kernel parameter may not be written.
  KubeletInUserNamespace: true
";

/// Where [`CONTAINERD_DROP_IN`] lies in a host.
pub const CONTAINERD_DROP_IN_PATH: &str = "/etc/containerd/conf.d/90-test-host.toml";

/// containerd on a test host. containerd merges it over its main file table by table (seen with 2.4.2, main file of
/// version 3 and of version 4); the runtime's table is complete all the same.
pub const CONTAINERD_DROP_IN: &str = "\
# This is a test host: it shares the kernel and the control groups of the machine that runs it.
version = 3

[plugins.'io.containerd.cri.v1.runtime']
# oom_score_adj may not be lowered here, and there is no hugetlb hierarchy.
restrict_oom_score_adj = true
disable_hugetlb_controller = true

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
# As kubelet has it on this host: v1 hierarchies are not systemd's to manage in a container.
SystemdCgroup = false
";

/// Runs as the host's first process and then becomes systemd.
///
/// systemd-nspawn mounts v1 controllers read-only: they are made writable, for runc. `/dev/kmsg` is not there: kubelet
/// reads it for out-of-memory reports, and gets an empty one. The three kernel parameters that kubelet sets become files
/// of the host's own, holding what the machine has, so that setting them does not change the machine.
pub const SETUP: &str = r#"
for group in /sys/fs/cgroup/*; do
    case $group in */systemd|*/unified) continue ;; esac
    mountpoint -q "$group" && mount -o remount,rw,bind "$group"
done
[ -e /dev/kmsg ] || ln -s /dev/null /dev/kmsg
mkdir -p /run/test-host
for name in vm/overcommit_memory kernel/panic kernel/panic_on_oops; do
    file=/run/test-host/$(basename "$name")
    cat "/proc/sys/$name" > "$file"
    mount --bind "$file" "/proc/sys/$name"
done
exec /lib/systemd/systemd
"#;
