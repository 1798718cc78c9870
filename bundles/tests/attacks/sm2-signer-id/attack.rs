use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qiji_bundle::{PublicKey, TrustedKeys};
use sm2::dsa::signature::Signer as _;
use sm2::dsa::{Signature, SigningKey};
use sm2::pkcs8::{EncodePublicKey as _, LineEnding};

use crate::fixture::join;
use crate::forge;
use crate::pen::{self, IN_TOTO};
use crate::victim::Victim;

/// The signer ID of GM/T 0009.
const DEFAULT: &str = "1234567812345678";

struct Vendor(sm2::SecretKey);

impl Vendor {
    fn public(&self) -> PublicKey {
        let pem = self.0.public_key().to_public_key_pem(LineEnding::LF).unwrap();
        PublicKey::from_pem(&pem).unwrap()
    }

    fn sign(&self, signer: &str, message: &[u8]) -> Signature {
        SigningKey::new(signer, &self.0).unwrap().sign(message)
    }

    /// An envelope over a statement whose signature `encode` makes from what is to be signed.
    fn envelope(&self, statement: &str, encode: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let message = format!("DSSEv1 {} {IN_TOTO} {} {statement}", IN_TOTO.len(), statement.len());
        let signature = STANDARD.encode(encode(message.as_bytes()));
        let signature = format!(r#"{{"keyid":"{}","sig":"{signature}"}}"#, self.public().id());
        pen::with_signatures(&pen::sealed(statement, &[]), &signature)
    }
}

#[test]
fn or_in_another_encoding() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let vendor = Vendor(sm2::SecretKey::from_slice(&[7; 32]).unwrap());
    let trusted = TrustedKeys::new([vendor.public()], 1).unwrap();
    let statement = pen::statement(&members);
    let bundle = |encode: &dyn Fn(&[u8]) -> Vec<u8>| {
        join(&pen::resign(&members, &vendor.envelope(&statement, encode)))
    };
    let good = bundle(&|message| vendor.sign(DEFAULT, message).to_der().to_vec());
    victim.verify_by(&good, &trusted).unwrap();
    let expected = format!("the signature by trusted key {} does not hold", vendor.public().id());
    for signer in ["", "1234567812345679", "vendor@example.com", "12345678"] {
        let other = bundle(&|message| vendor.sign(signer, message).to_der().to_vec());
        victim.refuses_by(&other, &trusted).untrustworthy(&expected);
    }
    let raw = bundle(&|message| vendor.sign(DEFAULT, message).to_bytes().to_vec());
    victim.refuses_by(&raw, &trusted).untrustworthy(&expected);
    let longer = bundle(&|message| [vendor.sign(DEFAULT, message).to_der().as_bytes(), b"\0"].concat());
    victim.refuses_by(&longer, &trusted).untrustworthy(&expected);
}
