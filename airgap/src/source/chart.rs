//! A Helm chart in a registry or in a repository of charts. What a chart is, everywhere, is the archive that `helm package` makes; it stays byte for byte.
//!
//! - A registry has it as an OCI artifact (helm.sh, *Use OCI-based registries*): a manifest whose configuration is of [`CONFIG`], with one layer of
//!   [`CONTENT`]. The version is the tag, a `+` of it written as `_`.
//! - A repository has an `index.yaml`, which names the archives of each chart and version (helm.sh, *The Chart Repository Guide*). It is asked once a run.
//!
//! While locking, the archive is put into the store at once: it has to be rendered to know its images.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use oci_spec::distribution::Reference;
use oci_spec::image::ImageManifest;
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Pinned};
use reqwest::Url;
use serde::Deserialize;

use super::image::platform::pin;
use super::{Found, Job, Source, Trust};
use crate::error::{SourceError, StoreError};
use crate::http::{Download, checked};
use crate::registry::{Place, Repository};
use crate::shared::Shared;

/// Media type of a chart's metadata.
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
/// Media type of a chart's archive.
const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// Versions that are shown where the one that was asked for is not there.
const SHOWN: usize = 5;

/// A chart in a registry, or in a mirror of it.
pub(super) struct RegistryChart {
    /// The reference as it is written.
    pub(super) written: String,
    pub(super) reference: Reference,
    pub(super) place: Place,
}

impl RegistryChart {
    async fn open<'a>(&self, job: &Job<'a>) -> Result<Repository<'a>, SourceError> {
        Repository::open(&job.context.http, &job.context.registries, &self.place).await
    }

    /// The archive that a manifest names.
    fn archive(&self, manifest: &[u8]) -> Result<Pinned, SourceError> {
        let malformed = |reason: String| SourceError::Malformed { what: self.label(), reason };
        let manifest: ImageManifest = serde_json::from_slice(manifest)
            .map_err(|error| malformed(format!("it is not a manifest of one artifact: {error}")))?;
        let kind = manifest.config().media_type().to_string();
        if kind != CONFIG {
            return Err(malformed(format!("it is no Helm chart, but has a configuration of type {kind}")));
        }
        let layer = manifest.layers().iter().find(|layer| layer.media_type().to_string() == CONTENT);
        pin(layer.ok_or_else(|| malformed(format!("it has no layer of type {CONTENT}")))?).map_err(malformed)
    }
}

#[async_trait]
impl Source for RegistryChart {
    fn label(&self) -> String {
        let mirror = if self.place.mirror { format!(" (from mirror {})", self.place) } else { String::new() };
        format!("registry chart {}{mirror}", self.written)
    }

    async fn resolve(&self, job: &Job<'_>) -> Result<Found, SourceError> {
        let name = self.reference.digest().or(self.reference.tag()).unwrap_or("latest");
        let repository = self.open(job).await?;
        let manifest = repository.top(name).await?;
        let pin = self.archive(&manifest)?;
        repository.blob(&job.context.store, &pin, &job.meter).await?;
        let plain = self.written.split('@').next().unwrap_or(&self.written);
        let source = lock::Source::Oci { reference: format!("{plain}@{}", Digest::of(&manifest)) };
        Ok(Found { pin, source, trust: Trust::Transport(format!("as {} gave it", self.place.registry)) })
    }

    async fn fetch(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        self.open(job).await?.blob(&job.context.store, pin, &job.meter).await
    }
}

/// A chart in a repository of charts.
pub(super) struct RepositoryChart {
    /// Address of the folder of `index.yaml`.
    pub(super) url: String,
    /// Address of the archive, once locked.
    pub(super) file: Option<String>,
    pub(super) chart: String,
    pub(super) version: String,
}

impl RepositoryChart {
    /// Address and, where the index has it, digest of the archive.
    async fn find(&self, job: &Job<'_>) -> Result<(String, Option<String>), SourceError> {
        let base = format!("{}/index.yaml", self.url);
        let slot = job.context.chart_indexes.slot(base.clone());
        let index = slot.get_or_try_init(|| read_index(job, &base)).await?;
        let malformed = |reason: String| SourceError::Malformed { what: base.clone(), reason };
        let entry = index.entry(&self.chart, &self.version).map_err(malformed)?;
        let written = entry.urls.first().ok_or_else(|| malformed("it gives no address".to_owned()))?;
        let url = checked(&base)?.join(written);
        let url: Url = url.map_err(|_| malformed(format!("`{written}` is not an address")))?;
        Ok((url.to_string(), entry.digest.clone()))
    }

    async fn download(
        &self,
        job: &Job<'_>,
        url: &str,
        expect: Option<Pinned>,
    ) -> Result<Pinned, SourceError> {
        checked(url)?;
        let what = Download { url, authorization: None, expect };
        job.context.http.download(&job.context.store, &what, &job.meter).await
    }
}

#[async_trait]
impl Source for RepositoryChart {
    fn label(&self) -> String {
        format!("chart repository {}", self.url)
    }

    async fn resolve(&self, job: &Job<'_>) -> Result<Found, SourceError> {
        let (url, digest) = self.find(job).await?;
        let pin = self.download(job, &url, None).await?;
        if let Some(digest) = digest.filter(|digest| digest.trim_start_matches("sha256:") != pin.digest.hex())
        {
            let reason = format!("the index says that its digest is {digest}, but it has {}", pin.digest);
            return Err(SourceError::Malformed { what: url, reason });
        }
        let source = lock::Source::Repository { url: self.url.clone(), file: Some(url) };
        Ok(Found { pin, source, trust: Trust::Transport(format!("as {} gave it", self.url)) })
    }

    async fn fetch(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        let url = match &self.file {
            Some(url) => url.clone(),
            None => self.find(job).await?.0,
        };
        self.download(job, &url, Some(*pin)).await.map(drop)
    }
}

/// Indexes that a run has asked for, by address.
pub(crate) type Indexes = Shared<String, Arc<Index>>;

/// What of an index is used.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    entries: BTreeMap<String, Vec<Entry>>,
}

/// One version of a chart.
#[derive(Debug, Deserialize)]
struct Entry {
    version: String,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    digest: Option<String>,
}

impl Index {
    /// Reads an index. Large ones have some ten thousand versions.
    fn read(text: &[u8]) -> Result<Self, String> {
        let budget = serde_saphyr::budget! { max_events: 20_000_000, max_nodes: 10_000_000 };
        let options = serde_saphyr::options! { budget: budget, with_snippet: false };
        serde_saphyr::from_slice_with_options(text, options)
            .map_err(|error| format!("it is no index of charts: {error}"))
    }

    /// A version of a chart, or what there is instead.
    fn entry(&self, chart: &str, version: &str) -> Result<&Entry, String> {
        let versions = self.entries.get(chart).ok_or_else(|| format!("it has no chart {chart}"))?;
        let bare = |text: &str| text.strip_prefix('v').unwrap_or(text).to_owned();
        let exact = versions.iter().find(|entry| entry.version == version);
        let found = exact.or_else(|| versions.iter().find(|entry| bare(&entry.version) == bare(version)));
        found.ok_or_else(|| {
            let has: Vec<_> = versions.iter().take(SHOWN).map(|entry| entry.version.as_str()).collect();
            let more = if versions.len() > SHOWN { " and others" } else { "" };
            format!("it has no {chart} {version}, only {}{more}", has.join(", "))
        })
    }
}

async fn read_index(job: &Job<'_>, url: &str) -> Result<Arc<Index>, SourceError> {
    checked(url)?;
    let (what, store) = (Download { url, authorization: None, expect: None }, &job.context.store);
    let pin = job.context.http.download(store, &what, &job.meter).await?;
    let path = store.blob_path(&pin.digest);
    let index = crate::blocking(move || -> Result<_, StoreError> {
        let text = fs_err::read(path).map_err(StoreError::io("read an index of charts"))?;
        Ok(Index::read(&text))
    });
    let index = index.await?;
    index.map(Arc::new).map_err(|reason| SourceError::Malformed { what: url.to_owned(), reason })
}

/// Reads a text as an index of charts, and looks for one in it.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(text: &[u8]) {
    if let Ok(index) = Index::read(text) {
        let _ = index.entry("app", "1.0.0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "apiVersion: v1\nentries:\n  app:\n  - apiVersion: v2\n    name: app\n    version: v1.2.3\n    \
        urls: [charts/app-1.2.3.tgz]\n    digest: 00\n    created: 2026-01-01T00:00:00Z\n  - version: 1.2.2\n    \
        urls:\n    - https://r.example/app-1.2.2.tgz\n  empty: []\ngenerated: 2026-01-01T00:00:00Z\n";

    #[test]
    fn versions_are_found_with_and_without_a_v() {
        let index = Index::read(INDEX.as_bytes()).unwrap();
        assert_eq!(index.entry("app", "1.2.3").unwrap().urls, ["charts/app-1.2.3.tgz"]);
        assert_eq!(index.entry("app", "v1.2.2").unwrap().version, "1.2.2");
        assert_eq!(index.entry("app", "2.0.0").unwrap_err(), "it has no app 2.0.0, only v1.2.3, 1.2.2");
        assert_eq!(index.entry("web", "1.0.0").unwrap_err(), "it has no chart web");
    }

    #[test]
    fn what_is_no_index_is_told() {
        for text in ["", "[1]", "entries: 1", "entries:\n  app:\n  - urls: []", "\u{0}", "a: &a [*a, *a]"] {
            assert!(Index::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
