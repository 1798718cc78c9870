use qiji_bundle::{KeyKind, SigningKey};

use crate::victim::Victim;
use crate::{forge, pen};

#[test]
fn of_the_vendor() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let vendor = victim.vendor.key.public();
    for kind in [KeyKind::Ed25519, KeyKind::Sm2] {
        let thief = SigningKey::generate_kind(kind).unwrap();
        let envelope = pen::sealed(&pen::statement(&members), &[&thief]);
        let borrowed = pen::in_the_name_of(&envelope, &thief.public(), &vendor);
        let expected = format!("the signature by trusted key {} does not hold", vendor.id());
        victim.refuses_members(&pen::resign(&members, borrowed.as_bytes())).untrustworthy(&expected);
    }
}
