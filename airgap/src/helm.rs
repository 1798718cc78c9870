//! Rendering Helm charts, with a program of our own over Helm's libraries (`sources/helm`).
//!
//! 1. [`Fetcher::helm`] builds the program for this machine, or takes it from the store.
//! 2. [`Helm::render`] gives a chart from the store to it, and gets objects back.
//!
//! The program is given no environment, no cluster and a folder of its own; it opens no connection. A chart that does not end is stopped
//! after [`PATIENCE`].

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fs_err as fs;
use qiji_blueprint::Digest;
use qiji_blueprint::brought::images::ChartObject;
use qiji_blueprint::lock::{Artifact, Source, Wanted};
use qiji_blueprint::site::Arch;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::error::{FetchErrors, StoreError};
use crate::fetcher::Fetcher;
use crate::store::Store;

const RECIPE: &str = "helm";
const OUTPUT: &str = "helm-render";

/// How long a chart may take to render.
const PATIENCE: Duration = Duration::from_mins(2);

/// A chart could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelmError {
    /// The program that renders could not be had.
    #[error(transparent)]
    Program(#[from] FetchErrors),
    /// The program could not be run.
    #[error("cannot run {OUTPUT}")]
    Run(#[source] std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chart or its values are wrong.
    #[error("chart {release} cannot be rendered: {reason}")]
    Chart {
        /// The chart's release.
        release: String,
        /// What Helm said.
        reason: String,
    },
}

/// A chart and how it is installed.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// Name of the release.
    pub name: &'a str,
    /// Namespace that it is installed into.
    pub namespace: &'a str,
    /// Version of Kubernetes, such as `1.36.3`.
    pub kubernetes: &'a str,
    /// Name and version that the chart must have.
    pub chart: (&'a str, &'a str),
    /// Its archive, in the store.
    pub archive: Digest,
    /// Its files of values, in the store; later ones count over earlier ones.
    pub values: &'a [Digest],
}

/// The program that renders charts.
#[derive(Debug)]
pub struct Helm {
    store: Store,
    program: PathBuf,
    /// Where it runs; goes with the handle.
    folder: tempfile::TempDir,
}

#[derive(Serialize)]
struct Request<'a> {
    chart: PathBuf,
    release: &'a str,
    namespace: &'a str,
    kubernetes: &'a str,
    values: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Answer {
    name: String,
    version: String,
    objects: Option<Vec<ChartObject>>,
}

impl Fetcher {
    /// The program that renders charts, built for this machine.
    pub async fn helm(&self) -> Result<Helm, HelmError> {
        let artifact = Artifact {
            name: OUTPUT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arch: own_architecture(),
            pin: (),
            sources: vec![Source::Go { recipe: RECIPE.to_owned(), output: OUTPUT.to_owned() }],
        };
        let built = self.resolve(&only(artifact)).await?;
        // The program runs in another folder, so that all paths must be whole.
        let store = fs::canonicalize(self.store().root()).map_err(HelmError::Run)?;
        let store = Store::open(store)?;
        let folder = store.scratch()?;
        let program = folder.path().join(OUTPUT);
        let blob = store.blob_path(&built.lock.artifacts[0].pin.digest);
        fs::copy(blob, &program).and_then(|_| executable(&program)).map_err(HelmError::Run)?;
        Ok(Helm { store, program, folder })
    }
}

/// A wish for one artifact.
fn only(artifact: Artifact<()>) -> Wanted {
    Wanted {
        site: String::new(),
        version: String::new(),
        site_digest: Digest::of(b""),
        artifacts: vec![artifact],
        layers: Vec::new(),
        images: Vec::new(),
        packages: Vec::new(),
        charts: Vec::new(),
    }
}

/// The architecture of this machine; one that qiji has no hosts of is taken for the most common.
fn own_architecture() -> Arch {
    let own = |arch: &Arch| arch.machine() == std::env::consts::ARCH;
    Arch::ALL.into_iter().find(own).unwrap_or(Arch::Amd64)
}

fn executable(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

impl Helm {
    /// The objects of a chart, in an order that depends on nothing but the chart.
    pub async fn render(&self, release: &Release<'_>) -> Result<Vec<ChartObject>, HelmError> {
        let wrong = |reason: String| HelmError::Chart { release: release.name.to_owned(), reason };
        let request = Request {
            chart: self.store.blob_path(&release.archive),
            release: release.name,
            namespace: release.namespace,
            kubernetes: release.kubernetes,
            values: release.values.iter().map(|digest| self.store.blob_path(digest)).collect(),
        };
        let request = serde_json::to_vec(&request).map_err(|error| HelmError::Run(error.into()))?;
        let output = tokio::time::timeout(PATIENCE, self.run(&request)).await;
        let output = output.map_err(|_| wrong(format!("it takes more than {} s", PATIENCE.as_secs())))?;
        let output = output.map_err(HelmError::Run)?;
        if !output.status.success() {
            return Err(wrong(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let answer: Answer =
            serde_json::from_slice(&output.stdout).map_err(|error| HelmError::Run(error.into()))?;
        let (name, version) = release.chart;
        let bare = |version: &str| version.strip_prefix('v').unwrap_or(version).to_owned();
        if answer.name != name || bare(&answer.version) != bare(version) {
            let reason = format!("it is {} {} and not {name} {version}", answer.name, answer.version);
            return Err(wrong(reason));
        }
        Ok(answer.objects.unwrap_or_default())
    }

    async fn run(&self, request: &[u8]) -> std::io::Result<std::process::Output> {
        let mut command = Command::new(&self.program);
        command.env_clear().current_dir(self.folder.path()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(request).await?;
        }
        child.wait_with_output().await
    }
}
