//! The second layer: every value of a site file on its own is what it must be.
//!
//! [`check_values`] turns the typed tree into values with spans. Nothing is inherited and no range of defaults applied yet. A value that is wrong
//! is told and left out, or something harmless stands in for it, so that the rules that look at several values at once
//! (`rules.rs`) can go on; whoever gets a fault never gets a site.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::brought::{self, BroughtChart, BroughtImage};
use crate::fault::{Fault, Span, Spanned};
use crate::language::{BACKENDS, EFFECTS, SUDO, defaults};
use crate::range::Range;
use crate::recipe::not_among;
use crate::site::{AccessMethod, PodBackend, Role, Sudo, Taint};
use crate::typed::{Entry, Kind};
use crate::value;

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) version: semver::Version,
    pub(crate) edition: Spanned<String>,
    pub(crate) settings: Settings,
    pub(crate) network: Network,
    pub(crate) cluster: Cluster,
    pub(crate) components: Vec<Component>,
    pub(crate) images: Vec<Spanned<BroughtImage>>,
    pub(crate) charts: Vec<Spanned<BroughtChart>>,
}

/// An address range that has a default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Written {
    /// Not written: the default holds.
    #[default]
    Default,
    /// Written, but not an address range, which was told.
    Broken,
    /// Written.
    At(Spanned<IpNet>),
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) pods: Written,
    pub(crate) services: Written,
    pub(crate) hosts: Vec<Spanned<IpNet>>,
    pub(crate) domain: Option<String>,
    pub(crate) dns: Vec<Spanned<IpAddr>>,
    pub(crate) backend: Option<PodBackend>,
    /// Span of the word `pods` or `services` where the default of it holds: that of the cluster.
    pub(crate) place: Span,
}

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) place: Span,
    pub(crate) name: String,
    pub(crate) kubernetes: Option<Spanned<semver::Version>>,
    pub(crate) endpoint: Option<Spanned<(String, u16)>>,
    pub(crate) groups: Vec<Group>,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) role: Role,
    pub(crate) name: Spanned<String>,
    pub(crate) settings: Settings,
    pub(crate) nodes: Vec<Nodes>,
}

/// One `node`, which may stand for many hosts.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) place: Span,
    pub(crate) name_span: Span,
    pub(crate) address_span: Span,
    pub(crate) hosts: Vec<(String, Option<IpAddr>)>,
    pub(crate) settings: Settings,
    pub(crate) host_key: Option<String>,
}

/// What may be said of the site, a group or a node.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) chip: Option<Spanned<String>>,
    pub(crate) accelerators: Vec<Spanned<String>>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) access: Access,
}

#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(crate) user: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) methods: Vec<AccessMethod>,
    pub(crate) sudo: Option<Spanned<Sudo>>,
}

#[derive(Debug)]
pub(crate) struct Component {
    pub(crate) name: Spanned<String>,
    pub(crate) version: Spanned<String>,
}

/// Holds every value of the file to what its kind asks for.
pub(crate) fn check_values(file: &Entry, faults: &mut Vec<Fault>) -> Option<Site> {
    let site = file.one("site")?;
    let mut checker = Checker { faults };
    let edition = site.one("edition").and_then(Entry::text);
    Some(Site {
        name: checker.label(site.text()),
        version: checker.version(site.property("version")).map_or(semver::Version::new(0, 0, 0), |v| v.value),
        edition: edition.map_or_else(
            || Spanned::new(defaults::EDITION.to_owned(), site.name),
            |text| text.map(str::to_owned),
        ),
        settings: checker.settings(site),
        network: checker.network(site),
        cluster: site.one("cluster").map(|cluster| checker.cluster(cluster)).unwrap_or_default(),
        components: site.one("platform").map(|platform| checker.components(platform)).unwrap_or_default(),
        images: checker.images(site),
        charts: checker.charts(site),
    })
}

struct Checker<'a> {
    faults: &'a mut Vec<Fault>,
}

impl Checker<'_> {
    fn bad(&mut self, code: &'static str, text: Spanned<&str>, what: &str, kind: Kind) -> &mut Fault {
        let message = format!("`{}` is not {what}", text.value);
        let fault = Fault::new(code, text.span, message, format!("not {what}")).expected(kind.describe());
        self.faults.push(fault);
        let last = self.faults.len() - 1;
        &mut self.faults[last]
    }

    /// A DNS label; the text as it is where it is none, or empty.
    fn label(&mut self, text: Option<Spanned<&str>>) -> String {
        let Some(text) = text else { return String::new() };
        if !value::is_label(text.value) {
            let better = as_label(text.value);
            self.bad("bad-name", text, "a DNS label", Kind::Label).fix =
                better.map(|name| format!("write `{name}`"));
        }
        text.value.to_owned()
    }

    fn version(&mut self, text: Option<Spanned<&str>>) -> Option<Spanned<semver::Version>> {
        let text = text?;
        let version = semver::Version::parse(text.value).ok();
        if version.is_none() {
            self.bad("bad-version", text, "a version", Kind::Version).fix = version_fix(text.value);
        }
        version.map(|version| Spanned::new(version, text.span))
    }

    fn settings(&mut self, owner: &Entry) -> Settings {
        let text = |entry: &Entry| entry.text().map(|text| text.map(str::to_owned));
        Settings {
            chip: owner.one("chip").and_then(text),
            accelerators: self.accelerators(owner),
            labels: self.labels(owner),
            taints: self.taints(owner),
            access: owner.one("access").map(|access| self.access(access)).unwrap_or_default(),
        }
    }

    fn accelerators(&mut self, owner: &Entry) -> Vec<Spanned<String>> {
        let mut found: Vec<Spanned<String>> = Vec::new();
        for text in owner.all("accelerator").filter_map(Entry::text) {
            match found.iter().find(|earlier| earlier.value == text.value) {
                Some(first) => self.twice("accelerator", text.value, text.span, first.span),
                None => found.push(text.map(str::to_owned)),
            }
        }
        found
    }

    fn twice(&mut self, what: &str, name: &str, second: Span, first: Span) {
        let message = format!("{what} `{name}` is written twice");
        let fault = Fault::new("duplicate-name", second, message, "the second").related(first, "the first");
        self.faults.push(fault.fix("take one of them away"));
    }

    fn labels(&mut self, owner: &Entry) -> Vec<(String, String)> {
        let mut found: Vec<(Span, String, String)> = Vec::new();
        for entry in owner.all("label") {
            let mut texts = entry.texts();
            let (Some(key), Some(value)) = (texts.next(), texts.next()) else { continue };
            self.label_key(key);
            self.label_value(value);
            match found.iter().find(|(_, earlier, _)| earlier == key.value) {
                Some((first, ..)) => self.twice("label", key.value, key.span, *first),
                None => found.push((key.span, key.value.to_owned(), value.value.to_owned())),
            }
        }
        found.into_iter().map(|(_, key, value)| (key, value)).collect()
    }

    fn label_key(&mut self, key: Spanned<&str>) {
        if !value::is_label_key(key.value) {
            self.bad("bad-label", key, "a label key", Kind::LabelKey);
        }
    }

    fn label_value(&mut self, text: Spanned<&str>) {
        if !value::is_label_value(text.value) {
            self.bad("bad-label", text, "a label value", Kind::LabelValue);
        }
    }

    fn taints(&mut self, owner: &Entry) -> Vec<Taint> {
        let mut found: Vec<(Span, Taint)> = Vec::new();
        for entry in owner.all("taint") {
            let (Some(key), Some(effect)) = (entry.text(), entry.property("effect")) else { continue };
            self.label_key(key);
            let value = entry.property("value");
            if let Some(value) = value {
                self.label_value(value);
            }
            if !EFFECTS.contains(&effect.value) {
                self.faults.push(not_among(effect, "an effect of a taint", EFFECTS));
            }
            let taint = Taint {
                key: key.value.to_owned(),
                value: value.map(|text| text.value.to_owned()).unwrap_or_default(),
                effect: effect.value.to_owned(),
            };
            let same = |(_, one): &&(Span, Taint)| one.key == taint.key && one.effect == taint.effect;
            match found.iter().find(same) {
                Some((first, _)) => self.twice("taint", key.value, key.span, *first),
                None => found.push((key.span, taint)),
            }
        }
        found.into_iter().map(|(_, taint)| taint).collect()
    }

    fn access(&mut self, entry: &Entry) -> Access {
        let user = entry.property("user");
        if let Some(user) = user.filter(|user| !value::is_user(user.value)) {
            let message = format!("`{}` is not a user name", user.value);
            let fault = Fault::new("bad-name", user.span, message, "not a user name");
            self.faults.push(fault.expected("up to 32 letters, digits, `-`, `_` and `.`"));
        }
        let methods = entry.children().iter().filter_map(|child| self.method(child)).collect();
        let sudo = entry.one("sudo").and_then(|sudo| self.sudo(sudo));
        if let (Some(user), Some(sudo)) = (user.filter(|user| user.value == "root"), &sudo) {
            let message = "root needs no `sudo`";
            let fault = Fault::new("contradiction", sudo.span, message, "not needed");
            self.faults.push(fault.related(user.span, "the user is root").fix("take `sudo` away"));
        }
        let port = entry.number("port").and_then(|port| u16::try_from(port.value).ok());
        Access { user: user.map(|user| user.value.to_owned()), port, methods, sudo }
    }

    fn method(&mut self, entry: &Entry) -> Option<AccessMethod> {
        match entry.word.name {
            "key" => Some(AccessMethod::Key { path: self.path(entry.text())? }),
            "agent" => Some(AccessMethod::Agent),
            "password" => {
                let file = entry.property("file");
                Some(AccessMethod::Password { file: file.and_then(|file| self.path(Some(file))) })
            }
            _ => None,
        }
    }

    fn path(&mut self, text: Option<Spanned<&str>>) -> Option<String> {
        let text = text?;
        if text.value.trim().is_empty() || text.value.contains('\0') {
            self.bad("bad-path", text, "a path", Kind::Path);
            return None;
        }
        Some(text.value.to_owned())
    }

    fn sudo(&mut self, entry: &Entry) -> Option<Spanned<Sudo>> {
        let how = entry.text()?;
        let file = entry.property("file");
        let sudo = match how.value {
            "no-password" => {
                if let Some(file) = file {
                    let message = "`sudo \"no-password\"` has no use for a file";
                    let fault = Fault::new("contradiction", file.span, message, "not needed");
                    self.faults.push(fault.fix("take `file=` away, or write `sudo \"password\"`"));
                }
                Sudo::NoPassword
            }
            "password" => Sudo::Password { file: file.and_then(|file| self.path(Some(file))) },
            _ => {
                self.faults.push(not_among(how, "a way to use sudo", SUDO));
                return None;
            }
        };
        Some(Spanned::new(sudo, how.span))
    }

    fn network(&mut self, site: &Entry) -> Network {
        let place = site.one("cluster").map_or(site.name, |cluster| cluster.name);
        let Some(entry) = site.one("network") else { return Network { place, ..Network::default() } };
        let hosts = entry.one("hosts").into_iter().flat_map(Entry::texts);
        let dns = entry.one("dns").into_iter().flat_map(Entry::texts);
        let domain = entry.one("domain").and_then(Entry::text);
        if let Some(domain) = domain.filter(|domain| !value::is_domain(domain.value)) {
            self.bad("bad-name", domain, "a DNS domain", Kind::Domain);
        }
        Network {
            pods: self.written(entry.one("pods")),
            services: self.written(entry.one("services")),
            hosts: hosts.filter_map(|text| self.subnet(text)).collect(),
            domain: domain.map(|domain| domain.value.to_owned()),
            dns: dns.filter_map(|text| self.address(text)).collect(),
            backend: entry.one("backend").and_then(Entry::text).and_then(|text| self.backend(text)),
            place,
        }
    }

    fn written(&mut self, entry: Option<&Entry>) -> Written {
        let Some(entry) = entry else { return Written::Default };
        entry.text().and_then(|text| self.subnet(text)).map_or(Written::Broken, Written::At)
    }

    fn subnet(&mut self, text: Spanned<&str>) -> Option<Spanned<IpNet>> {
        match value::subnet(text.value) {
            Ok(net) => Some(Spanned::new(net, text.span)),
            Err((message, fix)) => {
                let fault = Fault::new("bad-subnet", text.span, message, "not an address range");
                self.faults.push(fault.expected(Kind::Subnet.describe()).maybe_fix(fix));
                None
            }
        }
    }

    fn address(&mut self, text: Spanned<&str>) -> Option<Spanned<IpAddr>> {
        let address = text.value.parse().ok();
        if address.is_none() {
            self.bad("bad-address", text, "an IP address", Kind::Address);
        }
        address.map(|address| Spanned::new(address, text.span))
    }

    fn backend(&mut self, text: Spanned<&str>) -> Option<PodBackend> {
        match text.value {
            "vxlan" => Some(PodBackend::Vxlan),
            "host-gw" => Some(PodBackend::HostGw),
            _ => {
                self.faults.push(not_among(text, "a backend of the pod network", BACKENDS));
                None
            }
        }
    }

    fn cluster(&mut self, entry: &Entry) -> Cluster {
        let endpoint = entry.property("endpoint").and_then(|text| {
            let endpoint = value::endpoint(text.value);
            if endpoint.is_none() {
                let fix = text.value.parse::<IpAddr>().ok().map(|address| match address {
                    IpAddr::V4(address) => format!("write `{address}:6443`"),
                    IpAddr::V6(address) => format!("write `[{address}]:6443`"),
                });
                self.bad("bad-endpoint", text, "a host and a port", Kind::Endpoint).fix = fix;
            }
            endpoint.map(|endpoint| Spanned::new(endpoint, text.span))
        });
        let control_plane = entry.one("control-plane").map(|group| self.group(group, Role::ControlPlane));
        let mut groups: Vec<_> = control_plane.into_iter().collect();
        groups.extend(entry.all("group").map(|group| self.group(group, Role::Worker)));
        Cluster {
            place: entry.name,
            name: self.label(entry.text()),
            kubernetes: self.version(entry.property("kubernetes")),
            endpoint,
            groups,
        }
    }

    fn group(&mut self, entry: &Entry, role: Role) -> Group {
        let name = match role {
            Role::ControlPlane => Spanned::new("control-plane".to_owned(), entry.name),
            Role::Worker => {
                let span = entry.text().map_or(entry.name, |text| text.span);
                Spanned::new(self.label(entry.text()), span)
            }
        };
        let settings = self.settings(entry);
        let nodes = entry.all("node").filter_map(|node| self.nodes(node)).collect();
        Group { role, name, settings, nodes }
    }

    fn nodes(&mut self, entry: &Entry) -> Option<Nodes> {
        let settings = self.settings(entry);
        let host_key = entry.one("host-key").and_then(Entry::text).and_then(|text| self.host_key(text));
        let name = entry.text()?;
        let address = entry.property("address");
        let names = self.range(name, Kind::Labels);
        let addresses = address.and_then(|address| self.range(address, Kind::Addresses));
        let names = names?;
        if let (true, Some(key)) = (names.is_many(), entry.one("host-key")) {
            let message = "one host key cannot be that of a range of hosts";
            let fault = Fault::new("contradiction", key.name, message, "for one host only");
            self.faults.push(fault.related(name.span, "a range").fix("write the hosts one by one"));
        }
        let (same, address) = match (address, addresses) {
            (Some(address), Some(addresses)) => {
                (self.same_length(name, &names, address, &addresses).then_some(addresses), Some(address))
            }
            (address, _) => (None, address),
        };
        let addresses = match (same, address) {
            (Some(range), Some(address)) => self.addresses(address, &range),
            _ => vec![None; names.len()],
        };
        let hosts = self.names(name, &names).into_iter().zip(addresses).collect();
        let address_span = address.map_or(entry.name, |address| address.span);
        Some(Nodes { place: entry.name, name_span: name.span, address_span, hosts, settings, host_key })
    }

    fn range(&mut self, text: Spanned<&str>, kind: Kind) -> Option<Range> {
        match Range::parse(text.value) {
            Ok(range) => Some(range),
            Err(slip) => {
                let fault = Fault::new("bad-range", text.span, slip.message, "not a range");
                self.faults.push(fault.expected(kind.describe()).maybe_fix(slip.fix));
                None
            }
        }
    }

    fn same_length(
        &mut self,
        name: Spanned<&str>,
        names: &Range,
        address: Spanned<&str>,
        addresses: &Range,
    ) -> bool {
        let (left, right) = (names.len(), addresses.len());
        if left != right {
            let plural = |count: usize, one: &str, many: &str| {
                format!("{count} {}", if count == 1 { one } else { many })
            };
            let message =
                format!("{} but {}", plural(left, "name", "names"), plural(right, "address", "addresses"));
            let fault = Fault::new("range-length", address.span, message, format!("{right} of these"));
            self.faults.push(
                fault
                    .related(name.span, format!("{left} of these"))
                    .expected("as many addresses as names")
                    .maybe_fix((right == 1).then(|| {
                        format!("write a range of {left} addresses such as `10.20.1.[21-{}]`", 20 + left)
                    })),
            );
        }
        left == right
    }

    /// The names; one fault for all of a range.
    fn names(&mut self, text: Spanned<&str>, range: &Range) -> Vec<String> {
        let names = range.expand();
        if let Some(bad) = names.iter().find(|name| !value::is_label(name)) {
            let message = format!("`{bad}` is not a DNS label");
            let fault = Fault::new("bad-name", text.span, message, "not a DNS label")
                .expected(Kind::Labels.describe());
            let better = if range.is_many() { None } else { as_label(bad) };
            self.faults.push(fault.maybe_fix(better.map(|name| format!("write `{name}`"))));
        }
        names
    }

    fn addresses(&mut self, text: Spanned<&str>, range: &Range) -> Vec<Option<IpAddr>> {
        let texts = range.expand();
        let parsed: Vec<Option<IpAddr>> = texts.iter().map(|text| text.parse().ok()).collect();
        if let Some(at) = parsed.iter().position(Option::is_none) {
            let message = format!("`{}` is not an IP address", texts[at]);
            let fault = Fault::new("bad-address", text.span, message, "not an IP address");
            self.faults.push(fault.expected(Kind::Addresses.describe()));
        }
        parsed
    }

    fn host_key(&mut self, text: Spanned<&str>) -> Option<String> {
        match value::host_key(text.value) {
            Ok(key) => Some(key),
            Err(message) => {
                let fault = Fault::new("bad-host-key", text.span, message, "not a public key");
                self.faults.push(
                    fault
                        .expected(Kind::HostKey.describe())
                        .fix("copy the line from `/etc/ssh/ssh_host_ed25519_key.pub` on the host"),
                );
                None
            }
        }
    }

    /// The images that the platform brings along, each with the span of its name.
    fn images(&mut self, site: &Entry) -> Vec<Spanned<BroughtImage>> {
        let mut reader = brought::Reader { faults: self.faults };
        let entries = site.one("platform").into_iter().flat_map(|platform| platform.all("image"));
        entries.filter_map(|entry| Some(Spanned::new(reader.image(entry)?, entry.text()?.span))).collect()
    }

    /// The charts that the platform brings along, each with the span of its name.
    fn charts(&mut self, site: &Entry) -> Vec<Spanned<BroughtChart>> {
        let mut reader = brought::ChartReader { faults: self.faults };
        let entries = site.one("platform").into_iter().flat_map(|platform| platform.all("chart"));
        entries.filter_map(|entry| Some(Spanned::new(reader.chart(entry)?, entry.text()?.span))).collect()
    }

    fn components(&mut self, platform: &Entry) -> Vec<Component> {
        let mut found: Vec<Component> = Vec::new();
        for entry in platform.all("component") {
            let Some(name) = entry.text() else { continue };
            let Some(version) = entry.property("version") else { continue };
            match found.iter().find(|earlier| earlier.name.value == name.value) {
                Some(first) => self.twice("component", name.value, name.span, first.name.span),
                None => found
                    .push(Component { name: name.map(str::to_owned), version: version.map(str::to_owned) }),
            }
        }
        found
    }
}

/// The DNS label that a text is close to, if any.
fn as_label(text: &str) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let label: String = text.chars().map(plain).collect();
    let label = label.trim_matches('-').to_owned();
    value::is_label(&label).then_some(label)
}

/// The version that a text is close to, if any.
fn version_fix(text: &str) -> Option<String> {
    let bare = text.trim_start_matches('v');
    let candidates = [bare.to_owned(), format!("{bare}.0"), format!("{bare}.0.0")];
    let found = candidates.into_iter().find(|text| semver::Version::parse(text).is_ok());
    found.map(|version| format!("write `{version}`"))
}
