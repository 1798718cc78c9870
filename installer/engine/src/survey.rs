//! What is to be done: all steps of all hosts are looked at, one request a host (or few), and from the answers follows which will be tried.
//!
//! 1. A step that is not found done is pending, unless it runs only if one of some others is pending and none is.
//! 2. A step that reads a value is not asked about; it is pending when a pending step takes the value.
//! 3. A wait that was found over is pending again when something it comes after is pending: that may well undo what was waited for.
//! 4. Steps of a host that cannot be reached are neither; they are left out.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use qiji_plan::Step;
use tokio::time::{Duration, timeout};

use crate::fleet::{CallError, Fleet};
use crate::graph::Graph;
use crate::link::{CheckOutcome, HostLink, LinkError, StepFailure};

/// Most steps asked about in one request.
const BATCH: usize = 256;
/// Hosts asked at once.
const HOSTS_AT_ONCE: usize = 512;

/// Where a step stands before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It will be tried.
    Pending {
        /// Why, in a few words.
        why: String,
    },
    /// It needs nothing.
    Unchanged,
    /// Its host could not be asked.
    Unknown,
}

/// Where all steps of a plan stand.
#[derive(Debug, Default)]
pub struct Survey {
    /// Each step's standing, in the plan's order.
    pub(crate) standings: Vec<Standing>,
    /// Hosts that could not be asked.
    pub hosts_failed: HashMap<String, StepFailure>,
}

impl Survey {
    /// Whether nothing is to be done and all hosts could be asked.
    pub fn is_empty(&self) -> bool {
        self.standings.iter().all(|standing| *standing == Standing::Unchanged)
    }

    /// Each step's standing, in the plan's order.
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    pub(crate) fn count(&self, of: impl Fn(&Standing) -> bool) -> u64 {
        self.standings.iter().filter(|standing| of(standing)).count() as u64
    }
}

/// Answers of a host, for those of its steps that are asked about.
type Answers = Vec<(usize, CheckOutcome)>;

/// Asks all hosts. `checked` is told of each as its answer comes: host, done, pending.
pub(crate) async fn survey(
    graph: &Graph,
    fleet: &Fleet,
    limit: Duration,
    checked: impl Fn(usize, Result<(u64, u64), &StepFailure>),
) -> Survey {
    let mut outcomes: Vec<Option<CheckOutcome>> = vec![None; graph.steps.len()];
    let mut hosts_failed = HashMap::new();
    let asked =
        (0..graph.hosts.len()).map(|host| async move { (host, ask(graph, fleet, host, limit).await) });
    let mut answers = stream::iter(asked).buffer_unordered(HOSTS_AT_ONCE);
    while let Some((host, answer)) = answers.next().await {
        match answer {
            Ok(answer) => {
                let done = answer.iter().filter(|(_, outcome)| *outcome == CheckOutcome::Done).count() as u64;
                checked(host, Ok((done, answer.len() as u64 - done)));
                for (step, outcome) in answer {
                    outcomes[step] = Some(outcome);
                }
            }
            Err(failure) => {
                checked(host, Err(&failure));
                hosts_failed.insert(graph.hosts[host].clone(), failure);
            }
        }
    }
    Survey { standings: resolve(graph, outcomes, &hosts_failed), hosts_failed }
}

async fn ask(graph: &Graph, fleet: &Fleet, host: usize, limit: Duration) -> Result<Answers, StepFailure> {
    let asked: Vec<usize> = graph.of_host[host].iter().copied().filter(|&at| !graph.is_read(at)).collect();
    let mut answers = Answers::with_capacity(asked.len());
    // A host without a step to ask about is still connected to, so that one that is down is found now.
    fleet.link(&graph.hosts[host]).await?;
    for batch in asked.chunks(BATCH) {
        let steps: Vec<&Step> = batch.iter().map(|&at| &graph.steps[at]).collect();
        let outcomes =
            check(fleet, &graph.hosts[host], &steps, limit).await.map_err(CallError::into_failure)?;
        answers.extend(batch.iter().copied().zip(outcomes));
    }
    Ok(answers)
}

/// One request for several steps of one host.
pub(crate) async fn check(
    fleet: &Fleet,
    host: &str,
    steps: &[&Step],
    limit: Duration,
) -> Result<Vec<CheckOutcome>, CallError> {
    let request = |link: Arc<dyn HostLink>| async move {
        match timeout(limit, link.check(steps)).await {
            Ok(Ok(outcomes)) if outcomes.len() != steps.len() => {
                let reason = format!("asked about {} steps, got {} answers", steps.len(), outcomes.len());
                Err(LinkError::Failed(StepFailure::new(reason)))
            }
            Ok(outcomes) => outcomes,
            Err(_) => {
                let reason = format!("its steps could not be looked at within {} s", limit.as_secs());
                Err(LinkError::Failed(StepFailure::new(reason)))
            }
        }
    };
    fleet.call(host, request).await
}

fn resolve(
    graph: &Graph,
    outcomes: Vec<Option<CheckOutcome>>,
    failed: &HashMap<String, StepFailure>,
) -> Vec<Standing> {
    let mut resolving = Resolving::new(graph, outcomes, failed);
    for at in 0..graph.steps.len() {
        if graph.only_if[at].is_empty() && resolving.found_pending(at) {
            resolving.set_pending(at);
        }
    }
    resolving.spread();
    resolving.renew_waits();
    resolving.standings
}

/// The least set of pending steps that the rules allow, grown from those that are pending by themselves.
struct Resolving<'a> {
    graph: &'a Graph,
    outcomes: Vec<Option<CheckOutcome>>,
    standings: Vec<Standing>,
    /// Steps that run only if this one is pending.
    asked_by: HashMap<usize, Vec<usize>>,
    open: Vec<usize>,
}

impl<'a> Resolving<'a> {
    fn new(
        graph: &'a Graph,
        outcomes: Vec<Option<CheckOutcome>>,
        failed: &HashMap<String, StepFailure>,
    ) -> Self {
        let mut asked_by: HashMap<usize, Vec<usize>> = HashMap::new();
        for (at, others) in graph.only_if.iter().enumerate() {
            for &other in others {
                asked_by.entry(other).or_default().push(at);
            }
        }
        let down: Vec<bool> = graph.hosts.iter().map(|host| failed.contains_key(host)).collect();
        let standing = |at: usize| if down[graph.host[at]] { Standing::Unknown } else { Standing::Unchanged };
        let standings = (0..graph.steps.len()).map(standing).collect();
        Self { graph, outcomes, standings, asked_by, open: Vec::new() }
    }

    fn found_pending(&self, at: usize) -> bool {
        matches!(self.outcomes[at], Some(CheckOutcome::Pending { .. } | CheckOutcome::Broken(_)))
    }

    fn set_pending(&mut self, at: usize) {
        if self.standings[at] != Standing::Unchanged {
            return;
        }
        let why = match self.outcomes[at].take() {
            Some(CheckOutcome::Pending { why }) => why,
            Some(CheckOutcome::Broken(failure)) => format!("could not be looked at: {failure}"),
            Some(CheckOutcome::Done) => "something before it changes".to_owned(),
            None => "a later step needs its value".to_owned(),
        };
        self.standings[at] = Standing::Pending { why };
        self.open.push(at);
    }

    fn is_pending(&self, at: usize) -> bool {
        matches!(self.standings[at], Standing::Pending { .. })
    }

    fn spread(&mut self) {
        while let Some(at) = self.open.pop() {
            for other in self.asked_by.get(&at).cloned().unwrap_or_default() {
                let wanted = self.graph.is_read(other) && self.is_read_wanted(other);
                if wanted || self.found_pending(other) {
                    self.set_pending(other);
                }
            }
            for (_, read) in self.graph.inputs[at].clone() {
                let only_if = &self.graph.only_if[read];
                if only_if.is_empty() || only_if.iter().any(|&other| self.is_pending(other)) {
                    self.set_pending(read);
                }
            }
        }
    }

    fn is_read_wanted(&self, read: usize) -> bool {
        let takes =
            |&at: &usize| self.is_pending(at) && self.graph.inputs[at].iter().any(|&(_, from)| from == read);
        self.graph.needed_by[read].iter().any(takes)
    }

    fn renew_waits(&mut self) {
        let mut after_pending = vec![false; self.graph.steps.len()];
        for at in 0..self.graph.steps.len() {
            let after = self.graph.needs[at].iter().any(|&need| after_pending[need]);
            let only_if = &self.graph.only_if[at];
            let wanted = only_if.is_empty() || only_if.iter().any(|&other| self.is_pending(other));
            if after && wanted && self.graph.is_wait(at) {
                self.set_pending(at);
            }
            after_pending[at] = after || self.is_pending(at);
        }
        self.open.clear();
    }
}
