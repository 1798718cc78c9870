//! A bundle as one side of a comparison: a verified one, or one that only claims what it holds. What it gives can be shown, and not be acted upon.

use std::io;

use qiji_blueprint::Digest;

use super::blob::VerifyingReader;
use super::{Bundle, Untrusted, Verified};
use crate::contents::{ImageEntry, PackageEntry};
use crate::diff::Holdings;
use crate::error::VerifyError;

/// One side.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    bundle: &'a Bundle,
    verified: bool,
}

impl Untrusted {
    /// The bundle as a side of a comparison.
    pub const fn side(&self) -> Side<'_> {
        Side { bundle: &self.bundle, verified: false }
    }
}

impl Verified {
    /// The bundle as a side of a comparison.
    pub fn side(&self) -> Side<'_> {
        Side { bundle: &self.bundle, verified: true }
    }
}

impl<'a> Side<'a> {
    /// What it holds.
    pub fn holdings(self) -> Result<Holdings, VerifyError> {
        let mut summary = self.bundle.inspect(None);
        summary.verified = self.verified;
        let sboms = self.bundle.sboms().map_err(VerifyError::at(&self.bundle.path))?;
        let descriptions = sboms.iter().filter_map(|sbom| sbom.description.as_ref().ok());
        Ok(Holdings::of_bundle(&summary, descriptions))
    }

    pub(crate) fn images(self) -> impl Iterator<Item = &'a ImageEntry> {
        self.bundle.parsed.contents.images.iter()
    }

    pub(crate) fn packages(self) -> impl Iterator<Item = &'a PackageEntry> {
        self.bundle.parsed.contents.packages.iter()
    }

    pub(crate) fn blob(self, digest: &Digest) -> Result<VerifyingReader, VerifyError> {
        self.bundle.blob(digest)
    }

    pub(crate) fn failed(self, error: io::Error) -> VerifyError {
        self.bundle.failed(error)
    }
}
