//! The hosts compared with one another.

use std::collections::BTreeMap;
use std::net::IpAddr;

use qiji_blueprint::site::Site;

use super::{Answer, Finding, Severity, finding};
use crate::facts::Facts;

/// Adds findings on what hosts share and must not.
pub(super) fn judge(site: &Site, answers: &BTreeMap<String, Answer>, findings: &mut Vec<Finding>) {
    let known: Vec<(&str, &Facts)> = site
        .nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), answers.get(&node.name)?.facts.as_ref().ok()?)))
        .collect();
    let hint = "if it is one host twice, correct the address; if it is a copy, remove /etc/machine-id and run systemd-machine-id-setup";
    for (id, hosts) in shared(&known, |facts| &facts.machine_id) {
        let message = format!("{} have the same machine id {id}", hosts.join(", "));
        findings.push(finding(None, Severity::Blocker, "same-machine-id", message, hint));
    }
    for (name, hosts) in shared(&known, |facts| &facts.hostname) {
        let message = format!("{} all call themselves {name}", hosts.join(", "));
        let hint = "rename them; nodes get the site's names";
        findings.push(finding(None, Severity::Warning, "same-host-name", message, hint));
    }
    addresses(site, &known, findings);
    let (pods, services) = (site.network.pods, site.network.services);
    if pods.contains(&services.network()) || services.contains(&pods.network()) {
        let message = format!("the ranges of pods, {pods}, and of Services, {services}, overlap");
        findings.push(finding(
            None,
            Severity::Blocker,
            "range-overlap",
            message,
            "choose another range in the site",
        ));
    }
}

/// Values that several hosts have. An empty one says nothing.
fn shared<'a>(
    known: &[(&'a str, &'a Facts)],
    value: impl Fn(&Facts) -> &String,
) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut by_value: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (host, facts) in known {
        by_value.entry(value(facts)).or_default().push(host);
    }
    by_value.retain(|value, hosts| !value.is_empty() && hosts.len() > 1);
    by_value.into_iter().collect()
}

/// An address of one host that another host has too.
fn addresses(site: &Site, known: &[(&str, &Facts)], findings: &mut Vec<Finding>) {
    for node in &site.nodes {
        let has = |facts: &Facts, address: IpAddr| facts.addresses.iter().any(|at| at.address == address);
        let others = known.iter().filter(|(host, facts)| *host != node.name && has(facts, node.address));
        for (other, _) in others {
            let message = format!("{other} has its address {}", node.address);
            let hint = "give each host an address of its own";
            findings.push(finding(Some(&node.name), Severity::Blocker, "duplicate-address", message, hint));
        }
    }
}
