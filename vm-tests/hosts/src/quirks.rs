//! What sets a test host apart from a bare one, and the drop-ins that tell kubelet and containerd so.
//!
//! A test host shares the machine's kernel, so some of what software on a bare host may do is not allowed in it. None of
//! that belongs in what a real host gets. It is kept here: in a short script that runs in the host before systemd
//! ([`SETUP`]), and in drop-ins that the site's own configuration must leave room for, as it does for any site:
//! [`KUBELET_DROP_IN`] in `/etc/kubernetes/kubelet.conf.d/` (kubelet's `--config-dir`) and [`CONTAINERD_DROP_IN`] in
//! `/etc/containerd/conf.d/` (containerd's `imports`).
//!
//! What stays different, and a site must not trip over:
//! - No kernel modules: `modprobe` fails, `/proc/modules` and `/sys/module` are absent. What the kernel has is built in.
//! - `net.netfilter.nf_conntrack_max` and its like are read-only outside the machine's own network namespace:
//!   kube-proxy needs `conntrack: {maxPerCore: 0}`.
//! - `vm.overcommit_memory`, `kernel.panic` and `kernel.panic_on_oops` are files that only look like the kernel's.
//! - `oom_score_adj` cannot be lowered.

/// Where [`KUBELET_DROP_IN`] lies in a host.
pub const KUBELET_DROP_IN_PATH: &str = "/etc/kubernetes/kubelet.conf.d/90-test-host.conf";

/// kubelet on a test host.
///
/// `failCgroupV1` and `cgroupDriver`: the machine may have v1 hierarchies, which systemd in the host does not manage for
/// others. `failSwapOn`: swap is the machine's business. `KubeletInUserNamespace`: kubelet then goes on where it may not
/// write `oom_score_adj` or a kernel parameter. `cgroupRoot` is `/`, since each host has a control-group namespace of its own.
pub const KUBELET_DROP_IN: &str = "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /
failSwapOn: false
featureGates:
  KubeletInUserNamespace: true
";

/// Where [`CONTAINERD_DROP_IN`] lies in a host.
pub const CONTAINERD_DROP_IN_PATH: &str = "/etc/containerd/conf.d/90-test-host.toml";

/// containerd on a test host: control groups by files, as kubelet has it; `oom_score_adj` is not lowered; and there is
/// no `hugetlb` hierarchy.
pub const CONTAINERD_DROP_IN: &str = "\
version = 3

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_hugetlb_controller = true

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
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
