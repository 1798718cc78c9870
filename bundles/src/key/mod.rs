//! Keys of two kinds, Ed25519 and SM2, in the formats that OpenSSL 3 reads and writes.
//!
//! A private key is a PKCS#8 `ENCRYPTED PRIVATE KEY` (RFC 5958; PBES2 of RFC 8018 with scrypt, N = 2^14, r = 8, p = 1, and AES-256-CBC: the
//! strongest scrypt that OpenSSL accepts with its default memory limit). A public key is a `PUBLIC KEY` (RFC 8410; for SM2 RFC 5480 with the
//! curve's identifier 1.2.156.10197.1.301). A key is named by the SHA-256 of its `SubjectPublicKeyInfo` in DER.
//!
//! Guarantees: no secret can be printed by these types, a private key is wiped from memory when dropped, it is only ever
//! written encrypted, to a new file that its owner alone can read.
//!
//! `sm2.rs` has what is particular to SM2, `file.rs` keys on disk.

mod file;
mod sm2;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
    SecretDocument,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::hash;

/// What a key signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// SM2 with SM3 (GB/T 32918.2, GB/T 35276), signer ID `1234567812345678`.
    Sm2,
}

impl KeyKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Ed25519, Self::Sm2];

    /// `ed25519` or `sm2`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Sm2 => "sm2",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is not a kind of key: ed25519, sm2"))
    }
}

/// A key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The passphrase is empty.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The key cannot be decrypted with the passphrase.
    #[error("the passphrase does not open key {}", .0.display())]
    WrongPassphrase(PathBuf),
    /// A file is not a key of the kind that is needed.
    #[error("{} is not {expected}", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// A key is not overwritten.
    #[error("{} exists already, and a key is never overwritten", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written; the cause names it.
    #[error("cannot read or write a key")]
    Io(#[from] io::Error),
    /// The system gives no random numbers.
    #[error("cannot get random numbers from the system")]
    Random,
    /// No trusted key, or more signatures asked for than there are keys.
    #[error("{needed} signatures are asked for, but {keys} keys are trusted")]
    Threshold {
        /// Signatures asked for.
        needed: usize,
        /// Trusted keys, each counted once.
        keys: usize,
    },
}

/// A passphrase. It cannot be printed and is wiped when dropped.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a passphrase, which must not be empty.
    pub fn new(text: String) -> Result<Self, KeyError> {
        let text = Zeroizing::new(text);
        if text.is_empty() { Err(KeyError::EmptyPassphrase) } else { Ok(Self(text)) }
    }

    /// The first line of a file.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let text = Zeroizing::new(fs_err::read_to_string(path)?);
        Self::new(text.lines().next().unwrap_or_default().to_owned())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(hidden)")
    }
}

/// Name of a key: SHA-256 of its `SubjectPublicKeyInfo` in DER, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// Reads 64 lower-case hexadecimal digits: one form only, or one key could sign twice.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes)).filter(|id| id.to_string() == text)
    }

    /// The first twelve digits, to tell keys apart at a glance.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Public);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    Ed25519(ed25519_dalek::VerifyingKey),
    Sm2(::sm2::PublicKey),
}

impl PublicKey {
    /// Reads PEM; nothing if it is not a public key of a known kind.
    pub fn from_pem(text: &str) -> Option<Self> {
        let text = text.trim_end();
        let ed25519 = ed25519_dalek::VerifyingKey::from_public_key_pem(text).ok().map(Public::Ed25519);
        ed25519.or_else(|| ::sm2::PublicKey::from_public_key_pem(text).ok().map(Public::Sm2)).map(Self)
    }

    /// The key in PEM, with a line break at the end.
    pub fn to_pem(&self) -> String {
        let pem = match &self.0 {
            Public::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
            Public::Sm2(key) => key.to_public_key_pem(LineEnding::LF),
        };
        pem.expect("a public key is always encodable")
    }

    /// Reads a `SubjectPublicKeyInfo` in DER, in the one form that [`Self::to_der`] gives.
    pub fn from_der(bytes: &[u8]) -> Option<Self> {
        let ed25519 = ed25519_dalek::VerifyingKey::from_public_key_der(bytes).ok().map(Public::Ed25519);
        let public =
            ed25519.or_else(|| ::sm2::PublicKey::from_public_key_der(bytes).ok().map(Public::Sm2)).map(Self);
        public.filter(|key| key.to_der() == bytes)
    }

    /// The key's `SubjectPublicKeyInfo` in DER.
    pub fn to_der(&self) -> Vec<u8> {
        let document = match &self.0 {
            Public::Ed25519(key) => key.to_public_key_der(),
            Public::Sm2(key) => key.to_public_key_der(),
        };
        document.expect("a public key is always encodable").into_vec()
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        KeyId(*hash::digest(&self.to_der()).as_bytes())
    }

    /// The key's kind.
    pub const fn kind(&self) -> KeyKind {
        match self.0 {
            Public::Ed25519(_) => KeyKind::Ed25519,
            Public::Sm2(_) => KeyKind::Sm2,
        }
    }

    /// Whether `signature` is by this key over `message`: 64 bytes for Ed25519, DER of (r, s) for SM2. Weak keys and signatures in another
    /// form than the canonical one are refused.
    pub(crate) fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Public::Sm2(key) => sm2::holds(key, message, signature),
        }
    }
}

/// Base64 of the DER.
impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.to_der()))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let key = STANDARD.decode(&text).ok().and_then(|bytes| Self::from_der(&bytes));
        key.ok_or_else(|| D::Error::custom(format!("`{text}` is not a public key: base64 of its DER")))
    }
}

/// A private key.
pub struct SigningKey(Private);

enum Private {
    Ed25519(ed25519_dalek::SigningKey),
    Sm2(::sm2::SecretKey),
}

impl SigningKey {
    /// Makes a new Ed25519 key from the system's random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        Self::generate_kind(KeyKind::Ed25519)
    }

    /// Makes a new key from the system's random numbers.
    pub fn generate_kind(kind: KeyKind) -> Result<Self, KeyError> {
        loop {
            let mut seed = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *seed).map_err(|_| KeyError::Random)?;
            match kind {
                KeyKind::Ed25519 => {
                    return Ok(Self(Private::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))));
                }
                // One number in 2^32 is beyond the order of the curve's group.
                KeyKind::Sm2 => {
                    if let Some(key) = sm2::from_bytes(&seed) {
                        return Ok(Self(Private::Sm2(key)));
                    }
                }
            }
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(match &self.0 {
            Private::Ed25519(key) => Public::Ed25519(key.verifying_key()),
            Private::Sm2(key) => Public::Sm2(key.public_key()),
        })
    }

    /// Signs: 64 bytes for Ed25519, DER for SM2. The same message gives the same signature.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.0 {
            Private::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Private::Sm2(key) => sm2::sign(key, message),
        }
    }

    /// Ed25519 without the public half, which OpenSSL 3.0 does not expect in a private key.
    fn encrypted_pem(&self, passphrase: &Passphrase) -> Result<Zeroizing<String>, KeyError> {
        let passphrase = passphrase.0.as_bytes();
        let pem = match &self.0 {
            Private::Ed25519(key) => {
                let pair =
                    ed25519_dalek::pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None };
                pair.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF)
            }
            Private::Sm2(key) => key.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF),
        };
        pem.map_err(|_| KeyError::Random)
    }

    fn from_pkcs8(document: &SecretDocument) -> Option<Self> {
        let bytes = document.as_bytes();
        let ed25519 = ed25519_dalek::SigningKey::from_pkcs8_der(bytes).ok().map(Private::Ed25519);
        ed25519.or_else(|| sm2::from_pkcs8(bytes).map(Private::Sm2)).map(Self)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}
