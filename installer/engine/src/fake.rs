//! Hosts in memory that do what they are told, keep count of it, and fail on purpose: for tests and measurements, under real or virtual time.
//!
//! Every request passes two points, one before its effect and one after it. At any point the link may be lost
//! ([`Faults::losses_per_thousand`]) or the installer killed ([`Cluster::kill_at`]): from then on no request answers, as if its process were gone.
//! Whatever reaches a host against the plan's order, twice, or with wrong bytes is written down in [`Cluster::violations`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use qiji_blueprint::Digest;
use qiji_plan::facts::Cgroup;
use qiji_plan::{Action, BlobRef, Facts, Plan, Step, StepId};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::link::{
    Applied, BlobProvider, Bytes, CheckOutcome, ConnectError, Connector, HostLink, LinkError, LogSink,
    ProgressSink, StepFailure, Values,
};

/// How long a step takes on its host.
pub type Delay = Box<dyn Fn(&Step) -> Duration + Send + Sync>;

/// What goes wrong.
#[derive(Default)]
pub struct Faults {
    /// Of a thousand points passed, how many lose the link. Which ones follows from `seed`.
    pub losses_per_thousand: u64,
    /// Chooses the points.
    pub seed: u64,
    /// Steps that fail.
    pub failing: HashSet<String>,
    /// Hosts that cannot be reached.
    pub down: HashSet<String>,
    /// How long steps take; nothing at all where absent.
    pub delay: Option<Delay>,
    /// Bytes a second of each host's link; no bound where absent.
    pub rate: Option<u64>,
    /// Point at which the installer is killed, counted from 0.
    pub kill_at: Option<u64>,
}

/// What a host holds and what was done to it.
#[derive(Debug, Default)]
struct HostState {
    done: HashSet<String>,
    begun: HashMap<String, u32>,
    blobs: HashMap<Digest, u64>,
    /// Run that holds the host, and links over which it does.
    lock: Option<(String, usize)>,
    checks: u64,
    received: u64,
}

/// Hosts in memory.
pub struct Cluster {
    needs: HashMap<String, Vec<String>>,
    hosts: HashMap<String, Mutex<HostState>>,
    faults: Faults,
    points: AtomicU64,
    killed: CancellationToken,
    kill: Notify,
    violations: Mutex<Vec<String>>,
}

impl Cluster {
    /// The hosts of a plan, on which nothing is done yet.
    pub fn new(plan: &Plan, faults: Faults) -> Arc<Self> {
        let needs = plan.steps.iter().map(|step| {
            let inputs = inputs(&step.action).into_values().map(|from| from.0);
            (step.id.0.clone(), step.needs.iter().map(|need| need.0.clone()).chain(inputs).collect())
        });
        Arc::new(Self {
            needs: needs.collect(),
            hosts: plan.steps.iter().map(|step| (step.host.clone(), Mutex::default())).collect(),
            faults,
            points: AtomicU64::new(0),
            killed: CancellationToken::new(),
            kill: Notify::new(),
            violations: Mutex::default(),
        })
    }

    /// The same hosts as they are now, with other faults, and an installer that lives.
    pub fn revived(self: &Arc<Self>, faults: Faults) -> Arc<Self> {
        let kept = |host: &Mutex<HostState>| {
            let host = host.lock().expect("no holder panics");
            let (done, begun, blobs) = (host.done.clone(), host.begun.clone(), host.blobs.clone());
            Mutex::new(HostState { done, begun, blobs, received: host.received, ..HostState::default() })
        };
        Arc::new(Self {
            needs: self.needs.clone(),
            hosts: self.hosts.iter().map(|(name, host)| (name.clone(), kept(host))).collect(),
            faults,
            points: AtomicU64::new(0),
            killed: CancellationToken::new(),
            kill: Notify::new(),
            violations: Mutex::new(self.violations()),
        })
    }

    /// Steps that are done already.
    pub fn set_done(&self, steps: impl IntoIterator<Item = String>) {
        for step in steps {
            let host = step.split_once('/').map_or("", |(host, _)| host).to_owned();
            self.host(&host).done.insert(step);
        }
    }

    /// Puts bytes of a blob on a host, as an earlier try may have left them.
    pub fn set_blob(&self, host: &str, blob: BlobRef, bytes: u64) {
        self.host(host).blobs.insert(blob.digest, bytes);
    }

    /// Steps that are done.
    pub fn done(&self) -> HashSet<String> {
        self.hosts.values().flat_map(|host| host.lock().expect("no holder panics").done.clone()).collect()
    }

    /// How often each step was begun.
    pub fn begun(&self) -> HashMap<String, u32> {
        self.hosts.values().flat_map(|host| host.lock().expect("no holder panics").begun.clone()).collect()
    }

    /// Requests to look at steps that a host got.
    pub fn checks(&self, host: &str) -> u64 {
        self.host(host).checks
    }

    /// Bytes that a host was sent.
    pub fn received(&self, host: &str) -> u64 {
        self.host(host).received
    }

    /// What went against the rules.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().expect("no holder panics").clone()
    }

    /// Points passed.
    pub fn points(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }

    /// Ends when the installer is killed.
    pub async fn killed(&self) {
        self.kill.notified().await;
    }

    fn host(&self, name: &str) -> MutexGuard<'_, HostState> {
        self.hosts[name].lock().expect("no holder panics")
    }

    fn violation(&self, what: String) {
        self.violations.lock().expect("no holder panics").push(what);
    }

    /// Whether the link is lost here. Never answers once the installer is killed.
    async fn point(&self) -> bool {
        let number = self.points.fetch_add(1, Ordering::Relaxed);
        if self.faults.kill_at == Some(number) {
            self.killed.cancel();
            self.kill.notify_one();
        }
        if self.killed.is_cancelled() {
            std::future::pending::<()>().await;
        }
        mix(self.faults.seed ^ mix(number)) % 1000 < self.faults.losses_per_thousand
    }

    fn check_order(&self, step: &Step) {
        for need in &self.needs[&step.id.0] {
            let host = need.split_once('/').map_or("", |(host, _)| host);
            if !self.host(host).done.contains(need) {
                self.violation(format!("{} began before {need} was done", step.id));
            }
        }
    }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): the finalizer of `SplitMix64`.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn inputs(action: &Action) -> BTreeMap<String, StepId> {
    match action {
        Action::File { content, .. } | Action::Run { stdin: Some(content), .. } => content.inputs.clone(),
        _ => BTreeMap::new(),
    }
}

/// A way to reach the hosts of a cluster.
pub struct FakeConnector(pub Arc<Cluster>);

#[async_trait]
impl Connector for FakeConnector {
    async fn connect(&self, host: &str) -> Result<Box<dyn HostLink>, ConnectError> {
        let down = self.0.faults.down.contains(host);
        if down || self.0.point().await {
            let reasons = vec![format!("{host} does not answer")];
            return Err(ConnectError { reasons, hint: None, retryable: !down });
        }
        let (cluster, host) = (Arc::clone(&self.0), host.to_owned());
        Ok(Box::new(FakeLink { cluster, host, dead: CancellationToken::new(), locked: Mutex::new(false) }))
    }
}

struct FakeLink {
    cluster: Arc<Cluster>,
    host: String,
    dead: CancellationToken,
    locked: Mutex<bool>,
}

impl Drop for FakeLink {
    fn drop(&mut self) {
        self.unlock();
    }
}

impl FakeLink {
    fn state(&self) -> MutexGuard<'_, HostState> {
        self.cluster.host(&self.host)
    }

    fn unlock(&self) {
        if std::mem::take(&mut *self.locked.lock().expect("no holder panics")) {
            let mut state = self.state();
            if let Some((_, links)) = &mut state.lock {
                *links -= 1;
                if *links == 0 {
                    state.lock = None;
                }
            }
        }
    }

    /// Passes a point; an error when the link is lost, here or before.
    async fn point(&self) -> Result<(), LinkError> {
        if self.cluster.point().await {
            self.dead.cancel();
            self.unlock();
        }
        if self.dead.is_cancelled() { Err(lost()) } else { Ok(()) }
    }

    async fn wait(&self, time: Duration) -> Result<(), LinkError> {
        if time.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = sleep(time) => Ok(()),
            () = self.dead.cancelled() => Err(lost()),
        }
    }

    /// Blobs that are all there make their step done, whoever sent them.
    fn outcome(state: &mut HostState, step: &Step) -> CheckOutcome {
        if !Self::is_done(state, step) {
            return CheckOutcome::Pending { why: "not done".into() };
        }
        state.done.insert(step.id.0.clone());
        CheckOutcome::Done
    }

    fn is_done(state: &HostState, step: &Step) -> bool {
        match &step.action {
            Action::Receive { blobs } => {
                blobs.iter().all(|blob| state.blobs.get(&blob.digest) == Some(&blob.size))
            }
            _ => state.done.contains(&step.id.0),
        }
    }

    fn must_be_locked(&self, step: &str) {
        if !*self.locked.lock().expect("no holder panics") {
            self.cluster.violation(format!("{step} reached a host that is not locked"));
        }
    }
}

fn lost() -> LinkError {
    LinkError::Lost { reasons: vec!["connection reset by peer".into()] }
}

#[async_trait]
impl HostLink for FakeLink {
    async fn facts(&self) -> Result<Facts, LinkError> {
        self.point().await?;
        Ok(facts(&self.host))
    }

    async fn lock(&self, run: &str, _site: &str) -> Result<(), LinkError> {
        self.point().await?;
        let mut state = self.state();
        match &mut state.lock {
            Some((holder, _)) if holder != run => {
                let reason = format!("run {holder} works on this host");
                return Err(StepFailure::new(reason).into());
            }
            Some((_, links)) => *links += 1,
            none => *none = Some((run.to_owned(), 1)),
        }
        drop(state);
        *self.locked.lock().expect("no holder panics") = true;
        Ok(())
    }

    async fn check(&self, steps: &[&Step]) -> Result<Vec<CheckOutcome>, LinkError> {
        self.point().await?;
        let outcomes = {
            let mut state = self.state();
            state.checks += 1;
            steps.iter().map(|step| Self::outcome(&mut state, step)).collect()
        };
        self.point().await?;
        Ok(outcomes)
    }

    async fn apply(&self, step: &Step, values: &Values, log: LogSink<'_>) -> Result<Applied, LinkError> {
        self.point().await?;
        let name = &step.id.0;
        self.must_be_locked(name);
        self.cluster.check_order(step);
        *self.state().begun.entry(name.clone()).or_default() += 1;
        for (placeholder, value) in values {
            log(&format!("{placeholder} is {}", value.expose()));
        }
        self.wait(self.cluster.faults.delay.as_ref().map_or(Duration::ZERO, |delay| delay(step))).await?;
        if self.cluster.faults.failing.contains(name) {
            let shown: Vec<&str> = values.values().map(|value| value.expose()).collect();
            return Err(StepFailure::new(format!("told to fail, with {}", shown.join(","))).into());
        }
        let output =
            matches!(step.action, Action::Read { .. }).then(|| format!("value-of-{name}").into_bytes());
        let fresh = self.state().done.insert(name.clone());
        if !fresh && output.is_none() && !matches!(step.action, Action::Receive { .. } | Action::Wait) {
            self.cluster.violation(format!("{name} was done twice"));
        }
        self.point().await?;
        Ok(Applied { changed: output.is_none(), output })
    }

    async fn blob_status(&self, blobs: &[BlobRef]) -> Result<Vec<u64>, LinkError> {
        self.point().await?;
        let state = self.state();
        Ok(blobs.iter().map(|blob| state.blobs.get(&blob.digest).copied().unwrap_or(0)).collect())
    }

    async fn put_blob(
        &self,
        blob: BlobRef,
        offset: u64,
        bytes: &mut (dyn AsyncRead + Send + Unpin),
        progress: ProgressSink<'_>,
    ) -> Result<(), LinkError> {
        if self.state().blobs.get(&blob.digest).copied().unwrap_or(0) != offset {
            self.cluster.violation(format!("blob {} does not go on where it stopped", blob.digest));
        }
        let mut at = offset;
        let mut chunk = vec![0; 64 << 10];
        loop {
            self.point().await?;
            let read = bytes.read(&mut chunk).await.map_err(|fault| StepFailure::of(&fault))?;
            if read == 0 {
                break;
            }
            let right = chunk[..read].iter().zip(at..).all(|(byte, at)| *byte == content(&blob.digest, at));
            if !right {
                self.cluster.violation(format!("blob {} has wrong bytes from {at} on", blob.digest));
            }
            at += read as u64;
            if let Some(rate) = self.cluster.faults.rate {
                self.wait(Duration::from_micros(read as u64 * 1_000_000 / rate.max(1))).await?;
            }
            let mut state = self.state();
            state.received += read as u64;
            state.blobs.insert(blob.digest, at);
            drop(state);
            progress(at);
        }
        if at == blob.size { Ok(()) } else { Err(StepFailure::new("the blob is cut short").into()) }
    }
}

/// The byte of a fake blob at an offset.
fn content(digest: &Digest, at: u64) -> u8 {
    digest.as_bytes()[usize::try_from(at % 31).unwrap_or(0)] ^ at.to_le_bytes()[1]
}

/// Blobs that are made up as they are read: only as large as they are asked for.
pub struct FakeBlobs {
    sizes: HashMap<Digest, u64>,
}

impl FakeBlobs {
    /// All blobs of a plan.
    pub fn of(plan: &Plan) -> Arc<Self> {
        let blobs = plan.steps.iter().flat_map(|step| match &step.action {
            Action::Receive { blobs } => blobs.as_slice(),
            _ => &[],
        });
        Arc::new(Self { sizes: blobs.map(|blob| (blob.digest, blob.size)).collect() })
    }
}

impl BlobProvider for FakeBlobs {
    fn open(&self, digest: &Digest, offset: u64) -> io::Result<Bytes> {
        let size = *self.sizes.get(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FakeBytes { digest: *digest, at: offset, size }))
    }
}

struct FakeBytes {
    digest: Digest,
    at: u64,
    size: u64,
}

impl AsyncRead for FakeBytes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while into.remaining() > 0 && self.at < self.size {
            into.put_slice(&[content(&self.digest, self.at)]);
            self.at += 1;
        }
        Poll::Ready(Ok(()))
    }
}

/// A step that runs a program: `HOST/WORDS`.
pub fn step(id: &str, needs: &[&str]) -> Step {
    Step {
        id: StepId(id.to_owned()),
        host: id.split_once('/').map_or(id, |(host, _)| host).to_owned(),
        title: id.split_once('/').map_or(id, |(_, words)| words).to_owned(),
        needs: needs.iter().map(|&need| StepId(need.to_owned())).collect(),
        only_if_pending: Vec::new(),
        action: Action::Run { argv: vec!["/bin/true".into()], env: BTreeMap::new(), stdin: None },
        verify: Vec::new(),
        clean_first: Vec::new(),
        timeout_s: 600,
    }
}

/// A step that receives made-up blobs of these sizes.
pub fn receive(id: &str, needs: &[&str], sizes: &[u64]) -> Step {
    let blob = |size: &u64| BlobRef { digest: Digest::of(format!("{size} bytes").as_bytes()), size: *size };
    Step { action: Action::Receive { blobs: sizes.iter().map(blob).collect() }, ..step(id, needs) }
}

fn facts(host: &str) -> Facts {
    Facts {
        hostname: host.to_owned(),
        machine: "x86_64".into(),
        kernel: "6.1.0".into(),
        os: "made up".into(),
        machine_id: Digest::of(host.as_bytes()).hex()[..32].to_owned(),
        systemd: Some("252".into()),
        cgroup: Cgroup::V2,
        cgroup_controllers: Vec::new(),
        cpus: 2,
        memory: 4 << 30,
        page_size: 4096,
        swap: false,
        root: true,
        filesystems: Vec::new(),
        listeners: Vec::new(),
        unix_time_ms: 0,
        addresses: Vec::new(),
        default_route: false,
        features: Vec::new(),
        leftovers: Vec::new(),
        installed_site: None,
        trust: None,
    }
}
