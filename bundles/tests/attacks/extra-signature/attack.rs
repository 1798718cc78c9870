use qiji_bundle::{SigningKey, TrustedKeys};

use crate::fixture::join;
use crate::victim::Victim;
use crate::{forge, pen};

/// The vendor's statement with the vendor's signature and one by `other`, in the name of `name`.
fn with_extra(victim: &Victim, other: &SigningKey, name: &SigningKey) -> Vec<u8> {
    let members = forge::members(&victim.vendor);
    let statement = pen::statement(&members);
    let good = pen::sealed(&statement, &[&victim.vendor.key]);
    let extra = pen::in_the_name_of(&pen::sealed(&statement, &[other]), &other.public(), &name.public());
    let mut both = [pen::signatures(&good), pen::signatures(&extra)];
    both.sort_unstable();
    join(&pen::resign(&members, &pen::with_signatures(&good, &both.join(","))))
}

#[test]
fn in_the_name_of_a_trusted_key() {
    let victim = Victim::new();
    let (thief, trusted) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let bytes = with_extra(&victim, &thief, &trusted);
    let keys = TrustedKeys::new([victim.vendor.key.public(), trusted.public()], 1).unwrap();
    let expected = format!("the signature by trusted key {} does not hold", trusted.public().id());
    victim.refuses_by(&bytes, &keys).untrustworthy(&expected);
}

#[test]
fn by_a_stranger_does_not_count() {
    let victim = Victim::new();
    let (stranger, trusted) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let bytes = with_extra(&victim, &stranger, &stranger);
    victim.verify(&bytes).unwrap();
    let keys = TrustedKeys::new([victim.vendor.key.public(), trusted.public()], 2).unwrap();
    victim.refuses_by(&bytes, &keys).untrustworthy("1 of the 2 needed signatures by trusted keys");
}

#[test]
fn of_another_form() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let (_, envelope) = pen::signature(&members);
    let envelope = String::from_utf8(envelope).unwrap();
    for (from, to) in [
        ("]}", r#"],"x":1}"#),
        (r#""keyid":"#, r#""cert":"","keyid":"#),
        ("]}", r#",{"keyid":"ff","sig":""}]}"#),
        ("]}", r#",{"keyid":"","sig":"AAAA"}]}"#),
        ("]}", "] }"),
    ] {
        let changed = pen::resign(&members, envelope.replacen(from, to, 1).as_bytes());
        victim.refuses_members(&changed).untrustworthy("the signature's envelope is wrong: ");
    }
}

#[test]
fn of_a_second_statement() {
    let victim = Victim::new();
    let mut members = forge::members(&victim.vendor);
    let mut index = forge::index(&members);
    let second = index["manifests"][1].clone();
    index["manifests"].as_array_mut().unwrap().insert(2, second);
    let at = members.len() - 2;
    members[at].1 = serde_json::to_vec(&index).unwrap();
    victim.refuses_members(&members).untrustworthy("index.json is wrong: it does not list");
}
