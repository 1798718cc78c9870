//! Keys on disk. A key is never overwritten.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use fs_err::OpenOptions;
use pkcs8::der::pem::PemLabel as _;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use super::{KeyError, Passphrase, PublicKey, SigningKey};

impl PublicKey {
    /// Reads a file in PEM.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = fs_err::read_to_string(path)?;
        Self::from_pem(&text).ok_or_else(|| KeyError::NotAKey {
            path: path.to_owned(),
            expected: "an Ed25519 or SM2 public key in PEM",
        })
    }
}

impl SigningKey {
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
        check_cost(&encrypted).ok_or_else(not_a_key)?;
        let inner = match encrypted.decrypt(passphrase.0.as_bytes()) {
            Ok(inner) => inner,
            Err(pkcs8::Error::EncryptedPrivateKey(error)) if error != pkcs8::pkcs5::Error::DecryptFailed => {
                return Err(not_a_key());
            }
            // One wrong passphrase in 256 gives bytes with good padding that are not ASN.1.
            Err(_) => return Err(KeyError::WrongPassphrase(path.to_owned())),
        };
        Self::from_pkcs8(&inner)
            .ok_or_else(|| KeyError::NotAKey { path: path.to_owned(), expected: "an Ed25519 or SM2 key" })
    }
}

/// Most bytes of memory that scrypt may take: 8 times what keys of our own take.
const MAX_MEMORY: u64 = 128 << 20;
/// Most rounds of PBKDF2.
const MAX_ROUNDS: u32 = 10_000_000;

/// Refuses a key that would take memory or time as it pleases before its passphrase can be tried.
fn check_cost(key: &EncryptedPrivateKeyInfoRef<'_>) -> Option<()> {
    let kdf = &key.encryption_algorithm.pbes2()?.kdf;
    let rounds = kdf.pbkdf2().map_or(0, |params| params.iteration_count);
    let memory = kdf.scrypt().map_or(Some(0), |params| {
        let factors = [u64::from(params.block_size), u64::from(params.parallelization), 128];
        factors.into_iter().try_fold(params.cost_parameter, u64::checked_mul)
    });
    (rounds <= MAX_ROUNDS && memory? <= MAX_MEMORY).then_some(())
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
