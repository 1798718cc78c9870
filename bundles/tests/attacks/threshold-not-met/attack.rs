use qiji_bundle::{KeyKind, SigningKey, TrustedKeys};

use crate::fixture::join;
use crate::victim::Victim;
use crate::{forge, pen};

#[test]
fn of_three_keys() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let keys = [KeyKind::Ed25519, KeyKind::Sm2, KeyKind::Ed25519]
        .map(|kind| SigningKey::generate_kind(kind).unwrap());
    for threshold in 1..=3 {
        let trusted = TrustedKeys::new(keys.iter().map(SigningKey::public), threshold).unwrap();
        for count in 0..=3 {
            let signers: Vec<_> = keys[..count].iter().collect();
            let envelope = pen::sealed(&pen::statement(&members), &signers);
            let bytes = join(&pen::resign(&members, envelope.as_bytes()));
            if count >= threshold {
                victim.verify_by(&bytes, &trusted).unwrap();
                continue;
            }
            let refusal = victim.refuses_by(&bytes, &trusted);
            match count {
                0 => refusal.untrustworthy("the bundle is not signed"),
                _ => refusal
                    .untrustworthy(&format!("{count} of the {threshold} needed signatures by trusted keys")),
            }
        }
    }
}
