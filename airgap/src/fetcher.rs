//! From what is wanted to a lock, and from a lock to a full store.
//!
//! 1. Every artifact runs on its own: its sources are tried in order, each under a permit of its lane (a few transfers, one build).
//! 2. *Resolve* keeps the first source's digest for all of them. *Fetch* takes the locked bytes from any of them.
//! 3. A failing artifact stops nothing else. In the end there is either everything, or every failure of every source.
//!
//! Whatever the store has is read again and compared before it counts. When everything is there, nothing goes over the network.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use qiji_blueprint::lock::{self, Artifact, Lock, Pinned, Wanted};

use crate::error::{ArtifactFailure, Attempt, FetchErrors, SourceError, StoreError, chain};
use crate::http::{Http, SetupError};
use crate::progress::{ArtifactName, Event, Meter};
use crate::registry::{Credentials, Registries};
use crate::settings::Settings;
use crate::source::{self, Context, Found, Job, Lane, Source, Trust, image_blobs};
use crate::store::Store;

/// Gets artifacts into a store.
#[derive(Debug, Clone)]
pub struct Fetcher {
    store: Store,
    settings: Settings,
    http: Http,
    credentials: Arc<Credentials>,
}

/// A lock, and how far what the sources told can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The lock.
    pub lock: Lock,
    /// One for each artifact, in the lock's order.
    pub provenance: Vec<Provenance>,
}

/// How an artifact was found while locking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The artifact.
    pub artifact: ArtifactName,
    /// The source that gave it, for people.
    pub source: String,
    /// How far that can be trusted.
    pub trust: Trust,
}

/// What a fetch did. Everything that the lock names is in the store, and was compared with its digest in this call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// One for each artifact, in the lock's order.
    pub artifacts: Vec<FetchedArtifact>,
}

/// One artifact in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedArtifact {
    /// The artifact.
    pub artifact: ArtifactName,
    /// Its pin.
    pub pin: Pinned,
    /// The source that gave it; none when it was in the store.
    pub source: Option<String>,
}

impl Fetcher {
    /// A fetcher into `store`. Fails only where the settings name certificates or logins that cannot be read.
    pub fn new(store: Store, settings: Settings) -> Result<Self, SetupError> {
        let http = Http::new(&settings)?;
        let credentials = match &settings.registry_config {
            Some(path) => Credentials::load(path)?,
            None => Credentials::default(),
        };
        Ok(Self { store, settings, http, credentials: Arc::new(credentials) })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Finds digest and size of everything wanted: builds Go mains, takes the newest Debian versions, follows tags.
    pub async fn resolve(&self, wanted: &Wanted) -> Result<Resolved, FetchErrors> {
        let context = self.context(&wanted.artifacts);
        let context = &context;
        let found = join_all(wanted.artifacts.iter().map(|artifact| resolve_one(context, artifact))).await;
        let (artifacts, provenance) = gather(found)?.into_iter().unzip();
        let lock = Lock {
            site: wanted.site.clone(),
            version: wanted.version.clone(),
            site_digest: wanted.site_digest,
            artifacts,
            layers: wanted.layers.clone(),
            images: wanted.images.clone(),
            packages: wanted.packages.clone(),
        };
        Ok(Resolved { lock, provenance })
    }

    /// Puts everything that the lock names into the store.
    pub async fn fetch(&self, lock: &Lock) -> Result<Fetched, FetchErrors> {
        let context = self.context(&lock.artifacts);
        let context = &context;
        let fetched = join_all(lock.artifacts.iter().map(|artifact| fetch_one(context, artifact))).await;
        Ok(Fetched { artifacts: gather(fetched)? })
    }

    fn context<P>(&self, artifacts: &[Artifact<P>]) -> Context {
        let packages: BTreeSet<String> = artifacts
            .iter()
            .flat_map(|artifact| &artifact.sources)
            .filter_map(|source| match source {
                lock::Source::Debian { package, .. } => Some(package.clone()),
                _ => None,
            })
            .collect();
        let registries = Registries::new(&self.settings, self.credentials.clone());
        Context::new(self.store.clone(), self.settings.clone(), self.http.clone(), registries, packages)
    }
}

/// All results, or all failures.
fn gather<T>(results: Vec<Result<T, ArtifactFailure>>) -> Result<Vec<T>, FetchErrors> {
    let (mut good, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(good) } else { Err(FetchErrors { failures }) }
}

fn name<P>(artifact: &Artifact<P>) -> ArtifactName {
    ArtifactName { name: artifact.name.clone(), arch: artifact.arch }
}

fn failure<P>(artifact: &Artifact<P>, attempts: Vec<Attempt>) -> ArtifactFailure {
    let (name, version, arch) = (artifact.name.clone(), artifact.version.clone(), artifact.arch);
    ArtifactFailure { name, version, arch, attempts }
}

/// Tells watchers of a failed attempt and keeps it.
fn note<P>(context: &Context, artifact: &Artifact<P>, source: String, cause: SourceError) -> Attempt {
    let event = Event::Failed { artifact: name(artifact), source: source.clone(), cause: chain(&cause) };
    (context.settings.watcher)(event);
    Attempt { source, cause }
}

fn finished<P>(context: &Context, artifact: &Artifact<P>, size: u64, held: bool) {
    (context.settings.watcher)(Event::Finished { artifact: name(artifact), size, held });
}

/// Waits for the source's lane, tells watchers, and gives the job for it with the permit.
async fn begin<'a, P>(
    context: &'a Context,
    artifact: &Artifact<P>,
    source: &dyn Source,
) -> (Job<'a>, Option<tokio::sync::SemaphorePermit<'a>>) {
    let lane = match source.lane() {
        Lane::Transfer => &context.transfers,
        Lane::Build => &context.builds,
    };
    // Lanes are never closed, so there is always a permit.
    let permit = lane.acquire().await.ok();
    let watcher = context.settings.watcher.clone();
    watcher(Event::Started { artifact: name(artifact), source: source.label() });
    let meter = Meter::new(watcher, name(artifact), source.label());
    (Job { context, arch: artifact.arch, meter }, permit)
}

async fn resolve_one(
    context: &Context,
    artifact: &Artifact<()>,
) -> Result<(Artifact<Pinned>, Provenance), ArtifactFailure> {
    let mut attempts = Vec::new();
    for (index, source) in source::of(artifact, context) {
        let (job, _permit) = begin(context, artifact, source.as_ref()).await;
        match source.resolve(&job).await {
            Ok(found) => {
                finished(context, artifact, found.pin.size, false);
                let trust = found.trust.clone();
                let provenance = Provenance { artifact: name(artifact), source: source.label(), trust };
                return Ok((pinned(artifact, index, found), provenance));
            }
            Err(cause) => attempts.push(note(context, artifact, source.label(), cause)),
        }
    }
    Err(failure(artifact, attempts))
}

/// The artifact with its pin, and with the source that gave it named for good.
fn pinned(artifact: &Artifact<()>, index: usize, found: Found) -> Artifact<Pinned> {
    let mut sources = artifact.sources.clone();
    sources[index] = found.source;
    Artifact {
        name: artifact.name.clone(),
        version: artifact.version.clone(),
        arch: artifact.arch,
        pin: found.pin,
        sources,
    }
}

async fn fetch_one(
    context: &Context,
    artifact: &Artifact<Pinned>,
) -> Result<FetchedArtifact, ArtifactFailure> {
    let done = |source| FetchedArtifact { artifact: name(artifact), pin: artifact.pin, source };
    match held(context, artifact).await {
        Ok(true) => {
            finished(context, artifact, artifact.pin.size, true);
            return Ok(done(None));
        }
        Ok(false) => {}
        Err(cause) => {
            let attempt = note(context, artifact, "the artifact store".to_owned(), cause.into());
            return Err(failure(artifact, vec![attempt]));
        }
    }
    let mut attempts = Vec::new();
    for (_, source) in source::of(artifact, context) {
        let (job, _permit) = begin(context, artifact, source.as_ref()).await;
        match source.fetch(&job, &artifact.pin).await {
            Ok(()) => {
                finished(context, artifact, artifact.pin.size, false);
                return Ok(done(Some(source.label())));
            }
            Err(cause) => attempts.push(note(context, artifact, source.label(), cause)),
        }
    }
    Err(failure(artifact, attempts))
}

/// Whether the store has the artifact, whole; of an image, all its blobs.
async fn held(context: &Context, artifact: &Artifact<Pinned>) -> Result<bool, StoreError> {
    let _permit = context.transfers.acquire().await.ok();
    let (store, pin) = (context.store.clone(), artifact.pin);
    let is_image = artifact.sources.iter().any(lock::Source::gives_image);
    crate::blocking(move || {
        if !store.holds(&pin)? {
            return Ok(false);
        }
        if is_image { image_held(&store, &pin) } else { Ok(true) }
    })
    .await
}

fn image_held(store: &Store, pin: &Pinned) -> Result<bool, StoreError> {
    let path = store.blob_path(&pin.digest);
    let bytes = fs_err::read(path).map_err(StoreError::io("read an image manifest"))?;
    for blob in image_blobs(&bytes).unwrap_or_default() {
        if !store.holds(&blob)? {
            return Ok(false);
        }
    }
    Ok(true)
}
