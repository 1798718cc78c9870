use crate::victim::Victim;
use crate::{forge, pen};

#[test]
fn with_its_statement() {
    let victim = Victim::new();
    let mut members = forge::members(&victim.vendor);
    let (manifest, envelope) = pen::signature(&members);
    let mut index = forge::index(&members);
    index["manifests"].as_array_mut().unwrap().remove(1);
    forge::remove(&mut members, &manifest);
    forge::remove(&mut members, &envelope);
    let at = members.len() - 2;
    members[at].1 = serde_json::to_vec(&index).unwrap();
    victim.refuses_members(&members).untrustworthy("index.json is wrong: it names no statement");
}

#[test]
fn of_every_key() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let envelope = pen::sealed(&pen::statement(&members), &[]);
    let unsigned = pen::resign(&members, envelope.as_bytes());
    victim.refuses_members(&unsigned).untrustworthy("the bundle is not signed");
}
