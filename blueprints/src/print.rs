//! A resolved site as canonical KDL: parsing it gives the same site again.
//!
//! What all hosts of the site (access) or all hosts of a group (chip, accelerators, labels, taints, access) have in common stands
//! once, outside; ranges are not formed again.

use crate::brought::{print_chart, print_image};
use crate::kdl_text::{Line, Text};
use crate::site::{Access, AccessMethod, Cluster, Network, Node, PodBackend, Role, Site, Sudo};

/// The site as KDL, each host on a line of its own.
pub fn print(site: &Site) -> String {
    let mut text = Text::default();
    let line = text.node("site").arg(&site.name).prop("version", &site.version.to_string());
    line.block(|text| {
        text.node("edition").arg(&site.edition).end();
        let shared = common(&site.nodes, |node| unpinned(&node.access));
        if let Some(shared) = &shared {
            access(text, shared);
        }
        network(text, &site.network);
        cluster(text, &site.cluster, &site.nodes, shared.is_some());
        if !(site.components.is_empty() && site.images.is_empty() && site.charts.is_empty()) {
            text.node("platform").block(|text| {
                for choice in &site.components {
                    text.node("component").arg(&choice.name).prop("version", &choice.version).end();
                }
                site.images.iter().for_each(|image| print_image(text, image));
                site.charts.iter().for_each(|chart| print_chart(text, chart));
            });
        }
    });
    text.finish()
}

/// The value that all have, if they all have the same.
fn common<T: PartialEq>(nodes: &[Node], value: impl Fn(&Node) -> T) -> Option<T> {
    let first = value(nodes.first()?);
    nodes.iter().all(|node| value(node) == first).then_some(first)
}

/// Access without the host's key, which is always the host's own.
fn unpinned(access: &Access) -> Access {
    Access { host_key: None, ..access.clone() }
}

fn network(text: &mut Text, network: &Network) {
    text.node("network").block(|text| {
        text.node("pods").arg(&network.pods.to_string()).end();
        text.node("services").arg(&network.services.to_string()).end();
        list(text, "hosts", &network.hosts);
        text.node("domain").arg(&network.domain).end();
        list(text, "dns", &network.dns_upstream);
        let backend = match network.backend {
            PodBackend::Vxlan => "vxlan",
            PodBackend::HostGw => "host-gw",
        };
        text.node("backend").arg(backend).end();
    });
}

fn list<T: ToString>(text: &mut Text, name: &str, values: &[T]) {
    if !values.is_empty() {
        let values: Vec<_> = values.iter().map(ToString::to_string).collect();
        text.node(name).args(values.iter().map(String::as_str)).end();
    }
}

fn cluster(text: &mut Text, cluster: &Cluster, nodes: &[Node], access_outside: bool) {
    let endpoint = &cluster.endpoint;
    let host = &endpoint.host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let line = text
        .node("cluster")
        .arg(&cluster.name)
        .prop("kubernetes", &cluster.version.to_string())
        .prop("endpoint", &format!("{host}:{}", endpoint.port));
    line.block(|text| {
        let same = |one: &Node, other: &Node| one.role == other.role && one.group == other.group;
        for nodes in nodes.chunk_by(same) {
            let Some(first) = nodes.first() else { continue };
            let line = match first.role {
                Role::ControlPlane => text.node("control-plane"),
                Role::Worker => text.node("group").arg(&first.group),
            };
            group(line, nodes, access_outside);
        }
    });
}

fn group(line: Line<'_>, nodes: &[Node], access_outside: bool) {
    let chip = common(nodes, |node| node.chip.clone());
    let accelerators = common(nodes, |node| node.accelerators.clone());
    let labels = common(nodes, |node| node.labels.clone());
    let taints = common(nodes, |node| node.taints.clone());
    let shared = common(nodes, |node| unpinned(&node.access)).filter(|_| !access_outside);
    line.block(|text| {
        let Some(first) = nodes.first() else { return };
        let own = |hoisted: bool| Parts { hoisted };
        own(chip.is_none()).chip(text, first);
        own(accelerators.is_none()).accelerators(text, first);
        own(labels.is_none()).labels(text, first);
        own(taints.is_none()).taints(text, first);
        if let Some(shared) = &shared {
            access(text, shared);
        }
        for node in nodes {
            text.node("node").arg(&node.name).prop("address", &node.address.to_string()).block(|text| {
                own(chip.is_some()).chip(text, node);
                own(accelerators.is_some()).accelerators(text, node);
                own(labels.is_some()).labels(text, node);
                own(taints.is_some()).taints(text, node);
                if !access_outside && shared.is_none() {
                    access(text, &node.access);
                }
                if let Some(key) = &node.access.host_key {
                    text.node("host-key").arg(key).end();
                }
            });
        }
    });
}

/// Prints a part of a node, unless it stands elsewhere.
struct Parts {
    hoisted: bool,
}

impl Parts {
    fn chip(&self, text: &mut Text, node: &Node) {
        if !self.hoisted {
            text.node("chip").arg(&node.chip).end();
        }
    }

    fn accelerators(&self, text: &mut Text, node: &Node) {
        for name in node.accelerators.iter().filter(|_| !self.hoisted) {
            text.node("accelerator").arg(name).end();
        }
    }

    fn labels(&self, text: &mut Text, node: &Node) {
        for (key, value) in node.labels.iter().filter(|_| !self.hoisted) {
            text.node("label").arg(key).arg(value).end();
        }
    }

    fn taints(&self, text: &mut Text, node: &Node) {
        for taint in node.taints.iter().filter(|_| !self.hoisted) {
            let value = Some(taint.value.as_str()).filter(|value| !value.is_empty());
            text.node("taint").arg(&taint.key).maybe_prop("value", value).prop("effect", &taint.effect).end();
        }
    }
}

fn access(text: &mut Text, access: &Access) {
    text.node("access").prop("user", &access.user).number("port", access.port.into()).block(|text| {
        for method in &access.methods {
            match method {
                AccessMethod::Key { path } => text.node("key").arg(path).end(),
                AccessMethod::Agent => text.node("agent").end(),
                AccessMethod::Password { file } => {
                    text.node("password").maybe_prop("file", file.as_deref()).end();
                }
            }
        }
        match &access.sudo {
            Sudo::None => {}
            Sudo::NoPassword => text.node("sudo").arg("no-password").end(),
            Sudo::Password { file } => {
                text.node("sudo").arg("password").maybe_prop("file", file.as_deref()).end();
            }
        }
    });
}
