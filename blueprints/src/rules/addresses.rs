//! Rules on addresses: ranges that overlap or are too small, hosts outside their subnets, two families in one site.

use std::net::IpAddr;

use ipnet::IpNet;

use super::nodes;
use crate::checked::{Network, Nodes, Site, Written};
use crate::fault::{Fault, Span};
use crate::language::defaults;
use crate::resolve::default_range;
use crate::site::Role;

/// A range with the words for it.
struct Named {
    what: &'static str,
    net: IpNet,
    span: Span,
    written: bool,
}

/// The ranges of pods and services, as far as they are known.
fn named(network: &Network) -> Vec<Named> {
    let one = |what, net: Written, default| match net {
        Written::At(net) => Some(Named { what, net: net.value, span: net.span, written: true }),
        Written::Default => {
            Some(Named { what, net: default_range(default), span: network.place, written: false })
        }
        Written::Broken => None,
    };
    let pods = one("pods", network.pods, defaults::PODS);
    let services = one("services", network.services, defaults::SERVICES);
    pods.into_iter().chain(services).collect()
}

/// The ranges of pods and services, then the subnets of hosts.
fn all_ranges(network: &Network) -> Vec<Named> {
    let mut all = named(network);
    all.extend(subnets(network));
    all
}

fn subnets(network: &Network) -> impl Iterator<Item = Named> {
    network.hosts.iter().map(|net| Named { what: "hosts", net: net.value, span: net.span, written: true })
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// Whether both are IPv4 or both are IPv6.
fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Ranges do not overlap, are of one family, and are neither too large nor too small for what Kubernetes does with them.
pub(super) fn ranges(network: &Network, faults: &mut Vec<Fault>) {
    let all = all_ranges(network);
    for (at, later) in all.iter().enumerate() {
        for earlier in all[..at].iter().filter(|earlier| overlap(&earlier.net, &later.net)) {
            let (here, there) = if later.written { (later, earlier) } else { (earlier, later) };
            let message =
                format!("the range {} of {} overlaps {} of {}", here.net, here.what, there.net, there.what);
            let label =
                if there.written { there.what.to_owned() } else { format!("{} by default", there.what) };
            let fault =
                Fault::new("range-overlap", here.span, message, "overlaps").related(there.span, label);
            let expected = "ranges of pods, services and hosts that have no address in common";
            faults.push(fault.expected(expected));
        }
    }
    families(network, &all, faults);
    sizes(network, faults);
    for dns in &network.dns {
        let inside = all.iter().find(|range| range.what != "hosts" && range.net.contains(&dns.value));
        if let Some(range) = inside {
            let message = format!("the name server {} lies in the range of {}", dns.value, range.what);
            let fault = Fault::new("address-overlap", dns.span, message, "not outside the cluster");
            faults.push(fault.related(range.span, range.what).expected("a name server outside the cluster"));
        }
    }
}

fn families(network: &Network, all: &[Named], faults: &mut Vec<Fault>) {
    let Some(first) = all.iter().find(|range| range.written) else { return };
    let addresses = network.dns.iter().map(|dns| (dns.value, dns.span, "dns"));
    let ranges = all.iter().map(|range| (range.net.addr(), range.span, range.what));
    for (address, span, what) in ranges.chain(addresses) {
        if !same_family(address, first.net.addr()) {
            let message =
                format!("{what} is {} while {} is {}", family(address), first.what, family(first.net.addr()));
            let fault = Fault::new("mixed-families", span, message, family(address));
            let fault = fault.related(first.span, family(first.net.addr()));
            faults.push(fault.expected("all addresses of a site in one family").maybe_fix(
                (span == network.place).then(|| format!("write `{what}` in `network`; its default is IPv4")),
            ));
        }
    }
}

/// The API server takes service ranges of up to 20 host bits; the tenth address is the name server's.
fn sizes(network: &Network, faults: &mut Vec<Fault>) {
    let Written::At(services) = network.services else { return };
    let bits = services.value.max_prefix_len();
    let (largest, smallest) = (bits - 20, bits - 4);
    let prefix = services.value.prefix_len();
    if (largest..=smallest).contains(&prefix) {
        return;
    }
    let (is, code) =
        if prefix < largest { ("large", "range-too-large") } else { ("small", "range-too-small") };
    let message = format!("the range {} is too {is} for services", services.value);
    let near = if prefix < largest { largest } else { smallest };
    let fix = IpNet::new(services.value.addr(), near).ok().map(|net| format!("write `{}`", net.trunc()));
    let fault = Fault::new(code, services.span, message, format!("/{prefix} is too {is}"));
    faults.push(fault.expected(format!("a prefix from /{largest} to /{smallest}")).maybe_fix(fix));
}

/// Every host gets a /24 (IPv6: a /64) of the pods' range.
pub(super) fn room(site: &Site, faults: &mut Vec<Fault>) {
    let hosts = nodes(site).map(|(_, nodes)| nodes.hosts.len()).sum::<usize>();
    let (net, span) = match site.network.pods {
        Written::At(net) => (net.value, net.span),
        Written::Default => (default_range(defaults::PODS), site.network.place),
        Written::Broken => return,
    };
    let each: u8 = if net.addr().is_ipv4() { 24 } else { 64 };
    // The controller manager takes no more than 16 bits between the range and what a host gets.
    let prefix = net.prefix_len();
    if prefix + 16 < each {
        let message = format!("the range {net} is too large for pods");
        let fault = Fault::new("range-too-large", span, message, format!("/{prefix} is too large"));
        faults.push(fault.expected(format!("a prefix from /{} to /{each}", each - 16)));
        return;
    }
    let room = if prefix > each { 0 } else { 1_usize << (each - prefix) };
    if hosts > room {
        let message = format!("the range {net} of pods has room for {room} hosts, and there are {hosts}");
        let bits = u8::try_from(hosts.next_power_of_two().trailing_zeros()).unwrap_or(u8::MAX);
        let fix = IpNet::new(net.addr(), each.saturating_sub(bits)).ok();
        let fault = Fault::new("range-too-small", span, message, "too small");
        faults.push(
            fault
                .expected(format!("a /{each} for each host"))
                .maybe_fix(fix.map(|net| format!("write `{}`", net.trunc()))),
        );
    }
}

/// Addresses of hosts can be used, lie in the subnets of hosts and outside those of pods and services.
pub(super) fn hosts(site: &Site, faults: &mut Vec<Fault>) {
    let ranges = named(&site.network);
    let subnets: Vec<_> = subnets(&site.network).collect();
    let first = nodes(site).flat_map(|(_, nodes)| &nodes.hosts).find_map(|(_, address)| *address);
    for (_, nodes) in nodes(site) {
        for (name, address) in &nodes.hosts {
            let Some(address) = *address else { continue };
            if let Some(fault) = host(name, address, nodes, (&ranges, &subnets), first) {
                faults.push(fault);
                break;
            }
        }
    }
}

fn host(
    name: &str,
    address: IpAddr,
    nodes: &Nodes,
    (ranges, subnets): (&[Named], &[Named]),
    first: Option<IpAddr>,
) -> Option<Fault> {
    let span = nodes.address_span;
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        let message = format!("no host can have the address {address}");
        return Some(Fault::new("bad-address", span, message, "not an address of a host"));
    }
    // Where some range is written, a default of the other family is a fault of its own.
    let any_written = ranges.iter().chain(subnets).any(|range| range.written);
    let wrong = |range: &&Named| range.written == any_written && !same_family(range.net.addr(), address);
    if let Some(range) = ranges.iter().chain(subnets).find(wrong) {
        let (with, what) = (range.net.addr(), range.what);
        let message = format!("{name} has an {} address while {what} is {}", family(address), family(with));
        let by_default = if range.written { "" } else { " by default" };
        let label = format!("{what}: {}{by_default}", family(with));
        let fault = Fault::new("mixed-families", span, message, family(address)).related(range.span, label);
        let fix = "write ranges of the hosts' family for `pods` and `services` in `network`";
        let fault = fault.maybe_fix((!range.written).then(|| fix.to_owned()));
        return Some(fault.expected("all addresses of a site in one family"));
    }
    if first.is_some_and(|first| !same_family(first, address)) {
        let message = format!("{name} has an {} address unlike the first host", family(address));
        let fault = Fault::new("mixed-families", span, message, family(address));
        return Some(fault.expected("all addresses of a site in one family"));
    }
    if let Some(range) = ranges.iter().find(|range| range.net.contains(&address)) {
        let message = format!("{address} of {name} lies in the range of {}", range.what);
        let label = if range.written {
            range.what.to_owned()
        } else {
            format!("{} are {} by default", range.what, range.net)
        };
        let fault = Fault::new("address-overlap", span, message, "not outside that range");
        return Some(fault.related(range.span, label));
    }
    in_subnets(name, address, span, subnets)
}

fn in_subnets(name: &str, address: IpAddr, span: Span, subnets: &[Named]) -> Option<Fault> {
    let first = subnets.first()?;
    let Some(home) = subnets.iter().find(|subnet| subnet.net.contains(&address)) else {
        let message = format!("{address} of {name} lies in none of the subnets of hosts");
        let fault = Fault::new("address-outside", span, message, "outside `hosts`")
            .related(first.span, "the subnets");
        let all: Vec<_> = subnets.iter().map(|subnet| subnet.net.to_string()).collect();
        return Some(fault.expected(format!("an address in {}", all.join(" or "))));
    };
    let IpNet::V4(net) = home.net else { return None };
    if net.prefix_len() < 31 && (address == net.network() || address == net.broadcast()) {
        let message =
            format!("{address} of {name} is the first or last address of {net}, which no host can have");
        return Some(
            Fault::new("bad-address", span, message, "kept for the network").related(home.span, "its subnet"),
        );
    }
    None
}

/// The endpoint leads to the control plane, and outlives one of its hosts.
pub(super) fn endpoint(site: &Site, faults: &mut Vec<Fault>) {
    let controls: Vec<_> = nodes(site).filter(|(group, _)| group.role == Role::ControlPlane).collect();
    let count = controls.iter().map(|(_, nodes)| nodes.hosts.len()).sum::<usize>();
    let Some(endpoint) = &site.cluster.endpoint else {
        if count > 1 {
            let message = "the Kubernetes API will be reached at the first control-plane host alone";
            let fault =
                Fault::new("endpoint-on-one-host", site.cluster.place, message, "`endpoint=` missing");
            let fix = "write `endpoint=` with an address or a name that leads to all of them";
            faults.push(fault.warning().fix(fix));
        }
        return;
    };
    let Ok(address) = endpoint.value.0.parse::<IpAddr>() else { return };
    let holder = nodes(site).find(|(_, nodes)| nodes.hosts.iter().any(|(_, host)| *host == Some(address)));
    match holder {
        Some((group, nodes)) if group.role == Role::Worker => {
            let message = format!("the endpoint {address} is that of a worker");
            let fault = Fault::new("endpoint-on-worker", endpoint.span, message, "runs no API server");
            faults.push(
                fault
                    .related(nodes.address_span, "the worker")
                    .expected("an address that leads to the control plane"),
            );
        }
        Some((_, nodes)) if count > 1 => {
            let message = format!("the endpoint {address} is lost with one control-plane host");
            let fault = Fault::new("endpoint-on-one-host", endpoint.span, message, "one host's own address");
            let fault = fault.warning().related(nodes.address_span, "that host");
            faults.push(fault.fix("write an address or a name that leads to all of them"));
        }
        _ => {}
    }
    if let Some(range) = named(&site.network).iter().find(|range| range.net.contains(&address)) {
        let message = format!("the endpoint {address} lies in the range of {}", range.what);
        let fault = Fault::new("address-overlap", endpoint.span, message, "not outside that range");
        faults.push(fault.related(range.span, range.what));
    }
}
