//! Where things lie on a host. Every path that a plan writes is made from these.

/// Root of what the bundle unpacks.
pub const ROOT: &str = "/opt/qiji";
/// One folder a package, `NAME-VERSION`.
pub const PACKAGES: &str = "/opt/qiji/packages";
/// Links to the programs in use.
pub const BIN: &str = "/opt/qiji/bin";
/// Link to the CNI plugins in use.
pub const CNI_BIN: &str = "/opt/qiji/cni";
/// The agent's staging store of blobs.
pub const BLOBS: &str = "/var/lib/qiji/blobs";
/// Policy and accepted bundles, where the agent keeps its own things.
pub const TRUST: &str = "/var/lib/qiji/trust.json";
/// Configuration that belongs to qiji itself.
pub const CONFIG: &str = "/etc/qiji";
/// Manifests that were applied.
pub const MANIFESTS: &str = "/etc/qiji/manifests";
/// Secrets that live while hosts join.
pub const SECRETS: &str = "/etc/qiji/secrets";
/// The secret half of the join token.
pub const TOKEN_SECRET: &str = "/etc/qiji/secrets/join-token";
/// kubeadm's configuration.
pub const KUBEADM_CONFIG: &str = "/etc/qiji/kubeadm.yaml";
/// Name servers for pods that ask the host's.
pub const RESOLV_CONF: &str = "/etc/qiji/resolv.conf";
/// Kernel settings.
pub const SYSCTL: &str = "/etc/sysctl.d/90-qiji.conf";
/// Kernel modules.
pub const MODULES: &str = "/etc/modules-load.d/qiji.conf";
/// Configuration of the pod network.
pub const CNI_CONFIG: &str = "/etc/cni/net.d";
/// Certificates that a host trusts; the API server's pod mounts it.
pub const TRUSTED_CERTIFICATES: &str = "/etc/ssl/certs";
/// A site's own containerd settings.
pub const CONTAINERD_DROP_INS: &str = "/etc/containerd/conf.d";
/// A site's own kubelet settings.
pub const KUBELET_DROP_INS: &str = "/etc/kubernetes/kubelet.conf.d";
/// containerd's socket.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// Where containerd keeps blobs of images, each under its digest.
pub const CONTAINERD_BLOBS: &str = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256";
/// The administrator's kubeconfig.
pub const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// The kubeconfig that needs no role binding.
pub const SUPER_ADMIN: &str = "/etc/kubernetes/super-admin.conf";
/// kubelet's kubeconfig.
pub const KUBELET_KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";
/// kubelet's kubeconfig while it joins.
pub const BOOTSTRAP_KUBECONFIG: &str = "/etc/kubernetes/bootstrap-kubelet.conf";
/// The cluster's certificate authority.
pub const CA: &str = "/etc/kubernetes/pki/ca.crt";
/// The certificate that kubelet got.
pub const KUBELET_CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
/// Where kubectl keeps what it learnt of the API, out of root's home.
pub const KUBE_CACHE: &str = "/var/lib/qiji/kube-cache";
/// flannel's port for `/healthz` and `/readyz`, on loopback.
pub const FLANNEL_HEALTH_PORT: u16 = 10246;

/// Path of a program of the bundle.
pub fn program(name: &str) -> String {
    format!("{BIN}/{name}")
}

/// Folder of a package.
pub fn package(name: &str, version: &str) -> String {
    format!("{PACKAGES}/{name}-{version}")
}
