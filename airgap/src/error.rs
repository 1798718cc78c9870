//! What can go wrong between a lock and a full store.
//!
//! Failures are gathered, never cut short: an artifact keeps what each of its sources answered, and a run keeps every artifact
//! that failed. Each error names its own deed and its file or address and leaves the reason in `source`; the next step is a
//! [`hint`](SourceError::hint), apart from the message.

use std::fmt;
use std::io;
use std::path::PathBuf;

use qiji_blueprint::Digest;
use qiji_blueprint::site::Arch;

use crate::progress::ArtifactName;

/// The store itself failed: its disk, its permissions, or a blob in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the store could not be read or written.
    #[error("cannot {deed} in the artifact store")]
    Io {
        /// What was to be done, with the blob or path.
        deed: String,
        /// The cause.
        source: io::Error,
    },
    /// A blob is not there.
    #[error("blob {digest} is not in the artifact store")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// A blob does not have the content that its name says.
    #[error("{path} holds {found} and not {expected}: it was damaged")]
    Damaged {
        /// The blob's file.
        path: PathBuf,
        /// The digest that it must have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
}

impl StoreError {
    /// Makes a closure for `map_err` that keeps `deed`.
    pub(crate) fn io(deed: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { deed: deed.into(), source }
    }
}

/// One source could not give an artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server could not be reached, or the transfer broke off more often than is tried.
    #[error("cannot get {url}")]
    Transfer {
        /// Address.
        url: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered with a status that is not success.
    #[error("{url} answered {status}")]
    Status {
        /// Address.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The server wants a login.
    #[error("{url} wants a login")]
    Login {
        /// Address.
        url: String,
        /// What it asks for: its `WWW-Authenticate` headers.
        challenge: String,
    },
    /// The bytes are not the ones that are locked.
    #[error("{what} has {found}, but {expected} is locked")]
    WrongDigest {
        /// Address, path or build.
        what: String,
        /// What is locked.
        expected: Digest,
        /// What came.
        found: Digest,
        /// What may be the reason.
        hint: Option<String>,
    },
    /// The address is one that is not used: plain HTTP to another machine, or no address at all.
    #[error("{url} is refused: {reason}")]
    Refused {
        /// Address.
        url: String,
        /// Why.
        reason: &'static str,
    },
    /// The file is in none of the folders searched.
    #[error("{path} is in none of the folders searched: {searched}")]
    NotInFolders {
        /// Relative path.
        path: String,
        /// The folders, comma separated.
        searched: String,
    },
    /// A local file could not be read.
    #[error("cannot read {path}")]
    Local {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The package, or that build of it, is not in the suite.
    #[error("{package} {version} for {arch} is not in {suite}")]
    NoPackage {
        /// Package.
        package: String,
        /// Version, or `(any version)`.
        version: String,
        /// Architecture.
        arch: Arch,
        /// Suite.
        suite: String,
    },
    /// A file that describes others (package index, image manifest, recipe) cannot be understood.
    #[error("{what} cannot be used: {reason}")]
    Malformed {
        /// The file.
        what: String,
        /// Why.
        reason: String,
    },
    /// The signature of an archive's index is wrong.
    #[error("the signature of {url} is wrong: {reason}")]
    BadSignature {
        /// Address.
        url: String,
        /// What the verifier said.
        reason: String,
    },
    /// The image has no build for the architecture.
    #[error("{reference} has no linux/{arch} image, only {has}")]
    NoPlatform {
        /// Image.
        reference: String,
        /// Architecture.
        arch: Arch,
        /// What there is.
        has: String,
    },
    /// Something that several artifacts need could not be had; each of them says so.
    #[error(transparent)]
    Shared(std::sync::Arc<SourceError>),
    /// A tool that the build needs is missing.
    #[error("{tool} is needed to build {recipe} and was not found")]
    MissingTool {
        /// The tool or file.
        tool: String,
        /// Recipe.
        recipe: String,
        /// How to get it.
        hint: String,
    },
    /// The build failed.
    #[error("go build of {output} for {arch} failed:\n{log}")]
    Build {
        /// Recipe's output.
        output: String,
        /// Architecture.
        arch: Arch,
        /// Last lines that it printed.
        log: String,
    },
    /// A program could not be started.
    #[error("cannot run {program}")]
    Run {
        /// Program.
        program: String,
        /// The cause.
        source: io::Error,
    },
}

impl SourceError {
    /// The next step for the reader, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                Some("the disk is full: make room, or give another folder with --store".to_owned())
            }
            Self::Store(StoreError::Io { .. }) => {
                Some("give a folder that you may write to with --store".to_owned())
            }
            Self::Transfer { .. } => {
                Some("check the network and HTTPS_PROXY; what has arrived is kept, run it again".to_owned())
            }
            Self::Status { status: 401 | 403, .. } | Self::Login { .. } => {
                Some("the server wants a login that may read this: see --registry-config".to_owned())
            }
            Self::Status { status: 429, .. } => Some(
                "the server has had too many requests: log in with --registry-config, or wait".to_owned(),
            ),
            Self::WrongDigest { hint, .. } => hint.clone(),
            Self::NotInFolders { .. } => Some("name the folder that holds it with --artifacts".to_owned()),
            Self::NoPackage { .. } => Some("the package left the suite: run `qiji lock` again".to_owned()),
            Self::BadSignature { .. } => {
                Some("someone changed the package index on its way: try another mirror or network".to_owned())
            }
            Self::Shared(error) => error.hint(),
            Self::MissingTool { hint, .. } => Some(hint.clone()),
            Self::Build { log, .. } if log.contains("GOTOOLCHAIN=local") => {
                Some("install the Go version that the recipe asks for".to_owned())
            }
            Self::Build { log, .. } if log.contains("dial tcp") || log.contains("GOPROXY") => {
                Some("Go could not get a module: check the network and GOPROXY".to_owned())
            }
            _ => None,
        }
    }
}

/// What one source answered.
#[derive(Debug)]
pub struct Attempt {
    /// The source, for people: `go build kubernetes/kube`, an address.
    pub source: String,
    /// Why it could not give the artifact.
    pub cause: SourceError,
}

/// An artifact that no source could give.
#[derive(Debug)]
pub struct ArtifactFailure {
    /// Name.
    pub name: String,
    /// Upstream version.
    pub version: String,
    /// Architecture; none of what is for every one.
    pub arch: Option<Arch>,
    /// Each source tried, in order; empty when the artifact names none.
    pub attempts: Vec<Attempt>,
}

/// Every artifact that could not be had. Its text shows all of them, with every source, cause and hint.
#[derive(Debug)]
pub struct FetchErrors {
    /// The artifacts, in the lock's order.
    pub failures: Vec<ArtifactFailure>,
}

impl FetchErrors {
    /// Images that no source has for the architecture, if that is all that is wrong: then the fault is in what was asked for.
    pub fn lacking(&self) -> Vec<ArtifactName> {
        let lacks = |failure: &&ArtifactFailure| {
            let mut causes = failure.attempts.iter().map(|attempt| &attempt.cause);
            causes.any(|cause| matches!(cause, SourceError::NoPlatform { .. }))
        };
        let found: Vec<_> = self.failures.iter().filter(lacks).collect();
        if found.len() < self.failures.len() {
            return Vec::new();
        }
        let name =
            |failure: &ArtifactFailure| ArtifactName { name: failure.name.clone(), arch: failure.arch };
        found.into_iter().map(name).collect()
    }
}

impl std::error::Error for FetchErrors {}

impl fmt::Display for FetchErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = if self.failures.len() == 1 { "artifact" } else { "artifacts" };
        write!(f, "{} {many} could not be had", self.failures.len())?;
        for failure in &self.failures {
            write!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ArtifactFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)?;
        if let Some(arch) = self.arch {
            write!(f, " for {arch}")?;
        }
        if self.attempts.is_empty() {
            write!(f, ": it has no source")?;
        }
        for attempt in &self.attempts {
            write!(f, "\n  from {}: {}", attempt.source, chain(&attempt.cause))?;
            if let Some(hint) = attempt.cause.hint() {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        Ok(())
    }
}

/// The error and its causes on one line, each cause once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
