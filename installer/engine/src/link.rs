//! What the engine needs of a host, of a way to reach hosts and of a bundle: three narrow traits. Real ones speak SSH; fakes inject faults.
//!
//! A link has two kinds of fault. [`LinkError::Lost`]: nothing is known of what was under way, the engine connects again and looks.
//! [`LinkError::Failed`]: the host answered that it could not be done. Dropping a future of a link gives its request up.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use qiji_blueprint::Digest;
use qiji_plan::{BlobRef, Facts, FoundFile, FoundImage, Step};
use tokio::io::AsyncRead;

use crate::values::Value;

/// Values for the placeholders of one step's content.
pub type Values = BTreeMap<String, Arc<Value>>;

/// Bytes to read.
pub type Bytes = Box<dyn AsyncRead + Send + Unpin>;

/// Takes lines that a program writes.
pub type LogSink<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Takes how many bytes of a blob are at the host.
pub type ProgressSink<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// Takes pieces of a blob, in order.
pub type PieceSink<'a> = &'a mut (dyn FnMut(&[u8]) -> io::Result<()> + Send);

/// A connected host. Its requests run side by side.
#[async_trait]
pub trait HostLink: Send + Sync {
    /// What is found on the host.
    async fn facts(&self) -> Result<Facts, LinkError>;

    /// Takes the host for a run for as long as the link lives. The same run may take it again.
    async fn lock(&self, run: &str, site: &str) -> Result<(), LinkError>;

    /// Whether steps are done; one answer for each, in order.
    async fn check(&self, steps: &[&Step]) -> Result<Vec<CheckOutcome>, LinkError>;

    /// Carries a step out and verifies it. `values` are for the placeholders of its content.
    async fn apply(&self, step: &Step, values: &Values, log: LogSink<'_>) -> Result<Applied, LinkError>;

    /// Bytes of each blob that are there, in order; a blob's size only when it is whole and matches.
    async fn blob_status(&self, blobs: &[BlobRef]) -> Result<Vec<u64>, LinkError>;

    /// Sends a blob from `offset` on. Done when the host has it whole, on its disk, and matching.
    async fn put_blob(
        &self,
        blob: BlobRef,
        offset: u64,
        bytes: &mut (dyn AsyncRead + Send + Unpin),
        progress: ProgressSink<'_>,
    ) -> Result<(), LinkError>;

    /// Whole blobs that are there, in the order of their digests.
    async fn held(&self) -> Result<Vec<BlobRef>, LinkError> {
        Ok(Vec::new())
    }

    /// Files and links of the packages that are unpacked there, in the order of their paths.
    async fn files(&self) -> Result<Vec<FoundFile>, LinkError> {
        Ok(Vec::new())
    }

    /// Images that bundles brought there, in the order of their names.
    async fn images(&self) -> Result<Vec<FoundImage>, LinkError> {
        Ok(Vec::new())
    }

    /// Hands the bytes of a whole blob that is there to `take`, which compares them with the digest.
    async fn read_blob(&self, blob: BlobRef, take: PieceSink<'_>) -> Result<(), LinkError> {
        let _ = take;
        Err(StepFailure::new(format!("blob {} is not there", blob.digest.short())).into())
    }

    /// Ends the link in good order.
    async fn close(&self) {}
}

/// A way to reach hosts.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Connects to a host by its name in the site.
    async fn connect(&self, host: &str) -> Result<Box<dyn HostLink>, ConnectError>;
}

/// Where blobs come from.
pub trait BlobProvider: Send + Sync {
    /// Opens a blob at an offset.
    fn open(&self, digest: &Digest, offset: u64) -> io::Result<Bytes>;
}

/// What looking at a step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    /// Nothing is left to do.
    Done,
    /// Something is left to do.
    Pending {
        /// What, in a few words.
        why: String,
    },
    /// It could not be found out. The step is tried.
    Broken(StepFailure),
}

/// A step that was carried out.
#[derive(Debug)]
pub struct Applied {
    /// Whether anything on the host was changed.
    pub changed: bool,
    /// Value of a step that reads one.
    pub output: Option<Vec<u8>>,
}

/// Why something could not be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", reasons.join(": "))]
pub struct StepFailure {
    /// Chain of causes, outermost first.
    pub reasons: Vec<String>,
    /// What to do next, where known.
    pub hint: Option<String>,
    /// Last lines that a program wrote.
    pub output: Vec<String>,
}

impl StepFailure {
    /// A failure with one reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], ..Self::default() }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The reasons of an error and its sources.
    pub fn of(error: &dyn std::error::Error) -> Self {
        let mut reasons = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            reasons.push(cause.to_string());
            source = cause.source();
        }
        Self { reasons, ..Self::default() }
    }
}

/// A request to a host came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The connection broke; what was under way may be done or not.
    #[error("connection lost: {}", reasons.join(": "))]
    Lost {
        /// Chain of causes, outermost first.
        reasons: Vec<String>,
    },
    /// The host answered that it could not be done.
    #[error(transparent)]
    Failed(#[from] StepFailure),
}

/// A host could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", reasons.join(": "))]
pub struct ConnectError {
    /// Chain of causes, outermost first.
    pub reasons: Vec<String>,
    /// What to do next, where known.
    pub hint: Option<String>,
    /// Whether trying again may help: a host that is down, but not a wrong key.
    pub retryable: bool,
}
