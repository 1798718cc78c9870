//! The recipe: of which pieces the whole bundle is rebuilt. JSON in one form, a document of the delta.

use std::collections::BTreeSet;

use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};

use super::error::DeltaError;
use super::inventory::HeldBundle;
use super::packing::Packing;
use crate::oci::{self, MAX_JSON};
use crate::tar::SIZE_LIMIT;

/// Name of the document in a delta that is its recipe: what tells a delta from other bundles.
pub const RECIPE_DOCUMENT: &str = "delta.json";
/// Name of the document that holds all patches, one after another.
pub(super) const PATCHES_DOCUMENT: &str = "delta.patches";
/// Before the digest's digits in the names of documents that are whole blobs.
pub(super) const BLOB_DOCUMENT: &str = "blob.";

/// The only version of the form so far.
const FORMAT: u32 = 1;
/// Most blobs that a bundle has.
const MAX_BLOBS: usize = 1 << 16;
/// Most bytes of a recipe: room for as many blobs as a bundle can have.
pub(super) const MAX_BYTES: u64 = 8 * MAX_JSON;
/// Largest content of a blob. No file system of a host would take more.
pub(super) const MAX_CONTENT: u64 = 1 << 40;
/// Most old blobs that one patch starts from.
const MAX_OLD: usize = 16;

/// How a whole bundle is rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    delta: u32,
    /// Digest of the root index of the whole bundle.
    pub(super) root: Digest,
    /// Bundles that the delta was made against.
    pub(super) bases: Vec<HeldBundle>,
    /// Release of zstd that compressed contents anew, as its library numbers them.
    pub(super) zstd: u32,
    /// Blobs of the whole bundle that the site holds, by digest.
    pub(super) held: Vec<Listed>,
    /// Blobs that are in the delta as they are, by digest.
    pub(super) whole: Vec<Listed>,
    /// Blobs that are patched together, by digest.
    pub(super) patched: Vec<Patched>,
    /// The member `index.json`.
    pub(super) index: Patched,
}

/// A blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// A blob that is patched together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Patched {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Where its patch begins among the patches.
    pub(super) at: u64,
    /// Bytes of its patch.
    pub(super) length: u64,
    /// Bytes of its content.
    pub(super) content: u64,
    /// How its content becomes the blob.
    pub(super) packing: Packing,
    /// Blobs whose contents, one after another, the patch starts from. The site holds them.
    pub(super) old: Vec<Old>,
}

/// A blob that a patch starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Old {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Bytes of its content.
    pub(super) content: u64,
}

impl Recipe {
    pub(super) fn new(root: Digest, bases: Vec<HeldBundle>, index: Patched) -> Self {
        let zstd = zstd::zstd_safe::version_number();
        Self { delta: FORMAT, root, bases, zstd, held: vec![], whole: vec![], patched: vec![], index }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        oci::to_bytes(self)
    }

    /// Reads a recipe and checks all that can be checked without the pieces; `patches` is the size of the document with the patches.
    pub(crate) fn parse(bytes: &[u8], patches: u64) -> Result<Self, DeltaError> {
        let recipe: Self =
            serde_json::from_slice(bytes).map_err(|error| DeltaError::Recipe(error.to_string()))?;
        recipe.check(patches).map_err(|reason| DeltaError::Recipe(reason.to_owned()))?;
        if recipe.to_bytes() != bytes {
            return Err(DeltaError::Recipe("it is not in canonical form".to_owned()));
        }
        Ok(recipe)
    }

    fn check(&self, patches: u64) -> Result<(), &'static str> {
        let require = |holds: bool, fault: &'static str| if holds { Ok(()) } else { Err(fault) };
        require(self.delta == FORMAT, "it is of another format")?;
        let count = self.held.len() + self.whole.len() + self.patched.len();
        require(count <= MAX_BLOBS, "it has more blobs than a bundle may have")?;
        let all: BTreeSet<Digest> = self.sizes().map(|(digest, _)| digest).collect();
        require(all.len() == count, "a blob is there twice")?;
        require(all.contains(&self.root), "the root is not among the blobs")?;
        require(self.sizes().all(|(_, size)| size < SIZE_LIMIT), "a blob is 8 GiB or larger")?;
        require(self.index.size <= MAX_JSON, "index.json is larger than 4 MiB")?;
        require(self.index.packing == Packing::Plain, "index.json is compressed")?;
        let mut end = 0;
        for patched in self.patched.iter().chain([&self.index]) {
            require(patched.at == end, "patches do not follow on each other")?;
            end = end.checked_add(patched.length).ok_or("a patch is too long")?;
            require(patched.content <= MAX_CONTENT, "a content is too large")?;
            require(patched.old.len() <= MAX_OLD, "a patch starts from too many blobs")?;
            require(patched.old.iter().all(|old| old.content <= MAX_CONTENT), "a content is too large")?;
            require(patched.packing.is_sound(), "a content is compressed in a way that is not allowed")?;
            let plain = patched.packing == Packing::Plain;
            require(!plain || patched.content == patched.size, "a blob has another size than its content")?;
        }
        require(end == patches, "there are more or fewer patches than it names")
    }

    /// Digest and size of each blob of the whole bundle, each once.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (Digest, u64)> {
        let there = self.held.iter().chain(&self.whole).map(|blob| (blob.digest, blob.size));
        there.chain(self.patched.iter().map(|blob| (blob.digest, blob.size)))
    }

    /// Blobs that the site must hold, with their sizes, each once.
    pub(super) fn needed(&self) -> BTreeSet<(Digest, u64)> {
        let held = self.held.iter().map(|blob| (blob.digest, blob.size));
        let patched = self.patched.iter().chain([&self.index]).flat_map(|patched| &patched.old);
        held.chain(patched.map(|old| (old.digest, old.size))).collect()
    }
}
