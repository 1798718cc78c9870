//! A small bundle, its key, and media to read it from.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use qiji_bundle::{Medium, SigningKey, TrustedKeys, Untrusted, Verified, VerifyError};

#[path = "../../bundles/tests/it/fixture.rs"]
#[allow(dead_code, reason = "a part of it is needed here")]
pub(crate) mod fixture;

/// The vendor's key, one for each run.
pub(crate) fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate().unwrap())
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

/// Opens bytes as a bundle, shows it, and verifies it.
pub(crate) fn verify(bytes: Vec<u8>) -> Result<Verified, VerifyError> {
    let opened = Untrusted::over(Arc::new(Memory(bytes)), Path::new("given.qiji"))?;
    let shown = opened.inspect(Some(&trusted()));
    assert!(!shown.to_string().contains(|c: char| c.is_control() && c != '\n'));
    opened.verify(&trusted(), &mut |_| ())
}
