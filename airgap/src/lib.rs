//! Getting each artifact that a lock names into a content-addressed store, and putting layers, images and host packages together from them.
//!
//! ```text
//! Wanted ──Fetcher::resolve──> Lock ──Fetcher::fetch──> Store ──assemble──> Assembled
//! ```
//!
//! 1. [`Fetcher::resolve_charts`] gets Helm charts and [`Helm`] renders them, since it takes that to know their images; then [`Fetcher::resolve`]
//!    finds digest and size of everything wanted.
//! 2. [`Fetcher::fetch`] puts exactly that into a [`Store`], from whichever source has it.
//! 3. [`ingredients`] finds out what they are made of.
//! 4. [`endorse`] holds images from elsewhere to the keys that must have signed them.
//! 5. [`assemble`] makes the layers, images and packages from the store alone: same lock in, same bytes out, on any machine.
//!
//! Guarantees: nothing is used that was not compared with its digest in the same run; what failed is told whole, for all artifacts
//! and all sources; what was fetched or built once is not fetched or built again; with everything in the store no network is touched.
//!
//! This crate knows nothing of what a site looks like.

mod assemble;
mod deb;
mod endorse;
mod error;
mod fetcher;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod helm;
mod http;
mod image;
mod inside;
mod layer;
mod progress;
mod recipe;
mod registry;
mod settings;
mod shared;
mod source;
mod store;

pub use assemble::{
    AssembleError, AssembleErrors, AssembleOptions, Assembled, AssembledImage, AssembledPackage,
    AssembledUpstream, BlobDesc, assemble, assemble_with,
};
pub use endorse::{EndorseError, Endorsement, ImageKey, ImageKeyError, Unsigned, endorse};
pub use error::{ArtifactFailure, Attempt, FetchErrors, SourceError, StoreError};
pub use fetcher::{Fetched, FetchedArtifact, Fetcher, Provenance, Resolved, ResolvedChart};
pub use helm::{Helm, HelmError, Release};
pub use http::SetupError;
pub use inside::{InsideError, InsideErrors, ingredients};
pub use layer::LayerError;
pub use progress::{ArtifactName, Event, Watcher};
pub use registry::{CredentialsError, Mirror, MirrorError};
pub use settings::{Containerd, DEBIAN_KEYRING, DEBIAN_MIRROR, Settings};
pub use source::Trust;
pub use store::{BlobWriter, Store};

/// Runs blocking work away from the async tasks, and hands a panic on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
