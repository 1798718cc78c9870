use qiji_bundle::{KeyKind, Policy, SigningKey, TrustedKeys};

use crate::fixture::sample;
use crate::victim::Victim;

#[test]
fn for_the_trusted_edition() {
    let victim = Victim::new();
    let (mut spec, store) = sample();
    spec.edition = "trusted".to_owned();
    let keys = [KeyKind::Ed25519, KeyKind::Sm2].map(|kind| SigningKey::generate_kind(kind).unwrap());
    let trusted = TrustedKeys::new(keys.iter().map(SigningKey::public), 1).unwrap();
    let path = victim.vendor.path("trusted.qiji");
    for (signers, missing) in [(&keys[..1], Some("sm2")), (&keys[1..], Some("ed25519")), (&keys[..], None)] {
        let signers: Vec<_> = signers.iter().collect();
        qiji_bundle::write(&spec, &store, &signers, &path, &mut |_| ()).unwrap();
        let bytes = fs_err::read(&path).unwrap();
        match missing {
            None => drop(victim.verify_by(&bytes, &trusted).unwrap()),
            Some(kind) => victim
                .refuses_by(&bytes, &trusted)
                .untrustworthy(&format!("edition trusted needs a signature by a trusted key of kind {kind}")),
        }
    }
}

#[test]
fn of_another_channel() {
    let victim = Victim::new();
    let mut policy = Policy::of_keys(&victim.vendor.trusted());
    policy.channels = ["candidate".to_owned()].into();
    let bytes = victim.vendor.sample();
    victim
        .refuses_by(&bytes, &policy.trusted().unwrap())
        .untrustworthy("the bundle is of channel stable, and the policy allows candidate");
}
