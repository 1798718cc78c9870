//! From a delta and what the site holds to the whole bundle.
//!
//! 1. The recipe is read and checked, and everything that it needs must be there.
//! 2. Members are written in order: held blobs and whole ones are copied, the others patched together in scratch files beside the output.
//! 3. Each is compared with its digest, and the file gets its name when it is complete.
//!
//! What comes out has the signatures of the whole bundle and must be verified like any other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use qiji_blueprint::Digest;

use super::error::{DeltaError, Missing};
use super::inventory::HeldBundle;
use super::packing::{self, Packing};
use super::recipe::{BLOB_DOCUMENT, MAX_BYTES, PATCHES_DOCUMENT, Patched, RECIPE_DOCUMENT, Recipe};
use super::{old, patch};
use crate::Progress;
use crate::error::WriteError;
use crate::hash;
use crate::read::Verified;
use crate::write::{BlobSource, Plan};

/// A verified delta.
#[derive(Debug, Clone)]
pub struct Delta {
    bundle: Verified,
    recipe: Recipe,
    patches: Digest,
}

/// A bundle that was rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Bytes of the file.
    pub size: u64,
    /// Digest of the root index.
    pub root: Digest,
}

impl Delta {
    /// Whether a bundle is a delta.
    pub fn is(bundle: &Verified) -> bool {
        document(bundle, RECIPE_DOCUMENT).is_some()
    }

    /// Reads the recipe of a delta.
    pub fn open(bundle: &Verified) -> Result<Self, DeltaError> {
        let (_, size) = document(bundle, RECIPE_DOCUMENT).ok_or(DeltaError::NotADelta)?;
        if size > MAX_BYTES {
            return Err(DeltaError::Recipe("it is larger than 32 MiB".to_owned()));
        }
        let bytes = bundle.document(RECIPE_DOCUMENT)?.ok_or(DeltaError::NotADelta)?;
        let patches = document(bundle, PATCHES_DOCUMENT);
        let (patches, size) = patches.ok_or_else(|| DeltaError::Recipe("it has no patches".to_owned()))?;
        let recipe = Recipe::parse(&bytes, size)?;
        for blob in &recipe.whole {
            let name = format!("{BLOB_DOCUMENT}{}", blob.digest.hex());
            if document(bundle, &name) != Some((blob.digest, blob.size)) {
                return Err(DeltaError::Recipe(format!("blob {} is not in the delta", blob.digest)));
            }
        }
        Ok(Self { bundle: bundle.clone(), recipe, patches })
    }

    /// Digest of the root index of the whole bundle.
    pub const fn root(&self) -> Digest {
        self.recipe.root
    }

    /// Bundles that it was made against.
    pub fn bases(&self) -> &[HeldBundle] {
        &self.recipe.bases
    }

    /// Blobs that a site must hold, with their sizes.
    pub fn needed(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.recipe.needed().into_iter()
    }

    /// Writes the whole bundle to `out`; `old` gives the blobs that the site holds.
    pub fn rebuild(
        &self,
        old: &dyn BlobSource,
        out: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Rebuilt, DeltaError> {
        self.require(old)?;
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let patched = self.recipe.patched.iter().map(|blob| (blob.digest, blob)).collect();
        let builder = Builder { delta: self, old, folder: folder.to_owned(), patched };
        let index = builder.index()?;
        let plan = Plan::given(self.recipe.root, self.recipe.sizes(), index);
        let written = plan.write(&builder, out, progress).map_err(|error| self.told(error))?;
        Ok(Rebuilt { size: written.size, root: written.root })
    }

    /// Requires that everything is there that the site must hold.
    fn require(&self, old: &dyn BlobSource) -> Result<(), DeltaError> {
        let missing = self.needed().filter(|(digest, _)| old.open(digest).is_err());
        let missing: Vec<Missing> =
            missing.map(|(digest, _)| Missing { digest, used_for: String::new() }).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let bases = self.recipe.bases.iter().map(|base| format!("{} {}", base.name, base.version));
        Err(DeltaError::BaseNotHeld { bases: bases.collect(), missing })
    }

    /// The writer's error in the words of deltas.
    fn told(&self, error: WriteError) -> DeltaError {
        match error {
            WriteError::Differs { digest, .. }
                if self.recipe.held.iter().any(|held| held.digest == digest) =>
            {
                DeltaError::OldDamaged(digest)
            }
            WriteError::Differs { digest, .. } => DeltaError::Differs { digest, made_with: self.recipe.zstd },
            WriteError::Source { source, digest, owner } => match source.downcast::<DeltaError>() {
                Ok(inner) => inner,
                Err(source) => WriteError::Source { source, digest, owner }.into(),
            },
            other => other.into(),
        }
    }
}

/// Digest and size of a document.
fn document(bundle: &Verified, name: &str) -> Option<(Digest, u64)> {
    let document = bundle.documents().find(|document| document.name == name)?;
    Some((document.blob.digest, document.blob.size))
}

/// Gives the blobs of the whole bundle. The writer compares them with their digests.
struct Builder<'a> {
    delta: &'a Delta,
    old: &'a dyn BlobSource,
    folder: PathBuf,
    patched: BTreeMap<Digest, &'a Patched>,
}

impl BlobSource for Builder<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        if let Some(patched) = self.patched.get(digest) {
            let mut blob = self.blob(patched).map_err(io::Error::other)?;
            blob.rewind()?;
            return Ok(Box::new(blob));
        }
        if self.delta.bundle.blob_size(digest).is_some() {
            let blob = self.delta.bundle.open_blob_at(digest, 0).map_err(io::Error::other)?;
            return Ok(Box::new(blob));
        }
        self.old.open(digest)
    }
}

impl Builder<'_> {
    /// The bytes of `index.json`.
    fn index(&self) -> Result<Vec<u8>, DeltaError> {
        let index = &self.delta.recipe.index;
        let mut bytes = Vec::new();
        let mut content = self.content(index)?;
        content
            .rewind()
            .and_then(|()| content.read_to_end(&mut bytes))
            .map_err(DeltaError::io("read a scratch file"))?;
        if hash::digest(&bytes) == index.digest {
            return Ok(bytes);
        }
        Err(DeltaError::Differs { digest: index.digest, made_with: self.delta.recipe.zstd })
    }

    /// A scratch file with a blob that is patched together.
    fn blob(&self, recipe: &Patched) -> Result<File, DeltaError> {
        let content = self.content(recipe)?;
        if recipe.packing == Packing::Plain {
            return Ok(content);
        }
        let blob = old::scratch(&self.folder)?;
        packing::pack(&content, recipe.packing, &blob)
            .map_err(DeltaError::io(format!("compress blob {}", recipe.digest)))?;
        Ok(blob)
    }

    /// A scratch file with the content of a blob.
    fn content(&self, recipe: &Patched) -> Result<File, DeltaError> {
        let start = old::contents(self.old, &recipe.old, &self.folder)?;
        let content = old::scratch(&self.folder)?;
        let patches = self.delta.bundle.open_blob_at(&self.delta.patches, recipe.at)?;
        let applied = patch::apply(&start, patches.take(recipe.length), recipe.content, &content);
        applied.map_err(DeltaError::io(format!("patch blob {} together", recipe.digest)))?;
        Ok(content)
    }
}
