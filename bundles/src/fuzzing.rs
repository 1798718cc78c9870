//! Ways in for fuzz targets, to parsers that have no public way of their own. Not a part of the product: the feature `fuzzing` is off.

use std::fs::File;
use std::io;

use crate::delta::{DeltaError, Recipe, patch};

/// Reads a recipe that belongs to that many bytes of patches, and writes it again.
pub fn recipe(bytes: &[u8], patches: u64) -> Result<Vec<u8>, DeltaError> {
    Recipe::parse(bytes, patches).map(|recipe| recipe.to_bytes())
}

/// The patch from one content to another.
pub fn make_patch(old: &File, new: &File, scratch: &File) -> io::Result<Vec<u8>> {
    let mut patch = Vec::new();
    patch::make(old, new, scratch, &mut patch)?;
    Ok(patch)
}

/// Applies a patch that says to give `size` bytes.
pub fn apply_patch(old: &File, patch: &[u8], size: u64) -> io::Result<Vec<u8>> {
    let mut new = Vec::new();
    patch::apply(old, patch, size, &mut new)?;
    Ok(new)
}
