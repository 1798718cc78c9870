//! Values of the cluster as a whole that several steps use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use qiji_blueprint::site::{Node, Site};

use crate::error::{PlanError, PlanErrors};
use crate::facts::Facts;
use crate::inventory::Offer;
use crate::preflight::kernel_version;

/// The first kernel that kube-proxy's nftables mode was made for
/// (`pkg/util/kernel/constants.go`, `NFTablesKubeProxyKernelVersion`).
const KUBE_PROXY_KERNEL: (u32, u32) = (5, 13);
/// Images of the control plane, whose tag is the version of Kubernetes.
const KUBERNETES: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// Values of the cluster.
pub(crate) struct ClusterValues {
    pub(crate) name: String,
    /// `https://HOST:PORT`.
    pub(crate) server: String,
    /// `HOST:PORT`.
    pub(crate) endpoint: String,
    pub(crate) api_host: String,
    pub(crate) api_port: u16,
    /// Port that the API server listens on.
    pub(crate) bind_port: u16,
    /// `v1.36.3`.
    pub(crate) kubernetes_version: String,
    pub(crate) image_repository: String,
    pub(crate) etcd_tag: String,
    pub(crate) cluster_dns: IpAddr,
    pub(crate) cert_sans: Vec<String>,
    pub(crate) ipv6: bool,
    /// Whether some host's kernel is older than kube-proxy asks for.
    pub(crate) old_kernels: bool,
    /// Workers, in the site's order.
    pub(crate) workers: Vec<String>,
}

impl ClusterValues {
    pub(crate) fn new(
        site: &Site,
        first: &Node,
        offer: &Offer,
        facts: &BTreeMap<String, Facts>,
    ) -> Result<Self, PlanErrors> {
        let mut faults = Vec::new();
        let kubernetes_version = kubernetes_version(site, offer, &mut faults);
        let cluster_dns = tenth_address(site);
        if cluster_dns.is_none() {
            faults.push(PlanError::ServicesTooSmall { range: site.network.services.to_string() });
        }
        let etcd = offer.image("etcd");
        let (Some(cluster_dns), Some(etcd), true) = (cluster_dns, etcd, faults.is_empty()) else {
            return Err(PlanErrors(faults));
        };
        let api_host = site.cluster.endpoint.host.clone();
        let api_port = site.cluster.endpoint.port;
        let endpoint = authority(&api_host, api_port);
        let bind_port = if api_host == first.address.to_string() { api_port } else { 6443 };
        Ok(Self {
            name: site.cluster.name.clone(),
            server: format!("https://{endpoint}"),
            endpoint,
            cert_sans: cert_sans(site),
            api_host,
            api_port,
            bind_port,
            kubernetes_version,
            image_repository: etcd.registry().to_owned(),
            etcd_tag: etcd.tag().to_owned(),
            cluster_dns,
            ipv6: site.network.pods.addr().is_ipv6(),
            old_kernels: facts.values().any(|facts| {
                kernel_version(&facts.kernel).is_some_and(|(major, minor)| (major, minor) < KUBE_PROXY_KERNEL)
            }),
            workers: site.workers().map(|node| node.name.clone()).collect(),
        })
    }
}

/// All three images have the tag `vVERSION`, or say which does not.
fn kubernetes_version(site: &Site, offer: &Offer, faults: &mut Vec<PlanError>) -> String {
    let wanted = format!("v{}", site.cluster.version);
    for image in KUBERNETES.iter().filter_map(|name| offer.image(name)) {
        if image.tag() != wanted {
            faults.push(PlanError::WrongVersion { image: image.name.clone(), wanted: wanted.clone() });
        }
    }
    wanted
}

/// `kubeadm` and everyone else give the cluster's DNS the tenth address of the range of Services.
fn tenth_address(site: &Site) -> Option<IpAddr> {
    let services = site.network.services;
    let address = match services.network() {
        IpAddr::V4(first) => IpAddr::V4(u32::from(first).checked_add(10)?.into()),
        IpAddr::V6(first) => IpAddr::V6(u128::from(first).checked_add(10)?.into()),
    };
    let roomy = services.max_prefix_len() - services.prefix_len() >= 4;
    (roomy && services.contains(&address)).then_some(address)
}

/// Names and addresses, beyond kubeadm's own, that the API may be reached by.
fn cert_sans(site: &Site) -> Vec<String> {
    let mut names = vec![site.cluster.endpoint.host.clone()];
    for node in site.control_plane() {
        names.push(node.name.clone());
        names.push(node.address.to_string());
    }
    names.push("localhost".to_owned());
    names.push(if site.network.services.addr().is_ipv6() { "::1" } else { "127.0.0.1" }.to_owned());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// `host:port`, with brackets round an IPv6 address.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
