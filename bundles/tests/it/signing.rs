//! Signing apart from building, by several parties and by keys of both kinds.

use qiji_bundle::{
    BundleSpec, Class, KeyKind, SigningKey, TrustedKeys, Untrusted, Verified, VerifyError, sign, write,
};

use crate::fixture::{Bench, Store, sample};

fn key(kind: KeyKind) -> SigningKey {
    SigningKey::generate_kind(kind).unwrap()
}

/// The sample, written unsigned and then signed by each key in its turn.
fn signed_in_turn(bench: &Bench, spec: &BundleSpec, store: &Store, keys: &[&SigningKey]) -> Vec<u8> {
    let path = bench.path("turns.qiji");
    write(spec, store, &[], &path, &mut |_| ()).unwrap();
    for key in keys {
        let whole = Untrusted::open(&path).unwrap().check_bytes(&mut |_| ()).unwrap();
        sign(&whole, &[key], &path, &mut |_| ()).unwrap();
    }
    fs_err::read(path).unwrap()
}

fn verify(
    bench: &Bench,
    bytes: &[u8],
    keys: &[&SigningKey],
    threshold: usize,
) -> Result<Verified, VerifyError> {
    let path = bench.path("verified.qiji");
    fs_err::write(&path, bytes).unwrap();
    let trusted = TrustedKeys::new(keys.iter().map(|key| key.public()), threshold).unwrap();
    Untrusted::open(&path)?.verify(&trusted, &mut |_| ())
}

fn refused(result: Result<Verified, VerifyError>, expected: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.class(), Class::Untrustworthy, "{error}");
    assert!(error.to_string().contains(expected), "`{error}` does not say `{expected}`");
}

#[test]
fn signed_later_and_by_turns_gives_the_bytes_of_signed_at_once() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let (ed25519, sm2) = (key(KeyKind::Ed25519), key(KeyKind::Sm2));
    let at_once = bench.path("at-once.qiji");
    write(&spec, &store, &[&ed25519, &sm2], &at_once, &mut |_| ()).unwrap();
    let at_once = fs_err::read(at_once).unwrap();
    assert!(at_once == signed_in_turn(&bench, &spec, &store, &[&ed25519, &sm2]));
    assert!(at_once == signed_in_turn(&bench, &spec, &store, &[&sm2, &ed25519]));
    assert!(at_once == signed_in_turn(&bench, &spec, &store, &[&sm2, &ed25519, &sm2]));
    let bundle = verify(&bench, &at_once, &[&ed25519, &sm2], 2).unwrap();
    assert_eq!(bundle.signers().len(), 2);
    assert_eq!((bundle.edition(), bundle.channel()), ("enterprise", "stable"));
}

#[test]
fn an_unsigned_bundle_is_whole_but_never_verified() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let bytes = signed_in_turn(&bench, &spec, &store, &[]);
    refused(verify(&bench, &bytes, &[&bench.key], 1), "the bundle is not signed");
}

#[test]
fn nobody_signs_what_is_damaged() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let mut bytes = signed_in_turn(&bench, &spec, &store, &[]);
    let at = bytes.windows(14).position(|window| window == b"etcd for amd64").unwrap();
    bytes[at] ^= 1;
    let path = bench.path("damaged.qiji");
    fs_err::write(&path, &bytes).unwrap();
    let error = Untrusted::open(&path).unwrap().check_bytes(&mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("is damaged, in bytes"), "{error}");
}

#[test]
fn the_trusted_edition_needs_both_kinds() {
    let bench = Bench::new();
    let (mut spec, store) = sample();
    spec.edition = "trusted".to_owned();
    let (ed25519, second, sm2) = (key(KeyKind::Ed25519), key(KeyKind::Ed25519), key(KeyKind::Sm2));
    let both = signed_in_turn(&bench, &spec, &store, &[&ed25519, &sm2]);
    verify(&bench, &both, &[&ed25519, &sm2], 1).unwrap();
    // An SM2 signature is there, but nobody here trusts its key.
    refused(
        verify(&bench, &both, &[&ed25519, &second], 1),
        "edition trusted needs a signature by a trusted key of kind sm2",
    );
    let two_of_a_kind = signed_in_turn(&bench, &spec, &store, &[&ed25519, &second]);
    refused(verify(&bench, &two_of_a_kind, &[&ed25519, &second, &sm2], 2), "of kind sm2");
    let other_kind = signed_in_turn(&bench, &spec, &store, &[&sm2]);
    refused(verify(&bench, &other_kind, &[&ed25519, &sm2], 1), "of kind ed25519");
}

#[test]
fn an_sm2_key_alone_can_vouch_for_other_editions() {
    let bench = Bench::new();
    let (mut spec, store) = sample();
    let sm2 = key(KeyKind::Sm2);
    for edition in ["", "community", "enterprise"] {
        edition.clone_into(&mut spec.edition);
        let bytes = signed_in_turn(&bench, &spec, &store, &[&sm2]);
        verify(&bench, &bytes, &[&sm2], 1).unwrap();
    }
}

#[test]
fn a_bundle_can_be_held_to_other_keys_without_being_read_again() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let (ed25519, sm2) = (key(KeyKind::Ed25519), key(KeyKind::Sm2));
    let bytes = signed_in_turn(&bench, &spec, &store, &[&ed25519, &sm2]);
    let bundle = verify(&bench, &bytes, &[&ed25519], 1).unwrap();
    let held = |keys: &[&SigningKey]| {
        bundle.hold_to(&TrustedKeys::new(keys.iter().map(|key| key.public()), 1).unwrap())
    };
    assert_eq!(held(&[&sm2]).unwrap(), [sm2.public().id()]);
    assert_eq!(held(&[&bench.key]).unwrap_err().class(), Class::Untrustworthy);
}

#[test]
fn names_of_editions_and_channels_are_checked_before_anything_is_written() {
    let bench = Bench::new();
    let (mut spec, store) = sample();
    spec.edition = "../x".to_owned();
    spec.channel = "a b".to_owned();
    let error = write(&spec, &store, &[], &bench.path("x"), &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("edition `../x`") && error.contains("channel `a b`"), "{error}");
}
