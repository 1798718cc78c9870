//! Rules on hosts: names and addresses are unique, the control plane has an odd count, whoever logs in can become root.

use std::collections::HashMap;
use std::net::IpAddr;

use super::nodes;
use crate::checked::Site;
use crate::fault::{Fault, Span};
use crate::resolve::Scope;
use crate::site::Role;

/// No two hosts share a name or an address, no two groups a name. Of each `node`, only the first such host is told.
pub(super) fn unique(site: &Site, faults: &mut Vec<Fault>) {
    let mut names: HashMap<&str, Span> = HashMap::new();
    let mut addresses: HashMap<IpAddr, (Span, &str)> = HashMap::new();
    for (_, nodes) in nodes(site) {
        let (mut same_name, mut same_address) = (Vec::new(), Vec::new());
        for (name, address) in &nodes.hosts {
            if let Some(first) = names.insert(name, nodes.name_span) {
                same_name.push((format!("two hosts have the name `{name}`"), first));
            }
            let Some(address) = address else { continue };
            if let Some((first, owner)) = addresses.insert(*address, (nodes.address_span, name)) {
                same_address.push((format!("`{owner}` and `{name}` have the same address {address}"), first));
            }
        }
        faults.extend(first_of("duplicate-name", nodes.name_span, same_name));
        faults.extend(first_of("duplicate-address", nodes.address_span, same_address));
    }
    groups(site, faults);
}

/// The first of the findings about one `node`, with how many more there are.
fn first_of(code: &'static str, span: Span, found: Vec<(String, Span)>) -> Option<Fault> {
    let more = found.len().saturating_sub(1);
    let (message, first) = found.into_iter().next()?;
    let message = if more > 0 { format!("{message}, and {more} more like this") } else { message };
    Some(second(code, message, span, first))
}

fn groups(site: &Site, faults: &mut Vec<Fault>) {
    let mut groups: HashMap<&str, Span> = HashMap::new();
    for group in site.cluster.groups.iter().filter(|group| group.role == Role::Worker) {
        if let Some(first) = groups.insert(&group.name.value, group.name.span) {
            let message = format!("two groups have the name `{}`", group.name.value);
            faults.push(second("duplicate-name", message, group.name.span, first));
        }
        if group.name.value == "control-plane" {
            let message = "`control-plane` is the name of the control plane's own group";
            let fault = Fault::new("reserved-name", group.name.span, message, "already has a meaning");
            faults.push(fault.expected("another name"));
        }
    }
}

fn second(code: &'static str, message: String, span: Span, first: Span) -> Fault {
    let fault = Fault::new(code, span, message, "the second");
    if first == span { fault } else { fault.related(first, "the first") }
}

/// etcd needs more than half of its members, so an even count bears no more failures than one less, and two fewer than one.
pub(super) fn control_plane(site: &Site, faults: &mut Vec<Fault>) {
    let Some(group) = site.cluster.groups.iter().find(|group| group.role == Role::ControlPlane) else {
        return;
    };
    let count = group.nodes.iter().map(|nodes| nodes.hosts.len()).sum::<usize>();
    let span = group.name.span;
    if count == 2 {
        let message = "two control-plane hosts are worse than one: etcd stops when either fails";
        let fault = Fault::new("even-control-plane", span, message, "has two hosts");
        faults.push(
            fault.expected("one, three or five hosts").fix("add a third, or make one of them a worker"),
        );
    } else if count > 0 && count % 2 == 0 {
        let message = format!("{count} control-plane hosts bear no more failures than {}", count - 1);
        let fault = Fault::new("even-control-plane", span, message, format!("has {count} hosts"));
        faults.push(fault.warning().expected("an odd count").fix("add one, or make one of them a worker"));
    } else if count > 7 {
        let message = format!("{count} control-plane hosts make etcd slow");
        let fault = Fault::new("large-control-plane", span, message, format!("has {count} hosts"));
        faults.push(fault.warning().expected("three, five or seven hosts"));
    }
}

/// `sudo` is only of use to a user who is not root.
pub(super) fn access(site: &Site, faults: &mut Vec<Fault>) {
    for (group, nodes) in nodes(site) {
        let scope = Scope::new(site, group, nodes);
        if let (None, Some(sudo)) = (scope.user(), scope.sudo()) {
            let message = "root needs no `sudo`, and no user is written";
            let fault = Fault::new("contradiction", sudo.span, message, "not needed");
            faults.push(fault.fix("write `user=` in `access`, or take `sudo` away"));
        }
    }
}
