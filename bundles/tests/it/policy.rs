//! Policies: what they ask of bundles, and how they change.

use qiji_bundle::{
    Class, KeyKind, Policy, PolicyError, PolicyFile, SigningKey, SiteTrust, Standing, TrustError,
    TrustedKeys, Untrusted, write,
};

use crate::fixture::{Bench, sample};

fn keys() -> [SigningKey; 4] {
    [KeyKind::Ed25519, KeyKind::Sm2, KeyKind::Ed25519, KeyKind::Sm2]
        .map(|kind| SigningKey::generate_kind(kind).unwrap())
}

fn policy(keys: &[&SigningKey], threshold: usize) -> Policy {
    Policy::of_keys(&TrustedKeys::new(keys.iter().map(|key| key.public()), threshold).unwrap())
}

/// A policy of two old keys, both needed, and a change to two new ones, signed by `signers`.
fn changed(old: &[&SigningKey], new: &[&SigningKey], signers: &[&SigningKey]) -> PolicyFile {
    let mut file = PolicyFile::first(policy(old, old.len())).unwrap();
    file.propose(policy(new, 1)).unwrap();
    file.sign(signers).unwrap();
    file
}

#[test]
fn a_policy_says_which_kinds_and_channels_are_needed() {
    let bench = Bench::new();
    let [ed25519, sm2, ..] = keys();
    let (spec, store) = sample();
    let path = bench.path("sample.qiji");
    write(&spec, &store, &[&ed25519], &path, &mut |_| ()).unwrap();
    let verify = |policy: &Policy| {
        let trusted = policy.trusted().unwrap();
        Untrusted::open(&path)
            .unwrap()
            .verify(&trusted, &mut |_| ())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let mut policy = policy(&[&ed25519, &sm2], 1);
    verify(&policy).unwrap();
    policy.channels = ["candidate".to_owned(), "stable".to_owned()].into();
    verify(&policy).unwrap();
    policy.channels.remove("stable");
    let error = verify(&policy).unwrap_err();
    assert!(error.contains("is of channel stable, and the policy allows candidate"), "{error}");
    policy.channels.clear();
    policy.editions.insert("enterprise".to_owned(), [KeyKind::Sm2].into());
    assert!(
        verify(&policy)
            .unwrap_err()
            .contains("edition enterprise needs a signature by a trusted key of kind sm2")
    );
}

#[test]
fn a_file_comes_back_and_tells_all_of_its_faults() {
    let [one, two, three, _] = keys();
    let file = changed(&[&one, &two], &[&three], &[&one, &two]);
    assert_eq!(PolicyFile::parse(file.to_text().as_bytes()).unwrap(), file);
    assert!(file.to_string().starts_with("policy version 2, 1 of 1 keys\n"), "{file}");

    let mut bad = policy(&[&one], 1);
    bad.threshold = 2;
    bad.channels = ["no such".to_owned()].into();
    bad.editions.insert("trusted".to_owned(), [KeyKind::Sm2].into());
    bad.keys.insert("../x".to_owned(), one.public().into());
    bad.keys.values_mut().for_each(|key| key.kind = KeyKind::Sm2);
    bad.threshold = 3;
    let Err(PolicyError::Malformed(faults)) = PolicyFile::first(bad) else { panic!("it was taken") };
    assert_eq!(faults.len(), 7, "{faults:#?}");
    for text in ["", "{}", "[]", r#"{"policy":1}"#] {
        assert_eq!(PolicyFile::parse(text.as_bytes()).unwrap_err().class(), Class::Malformed);
    }
}

#[test]
fn a_change_needs_enough_of_the_old_keys() {
    let [one, two, three, _] = keys();
    let trusted = |file: &PolicyFile| file.trusted();
    let full = changed(&[&one, &two], &[&three], &[&one, &two]);
    assert_eq!(trusted(&full).unwrap().ids(), [three.public().id()]);
    assert_eq!(full.signers().len(), 2);
    for signers in [&[][..], &[&one][..], &[&two][..]] {
        let error = trusted(&changed(&[&one, &two], &[&three], signers)).unwrap_err();
        assert_eq!(error.class(), Class::Untrustworthy, "{error}");
        assert!(
            error.to_string().contains("version 2 of the policy is not signed by the keys of version 1"),
            "{error}"
        );
    }
}

#[test]
fn new_keys_cannot_bring_themselves_in() {
    let [one, two, three, four] = keys();
    let mut file = PolicyFile::first(policy(&[&one, &two], 2)).unwrap();
    file.propose(policy(&[&three, &four], 1)).unwrap();
    assert!(matches!(file.sign(&[&three, &four]), Err(PolicyError::Order(_))));
    // Not by way of the file either: the same change with signatures from a history of the attacker's own.
    let mut own = PolicyFile::first(policy(&[&three, &four], 1)).unwrap();
    let mut wanted = file.last();
    own.propose(policy(&[&three, &four], 1)).unwrap();
    own.sign(&[&three, &four]).unwrap();
    wanted.threshold = 2;
    let forged: serde_json::Value = serde_json::from_str(&own.to_text()).unwrap();
    let mut text: serde_json::Value = serde_json::from_str(&file.to_text()).unwrap();
    text["changes"][0]["signatures"] = forged["changes"][0]["signatures"].clone();
    let mixed = PolicyFile::parse(text.to_string().as_bytes()).unwrap();
    assert_eq!(mixed.trusted().unwrap_err().class(), Class::Untrustworthy);
    text["changes"][0] = forged["changes"][0].clone();
    let error = PolicyFile::parse(text.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("version 2 does not follow on version 1"), "{error}");
}

#[test]
fn nothing_is_built_on_a_change_that_is_not_in_force() {
    let [one, two, three, four] = keys();
    let mut file = changed(&[&one, &two], &[&three], &[&one]);
    assert!(matches!(file.propose(policy(&[&four], 1)), Err(PolicyError::Refused { version: 2, .. })));
    file.sign(&[&two]).unwrap();
    file.propose(policy(&[&four], 1)).unwrap();
    file.sign(&[&three]).unwrap();
    assert_eq!(file.trusted().unwrap().ids(), [four.public().id()]);
    assert_eq!(file.last().version, 3);
}

#[test]
fn a_site_takes_only_what_goes_on_from_its_own_policy() {
    let [one, two, three, four] = keys();
    let first = PolicyFile::first(policy(&[&one, &two], 2)).unwrap();
    let change = changed(&[&one, &two], &[&three], &[&one, &two]);
    assert_eq!(change.standing(&first), Standing::Newer);
    assert_eq!(first.standing(&change), Standing::Older);
    let mut site = SiteTrust::default();
    site.adopt("site", "file", first.clone()).unwrap();
    let unsigned = changed(&[&one, &two], &[&four], &[&one]);
    assert!(matches!(site.adopt("site", "file", unsigned), Err(TrustError::Policy { .. })));
    let other = PolicyFile::first(policy(&[&four], 1)).unwrap();
    let error = site.adopt("site", "file", other).unwrap_err();
    assert_eq!(error.class(), Class::Untrustworthy, "{error}");
    site.adopt("site", "file", change.clone()).unwrap();
    site.adopt("site", "file", first).unwrap();
    assert_eq!(site.policy, Some(change), "an older policy changes nothing");
}
