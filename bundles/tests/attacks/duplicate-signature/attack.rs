use qiji_bundle::{SigningKey, TrustedKeys};

use crate::fixture::join;
use crate::victim::Victim;
use crate::{forge, pen};

#[test]
fn does_not_count_twice() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let (key, other) = (victim.vendor.key.public(), SigningKey::generate().unwrap());
    let keys = TrustedKeys::new([key.clone(), other.public()], 2).unwrap();
    let envelope = pen::sealed(&pen::statement(&members), &[&victim.vendor.key]);
    let once = pen::signatures(&envelope);
    let shouted = once.replace(&key.id().to_string(), &key.id().to_string().to_uppercase());
    for (twice, expected) in [
        (format!("{once},{once}"), "not in canonical form"),
        (format!("{shouted},{once}"), "is not 64 hexadecimal digits"),
    ] {
        let bytes = join(&pen::resign(&members, &pen::with_signatures(&envelope, &twice)));
        victim.refuses_by(&bytes, &keys).untrustworthy(expected);
    }
}

#[test]
fn by_a_key_that_is_trusted_twice() {
    let key = SigningKey::generate().unwrap();
    let error = TrustedKeys::new([key.public(), key.public()], 2).unwrap_err();
    assert_eq!(error.to_string(), "2 signatures are asked for, but 1 keys are trusted");
}
