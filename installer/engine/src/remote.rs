//! Real hosts and a real bundle behind the engine's traits: SSH to reach a host, its agent to do the deeds, the verified bundle for blobs.
//!
//! 1. [`SshConnector`] logs in by the site's ways, holds the host to its key, and puts the agent there unless it is there already.
//! 2. [`AgentLink`] is one agent at the other end of an SSH channel. Its end is the end of the agent, and of what that runs.
//! 3. [`BundleBlobs`] reads blobs of a verified bundle from any offset; the host compares each with its digest.
//!
//! Passwords and passphrases come from [`Secrets`], only when one is needed, and never on a thread that other hosts' work is done on.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use qiji_agent::{CallError, Client, Failure, Outcome};
use qiji_blueprint::Digest;
use qiji_blueprint::site::{Access, AccessMethod, Arch, Node, Site, Sudo};
use qiji_bundle::{BlobRange, Verified};
use qiji_plan::{BlobRef, Facts, FoundFile, FoundImage, Step};
use qiji_ssh::{
    AgentBinary, AgentChannel, Auth, Become, KnownHosts, Secret, Session, SshError, Target, push_agent,
    remove_agent, start_agent_there,
};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Mutex;

use crate::link::{
    Applied, BlobProvider, Bytes, CheckOutcome, ConnectError, Connector, HostLink, LinkError, LogSink,
    PieceSink, ProgressSink, StepFailure, Values,
};

/// Name of the package that is the agent.
const AGENT: &str = "agent";

/// Gives passwords and passphrases when they are needed. May ask a person, and block meanwhile; may be called from several threads.
pub trait Secrets: Send + Sync {
    /// The password of a user at a host, from `file` where the site names one; else the reason why there is none.
    fn password(&self, user: &str, host: &str, file: Option<&Path>) -> Result<Secret, String>;
    /// The passphrase of an encrypted key file; nothing when there is none to be had.
    fn passphrase(&self, key: &Path) -> Option<Secret>;
}

/// How hosts are reached.
#[derive(Debug, Clone)]
pub struct SshOptions {
    /// File of host keys that were accepted.
    pub known_hosts: PathBuf,
    /// Whether keys that were never seen are accepted and kept.
    pub accept_new: bool,
    /// Time for reaching a host and logging in.
    pub timeout: Duration,
}

/// Connects to the hosts of a site.
pub struct SshConnector {
    nodes: BTreeMap<String, Node>,
    /// Where the agent comes from; without it, only one that is there already can be spoken to.
    bundle: Option<Verified>,
    secrets: Arc<dyn Secrets>,
    known: Arc<KnownHosts>,
    options: SshOptions,
}

impl SshConnector {
    /// A connector for the hosts of `site`, whose agent comes from `bundle`.
    pub fn new(site: &Site, bundle: &Verified, secrets: Arc<dyn Secrets>, options: SshOptions) -> Self {
        Self { bundle: Some(bundle.clone()), ..Self::to_agents_there(site, secrets, options) }
    }

    /// A connector to agents that earlier runs left on the hosts of `site`; it puts nothing there.
    pub fn to_agents_there(site: &Site, secrets: Arc<dyn Secrets>, options: SshOptions) -> Self {
        let nodes = site.nodes.iter().map(|node| (node.name.clone(), node.clone())).collect();
        let known = Arc::new(KnownHosts::at(&options.known_hosts));
        Self { nodes, bundle: None, secrets, known, options }
    }

    /// Takes the agent, and all that it keeps, away from a host. Its changes must have been undone before.
    pub async fn remove_agent(&self, host: &str) -> Result<(), ConnectError> {
        let (session, root) = self.log_in(host).await?;
        let removed = remove_agent(&session, &root).await;
        session.close().await;
        removed.map_err(|error| from_ssh(&error))
    }

    async fn log_in(&self, host: &str) -> Result<(Session, Become), ConnectError> {
        let node = self.nodes.get(host).ok_or_else(|| refused(format!("the site has no host {host}")))?;
        let access = &node.access;
        let target = Target {
            host,
            address: &node.address.to_string(),
            port: access.port,
            user: &access.user,
            methods: &access.methods.iter().map(|method| self.way(node, method)).collect::<Vec<_>>(),
            host_key: access.host_key.as_deref(),
            known: &self.known,
            accept_new: self.options.accept_new,
            timeout: self.options.timeout,
        };
        let session = Session::connect(target).await.map_err(|error| from_ssh(&error))?;
        Ok((session, self.root(node).await?))
    }

    /// A way to log in.
    fn way(&self, node: &Node, method: &AccessMethod) -> Auth {
        match method {
            AccessMethod::Key { path } => {
                let secrets = Arc::clone(&self.secrets);
                let passphrases: qiji_ssh::Passphrases = Arc::new(move |key: &Path| secrets.passphrase(key));
                Auth::Key { path: expand_home(path), passphrases: Some(passphrases) }
            }
            AccessMethod::Agent => Auth::Agent,
            AccessMethod::Password { file } => Auth::Password(self.password(node, file.as_deref())),
        }
    }

    fn password(&self, node: &Node, file: Option<&str>) -> qiji_ssh::Passwords {
        let (secrets, user, host) = (Arc::clone(&self.secrets), node.access.user.clone(), node.name.clone());
        let file = file.map(expand_home);
        Arc::new(move || secrets.password(&user, &host, file.as_deref()))
    }

    /// How to become root. Where `sudo` asks for a password and the site names no file for it, it is the login password.
    async fn root(&self, node: &Node) -> Result<Become, ConnectError> {
        let file = match &node.access.sudo {
            Sudo::None => return Ok(Become::Root),
            Sudo::NoPassword => return Ok(Become::Sudo),
            Sudo::Password { file } => file.clone().or_else(|| login_password_file(&node.access)),
        };
        let ask = self.password(node, file.as_deref());
        let asked = tokio::task::spawn_blocking(move || ask()).await;
        let password = asked.unwrap_or_else(|_| Err("it could not be asked for".to_owned()));
        password.map(Become::SudoPassword).map_err(|why| {
            refused(format!(
                "there is no password for user {} to become root on host {}: {why}",
                node.access.user, node.name
            ))
        })
    }

    /// Starts the agent, the bundle's own or the one that is there.
    async fn start(
        &self,
        session: &Session,
        root: &Become,
        host: &str,
    ) -> Result<AgentChannel, ConnectError> {
        if let Some(bundle) = &self.bundle {
            let binary = agent(bundle, self.nodes[host].arch)?;
            return push_agent(session, binary, root).await.map_err(|error| from_ssh(&error));
        }
        let started = start_agent_there(session, root).await.map_err(|error| from_ssh(&error))?;
        started.ok_or_else(|| refused(format!("there is no agent on {host}: nothing was installed on it")))
    }
}

/// The agent's binary for an architecture.
fn agent(bundle: &Verified, arch: Arch) -> Result<AgentBinary<RangeBytes>, ConnectError> {
    let package = bundle.package(AGENT, arch);
    let blob = package.and_then(|package| package.blobs.first());
    let blob = blob.ok_or_else(|| refused(format!("the bundle has no agent for {arch}")))?;
    let range = bundle.open_blob_at(&blob.digest, 0).map_err(|error| refused(error.to_string()))?;
    Ok(AgentBinary { digest: blob.digest.hex(), bytes: RangeBytes(range) })
}

#[async_trait]
impl Connector for SshConnector {
    async fn connect(&self, host: &str) -> Result<Box<dyn HostLink>, ConnectError> {
        let (session, root) = self.log_in(host).await?;
        let channel = self.start(&session, &root, host).await?;
        let client = Client::connect(channel.reader, channel.writer).await.map_err(|error| ConnectError {
            reasons: vec![format!("the agent on {host} does not answer"), error.to_string()],
            hint: None,
            retryable: matches!(error, CallError::Lost(_)),
        })?;
        Ok(Box::new(AgentLink { client, session: Mutex::new(Some(session)) }))
    }
}

/// An agent over SSH.
struct AgentLink {
    client: Client,
    /// Held for as long as the link lives: its end is the agent's.
    session: Mutex<Option<Session>>,
}

#[async_trait]
impl HostLink for AgentLink {
    async fn facts(&self) -> Result<Facts, LinkError> {
        self.client.facts().await.map_err(from_call)
    }

    async fn lock(&self, run: &str, site: &str) -> Result<(), LinkError> {
        self.client.lock(run, site).await.map_err(from_call)
    }

    async fn check(&self, steps: &[&Step]) -> Result<Vec<CheckOutcome>, LinkError> {
        let steps: Vec<Step> = steps.iter().copied().cloned().collect();
        let outcomes = self.client.check(&steps).await.map_err(from_call)?;
        Ok(outcomes.into_iter().map(outcome).collect())
    }

    async fn apply(&self, step: &Step, values: &Values, log: LogSink<'_>) -> Result<Applied, LinkError> {
        let values = values.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
        let applied = self.client.apply(step, &values, |line| log(line)).await.map_err(from_call)?;
        Ok(Applied { changed: applied.changed, output: applied.output })
    }

    async fn blob_status(&self, blobs: &[BlobRef]) -> Result<Vec<u64>, LinkError> {
        self.client.blob_status(blobs).await.map_err(from_call)
    }

    async fn put_blob(
        &self,
        blob: BlobRef,
        offset: u64,
        bytes: &mut (dyn AsyncRead + Send + Unpin),
        progress: ProgressSink<'_>,
    ) -> Result<(), LinkError> {
        self.client.put_blob(blob, offset, bytes, progress).await.map_err(from_call)
    }

    async fn held(&self) -> Result<Vec<BlobRef>, LinkError> {
        self.client.held().await.map_err(from_call)
    }

    async fn files(&self) -> Result<Vec<FoundFile>, LinkError> {
        self.client.files().await.map_err(from_call)
    }

    async fn images(&self) -> Result<Vec<FoundImage>, LinkError> {
        self.client.images().await.map_err(from_call)
    }

    async fn read_blob(&self, blob: BlobRef, take: PieceSink<'_>) -> Result<(), LinkError> {
        self.client.read_blob(blob, take).await.map_err(from_call)
    }

    async fn close(&self) {
        let session = self.session.lock().await.take();
        if let Some(session) = session {
            session.close().await;
        }
    }
}

/// Blobs of a verified bundle.
#[derive(Clone)]
pub struct BundleBlobs(Verified);

impl BundleBlobs {
    /// The blobs of `bundle`.
    pub fn new(bundle: Verified) -> Self {
        Self(bundle)
    }
}

impl BlobProvider for BundleBlobs {
    fn open(&self, digest: &Digest, offset: u64) -> io::Result<Bytes> {
        let range = self.0.open_blob_at(digest, offset).map_err(io::Error::other)?;
        Ok(Box::new(RangeBytes(range)))
    }
}

/// Bytes of the bundle's file. A read of a local file is short enough to be done in place.
struct RangeBytes(BlobRange);

impl AsyncRead for RangeBytes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = io::Read::read(&mut self.0, buffer.initialize_unfilled())?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

/// The file that the site names for the password to log in with.
fn login_password_file(access: &Access) -> Option<String> {
    access.methods.iter().find_map(|method| match method {
        AccessMethod::Password { file } => file.clone(),
        _ => None,
    })
}

fn outcome(outcome: Outcome) -> CheckOutcome {
    match outcome {
        Outcome::Done => CheckOutcome::Done,
        Outcome::Pending { why } => CheckOutcome::Pending { why },
        Outcome::Broken(failure) => CheckOutcome::Broken(from_failure(failure)),
    }
}

fn from_failure(failure: Failure) -> StepFailure {
    StepFailure { reasons: failure.reasons, hint: failure.hint, output: failure.output }
}

fn from_call(error: CallError) -> LinkError {
    match error {
        CallError::Failed(failure) => LinkError::Failed(from_failure(failure)),
        CallError::Lost(why) => LinkError::Lost { reasons: vec![why] },
        other => LinkError::Failed(StepFailure::of(&other)),
    }
}

fn refused(reason: String) -> ConnectError {
    ConnectError { reasons: vec![reason], hint: None, retryable: false }
}

fn from_ssh(error: &SshError) -> ConnectError {
    let retryable =
        matches!(error, SshError::Unreachable { .. } | SshError::TimedOut { .. } | SshError::Broken { .. });
    ConnectError { reasons: StepFailure::of(error).reasons, hint: error.hint(), retryable }
}

/// `path` with a leading `~/` replaced by the home folder.
fn expand_home(path: &str) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(rest),
        None => PathBuf::from(path),
    }
}
