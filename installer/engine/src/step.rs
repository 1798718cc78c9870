//! One step from its begin to its end: journalled, applied within its time, and looked at again when its link was lost on the way.
//!
//! A step whose link broke may be done or not. The engine connects again and asks; only if the step is still to be done is it applied once more.
//! Reading a value has no effect, so it is simply done again.

use std::sync::Arc;
use std::time::Duration;

use qiji_events::Lifecycle;
use qiji_plan::Step;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::bus::{Bus, JournalError};
use crate::cancel::Cancel;
use crate::fleet::{CallError, Fleet, lost_too_often};
use crate::graph::Graph;
use crate::link::{Applied, BlobProvider, CheckOutcome, LinkError, StepFailure, Values};
use crate::run::EngineOptions;
use crate::survey::check;
use crate::transfer;
use crate::values::{Redactor, Value};

/// The agent keeps a step's time limit itself and says more about it; the engine only steps in when no answer comes at all.
const GRACE: Duration = Duration::from_secs(15);

/// What the steps of a run share.
pub(crate) struct Shared {
    pub(crate) graph: Graph,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) blobs: Arc<dyn BlobProvider>,
    pub(crate) bus: Bus,
    pub(crate) redactor: Redactor,
    pub(crate) options: EngineOptions,
    /// Turns at sending a blob.
    pub(crate) uploads: Semaphore,
    pub(crate) cancel: Cancel,
}

impl Shared {
    pub(crate) fn step(&self, at: usize) -> &Step {
        &self.graph.steps[at]
    }

    pub(crate) fn host(&self, at: usize) -> &str {
        &self.graph.hosts[self.graph.host[at]]
    }

    fn clean(&self, failure: StepFailure) -> StepFailure {
        let clean = |lines: Vec<String>| lines.iter().map(|line| self.redactor.clean(line)).collect();
        StepFailure {
            reasons: clean(failure.reasons),
            hint: failure.hint.map(|hint| self.redactor.clean(&hint)),
            output: clean(failure.output),
        }
    }
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum End {
    Done {
        changed: bool,
        value: Option<Arc<Value>>,
        bytes: u64,
    },
    Failed(StepFailure),
    /// Its host cannot be reached any more.
    HostDown(StepFailure),
    Stopped,
    /// The journal cannot be written.
    Journal(JournalError),
}

impl From<CallError> for End {
    fn from(fault: CallError) -> Self {
        match fault {
            CallError::HostDown(failure) => Self::HostDown(failure),
            CallError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Runs one step; its events are in the journal when this returns.
pub(crate) async fn run(shared: Arc<Shared>, at: usize, values: Values) -> End {
    let step = shared.graph.id(at).to_owned();
    if let Err(fault) = shared.bus.emit(Lifecycle::StepStarted { step: step.clone() }).await {
        return End::Journal(fault);
    }
    let begun = Instant::now();
    let end = if let Some(failure) = missing_value(&shared, at, &values) {
        End::Failed(failure)
    } else if shared.graph.is_receive(at) {
        transfer::receive(&shared, at).await
    } else {
        apply(&shared, at, &values).await.map_or_else(|end| end, |applied| done(&shared, at, applied))
    };
    let end = match end {
        End::Failed(failure) => End::Failed(shared.clean(failure)),
        End::HostDown(failure) => End::HostDown(shared.clean(failure)),
        end => end,
    };
    match shared.bus.emit(event(step, &end, begun)).await {
        Ok(()) => end,
        Err(fault) => End::Journal(fault),
    }
}

fn missing_value(shared: &Shared, at: usize, values: &Values) -> Option<StepFailure> {
    let (_, from) = shared.graph.inputs[at].iter().find(|(name, _)| !values.contains_key(name))?;
    Some(StepFailure::new(format!(
        "it takes a value from {}, which was not read in this run",
        shared.graph.id(*from)
    )))
}

fn event(step: String, end: &End, begun: Instant) -> Lifecycle {
    match end {
        End::Done { changed, bytes, .. } => {
            let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            Lifecycle::StepDone { step, took_ms, changed: *changed, bytes: *bytes }
        }
        End::Failed(failure) | End::HostDown(failure) => {
            let reasons = failure.reasons.iter().chain(&failure.output).cloned().collect();
            Lifecycle::StepFailed { step, reasons, hint: failure.hint.clone() }
        }
        End::Stopped | End::Journal(_) => Lifecycle::StepStopped { step },
    }
}

fn done(shared: &Shared, at: usize, applied: Applied) -> End {
    let secret = matches!(shared.step(at).action, qiji_plan::Action::Read { secret: true, .. });
    match applied.output.map(|bytes| Value::new(bytes, secret)).transpose() {
        Err(fault) => End::Failed(StepFailure::of(&fault)),
        Ok(None) if shared.graph.is_read(at) => End::Failed(StepFailure::new("the host sent no value")),
        Ok(value) => {
            let value = value.map(Arc::new);
            if let Some(value) = &value {
                shared.redactor.learn(value);
            }
            End::Done { changed: applied.changed, value, bytes: 0 }
        }
    }
}

/// Applies a step, over as many links as it takes within bounds.
pub(crate) async fn apply(shared: &Shared, at: usize, values: &Values) -> Result<Applied, End> {
    let (step, host) = (shared.step(at), shared.host(at));
    let mut losses = 0;
    loop {
        let (number, link) = shared.fleet.link(host).await.map_err(End::HostDown)?;
        let log = |line: &str| shared.bus.log(&step.id.0, shared.redactor.clean(line));
        let limit = Duration::from_secs(u64::from(step.timeout_s)) + GRACE;
        let reasons = match timeout(limit, link.apply(step, values, &log)).await {
            Ok(Ok(applied)) => return Ok(applied),
            Ok(Err(LinkError::Failed(failure))) => return Err(End::Failed(failure)),
            Ok(Err(LinkError::Lost { reasons })) => reasons,
            Err(_) => {
                let failure =
                    StepFailure::new(format!("no answer from the host within {} s", limit.as_secs()));
                return Err(End::Failed(failure.hint("run again: what is done by then is not done again")));
            }
        };
        losses += 1;
        shared.fleet.lost(host, number, reasons.clone()).await;
        if losses >= shared.fleet.loss_limit() {
            return Err(End::Failed(lost_too_often(losses, reasons)));
        }
        if !shared.graph.is_read(at) && is_done(shared, at).await? {
            return Ok(Applied { changed: true, output: None });
        }
    }
}

async fn is_done(shared: &Shared, at: usize) -> Result<bool, End> {
    let found =
        check(&shared.fleet, shared.host(at), &[shared.step(at)], shared.options.check_timeout).await?;
    Ok(found == [CheckOutcome::Done])
}
