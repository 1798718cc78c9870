//! The examples of the repository check without a warning, and the catalogue gives what their bundles are made of.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use qiji_blueprint::lock::{Artifact, LayerEntry, Lock, Pinned, Wanted};
use qiji_blueprint::site::{Arch, Role, Site};
use qiji_blueprint::{Catalogue, Digest, check, print};

fn example(name: &str) -> Site {
    let path = format!("{}/examples/{name}.kdl", env!("CARGO_MANIFEST_DIR"));
    let text = fs_err::read_to_string(&path).unwrap();
    let checked = check(&format!("{name}.kdl"), &text, &Catalogue::builtin())
        .unwrap_or_else(|faults| panic!("{}", faults.render(false, 100)));
    assert!(checked.warnings.is_empty(), "{}", checked.warnings.render(false, 100));
    checked.site
}

fn again(site: &Site) -> Site {
    let text = print(site);
    check("printed", &text, &Catalogue::builtin())
        .unwrap_or_else(|faults| panic!("{}", faults.render(false, 100)))
        .site
}

fn wanted(site: &Site) -> Wanted {
    Catalogue::builtin().wanted(site).unwrap()
}

/// A lock of it, with a digest of the name for each artifact: locks are easier to read than structures.
fn pinned(wanted: Wanted) -> Lock {
    let pin = |name: &str| Pinned { digest: Digest::of(name.as_bytes()), size: 1 };
    let artifacts = wanted.artifacts.into_iter().map(|one| Artifact {
        pin: pin(&one.name),
        name: one.name,
        version: one.version,
        arch: one.arch,
        sources: one.sources,
    });
    Lock {
        site: wanted.site,
        version: wanted.version,
        site_digest: wanted.site_digest,
        artifacts: artifacts.collect(),
        layers: wanted.layers,
        images: wanted.images,
        packages: wanted.packages,
        charts: wanted.charts,
        upstreams: Vec::new(),
    }
}

/// Text as a pattern that matches only itself.
fn regex_free(text: &str) -> String {
    text.replace('.', "\\.")
}

#[test]
fn quickstart_is_one_and_two() {
    let site = example("quickstart");
    let hosts: Vec<_> =
        site.nodes.iter().map(|node| (node.name.as_str(), node.address.to_string())).collect();
    assert_eq!(hosts.len(), 3);
    assert_eq!(hosts[0], ("cp1", "10.20.1.11".to_owned()));
    assert_eq!(hosts[2], ("w2", "10.20.1.22".to_owned()));
    assert_eq!(site.cluster.endpoint.host, "10.20.1.11");
    assert_eq!(site.cluster.endpoint.port, 6443);
    assert_eq!(again(&site), site);
}

#[test]
fn ha_inherits_from_site_and_group() {
    let site = example("ha");
    assert_eq!((site.control_plane().count(), site.workers().count()), (3, 3));
    let edge = site.nodes.iter().find(|node| node.name == "edge1").unwrap();
    assert_eq!(edge.labels["pool"], "ingress");
    assert_eq!(edge.labels["zone"], "dmz");
    assert_eq!(edge.taints[0].effect, "NoSchedule");
    assert_eq!(edge.access.user, "ops");
    assert_eq!(edge.chip, "generic-amd64");
    assert_eq!(again(&site), site);
}

#[test]
fn gov_has_three_architectures() {
    let site = example("gov-multi-chip");
    assert_eq!(site.architectures(), [Arch::Amd64, Arch::Arm64, Arch::Loong64]);
    assert_eq!(site.nodes.len(), 41);
    assert_eq!(again(&site), site);
    let wanted = wanted(&site);
    // The control plane is amd64 alone: what only it needs is not there for the others.
    let archs = |name: &str| -> Vec<_> {
        wanted
            .artifacts
            .iter()
            .filter(|artifact| artifact.name == name)
            .map(|artifact| artifact.arch)
            .collect()
    };
    assert_eq!(archs("etcd"), [Arch::Amd64]);
    assert_eq!(archs("kube"), [Arch::Amd64, Arch::Arm64, Arch::Loong64]);
}

#[test]
fn quickstart_wants_the_whole_core() {
    let text = pinned(wanted(&example("quickstart"))).to_kdl();
    let version = regex_free(env!("CARGO_PKG_VERSION"));
    insta::with_settings!({ omit_expression => true, filters => vec![(version.as_str(), "QIJI")] }, {
        insta::assert_snapshot!(text);
    });
}

#[test]
fn wanted_depends_only_on_the_site() {
    let site = example("gov-multi-chip");
    assert_eq!(wanted(&site), wanted(&again(&site)));
}

#[test]
fn nft_has_its_loader_where_programs_ask_for_it() {
    let wanted = wanted(&example("gov-multi-chip"));
    let loader = |arch: Arch| {
        let layer =
            wanted.layers.iter().find(|layer| layer.name == "nftables" && layer.arch == arch).unwrap();
        layer.entries.iter().any(|entry| {
            let path = match arch {
                Arch::Arm64 => "usr/lib/ld-linux-aarch64.so.1",
                Arch::Loong64 => "usr/lib64/ld-linux-loongarch-lp64d.so.1",
                _ => "usr/lib64/ld-linux-x86-64.so.2",
            };
            matches!(entry, LayerEntry::Link { path: at, .. } if at == path)
        })
    };
    assert!(loader(Arch::Amd64) && loader(Arch::Arm64) && loader(Arch::Loong64));
}

#[test]
fn locks_of_the_examples_read_back() {
    for name in ["quickstart", "ha", "gov-multi-chip"] {
        let lock = pinned(wanted(&example(name)));
        let text = lock.to_kdl();
        let read =
            Lock::parse("site.lock", &text).unwrap_or_else(|faults| panic!("{}", faults.render(false, 100)));
        assert_eq!(read, lock, "{name}");
    }
}

#[test]
fn a_lock_that_lacks_something_is_refused() {
    let mut lock = pinned(wanted(&example("quickstart")));
    lock.artifacts.retain(|artifact| artifact.name != "libmnl0");
    let faults = Lock::parse("site.lock", &lock.to_kdl()).unwrap_err();
    assert_eq!(faults.faults.len(), 1);
    assert!(faults.faults[0].message.contains("layer nftables needs the artifact libmnl0"), "{faults:?}");
}

#[test]
fn every_image_is_for_some_role() {
    let wanted = wanted(&example("quickstart"));
    assert!(wanted.images.iter().all(|image| !image.roles.is_empty()));
    assert!(wanted.packages.iter().any(|package| package.roles == [Role::ControlPlane]));
}
