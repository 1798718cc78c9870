//! Whom a site trusts, and what it remembers.
//!
//! 1. [`TrustedKeys`]: what a bundle is held to, compiled from public keys or from a policy.
//! 2. [`Policy`]: the same as a document that people keep; [`PolicyFile`] is a policy with all changes since the first, each signed by the keys
//!    that the one before it trusts.
//! 3. [`SiteTrust`]: the policy that a site holds to, and which bundles it has accepted.

mod history;
mod policy;
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use qiji_blueprint::Catalogue;

pub use history::{PolicyError, PolicyFile, Standing};
pub use policy::{Policy, PolicyKey};
pub use site::{Accepted, Release, SiteTrust, TrustError};

use crate::error::Fault;
use crate::key::{KeyError, KeyId, KeyKind, PublicKey};

/// Kinds of key that an edition asks for, whatever a policy says.
static EDITIONS: LazyLock<BTreeMap<String, BTreeSet<KeyKind>>> = LazyLock::new(|| {
    let editions = Catalogue::builtin().editions.into_iter();
    let kinds = |words: Vec<String>| words.iter().filter_map(|word| word.parse().ok()).collect();
    editions.map(|(name, edition)| (name, kinds(edition.signatures))).collect()
});

/// Keys whose signatures count, how many of them are needed, and what else is asked of a bundle.
#[derive(Debug, Clone)]
pub struct TrustedKeys {
    keys: BTreeMap<KeyId, PublicKey>,
    threshold: usize,
    editions: BTreeMap<String, BTreeSet<KeyKind>>,
    channels: BTreeSet<String>,
}

impl TrustedKeys {
    /// `threshold` signatures by different keys among `keys` are needed: at least one, at most as many as there are keys.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>, threshold: usize) -> Result<Self, KeyError> {
        let keys: BTreeMap<_, _> = keys.into_iter().map(|key| (key.id(), key)).collect();
        if threshold == 0 || threshold > keys.len() {
            return Err(KeyError::Threshold { needed: threshold, keys: keys.len() });
        }
        Ok(Self { keys, threshold, editions: BTreeMap::new(), channels: BTreeSet::new() })
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

    /// The keys, by name.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }

    /// Signatures needed.
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    pub(crate) fn get(&self, id: KeyId) -> Option<&PublicKey> {
        self.keys.get(&id)
    }

    /// Requires that a bundle of this edition and channel is one that these `signers`, trusted keys, can vouch for.
    pub(crate) fn admit(&self, edition: &str, channel: &str, signers: &[KeyId]) -> Result<(), Fault> {
        let held: BTreeSet<KeyKind> = signers.iter().filter_map(|&id| Some(self.get(id)?.kind())).collect();
        let asked = [&*EDITIONS, &self.editions].into_iter().filter_map(|editions| editions.get(edition));
        let missing: BTreeSet<KeyKind> =
            asked.flatten().copied().filter(|kind| !held.contains(kind)).collect();
        if !missing.is_empty() {
            let (edition, missing) = (edition.to_owned(), missing.into_iter().collect());
            return Err(Fault::MissingKinds { edition, missing, signers: signers.to_vec() });
        }
        if !self.channels.is_empty() && !self.channels.contains(channel) {
            let (channel, allowed) = (channel.to_owned(), self.channels.iter().cloned().collect());
            return Err(Fault::Channel { channel, allowed });
        }
        Ok(())
    }
}
