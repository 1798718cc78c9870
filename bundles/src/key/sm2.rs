//! SM2 signatures as GB/T 35276 and OpenSSL have them: over SM3 of the signer's identity and the message, with the default signer ID, written as
//! the DER of (r, s).
//!
//! Another signer ID gives another signature over the same bytes, so a signature made with one does not hold here.
//!
//! Limit: while a signature is made, the library holds a copy of the private number that it does not wipe.

use ::sm2::dsa::signature::{Signer as _, Verifier as _};
use ::sm2::dsa::{Signature, SigningKey, VerifyingKey};
use ::sm2::{PublicKey, SecretKey};
use pkcs8::DecodePrivateKey as _;

/// The signer ID that GM/T 0009 gives for use where none was agreed on.
pub(crate) const SIGNER_ID: &str = "1234567812345678";

/// A private key from its number, 32 bytes, if it is one that can sign.
pub(super) fn from_bytes(bytes: &[u8; 32]) -> Option<SecretKey> {
    SecretKey::from_slice(bytes).ok().filter(can_sign)
}

/// A private key from PKCS#8 in DER.
pub(super) fn from_pkcs8(bytes: &[u8]) -> Option<SecretKey> {
    SecretKey::from_pkcs8_der(bytes).ok().filter(can_sign)
}

/// One number of the group, the order less one, is a key for no signature.
fn can_sign(key: &SecretKey) -> bool {
    try_sign(key, b"").is_some()
}

fn try_sign(key: &SecretKey, message: &[u8]) -> Option<Vec<u8>> {
    let signature: Signature = SigningKey::new(SIGNER_ID, key).ok()?.try_sign(message).ok()?;
    Some(signature.to_der().to_vec())
}

/// Signs; the number that must be random is derived from key and message (RFC 6979).
pub(super) fn sign(key: &SecretKey, message: &[u8]) -> Vec<u8> {
    try_sign(key, message).expect("a key that was tried signs")
}

/// Whether a signature holds, and is in its one form.
pub(super) fn holds(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(parsed) = Signature::from_der(signature) else { return false };
    let verifier = VerifyingKey::new(SIGNER_ID, *key);
    parsed.to_der().as_bytes() == signature
        && verifier.is_ok_and(|verifier| verifier.verify(message, &parsed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GM/T 0003.5 (and GB/T 32918.5), annex A.2: the recommended curve, signer ID `1234567812345678`, "message digest".
    #[test]
    fn the_standards_example_holds() {
        let public = "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13";
        let signature = "3046022100f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3022100b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa";
        let public = PublicKey::from_sec1_bytes(&hex::decode(public).unwrap()).unwrap();
        let signature = hex::decode(signature).unwrap();
        assert!(holds(&public, b"message digest", &signature));
        assert!(!holds(&public, b"message digesT", &signature));
    }

    #[test]
    fn the_key_that_cannot_sign_is_no_key() {
        let last = "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54122";
        assert!(from_bytes(&hex::decode(last).unwrap().try_into().unwrap()).is_none());
        assert!(from_bytes(&[0xff; 32]).is_none() && from_bytes(&[0; 32]).is_none());
    }

    #[test]
    fn another_signer_id_does_not_hold() {
        let key = from_bytes(&[7; 32]).unwrap();
        let other: Signature = SigningKey::new("somebody@example.com", &key).unwrap().sign(b"message");
        assert!(!holds(&key.public_key(), b"message", &other.to_der().to_vec()));
        assert!(holds(&key.public_key(), b"message", &sign(&key, b"message")));
    }

    #[test]
    fn one_form_only() {
        let key = from_bytes(&[7; 32]).unwrap();
        let good = sign(&key, b"message");
        let raw = Signature::from_der(&good).unwrap().to_bytes();
        assert!(!holds(&key.public_key(), b"message", &raw));
        for bad in [good[1..].to_vec(), [&good[..], b"\0"].concat(), good[..good.len() - 1].to_vec(), vec![]]
        {
            assert!(!holds(&key.public_key(), b"message", &bad));
        }
    }
}
