//! Deltas: what they rebuild is the whole bundle, byte for byte, or nothing.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use qiji_blueprint::Digest;
use qiji_blueprint::site::{Arch, Role};
use qiji_bundle::{
    Against, Blob, BundleSpec, Class, Delta, DeltaError, DocumentEntry, Inventory, OldBundles, PackageEntry,
    RAW_FILE, Untrusted, Verified, WrittenDelta, delta_of, write_delta,
};
use serde_json::{Value, json};

use crate::fixture::{Bench, LAYER, Store, layer};

/// Bytes without a pattern.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A program as it is in a version: mostly the same, with a part that is new and addresses that moved.
fn program(version: u8) -> Vec<u8> {
    let mut bytes = noise(1, 400_000);
    bytes.splice(100_000..100_000, noise(u64::from(version) + 100, 2000 * usize::from(version)));
    bytes.iter_mut().step_by(50).for_each(|byte| *byte = byte.wrapping_add(version));
    bytes
}

/// As our layers are compressed.
fn compressed(tar: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 9).unwrap();
    encoder.window_log(22).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

/// A bundle in its version: an image whose layer changes, one whose layer stays, a package with the same layer, a raw file, and a layer
/// that somebody else compressed.
fn release(version: u8) -> (BundleSpec, Store) {
    let mut store = Store::default();
    let kube = compressed(&layer("kube", &program(version)));
    let etcd = compressed(&layer("etcd", &noise(7, 50_000)));
    let foreign = [&[0x1f, 0x8b][..], &noise(u64::from(version) + 50, 20_000)].concat();
    let mut image =
        |name: &str, bytes: Vec<u8>| store.image(name, Arch::Amd64, &[Role::ControlPlane], &[bytes]);
    let images = vec![
        image(&format!("qiji.local/kube-apiserver:v1.{version}.0"), kube.clone()),
        image("qiji.local/etcd:3.7.3-0", etcd),
        image(&format!("ghcr.io/some/thing:v{version}"), foreign),
    ];
    let mut package = |name: &str, media_type: &str, bytes: &[u8]| PackageEntry {
        name: name.to_owned(),
        arch: Arch::Amd64,
        version: format!("1.{version}.0"),
        roles: vec![Role::Worker],
        blobs: vec![store.add(media_type, bytes)],
    };
    let packages =
        vec![package("kubernetes", LAYER, &kube), package("agent", RAW_FILE, &program(version)[..90_000])];
    let documents = vec![("site.json".to_owned(), format!("{{\"version\":{version}}}").into_bytes())];
    let (name, edition) = ("demo".to_owned(), "community".to_owned());
    let spec = BundleSpec {
        name,
        version: format!("1.{version}.0"),
        edition,
        images,
        packages,
        documents,
        ..BundleSpec::default()
    };
    (spec, store)
}

/// Releases 1 to 3 as whole bundles.
struct Releases {
    bench: Bench,
    paths: Vec<PathBuf>,
}

impl Releases {
    fn new() -> Self {
        let bench = Bench::new();
        let write = |version: u8| {
            let (spec, store) = release(version);
            bench.write(&format!("{version}.qiji"), &spec, &store).0
        };
        let paths = (1..=3).map(write).collect();
        Self { bench, paths }
    }

    fn verified(&self, version: usize) -> Verified {
        self.bench.verify(&self.paths[version - 1]).unwrap()
    }

    fn open(&self, version: usize) -> Untrusted {
        Untrusted::open(&self.paths[version - 1]).unwrap()
    }

    fn old(&self, versions: &[usize]) -> OldBundles {
        OldBundles(versions.iter().map(|&version| self.open(version)).collect())
    }

    fn inventory(&self, versions: &[usize]) -> Inventory {
        let mut inventory = Inventory::default();
        for &version in versions {
            inventory.add(&self.open(version)).unwrap();
        }
        inventory
    }

    /// A delta to `to` against `from`.
    fn delta(&self, from: &[usize], to: u8, name: &str) -> (PathBuf, WrittenDelta) {
        let (inventory, old) = (self.inventory(from), self.old(from));
        let against = Against { inventory: &inventory, old: &old, whole_where_missing: false };
        let (spec, store) = release(to);
        let path = self.bench.path(name);
        let written = write_delta(&spec, &store, &[&self.bench.key], &against, &path, &mut |_| ()).unwrap();
        (path, written)
    }

    /// What a site that holds some releases makes of a delta.
    fn rebuilt(&self, held: &[usize], delta: &Path) -> Result<Vec<u8>, DeltaError> {
        let delta = Delta::open(&self.bench.verify(delta).unwrap())?;
        let out = self.bench.path("rebuilt.qiji");
        let rebuilt = delta.rebuild(&self.old(held), &out, &mut |_| ())?;
        let bytes = fs_err::read(&out).unwrap();
        assert_eq!((rebuilt.size, rebuilt.root), (bytes.len() as u64, delta.root()));
        fs_err::remove_file(out).unwrap();
        Ok(bytes)
    }

    fn whole(&self, version: usize) -> Vec<u8> {
        fs_err::read(&self.paths[version - 1]).unwrap()
    }

    /// Names of files in the folder.
    fn files(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.bench.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_delta_rebuilds_the_very_same_bytes() {
    let releases = Releases::new();
    let (path, written) = releases.delta(&[1], 2, "delta.qiji");
    assert!(releases.rebuilt(&[1], &path).unwrap() == releases.whole(2));
    let whole = releases.whole(2).len() as u64;
    assert_eq!(written.whole_size, whole);
    assert!(written.size < whole / 5, "{written:?}");
    // The foreign layer comes whole, etcd's three blobs and the empty configuration are held.
    assert_eq!((written.whole, written.held.0), ((1, 20_002), 4), "{written:?}");
    assert_eq!(releases.files(), ["1.qiji", "2.qiji", "3.qiji", "delta.qiji"], "something was left");
}

#[test]
fn a_lost_delta_is_nothing_to_worry_about() {
    let releases = Releases::new();
    // The one to 2 never arrives.
    let (path, _) = releases.delta(&[1], 3, "delta.qiji");
    assert!(releases.rebuilt(&[1], &path).unwrap() == releases.whole(3));
}

#[test]
fn a_site_that_holds_several_releases_needs_less() {
    let releases = Releases::new();
    let (path, both) = releases.delta(&[1, 2], 3, "both.qiji");
    assert!(releases.rebuilt(&[2, 1], &path).unwrap() == releases.whole(3));
    let (path, none) = releases.delta(&[], 3, "none.qiji");
    assert!(releases.rebuilt(&[], &path).unwrap() == releases.whole(3));
    assert!(both.size * 4 < none.size, "{both:?} {none:?}");
}

#[test]
fn the_same_against_the_same_is_the_same() {
    let releases = Releases::new();
    let (first, _) = releases.delta(&[1], 2, "first.qiji");
    let (second, _) = releases.delta(&[1], 2, "second.qiji");
    assert!(fs_err::read(&first).unwrap() == fs_err::read(second).unwrap());
    let whole = Untrusted::open(&releases.paths[1]).unwrap().check_bytes(&mut |_| ()).unwrap();
    let (inventory, old) = (releases.inventory(&[1]), releases.old(&[1]));
    let against = Against { inventory: &inventory, old: &old, whole_where_missing: false };
    let third = releases.bench.path("third.qiji");
    delta_of(&whole, &[&releases.bench.key], &against, &third, &mut |_| ()).unwrap();
    assert!(fs_err::read(&first).unwrap() == fs_err::read(third).unwrap(), "made of the finished bundle");
}

#[test]
fn an_inventory_travels_as_a_file() {
    let releases = Releases::new();
    let inventory = releases.inventory(&[1, 2]);
    assert_eq!(Inventory::parse(&inventory.to_bytes()).unwrap(), inventory);
    let mut again = inventory.clone();
    again.add(&releases.open(1)).unwrap();
    assert_eq!(again, inventory, "a bundle was added twice");
}

#[test]
fn a_site_without_the_base_is_refused() {
    let releases = Releases::new();
    let (path, _) = releases.delta(&[1], 2, "delta.qiji");
    let error = releases.rebuilt(&[3], &path).map(drop).unwrap_err();
    let DeltaError::BaseNotHeld { missing, .. } = &error else { panic!("{error}") };
    let held = releases.verified(3);
    assert!(!missing.is_empty() && missing.iter().all(|one| held.blob_size(&one.digest).is_none()));
    assert!(error.to_string().contains("demo 1.1.0"), "{error}");
    assert!(error.to_string().contains(&missing[0].digest.to_string()), "{error}");
    assert_eq!(error.class(), Class::Failed);
    assert!(!releases.bench.path("rebuilt.qiji").exists());
}

#[test]
fn a_wrong_inventory_gives_a_delta_that_is_refused() {
    let releases = Releases::new();
    let (path, _) = releases.delta(&[1, 2], 3, "delta.qiji");
    assert!(matches!(releases.rebuilt(&[1], &path), Err(DeltaError::BaseNotHeld { .. })));
}

#[test]
fn old_blobs_that_are_not_here_are_told_all_at_once() {
    let releases = Releases::new();
    let (inventory, nothing) = (releases.inventory(&[1]), OldBundles::default());
    let mut against = Against { inventory: &inventory, old: &nothing, whole_where_missing: false };
    let (spec, store) = release(2);
    let path = releases.bench.path("delta.qiji");
    let error = write_delta(&spec, &store, &[&releases.bench.key], &against, &path, &mut |_| ()).unwrap_err();
    let text = error.to_string();
    for used_for in ["package kubernetes amd64 layer 0", "package agent amd64 layer 0", "document site.json"]
    {
        assert!(text.contains(used_for), "{text}");
    }
    assert!(!path.exists());
    against.whole_where_missing = true;
    write_delta(&spec, &store, &[&releases.bench.key], &against, &path, &mut |_| ()).unwrap();
    assert!(releases.rebuilt(&[1], &path).unwrap() == releases.whole(2));
}

#[test]
fn a_delta_without_signatures_inside_is_not_made() {
    let releases = Releases::new();
    let (spec, store) = release(2);
    let inventory = releases.inventory(&[1]);
    let against = Against { inventory: &inventory, old: &releases.old(&[1]), whole_where_missing: false };
    let path = releases.bench.path("delta.qiji");
    let error = write_delta(&spec, &store, &[], &against, &path, &mut |_| ()).unwrap_err();
    assert!(matches!(error, DeltaError::Unsigned), "{error}");
    let unsigned = releases.bench.path("unsigned.qiji");
    qiji_bundle::write(&spec, &store, &[], &unsigned, &mut |_| ()).unwrap();
    let whole = Untrusted::open(&unsigned).unwrap().check_bytes(&mut |_| ()).unwrap();
    let error = delta_of(&whole, &[&releases.bench.key], &against, &path, &mut |_| ()).unwrap_err();
    assert!(matches!(error, DeltaError::Unsigned), "{error}");
}

#[test]
fn a_damaged_base_is_told_and_nothing_is_written() {
    /// Gives every blob with one bit changed.
    struct Damaged(OldBundles);
    impl qiji_bundle::BlobSource for Damaged {
        fn open(&self, digest: &Digest) -> std::io::Result<Box<dyn std::io::Read + '_>> {
            let mut bytes = Vec::new();
            self.0.open(digest)?.read_to_end(&mut bytes)?;
            *bytes.last_mut().unwrap() ^= 1;
            Ok(Box::new(std::io::Cursor::new(bytes)))
        }
    }
    let releases = Releases::new();
    let (path, _) = releases.delta(&[1], 2, "delta.qiji");
    let delta = Delta::open(&releases.bench.verify(&path).unwrap()).unwrap();
    let out = releases.bench.path("rebuilt.qiji");
    let error = delta.rebuild(&Damaged(releases.old(&[1])), &out, &mut |_| ()).unwrap_err();
    assert!(matches!(error, DeltaError::OldDamaged(_)), "{error}");
    assert_eq!(error.class(), Class::Untrustworthy);
    assert_eq!(releases.files(), ["1.qiji", "2.qiji", "3.qiji", "delta.qiji"], "something was left");
}

#[test]
fn a_whole_bundle_is_no_delta() {
    let releases = Releases::new();
    let whole = releases.verified(1);
    assert!(!Delta::is(&whole));
    assert!(matches!(Delta::open(&whole), Err(DeltaError::NotADelta)));
    let (path, _) = releases.delta(&[1], 2, "delta.qiji");
    let delta = Untrusted::open(&path).unwrap();
    assert!(matches!(Inventory::default().add(&delta), Err(DeltaError::IsADelta)));
    let delta = releases.bench.verify(&path).unwrap();
    assert!(Delta::is(&delta));
    assert_eq!((delta.name(), delta.version(), delta.edition()), ("demo", "1.2.0", "community"));
}

/// Fields of a recipe and of what is in it, in their order.
const ORDER: &str = "delta name version root bases zstd held whole patched index digest size at length content packing old level window-log checksum";

/// JSON with the fields in the order of recipes.
fn ordered(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_by_key(|key| ORDER.split(' ').position(|known| known == *key));
            let fields: Vec<_> =
                keys.iter().map(|key| format!("\"{key}\":{}", ordered(&fields[*key]))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(ordered).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// A change of a recipe.
type Change<'a> = dyn Fn(&mut Value) + 'a;

/// A delta to release 2 with its recipe changed by `change`, signed by whoever signs deltas.
fn tampered(releases: &Releases, change: &Change<'_>) -> PathBuf {
    let (path, _) = releases.delta(&[1], 2, "delta.qiji");
    let delta = releases.bench.verify(&path).unwrap();
    let mut store = Store::default();
    let mut spec =
        BundleSpec { name: "demo".to_owned(), version: "1.2.0".to_owned(), ..BundleSpec::default() };
    for document in delta.documents() {
        let mut bytes = delta.document(&document.name).unwrap().unwrap();
        if document.name == "delta.json" {
            let mut recipe: Value = serde_json::from_slice(&bytes).unwrap();
            change(&mut recipe);
            bytes = ordered(&recipe).into_bytes();
            spec.documents.push((document.name.clone(), bytes));
        } else {
            let blob: Blob = store.add(RAW_FILE, &bytes);
            spec.files.push(DocumentEntry { name: document.name.clone(), blob });
        }
    }
    releases.bench.write("tampered.qiji", &spec, &store).0
}

/// The first patched blob of a recipe that starts from an old one: small documents, whose order is chance, start from nothing.
fn first_with_an_old(recipe: &mut Value) -> &mut Value {
    let patched = recipe["patched"].as_array_mut().unwrap();
    patched.iter_mut().find(|one| !one["old"].as_array().unwrap().is_empty()).unwrap()
}

#[test]
fn a_recipe_that_breaks_a_rule_is_refused() {
    let releases = Releases::new();
    let set = |path: &'static str, value: Value| {
        move |recipe: &mut Value| *recipe.pointer_mut(path).unwrap() = value.clone()
    };
    let zero = format!("sha256:{}", "0".repeat(64));
    let cases: [(Box<Change<'static>>, &str); 12] = [
        (Box::new(set("/delta", json!(2))), "another format"),
        (Box::new(set("/root", json!(zero))), "the root is not among the blobs"),
        (Box::new(set("/held/0/digest", json!("x"))), "not a digest"),
        (Box::new(|recipe| recipe["held"][0] = recipe["held"][1].clone()), "twice"),
        (Box::new(set("/patched/0/at", json!(1))), "do not follow on each other"),
        (Box::new(set("/patched/0/length", json!(u64::MAX))), "patch"),
        (Box::new(set("/patched/0/content", json!(u64::MAX))), "too large"),
        (Box::new(|recipe| first_with_an_old(recipe)["old"][0]["content"] = json!(u64::MAX)), "too large"),
        (Box::new(set("/patched/0/size", json!(1_u64 << 40))), "8 GiB"),
        (
            Box::new(set(
                "/index/packing",
                json!({"zstd": {"level": 19, "window-log": 31, "checksum": true}}),
            )),
            "index.json",
        ),
        (Box::new(set("/whole/0/digest", json!(zero))), "is not in the delta"),
        (Box::new(|recipe| recipe["more"] = json!(1)), "unknown field"),
    ];
    for (change, words) in cases {
        let path = tampered(&releases, &*change);
        let error = Delta::open(&releases.bench.verify(&path).unwrap()).unwrap_err();
        assert!(
            matches!(error, DeltaError::Recipe(_)) && error.to_string().contains(words),
            "{error} not {words}"
        );
        assert_eq!(error.class(), Class::Untrustworthy);
    }
}

/// A recipe that keeps its rules, but lies: what comes out is compared with its digest.
#[test]
fn a_recipe_that_lies_gives_nothing() {
    let releases = Releases::new();
    let change = |change: &Change<'_>| {
        let path = tampered(&releases, &|recipe| {
            let list = recipe["patched"].as_array().unwrap();
            let at = list.iter().position(|one| one["packing"] != "plain").unwrap();
            change(&mut recipe["patched"][at]);
        });
        releases.rebuilt(&[1], &path).map(drop).unwrap_err()
    };
    let size = |one: &Value, by: i64| json!(one.as_i64().unwrap() + by);
    for (error, words) in [
        (change(&|one| one["content"] = size(&one["content"], 1)), "patch blob"),
        (change(&|one| one["content"] = size(&one["content"], -1)), "patch blob"),
        (change(&|one| one["old"][0]["content"] = size(&one["old"][0]["content"], 1)), "another size"),
        (change(&|one| one["old"][0]["content"] = size(&one["old"][0]["content"], -1)), "read the old blob"),
        (change(&|one| one["packing"]["zstd"]["window-log"] = json!(21)), "other bytes than it must"),
    ] {
        assert!(error.to_string().contains(words), "{error} not {words}");
        assert!(!releases.bench.path("rebuilt.qiji").exists());
    }
}

#[test]
fn layers_that_are_not_compressed_are_patched_too() {
    let bench = Bench::new();
    let write = |version: u8| {
        let mut store = Store::default();
        let tar = layer("kube", &program(version));
        let images = vec![store.image("qiji.local/kube:v1", Arch::Riscv64, &[], &[tar])];
        (
            BundleSpec {
                name: "plain".to_owned(),
                version: format!("{version}.0.0"),
                images,
                ..BundleSpec::default()
            },
            store,
        )
    };
    let (spec, store) = write(1);
    let old = Untrusted::open(&bench.write("1.qiji", &spec, &store).0).unwrap();
    let (spec, store) = write(2);
    let whole = fs_err::read(bench.write("2.qiji", &spec, &store).0).unwrap();
    let mut inventory = Inventory::default();
    inventory.add(&old).unwrap();
    let old = OldBundles(vec![old]);
    let against = Against { inventory: &inventory, old: &old, whole_where_missing: false };
    let path = bench.path("delta.qiji");
    let written = write_delta(&spec, &store, &[&bench.key], &against, &path, &mut |_| ()).unwrap();
    assert!(written.size < whole.len() as u64 / 5, "{written:?}");
    let delta = Delta::open(&bench.verify(&path).unwrap()).unwrap();
    delta.rebuild(&old, &bench.path("rebuilt.qiji"), &mut |_| ()).unwrap();
    assert!(fs_err::read(bench.path("rebuilt.qiji")).unwrap() == whole);
}
