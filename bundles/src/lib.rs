//! The bundle: one signed file that carries everything a site needs. The format is specified in `docs/bundle-format.md`.
//!
//! A bundle is made in one step and used in others, each its own type:
//!
//! 1. [`write()`] turns a [`BundleSpec`] and a [`BlobSource`] into a file, signed with the [`SigningKey`]s that are given.
//! 2. [`Untrusted::open`] reads a file's structure. Nothing that it gives may be acted upon; it can be shown.
//! 3. [`sign()`] adds signatures to a [`Whole`] one, whose bytes were checked but whose signatures were not.
//! 4. [`Untrusted::verify`] checks signatures against [`TrustedKeys`] and hashes every byte in one pass.
//! 5. [`Verified`] gives out artifacts, and checks each blob again while it is read.
//!
//! A verified bundle can be given out as a registry: [`serve`].
//!
//! What a site holds already need not be carried again: [`Inventory`], [`write_delta`], [`Delta`].
//!
//! Whose signatures count is said by keys, or by a [`Policy`]; what a site holds to and has accepted is its [`SiteTrust`].
//!
//! Guarantees: the same spec gives the same bytes whatever the order of its lists, and no byte of a bundle can change unnoticed: those that no
//! digest covers (headers, padding, `index.json`, `oci-layout`) are compared with what they must be. Memory does not grow with
//! the size of blobs, only with their number.
//!
//! Limits: a blob is below 8 GiB (the size field of a ustar header), a JSON document at most 4 MiB, a bundle at most 65,536 blobs.

mod contents;
mod delta;
pub mod diff;
mod dsse;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hash;
mod inspect;
mod key;
mod oci;
mod read;
mod render;
pub mod sbom;
pub mod serve;
mod sign;
mod statement;
mod tar;
mod trust;
mod volumes;
mod write;

pub use contents::{
    Blob, BundleSpec, ChartEntry, DocumentEntry, ImageEntry, Owner, PackageEntry, SbomEntry, UpstreamEntry,
};
pub use delta::{
    Against, Delta, DeltaError, Either, HeldBlob, HeldBundle, Inventory, Missing, OldBundles,
    RECIPE_DOCUMENT, Rebuilt, WrittenDelta, delta_of, write_delta,
};
pub use dsse::{open_envelope, seal};
pub use error::{Class, Fault, VerifyError, WriteError};
pub use inspect::{
    ChartSummary, DocumentSummary, ImageSummary, Inspection, LayerSummary, PackageSummary, SignatureState,
    SignatureSummary, UpstreamSummary,
};
pub use key::{KeyError, KeyId, KeyKind, Passphrase, PublicKey, SigningKey};
pub use read::{
    BlobRange, FileMedium, Medium, Sbom, Side, Stamp, Untrusted, Verified, VerifyingReader, Whole,
};
pub use sign::sign;
pub use trust::{
    Accepted, Policy, PolicyError, PolicyFile, PolicyKey, Release, SiteTrust, Standing, TrustError,
    TrustedKeys,
};
pub use volumes::{
    Condition, Division, Health, Hopeless, OpenError, Parity, Ranges, RepairError, Shape, SplitError,
    SplitVolumes, Stray, VolumeHealth, VolumeSet, split,
};
pub use write::{BlobSource, Written, write};

/// How far a pass over a bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read or written so far.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Media type of layers that are one plain file: documents, and packages such as the `qiji` binary.
pub const RAW_FILE: &str = "application/octet-stream";

/// Media type of the archive of a Helm chart, as registries have it.
pub const CHART_ARCHIVE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// Media type of a file of values for a Helm chart (RFC 9512).
pub const CHART_VALUES: &str = "application/yaml";
