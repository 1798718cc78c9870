//! Keys: Ed25519, in the formats that OpenSSL 3 reads.
//!
//! A private key is a PKCS#8 `ENCRYPTED PRIVATE KEY` (RFC 5958; PBES2 of RFC 8018 with scrypt, N = 2^14, r = 8, p = 1, and AES-256-CBC: the
//! strongest scrypt that OpenSSL accepts with its default memory limit). A public key is a `PUBLIC KEY` (RFC 8410). A key is named by
//! the SHA-256 of its `SubjectPublicKeyInfo` in DER.
//!
//! Guarantees: no secret can be printed by these types, secrets are wiped from memory when dropped, a private key is only ever
//! written encrypted, to a new file that its owner alone can read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::Signer as _;
use fs_err::OpenOptions;
use pkcs8::der::pem::PemLabel as _;
use pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    EncryptedPrivateKeyInfoRef, LineEnding, SecretDocument,
};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::hash;

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
    /// Reads 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
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
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Reads a file in PEM.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = fs_err::read_to_string(path)?;
        Self::from_pem(&text).ok_or_else(|| KeyError::NotAKey {
            path: path.to_owned(),
            expected: "an Ed25519 public key in PEM",
        })
    }

    /// Reads PEM; nothing if it is not an Ed25519 public key.
    pub fn from_pem(text: &str) -> Option<Self> {
        ed25519_dalek::VerifyingKey::from_public_key_pem(text.trim_end()).ok().map(Self)
    }

    /// The key in PEM, with a line break at the end.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("32 bytes are always encodable")
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        let der = self.0.to_public_key_der().expect("32 bytes are always encodable");
        KeyId(*hash::digest(der.as_bytes()).as_bytes())
    }

    /// Whether `signature` (64 bytes) is by this key over `message`. Weak keys and non-canonical signatures are refused.
    pub(crate) fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

/// A private key.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes a new key from the system's random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| KeyError::Random)?;
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    /// Writes the key, encrypted, to the new file `path` (mode 0600) and its public key to the new file `path.pub` (mode 0644).
    pub fn save(&self, path: &Path, passphrase: &Passphrase) -> Result<PublicKey, KeyError> {
        let public = self.public();
        let pem = self.encrypted_pem(passphrase)?;
        let public_path = public_path(path);
        create(path, 0o600, pem.as_bytes())?;
        if let Err(error) = create(&public_path, 0o644, public.to_pem().as_bytes()) {
            fs_err::remove_file(path)?;
            return Err(error);
        }
        Ok(public)
    }

    /// Reads an encrypted key. A key that is not encrypted is refused.
    pub fn load(path: &Path, passphrase: &Passphrase) -> Result<Self, KeyError> {
        let text = Zeroizing::new(fs_err::read_to_string(path)?);
        let not_a_key = || KeyError::NotAKey {
            path: path.to_owned(),
            expected: "an encrypted private key (PKCS#8, PEM)",
        };
        let (label, outer) = SecretDocument::from_pem(text.trim_end()).map_err(|_| not_a_key())?;
        EncryptedPrivateKeyInfoRef::validate_pem_label(label).map_err(|_| not_a_key())?;
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(outer.as_bytes()).map_err(|_| not_a_key())?;
        let inner = match encrypted.decrypt(passphrase.0.as_bytes()) {
            Ok(inner) => inner,
            Err(pkcs8::Error::EncryptedPrivateKey(error)) if error != pkcs8::pkcs5::Error::DecryptFailed => {
                return Err(not_a_key());
            }
            // One wrong passphrase in 256 gives bytes with good padding that are not ASN.1.
            Err(_) => return Err(KeyError::WrongPassphrase(path.to_owned())),
        };
        ed25519_dalek::SigningKey::from_pkcs8_der(inner.as_bytes())
            .map(Self)
            .map_err(|_| KeyError::NotAKey { path: path.to_owned(), expected: "an Ed25519 key" })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs; 64 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Without the public half, which OpenSSL 3.0 does not expect in a private key.
    fn encrypted_pem(&self, passphrase: &Passphrase) -> Result<Zeroizing<String>, KeyError> {
        let pair = ed25519_dalek::pkcs8::KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        pair.to_pkcs8_encrypted_pem(passphrase.0.as_bytes(), LineEnding::LF).map_err(|_| KeyError::Random)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

/// Keys whose signatures count, and how many of them are needed.
#[derive(Debug, Clone)]
pub struct TrustedKeys {
    keys: BTreeMap<KeyId, PublicKey>,
    threshold: usize,
}

impl TrustedKeys {
    /// `threshold` signatures by different keys among `keys` are needed: at least one, at most as many as there are keys.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>, threshold: usize) -> Result<Self, KeyError> {
        let keys: BTreeMap<_, _> = keys.into_iter().map(|key| (key.id(), key)).collect();
        if threshold == 0 || threshold > keys.len() {
            return Err(KeyError::Threshold { needed: threshold, keys: keys.len() });
        }
        Ok(Self { keys, threshold })
    }

    /// Reads public keys from files.
    pub fn load<P: AsRef<Path>>(paths: &[P], threshold: usize) -> Result<Self, KeyError> {
        let keys: Result<Vec<_>, _> = paths.iter().map(|path| PublicKey::load(path.as_ref())).collect();
        Self::new(keys?, threshold)
    }

    /// The keys' names, sorted.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys.keys().copied().collect()
    }

    /// Signatures needed.
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    pub(crate) fn get(&self, id: KeyId) -> Option<&PublicKey> {
        self.keys.get(&id)
    }
}

/// Where the public key of a private key lies: `.pub` after the name.
fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn create(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), KeyError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    options.options_mut().mode(mode);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
        _ => KeyError::Io(error),
    })?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}
