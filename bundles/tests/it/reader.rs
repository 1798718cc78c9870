//! The specification is enough: `docs/bundle-reader.py`, which was written from it alone, takes what qiji writes and refuses what qiji refuses.

use std::path::{Path, PathBuf};
use std::process::Command;

use qiji_bundle::{KeyKind, SigningKey, write};

use crate::fixture::{Bench, join, sample, split};

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bundle-reader.py");

/// Exit status and all that is printed.
pub(crate) fn read(bundle: &Path, keys: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new("python3").arg(READER).arg(bundle).args(keys).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// A bundle that is signed by a key of each kind, with the keys.
fn signed(bench: &Bench) -> (Vec<u8>, [PathBuf; 2]) {
    let (spec, store) = sample();
    let keys = KeyKind::ALL.map(|kind| SigningKey::generate_kind(kind).unwrap());
    let paths = KeyKind::ALL.map(|kind| bench.path(&format!("{kind}.pub")));
    for (key, path) in keys.iter().zip(&paths) {
        fs_err::write(path, key.public().to_pem()).unwrap();
    }
    let file = bench.path("signed.qiji");
    write(&spec, &store, &[&keys[0], &keys[1]], &file, &mut |_| ()).unwrap();
    (fs_err::read(file).unwrap(), paths)
}

#[test]
fn it_takes_what_is_written() {
    let bench = Bench::new();
    let (bytes, [ed25519, sm2]) = signed(&bench);
    let file = bench.path("given.qiji");
    fs_err::write(&file, bytes).unwrap();
    let (status, text) = read(&file, &[&ed25519, &sm2]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.starts_with("demo 1.2.3 holds\n"), "{text}");
    for name in ["image qiji.local/etcd:3.7.3-0 (arm64)", "application/vnd.qiji.document.v1 site.lock"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn it_refuses_what_is_changed() {
    let bench = Bench::new();
    let (good, [ed25519, sm2]) = signed(&bench);
    let file = bench.path("given.qiji");
    let status = |bytes: &[u8], keys: &[&Path]| {
        fs_err::write(&file, bytes).unwrap();
        read(&file, keys)
    };
    for at in (0..good.len()).step_by(good.len() / 40).chain([good.len() - 1, good.len() - 1_025]) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let (found, text) = status(&bad, &[&ed25519, &sm2]);
        assert_eq!(found, Some(4), "byte {at}: {text}");
    }
    let mut swapped = split(&good);
    swapped.swap(0, 1);
    let mut extra = split(&good);
    extra.insert(0, ("../etc/passwd".to_owned(), b"x".to_vec()));
    let cut = good[..good.len() - 512].to_vec();
    for bad in [join(&swapped), join(&extra), cut, [&good[..], b"more"].concat()] {
        assert_eq!(status(&bad, &[&ed25519]).0, Some(4));
    }
    assert_eq!(status(b"hello", &[&ed25519]).0, Some(2));
    let other = bench.path("other.pub");
    fs_err::write(&other, SigningKey::generate().unwrap().public().to_pem()).unwrap();
    let (found, text) = status(&good, &[&other]);
    assert!(found == Some(4) && text.contains("has not signed"), "{text}");
}
