//! Signed statements: DSSE envelopes (secure-systems-lab/dsse, `envelope.md` and `protocol.md`, version 1.0.2) around in-toto statements
//! (in-toto/attestation, `spec/v1/statement.md`).
//!
//! Rules beyond the specification, all on the strict side: base64 is the standard alphabet with padding; signatures are sorted by key id, each key
//! once; an envelope has one form only; a signature that claims a trusted key must hold, or the envelope is refused whatever other
//! signatures say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::key::{KeyId, SigningKey, TrustedKeys};
use crate::oci;

/// Payload type of in-toto statements.
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://qiji.dev/bundle/v1";
const CREATED_BY: &str = concat!("qiji ", env!("CARGO_PKG_VERSION"));

/// A DSSE envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

/// Whether a signature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// By a trusted key.
    Trusted,
    /// In the name of a trusted key, but not by it.
    Bad,
    /// By a key that is not among the trusted ones.
    Unknown,
}

/// Signs `payload` with every key and gives the envelope as JSON. For other documents than bundles too: reports, inventories.
pub fn seal(payload_type: &str, payload: &[u8], keys: &[&SigningKey]) -> Vec<u8> {
    let message = pae(payload_type, payload);
    let sign = |key: &&SigningKey| Signature {
        keyid: key.public().id().to_string(),
        sig: STANDARD.encode(key.sign(&message)),
    };
    let mut signatures: Vec<_> = keys.iter().map(sign).collect();
    signatures.sort();
    signatures.dedup();
    oci::to_bytes(&Envelope {
        payload_type: payload_type.to_owned(),
        payload: STANDARD.encode(payload),
        signatures,
    })
}

/// Checks an envelope that [`seal`] made and gives its payload.
pub fn open_envelope(bytes: &[u8], payload_type: &str, trusted: &TrustedKeys) -> Result<Vec<u8>, Fault> {
    let envelope = Envelope::parse(bytes)?;
    if envelope.payload_type != payload_type {
        return Err(Fault::document(&"the signed document", "it has another payload type"));
    }
    envelope.check(trusted)?;
    envelope.payload()
}

impl Envelope {
    /// Reads an envelope; it is not trusted yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let fault = |reason: String| Fault::document(&"the signature's envelope", reason);
        let envelope: Self = serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
        let sorted = envelope.signatures.is_sorted_by(|left, right| left.keyid < right.keyid);
        if !sorted || oci::to_bytes(&envelope) != bytes {
            return Err(fault("it is not in canonical form".to_owned()));
        }
        envelope.payload()?;
        for signature in &envelope.signatures {
            signature.parse()?;
        }
        Ok(envelope)
    }

    pub(crate) fn payload(&self) -> Result<Vec<u8>, Fault> {
        STANDARD
            .decode(&self.payload)
            .map_err(|_| Fault::document(&"the signature's envelope", "the payload is not base64"))
    }

    /// Each signature's key and whether it holds.
    pub(crate) fn signatures(&self, trusted: Option<&TrustedKeys>) -> Result<Vec<(KeyId, Held)>, Fault> {
        let message = pae(&self.payload_type, &self.payload()?);
        let check = |signature: &Signature| {
            let (id, bytes) = signature.parse()?;
            let held = match trusted.and_then(|keys| keys.get(id)) {
                Some(key) if key.holds(&message, &bytes) => Held::Trusted,
                Some(_) => Held::Bad,
                None => Held::Unknown,
            };
            Ok((id, held))
        };
        self.signatures.iter().map(check).collect()
    }

    /// Requires that enough trusted keys signed, and that no signature in the name of a trusted key is false. Returns those keys.
    pub(crate) fn check(&self, trusted: &TrustedKeys) -> Result<Vec<KeyId>, Fault> {
        let signatures = self.signatures(Some(trusted))?;
        if let Some(&(key, _)) = signatures.iter().find(|(_, held)| *held == Held::Bad) {
            return Err(Fault::BadSignature { key });
        }
        let good: Vec<_> =
            signatures.iter().filter(|(_, held)| *held == Held::Trusted).map(|&(key, _)| key).collect();
        if good.len() < trusted.threshold() {
            let found = signatures.iter().map(|&(key, _)| key).collect();
            return Err(Fault::UnknownKeys {
                good,
                found,
                trusted: trusted.ids(),
                needed: trusted.threshold(),
            });
        }
        Ok(good)
    }
}

impl Signature {
    fn parse(&self) -> Result<(KeyId, Vec<u8>), Fault> {
        let fault = |reason: &str| Fault::document(&"the signature's envelope", reason);
        let id = KeyId::parse(&self.keyid).ok_or_else(|| fault("a key id is not 64 hexadecimal digits"))?;
        let bytes = STANDARD.decode(&self.sig).map_err(|_| fault("a signature is not base64"))?;
        Ok((id, bytes))
    }
}

/// DSSE's pre-authentication encoding: what is signed.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend(payload);
    message
}

/// The in-toto statement about a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: [Subject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: Sha256,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sha256 {
    sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Predicate {
    created_by: String,
    name: String,
    version: String,
}

/// The bytes of the statement about a bundle.
pub(crate) fn statement(name: &str, version: &str, root: Digest) -> Vec<u8> {
    statement_by(CREATED_BY, name, version, root)
}

fn statement_by(created_by: &str, name: &str, version: &str, root: Digest) -> Vec<u8> {
    oci::to_bytes(&Statement {
        kind: STATEMENT.to_owned(),
        subject: [Subject { name: name.to_owned(), digest: Sha256 { sha256: root.hex() } }],
        predicate_type: PREDICATE.to_owned(),
        predicate: Predicate {
            created_by: created_by.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
        },
    })
}

/// Requires that `payload` is the statement about this bundle, by whatever release of qiji.
pub(crate) fn check_statement(payload: &[u8], name: &str, version: &str, root: Digest) -> Result<(), Fault> {
    let fault = |reason: String| Fault::OtherSubject { reason };
    let found: Statement = serde_json::from_slice(payload).map_err(|error| fault(error.to_string()))?;
    let [subject] = &found.subject;
    if subject.digest.sha256 != root.hex() {
        return Err(fault(format!(
            "it names root sha256:{}, and the file has {root}",
            subject.digest.sha256
        )));
    }
    if payload != statement_by(&found.predicate.created_by, name, version, root) {
        let (name_found, version_found) = (&found.predicate.name, &found.predicate.version);
        return Err(fault(format!(
            "it is about {name_found} {version_found}, or not in canonical form; the file has {name} {version}"
        )));
    }
    Ok(())
}

/// Requires the payload type of in-toto.
pub(crate) fn check_type(envelope: &Envelope) -> Result<(), Fault> {
    if envelope.payload_type == IN_TOTO {
        return Ok(());
    }
    Err(Fault::OtherSubject { reason: format!("its type is `{}`", envelope.payload_type) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_authentication_encoding_is_the_specifications_example() {
        // protocol.md, "Test Vectors".
        let message = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(message, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
