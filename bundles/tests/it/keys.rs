//! Keys on disk.

use std::os::unix::fs::PermissionsExt as _;

use qiji_bundle::{KeyError, Passphrase, PublicKey, SigningKey, TrustedKeys};

use crate::fixture::Bench;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned()).unwrap()
}

#[test]
fn a_key_is_saved_encrypted_for_its_owner_only_and_loaded_again() {
    let bench = Bench::new();
    let path = bench.path("key");
    let public = bench.key.save(&path, &passphrase("correct horse")).unwrap();
    assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs_err::read_to_string(&path).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    assert_eq!(PublicKey::load(&bench.path("key.pub")).unwrap(), public);
    let loaded = SigningKey::load(&path, &passphrase("correct horse")).unwrap();
    assert_eq!(loaded.public(), public);
    assert!(!format!("{loaded:?} {:?}", passphrase("correct horse")).contains("horse"));
}

#[test]
fn a_wrong_passphrase_is_told_apart_from_a_broken_file() {
    let bench = Bench::new();
    let path = bench.path("key");
    bench.key.save(&path, &passphrase("right")).unwrap();
    let wrong = SigningKey::load(&path, &passphrase("wrong")).unwrap_err();
    assert!(matches!(wrong, KeyError::WrongPassphrase(_)), "{wrong}");
    fs_err::write(
        &path,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let broken = SigningKey::load(&path, &passphrase("right")).unwrap_err();
    assert!(matches!(broken, KeyError::NotAKey { .. }), "{broken}");
    let public = SigningKey::load(&bench.path("key.pub"), &passphrase("right")).unwrap_err();
    assert!(matches!(public, KeyError::NotAKey { .. }), "{public}");
    assert!(matches!(PublicKey::load(&path).unwrap_err(), KeyError::NotAKey { .. }));
}

#[test]
fn no_key_is_overwritten() {
    let bench = Bench::new();
    let path = bench.path("key");
    fs_err::write(bench.path("key.pub"), "mine").unwrap();
    let error = bench.key.save(&path, &passphrase("x")).unwrap_err();
    assert!(matches!(error, KeyError::Exists(_)), "{error}");
    assert!(!path.exists(), "a private key without its public half was left behind");
    fs_err::remove_file(bench.path("key.pub")).unwrap();
    bench.key.save(&path, &passphrase("x")).unwrap();
    let before = fs_err::read(&path).unwrap();
    assert!(matches!(bench.key.save(&path, &passphrase("x")).unwrap_err(), KeyError::Exists(_)));
    assert_eq!(fs_err::read(&path).unwrap(), before);
}

#[test]
fn a_passphrase_is_never_empty() {
    let bench = Bench::new();
    assert!(matches!(Passphrase::new(String::new()), Err(KeyError::EmptyPassphrase)));
    let file = bench.path("passphrase");
    fs_err::write(&file, "\n").unwrap();
    assert!(matches!(Passphrase::from_file(&file), Err(KeyError::EmptyPassphrase)));
    fs_err::write(&file, "first line\r\nsecond\n").unwrap();
    bench.key.save(&bench.path("key"), &Passphrase::from_file(&file).unwrap()).unwrap();
    SigningKey::load(&bench.path("key"), &passphrase("first line")).unwrap();
}

#[test]
fn a_threshold_must_be_reachable_by_different_keys() {
    let key = SigningKey::generate().unwrap().public();
    assert!(TrustedKeys::new([key.clone()], 0).is_err());
    assert!(TrustedKeys::new([key.clone(), key.clone()], 2).is_err());
    assert!(TrustedKeys::new([key], 1).is_ok());
}
