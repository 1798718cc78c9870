//! The commands of `docs/verify-without-qiji.md`, run as they stand there.

use std::path::Path;
use std::process::Command;

use qiji_bundle::{KeyKind, SigningKey, write};

use crate::fixture::{Bench, sample};

const PAGE: &str = include_str!("../../../docs/verify-without-qiji.md");

/// The page's commands, but for those of sections whose heading has one of these words.
fn commands(without: &[&str]) -> String {
    let sections = PAGE.split("\n## ").filter(|section| {
        let heading = section.lines().next().unwrap();
        !without.iter().any(|word| heading.contains(word))
    });
    let blocks = sections.flat_map(|section| section.split("```sh\n").skip(1));
    blocks.map(|block| block.split_once("```").unwrap().0).collect()
}

/// Whether all commands but those of some sections end well, and what they print.
fn check(without: &[&str], file: &Path, ed25519: &Path, sm2: &Path, scratch: &Path) -> (bool, String) {
    let output = Command::new("bash")
        .args(["-eu", "-o", "pipefail", "-c", &commands(without)])
        .env("FILE", file)
        .env("ED25519_KEY", ed25519)
        .env("SM2_KEY", sm2)
        .env("TMPDIR", scratch)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), text)
}

#[test]
fn openssl_checks_a_bundle_by_both_kinds_of_key() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let keys = KeyKind::ALL.map(|kind| SigningKey::generate_kind(kind).unwrap());
    let file = bench.path("demo-1.2.3.qiji");
    write(&spec, &store, &[&keys[0], &keys[1]], &file, &mut |_| ()).unwrap();
    let good = fs_err::read(&file).unwrap();
    for (name, key) in [("ed25519.pub", &keys[0]), ("sm2.pub", &keys[1])] {
        fs_err::write(bench.path(name), key.public().to_pem()).unwrap();
    }
    let check = |bytes: &[u8], ed25519: &str, sm2: &str| {
        fs_err::write(&file, bytes).unwrap();
        check(&["cosign"], &file, &bench.path(ed25519), &bench.path(sm2), bench.folder.path())
    };
    let (held, text) = check(&good, "ed25519.pub", "sm2.pub");
    assert!(held && text.matches("Signature Verified Successfully").count() == 2, "{text}");
    assert!(text.contains("qiji.local/etcd:3.7.3-0") && text.contains("site \"demo\""), "{text}");

    let mut damaged = good.clone();
    let at = damaged.windows(14).position(|window| window == b"etcd for amd64").unwrap();
    damaged[at] ^= 1;
    let (held, text) = check(&damaged, "ed25519.pub", "sm2.pub");
    assert!(!held && text.contains("FAILED"), "{text}");

    for kind in KeyKind::ALL {
        let other = SigningKey::generate_kind(kind).unwrap();
        fs_err::write(bench.path("other.pub"), other.public().to_pem()).unwrap();
        let (held, text) = match kind {
            KeyKind::Ed25519 => check(&good, "other.pub", "sm2.pub"),
            KeyKind::Sm2 => check(&good, "ed25519.pub", "other.pub"),
        };
        assert!(!held, "{text}");
    }
}

#[test]
#[ignore = "needs cosign on the path, which `cargo xtask test --all` builds"]
fn cosign_checks_a_bundle() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let keys = KeyKind::ALL.map(|kind| SigningKey::generate_kind(kind).unwrap());
    let file = bench.path("demo-1.2.3.qiji");
    write(&spec, &store, &[&keys[0], &keys[1]], &file, &mut |_| ()).unwrap();
    let other = SigningKey::generate().unwrap();
    for (name, key) in [("ed25519.pub", &keys[0]), ("sm2.pub", &keys[1]), ("other.pub", &other)] {
        fs_err::write(bench.path(name), key.public().to_pem()).unwrap();
    }
    let check =
        |ed25519: &str| check(&[], &file, &bench.path(ed25519), &bench.path("sm2.pub"), bench.folder.path());
    let (held, text) = check("ed25519.pub");
    assert!(held && text.matches("Verified OK").count() == 2, "{text}");
    // Another key's id in the envelope gets its holder past `sig`, but not past cosign.
    let commands =
        commands(&["openssl"]).replace("sig \"$ED25519_KEY\"", "jq -r .signatures[0].sig \"$envelope\"");
    let output = Command::new("bash")
        .args(["-eu", "-o", "pipefail", "-c", &commands])
        .env("FILE", &file)
        .env("ED25519_KEY", bench.path("other.pub"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("failed to verify signature"), "{text}");
}
