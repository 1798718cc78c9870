//! Deltas: what a site lacks of a bundle, below the level of whole layers.
//!
//! 1. An [`Inventory`] says what a site holds: which bundles, and of each blob its digest, its size and what it is used for.
//! 2. [`write_delta`] and [`delta_of`] write a delta: blobs that the site lacks come as a patch from an old content that it holds, or whole where
//!    that is smaller. What is patched is the content and not the compressed bytes, of which a patch would be no smaller; the recipe says how
//!    the content is compressed again, and the builder has tried that it gives the same bytes.
//! 3. A delta is a bundle with documents alone: the recipe ([`RECIPE_DOCUMENT`]), the patches, and the blobs that come whole. It is signed, verified,
//!    cut into volumes and read like any other, and carries the signatures of the bundle that it rebuilds.
//! 4. [`Delta::open`] reads a verified one, and [`Delta::rebuild`] writes the whole bundle: the same bytes as if it had been carried in.
//!
//! Guarantees: the same bundle against the same inventory gives the same delta. What is rebuilt is compared with its digest before it takes its
//! place. A site that lacks the base is refused before anything is written, with all that is missing named. Any older bundle can be a base, so a
//! delta that got lost is nothing to worry about. Memory does not grow with bundles, layers or what a recipe claims.
//!
//! Limits: room for the uncompressed content of the largest layer and of its base is needed beside the output, twice. Layers that were compressed
//! by other programs than zstd cannot be compressed again to the same bytes and come whole.

mod error;
mod inventory;
mod make;
mod old;
mod packing;
pub(crate) mod patch;
mod rebuild;
mod recipe;
mod uses;

pub use error::{DeltaError, Missing};
pub use inventory::{HeldBlob, HeldBundle, Inventory};
pub use make::{Against, WrittenDelta, delta_of, write_delta};
pub use old::{Either, OldBundles};
pub use rebuild::{Delta, Rebuilt};
pub use recipe::RECIPE_DOCUMENT;
#[cfg(feature = "fuzzing")]
pub(crate) use recipe::Recipe;
