//! The words of the site language, as one table: what the parser accepts and what the reference prints.

use crate::brought;
use crate::typed::{Argument, Child, Kind, Property, Times, Word};

/// Defaults that hold where a site does not say otherwise.
pub(crate) mod defaults {
    pub(crate) const EDITION: &str = "community";
    pub(crate) const USER: &str = "root";
    pub(crate) const SSH_PORT: u16 = 22;
    pub(crate) const PODS: &str = "10.244.0.0/16";
    pub(crate) const SERVICES: &str = "10.96.0.0/12";
    pub(crate) const DOMAIN: &str = "cluster.local";
    pub(crate) const API_PORT: u16 = 6443;
}

pub(crate) const BACKENDS: &[&str] = &["vxlan", "host-gw"];
pub(crate) const SUDO: &[&str] = &["no-password", "password"];
pub(crate) const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

const fn argument(name: &'static str, kind: Kind, doc: &'static str) -> Argument {
    Argument { name, kind, many: false, doc }
}

const fn arguments(name: &'static str, kind: Kind, doc: &'static str) -> Argument {
    Argument { name, kind, many: true, doc }
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Property {
    Property { name, kind, required: true, default: "", doc }
}

const fn optional(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Property {
    Property { name, kind, required: false, default, doc }
}

const fn child(word: &'static Word, times: Times) -> Child {
    Child { word, times }
}

const fn word(name: &'static str, doc: &'static str) -> Word {
    Word { name, doc, default: "", arguments: &[], properties: &[], children: &[] }
}

/// What stands for the whole file.
pub(crate) static FILE: Word = Word { children: &[child(&SITE, Times::Once)], ..word("", "") };

static SITE: Word = Word {
    arguments: &[argument("name", Kind::Label, "name of the site and of its bundle")],
    properties: &[required("version", Kind::Version, "version of this description; the bundle's version")],
    children: &[
        child(&EDITION, Times::AtMostOnce),
        child(&ACCESS, Times::AtMostOnce),
        child(&CHIP, Times::AtMostOnce),
        child(&LABEL, Times::Any),
        child(&NETWORK, Times::AtMostOnce),
        child(&CLUSTER, Times::Once),
        child(&PLATFORM, Times::AtMostOnce),
    ],
    ..word("site", "A whole site. A file holds one. What stands directly in it holds for every host.")
};

static EDITION: Word = Word {
    arguments: &[argument("name", Kind::Catalogue("an edition"), "`community`, `enterprise` or `trusted`")],
    default: "community",
    ..word(
        "edition",
        "The policy that holds for the site: which components it may hold, which signatures must verify, and which hardening its \
         hosts and its cluster get.",
    )
};

static ACCESS: Word = Word {
    properties: &[
        optional("user", Kind::Text, "root", "user to log in as"),
        optional("port", Kind::Number(1, 65535), "22", "TCP port of the SSH server"),
    ],
    children: &[
        child(&KEY, Times::Any),
        child(&AGENT, Times::AtMostOnce),
        child(&PASSWORD, Times::AtMostOnce),
        child(&SUDO_WORD, Times::AtMostOnce),
    ],
    default: "user root, port 22, by the SSH agent",
    ..word(
        "access",
        "How to log in to hosts. `key`, `agent` and `password` are tried in the order written. User, port, `sudo` and the list of \
         ways are inherited each by itself: what is not written here holds from the block outside.",
    )
};

static KEY: Word = Word {
    arguments: &[argument("path", Kind::Path, "file that holds the private key")],
    ..word("key", "Log in with a private key.")
};

static AGENT: Word = word("agent", "Log in with a key that the running SSH agent (`SSH_AUTH_SOCK`) holds.");

static PASSWORD: Word = Word {
    properties: &[optional("file", Kind::Path, "a prompt", "file whose first line is the password")],
    ..word("password", "Log in with a password. A password never stands in a site file.")
};

static SUDO_WORD: Word = Word {
    arguments: &[argument("how", Kind::Choice(SUDO), "whether `sudo` asks for a password")],
    properties: &[optional(
        "file",
        Kind::Path,
        "the login password",
        "with `password`: file whose first line is the password that `sudo` asks for",
    )],
    default: "no-password, where the user is not root",
    ..word("sudo", "How a user other than root becomes root.")
};

static NETWORK: Word = Word {
    children: &[
        child(&PODS, Times::AtMostOnce),
        child(&SERVICES, Times::AtMostOnce),
        child(&HOSTS, Times::AtMostOnce),
        child(&DOMAIN, Times::AtMostOnce),
        child(&DNS, Times::AtMostOnce),
        child(&BACKEND, Times::AtMostOnce),
    ],
    ..word(
        "network",
        "Address ranges, name service and pod network. All addresses of a site are of one family.",
    )
};

static PODS: Word = Word {
    arguments: &[argument("range", Kind::Subnet, "the range; each host gets a /24 (IPv6: a /64) of it")],
    default: defaults::PODS,
    ..word("pods", "Addresses of pods.")
};

static SERVICES: Word = Word {
    arguments: &[argument("range", Kind::Subnet, "the range, /12 to /28 (IPv6: /108 to /124)")],
    default: defaults::SERVICES,
    ..word("services", "Addresses of Services.")
};

static HOSTS: Word = Word {
    arguments: &[arguments("range", Kind::Subnet, "a subnet of the site's own network")],
    default: "not checked",
    ..word("hosts", "The subnets in which every host's address must lie.")
};

static DOMAIN: Word = Word {
    arguments: &[argument("name", Kind::Domain, "the domain")],
    default: defaults::DOMAIN,
    ..word("domain", "DNS domain of the cluster.")
};

static DNS: Word = Word {
    arguments: &[arguments("address", Kind::Address, "address of a name server")],
    default: "none: only names of the cluster resolve",
    ..word(
        "dns",
        "Name servers of the site to which the cluster's own name server sends all other questions.",
    )
};

static BACKEND: Word = Word {
    arguments: &[argument(
        "name",
        Kind::Choice(BACKENDS),
        "`vxlan`: tunnels over UDP 8472, hosts need only reach one another; `host-gw`: plain routes, hosts share a link",
    )],
    default: "vxlan",
    ..word("backend", "How pod traffic crosses hosts.")
};

static CLUSTER: Word = Word {
    arguments: &[argument("name", Kind::Label, "name of the cluster")],
    properties: &[
        required("kubernetes", Kind::Version, "version of Kubernetes, one that the catalogue has"),
        optional(
            "endpoint",
            Kind::Endpoint,
            "the first control-plane host, port 6443",
            "where the Kubernetes API is reached; with several control-plane hosts an address or name that outlives each of them",
        ),
    ],
    children: &[child(&CONTROL_PLANE, Times::Once), child(&GROUP, Times::Any)],
    ..word("cluster", "The Kubernetes cluster and its hosts.")
};

static CONTROL_PLANE: Word = Word {
    children: GROUP.children,
    ..word(
        "control-plane",
        "The hosts that run etcd, the API server, the controller manager and the scheduler: one, three or five. What stands in it \
         holds for all of them.",
    )
};

static GROUP: Word = Word {
    arguments: &[argument("name", Kind::Label, "name of the group, not `control-plane`")],
    children: &[
        child(&CHIP, Times::AtMostOnce),
        child(&ACCELERATOR, Times::Any),
        child(&LABEL, Times::Any),
        child(&TAINT, Times::Any),
        child(&ACCESS, Times::AtMostOnce),
        child(&NODE, Times::AtLeastOnce),
    ],
    ..word("group", "Hosts that run workloads. What stands in it holds for all of them.")
};

static NODE: Word = Word {
    arguments: &[argument("name", Kind::Labels, "host name and Kubernetes node name, or a range of them")],
    properties: &[required(
        "address",
        Kind::Addresses,
        "address of the host, or a range as long as that of the names",
    )],
    children: &[
        child(&CHIP, Times::AtMostOnce),
        child(&ACCELERATOR, Times::Any),
        child(&LABEL, Times::Any),
        child(&TAINT, Times::Any),
        child(&ACCESS, Times::AtMostOnce),
        child(&HOST_KEY, Times::AtMostOnce),
    ],
    ..word(
        "node",
        "One host, or with ranges many alike: `node \"w[01-40]\" address=\"10.20.1.[1-40]\"` is forty hosts, `w01` at `10.20.1.1` \
         to `w40` at `10.20.1.40`. Zeros in front are kept.",
    )
};

static CHIP: Word = Word {
    arguments: &[argument(
        "name",
        Kind::Catalogue("a chip"),
        "a chip of the catalogue, which gives the architecture",
    )],
    default: "that of the block outside; every host must have one",
    ..word("chip", "The processor of the hosts.")
};

static ACCELERATOR: Word = Word {
    arguments: &[argument(
        "vendor",
        Kind::Catalogue("an accelerator"),
        "an accelerator vendor of the catalogue",
    )],
    default: "those of the block outside",
    ..word(
        "accelerator",
        "Accelerator cards in the hosts. A list written here takes the place of that of the block outside.",
    )
};

static LABEL: Word = Word {
    arguments: &[
        argument("key", Kind::LabelKey, "key of the label"),
        argument("value", Kind::LabelValue, "its value; may be empty"),
    ],
    ..word(
        "label",
        "A Kubernetes label. Labels of the block outside hold too; the inner value wins where a key is in both.",
    )
};

static TAINT: Word = Word {
    arguments: &[argument("key", Kind::LabelKey, "key of the taint")],
    properties: &[
        optional("value", Kind::LabelValue, "empty", "its value"),
        required("effect", Kind::Choice(EFFECTS), "what it does to pods that do not tolerate it"),
    ],
    ..word(
        "taint",
        "A Kubernetes taint. Taints of the block outside hold too; the inner one wins where key and effect are the same.",
    )
};

static HOST_KEY: Word = Word {
    arguments: &[argument(
        "key",
        Kind::HostKey,
        "type and base64, as in the host's `/etc/ssh/ssh_host_*_key.pub`",
    )],
    default: "the first key seen is held, if whoever installs accepts it",
    ..word("host-key", "Pins the host's SSH key. Only on a single host, not on a range.")
};

static PLATFORM: Word = Word {
    children: &[
        child(&COMPONENT, Times::Any),
        child(&brought::IMAGE, Times::Any),
        child(&brought::CHART, Times::Any),
    ],
    ..word("platform", "What runs on the cluster beyond what every cluster has.")
};

static COMPONENT: Word = Word {
    arguments: &[argument("name", Kind::Catalogue("a component"), "a component of the catalogue")],
    properties: &[required("version", Kind::Text, "one of its versions in the catalogue")],
    ..word("component", "A component of the platform.")
};
