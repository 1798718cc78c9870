//! No input panics; printing a site and parsing it gives the same site; a lock reads back as it was.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use qiji_blueprint::brought::{BroughtChart, BroughtImage, ChartImages};
use qiji_blueprint::lock::{
    Artifact, Chart, ChartValues, Image, ImageConfig, ImageContent, Layer, LayerEntry, Lock, Package,
    PackageContent, Pinned, Source, Upstream,
};
use qiji_blueprint::site::{
    Access, AccessMethod, Arch, Cluster, Endpoint, Network, Node, PodBackend, Role, Site, Sudo, Taint,
};
use qiji_blueprint::{Catalogue, Digest, check, print};

const EXAMPLES: [&str; 3] = [
    include_str!("../examples/quickstart.kdl"),
    include_str!("../examples/ha.kdl"),
    include_str!("../examples/gov-multi-chip.kdl"),
];

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::builtin);

fn exercise(text: &str) {
    match check("any.kdl", text, &CATALOGUE) {
        Ok(checked) => assert!(CATALOGUE.wanted(&checked.site).is_ok()),
        Err(faults) => {
            assert!(faults.has_errors());
            assert!(!faults.render(false, 80).is_empty());
            assert!(!faults.render(true, 10).is_empty());
            assert_eq!(faults.to_json().as_array().map(Vec::len), Some(faults.faults.len()));
        }
    }
    let _ = Lock::parse("any.lock", text);
    let _ = Catalogue::default().add("any.kdl", text);
}

/// A change of a text: some characters from `at` on, `remove` of them, become `insert`.
fn mutate(text: &str, edits: &[(prop::sample::Index, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, remove, insert) in edits {
        let at = at.index(chars.len() + 1);
        let end = (at + remove).min(chars.len());
        chars.splice(at..end, insert.chars());
    }
    chars.into_iter().collect()
}

/// Scraps that are likely to lead somewhere.
fn scrap() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,6}",
        prop::sample::select(vec![
            "{",
            "}",
            "\"",
            "[",
            "]",
            "[1-",
            "[01-40]",
            "[0-4294967295]",
            "/*",
            "*/",
            "/-",
            "\\",
            "\n",
            ";",
            "=",
            "#true",
            "#null",
            "(t)",
            "site",
            "node \"x\" ",
            "骐",
            "\u{0}",
            "\u{feff}",
            "10.0.0.0/0",
            "::",
            "/33",
            "-1",
            "1e999",
            "99999999999999999999999999999999999999999",
            "address=",
            "chip \"kunpeng-920\"\n",
            "\"\"\"",
            "#\"",
        ])
        .prop_map(str::to_owned),
    ]
}

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?"
}

fn label_key() -> impl Strategy<Value = String> {
    "([a-z]{1,5}\\.[a-z]{1,3}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,8}[A-Za-z0-9])?"
}

fn label_value() -> impl Strategy<Value = String> {
    "([A-Za-z0-9]([A-Za-z0-9_.-]{0,8}[A-Za-z0-9])?)?"
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof!["~?/[a-z0-9/._-]{1,12}", "[^\u{0}\\s]{1,4}[^\u{0}]{0,8}"]
}

fn access() -> impl Strategy<Value = Access> {
    let key = path().prop_map(|path| AccessMethod::Key { path });
    let others =
        option::of(path()).prop_map(|file| vec![AccessMethod::Password { file }, AccessMethod::Agent]);
    let methods = (vec(key, 0..3), others, 0..3_usize).prop_map(|(keys, others, count)| {
        let mut methods: Vec<_> = keys.into_iter().chain(others.into_iter().take(count)).collect();
        if methods.is_empty() {
            methods.push(AccessMethod::Agent);
        }
        methods
    });
    let sudo =
        prop_oneof![Just(Sudo::NoPassword), option::of(path()).prop_map(|file| Sudo::Password { file })];
    let user = prop_oneof![Just("root".to_owned()), "[a-z][a-z0-9_-]{0,8}"];
    let host_key = option::of(Just(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl".to_owned(),
    ));
    (user, 1..=u16::MAX, methods, sudo, host_key).prop_map(|(user, port, methods, sudo, host_key)| Access {
        sudo: if user == "root" { Sudo::None } else { sudo },
        user,
        port,
        methods,
        host_key,
    })
}

fn taints() -> impl Strategy<Value = Vec<Taint>> {
    let effect = prop::sample::select(vec!["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    btree_map((label_key(), effect), label_value(), 0..3).prop_map(|taints| {
        taints
            .into_iter()
            .map(|((key, effect), value)| Taint { key, value, effect: effect.to_owned() })
            .collect()
    })
}

type NodeParts = (usize, Vec<String>, BTreeMap<String, String>, Vec<Taint>, Access);

fn node_parts() -> impl Strategy<Value = NodeParts> {
    let accelerators = btree_set(prop::sample::select(vec!["nvidia", "ascend", "enflame"]), 0..3)
        .prop_map(|names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        .prop_shuffle();
    (0..13_usize, accelerators, btree_map(label_key(), label_value(), 0..3), taints(), access())
}

/// Nodes, some of which are alike so that what they share is printed once.
fn nodes(catalogue: &Catalogue) -> impl Strategy<Value = Vec<Node>> + use<> {
    let chips: Vec<(String, Arch)> =
        catalogue.chips.iter().map(|(name, chip)| (name.clone(), chip.arch)).collect();
    let groups = btree_set(label(), 0..4).prop_map(|mut names| {
        names.remove("control-plane");
        names
    });
    let rows = vec((node_parts(), any::<bool>()), 1..12);
    (groups, prop::sample::select(vec![1_usize, 3]), rows).prop_map(move |(groups, controls, rows)| {
        let mut all: Vec<Node> = Vec::new();
        let mut parts: Option<NodeParts> = None;
        let names = std::iter::repeat_n((Role::ControlPlane, "control-plane".to_owned()), controls)
            .chain(groups.into_iter().flat_map(|name| vec![(Role::Worker, name); 2]));
        for (at, (role, group)) in names.enumerate() {
            let (fresh, keep) = rows[at % rows.len()].clone();
            let (chip, accelerators, labels, taints, access) =
                if keep { parts.clone().unwrap_or(fresh) } else { fresh };
            parts = Some((chip, accelerators.clone(), labels.clone(), taints.clone(), access.clone()));
            let (chip, arch) = chips[chip % chips.len()].clone();
            let address = Ipv4Addr::new(192, 168, 1, u8::try_from(at + 1).unwrap());
            let (name, address) = (format!("n{at}"), IpAddr::V4(address));
            all.push(Node { name, role, group, address, arch, chip, accelerators, labels, taints, access });
        }
        all
    })
}

const IMAGE: &str =
    "[a-z]{1,5}\\.example(:[1-9][0-9]{0,3})?/[a-z]{1,5}(/[a-z0-9]{1,5}){0,2}:[A-Za-z0-9][A-Za-z0-9._-]{0,8}";

fn brought() -> impl Strategy<Value = Vec<BroughtImage>> {
    let source = prop_oneof![
        any::<String>().prop_map(|reference| Source::Oci { reference }),
        (any::<String>(), option::of(any::<String>()))
            .prop_map(|(path, image)| Source::Archive { path, image }),
        (any::<String>(), any::<String>())
            .prop_map(|(image, namespace)| Source::Containerd { image, namespace }),
    ];
    let image = (roles(), option::of(any::<[u8; 32]>()), vec(source, 1..3), vec("\\PC{1,8}", 0..3));
    btree_map(IMAGE, image, 0..3).prop_map(|images| {
        let image = |(name, (roles, digest, mut sources, signed_by)): (
            String,
            (_, Option<[u8; 32]>, Vec<Source>, _),
        )| {
            let digest = digest.map(Digest::from_bytes);
            if let Some(digest) = digest {
                sources = vec![Source::Oci { reference: format!("{name}@{digest}") }];
            }
            BroughtImage { name, digest, roles, sources, signed_by }
        };
        images.into_iter().map(image).collect()
    })
}

prop_compose! {
    fn chart_images()(
        declared in vec(IMAGE, 0..3),
        added in vec(IMAGE, 0..2),
        excluded in vec("[a-z\"\\\\]{1,3}\\PC{0,6}", 0..2),
    ) -> ChartImages {
        ChartImages { declared, added, excluded }
    }
}

fn chart_source() -> impl Strategy<Value = Source> {
    prop_oneof![
        IMAGE.prop_map(|reference| Source::Oci { reference }),
        "https://[a-z]{1,9}(/[a-z]{1,4}){0,2}".prop_map(|url| Source::Repository { url, file: None }),
        path().prop_map(|path| Source::Folder { path }),
    ]
}

fn charts() -> impl Strategy<Value = Vec<BroughtChart>> {
    let chart =
        ("[A-Za-z0-9][A-Za-z0-9._-]{0,8}", "v?[0-9]\\.[1-9][0-9]?\\.[0-9](-rc1)?(\\+[a-z]{1,3})?", label());
    let block = (vec(path(), 0..3), roles(), vec(chart_source(), 1..4), chart_images());
    btree_map(label(), (chart, block), 0..3).prop_map(|charts| {
        let charts = charts.into_iter();
        charts
            .map(|(name, ((chart, version, namespace), (values, roles, sources, images)))| BroughtChart {
                name,
                chart,
                version,
                namespace,
                values,
                roles,
                sources,
                images,
            })
            .collect()
    })
}

fn site() -> impl Strategy<Value = Site> {
    let network = (any::<bool>(), any::<bool>(), any::<bool>(), "[a-z]{1,6}(\\.[a-z]{1,6}){0,2}", 0..3_u8);
    let version = (0..9_u64, 0..9_u64, 0..99_u64);
    let endpoint = prop_oneof![Just("api.example.org".to_owned()), Just("192.168.2.1".to_owned())];
    let brought = (brought(), charts());
    (label(), version, label(), (endpoint, 1..=u16::MAX), network, nodes(&CATALOGUE), brought).prop_map(
        |(
            name,
            version,
            cluster,
            (host, port),
            (hosts, vxlan, wide, domain, dns),
            nodes,
            (images, charts),
        )| Site {
            name,
            version: semver::Version::new(version.0, version.1, version.2),
            edition: if wide { "enterprise" } else { "community" }.to_owned(),
            cluster: Cluster {
                name: cluster,
                version: semver::Version::new(1, 36, 3),
                endpoint: Endpoint { host, port },
            },
            network: Network {
                pods: "10.240.0.0/14".parse().unwrap(),
                services: if wide { "10.96.0.0/12" } else { "172.20.0.0/20" }.parse().unwrap(),
                hosts: if hosts { vec!["192.168.0.0/16".parse().unwrap()] } else { vec![] },
                domain,
                dns_upstream: (0..dns).map(|at| IpAddr::V4(Ipv4Addr::new(192, 168, 9, at))).collect(),
                backend: if vxlan { PodBackend::Vxlan } else { PodBackend::HostGw },
            },
            nodes,
            components: vec![],
            images,
            charts,
        },
    )
}

fn arch() -> impl Strategy<Value = Arch> {
    prop::sample::select(Arch::ALL.to_vec())
}

fn roles() -> impl Strategy<Value = Vec<Role>> {
    prop::sample::select(vec![
        vec![Role::ControlPlane],
        vec![Role::Worker],
        vec![Role::ControlPlane, Role::Worker],
    ])
}

fn sources() -> impl Strategy<Value = Vec<Source>> {
    let text = || any::<String>();
    vec(
        prop_oneof![
            (text(), text()).prop_map(|(recipe, output)| Source::Go { recipe, output }),
            (text(), text(), option::of(text())).prop_map(|(suite, package, version)| Source::Debian {
                suite,
                package,
                version
            }),
            text().prop_map(|reference| Source::Oci { reference }),
            text().prop_map(|url| Source::Https { url }),
            text().prop_map(|path| Source::Folder { path }),
            (text(), option::of(text())).prop_map(|(path, image)| Source::Archive { path, image }),
            (text(), text()).prop_map(|(image, namespace)| Source::Containerd { image, namespace }),
        ],
        1..4,
    )
}

fn entries(artifact: &str) -> impl Strategy<Value = Vec<LayerEntry>> + use<> {
    let artifact = artifact.to_owned();
    let at = || "[a-z]{1,5}(/[a-z*]{1,5}){0,3}";
    let mode = || 0..=0o7777_u32;
    vec(
        prop_oneof![
            (at(), option::of(any::<String>()), mode()).prop_map(move |(path, member, mode)| {
                LayerEntry::File { path, artifact: artifact.clone(), member, mode }
            }),
            (at(), any::<String>()).prop_map(|(path, target)| LayerEntry::Link { path, target }),
            (at(), mode()).prop_map(|(path, mode)| LayerEntry::Folder { path, mode }),
            (at(), any::<String>(), mode()).prop_map(|(path, content, mode)| LayerEntry::Text {
                path,
                content,
                mode
            }),
        ],
        0..5,
    )
}

prop_compose! {
    fn image_config()(
        entrypoint in vec(any::<String>(), 0..3),
        env in btree_map(any::<String>(), any::<String>(), 0..3),
        user in "[0-9:]{0,6}",
        labels in btree_map(any::<String>(), any::<String>(), 0..3),
    ) -> ImageConfig {
        ImageConfig { entrypoint, env, user, labels }
    }
}

fn locked_chart_source() -> impl Strategy<Value = Source> {
    // Few enough braces that the reader does not take them for blocks that nest too deep.
    let text = || "\\PC{0,4}";
    prop_oneof![
        text().prop_map(|reference| Source::Oci { reference }),
        (text(), option::of(text())).prop_map(|(url, file)| Source::Repository { url, file }),
        text().prop_map(|path| Source::Folder { path }),
    ]
}

prop_compose! {
    fn lock()(
        (name, version, arch, text) in (label(), "[0-9]\\.[0-9]\\.[0-9]", arch(), any::<String>()),
        (seed, size, sources) in (any::<[u8; 32]>(), any::<u64>(), sources()),
        entries in entries("a"),
        (roles, config, assembled, raw) in (roles(), image_config(), any::<bool>(), any::<bool>()),
        (chart_sources, values) in (vec(locked_chart_source(), 1..4), "\\PC{0,12}"),
        (tag, upstream_sources) in ("[a-z]{1,8}", sources()),
    ) -> Lock {
        let artifact = || "a".to_owned();
        let repository = text.rsplit_once(':').map_or(text.as_str(), |(repository, _)| repository).to_owned();
        let layers = vec!["l".to_owned(), "l".to_owned()];
        Lock {
            site: name,
            version: version.clone(),
            site_digest: Digest::from_bytes(seed),
            artifacts: vec![Artifact {
                name: artifact(),
                version: text.clone(),
                arch,
                pin: Pinned { digest: Digest::of(&seed), size },
                sources,
            }],
            layers: vec![Layer { name: "l".to_owned(), arch, entries }],
            images: vec![Image {
                name: text,
                arch,
                roles: roles.clone(),
                content: if assembled {
                    ImageContent::Assembled { layers: layers.clone(), config }
                } else {
                    ImageContent::Copied { artifact: artifact() }
                },
            }],
            packages: vec![Package {
                name: "p".to_owned(),
                version,
                arch,
                roles,
                content: if raw {
                    PackageContent::File { artifact: artifact() }
                } else {
                    PackageContent::Layers { layers }
                },
            }],
            charts: vec![Chart {
                name: "c".to_owned(),
                chart: "app".to_owned(),
                version: "1.2.3".to_owned(),
                pin: Pinned { digest: Digest::of(b"chart"), size },
                sources: chart_sources,
                values: vec![ChartValues {
                    path: values,
                    pin: Pinned { digest: Digest::of(b"values"), size },
                }],
            }],
            upstreams: vec![Upstream {
                name: format!("{repository}:{tag}"),
                pin: Pinned { digest: Digest::of(b"upstream"), size },
                sources: upstream_sources,
            }],
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|[ -~\n]{0,200}|[\\[\\]{}\"=/*# \n;a-c0-9.-]{0,120}") {
        exercise(&text);
    }

    #[test]
    fn no_mutated_example_panics(
        which in 0..EXAMPLES.len(),
        edits in vec((any::<prop::sample::Index>(), 0..12_usize, scrap()), 1..6),
    ) {
        exercise(&mutate(EXAMPLES[which], &edits));
    }

    #[test]
    fn a_printed_site_is_the_same_site(site in site()) {
        let text = print(&site);
        match check("printed.kdl", &text, &CATALOGUE) {
            Ok(checked) => {
                prop_assert_eq!(&checked.site, &site, "{}", text);
                prop_assert_eq!(print(&checked.site), text);
            }
            Err(faults) => prop_assert!(false, "{}\n{}", text, faults.render(false, 120)),
        }
    }

    #[test]
    fn a_lock_reads_back(lock in lock()) {
        let text = lock.to_kdl();
        match Lock::parse("printed.lock", &text) {
            Ok(read) => prop_assert_eq!(read, lock, "{}", text),
            Err(faults) => prop_assert!(false, "{}\n{}", text, faults.render(false, 120)),
        }
    }
}

#[test]
fn what_makes_parsers_recurse_is_a_fault_and_not_a_crash() {
    let scraps =
        ["{", "a {", "/*", "/-", "a /-{", "}", "a }\n", "= ", "] ", "( ", "\\ ", "\"\"\"", "(a)", "a {}}"];
    for scrap in scraps {
        exercise(&scrap.repeat(30_000));
    }
    exercise(&"a".repeat(2 << 20));
}
