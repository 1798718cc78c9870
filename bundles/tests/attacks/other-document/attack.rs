use qiji_bundle::{Class, SigningKey, TrustedKeys, open_envelope, seal};

#[test]
fn of_another_type_or_by_a_stranger() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let sealed = seal("application/json", b"{}", &[&key]);
    let trust = |key: &SigningKey| TrustedKeys::new([key.public()], 1).unwrap();
    let open = |kind, trusted| open_envelope(&sealed, kind, &trusted);
    assert_eq!(open("application/json", trust(&key)).unwrap(), b"{}");
    for fault in [
        open("application/json", trust(&other)).unwrap_err(),
        open("text/plain", trust(&key)).unwrap_err(),
        open("application/vnd.in-toto+json", trust(&key)).unwrap_err(),
    ] {
        assert_eq!(fault.class(), Class::Untrustworthy, "{fault}");
    }
    assert!(open("text/plain", trust(&key)).unwrap_err().to_string().contains("application/json"));
}
