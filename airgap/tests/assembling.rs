//! The same lock gives the same bytes, and what cannot be put together says why.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod support;

use std::io::Read;
use std::path::Path;

use proptest::prelude::*;
use qiji_airgap::{AssembleOptions, Assembled, Store, assemble, assemble_with};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{
    Image, ImageConfig, ImageContent, Layer, LayerEntry, Lock, Package, PackageContent, Source,
};
use qiji_blueprint::site::Arch;
use support::{artifact, deb, lock, noise, pin};

fn file(path: &str, artifact: &str, member: Option<&str>) -> LayerEntry {
    let (path, artifact, member) = (path.to_owned(), artifact.to_owned(), member.map(str::to_owned));
    LayerEntry::File { path, artifact, member, mode: 0o755 }
}

fn layer(name: &str, entries: Vec<LayerEntry>) -> Layer {
    Layer { name: name.to_owned(), arch: Arch::Amd64, entries }
}

fn package_bytes() -> Vec<u8> {
    deb(
        &[("./lib/x86_64-linux-gnu/liba.so.1.2", b"shared")],
        &[("./lib/x86_64-linux-gnu/liba.so.1", "liba.so.1.2")],
    )
}

/// A lock with four layers, an image and a package, whose artifacts are in `store`.
fn filled(store: &Store) -> Lock {
    let tool = noise(300_000);
    let mut lock =
        lock(vec![artifact("liba", pin(&package_bytes()), vec![]), artifact("tool", pin(&tool), vec![])]);
    store.put(&tool).unwrap();
    store.put(&package_bytes()).unwrap();
    let long = format!("opt/{}/tool", "long/".repeat(40).trim_end_matches('/'));
    lock.layers = vec![
        layer(
            "tool",
            vec![
                file("usr/bin/tool", "tool", None),
                LayerEntry::Link { path: "usr/bin/alias".to_owned(), target: "tool".to_owned() },
            ],
        ),
        layer("lib", vec![file("usr/lib/liba.so.1", "liba", Some("usr/lib/*/liba.so.1"))]),
        layer(
            "text",
            vec![LayerEntry::Text {
                path: "etc/passwd".to_owned(),
                content: "root\n".to_owned(),
                mode: 0o644,
            }],
        ),
        layer(
            "deep",
            vec![file(&long, "tool", None), LayerEntry::Folder { path: "tmp".to_owned(), mode: 0o1777 }],
        ),
    ];
    let layers: Vec<_> = ["tool", "lib", "text", "deep"].map(str::to_owned).into();
    let config = ImageConfig {
        entrypoint: vec!["/usr/bin/tool".to_owned()],
        env: [("B".to_owned(), "2".to_owned()), ("A".to_owned(), "1".to_owned())].into(),
        user: "65532:65532".to_owned(),
        labels: [("x".to_owned(), "y".to_owned()), ("a".to_owned(), "b".to_owned())].into(),
    };
    let content = ImageContent::Assembled { layers: layers.clone(), config };
    lock.images = vec![Image { name: "x/tool:v1".to_owned(), arch: Arch::Amd64, roles: vec![], content }];
    let content = PackageContent::Layers { layers };
    lock.packages = vec![Package {
        name: "tool".to_owned(),
        version: "1".to_owned(),
        arch: Arch::Amd64,
        roles: vec![],
        content,
    }];
    lock
}

fn assembled_in(folder: &Path, jobs: usize) -> Assembled {
    let store = Store::open(folder).unwrap();
    let lock = filled(&store);
    assemble_with(&store, &lock, AssembleOptions { jobs }).unwrap()
}

#[test]
fn two_stores_jobs_and_umasks_give_the_same_digests() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let first = assembled_in(one.path(), 1);
    rustix::process::umask(rustix::fs::Mode::empty());
    let second = assembled_in(two.path(), 2);
    let again = assembled_in(two.path(), 2);
    rustix::process::umask(before);
    assert_eq!(first, second);
    assert_eq!(second, again);
}

#[test]
fn a_layer_holds_what_was_asked_owned_by_root_at_time_zero() {
    let folder = tempfile::tempdir().unwrap();
    let assembled = assembled_in(folder.path(), 2);
    let store = Store::open(folder.path()).unwrap();
    let mut seen = Vec::new();
    for blob in &assembled.packages[0].blobs {
        let mut tar = tar::Archive::new(zstd::Decoder::new(store.read(&blob.digest).unwrap()).unwrap());
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
            let (mode, path) = (header.mode().unwrap(), entry.path().unwrap().display().to_string());
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            seen.push((path, mode, content));
        }
    }
    let find = |path: &str| {
        seen.iter().find(|(at, ..)| at == path).map(|(_, mode, content)| (*mode, content.clone()))
    };
    assert_eq!(
        find("usr/lib/liba.so.1"),
        Some((0o755, b"shared".to_vec())),
        "the package's link was followed"
    );
    assert_eq!(find("usr/bin/tool"), Some((0o755, noise(300_000))));
    assert_eq!(find("usr/"), Some((0o755, vec![])), "parents are added");
    assert_eq!(find("tmp/"), Some((0o1777, vec![])));
    assert_eq!(find("etc/passwd"), Some((0o644, b"root\n".to_vec())));
    assert!(seen.iter().any(|(path, ..)| path.len() > 200), "a long path stays whole");
}

#[test]
fn config_and_manifest_agree_with_the_layers() {
    let folder = tempfile::tempdir().unwrap();
    let image = &assembled_in(folder.path(), 2).images[0];
    let store = Store::open(folder.path()).unwrap();
    let json = |digest: &Digest| -> serde_json::Value {
        serde_json::from_reader(store.read(digest).unwrap()).unwrap()
    };
    let (manifest, config) = (json(&image.manifest.digest), json(&image.config.digest));
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["digest"], image.config.digest.to_string());
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
    assert_eq!(config["config"]["Env"], serde_json::json!(["A=1", "B=2"]));
    for (index, layer) in image.layers.iter().enumerate() {
        assert_eq!(manifest["layers"][index]["digest"], layer.digest.to_string());
        let mut tar = Vec::new();
        zstd::Decoder::new(store.read(&layer.digest).unwrap()).unwrap().read_to_end(&mut tar).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][index], Digest::of(&tar).to_string());
    }
    let text = fs_err::read_to_string(store.blob_path(&image.manifest.digest)).unwrap();
    assert!(text.starts_with(r#"{"config":{"digest":"#), "keys are sorted and there is no space: {text}");
}

#[test]
fn every_fault_of_every_layer_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut lock = filled(&store);
    let text = |path: &str| LayerEntry::Text { path: path.to_owned(), content: String::new(), mode: 0o644 };
    lock.layers = vec![
        layer("paths", ["../up", "/abs", "a//b", "a/./b", ""].map(text).into()),
        layer("twice", vec![text("a"), text("a"), text("a/b")]),
        layer(
            "lost",
            vec![file("x", "none", None), file("y", "liba", Some("usr/none")), file("z", "tool", Some("x"))],
        ),
    ];
    let told = assemble(&store, &lock).unwrap_err().to_string();
    for part in [
        "layer paths for amd64, entry ../up:",
        "entry /abs:",
        "entry a//b:",
        "entry a/./b:",
        "layer twice for amd64, entry a: it comes twice",
        "entry a/b: a is not a folder",
        "entry x: the lock has no artifact none",
        "entry y: package liba: no file usr/none is in it",
        "entry z: package tool: it is not a Debian package",
    ] {
        assert!(told.contains(part), "no `{part}` in: {told}");
    }
}

#[test]
fn a_damaged_artifact_never_gets_into_a_layer() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lock = filled(&store);
    let mut rotten = noise(300_000);
    rotten[150_000] ^= 1;
    fs_err::write(store.blob_path(&pin(&noise(300_000)).digest), rotten).unwrap();
    let told = assemble(&store, &lock).unwrap_err().to_string();
    assert!(told.contains("layer tool") && told.contains("damaged"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_order_of_entries_does_not_matter(
        names in proptest::collection::btree_set("[a-c]{1,2}(/[d-f]{1,3}){0,2}x", 1..12).prop_map(|set| set.into_iter().collect::<Vec<_>>()),
        seed in any::<u64>(),
    ) {
        let entries: Vec<_> = names.iter().map(|path| LayerEntry::Text { path: path.clone(), content: path.clone(), mode: 0o640 }).collect();
        let mut mixed = entries.clone();
        mixed.sort_by_key(|entry| Digest::of(format!("{seed}{entry:?}").as_bytes()));
        let digest = |entries: Vec<LayerEntry>| {
            let folder = tempfile::tempdir().unwrap();
            let mut lock = lock(vec![]);
            lock.layers = vec![layer("a", entries)];
            let content = PackageContent::Layers { layers: vec!["a".to_owned()] };
            lock.packages = vec![Package { name: "a".to_owned(), version: "1".to_owned(), arch: Arch::Amd64, roles: vec![], content }];
            assemble(&Store::open(folder.path()).unwrap(), &lock).map(|done| done.packages[0].blobs[0].digest).map_err(|error| error.to_string())
        };
        prop_assert_eq!(digest(entries), digest(mixed));
    }
}

/// A tiny Go recipe, built from two folders into two stores.
#[tokio::test]
async fn a_go_recipe_gives_the_same_binary_from_any_folder() {
    let mut pins = Vec::new();
    for _ in 0..2 {
        let recipes = tempfile::tempdir().unwrap();
        let folder = recipes.path().join("tiny");
        fs_err::create_dir_all(&folder).unwrap();
        let recipe = "go-build module=\"test/tiny\" {\n  output \"tiny\" package=\".\"\n  cgo #false\n  tags \"a\" \"b\"\n  ldflags \"-s\" \"-w\" \"-X\" \"main.version=v1\"\n}\n";
        let main = "package main\n\nvar version string\n\nfunc main() { println(version) }\n";
        for (name, text) in
            [("recipe.kdl", recipe), ("main.go", main), ("go.mod", "module test/tiny\n\ngo 1.24\n")]
        {
            fs_err::write(folder.join(name), text).unwrap();
        }
        let settings =
            qiji_airgap::Settings { recipes: Some(recipes.path().to_owned()), ..Default::default() };
        let bench = support::Bench::new(settings);
        let go = |output: &str| vec![Source::Go { recipe: "tiny".to_owned(), output: output.to_owned() }];
        let wanted = support::wanted(vec![artifact("tiny", (), go("tiny"))]);
        let lock = bench.fetcher.resolve(&wanted).await.unwrap().lock;
        let run = std::process::Command::new("sh")
            .arg("-c")
            .arg("cp \"$0\" tiny && chmod +x tiny && ./tiny")
            .arg(bench.store.blob_path(&lock.artifacts[0].pin.digest))
            .current_dir(bench.folder.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&run.stderr), "v1\n");
        pins.push(lock.artifacts[0].pin);

        fs_err::write(folder.join("main.go"), main.replace("println", "print")).unwrap();
        let changed = bench.fetcher.resolve(&wanted).await.unwrap().lock;
        assert_ne!(changed.artifacts[0].pin, lock.artifacts[0].pin, "a changed recipe is built again");
        bench.store.discard(&lock.artifacts[0].pin.digest).unwrap();
        let told = bench.fetcher.fetch(&lock).await.unwrap_err().to_string();
        assert!(told.contains("is locked") && told.contains("qiji lock"), "{told}");
        fs_err::write(folder.join("main.go"), "package main\nfunc main() { nonsense }\n").unwrap();
        let broken = vec![artifact("tiny", (), go("tiny")), artifact("none", (), go("none"))];
        let told = bench.fetcher.resolve(&support::wanted(broken)).await.unwrap_err().to_string();
        assert!(told.contains("nonsense") && told.contains("it has no output none"), "{told}");
    }
    assert_eq!(pins[0], pins[1]);
}
