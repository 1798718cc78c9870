//! The third layer: ranges are expanded, what a node does not say is taken from its group, then from the site, then from the
//! defaults. [`resolve`] is total: it is only used on a site without faults, and the rules themselves look at what it gives.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::catalogue::Catalogue;
use crate::checked::{self, Settings, Written};
use crate::language::defaults;
use crate::site::{
    Access, AccessMethod, Arch, Cluster, ComponentChoice, Endpoint, Network, Node, PodBackend, Role, Site,
    Sudo, Taint,
};

/// The settings of a node and of the blocks around it, from inside to outside.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a>([&'a Settings; 3]);

impl<'a> Scope<'a> {
    pub(crate) fn new(site: &'a checked::Site, group: &'a checked::Group, node: &'a checked::Nodes) -> Self {
        Self([&node.settings, &group.settings, &site.settings])
    }

    pub(crate) fn chip(&self) -> Option<&'a str> {
        self.0.iter().find_map(|settings| settings.chip.as_ref()).map(|chip| chip.value.as_str())
    }

    pub(crate) fn user(&self) -> Option<&'a str> {
        self.0.iter().find_map(|settings| settings.access.user.as_deref())
    }

    pub(crate) fn sudo(&self) -> Option<&'a crate::fault::Spanned<Sudo>> {
        self.0.iter().find_map(|settings| settings.access.sudo.as_ref())
    }

    fn accelerators(&self) -> Vec<String> {
        let written = self.0.iter().find(|settings| !settings.accelerators.is_empty());
        written
            .into_iter()
            .flat_map(|settings| &settings.accelerators)
            .map(|name| name.value.clone())
            .collect()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.0.iter().rev().flat_map(|settings| settings.labels.iter().cloned()).collect()
    }

    fn taints(&self) -> Vec<Taint> {
        let mut taints: BTreeMap<(&str, &str), &Taint> = BTreeMap::new();
        for taint in self.0.iter().rev().flat_map(|settings| &settings.taints) {
            taints.insert((&taint.key, &taint.effect), taint);
        }
        taints.into_values().cloned().collect()
    }

    fn access(&self, host_key: Option<&String>) -> Access {
        let user = self.user().unwrap_or(defaults::USER);
        let sudo = self.sudo().map_or(Sudo::NoPassword, |sudo| sudo.value.clone());
        let methods =
            self.0.iter().map(|settings| &settings.access.methods).find(|methods| !methods.is_empty());
        Access {
            user: user.to_owned(),
            port: self.0.iter().find_map(|settings| settings.access.port).unwrap_or(defaults::SSH_PORT),
            methods: methods.map_or_else(|| vec![AccessMethod::Agent], Clone::clone),
            sudo: if user == "root" { Sudo::None } else { sudo },
            host_key: host_key.cloned(),
        }
    }
}

/// The range that holds where none is written.
pub(crate) fn default_range(text: &str) -> IpNet {
    text.parse().unwrap_or_default()
}

fn range(written: Written, default: &str) -> IpNet {
    match written {
        Written::At(net) => net.value,
        Written::Default | Written::Broken => default_range(default),
    }
}

/// Makes the site that every later stage works with.
pub(crate) fn resolve(site: &checked::Site, catalogue: &Catalogue) -> Site {
    let nodes = nodes(site, catalogue);
    let endpoint = match &site.cluster.endpoint {
        Some(endpoint) => Endpoint { host: endpoint.value.0.clone(), port: endpoint.value.1 },
        None => Endpoint {
            host: nodes.first().map(|node| node.address.to_string()).unwrap_or_default(),
            port: defaults::API_PORT,
        },
    };
    let network = &site.network;
    Site {
        name: site.name.clone(),
        version: site.version.clone(),
        edition: site.edition.value.clone(),
        cluster: Cluster {
            name: site.cluster.name.clone(),
            version: site
                .cluster
                .kubernetes
                .as_ref()
                .map_or(semver::Version::new(0, 0, 0), |version| version.value.clone()),
            endpoint,
        },
        network: Network {
            pods: range(network.pods, defaults::PODS),
            services: range(network.services, defaults::SERVICES),
            hosts: network.hosts.iter().map(|net| net.value).collect(),
            domain: network.domain.clone().unwrap_or_else(|| defaults::DOMAIN.to_owned()),
            dns_upstream: network.dns.iter().map(|address| address.value).collect(),
            backend: network.backend.unwrap_or(PodBackend::Vxlan),
        },
        nodes,
        components: site
            .components
            .iter()
            .map(|choice| ComponentChoice {
                name: choice.name.value.clone(),
                version: choice.version.value.clone(),
            })
            .collect(),
        images: site.images.iter().map(|image| image.value.clone()).collect(),
        charts: site.charts.iter().map(|chart| chart.value.clone()).collect(),
    }
}

fn nodes(site: &checked::Site, catalogue: &Catalogue) -> Vec<Node> {
    let mut all = Vec::new();
    for group in &site.cluster.groups {
        for nodes in &group.nodes {
            let scope = Scope::new(site, group, nodes);
            let chip = scope.chip().unwrap_or_default();
            for (name, address) in &nodes.hosts {
                let Some(address) = address else { continue };
                all.push(Node {
                    name: name.clone(),
                    role: group.role,
                    group: match group.role {
                        Role::ControlPlane => "control-plane".to_owned(),
                        Role::Worker => group.name.value.clone(),
                    },
                    address: *address,
                    arch: catalogue.chips.get(chip).map_or(Arch::Amd64, |chip| chip.arch),
                    chip: chip.to_owned(),
                    accelerators: scope.accelerators(),
                    labels: scope.labels(),
                    taints: scope.taints(),
                    access: scope.access(nodes.host_key.as_ref()),
                });
            }
        }
    }
    all
}
