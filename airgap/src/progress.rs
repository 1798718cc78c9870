//! What a watcher of a fetch hears: plain values, no terminal.
//!
//! [`Event::Progress`] comes at most once a mebibyte and artifact and may be dropped; the others come exactly once each.

use std::fmt;
use std::sync::Arc;

use qiji_blueprint::site::Arch;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A source is tried.
    Started {
        /// Which artifact.
        artifact: ArtifactName,
        /// The source, for people.
        source: String,
    },
    /// Bytes have come.
    Progress {
        /// Which artifact.
        artifact: ArtifactName,
        /// The source, for people.
        source: String,
        /// Bytes so far, those of an earlier, interrupted run included.
        bytes: u64,
        /// Bytes in all, where the source told.
        total: Option<u64>,
    },
    /// A source could not give it; the next one is tried.
    Failed {
        /// Which artifact.
        artifact: ArtifactName,
        /// The source, for people.
        source: String,
        /// Why, with its causes.
        cause: String,
    },
    /// The artifact is in the store (or, while locking, found).
    Finished {
        /// Which artifact.
        artifact: ArtifactName,
        /// Its bytes.
        size: u64,
        /// It was in the store already.
        held: bool,
    },
}

/// Name and architecture of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactName {
    /// Name.
    pub name: String,
    /// Architecture; none of what is for every one, such as a chart.
    pub arch: Option<Arch>,
}

impl ArtifactName {
    /// What a chart is called among artifacts, by the name of its release.
    pub fn of_chart(release: &str) -> Self {
        Self { name: format!("chart {release}"), arch: None }
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arch {
            Some(arch) => write!(f, "{} for {arch}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Where events go: called from any thread, must not block.
pub type Watcher = Arc<dyn Fn(Event) + Send + Sync>;

/// Bytes between two progress events of one artifact.
const STEP: u64 = 1 << 20;

/// Reports the transfer of one artifact from one source.
#[derive(Clone)]
pub(crate) struct Meter {
    watcher: Watcher,
    artifact: ArtifactName,
    source: String,
}

impl Meter {
    pub(crate) fn new(watcher: Watcher, artifact: ArtifactName, source: String) -> Self {
        Self { watcher, artifact, source }
    }

    /// Tells `bytes` of `total` when that crossed a step since `before`, or is the end.
    pub(crate) fn moved(&self, before: u64, bytes: u64, total: Option<u64>) {
        if before / STEP != bytes / STEP || total == Some(bytes) {
            (self.watcher)(Event::Progress {
                artifact: self.artifact.clone(),
                source: self.source.clone(),
                bytes,
                total,
            });
        }
    }
}
