//! A trust policy: a JSON document that says whose signatures count on a site.
//!
//! It has one canonical form, [`Policy::to_bytes`], which is what changes are signed over and linked by. `docs/trust.md` shows one and explains
//! every field.

use std::collections::{BTreeMap, BTreeSet};

use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};

use super::TrustedKeys;
use crate::contents::{is_channel, is_document_name};
use crate::hash;
use crate::key::{KeyId, KeyKind, PublicKey};
use crate::oci;

/// A trust policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Policy {
    /// 1 for the first policy, and one more with each change.
    pub version: u64,
    /// Digest of the policy that this one changes; nothing for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// How many of the keys must sign a bundle, or a change of this policy.
    pub threshold: usize,
    /// The keys, by name.
    pub keys: BTreeMap<String, PolicyKey>,
    /// Edition → kinds of key by which a bundle of that edition must be signed, each at least once. Adds to what the edition itself asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub editions: BTreeMap<String, BTreeSet<KeyKind>>,
    /// Channels that bundles may be of; any, if there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub channels: BTreeSet<String>,
}

/// A key of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PolicyKey {
    /// Its kind, for people; the key says it too.
    pub kind: KeyKind,
    /// Base64 of its `SubjectPublicKeyInfo` in DER: the middle of a PEM file.
    pub public_key: PublicKey,
}

impl From<PublicKey> for PolicyKey {
    fn from(key: PublicKey) -> Self {
        Self { kind: key.kind(), public_key: key }
    }
}

impl Policy {
    /// A first policy. A key without a name of its own is named by the start of its id.
    pub fn of_keys(keys: &TrustedKeys) -> Self {
        let named = keys.keys().map(|key| (key.id().short(), key.clone().into()));
        Self {
            version: 1,
            previous: None,
            threshold: keys.threshold(),
            keys: named.collect(),
            editions: keys.editions.clone(),
            channels: keys.channels.clone(),
        }
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        oci::to_bytes(self)
    }

    /// Digest of the canonical bytes.
    pub fn digest(&self) -> Digest {
        hash::digest(&self.to_bytes())
    }

    /// The name of a key.
    pub fn name_of(&self, id: KeyId) -> Option<&str> {
        self.keys.iter().find(|(_, key)| key.public_key.id() == id).map(|(name, _)| name.as_str())
    }

    /// What bundles are held to.
    ///
    /// # Errors
    /// Everything that is wrong with the policy.
    pub fn trusted(&self) -> Result<TrustedKeys, Vec<String>> {
        let faults = self.faults();
        if !faults.is_empty() {
            return Err(faults);
        }
        let keys = self.keys.values().map(|key| (key.public_key.id(), key.public_key.clone()));
        Ok(TrustedKeys {
            keys: keys.collect(),
            threshold: self.threshold,
            editions: self.editions.clone(),
            channels: self.channels.clone(),
        })
    }

    /// Everything that is wrong with it.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if (self.version == 1) != self.previous.is_none() || self.version == 0 {
            faults
                .push(format!("version {} must be 1 and the first, or change another policy", self.version));
        }
        if self.threshold == 0 || self.threshold > self.keys.len() {
            faults.push(format!("threshold {} cannot be met by {} keys", self.threshold, self.keys.len()));
        }
        self.key_faults(&mut faults);
        self.edition_faults(&mut faults);
        let channels = self.channels.iter().filter(|channel| channel.is_empty() || !is_channel(channel));
        faults.extend(channels.map(|channel| format!("`{}` cannot name a channel", channel.escape_debug())));
        faults
    }

    fn key_faults(&self, faults: &mut Vec<String>) {
        let mut seen = BTreeMap::new();
        for (name, key) in &self.keys {
            let shown = name.escape_debug();
            if !is_document_name(name) {
                faults.push(format!("`{shown}` cannot name a key"));
            }
            if key.kind != key.public_key.kind() {
                faults.push(format!("key {shown} is of kind {}, not {}", key.public_key.kind(), key.kind));
            }
            if let Some(other) = seen.insert(key.public_key.id(), name) {
                faults.push(format!("{shown} and {} are the same key", other.escape_debug()));
            }
        }
    }

    fn edition_faults(&self, faults: &mut Vec<String>) {
        let held: BTreeSet<KeyKind> = self.keys.values().map(|key| key.public_key.kind()).collect();
        for (edition, kinds) in &self.editions {
            let shown = edition.escape_debug();
            if !is_channel(edition) || edition.is_empty() {
                faults.push(format!("`{shown}` cannot name an edition"));
            }
            let missing = kinds.iter().filter(|kind| !held.contains(kind));
            faults.extend(
                missing.map(|kind| format!("edition {shown} needs a key of kind {kind}, and there is none")),
            );
        }
    }
}
