//! The sources of artifacts: one small type each behind [`Source`].
//!
//! A source is asked one of two things. *Resolve*: what do you have under that name, by digest, and how is it named for good?
//! *Fetch*: put exactly these bytes into the store. It answers with an error that says what was tried; going on to the next source is
//! the caller's part.

pub(crate) mod chart;
mod debian;
mod folder;
mod go;
mod https;
mod image;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use oci_spec::distribution::Reference;
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Chart, Pinned, Upstream};
use qiji_blueprint::site::Arch;
use tokio::sync::Semaphore;

use crate::error::SourceError;
use crate::http::Http;
use crate::progress::Meter;
use crate::recipe::Recipes;
use crate::registry::{Place, Registries, reference};
use crate::settings::Settings;
use crate::store::Store;

use image::ImageSource;
pub(crate) use image::platform::{image_blobs, pin as platform_pin};
#[cfg(feature = "fuzzing")]
pub(crate) use {
    chart::fuzz as fuzz_chart_index, debian::fuzz as fuzz_debian, image::fuzz_archive, image::platform,
};

/// Where an artifact can be had.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// The source, for people.
    fn label(&self) -> String;

    /// What it uses much of.
    fn lane(&self) -> Lane {
        Lane::Transfer
    }

    /// Finds digest and size, and the name under which exactly this is found again.
    async fn resolve(&self, job: &Job<'_>) -> Result<Found, SourceError>;

    /// Puts the bytes with that pin into the store.
    async fn fetch(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError>;

    /// Finds what others say of an image and of these manifests of it, and puts all of it into the store. Nothing where the source cannot tell.
    async fn upstreams(
        &self,
        _job: &Job<'_>,
        _image: &str,
        _manifests: &[Digest],
    ) -> Result<Vec<Upstream>, SourceError> {
        Ok(Vec::new())
    }

    /// Puts such a thing into the store: a manifest with its blobs, or an index.
    async fn fetch_upstream(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        self.fetch(job, pin).await
    }
}

/// What a source uses much of, and so how many run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The network or a disk.
    Transfer,
    /// All cores.
    Build,
}

/// What all sources of one run share.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) http: Http,
    pub(crate) registries: Registries,
    pub(crate) archives: image::Archives,
    pub(crate) recipes: Recipes,
    pub(crate) indexes: debian::Indexes,
    pub(crate) chart_indexes: chart::Indexes,
    pub(crate) toolchain: go::Toolchain,
    pub(crate) transfers: Semaphore,
    pub(crate) builds: Semaphore,
}

impl Context {
    pub(crate) fn new(
        store: Store,
        settings: Settings,
        http: Http,
        registries: Registries,
        packages: BTreeSet<String>,
    ) -> Self {
        Self {
            store,
            http,
            registries,
            archives: image::Archives::default(),
            recipes: Recipes::new(settings.recipes.clone()),
            indexes: debian::Indexes::new(packages),
            chart_indexes: chart::Indexes::default(),
            toolchain: go::Toolchain::default(),
            transfers: Semaphore::new(settings.transfers.max(1)),
            builds: Semaphore::new(1),
            settings,
        }
    }
}

/// One artifact asked of one source.
pub(crate) struct Job<'a> {
    pub(crate) context: &'a Context,
    pub(crate) arch: Arch,
    pub(crate) meter: Meter,
}

/// What a source has.
pub(crate) struct Found {
    pub(crate) pin: Pinned,
    /// The source with version or reference pinned.
    pub(crate) source: lock::Source,
    /// How far what it says can be trusted.
    pub(crate) trust: Trust,
}

/// How far what a source told while locking can be trusted. Once locked, the digest decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Checked: what was checked, such as a signature and its key.
    Verified(String),
    /// Held by the transport only (TLS, or a local folder): what that was.
    Transport(String),
    /// Not checked, and why: the reader decides whether that will do.
    Unverified(String),
}

/// Sources in the order in which they are tried; a Debian package counts once for each mirror of Debian, an image once
/// for each mirror of its registry.
pub(crate) fn of(sources: &[lock::Source], context: &Context) -> Vec<(usize, Box<dyn Source>)> {
    let mut all: Vec<(usize, Box<dyn Source>)> = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        match source.clone() {
            lock::Source::Go { recipe, output } => {
                all.push((index, Box::new(go::GoSource { recipe, output })));
            }
            lock::Source::Debian { suite, package, version } => {
                for mirror in &context.settings.debian_mirrors {
                    let (suite, package, version) = (suite.clone(), package.clone(), version.clone());
                    let mirror = mirror.trim_end_matches('/').to_owned();
                    all.push((index, Box::new(debian::DebianSource { mirror, suite, package, version })));
                }
            }
            lock::Source::Oci { reference } => {
                all.extend(image_sources(&reference, context).into_iter().map(|source| (index, source)));
            }
            lock::Source::Repository { url, .. } => {
                let reason = "a repository of charts gives charts only";
                let error = SourceError::Refused { url: url.clone(), reason };
                all.push((index, Box::new(Unusable { written: url, error: Arc::new(error) })));
            }
            lock::Source::Https { url } => all.push((index, Box::new(https::HttpsSource { url }))),
            lock::Source::Folder { path } => all.push((index, Box::new(folder::FolderSource { path }))),
            lock::Source::Archive { path, image } => {
                all.push((index, Box::new(ImageSource(image::ArchiveShelf { path, image }))));
            }
            lock::Source::Containerd { image, namespace } => {
                all.push((index, Box::new(ImageSource(image::ContainerdShelf { image, namespace }))));
            }
        }
    }
    all
}

/// The sources of a chart in the order in which they are tried; one in a registry counts once for each mirror of it.
pub(crate) fn of_chart<P>(chart: &Chart<P>, context: &Context) -> Vec<(usize, Box<dyn Source>)> {
    let mut all: Vec<(usize, Box<dyn Source>)> = Vec::new();
    for (index, source) in chart.sources.iter().enumerate() {
        match source.clone() {
            lock::Source::Oci { reference } => {
                let each = in_registries(&reference, context, |written, reference, place| {
                    Box::new(chart::RegistryChart { written, reference, place })
                });
                all.extend(each.into_iter().map(|source| (index, source)));
            }
            lock::Source::Repository { url, file } => {
                let (chart, version) = (chart.chart.clone(), chart.version.clone());
                all.push((index, Box::new(chart::RepositoryChart { url, file, chart, version })));
            }
            lock::Source::Folder { path } => all.push((index, Box::new(folder::FolderSource { path }))),
            other => {
                let (written, reason) = (format!("{other:?}"), "it is no source of charts");
                let error = Arc::new(SourceError::Refused { url: written.clone(), reason });
                all.push((index, Box::new(Unusable { written, error })));
            }
        }
    }
    all
}

fn image_sources(written: &str, context: &Context) -> Vec<Box<dyn Source>> {
    in_registries(written, context, |written, reference, place| {
        Box::new(ImageSource(image::RegistryShelf { written, reference, place }))
    })
}

/// One source for each place that has what a reference names.
fn in_registries(
    written: &str,
    context: &Context,
    source: impl Fn(String, Reference, Place) -> Box<dyn Source>,
) -> Vec<Box<dyn Source>> {
    match reference(written) {
        Ok(reference) => {
            let places = context.registries.places(&reference).into_iter();
            places.map(|place| source(written.to_owned(), reference.clone(), place)).collect()
        }
        Err(error) => vec![Box::new(Unusable { written: written.to_owned(), error: Arc::new(error) })],
    }
}

/// A source that cannot be asked, so that this is told with what the others answer.
struct Unusable {
    written: String,
    error: Arc<SourceError>,
}

#[async_trait]
impl Source for Unusable {
    fn label(&self) -> String {
        self.written.clone()
    }

    async fn resolve(&self, _job: &Job<'_>) -> Result<Found, SourceError> {
        Err(SourceError::Shared(self.error.clone()))
    }

    async fn fetch(&self, _job: &Job<'_>, _pin: &Pinned) -> Result<(), SourceError> {
        Err(SourceError::Shared(self.error.clone()))
    }
}
