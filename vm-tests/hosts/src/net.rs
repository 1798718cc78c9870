//! The network of a site, made of namespaces and veth pairs only.
//!
//! ```text
//!  host n1: eth0 ──┐
//!  host n2: eth0 ──┴─ br0 (gateway)  site  uplink ──── uplink  world: counts, then drops
//! ```
//!
//! Each link is born inside its two namespaces, so names never clash and the machine's own network is not touched. The
//! site forwards between its subnets and sends everything else up the uplink, by a static route and a static
//! neighbour: a packet that would leave the site really goes, and the world counts it twice, by its interface and by a
//! packet filter. The uplink carries no IPv6 and no ARP, so that it is silent unless something escapes. The site has no
//! IPv6 at all: nothing that a host sends over IPv6 is carried beyond its bridge.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use crate::command::{run, run_with_input};
use crate::{HostSpec, HostsError, TestbedSpec};

/// The range of the link between site and world; no subnet of a site may overlap it.
pub(crate) const UPLINK_NET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 255, 0), 30);
const SITE_END: &str = "169.254.255.1";
const WORLD_END: &str = "169.254.255.2";
const WORLD_MAC: &str = "02:71:ff:ff:ff:fe";

/// The world's packet filter. `seen` says who sent what where; its size bounds what a flood can take.
const WORLD_RULES: &str = "
table ip world {
    counter escaped { }
    set seen {
        type ipv4_addr . ipv4_addr . inet_proto
        size 4096
        flags dynamic
        counter
    }
    chain in {
        type filter hook prerouting priority raw
        iifname != \"uplink\" accept
        counter name escaped
        update @seen { ip saddr . ip daddr . ip protocol }
        drop
    }
}
";

/// What left the site, counted since the testbed started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Escaped {
    /// Packets that the world's end of the uplink received.
    pub packets: u64,
    /// Their bytes, with link headers.
    pub bytes: u64,
    /// Packets that the world's packet filter counted, on its own.
    pub filtered: u64,
    /// Who sent what where: `source -> destination protocol: packets`.
    pub detail: Vec<String>,
}

impl Escaped {
    /// Whether nothing left, by both counts.
    pub fn is_nothing(&self) -> bool {
        self.packets == 0 && self.filtered == 0
    }
}

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets, {} bytes left the site", self.packets, self.bytes)?;
        self.detail.iter().try_for_each(|flow| write!(f, "\n  {flow}"))
    }
}

/// The names of a site's namespaces. Holds nothing; what it names is removed with the site.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    id: String,
}

impl Network {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.to_owned() }
    }

    /// The site's namespace: the bridges, and the controller.
    pub(crate) fn site(&self) -> String {
        format!("qiji-{}.site", self.id)
    }

    fn world(&self) -> String {
        format!("qiji-{}.world", self.id)
    }

    /// The namespace of the host `name`.
    pub(crate) fn of_host(&self, name: &str) -> String {
        format!("qiji-{}-{name}", self.id)
    }

    /// Makes the site and the world, and the uplink between them.
    pub(crate) fn create(&self, spec: &TestbedSpec) -> Result<(), HostsError> {
        let (site, world) = (self.site(), self.world());
        for name in [&site, &world] {
            add(name)?;
            sysctl(name, &["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"])?;
        }
        sysctl(&site, &["net.ipv4.ip_forward=1"])?;
        run_with_input(
            "nsenter",
            &[&format!("--net={}", path(&world)), "--", "nft", "-f", "-"],
            WORLD_RULES.as_bytes(),
        )?;
        let uplink = format!("link add uplink type veth peer name uplink address {WORLD_MAC} netns {world}");
        batch(&site, &["link set lo up".to_owned(), uplink])?;
        let world_up =
            ["link set lo up", &format!("addr add {WORLD_END}/30 dev uplink"), "link set uplink arp off up"];
        batch(&world, &world_up.map(str::to_owned))?;
        let mut site_up = vec![
            format!("addr add {SITE_END}/30 dev uplink"),
            "link set uplink arp off up".to_owned(),
            format!("neigh replace {WORLD_END} lladdr {WORLD_MAC} nud permanent dev uplink"),
            format!("route add default via {WORLD_END} dev uplink"),
        ];
        for (at, subnet) in spec.subnets.iter().enumerate() {
            site_up.push(format!("link add br{at} type bridge"));
            site_up.push(format!("addr add {}/{} dev br{at}", subnet.gateway, subnet.net.prefix_len()));
            site_up.push(format!("link set br{at} up"));
        }
        batch(&site, &site_up)
    }

    /// Makes the namespace of the host with number `index` and plugs it in: `eth0`, `eth1`… one a subnet.
    pub(crate) fn attach(&self, spec: &TestbedSpec, index: usize) -> Result<(), HostsError> {
        let host = &spec.hosts[index];
        let netns = self.of_host(&host.name);
        add(&netns)?;
        // A new namespace takes the machine's setting over; a bare host does not forward.
        sysctl(&netns, &["net.ipv4.ip_forward=0"])?;
        let (mut site_side, mut host_side) = (Vec::new(), vec!["link set lo up".to_owned()]);
        for (at, link) in links(spec, host).iter().enumerate() {
            let (port, mac) = (port(index, at), self.mac(index, at));
            site_side
                .push(format!("link add {port} type veth peer name eth{at} address {mac} netns {netns}"));
            site_side.push(format!("link set {port} master br{} up", link.subnet));
            host_side
                .extend(link.addresses.iter().map(|one| format!("addr add {one} broadcast + dev eth{at}")));
            host_side.push(format!("link set eth{at} up"));
        }
        if let Some(first) = links(spec, host).first() {
            host_side.push(format!("route add default via {} dev eth0", spec.subnets[first.subnet].gateway));
        }
        batch(&self.site(), &site_side)?;
        batch(&netns, &host_side)
    }

    /// A host's hardware address: the same after a power cut, and another for each site, host and link.
    fn mac(&self, index: usize, at: usize) -> String {
        format!(
            "02:71:{}:{}:{:02x}:{:x}{:x}",
            &self.id[..2],
            &self.id[2..4],
            index % 256,
            index / 256 % 16,
            at % 16
        )
    }

    /// Takes a host's links and its namespace away.
    ///
    /// The kernel takes a namespace apart some time after its deletion, and a host would answer until then. A link is
    /// gone when its deletion returns, so links go first.
    pub(crate) fn detach(&self, spec: &TestbedSpec, index: usize) -> Result<(), HostsError> {
        let host = &spec.hosts[index];
        let lines: Vec<_> =
            (0..links(spec, host).len()).map(|at| format!("link del {}", port(index, at))).collect();
        batch(&self.site(), &lines)?;
        run("ip", &["netns", "del", &self.of_host(&host.name)]).map(drop)
    }

    /// Pulls (`up` false) or plugs the cables of a host, at the bridge's end, as a person would at the switch.
    pub(crate) fn set_links(&self, spec: &TestbedSpec, index: usize, up: bool) -> Result<(), HostsError> {
        let state = if up { "up" } else { "down" };
        let lines = (0..links(spec, &spec.hosts[index]).len())
            .map(|at| format!("link set {} {state}", port(index, at)))
            .collect::<Vec<_>>();
        batch(&self.site(), &lines)
    }

    /// Limits the cables of a host to `kbit` kilobits a second in each direction; `None` lifts the limit.
    pub(crate) fn shape(
        &self,
        spec: &TestbedSpec,
        index: usize,
        kbit: Option<u64>,
    ) -> Result<(), HostsError> {
        let host = &spec.hosts[index];
        for at in 0..links(spec, host).len() {
            for (netns, link) in
                [(self.site(), port(index, at)), (self.of_host(&host.name), format!("eth{at}"))]
            {
                shape_link(&netns, &link, kbit)?;
            }
        }
        Ok(())
    }

    /// What left the site until now.
    pub(crate) fn escaped(&self) -> Result<Escaped, HostsError> {
        let world = self.world();
        let link = json("ip", &run("ip", &["-n", &world, "-j", "-s", "link", "show", "dev", "uplink"])?)?;
        let received = &link[0]["stats64"]["rx"];
        let enter = format!("--net={}", path(&world));
        let nft =
            json("nft", &run("nsenter", &[&enter, "--", "nft", "-j", "list", "table", "ip", "world"])?)?;
        let parts = nft["nftables"].as_array().cloned().unwrap_or_default();
        let filtered = parts.iter().find_map(|part| part["counter"]["packets"].as_u64());
        let elements = parts.iter().find_map(|part| part["set"]["elem"].as_array().cloned());
        Ok(Escaped {
            packets: number(&received["packets"])?,
            bytes: number(&received["bytes"])?,
            filtered: filtered.ok_or_else(|| unread("nft"))?,
            detail: elements.unwrap_or_default().iter().map(flow).collect(),
        })
    }
}

/// One link of a host: the subnet it is on, and its addresses there.
struct Link {
    subnet: usize,
    addresses: Vec<Ipv4Net>,
}

/// The links of a host, in the order in which their subnets are first named by its addresses.
fn links(spec: &TestbedSpec, host: &HostSpec) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for &address in &host.addresses {
        let Some(subnet) = spec.subnet_of(address) else { continue };
        match links.iter_mut().find(|link| link.subnet == subnet) {
            Some(link) => link.addresses.push(address),
            None => links.push(Link { subnet, addresses: vec![address] }),
        }
    }
    links
}

/// The bridge's end of a host's cable.
fn port(index: usize, at: usize) -> String {
    format!("h{index}e{at}")
}

fn shape_link(netns: &str, link: &str, kbit: Option<u64>) -> Result<(), HostsError> {
    // Deleting a limit that is not there is an error of tc's, so put one there first.
    let rate = format!("{}kbit", kbit.unwrap_or(1_000_000));
    // A burst of 10 ms of traffic, and at least some full frames.
    let burst = (kbit.unwrap_or(1_000_000) * 10 / 8).max(16_000).to_string();
    let base = ["-n", netns, "qdisc"];
    let limit = ["replace", "dev", link, "root", "tbf", "rate", &rate, "burst", &burst, "latency", "50ms"];
    run("tc", &[&base[..], &limit[..]].concat())?;
    if kbit.is_none() {
        run("tc", &[&base[..], &["del", "dev", link, "root"][..]].concat())?;
    }
    Ok(())
}

fn add(netns: &str) -> Result<(), HostsError> {
    run("ip", &["netns", "add", netns]).map(drop)
}

fn batch(netns: &str, lines: &[String]) -> Result<(), HostsError> {
    run_with_input("ip", &["-n", netns, "-batch", "-"], lines.join("\n").as_bytes()).map(drop)
}

fn sysctl(netns: &str, settings: &[&str]) -> Result<(), HostsError> {
    let enter = format!("--net={}", path(netns));
    run("nsenter", &[&[enter.as_str(), "--", "sysctl", "-q", "-w"], settings].concat()).map(drop)
}

/// The file that stands for a namespace.
pub(crate) fn path(netns: &str) -> String {
    format!("/run/netns/{netns}")
}

pub(crate) fn json(tool: &'static str, text: &str) -> Result<Value, HostsError> {
    serde_json::from_str(text).map_err(|source| HostsError::Answer { tool, source })
}

fn number(value: &Value) -> Result<u64, HostsError> {
    value.as_u64().ok_or_else(|| unread("ip"))
}

fn unread(tool: &'static str) -> HostsError {
    HostsError::Answer { tool, source: serde::de::Error::custom("a counter is missing") }
}

/// One element of the set `seen`, in words.
fn flow(element: &Value) -> String {
    let element = &element["elem"];
    let words = element["val"]["concat"].as_array().cloned().unwrap_or_default();
    let word = |at: usize| words.get(at).map_or("?".to_owned(), |w| w.to_string().replace('"', ""));
    format!("{} -> {} protocol {}: {} packets", word(0), word(1), word(2), element["counter"]["packets"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Subnet};

    #[test]
    fn a_link_serves_all_addresses_of_its_subnet() {
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let mut host = HostSpec::new("n1", net("10.2.0.1/24"), Kind::Netns);
        host.addresses.extend([net("10.1.0.1/24"), net("10.2.0.9/24")]);
        let mut spec = TestbedSpec::new("two", net("10.1.0.0/24")).host(host.clone());
        spec.subnets.push(Subnet::new(net("10.2.0.0/24")));
        let links = links(&spec, &host);
        assert_eq!(links.iter().map(|link| link.subnet).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(links[0].addresses, [net("10.2.0.1/24"), net("10.2.0.9/24")]);
    }

    #[test]
    fn a_flow_is_told_in_words() {
        let element = serde_json::json!({"elem": {"val": {"concat": ["10.0.0.1", "192.0.2.1", "icmp"]},
            "counter": {"packets": 3, "bytes": 252}}});
        assert_eq!(flow(&element), "10.0.0.1 -> 192.0.2.1 protocol icmp: 3 packets");
    }
}
