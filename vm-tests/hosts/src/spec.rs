//! What a testbed shall be: its subnets and its hosts. Plain data, checked as a whole before anything starts.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::{Fault, HostsError};

/// The longest name of a site or host. Namespace and machine names are made of it.
const NAME_MAX: usize = 40;

/// The kind of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A real sshd in namespaces of its own, over the machine's `/usr` (read-only). No systemd. Starts in under a second.
    Netns,
    /// A whole Debian 13 with systemd, minimal as a bare host is: real containerd and kubelet run in it.
    Nspawn,
}

/// How the `ops` user may become root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sudo {
    /// `sudo` asks for nothing.
    NoPassword,
    /// `sudo` asks for the user's own password.
    Password,
}

/// The `ops` user of a host: logs in with the testbed's key, works through sudo.
#[derive(Debug, Clone)]
pub struct OpsUser {
    /// How it becomes root.
    pub sudo: Sudo,
    /// Its password; `None` leaves it without one.
    pub password: Option<String>,
}

/// A subnet of the site: one bridge in the site's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// Its range.
    pub net: Ipv4Net,
    /// The address of the site's own end of it, which is also the hosts' default gateway.
    pub gateway: Ipv4Addr,
}

impl Subnet {
    /// The subnet `net`, whose gateway is its last usable address (hosts are usually counted from the first).
    pub fn new(net: Ipv4Net) -> Self {
        let net = net.trunc();
        let last = u32::from(net.broadcast()).saturating_sub(1);
        Self { net, gateway: Ipv4Addr::from(last) }
    }
}

/// One host.
#[derive(Debug, Clone)]
pub struct HostSpec {
    /// Its name and host name: lower-case letters, digits, `-` and `.`, at most 40 characters.
    pub name: String,
    /// Its addresses, each with the prefix length of its subnet. The first decides the default gateway.
    pub addresses: Vec<Ipv4Net>,
    /// Its kind.
    pub kind: Kind,
    /// Whether root may log in (with the testbed's key, and by password if it has one and `password_login` is on).
    pub root_login: bool,
    /// Root's password; `None` leaves it without one.
    pub root_password: Option<String>,
    /// The `ops` user, if there is one.
    pub ops: Option<OpsUser>,
    /// Whether sshd takes passwords.
    pub password_login: bool,
    /// The most memory its processes may use together, in MiB.
    pub memory_mib: Option<u64>,
    /// The most processor time it may use, in thousandths of a processor.
    pub cpu_milli: Option<u32>,
    /// The size of its disk in MiB (an ext4 of its own); `None` shares the machine's disk.
    pub disk_mib: Option<u64>,
    /// Debian packages that it has on top of the bare system (`Nspawn` only). Each set makes a base of its own.
    pub extra_packages: Vec<String>,
}

impl HostSpec {
    /// A host with one address that root may log in to with the testbed's key.
    pub fn new(name: &str, address: Ipv4Net, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            addresses: vec![address],
            kind,
            root_login: true,
            root_password: None,
            ops: None,
            password_login: false,
            memory_mib: None,
            cpu_milli: None,
            disk_mib: None,
            extra_packages: Vec::new(),
        }
    }
}

/// A whole testbed.
#[derive(Debug, Clone)]
pub struct TestbedSpec {
    /// Its name, for people; several testbeds may share one.
    pub name: String,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Its hosts.
    pub hosts: Vec<HostSpec>,
}

impl TestbedSpec {
    /// A testbed with one subnet and no hosts yet.
    pub fn new(name: &str, net: Ipv4Net) -> Self {
        Self { name: name.to_owned(), subnets: vec![Subnet::new(net)], hosts: Vec::new() }
    }

    /// Adds a host.
    #[must_use]
    pub fn host(mut self, host: HostSpec) -> Self {
        self.hosts.push(host);
        self
    }

    /// Checks the whole of it and gives back all faults at once.
    pub fn check(&self) -> Result<(), HostsError> {
        let mut faults = Vec::new();
        self.check_subnets(&mut faults);
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for host in &self.hosts {
            let mut fault = |what| faults.push(Fault { place: format!("host {}", host.name), what });
            check_name(&host.name).into_iter().for_each(&mut fault);
            if !names.insert(&host.name) {
                fault("the name is taken by another host".to_owned());
            }
            if host.addresses.is_empty() {
                fault("it has no address".to_owned());
            }
            for address in &host.addresses {
                self.check_address(*address).into_iter().for_each(&mut fault);
                if !addresses.insert(address.addr()) {
                    fault(format!("the address {} is taken by another host", address.addr()));
                }
            }
            if host.kind == Kind::Netns && !host.extra_packages.is_empty() {
                fault(
                    "a netns host shares the machine's packages, so it cannot have packages of its own"
                        .to_owned(),
                );
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(HostsError::Spec(faults)) }
    }

    /// The number of the subnet that holds `address`.
    pub(crate) fn subnet_of(&self, address: Ipv4Net) -> Option<usize> {
        self.subnets.iter().position(|subnet| subnet.net.contains(&address.addr()))
    }

    fn check_subnets(&self, faults: &mut Vec<Fault>) {
        let mut fault = |place: String, what: String| faults.push(Fault { place, what });
        if let Some(what) = check_name(&self.name) {
            fault("the testbed".to_owned(), what);
        }
        if self.subnets.is_empty() {
            fault("the testbed".to_owned(), "it has no subnet".to_owned());
        }
        for (at, subnet) in self.subnets.iter().enumerate() {
            let place = format!("subnet {}", subnet.net);
            if subnet.net.prefix_len() > 30 {
                fault(place.clone(), "it has no room for hosts: use a prefix of 30 or shorter".to_owned());
            }
            if !subnet.net.contains(&subnet.gateway) {
                fault(place.clone(), format!("its gateway {} is outside of it", subnet.gateway));
            }
            if overlaps(subnet.net, crate::net::UPLINK_NET) {
                fault(place.clone(), format!("{} is the testbed's own way out", crate::net::UPLINK_NET));
            }
            for other in self.subnets.iter().take(at).filter(|other| overlaps(other.net, subnet.net)) {
                fault(place.clone(), format!("it overlaps {}", other.net));
            }
        }
    }

    fn check_address(&self, address: Ipv4Net) -> Option<String> {
        let Some(subnet) = self.subnet_of(address).map(|at| self.subnets[at]) else {
            return Some(format!("the address {address} lies in no subnet of the testbed"));
        };
        if address.prefix_len() != subnet.net.prefix_len() {
            return Some(format!("the address {address} has another prefix length than {}", subnet.net));
        }
        let reserved = [subnet.gateway, subnet.net.network(), subnet.net.broadcast()];
        reserved.contains(&address.addr()).then(|| {
            format!("the address {} is the gateway, first or last of {}", address.addr(), subnet.net)
        })
    }
}

fn overlaps(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn check_name(name: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    let good =
        name.starts_with(edge) && name.ends_with(edge) && name.chars().all(fits) && name.len() <= NAME_MAX;
    (!good).then(|| {
        format!(
            "`{name}` is no name: use lower-case letters, digits, `-` and `.`, at most {NAME_MAX} characters"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_good_specification_passes() {
        let spec = TestbedSpec::new("good", net("10.20.1.0/24"))
            .host(HostSpec::new("n1", net("10.20.1.1/24"), Kind::Netns))
            .host(HostSpec::new("n2.site", net("10.20.1.2/24"), Kind::Nspawn));
        spec.check().unwrap();
        assert_eq!(spec.subnets[0].gateway, Ipv4Addr::new(10, 20, 1, 254));
    }

    #[test]
    fn all_faults_are_given_at_once() {
        let mut twice = HostSpec::new("n1", net("10.20.1.1/24"), Kind::Netns);
        twice.extra_packages.push("nftables".to_owned());
        let mut spec = TestbedSpec::new("Bad Name", net("10.20.1.0/24"))
            .host(HostSpec::new("n1", net("10.20.1.1/24"), Kind::Netns))
            .host(twice)
            .host(HostSpec::new("far", net("10.99.0.1/24"), Kind::Netns))
            .host(HostSpec::new("gate", net("10.20.1.254/24"), Kind::Netns))
            .host(HostSpec::new("wide", net("10.20.1.7/16"), Kind::Netns));
        spec.subnets.push(Subnet::new(net("10.20.0.0/16")));
        spec.subnets.push(Subnet::new(crate::net::UPLINK_NET));
        let Err(HostsError::Spec(faults)) = spec.check() else { panic!("the specification passed") };
        let text = HostsError::Spec(faults.clone()).to_string();
        for part in [
            "the testbed: `Bad Name` is no name",
            "subnet 10.20.0.0/16: it overlaps 10.20.1.0/24",
            "is the testbed's own way out",
            "host n1: the name is taken",
            "host n1: the address 10.20.1.1 is taken",
            "host n1: a netns host shares",
            "host far: the address 10.99.0.1/24 lies in no subnet",
            "host gate: the address 10.20.1.254 is the gateway",
            "host wide: the address 10.20.1.7/16 has another prefix length",
        ] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
        assert_eq!(faults.len(), 9);
    }
}
