//! From what is wanted to a lock, and from a lock to a full store.
//!
//! 1. Every artifact runs on its own: its sources are tried in order, each under a permit of its lane (a few transfers, one build).
//! 2. *Resolve* keeps the first source's digest for all of them. *Fetch* takes the locked bytes from any of them.
//! 3. A failing artifact stops nothing else. In the end there is either everything, or every failure of every source.
//!
//! Whatever the store has is read again and compared before it counts. When everything is there, nothing goes over the network.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::{join_all, join3};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Artifact, Chart, Lock, Pinned, Upstream, Wanted};
use qiji_blueprint::site::Arch;

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

/// A chart whose archive was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedChart {
    /// Its archive.
    pub pin: Pinned,
    /// Its sources, for the lock.
    pub sources: Vec<lock::Source>,
    /// Where it was found.
    pub provenance: Provenance,
}

/// What a fetch did. Everything that the lock names is in the store, and was compared with its digest in this call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// One for each artifact, in the lock's order, then one for each chart and for each upstream.
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
        let found = gather(found)?;
        let mut upstreams = Vec::new();
        for said in gather(join_all(asked(wanted, &found).iter().map(|image| image.ask(context))).await)? {
            upstreams.extend(said);
        }
        upstreams.sort_by(|a: &Upstream, b| a.name.cmp(&b.name));
        upstreams.dedup_by(|a, b| a.name == b.name);
        let (artifacts, provenance) =
            found.into_iter().map(|found| (found.artifact, found.provenance)).unzip();
        let lock = Lock {
            site: wanted.site.clone(),
            version: wanted.version.clone(),
            site_digest: wanted.site_digest,
            artifacts,
            layers: wanted.layers.clone(),
            images: wanted.images.clone(),
            packages: wanted.packages.clone(),
            charts: wanted.charts.clone(),
            upstreams,
        };
        Ok(Resolved { lock, provenance })
    }

    /// Finds digest and size of each chart's archive, and puts it into the store. The charts' own sources are named for good.
    ///
    /// Gives a pin, sources and provenance for each chart, in the order given.
    pub async fn resolve_charts(&self, charts: &[Chart<()>]) -> Result<Vec<ResolvedChart>, FetchErrors> {
        let context = self.context::<()>(&[]);
        let found = join_all(charts.iter().map(|chart| resolve_chart(&context, chart))).await;
        let found = gather(found)?.into_iter();
        Ok(found.map(|(pin, sources, provenance)| ResolvedChart { pin, sources, provenance }).collect())
    }

    /// Puts everything that the lock names into the store, but for files of values, which lie with the site file.
    pub async fn fetch(&self, lock: &Lock) -> Result<Fetched, FetchErrors> {
        let context = self.context(&lock.artifacts);
        let context = &context;
        let artifacts = join_all(lock.artifacts.iter().map(|artifact| fetch_one(context, artifact)));
        let charts = lock.charts.iter().map(|chart| async move {
            Ask::chart(chart, context).fetch(context, chart.pin, Kind::File).await
        });
        let upstreams = lock.upstreams.iter().map(|upstream| async move {
            Ask::upstream(upstream, context).fetch(context, upstream.pin, Kind::Upstream).await
        });
        let (mut fetched, charts, upstreams) = join3(artifacts, join_all(charts), join_all(upstreams)).await;
        fetched.extend(charts);
        fetched.extend(upstreams);
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

/// What something is, and so what must be in the store of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One file.
    File,
    /// A manifest and its blobs.
    Image,
    /// A manifest and its blobs, or an index alone.
    Upstream,
}

/// One thing that sources are asked for.
struct Ask<'a> {
    name: ArtifactName,
    version: &'a str,
    sources: Vec<(usize, Box<dyn Source>)>,
}

impl<'a> Ask<'a> {
    fn artifact<P>(artifact: &'a Artifact<P>, context: &Context) -> Self {
        let name = ArtifactName { name: artifact.name.clone(), arch: Some(artifact.arch) };
        Self { name, version: &artifact.version, sources: source::of(&artifact.sources, context) }
    }

    fn chart<P>(chart: &'a Chart<P>, context: &Context) -> Self {
        let sources = source::of_chart(chart, context);
        Self { name: ArtifactName::of_chart(&chart.name), version: &chart.version, sources }
    }

    fn upstream(upstream: &'a Upstream, context: &Context) -> Self {
        let name = ArtifactName { name: upstream.name.clone(), arch: None };
        Self { name, version: "", sources: source::of(&upstream.sources, context) }
    }

    fn failure(&self, attempts: Vec<Attempt>) -> ArtifactFailure {
        let (ArtifactName { name, arch }, version) = (self.name.clone(), self.version.to_owned());
        ArtifactFailure { name, version, arch, attempts }
    }

    /// Tells watchers of a failed attempt and keeps it.
    fn note(&self, context: &Context, source: String, cause: SourceError) -> Attempt {
        let event =
            Event::Failed { artifact: self.name.clone(), source: source.clone(), cause: chain(&cause) };
        (context.settings.watcher)(event);
        Attempt { source, cause }
    }

    fn finished(&self, context: &Context, size: u64, held: bool) {
        (context.settings.watcher)(Event::Finished { artifact: self.name.clone(), size, held });
    }

    /// Waits for the source's lane, tells watchers, and gives the job for it with the permit.
    async fn begin<'c>(
        &self,
        context: &'c Context,
        source: &dyn Source,
    ) -> (Job<'c>, Option<tokio::sync::SemaphorePermit<'c>>) {
        let lane = match source.lane() {
            Lane::Transfer => &context.transfers,
            Lane::Build => &context.builds,
        };
        // Lanes are never closed, so there is always a permit.
        let permit = lane.acquire().await.ok();
        let watcher = context.settings.watcher.clone();
        watcher(Event::Started { artifact: self.name.clone(), source: source.label() });
        let meter = Meter::new(watcher, self.name.clone(), source.label());
        // What is for every architecture has sources that do not ask for one.
        let arch = self.name.arch.unwrap_or(Arch::Amd64);
        (Job { context, arch, meter }, permit)
    }

    /// What the first source that answers has, with the number of that source.
    async fn resolve(&self, context: &Context) -> Result<(usize, Found, Provenance), ArtifactFailure> {
        let mut attempts = Vec::new();
        for (index, source) in &self.sources {
            let (job, _permit) = self.begin(context, source.as_ref()).await;
            match source.resolve(&job).await {
                Ok(found) => {
                    self.finished(context, found.pin.size, false);
                    let (artifact, trust) = (self.name.clone(), found.trust.clone());
                    return Ok((*index, found, Provenance { artifact, source: source.label(), trust }));
                }
                Err(cause) => attempts.push(self.note(context, source.label(), cause)),
            }
        }
        Err(self.failure(attempts))
    }

    /// Puts the bytes with that pin into the store, unless they are there.
    async fn fetch(
        &self,
        context: &Context,
        pin: Pinned,
        kind: Kind,
    ) -> Result<FetchedArtifact, ArtifactFailure> {
        let done = |source| FetchedArtifact { artifact: self.name.clone(), pin, source };
        match held(context, pin, kind).await {
            Ok(true) => {
                self.finished(context, pin.size, true);
                return Ok(done(None));
            }
            Ok(false) => {}
            Err(cause) => {
                let attempt = self.note(context, "the artifact store".to_owned(), cause.into());
                return Err(self.failure(vec![attempt]));
            }
        }
        let mut attempts = Vec::new();
        for (_, source) in &self.sources {
            let (job, _permit) = self.begin(context, source.as_ref()).await;
            let fetched = match kind {
                Kind::Upstream => source.fetch_upstream(&job, &pin).await,
                Kind::File | Kind::Image => source.fetch(&job, &pin).await,
            };
            match fetched {
                Ok(()) => {
                    self.finished(context, pin.size, false);
                    return Ok(done(Some(source.label())));
                }
                Err(cause) => attempts.push(self.note(context, source.label(), cause)),
            }
        }
        Err(self.failure(attempts))
    }
}

/// An artifact that was found, and the source of it that gave it.
struct FoundArtifact {
    artifact: Artifact<Pinned>,
    provenance: Provenance,
    index: usize,
}

/// An image whose upstreams are asked for: its own name, the source that gave it, and its manifests.
struct AskedImage<'a> {
    name: &'a str,
    version: &'a str,
    source: &'a lock::Source,
    manifests: Vec<Digest>,
}

/// The images among what was found, each once for all architectures.
fn asked<'a>(wanted: &'a Wanted, found: &[FoundArtifact]) -> Vec<AskedImage<'a>> {
    let mut images: Vec<AskedImage<'a>> = Vec::new();
    for (artifact, FoundArtifact { artifact: pinned, index, .. }) in wanted.artifacts.iter().zip(found) {
        let source = &artifact.sources[*index];
        if !source.gives_image() {
            continue;
        }
        match images.iter_mut().find(|image| image.name == artifact.name && image.source == source) {
            Some(image) => image.manifests.push(pinned.pin.digest),
            None => images.push(AskedImage {
                name: &artifact.name,
                version: &artifact.version,
                source,
                manifests: vec![pinned.pin.digest],
            }),
        }
    }
    images
}

impl AskedImage<'_> {
    /// What is said of it where it came from: the first place of its source that answers.
    async fn ask(&self, context: &Context) -> Result<Vec<Upstream>, ArtifactFailure> {
        let name = ArtifactName { name: self.name.to_owned(), arch: None };
        let sources = source::of(std::slice::from_ref(self.source), context);
        let ask = Ask { name, version: self.version, sources };
        let mut attempts = Vec::new();
        for (_, source) in &ask.sources {
            let (job, _permit) = ask.begin(context, source.as_ref()).await;
            match source.upstreams(&job, self.name, &self.manifests).await {
                Ok(said) => return Ok(said),
                Err(cause) => attempts.push(ask.note(context, source.label(), cause)),
            }
        }
        Err(ask.failure(attempts))
    }
}

async fn resolve_one(context: &Context, artifact: &Artifact<()>) -> Result<FoundArtifact, ArtifactFailure> {
    let (index, found, provenance) = Ask::artifact(artifact, context).resolve(context).await?;
    let artifact = Artifact {
        name: artifact.name.clone(),
        version: artifact.version.clone(),
        arch: artifact.arch,
        pin: found.pin,
        sources: named_for_good(&artifact.sources, index, found.source),
    };
    Ok(FoundArtifact { artifact, provenance, index })
}

async fn resolve_chart(
    context: &Context,
    chart: &Chart<()>,
) -> Result<(Pinned, Vec<lock::Source>, Provenance), ArtifactFailure> {
    let (index, found, provenance) = Ask::chart(chart, context).resolve(context).await?;
    Ok((found.pin, named_for_good(&chart.sources, index, found.source), provenance))
}

/// The sources, with the one that gave the bytes named for good.
fn named_for_good(sources: &[lock::Source], index: usize, found: lock::Source) -> Vec<lock::Source> {
    let mut sources = sources.to_vec();
    sources[index] = found;
    sources
}

async fn fetch_one(
    context: &Context,
    artifact: &Artifact<Pinned>,
) -> Result<FetchedArtifact, ArtifactFailure> {
    let is_image = artifact.sources.iter().any(lock::Source::gives_image);
    let kind = if is_image { Kind::Image } else { Kind::File };
    Ask::artifact(artifact, context).fetch(context, artifact.pin, kind).await
}

/// Whether the store has the artifact, whole; of an image, all its blobs.
async fn held(context: &Context, pin: Pinned, kind: Kind) -> Result<bool, StoreError> {
    let _permit = context.transfers.acquire().await.ok();
    let store = context.store.clone();
    crate::blocking(move || {
        if !store.holds(&pin)? {
            return Ok(false);
        }
        if kind == Kind::File { Ok(true) } else { image_held(&store, &pin) }
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
