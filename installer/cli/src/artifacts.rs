//! What `lock` and `build` share: the artifact store's fetcher, and what it shows while it works.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use qiji_airgap::{ArtifactName, Containerd, Event, FetchErrors, Fetcher, Mirror, Settings, Store, Watcher};
use tokio::runtime::Runtime;

use crate::failure::{Classify, Failure, Kind};
use crate::screen::size;

/// Where artifacts may lie on this machine.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ArtifactArgs {
    /// Folder with artifacts; searched before the folder of this program. May be given more than once
    #[arg(long = "artifacts", value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Logins for registries, in the form of Docker's config.json [default: Docker's own file, if there is one]
    #[arg(long, value_name = "FILE")]
    registry_config: Option<PathBuf>,
    /// Registry that is asked before another, such as docker.io=mirror.example:5000/hub. May be given more than once
    #[arg(long = "mirror", value_name = "REGISTRY=MIRROR")]
    mirrors: Vec<Mirror>,
    /// Certificates of a private authority, in PEM, to trust besides the machine's own. May be given more than once
    #[arg(long = "ca", value_name = "FILE")]
    authorities: Vec<PathBuf>,
    /// Socket of the containerd whose images are brought [default: containerd's own]
    #[arg(long, value_name = "SOCKET")]
    containerd: Option<PathBuf>,
}

impl ArtifactArgs {
    fn settings(&self, watch: &Watch) -> Result<Settings, Failure> {
        let own = std::env::current_exe().failed()?;
        let mut folders = self.folders.clone();
        folders.extend(own.parent().map(Path::to_path_buf));
        Ok(Settings {
            folders,
            registry_config: self.registry_config.clone().or_else(docker_config),
            mirrors: self.mirrors.clone(),
            extra_roots: self.authorities.clone(),
            containerd: Containerd { socket: self.containerd.clone(), ..Containerd::default() },
            watcher: watch.watcher(),
            ..Settings::default()
        })
    }
}

/// Docker's own file of logins, where there is one.
fn docker_config() -> Option<PathBuf> {
    let named = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    named.or_else(home).map(|folder| folder.join("config.json")).filter(|file| file.is_file())
}

/// A fetcher into `store`, which looks into the folders named and beside this program.
pub(crate) fn fetcher(store: &Path, artifacts: &ArtifactArgs, watch: &Watch) -> Result<Fetcher, Failure> {
    Fetcher::new(Store::open(store).failed()?, artifacts.settings(watch)?).input()
}

/// What runs asynchronous work.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().failed()
}

/// Artifacts that could not be had, each with what was tried.
pub(crate) fn not_had(errors: &FetchErrors) -> Failure {
    Failure::rendered(Kind::Failed, format!("error: {errors}"))
}

/// Shows what a fetch does: a line an artifact on a terminal, else a line when one that was not at hand is there.
pub(crate) struct Watch {
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    live: bool,
    bars: MultiProgress,
    by_artifact: BTreeMap<ArtifactName, ProgressBar>,
}

impl Watch {
    /// A watch that has shown nothing yet.
    pub(crate) fn start() -> Self {
        let live = std::io::stderr().is_terminal();
        let shown = Shown { live, bars: MultiProgress::new(), by_artifact: BTreeMap::new() };
        Self { shown: Arc::new(Mutex::new(shown)) }
    }

    fn watcher(&self) -> Watcher {
        let shown = Arc::clone(&self.shown);
        Arc::new(move |event| shown.lock().unwrap_or_else(PoisonError::into_inner).show(&event))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for bar in self.shown.lock().unwrap_or_else(PoisonError::into_inner).by_artifact.values() {
            bar.finish_and_clear();
        }
    }
}

impl Shown {
    fn show(&mut self, event: &Event) {
        match event {
            Event::Started { artifact, source } => self.begin(artifact, source),
            Event::Progress { artifact, bytes, total, .. } => {
                let of = total.map_or_else(String::new, |total| format!(" of {}", size(total)));
                if let Some(bar) = self.by_artifact.get(artifact) {
                    bar.set_message(format!("{artifact}: {}{of}", size(*bytes)));
                }
            }
            // Told with everything else when no other source has it either.
            Event::Failed { .. } => {}
            Event::Finished { artifact, size: bytes, held } => {
                if let Some(bar) = self.by_artifact.remove(artifact) {
                    bar.finish_and_clear();
                }
                if !held {
                    self.say(&format!("{artifact}: {}", size(*bytes)));
                }
            }
        }
    }

    fn begin(&mut self, artifact: &ArtifactName, source: &str) {
        if !self.live {
            return;
        }
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar.set_message(format!("{artifact}: {source}"));
        self.by_artifact.insert(artifact.clone(), bar);
    }

    fn say(&self, line: &str) {
        if self.live {
            // A terminal that went away ends the output, not the work.
            let _ = self.bars.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}
