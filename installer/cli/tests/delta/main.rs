//! Whole commands: inventories, deltas and what is rebuilt from them. What is printed is held to snapshots.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

#[expect(dead_code, reason = "the tests of trust use more of it")]
#[path = "../trust/bench.rs"]
mod bench;

use bench::{Bench, release};

/// Text that is mostly the same in each version, and too long to go unnoticed.
fn manual(version: &str) -> Vec<u8> {
    let line = |number: u32| format!("{number}: {}\n", number.wrapping_mul(2_654_435_761));
    let mut text: String = (0..20_000).map(line).collect();
    text.insert_str(1000, &format!("version {version}\n"));
    text.into_bytes()
}

/// A folder with three signed releases.
fn bench() -> Bench {
    let bench = Bench::with_keys();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        let mut spec = release(version, "enterprise");
        spec.documents.push(("manual".to_owned(), manual(version)));
        let file = format!("{version}.qiji");
        bench.bundle(&file, &spec);
        bench.does(&["sign", &file, "--key", "a"]);
    }
    bench
}

impl Bench {
    /// Runs a command that must succeed.
    fn does(&self, args: &[&str]) {
        let said = self.qiji(args);
        assert!(said.starts_with("status 0\n"), "{args:?}: {said}");
    }

    fn inventory(&self, bundles: &[&str]) {
        self.does(&[&["inventory", "--output", "inventory.json"][..], bundles].concat());
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).unwrap()
    }
}

const DELTA: [&str; 6] = ["delta", "1.2.0.qiji", "--against", "inventory.json", "--output", "delta.qiji"];
const REBUILD: [&str; 6] = ["rebuild", "delta.qiji", "--trust", "a.pub", "--output", "rebuilt.qiji"];

fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}

#[test]
fn a_delta_from_inventory_to_the_same_bytes() {
    let bench = bench();
    // Signatures and patches of them are a little larger or smaller with each key.
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b[0-9.]+ (B|kB|MB)\b", "SIZE");
    let _filtered = settings.bind_to_scope();
    insta::assert_snapshot!(
        "inventory",
        bench.qiji(&["inventory", "1.0.0.qiji", "1.1.0.qiji", "--output", "inventory.json"])
    );
    bench.inventory(&["1.0.0.qiji"]);
    insta::assert_snapshot!("delta", bench.qiji(&with(&DELTA, &["--base", "1.0.0.qiji", "--key", "a"])));
    assert!(bench.bytes("delta.qiji").len() < bench.bytes("1.2.0.qiji").len() / 4);
    insta::assert_snapshot!("verify", bench.qiji(&["verify", "delta.qiji", "--trust", "a.pub"]));
    insta::assert_snapshot!("rebuild", bench.qiji(&with(&REBUILD, &["--base", "1.0.0.qiji"])));
    assert!(bench.bytes("rebuilt.qiji") == bench.bytes("1.2.0.qiji"));
}

#[test]
fn a_site_without_the_base_is_refused() {
    let bench = bench();
    bench.inventory(&["1.0.0.qiji"]);
    bench.does(&with(&DELTA, &["--base", "1.0.0.qiji", "--key", "a"]));
    insta::assert_snapshot!("no_base", bench.qiji(&REBUILD));
    let other = bench.qiji(&with(&REBUILD, &["--base", "1.1.0.qiji"]));
    assert!(other.starts_with("status 1\n") && other.contains("lacks what the delta builds on"), "{other}");
    let status = bench.qiji(&["status", "delta.qiji", "--trust", "a.pub", "--state", "state"]);
    assert!(status.starts_with("status 1\n") && status.contains("made against"), "{status}");
    assert!(!bench.path("rebuilt.qiji").exists());
}

#[test]
fn what_is_no_delta_or_no_inventory_is_told() {
    let bench = bench();
    insta::assert_snapshot!(
        "not_an_inventory",
        bench.qiji(&["delta", "1.2.0.qiji", "--against", "a.pub", "--output", "delta.qiji", "--key", "a"])
    );
    insta::assert_snapshot!(
        "not_a_delta",
        bench.qiji(&["rebuild", "1.2.0.qiji", "--trust", "a.pub", "--output", "rebuilt.qiji"])
    );
    bench.inventory(&["1.0.0.qiji"]);
    insta::assert_snapshot!("old_not_here", bench.qiji(&with(&DELTA, &["--key", "a"])));
    insta::assert_snapshot!("no_key", bench.qiji(&DELTA));
    bench.does(&with(&DELTA, &["--key", "a", "--whole-where-missing"]));
    insta::assert_snapshot!(
        "inventory_of_a_delta",
        bench.qiji(&["inventory", "delta.qiji", "--output", "other.json"])
    );
    insta::assert_snapshot!(
        "serve_a_delta",
        bench.qiji(&["serve", "delta.qiji", "--trust", "a.pub", "--listen", "127.0.0.1:0"])
    );
    bench.does(&with(&REBUILD, &["--base", "1.0.0.qiji"]));
    assert!(bench.bytes("rebuilt.qiji") == bench.bytes("1.2.0.qiji"));
}

/// The whole bundle is signed first: the delta carries its signatures.
#[test]
fn a_delta_is_signed_on_another_machine() {
    let bench = bench();
    bench.inventory(&["1.0.0.qiji"]);
    bench.does(&["sign", "1.2.0.qiji", "--key", "b"]);
    bench.does(&with(&DELTA, &["--base", "1.0.0.qiji", "--unsigned"]));
    let refused = bench.qiji(&with(&REBUILD, &["--base", "1.0.0.qiji"]));
    assert!(refused.starts_with("status 4\n"), "{refused}");
    bench.does(&["sign", "delta.qiji", "--key", "a"]);
    bench.does(&["sign", "delta.qiji", "--key", "b"]);
    let both = ["--trust", "b.pub", "--threshold", "2", "--base", "1.0.0.qiji"];
    bench.does(&with(&REBUILD, &both));
    assert!(bench.bytes("rebuilt.qiji") == bench.bytes("1.2.0.qiji"));
}

/// What stands for a site is rebuilt once, and is the base of the next delta.
#[test]
fn on_site_a_delta_stands_for_its_bundle() {
    let bench = bench();
    bench.inventory(&["1.0.0.qiji"]);
    let one = ["delta", "1.1.0.qiji", "--against", "inventory.json", "--output", "one.qiji"];
    bench.does(&with(&one, &["--base", "1.0.0.qiji", "--key", "a"]));
    bench.inventory(&["1.1.0.qiji"]);
    bench.does(&with(&DELTA, &["--base", "1.1.0.qiji", "--key", "a"]));
    let plan = |file: &'static str| vec!["plan", file, "--trust", "a.pub", "--state", "state"];
    // Nothing listens where the hosts are: the verb gets as far as asking them.
    let said = bench.qiji(&with(&plan("one.qiji"), &["--base", "1.0.0.qiji"]));
    assert!(said.contains("rebuilt quickstart 1.1.0 from the delta") && said.contains("cp1"), "{said}");
    let said = bench.qiji(&plan("one.qiji"));
    assert!(!said.contains("rebuilt") && said.contains("cp1"), "{said}");
    let said = bench.qiji(&plan("delta.qiji"));
    assert!(said.contains("rebuilt quickstart 1.2.0 from the delta") && said.contains("cp1"), "{said}");
    let folder = bench.path("state/sites/quickstart/bundles");
    let mut kept: Vec<_> =
        fs_err::read_dir(folder).unwrap().map(|entry| fs_err::read(entry.unwrap().path()).unwrap()).collect();
    kept.sort();
    let mut expected = vec![bench.bytes("1.1.0.qiji"), bench.bytes("1.2.0.qiji")];
    expected.sort();
    assert!(kept == expected);
}
