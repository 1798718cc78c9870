//! Keys and policies, as files that people hand to each other.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use qiji_bundle::{Policy, PolicyFile, PublicKey, SigningKey, SiteTrust, TrustedKeys};
use tempfile::TempDir;

use crate::sample::{keys, passphrase, scratch};

/// A text as a public key. What is one is written again as it was, but for line breaks.
pub(crate) fn public(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Some(key) = PublicKey::from_pem(text) {
        assert_eq!(PublicKey::from_pem(&key.to_pem()).as_ref(), Some(&key));
        assert_eq!(PublicKey::from_der(&key.to_der()).as_ref(), Some(&key));
    }
    if let Some(key) = PublicKey::from_der(data) {
        assert_eq!(key.to_der(), data);
    }
}

pub(crate) fn public_seeds() -> Vec<Vec<u8>> {
    let keys = keys().iter().map(SigningKey::public);
    keys.flat_map(|key| [key.to_pem().into_bytes(), key.to_der()]).collect()
}

/// A place for one file, in memory.
fn place() -> &'static Path {
    static PLACE: OnceLock<(PathBuf, TempDir)> = OnceLock::new();
    let (path, _) = PLACE.get_or_init(|| {
        let folder = scratch();
        (folder.path().join("key"), folder)
    });
    path
}

/// Bytes as an encrypted private key.
pub(crate) fn private(data: &[u8]) {
    fs_err::write(place(), data).unwrap();
    if let Ok(key) = SigningKey::load(place(), &passphrase()) {
        key.public().id();
    }
}

pub(crate) fn private_seeds() -> Vec<Vec<u8>> {
    [include_bytes!("../keys/ed25519.pem").as_slice(), include_bytes!("../keys/sm2.pem")]
        .map(<[u8]>::to_vec)
        .to_vec()
}

/// Bytes as a policy file, and as what a site remembers.
pub(crate) fn policy(data: &[u8]) {
    if let Ok(file) = PolicyFile::parse(data) {
        let again = PolicyFile::parse(file.to_text().as_bytes()).unwrap();
        assert_eq!(again, file);
        let _ = file.trusted();
        let _ = file.to_string();
        let mut site = SiteTrust::default();
        let _ = site.adopt("here", "there", file);
    }
    if let Ok(text) = str::from_utf8(data)
        && let Ok(site) = SiteTrust::parse("here", text)
    {
        assert_eq!(SiteTrust::parse("here", &site.to_text()).unwrap(), site);
    }
}

pub(crate) fn policy_seeds() -> Vec<Vec<u8>> {
    let keys = keys();
    let policy = |keys: &[SigningKey]| {
        Policy::of_keys(&TrustedKeys::new(keys.iter().map(SigningKey::public), keys.len()).unwrap())
    };
    let first = PolicyFile::first(policy(keys)).unwrap();
    let mut changed = first.clone();
    changed.propose(policy(&keys[..1])).unwrap();
    changed.sign(&[&keys[0], &keys[1]]).unwrap();
    let site = SiteTrust { policy: Some(changed.clone()), ..SiteTrust::default() };
    [first.to_text(), changed.to_text(), site.to_text()].map(String::into_bytes).to_vec()
}
