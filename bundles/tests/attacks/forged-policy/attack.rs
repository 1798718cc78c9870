use qiji_bundle::{Class, Policy, PolicyFile, SigningKey, SiteTrust, TrustedKeys};

fn keys<const N: usize>() -> [SigningKey; N] {
    std::array::from_fn(|_| SigningKey::generate().unwrap())
}

fn policy(keys: &[&SigningKey]) -> Policy {
    Policy::of_keys(&TrustedKeys::new(keys.iter().map(|key| key.public()), keys.len()).unwrap())
}

/// A change from a policy of `old` keys to one of `new` keys, with these signatures.
fn change(old: &[&SigningKey], new: &[&SigningKey], signers: &[&SigningKey]) -> PolicyFile {
    let mut file = PolicyFile::first(policy(old)).unwrap();
    file.propose(policy(new)).unwrap();
    file.sign(signers).unwrap();
    file
}

/// A file with the signatures of its last change exchanged for those of another file's.
fn with_signatures_of(file: &PolicyFile, other: &PolicyFile) -> PolicyFile {
    let value = |file: &PolicyFile| serde_json::from_str::<serde_json::Value>(&file.to_text()).unwrap();
    let mut mixed = value(file);
    mixed["changes"][0]["signatures"] = value(other)["changes"][0]["signatures"].clone();
    PolicyFile::parse(mixed.to_string().as_bytes()).unwrap()
}

#[test]
fn leaves_the_site_with_its_own() {
    let [one, two, evil] = keys();
    let site_policy = PolicyFile::first(policy(&[&one, &two])).unwrap();
    let mut site = SiteTrust::default();
    site.adopt("this site", "policy.json", site_policy.clone()).unwrap();
    let own_history = change(&[&evil], &[&evil], &[&evil]);
    let too_few = change(&[&one, &two], &[&evil], &[&one]);
    let unsigned = change(&[&one, &two], &[&evil], &[]);
    let by_new_keys = with_signatures_of(&unsigned, &own_history);
    let honest = change(&[&one, &two], &[&one], &[&one, &two]);
    let moved = with_signatures_of(&unsigned, &honest);
    for (forged, expected) in [
        (too_few, "policy.json"),
        (unsigned, "policy.json"),
        (by_new_keys, "policy.json"),
        (moved, "policy.json"),
        (own_history, "does not go on from the policy of this site"),
    ] {
        let error = site.adopt("this site", "policy.json", forged).unwrap_err();
        assert_eq!((error.class(), error.class().exit_status()), (Class::Untrustworthy, 4), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(site.policy.as_ref(), Some(&site_policy));
    }
    site.adopt("this site", "policy.json", honest.clone()).unwrap();
    assert_eq!(site.policy, Some(honest));
}

#[test]
fn names_the_version_that_is_not_signed() {
    let [one, two, evil] = keys();
    let error = change(&[&one, &two], &[&evil], &[&one]).trusted().unwrap_err();
    assert_eq!(error.class(), Class::Untrustworthy);
    let text = error.to_string();
    assert!(text.contains("version 2 of the policy is not signed by the keys of version 1"), "{text}");
    assert!(text.contains("1 of the 2 needed signatures by trusted keys"), "{text}");
}
