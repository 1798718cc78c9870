//! The bundle: one signed file that carries everything a site needs. The format is specified in `docs/bundle-format.md`.
//!
//! A bundle is made in one step and used in three, each its own type:
//!
//! 1. [`write()`] turns a [`BundleSpec`] and a [`BlobSource`] into a file, signed with one or more [`SigningKey`]s.
//! 2. [`Untrusted::open`] reads a file's structure. Nothing that it gives may be acted upon; it can be shown.
//! 3. [`Untrusted::verify`] checks signatures against [`TrustedKeys`] and hashes every byte in one pass.
//! 4. [`Verified`] gives out artifacts, and checks each blob again while it is read.
//!
//! Guarantees: the same spec gives the same bytes whatever the order of its lists, and no byte of a bundle can change unnoticed: those that no
//! digest covers (headers, padding, `index.json`, `oci-layout`) are compared with what they must be. Memory does not grow with
//! the size of blobs, only with their number.
//!
//! Limits: a blob is below 8 GiB (the size field of a ustar header), a JSON document at most 4 MiB, a bundle at most 65,536 blobs.

mod contents;
mod dsse;
mod error;
mod hash;
mod inspect;
mod key;
mod oci;
mod read;
mod render;
mod tar;
mod write;

pub use contents::{Blob, BundleSpec, DocumentEntry, ImageEntry, Owner, PackageEntry};
pub use dsse::{open_envelope, seal};
pub use error::{Class, Fault, VerifyError, WriteError};
pub use inspect::{
    DocumentSummary, ImageSummary, Inspection, LayerSummary, PackageSummary, SignatureState, SignatureSummary,
};
pub use key::{KeyError, KeyId, Passphrase, PublicKey, SigningKey, TrustedKeys};
pub use read::{BlobRange, FileMedium, Medium, Untrusted, Verified, VerifyingReader};
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
