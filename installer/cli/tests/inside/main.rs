//! Whole commands: what is inside a bundle, and what differs between bundles. What is printed is held to snapshots.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

#[path = "../trust/bench.rs"]
#[allow(dead_code, reason = "a part of what the tests of trust need")]
mod bench;
#[path = "../../../../bundles/tests/it/fixture.rs"]
#[allow(dead_code, reason = "a part of what the bundle's own tests need")]
mod fixture;

use std::process::{Command, Stdio};

use bench::Bench;
use qiji_bundle::{BundleSpec, write};

/// Two releases, signed: `old.qiji`, and `new.qiji` with another agent, another site and a licence that was not there before.
fn releases() -> Bench {
    let bench = Bench::with_keys();
    let (old, store) = fixture::sample();
    signed(&bench, "old.qiji", &old, &store);
    let (mut new, mut store) = fixture::sample();
    "1.3.0".clone_into(&mut new.version);
    new.packages[1].blobs = vec![store.add(qiji_bundle::RAW_FILE, b"\x7fELF agent, newer")];
    new.documents[0].1 = b"site \"demo\" // with a word more\n".to_vec();
    let mut program = fixture::program();
    program.parts[0].licence = Some("MPL-2.0".to_owned());
    let described = qiji_bundle::sbom::Description::of_package(&new.packages[0], vec![program]);
    new.sboms[1] = (described.subject.clone(), described.to_spdx());
    signed(&bench, "new.qiji", &new, &store);
    bench
}

fn signed(bench: &Bench, name: &str, spec: &BundleSpec, store: &fixture::Store) {
    write(spec, store, &[], &bench.path(name), &mut |_| ()).unwrap();
    let told = bench.qiji(&["sign", name, "--key", "a"]);
    assert!(told.starts_with("status 0\n"), "{told}");
}

#[test]
fn what_is_inside_is_shown_and_narrowed() {
    let bench = releases();
    let inspect =
        |more: &[&str]| bench.qiji(&[&["inspect", "old.qiji", "--trust", "a.pub"][..], more].concat());
    insta::assert_snapshot!("inspect", inspect(&[]));
    insta::assert_snapshot!("inspect_json", inspect(&["--json"]));
    insta::assert_snapshot!("inspect_component", inspect(&["--component", "KUBE"]));
    insta::assert_snapshot!("inspect_licence", inspect(&["--license", "MPL-2.0"]));
    insta::assert_snapshot!("inspect_kind", inspect(&["--kind", "nothing-known"]));
    insta::assert_snapshot!("inspect_html", inspect(&["--html", "inside.html"]));
    let page = fs_err::read_to_string(bench.path("inside.html")).unwrap();
    assert!(page.contains("k8s.io/kubernetes") && !page.contains("src="), "{page}");
}

#[test]
fn what_differs_is_told() {
    let bench = releases();
    insta::assert_snapshot!("diff", bench.qiji(&["diff", "old.qiji", "new.qiji", "--trust", "a.pub"]));
    insta::assert_snapshot!("diff_claimed", bench.qiji(&["diff", "old.qiji", "new.qiji"]));
    insta::assert_snapshot!("diff_json", bench.qiji(&["diff", "old.qiji", "new.qiji", "--json"]));
    insta::assert_snapshot!("diff_same", bench.qiji(&["diff", "old.qiji", "old.qiji", "--trust", "a.pub"]));
    insta::assert_snapshot!(
        "diff_untrusted",
        bench.qiji(&["diff", "old.qiji", "new.qiji", "--trust", "c.pub"])
    );
    insta::assert_snapshot!("diff_one", bench.qiji(&["diff", "old.qiji"]));
    bench.write("site.kdl", include_bytes!("../../../../blueprints/examples/quickstart.kdl"));
    let of_site = ["diff", "--site", "site.kdl", "old.qiji", "new.qiji"];
    insta::assert_snapshot!("diff_site_and_two", bench.qiji(&of_site));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let bench = releases();
    let mut command = Command::new(env!("CARGO_BIN_EXE_qiji"));
    command.current_dir(bench.path("")).args(["inspect", "old.qiji", "--trust", "a.pub"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
