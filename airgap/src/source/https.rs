//! A file over HTTPS. While it is not locked it has to be downloaded to learn its digest, which only TLS vouches for.

use async_trait::async_trait;
use qiji_blueprint::lock::{self, Pinned};

use super::{Found, Job, Source, Trust};
use crate::error::SourceError;
use crate::http::{Download, checked};

/// See the module.
pub(super) struct HttpsSource {
    pub(super) url: String,
}

impl HttpsSource {
    async fn download(&self, job: &Job<'_>, expect: Option<Pinned>) -> Result<Pinned, SourceError> {
        checked(&self.url)?;
        let what = Download { url: &self.url, authorization: None, expect };
        job.context.http.download(&job.context.store, &what, &job.meter).await
    }
}

#[async_trait]
impl Source for HttpsSource {
    fn label(&self) -> String {
        self.url.clone()
    }

    async fn resolve(&self, job: &Job<'_>) -> Result<Found, SourceError> {
        let pin = self.download(job, None).await?;
        let source = lock::Source::Https { url: self.url.clone() };
        Ok(Found { pin, source, trust: Trust::Transport(format!("as {} gave it", self.url)) })
    }

    async fn fetch(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        self.download(job, Some(*pin)).await.map(drop)
    }
}
