//! What differs between two bundles, verified or not.

use std::collections::BTreeMap;

use qiji_blueprint::Digest;
use qiji_blueprint::site::{Arch, Role};
use qiji_bundle::diff::{Change, HostHoldings, Item, Sort, compare, file_changes, host_changes};
use qiji_bundle::sbom::Description;
use qiji_bundle::{BundleSpec, PackageEntry, RAW_FILE, Untrusted};

use crate::fixture::{Bench, LAYER, Store, layer, program, sample};

fn changes(bench: &Bench, first: &(BundleSpec, Store), second: &(BundleSpec, Store)) -> Vec<String> {
    let (old, _) = bench.write("old.qiji", &first.0, &first.1);
    let (new, _) = bench.write("new.qiji", &second.0, &second.1);
    let (old, new) = (bench.verify(&old).unwrap(), Untrusted::open(&new).unwrap());
    let (from, to) = (old.side().holdings().unwrap(), new.side().holdings().unwrap());
    assert!(from.verified && !to.verified);
    let mut changes = compare(&from, &to);
    changes.extend(file_changes(old.side(), new.side()).unwrap());
    changes.sort();
    changes.iter().map(|change| format!("{}: {change}", change.key.sort.plural())).collect()
}

#[test]
fn equal_bundles_do_not_differ() {
    let bench = Bench::new();
    assert_eq!(changes(&bench, &sample(), &sample()), [""; 0]);
}

#[test]
fn versions_licences_files_and_documents_are_told() {
    let bench = Bench::new();
    let (mut spec, mut store) = sample();
    let shared = layer("kube", b"kubernetes, newer");
    spec.images[0] = store.image(
        "qiji.local/kube-proxy:v1.36.4",
        Arch::Amd64,
        &[Role::Worker],
        std::slice::from_ref(&shared),
    );
    spec.images.remove(1);
    let packages = [
        ("kubernetes", "1.36.4", store.add(LAYER, &shared)),
        ("agent", "0.1.0", store.add(RAW_FILE, b"agent, newer")),
    ];
    spec.packages = packages
        .map(|(name, version, blob)| PackageEntry {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: Arch::Amd64,
            roles: vec![],
            blobs: vec![blob],
        })
        .into();
    spec.documents[0].1 = b"site \"other\"\n".to_vec();
    let mut newer = program();
    newer.part.version = "1.36.4".to_owned();
    newer.parts[0].version = "v1.36.4".to_owned();
    newer.parts[0].licence = Some("MIT".to_owned());
    spec.sboms = [Description::of_package(&spec.packages[0], vec![newer])]
        .iter()
        .map(|one| (one.subject.clone(), one.to_spdx()))
        .collect();
    let told = changes(&bench, &sample(), &(spec, store));
    let expected = [
        "images: - qiji.local/etcd (arm64)  3.7.3-0, ",
        "images: ~ qiji.local/kube-proxy (amd64)  v1.36.3 → v1.36.4",
        "packages: ~ agent (amd64)  10 B → 12 B",
        "packages: ~ kubernetes (amd64)  1.36.3 → 1.36.4",
        "hosts' files: ~ agent (amd64)  10 B → 12 B",
        "hosts' files: ~ kubernetes/kube (amd64)  10 B → 17 B",
        "artifacts: ~ kube (amd64)  1.36.3 → 1.36.4",
        "parts: ~ go-module k8s.io/kubernetes  v1.36.3 → v1.36.4, Apache-2.0 → MIT",
        "documents: ~ site.kdl  12 B → 13 B",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "`{told}` does not start with `{expected}`");
    }
}

#[test]
fn what_only_one_side_can_know_is_left_out() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let bundle = bench.verify(&bench.write("a.qiji", &spec, &store).0).unwrap();
    let whole = bundle.side().holdings().unwrap();
    let mut host = whole.clone();
    host.sorts = [Sort::Package].into();
    host.items.retain(|key, _| key.name != "agent" && key.sort == Sort::Package);
    let found: Vec<Change> = compare(&host, &whole);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].key.name.as_str(), found[0].from.is_none()), ("agent", true));
}

#[test]
fn a_layer_that_is_no_layer_is_told_with_the_bundle() {
    let bench = Bench::new();
    let (mut spec, mut store) = sample();
    spec.packages[0].blobs = vec![store.add("application/vnd.oci.image.layer.v1.tar+zstd", b"no zstd")];
    spec.sboms.clear();
    let (old, new) = (bench.sample(), bench.write("new.qiji", &spec, &store).0);
    fs_err::write(bench.path("old.qiji"), old).unwrap();
    let (old, new) = (bench.verify(&bench.path("old.qiji")).unwrap(), bench.verify(&new).unwrap());
    let error = file_changes(old.side(), new.side()).unwrap_err();
    assert!(error.to_string().contains("new.qiji"), "{error}");
}

/// A host that holds just what the sample has for it.
fn host(spec: &BundleSpec, role: Role) -> HostHoldings {
    let images = spec.images.iter().filter(|image| image.arch == Arch::Amd64 && image.roles.contains(&role));
    let file = Item::file(Digest::of(b"kubernetes"), 10, 0o755);
    HostHoldings {
        arch: Arch::Amd64,
        role,
        images: images.map(|image| (image.name.clone(), image.manifest.digest)).collect(),
        files: [("kubernetes-1.36.3/kube".to_owned(), file)].into(),
    }
}

#[test]
fn what_hosts_hold_is_compared_one_by_one_and_told_together() {
    let bench = Bench::new();
    let (mut spec, mut store) = sample();
    // The tools are on no host, and are not missed there.
    for (tool, layer) in
        [("agent", store.add(RAW_FILE, b"agent")), ("qiji", store.add(LAYER, &layer("qiji", b"qiji")))]
    {
        spec.packages.retain(|package| package.name != tool);
        let kubernetes = spec.packages.iter().find(|package| package.name == "kubernetes").unwrap();
        spec.packages.push(PackageEntry { name: tool.to_owned(), blobs: vec![layer], ..kubernetes.clone() });
    }
    let bundle = bench.verify(&bench.write("a.qiji", &spec, &store).0).unwrap();
    let mut hosts: BTreeMap<String, HostHoldings> =
        (1..=6).map(|n| (format!("w{n}"), host(&spec, Role::Worker))).collect();
    hosts.insert("cp1".to_owned(), host(&spec, Role::ControlPlane));
    assert_eq!(host_changes(&hosts, bundle.side()).unwrap(), []);

    let other = Digest::of(b"other");
    hosts.get_mut("cp1").unwrap().images.clear();
    hosts.get_mut("w1").unwrap().images =
        [("qiji.local/kube-proxy:v1.36.1".to_owned(), other), ("qiji.local/old:1".to_owned(), other)].into();
    hosts.get_mut("w2").unwrap().files = [
        ("kubernetes-1.36.1/kube".to_owned(), Item::file(other, 9, 0o755)),
        ("kubernetes-1.36.1/more".to_owned(), Item::link("/etc/\u{1b}[2J")),
        ("runc-1.4.0/runc".to_owned(), Item::file(other, 9, 0o755)),
    ]
    .into();
    for n in 1..=6 {
        // A version that was left beside the bundle's own makes no difference.
        let more = [(format!("kubernetes-1.36.{n}/kube"), Item::file(other, 9, 0o755))];
        hosts.get_mut(&format!("w{n}")).unwrap().files.extend(more.into_iter().filter(|_| n > 3));
        if n != 2 {
            let file =
                hosts.get_mut(&format!("w{n}")).unwrap().files.get_mut("kubernetes-1.36.3/kube").unwrap();
            *file = Item::file(Digest::of(b"kubernetes"), 10, 0o700);
        }
    }
    let mut changes = host_changes(&hosts, bundle.side()).unwrap();
    changes.sort();
    let told: Vec<String> =
        changes.iter().map(|change| format!("{}: {change}", change.key.sort.plural())).collect();
    let expected = [
        "images: + qiji.local/etcd (amd64)  3.7.3-0  on cp1",
        "images: + qiji.local/kube-proxy (amd64)  v1.36.3  on cp1",
        "images: ~ qiji.local/kube-proxy (amd64)  v1.36.1 → v1.36.3  on w1",
        "images: - qiji.local/old (amd64)  1  on w1",
        "packages: ~ kubernetes (amd64)  1.36.1 → 1.36.3  on w2",
        "packages: - runc (amd64)  1.4.0  on w2",
        "hosts' files: ~ kubernetes/kube (amd64)  mode 0700 → mode 0755  on w1, w3, w4, w5 and 1 more",
        "hosts' files: ~ kubernetes/kube (amd64)  9 B → 10 B  on w2",
        "hosts' files: - kubernetes/more (amd64)  link to /etc/\\u{1b}[2J  on w2",
    ];
    assert_eq!(told, expected, "{told:#?}");
}
