//! Whole commands: keys, signing, policies, and what a site refuses. What is printed is held to snapshots.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod bench;

use qiji_bundle::KeyKind;

use bench::{Bench, release};

#[test]
fn keys_of_both_kinds() {
    let bench = Bench::new();
    insta::assert_snapshot!("keygen_ed25519", bench.qiji(&["keygen", "--output", "a"]));
    insta::assert_snapshot!("keygen_sm2", bench.qiji(&["keygen", "--output", "b", "--kind", "sm2"]));
    insta::assert_snapshot!("keygen_unknown", bench.qiji(&["keygen", "--output", "c", "--kind", "rsa"]));
    insta::assert_snapshot!("keygen_again", bench.qiji(&["keygen", "--output", "a"]));
    assert_eq!(bench.public("a").kind(), KeyKind::Ed25519);
    assert_eq!(bench.public("b").kind(), KeyKind::Sm2);
}

#[test]
fn a_build_without_a_key_is_told_before_any_work() {
    let bench = Bench::new();
    insta::assert_snapshot!(bench.qiji(&["build", "site.kdl", "--output", "x.qiji"]));
}

#[test]
fn two_parties_sign_one_after_another() {
    let bench = Bench::with_keys();
    bench.bundle("demo.qiji", &release("1.0.0", "enterprise"));
    bench.qiji(&[
        "policy",
        "init",
        "--output",
        "p.json",
        "--key",
        "build=a.pub",
        "--key",
        "audit=b.pub",
        "--threshold",
        "2",
    ]);
    insta::assert_snapshot!("unsigned", bench.qiji(&["verify", "demo.qiji", "--trust", "p.json"]));
    insta::assert_snapshot!(
        "first_signature",
        bench.qiji(&["sign", "demo.qiji", "--key", "a", "--output", "signed.qiji"])
    );
    insta::assert_snapshot!("one_of_two", bench.qiji(&["verify", "signed.qiji", "--trust", "p.json"]));
    insta::assert_snapshot!("second_signature", bench.qiji(&["sign", "signed.qiji", "--key", "b"]));
    insta::assert_snapshot!("two_of_two", bench.qiji(&["verify", "signed.qiji", "--trust", "p.json"]));
    insta::assert_snapshot!(
        "by_keys",
        bench.qiji(&["verify", "signed.qiji", "--trust", "a.pub", "--trust", "c.pub", "--threshold", "2"])
    );
    insta::assert_snapshot!("still_unsigned", bench.qiji(&["verify", "demo.qiji", "--trust", "a.pub"]));
    insta::assert_snapshot!("nothing_trusted", bench.qiji(&["verify", "signed.qiji"]));
}

#[test]
fn keys_with_passphrases_of_their_own() {
    let bench = Bench::with_keys();
    bench.write("other-passphrase", b"another\n");
    bench.qiji(&["keygen", "--output", "d", "--passphrase-file", "other-passphrase"]);
    bench.bundle("demo.qiji", &release("1.0.0", "enterprise"));
    let sign = |files: &[&str]| {
        let files = files.iter().flat_map(|file| ["--passphrase-file", file]);
        bench.qiji(
            &[&["sign", "demo.qiji", "--key", "a", "--key", "d"][..], &files.collect::<Vec<_>>()].concat(),
        )
    };
    insta::assert_snapshot!("wrong_passphrase", sign(&["passphrase"]));
    assert!(sign(&["passphrase", "other-passphrase"]).starts_with("status 0\n"));
}

#[test]
fn the_trusted_edition_needs_sm2() {
    let bench = Bench::with_keys();
    bench.bundle("demo.qiji", &release("1.0.0", "trusted"));
    bench.qiji(&["sign", "demo.qiji", "--key", "a", "--key", "c"]);
    insta::assert_snapshot!(
        "trusted_without_sm2",
        bench.qiji(&["verify", "demo.qiji", "--trust", "a.pub", "--trust", "b.pub"])
    );
    bench.qiji(&["sign", "demo.qiji", "--key", "b"]);
    assert!(
        bench
            .qiji(&["verify", "demo.qiji", "--trust", "a.pub", "--trust", "b.pub"])
            .starts_with("status 0\n")
    );
}

#[test]
fn a_channel_that_the_policy_does_not_allow() {
    let bench = Bench::with_keys();
    let mut spec = release("1.0.0", "enterprise");
    spec.channel = "candidate".to_owned();
    bench.bundle("demo.qiji", &spec);
    bench.qiji(&["sign", "demo.qiji", "--key", "a"]);
    bench.qiji(&["policy", "init", "--output", "p.json", "--key", "build=a.pub", "--channel", "stable"]);
    insta::assert_snapshot!(bench.qiji(&["verify", "demo.qiji", "--trust", "p.json"]));
}

#[test]
fn a_policy_is_changed_by_its_old_keys_only() {
    let bench = Bench::with_keys();
    let init = ["policy", "init", "--output", "p.json", "--key", "build=a.pub", "--key", "audit=b.pub"];
    insta::assert_snapshot!("policy_init", bench.qiji(&[&init[..], &["--threshold", "2"]].concat()));
    insta::assert_snapshot!("policy_again", bench.qiji(&init));
    let change =
        ["policy", "propose", "p.json", "--output", "q.json", "--remove-key", "build", "--key", "next=c.pub"];
    insta::assert_snapshot!("policy_propose", bench.qiji(&change));
    insta::assert_snapshot!("policy_by_a_new_key", bench.qiji(&["sign", "q.json", "--key", "c"]));
    insta::assert_snapshot!("policy_by_one_of_two", bench.qiji(&["sign", "q.json", "--key", "a"]));
    insta::assert_snapshot!("policy_not_in_force", bench.qiji(&["policy", "show", "q.json"]));
    bench.bundle("demo.qiji", &release("1.0.0", "enterprise"));
    bench.qiji(&["sign", "demo.qiji", "--key", "b", "--key", "c"]);
    insta::assert_snapshot!(
        "policy_not_to_be_used",
        bench.qiji(&["verify", "demo.qiji", "--trust", "q.json"])
    );
    assert!(bench.qiji(&["sign", "q.json", "--key", "b"]).starts_with("status 0\n"));
    insta::assert_snapshot!("policy_in_force", bench.qiji(&["policy", "show", "q.json"]));
    assert!(bench.qiji(&["verify", "demo.qiji", "--trust", "q.json"]).starts_with("status 0\n"));
    assert!(bench.qiji(&["verify", "demo.qiji", "--trust", "p.json"]).starts_with("status 4\n"));
}

#[test]
fn a_policy_with_faults_tells_them_all() {
    let bench = Bench::with_keys();
    let init = [
        "policy",
        "init",
        "--output",
        "p.json",
        "--key",
        "one=a.pub",
        "--key",
        "two=a.pub",
        "--threshold",
        "3",
    ];
    let more = ["--edition", "trusted=sm2", "--channel", "No Such"];
    insta::assert_snapshot!(bench.qiji(&[&init[..], &more].concat()));
}

#[test]
fn an_older_bundle_is_refused_unless_it_is_told_by_name() {
    let bench = Bench::with_keys();
    for version in ["1.9.0", "1.10.0"] {
        let file = format!("{version}.qiji");
        bench.bundle(&file, &release(version, "community"));
        bench.qiji(&["sign", &file, "--key", "a"]);
    }
    bench.has_accepted("1.10.0.qiji", "a");
    let plan = |more: &[&str]| {
        bench.qiji(&[&["plan", "1.9.0.qiji", "--state", "state", "--trust", "a.pub"], more].concat())
    };
    insta::assert_snapshot!("older", plan(&[]));
    insta::assert_snapshot!("older_by_another_name", plan(&["--accept-older", "1.8.0"]));
    // Taken: it comes as far as the hosts, of which there are none.
    insta::assert_snapshot!("older_by_name", plan(&["--accept-older", "1.9.0"]));
}

#[test]
fn what_a_site_holds_to_is_not_put_aside_by_a_key_on_the_command_line() {
    let bench = Bench::with_keys();
    bench.bundle("1.0.0.qiji", &release("1.0.0", "community"));
    bench.qiji(&["sign", "1.0.0.qiji", "--key", "a"]);
    bench.has_accepted("1.0.0.qiji", "a");
    bench.bundle("1.1.0.qiji", &release("1.1.0", "community"));
    bench.qiji(&["sign", "1.1.0.qiji", "--key", "c"]);
    let plan = |file: &str, more: &[&str]| bench.qiji(&[&["plan", file, "--state", "state"], more].concat());
    insta::assert_snapshot!("only_the_new_key", plan("1.1.0.qiji", &["--trust", "c.pub"]));
    bench.qiji(&["policy", "init", "--output", "other.json", "--key", "mine=c.pub"]);
    insta::assert_snapshot!("another_policy", plan("1.1.0.qiji", &["--trust", "other.json"]));
    insta::assert_snapshot!(
        "export",
        bench.qiji(&["policy", "export", "quickstart", "--state", "state", "--output", "own.json"])
    );
    insta::assert_snapshot!(
        "export_unknown",
        bench.qiji(&["policy", "export", "other", "--state", "state", "--output", "x.json"])
    );
    let name = bench.public("a").id().short();
    bench.qiji(&["policy", "propose", "own.json", "--remove-key", &name, "--key", "next=c.pub"]);
    bench.qiji(&["sign", "own.json", "--key", "a"]);
    assert!(
        plan("1.1.0.qiji", &["--trust", "own.json"]).starts_with("status 1\n"),
        "it comes as far as the hosts"
    );
    insta::assert_snapshot!("the_sites_own_is_enough", plan("1.0.0.qiji", &[]));
}
