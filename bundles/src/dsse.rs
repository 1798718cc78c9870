//! Signed documents: DSSE envelopes (secure-systems-lab/dsse, `envelope.md` and `protocol.md`, version 1.0.2).
//!
//! Rules beyond the specification, all on the strict side: base64 is the standard alphabet with padding; signatures are sorted by key id, each key
//! once; an envelope has one form only; a signature that claims a trusted key must hold, or the envelope is refused whatever other
//! signatures say. An envelope without signatures is one that waits for them; it never holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::key::{KeyId, SigningKey};
use crate::oci;
use crate::trust::TrustedKeys;

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
    let mut envelope = Envelope::new(payload_type, payload);
    envelope.sign(keys);
    envelope.to_bytes()
}

/// Checks an envelope that [`seal`] made and gives its payload.
pub fn open_envelope(bytes: &[u8], payload_type: &str, trusted: &TrustedKeys) -> Result<Vec<u8>, Fault> {
    let envelope = Envelope::parse(bytes)?;
    if envelope.payload_type != payload_type {
        let found = envelope.payload_type.escape_debug();
        let reason = format!("it is of type `{found}`, not `{payload_type}`");
        return Err(Fault::document(&"the signed document", reason));
    }
    envelope.check(trusted)?;
    envelope.payload()
}

impl Envelope {
    /// An envelope that nobody has signed yet.
    pub(crate) fn new(payload_type: &str, payload: &[u8]) -> Self {
        Self {
            payload_type: payload_type.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: Vec::new(),
        }
    }

    /// Adds a signature by each key, in place of one that the key made before.
    pub(crate) fn sign(&mut self, keys: &[&SigningKey]) {
        let payload = STANDARD.decode(&self.payload).expect("an envelope is checked when it is read");
        let message = pae(&self.payload_type, &payload);
        for key in keys {
            let keyid = key.public().id().to_string();
            self.signatures.retain(|signature| signature.keyid != keyid);
            self.signatures.push(Signature { keyid, sig: STANDARD.encode(key.sign(&message)) });
        }
        self.signatures.sort();
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        oci::to_bytes(self)
    }

    /// Reads an envelope; it is not trusted yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let fault = |reason: &str| Fault::document(&"the signature's envelope", reason);
        let envelope: Self = serde_json::from_slice(bytes).map_err(|error| fault(&error.to_string()))?;
        envelope.check_form()?;
        if envelope.to_bytes() != bytes {
            return Err(fault("it is not in canonical form"));
        }
        Ok(envelope)
    }

    /// Requires that signatures are in order, each key once, and that all of it can be decoded.
    pub(crate) fn check_form(&self) -> Result<(), Fault> {
        if !self.signatures.is_sorted_by(|left, right| left.keyid < right.keyid) {
            return Err(Fault::document(&"the signature's envelope", "it is not in canonical form"));
        }
        self.payload()?;
        self.signatures.iter().try_for_each(|signature| signature.parse().map(drop))
    }

    pub(crate) fn payload_type(&self) -> &str {
        &self.payload_type
    }

    pub(crate) const fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
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
        if !self.is_signed() {
            return Err(Fault::Unsigned);
        }
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
