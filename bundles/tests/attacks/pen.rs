//! The attacker's pen: statements and envelopes in the place of the vendor's, with right digests in all that refers to them.

use qiji_blueprint::Digest;
use qiji_bundle::{PublicKey, SigningKey, seal};
use serde_json::Value;
use sm3::{Digest as _, Sm3};

use crate::forge::{self, Members};

pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The signature's manifest and envelope.
pub(crate) fn signature(members: &Members) -> (Vec<u8>, Vec<u8>) {
    let manifest = forge::blob(members, &forge::index(members)["manifests"][1]);
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    let envelope = forge::blob(members, &parsed["layers"][0]);
    (manifest, envelope)
}

/// Puts another envelope in the place of the vendor's.
pub(crate) fn resign(members: &Members, envelope: &[u8]) -> Members {
    let mut members = members.clone();
    let (_, old) = signature(&members);
    forge::replace(&mut members, &old, envelope);
    members
}

/// The statement about these members, as another program would write it.
pub(crate) fn statement(members: &Members) -> String {
    let root = forge::root(members);
    let (sha256, sm3) = (Digest::of(&root).hex(), hex::encode(Sm3::digest(&root)));
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"demo","digest":{{"sha256":"{sha256}","sm3":"{sm3}"}}}}],"predicateType":"https://qiji.dev/bundle/v1","predicate":{{"created-by":"somebody","name":"demo","version":"1.2.3","edition":"enterprise","channel":"stable"}}}}"#
    )
}

/// An envelope over a statement.
pub(crate) fn sealed(statement: &str, keys: &[&SigningKey]) -> String {
    String::from_utf8(seal(IN_TOTO, statement.as_bytes(), keys)).unwrap()
}

/// The signatures of an envelope, as they stand in it.
pub(crate) fn signatures(envelope: &str) -> &str {
    envelope.split_once(r#""signatures":["#).unwrap().1.strip_suffix("]}").unwrap()
}

/// An envelope with other signatures.
pub(crate) fn with_signatures(envelope: &str, signatures: &str) -> Vec<u8> {
    let (head, _) = envelope.split_once(r#""signatures":["#).unwrap();
    format!(r#"{head}"signatures":[{signatures}]}}"#).into_bytes()
}

/// An envelope that is signed in the name of another key.
pub(crate) fn in_the_name_of(envelope: &str, own: &PublicKey, other: &PublicKey) -> String {
    envelope.replace(&own.id().to_string(), &other.id().to_string())
}
