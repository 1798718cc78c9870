//! An image from wherever it lies: a registry, an archive, a layout, containerd's own store. Each of these is a [`Shelf`].
//!
//! 1. What the image's name stands for is read. An index is followed to the manifest of the architecture; a manifest that stands by
//!    itself must have a configuration of that architecture.
//! 2. While locking, that manifest's digest is the pin, and the source is named for good with it.
//! 3. While fetching, only the digest is asked for: the manifest is compared with it, and every blob with the manifest.
//!
//! All bytes stay as they are: a manifest of Docker's schema 2 and layers in gzip too.

mod archive;
mod aside;
mod containerd;
mod docker;
pub(crate) mod files;
pub(crate) mod platform;
mod registry;
mod upstream;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Pinned, Upstream};
use qiji_blueprint::site::Arch;

use super::{Found, Job, Source, Trust};
use crate::error::SourceError;
use crate::shared::Shared;
use crate::store::Store;
pub(super) use archive::ArchiveShelf;
#[cfg(feature = "fuzzing")]
pub(crate) use archive::fuzz as fuzz_archive;
pub(super) use containerd::ContainerdShelf;
use platform::{Top, choose, image_blobs, pin, platform_of};
pub(super) use registry::RegistryShelf;

/// Archives that a run has opened.
pub(crate) type Archives = Shared<PathBuf, Arc<files::Files>>;

/// The largest manifest or configuration that is read into memory.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// A place that has images.
#[async_trait]
pub(super) trait Shelf: Send + Sync {
    /// The place and the image, for people.
    fn label(&self) -> String;

    /// What vouches for what it gives while nothing is locked, for people.
    fn voucher(&self) -> String;

    /// What the image's name stands for: a manifest, or an index.
    async fn top(&self, job: &Job<'_>) -> Result<Vec<u8>, SourceError>;

    /// A manifest, compared with its digest.
    async fn manifest(&self, job: &Job<'_>, digest: &Digest) -> Result<Vec<u8>, SourceError>;

    /// Puts a blob into the store, compared with its pin.
    async fn blob(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError>;

    /// What is said of a manifest or an index; nothing where the place cannot tell.
    async fn said_of(&self, job: &Job<'_>, subject: &Digest) -> Result<Option<Vec<Said>>, SourceError>;

    /// Whether it has a manifest or an index that something there names. A registry has what its indexes name, or is at fault.
    async fn has(&self, _job: &Job<'_>, _manifest: &Digest) -> Result<bool, SourceError> {
        Ok(true)
    }

    /// The source, named for good.
    fn pinned(&self, manifest: &Digest) -> lock::Source;
}

/// A manifest that is about another one.
pub(super) struct Said {
    /// The tag that it has, or is given.
    pub(super) tag: String,
    /// The manifest.
    pub(super) bytes: Vec<u8>,
}

/// An image on a shelf.
pub(super) struct ImageSource<S>(pub(super) S);

impl<S: Shelf> ImageSource<S> {
    /// The manifest of an architecture.
    async fn of_arch(&self, job: &Job<'_>, arch: Arch) -> Result<Vec<u8>, SourceError> {
        let bytes = self.0.top(job).await?;
        match Top::read(&bytes).map_err(|reason| self.malformed(reason))? {
            Top::Index(index) => {
                let chosen = choose(&index, arch).map_err(|has| self.no_platform(arch, has))?;
                let pin = pin(chosen).map_err(|reason| self.malformed(reason))?;
                self.0.manifest(job, &pin.digest).await
            }
            Top::Manifest => {
                let has = self.platform(job, &bytes).await?;
                if has == format!("linux/{arch}") { Ok(bytes) } else { Err(self.no_platform(arch, has)) }
            }
        }
    }

    /// The platform of a manifest that no index tells it of.
    async fn platform(&self, job: &Job<'_>, manifest: &[u8]) -> Result<String, SourceError> {
        let blobs = image_blobs(manifest).map_err(|reason| self.malformed(reason))?;
        let config = blobs.first().ok_or_else(|| self.malformed("it has no configuration".to_owned()))?;
        if config.size > DOCUMENT_LIMIT {
            return Err(self.malformed(format!("its configuration has {} bytes", config.size)));
        }
        self.0.blob(job, config).await?;
        let bytes = read(&job.context.store, config)?;
        platform_of(&bytes).map_err(|reason| self.malformed(reason))
    }

    fn malformed(&self, reason: String) -> SourceError {
        SourceError::Malformed { what: self.0.label(), reason }
    }

    fn no_platform(&self, arch: Arch, has: String) -> SourceError {
        SourceError::NoPlatform { reference: self.0.label(), arch, has }
    }
}

fn read(store: &Store, pin: &Pinned) -> Result<Vec<u8>, SourceError> {
    let fault = crate::error::StoreError::io(format!("read blob {}", pin.digest.short()));
    Ok(fs_err::read(store.blob_path(&pin.digest)).map_err(fault)?)
}

#[async_trait]
impl<S: Shelf> Source for ImageSource<S> {
    fn label(&self) -> String {
        self.0.label()
    }

    async fn resolve(&self, job: &Job<'_>) -> Result<Found, SourceError> {
        let bytes = self.of_arch(job, job.arch).await?;
        image_blobs(&bytes).map_err(|reason| self.malformed(reason))?;
        let pin = job.context.store.put(&bytes)?;
        Ok(Found { pin, source: self.0.pinned(&pin.digest), trust: Trust::Transport(self.0.voucher()) })
    }

    async fn fetch(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        let bytes = self.0.manifest(job, &pin.digest).await?;
        for blob in image_blobs(&bytes).map_err(|reason| self.malformed(reason))? {
            self.0.blob(job, &blob).await?;
        }
        job.context.store.put(&bytes)?;
        Ok(())
    }

    async fn upstreams(
        &self,
        job: &Job<'_>,
        image: &str,
        manifests: &[Digest],
    ) -> Result<Vec<Upstream>, SourceError> {
        upstream::gather(&self.0, job, image, manifests).await
    }

    async fn fetch_upstream(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        let bytes = self.0.manifest(job, &pin.digest).await?;
        upstream::put(&self.0, job, &bytes).await.map(drop)
    }
}
