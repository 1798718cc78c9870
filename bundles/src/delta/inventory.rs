//! What a site holds, as a file: JSON in one form, so that the same holdings give the same bytes.
//!
//! It comes from the site and is not signed: whoever makes a delta learns from it what may be left out. A wrong one gives a delta that the site
//! refuses, and nothing worse.

use std::collections::BTreeMap;

use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};

use super::error::DeltaError;
use super::uses;
use crate::oci;
use crate::read::Untrusted;

/// The only version of the form so far.
const FORMAT: u32 = 1;
/// Most bytes of an inventory.
const MAX_BYTES: usize = 64 << 20;

/// What a site holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Bundles that it has accepted, oldest first.
    pub bundles: Vec<HeldBundle>,
    /// Blobs that are there.
    pub blobs: BTreeMap<Digest, HeldBlob>,
}

/// A bundle that a site has accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldBundle {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of its root index.
    pub root: Digest,
}

/// A blob that a site holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBlob {
    /// Bytes.
    pub size: u64,
    /// Place in the list of bundles of the last one that it is from.
    pub bundle: usize,
    /// What it is used for, sorted.
    pub uses: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    inventory: u32,
    bundles: Vec<HeldBundle>,
    blobs: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    digest: Digest,
    size: u64,
    bundle: usize,
    uses: Vec<String>,
}

impl Inventory {
    /// Adds all that a bundle says it has, as the newest. One that was added before is not added again.
    ///
    /// # Errors
    /// It is a delta.
    pub fn add(&mut self, bundle: &Untrusted) -> Result<(), DeltaError> {
        if bundle.is_delta() {
            return Err(DeltaError::IsADelta);
        }
        let (root, contents) = (bundle.root(), bundle.contents());
        if self.bundles.iter().any(|held| held.root == root) {
            return Ok(());
        }
        let place = self.bundles.len();
        let (name, version) = (contents.name.clone(), contents.version.clone());
        self.bundles.push(HeldBundle { name, version, root });
        for (digest, uses) in uses::of(contents) {
            let size = bundle.open_blob(&digest).map_or(0, |blob| blob.size());
            let held = self.blobs.entry(digest).or_insert(HeldBlob { size, bundle: place, uses: Vec::new() });
            held.bundle = place;
            held.uses.extend(uses);
            held.uses.sort_unstable();
            held.uses.dedup();
        }
        Ok(())
    }

    /// Leaves out blobs that are not there any more.
    pub fn retain(&mut self, is_there: impl Fn(&Digest, u64) -> bool) {
        self.blobs.retain(|digest, held| is_there(digest, held.size));
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let entry = |(&digest, held): (&Digest, &HeldBlob)| {
            let HeldBlob { size, bundle, uses } = held.clone();
            Entry { digest, size, bundle, uses }
        };
        let blobs = self.blobs.iter().map(entry).collect();
        oci::to_bytes(&Document { inventory: FORMAT, bundles: self.bundles.clone(), blobs })
    }

    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, DeltaError> {
        let wrong = |reason: &str| DeltaError::Inventory(reason.to_owned());
        if bytes.len() > MAX_BYTES {
            return Err(wrong("it is larger than 64 MiB"));
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| DeltaError::Inventory(error.to_string()))?;
        if document.inventory != FORMAT {
            return Err(wrong("it is of another format"));
        }
        let blob = |entry: Entry| {
            let Entry { digest, size, bundle, uses } = entry;
            (digest, HeldBlob { size, bundle, uses })
        };
        let inventory =
            Self { bundles: document.bundles, blobs: document.blobs.into_iter().map(blob).collect() };
        if inventory.to_bytes() != bytes {
            return Err(wrong("it is not in canonical form"));
        }
        Ok(inventory)
    }

    /// The blob to start from for one that has these uses: of the newest bundle the one that shares most of them.
    pub(super) fn alike(&self, uses: &[String]) -> Option<(&Digest, &HeldBlob)> {
        let shared = |held: &HeldBlob| held.uses.iter().filter(|text| uses.contains(text)).count();
        let candidates = self.blobs.iter().filter(|(_, held)| shared(held) > 0);
        candidates.max_by_key(|(digest, held)| (held.bundle, shared(held), **digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(bundle: usize, uses: &[&str]) -> HeldBlob {
        HeldBlob { size: 7, bundle, uses: uses.iter().map(|&text| text.to_owned()).collect() }
    }

    fn sample() -> Inventory {
        let held = |version: &str| HeldBundle {
            name: "demo".to_owned(),
            version: version.to_owned(),
            root: Digest::of(version.as_bytes()),
        };
        let blobs = [
            (Digest::of(b"a"), blob(0, &["package kube amd64 layer 0", "root"])),
            (Digest::of(b"b"), blob(1, &["package kube amd64 layer 0"])),
            (Digest::of(b"c"), blob(1, &["document site.json"])),
        ];
        Inventory { bundles: vec![held("1.0.0"), held("1.1.0")], blobs: blobs.into() }
    }

    #[test]
    fn a_file_has_one_form() {
        let bytes = sample().to_bytes();
        assert_eq!(Inventory::parse(&bytes).unwrap(), sample());
        let text = String::from_utf8(bytes).unwrap();
        let spaced = text.replace(":7", ": 7");
        for wrong in
            [&text[1..], &text.replace("\"inventory\":1", "\"inventory\":2"), &spaced, "{}", "", "[]"]
        {
            let error = Inventory::parse(wrong.as_bytes()).unwrap_err();
            assert!(matches!(error, DeltaError::Inventory(_)), "{wrong}");
        }
    }

    #[test]
    fn a_blob_to_start_from_is_the_newest_that_is_used_alike() {
        let inventory = sample();
        let alike = |text: &str| inventory.alike(&[text.to_owned()]).map(|(digest, _)| *digest);
        assert_eq!(alike("package kube amd64 layer 0"), Some(Digest::of(b"b")));
        assert_eq!(alike("root"), Some(Digest::of(b"a")));
        assert_eq!(alike("package kube arm64 layer 0"), None);
    }

    #[test]
    fn what_is_gone_is_left_out() {
        let mut inventory = sample();
        inventory.retain(|digest, size| size == 7 && *digest != Digest::of(b"b"));
        assert_eq!(inventory.blobs.len(), 2);
    }
}
