//! A small bundle, its keys, and media to read it from.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use qiji_bundle::{Medium, Passphrase, SigningKey, TrustedKeys, Untrusted, Verified, VerifyError};
use tempfile::TempDir;

#[path = "../../bundles/tests/it/fixture.rs"]
#[allow(dead_code, reason = "a part of it is needed here")]
pub(crate) mod fixture;

/// The keys that are used here, and nowhere else. They are the same in each run, so that what one run has found is of use to the next.
pub(crate) fn keys() -> &'static [SigningKey; 2] {
    static KEYS: OnceLock<[SigningKey; 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys");
        ["ed25519.pem", "sm2.pem"].map(|name| SigningKey::load(&folder.join(name), &passphrase()).unwrap())
    })
}

/// What opens [`keys`].
pub(crate) fn passphrase() -> Passphrase {
    Passphrase::new("only for tests".to_owned()).unwrap()
}

/// The vendor's key.
pub(crate) fn key() -> &'static SigningKey {
    &keys()[0]
}

/// A new folder, in memory where that can be had.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn trusted() -> TrustedKeys {
    TrustedKeys::new([key().public()], 1).unwrap()
}

/// The bytes of the sample, signed with [`key`].
pub(crate) fn bundle() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.qiji");
        let (spec, store) = fixture::sample();
        qiji_bundle::write(&spec, &store, &[key()], &path, &mut |_| ()).unwrap();
        fs_err::read(path).unwrap()
    })
}

/// Bytes as a medium.
#[derive(Debug)]
struct Memory(Vec<u8>);

impl Medium for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        io::Read::read(&mut &self.0[start..], buffer)
    }
}

/// Opens bytes as a bundle.
pub(crate) fn opened(bytes: Vec<u8>) -> Result<Untrusted, VerifyError> {
    Untrusted::over(Arc::new(Memory(bytes)), Path::new("given.qiji"))
}

/// Opens bytes as a bundle, shows it, and verifies it.
pub(crate) fn verify(bytes: Vec<u8>) -> Result<Verified, VerifyError> {
    let opened = opened(bytes)?;
    let shown = opened.inspect(Some(&trusted()));
    assert!(!shown.to_string().contains(|c: char| c.is_control() && c != '\n'));
    opened.verify(&trusted(), &mut |_| ())
}
