use qiji_bundle::{Policy, SigningKey, TrustedKeys};

use crate::fixture::Bench;
use crate::forge;
use crate::victim::Victim;

#[test]
fn of_another_vendor() {
    let victim = Victim::new();
    let other = Bench::new();
    let refusal = victim.refuses(&other.sample());
    for key in [victim.vendor.key.public(), other.key.public()] {
        refusal.untrustworthy(&key.id().to_string());
    }
    refusal.untrustworthy("0 of the 1 needed signatures by trusted keys");
    assert!(refusal.hint().contains("--trust"), "{}", refusal.hint());
}

#[test]
fn that_a_policy_does_not_list() {
    let victim = Victim::new();
    let listed = [SigningKey::generate().unwrap(), SigningKey::generate().unwrap()];
    let keys = TrustedKeys::new(listed.iter().map(SigningKey::public), 1).unwrap();
    let trusted = Policy::of_keys(&keys).trusted().unwrap();
    let bytes = crate::fixture::join(&forge::members(&victim.vendor));
    victim.refuses_by(&bytes, &trusted).untrustworthy("0 of the 1 needed signatures by trusted keys");
}
