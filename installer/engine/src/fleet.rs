//! The hosts of a site and the links to them: connected when first needed, several at once, and again when a link is lost.
//!
//! - Several requests of one host may lose the same link; it is made again once, and all go on over the new one.
//! - A host is given up after [`FleetOptions::reconnects`] attempts in a row, or at once when the fault is none that waiting would mend.
//! - A host that is given up stays so: every later request gets the same reasons.
//! - While a host is waited for it takes no other host's turn at connecting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use futures::future::join_all;
use qiji_plan::{BlobRef, Facts, FoundFile, FoundImage};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

use crate::link::{ConnectError, Connector, HostLink, LinkError, PieceSink, StepFailure};

/// How hosts are connected to.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// Connections being made at once.
    pub connecting: usize,
    /// Attempts at the first connection.
    pub connects: u32,
    /// Attempts at a connection again, in a row.
    pub reconnects: u32,
    /// Time for one attempt, bringing the agent there among it. Connectors bound the parts of it more tightly.
    pub connect_timeout: Duration,
    /// Pause after the first attempt; doubled after each, up to 30 s.
    pub pause: Duration,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            connecting: 64,
            connects: 2,
            reconnects: 8,
            connect_timeout: Duration::from_mins(3),
            pause: Duration::from_secs(1),
        }
    }
}

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Time that a host has for ending a link in good order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that a host has for an answer about its lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses between attempts at a host's lock.
const LOCK_PAUSES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What became of a host's link, for whoever watches.
#[derive(Debug)]
pub(crate) enum LinkNews {
    Connected,
    Lost(Vec<String>),
}

type Watcher = Box<dyn Fn(&str, LinkNews) + Send + Sync>;

/// The hosts of a site.
pub struct Fleet {
    connector: Arc<dyn Connector>,
    options: FleetOptions,
    turns: Semaphore,
    hosts: StdMutex<BTreeMap<String, Arc<Host>>>,
    /// (run, site) that every link is to be locked for.
    owner: StdMutex<Option<(String, String)>>,
    watcher: StdMutex<Option<Arc<Watcher>>>,
}

struct Host {
    name: String,
    link: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    link: Option<Arc<dyn HostLink>>,
    /// Grows with every link.
    number: u64,
    locked_for: Option<(String, String)>,
    given_up: Option<StepFailure>,
}

/// What each host answered.
pub type Answers<T> = BTreeMap<String, Result<T, StepFailure>>;

/// A link and its number.
type Numbered = (u64, Arc<dyn HostLink>);

impl Fleet {
    /// No host is connected yet.
    pub fn new(connector: Arc<dyn Connector>, options: FleetOptions) -> Self {
        Self {
            connector,
            turns: Semaphore::new(options.connecting.max(1)),
            options,
            hosts: StdMutex::default(),
            owner: StdMutex::default(),
            watcher: StdMutex::default(),
        }
    }

    /// Connects hosts, all at once. Links stay open for what follows.
    pub async fn connect_all(&self, hosts: &[String]) -> Answers<()> {
        self.ask(hosts, |_| async { Ok(()) }).await
    }

    /// Facts of hosts, all at once. Links stay open for a run that follows.
    pub async fn facts(&self, hosts: &[String]) -> Answers<Facts> {
        self.ask(hosts, |link| async move { link.facts().await }).await
    }

    /// Whole blobs that hosts hold, all hosts at once.
    pub async fn held(&self, hosts: &[String]) -> Answers<Vec<BlobRef>> {
        self.ask(hosts, |link| async move { link.held().await }).await
    }

    /// What is on hosts of what bundles bring there, all hosts at once.
    pub async fn found(&self, hosts: &[String]) -> Answers<(Vec<FoundFile>, Vec<FoundImage>)> {
        self.ask(hosts, |link| async move { Ok((link.files().await?, link.images().await?)) }).await
    }

    async fn ask<T, F, R>(&self, hosts: &[String], request: R) -> Answers<T>
    where
        R: Fn(Arc<dyn HostLink>) -> F + Copy,
        F: Future<Output = Result<T, LinkError>>,
    {
        let asked = hosts.iter().map(|host| async move {
            (host.clone(), self.call(host, request).await.map_err(CallError::into_failure))
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Hands the bytes of a blob that a host holds to `take`, which compares them with the digest. A link that is lost is not made again.
    pub async fn read_blob(&self, host: &str, blob: BlobRef, take: PieceSink<'_>) -> Result<(), StepFailure> {
        let (_, link) = self.link(host).await?;
        link.read_blob(blob, take).await.map_err(|error| match error {
            LinkError::Failed(failure) => failure,
            LinkError::Lost { reasons } => StepFailure { reasons, hint: None, output: Vec::new() },
        })
    }

    /// Ends all links in good order.
    pub async fn close(&self) {
        let hosts: Vec<_> = self.hosts.lock().expect("no holder panics").values().cloned().collect();
        let closed = hosts.iter().map(|host| async {
            let link = host.link.lock().await.link.take();
            if let Some(link) = link {
                // A host that does not answer any more is left to notice by itself.
                drop(timeout(CLOSE_TIMEOUT, link.close()).await);
            }
        });
        join_all(closed).await;
    }

    /// From now on every link is locked for a run before it is used, and news of links go to `watcher`.
    pub(crate) fn begin(&self, run: &str, site: &str, watcher: Watcher) {
        *self.owner.lock().expect("no holder panics") = Some((run.to_owned(), site.to_owned()));
        *self.watcher.lock().expect("no holder panics") = Some(Arc::new(watcher));
    }

    /// No more news.
    pub(crate) fn end(&self) {
        *self.watcher.lock().expect("no holder panics") = None;
    }

    fn tell(&self, host: &str, news: LinkNews) {
        let watcher = self.watcher.lock().expect("no holder panics").clone();
        if let Some(watcher) = watcher {
            watcher(host, news);
        }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().expect("no holder panics");
        let host = hosts
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Host { name: name.to_owned(), link: Mutex::default() }));
        Arc::clone(host)
    }

    /// The host's link, made and locked if need be.
    pub(crate) async fn link(&self, host: &str) -> Result<Numbered, StepFailure> {
        let host = self.host(host);
        let mut state = host.link.lock().await;
        if let Some(failure) = &state.given_up {
            return Err(failure.clone());
        }
        let connected = self.connected(&host.name, &mut state).await;
        if let Err(failure) = &connected {
            state.link = None;
            state.given_up = Some(failure.clone());
        }
        connected
    }

    async fn connected(&self, host: &str, state: &mut LinkState) -> Result<Numbered, StepFailure> {
        let attempts = if state.number == 0 { self.options.connects } else { self.options.reconnects }.max(1);
        let mut pause = self.options.pause;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let fault = match self.attempt(host, state).await {
                Ok(numbered) => return Ok(numbered),
                Err(fault) => fault,
            };
            if !fault.retryable || attempt >= attempts {
                let mut reasons = fault.reasons;
                if attempt > 1 {
                    reasons.insert(0, format!("given up after {attempt} attempts to connect"));
                }
                return Err(StepFailure { reasons, hint: fault.hint, output: Vec::new() });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, host: &str, state: &mut LinkState) -> Result<Numbered, ConnectError> {
        let owner = self.owner.lock().expect("no holder panics").clone();
        let made = state.link.is_none();
        let link = match state.link.take() {
            Some(link) => link,
            None => self.connect(host).await?,
        };
        if let Some((run, site)) = owner.as_ref().filter(|_| made || state.locked_for != owner) {
            self.lock(&*link, run, site, state.number > 0).await?;
        }
        if made {
            state.number += 1;
        }
        if made || state.locked_for != owner {
            self.tell(host, LinkNews::Connected);
        }
        state.locked_for = owner;
        state.link = Some(Arc::clone(&link));
        Ok((state.number, link))
    }

    async fn connect(&self, host: &str) -> Result<Arc<dyn HostLink>, ConnectError> {
        let _turn = self.turns.acquire().await.expect("never closed");
        let limit = self.options.connect_timeout;
        match timeout(limit, self.connector.connect(host)).await {
            Ok(link) => link.map(Arc::from),
            Err(_) => Err(ConnectError {
                reasons: vec![format!("no connection within {} s", limit.as_secs())],
                hint: Some("check that the host is up and its SSH port can be reached".into()),
                retryable: true,
            }),
        }
    }

    /// A host may take a moment to notice that the installer which held it before is gone.
    async fn lock(
        &self,
        link: &dyn HostLink,
        run: &str,
        site: &str,
        again: bool,
    ) -> Result<(), ConnectError> {
        let mut pauses = LOCK_PAUSES.iter();
        loop {
            let refused = match timeout(LOCK_TIMEOUT, link.lock(run, site)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(LinkError::Failed(failure))) => failure,
                Ok(Err(LinkError::Lost { reasons })) => {
                    return Err(ConnectError { reasons, hint: None, retryable: true });
                }
                Err(_) => {
                    let reasons = vec!["the agent did not answer when the host was to be locked".into()];
                    return Err(ConnectError { reasons, hint: None, retryable: true });
                }
            };
            let Some(pause) = pauses.next() else {
                let StepFailure { reasons, hint, .. } = refused;
                return Err(ConnectError { reasons, hint, retryable: again });
            };
            sleep(*pause).await;
        }
    }

    /// A request lost its link: the next one makes a new one.
    pub(crate) async fn lost(&self, host: &str, number: u64, reasons: Vec<String>) {
        let host = self.host(host);
        let mut state = host.link.lock().await;
        if state.number == number && state.link.take().is_some() {
            self.tell(&host.name, LinkNews::Lost(reasons));
        }
    }

    /// Makes a request that may be made again, over as many links as it takes (within bounds).
    pub(crate) async fn call<T, F, R>(&self, host: &str, request: R) -> Result<T, CallError>
    where
        R: Fn(Arc<dyn HostLink>) -> F,
        F: Future<Output = Result<T, LinkError>>,
    {
        let mut losses = 0;
        loop {
            let (number, link) = self.link(host).await.map_err(CallError::HostDown)?;
            match request(link).await {
                Ok(answer) => return Ok(answer),
                Err(LinkError::Failed(failure)) => return Err(CallError::Failed(failure)),
                Err(LinkError::Lost { reasons }) => {
                    losses += 1;
                    self.lost(host, number, reasons.clone()).await;
                    if losses >= self.options.reconnects {
                        return Err(CallError::Failed(lost_too_often(losses, reasons)));
                    }
                }
            }
        }
    }

    /// Links that one step may lose without getting anywhere.
    pub(crate) fn loss_limit(&self) -> u32 {
        self.options.reconnects.max(1)
    }
}

/// The failure of a request that lost its link again and again.
pub(crate) fn lost_too_often(losses: u32, mut reasons: Vec<String>) -> StepFailure {
    reasons.insert(0, format!("the connection broke {losses} times while this was under way"));
    let hint = "look at the host's system log: its agent or its SSH server may be ending each time";
    StepFailure { reasons, hint: Some(hint.into()), output: Vec::new() }
}

/// A request came to nothing.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The host cannot be reached (any more).
    HostDown(StepFailure),
    /// The host answered that it could not be done.
    Failed(StepFailure),
}

impl CallError {
    pub(crate) fn into_failure(self) -> StepFailure {
        match self {
            Self::HostDown(failure) | Self::Failed(failure) => failure,
        }
    }
}
