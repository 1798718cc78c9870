//! An image in a registry, or in a mirror of it.

use async_trait::async_trait;
use oci_spec::distribution::Reference;
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Pinned};

use super::{Said, Shelf};
use crate::error::SourceError;
use crate::registry::{Place, Repository};
use crate::source::Job;

/// See the module.
pub(in crate::source) struct RegistryShelf {
    /// The reference as it is written.
    pub(in crate::source) written: String,
    pub(in crate::source) reference: Reference,
    pub(in crate::source) place: Place,
}

impl RegistryShelf {
    async fn open<'a>(&self, job: &Job<'a>) -> Result<Repository<'a>, SourceError> {
        Repository::open(&job.context.http, &job.context.registries, &self.place).await
    }
}

#[async_trait]
impl Shelf for RegistryShelf {
    fn label(&self) -> String {
        if self.place.mirror {
            return format!("registry image {} (from mirror {})", self.written, self.place);
        }
        format!("registry image {}", self.written)
    }

    fn voucher(&self) -> String {
        format!("as {} gave it", self.place.registry)
    }

    async fn top(&self, job: &Job<'_>) -> Result<Vec<u8>, SourceError> {
        let name = self.reference.digest().or(self.reference.tag()).unwrap_or("latest");
        self.open(job).await?.top(name).await
    }

    async fn manifest(&self, job: &Job<'_>, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        self.open(job).await?.manifest(&digest.to_string()).await
    }

    async fn blob(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        self.open(job).await?.blob(&job.context.store, pin, &job.meter).await
    }

    async fn said_of(&self, job: &Job<'_>, subject: &Digest) -> Result<Option<Vec<Said>>, SourceError> {
        let said = self.open(job).await?.said_of(subject).await?;
        Ok(Some(said.into_iter().map(|(tag, bytes)| Said { tag, bytes }).collect()))
    }

    fn pinned(&self, manifest: &Digest) -> lock::Source {
        let plain = self.written.split('@').next().unwrap_or(&self.written);
        lock::Source::Oci { reference: format!("{plain}@{manifest}") }
    }
}
