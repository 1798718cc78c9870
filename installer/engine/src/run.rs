//! A run: all hosts connected and looked at, then every step that is to be done, each as soon as what it needs is done.
//!
//! 1. The plan is checked as a graph; the site's lock is held by the caller and gives the journal.
//! 2. All steps of all hosts are looked at ([`crate::survey`]). Where nothing is pending, that is all.
//! 3. Each host runs [`EngineOptions::steps_per_host`] steps at once and one transfer beside them. No host waits for another but through a need.
//! 4. A step that failed leaves out those that need it, directly or not, on any host; everything else goes on.
//! 5. What a step reads is handed to those that take it and is kept nowhere else.
//!
//! Killed at any point and run again, the engine looks again and goes on; a step that was under way may be applied once more, a finished one is not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use qiji_events::{Lifecycle, StepInfo};
use qiji_plan::Plan;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::bus::{Bus, Events, JournalError};
use crate::cancel::Cancel;
use crate::fleet::{Fleet, LinkNews};
use crate::graph::{Graph, PlanFault};
use crate::journal::{SiteLock, StateError, unix_ms};
use crate::link::{BlobProvider, StepFailure, Values};
use crate::step::{self, End, Shared};
use crate::survey::{Standing, Survey, survey};
use crate::values::{Redactor, Value};

/// Bounds of a run.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Steps of one host at once, transfers not counted.
    pub steps_per_host: usize,
    /// Blobs on their way at once, over all hosts.
    pub uploads: usize,
    /// Time that a host has for looking at its steps.
    pub check_timeout: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { steps_per_host: 4, uploads: 16, check_timeout: Duration::from_mins(3) }
    }
}

/// A run could not begin, or had to end since nothing could be written down any more.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The plan cannot be carried out.
    #[error("the plan cannot be carried out: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Plan {
        /// All faults.
        faults: Vec<PlanFault>,
    },
    /// The site's state on this machine cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal cannot be written. No step was begun after that.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Work {
    /// `install`, `reset`, …
    pub verb: String,
    /// Site.
    pub site: String,
    /// Steps.
    pub plan: Plan,
}

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Name of the run.
    pub run: String,
    /// Steps that changed something.
    pub changed: u64,
    /// Steps that needed nothing.
    pub unchanged: u64,
    /// Steps that failed.
    pub failed: Vec<FailedStep>,
    /// Steps that were left out or broken off, each with the failed step or host at the root of it, or `stopped`.
    pub skipped: Vec<(String, String)>,
    /// Hosts that could not be reached (any more).
    pub hosts_failed: BTreeMap<String, StepFailure>,
    /// Whether it was asked to end early.
    pub stopped: bool,
    /// Bytes sent to hosts.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

impl RunReport {
    /// Whether every step is done.
    pub fn is_ok(&self) -> bool {
        self.failed.is_empty() && self.skipped.is_empty() && self.hosts_failed.is_empty()
    }
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStep {
    /// Step.
    pub step: String,
    /// Host.
    pub host: String,
    /// Why.
    pub failure: StepFailure,
}

/// Carries plans out.
pub struct Engine {
    fleet: Arc<Fleet>,
    blobs: Arc<dyn BlobProvider>,
    options: EngineOptions,
    events: Arc<Events>,
    cancel: Cancel,
}

impl Engine {
    /// An engine over these hosts and blobs, with default bounds.
    pub fn new(fleet: Arc<Fleet>, blobs: Arc<dyn BlobProvider>) -> Self {
        let (options, events, cancel) = (EngineOptions::default(), Arc::default(), Cancel::new());
        Self { fleet, blobs, options, events, cancel }
    }

    /// Other bounds.
    #[must_use]
    pub fn with_options(mut self, options: EngineOptions) -> Self {
        self.options = options;
        self
    }

    /// Where its events go.
    #[must_use]
    pub fn with_events(mut self, events: Arc<Events>) -> Self {
        self.events = events;
        self
    }

    /// What may end it early.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Looks at all steps and changes nothing.
    pub async fn survey(&self, plan: Plan) -> Result<Survey, EngineError> {
        let graph = Graph::new(plan).map_err(|faults| EngineError::Plan { faults })?;
        Ok(survey(&graph, &self.fleet, self.options.check_timeout, |_, _| {}).await)
    }

    /// Carries a plan out. `lock` gives the journal; without one (in a test, say) there is none.
    pub async fn run(&self, work: Work, lock: Option<&SiteLock>) -> Result<RunReport, EngineError> {
        let graph = Graph::new(work.plan).map_err(|faults| EngineError::Plan { faults })?;
        let journal = lock.map(SiteLock::begin).transpose()?;
        let begun_ms = unix_ms();
        let run = journal
            .as_ref()
            .map_or_else(|| format!("{begun_ms:013}-{}", std::process::id()), |j| j.run.clone());
        let shared = Arc::new(Shared {
            graph,
            fleet: Arc::clone(&self.fleet),
            blobs: Arc::clone(&self.blobs),
            bus: Bus::new(run.clone(), Arc::clone(&self.events), journal),
            redactor: Redactor::default(),
            uploads: Semaphore::new(self.options.uploads.max(1)),
            options: self.options.clone(),
            cancel: self.cancel.clone(),
        });
        let (verb, site) = (work.verb, work.site);
        let steps = infos(&shared.graph);
        shared
            .bus
            .emit(Lifecycle::RunStarted { verb, site: site.clone(), run, unix_ms: begun_ms, steps })
            .await?;
        watch_links(&shared, &site);
        let report = Executor::new(Arc::clone(&shared)).run().await;
        self.fleet.end();
        report
    }
}

fn infos(graph: &Graph) -> Vec<StepInfo> {
    let info = |at: usize| StepInfo {
        id: graph.id(at).to_owned(),
        host: graph.steps[at].host.clone(),
        title: graph.steps[at].title.clone(),
        bytes: graph.steps[at].bytes(),
        needs: graph.needs[at].iter().map(|&need| graph.id(need).to_owned()).collect(),
    };
    (0..graph.steps.len()).map(info).collect()
}

/// News of links become events. They announce nothing that has to be on the disk first, so nobody waits for the journal.
fn watch_links(shared: &Arc<Shared>, site: &str) {
    let run = Arc::downgrade(shared);
    let watcher = move |host: &str, news: LinkNews| {
        let Some(shared) = run.upgrade() else { return };
        let host = host.to_owned();
        shared.bus.tell(match news {
            LinkNews::Connected => Lifecycle::HostConnected { host },
            LinkNews::Lost(reasons) => Lifecycle::HostLost { host, reasons },
        });
    };
    shared.fleet.begin(shared.bus.run(), site, Box::new(watcher));
}

/// Steps of one host that could run.
#[derive(Default)]
struct Queue {
    ready: BinaryHeap<Reverse<usize>>,
    running: usize,
    transfers: BinaryHeap<Reverse<usize>>,
    transferring: bool,
    down: bool,
}

/// How a step is settled, for those that need it.
#[derive(Clone)]
enum Cause {
    None,
    /// The failed step or host at the root of it.
    Root(Arc<str>),
}

struct Executor {
    shared: Arc<Shared>,
    standings: Vec<Standing>,
    /// Needs that are not settled yet, of each step.
    waiting: Vec<usize>,
    /// Why each step cannot run any more.
    causes: Vec<Cause>,
    queues: Vec<Queue>,
    /// Hosts whose queue may have something to start.
    stirred: Vec<usize>,
    values: HashMap<usize, Arc<Value>>,
    running: JoinSet<End>,
    /// Step of each running task.
    tasks: HashMap<tokio::task::Id, usize>,
    settled: Vec<bool>,
    /// Events that nobody waits for, to be written together.
    notes: Vec<Lifecycle>,
    report: RunReport,
}

impl Executor {
    fn new(shared: Arc<Shared>) -> Self {
        let count = shared.graph.steps.len();
        Self {
            standings: Vec::new(),
            waiting: shared.graph.needs.iter().map(Vec::len).collect(),
            causes: vec![Cause::None; count],
            queues: shared.graph.hosts.iter().map(|_| Queue::default()).collect(),
            stirred: Vec::new(),
            values: HashMap::new(),
            running: JoinSet::new(),
            tasks: HashMap::new(),
            settled: vec![false; count],
            notes: Vec::new(),
            report: RunReport { run: shared.bus.run().to_owned(), ..RunReport::default() },
            shared,
        }
    }

    async fn run(mut self) -> Result<RunReport, EngineError> {
        if self.look().await? {
            self.begin();
            self.work().await?;
        }
        self.finish().await
    }

    /// Looks at all steps; `false` when asked to end meanwhile.
    async fn look(&mut self) -> Result<bool, EngineError> {
        let shared = Arc::clone(&self.shared);
        let bus = &shared.bus;
        let checked = |host: usize, found: Result<(u64, u64), &StepFailure>| {
            let host = shared.graph.hosts[host].clone();
            bus.tell(match found {
                Ok((done, pending)) => Lifecycle::HostChecked { host, done, pending },
                Err(failure) => host_failed(host, failure),
            });
        };
        let surveyed = tokio::select! {
            surveyed = survey(&shared.graph, &shared.fleet, shared.options.check_timeout, checked) => surveyed,
            () = shared.cancel.soon() => return Ok(false),
        };
        let pending = surveyed.count(|standing| matches!(standing, Standing::Pending { .. }));
        let unchanged = surveyed.count(|standing| *standing == Standing::Unchanged);
        self.report.unchanged = unchanged;
        for host in surveyed.hosts_failed.keys() {
            if let Some(at) = shared.graph.hosts.iter().position(|name| name == host) {
                self.queues[at].down = true;
            }
        }
        self.report.hosts_failed = surveyed.hosts_failed.into_iter().collect();
        self.standings = surveyed.standings;
        let found = (0..self.standings.len()).filter(|&at| self.standings[at] == Standing::Unchanged);
        let found = found.map(|at| Lifecycle::StepUnchanged { step: shared.graph.id(at).to_owned() });
        bus.emit_all(found.chain([Lifecycle::Resolved { pending, unchanged }])).await?;
        Ok(true)
    }

    fn begin(&mut self) {
        let free: Vec<usize> = (0..self.waiting.len()).filter(|&at| self.waiting[at] == 0).collect();
        self.arrive(free);
    }

    /// All needs of these steps are settled: each can run, or is settled itself, which may free others.
    fn arrive(&mut self, mut free: Vec<usize>) {
        while let Some(at) = free.pop() {
            let host = self.shared.graph.host[at];
            match (&self.standings[at], &self.causes[at]) {
                (Standing::Unchanged, _) => free.extend(self.settle(at)),
                (Standing::Pending { .. }, Cause::None) if !self.queues[host].down => self.enqueue(at, host),
                (_, Cause::Root(root)) => {
                    let root = Arc::clone(root);
                    free.extend(self.skip(at, root));
                }
                (_, Cause::None) => {
                    let root = Arc::from(self.shared.graph.hosts[host].as_str());
                    free.extend(self.skip(at, root));
                }
            }
        }
    }

    fn enqueue(&mut self, at: usize, host: usize) {
        let queue = &mut self.queues[host];
        let heap = if self.shared.graph.is_receive(at) { &mut queue.transfers } else { &mut queue.ready };
        heap.push(Reverse(at));
        self.stirred.push(host);
    }

    /// A step will not run; returns the steps that this frees.
    fn skip(&mut self, at: usize, root: Arc<str>) -> Vec<usize> {
        let step = self.shared.graph.id(at).to_owned();
        self.notes.push(Lifecycle::StepSkipped { step: step.clone(), because: root.to_string() });
        self.report.skipped.push((step, root.to_string()));
        self.causes[at] = Cause::Root(root);
        self.settle(at)
    }

    /// Nothing more will happen to a step; returns the steps that this frees.
    fn settle(&mut self, at: usize) -> Vec<usize> {
        self.settled[at] = true;
        let shared = Arc::clone(&self.shared);
        let mut free = Vec::new();
        for &later in &shared.graph.needed_by[at] {
            if matches!(self.causes[later], Cause::None) {
                self.causes[later] = self.causes[at].clone();
            }
            self.waiting[later] -= 1;
            if self.waiting[later] == 0 {
                free.push(later);
            }
        }
        free
    }

    async fn work(&mut self) -> Result<(), EngineError> {
        let cancel = self.shared.cancel.clone();
        let mut asked = false;
        loop {
            if !cancel.is_requested() {
                self.start();
            }
            self.write_notes().await?;
            if self.running.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.ended(ended)?,
                () = cancel.soon(), if !asked => {
                    asked = true;
                    self.notes.push(Lifecycle::StopRequested { now: false });
                }
                () = cancel.now(), if asked => return self.break_off().await,
            }
        }
    }

    /// Starts all that can run.
    fn start(&mut self) {
        while let Some(host) = self.stirred.pop() {
            while let Some(at) = self.queues[host].next(self.shared.options.steps_per_host) {
                let values = self.values_of(at);
                let task = self.running.spawn(step::run(Arc::clone(&self.shared), at, values));
                self.tasks.insert(task.id(), at);
            }
        }
    }

    fn values_of(&self, at: usize) -> Values {
        let value = |(name, from): &(String, usize)| Some((name.clone(), Arc::clone(self.values.get(from)?)));
        self.shared.graph.inputs[at].iter().filter_map(value).collect()
    }

    fn ended(
        &mut self,
        ended: Result<(tokio::task::Id, End), tokio::task::JoinError>,
    ) -> Result<(), EngineError> {
        let (task, end) = match ended {
            Ok((task, end)) => (task, end),
            Err(fault) => (fault.id(), End::Failed(StepFailure::new(format!("qiji itself failed: {fault}")))),
        };
        let Some(at) = self.tasks.remove(&task) else { return Ok(()) };
        let host = self.shared.graph.host[at];
        self.queues[host].free(self.shared.graph.is_receive(at));
        self.stirred.push(host);
        let step = self.shared.graph.id(at).to_owned();
        match end {
            End::Done { changed, value, bytes } => {
                if changed {
                    self.report.changed += 1;
                } else {
                    self.report.unchanged += 1;
                }
                self.report.bytes += bytes;
                self.values.extend(value.map(|value| (at, value)));
            }
            End::Failed(failure) => self.failed(at, &step, failure),
            End::HostDown(failure) => {
                self.host_down(host, &failure);
                self.failed(at, &step, failure);
            }
            End::Stopped => {
                self.report.skipped.push((step, STOPPED.to_owned()));
                self.causes[at] = Cause::Root(Arc::from(STOPPED));
            }
            End::Journal(fault) => return Err(fault.into()),
        }
        let free = self.settle(at);
        self.arrive(free);
        Ok(())
    }

    fn failed(&mut self, at: usize, step: &str, failure: StepFailure) {
        self.causes[at] = Cause::Root(Arc::from(step));
        let host = self.shared.host(at).to_owned();
        self.report.failed.push(FailedStep { step: step.to_owned(), host, failure });
    }

    /// What the host still had to do is left out.
    fn host_down(&mut self, host: usize, failure: &StepFailure) {
        let queue = &mut self.queues[host];
        if std::mem::replace(&mut queue.down, true) {
            return;
        }
        let left: Vec<usize> =
            queue.ready.drain().chain(queue.transfers.drain()).map(|Reverse(at)| at).collect();
        let name = self.shared.graph.hosts[host].clone();
        self.notes.push(host_failed(name.clone(), failure));
        self.report.hosts_failed.insert(name.clone(), failure.clone());
        let root: Arc<str> = Arc::from(name);
        for at in left {
            let free = self.skip(at, Arc::clone(&root));
            self.arrive(free);
        }
    }

    /// Breaks off what runs.
    async fn break_off(&mut self) -> Result<(), EngineError> {
        self.running.shutdown().await;
        self.notes.push(Lifecycle::StopRequested { now: true });
        let mut broken: Vec<usize> = self.tasks.drain().map(|(_, at)| at).collect();
        broken.sort_unstable();
        for at in broken {
            let step = self.shared.graph.id(at).to_owned();
            self.notes.push(Lifecycle::StepStopped { step: step.clone() });
            self.report.skipped.push((step, STOPPED.to_owned()));
            self.causes[at] = Cause::Root(Arc::from(STOPPED));
            self.settle(at);
        }
        self.write_notes().await
    }

    async fn write_notes(&mut self) -> Result<(), EngineError> {
        let notes = std::mem::take(&mut self.notes);
        Ok(self.shared.bus.emit_all(notes).await?)
    }

    async fn finish(mut self) -> Result<RunReport, EngineError> {
        self.report.stopped = self.shared.cancel.is_requested();
        self.leave_out_rest();
        self.write_notes().await?;
        let report = &mut self.report;
        report.took = self.shared.bus.begun().elapsed();
        let ended = Lifecycle::RunEnded {
            ok: report.is_ok(),
            changed: report.changed,
            unchanged: report.unchanged,
            failed: report.failed.len() as u64,
            skipped: report.skipped.len() as u64,
            bytes: report.bytes,
        };
        self.shared.bus.emit(ended).await?;
        Ok(self.report)
    }

    /// Steps that a stop kept from being tried.
    fn leave_out_rest(&mut self) {
        for at in (0..self.settled.len()).filter(|&at| !self.settled[at]).collect::<Vec<_>>() {
            if self.standings.get(at) == Some(&Standing::Unchanged) {
                continue;
            }
            let root = match &self.causes[at] {
                Cause::Root(root) => Arc::clone(root),
                Cause::None => Arc::from(STOPPED),
            };
            self.skip(at, root);
        }
    }
}

/// Why a step that a stop kept from being tried was left out.
const STOPPED: &str = "stopped";

fn host_failed(host: String, failure: &StepFailure) -> Lifecycle {
    Lifecycle::HostFailed { host, reasons: failure.reasons.clone(), hint: failure.hint.clone() }
}

impl Queue {
    /// The next step that may start.
    fn next(&mut self, at_once: usize) -> Option<usize> {
        if !self.transferring
            && let Some(Reverse(at)) = self.transfers.pop()
        {
            self.transferring = true;
            return Some(at);
        }
        if self.running >= at_once.max(1) {
            return None;
        }
        let Reverse(at) = self.ready.pop()?;
        self.running += 1;
        Some(at)
    }

    fn free(&mut self, transfer: bool) {
        if transfer {
            self.transferring = false;
        } else {
            self.running -= 1;
        }
    }
}
