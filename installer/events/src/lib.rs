//! What happens during a run, as data: no executor and no terminal in it. Terminal, JSON lines and a saved run are readers of the same stream.
//!
//! [`Event::Lifecycle`] is never dropped and is what a journal keeps; [`Event::Progress`] and [`Event::Log`] may be dropped when a reader is slow.
//!
//! Readers that are pure live here too: [`Summary`] (what goes on now and how long it will last) and [`report`] (where the time went).
//! No event holds a secret: whoever makes events takes them out first.

mod breakdown;
mod summary;
#[cfg(test)]
mod testing;

use serde::{Deserialize, Serialize};

pub use breakdown::{Breakdown, HostTime, Outcome, PathPart, StepTime, report};
pub use summary::{Current, HostView, Stage, Summary, TimeLeft, Typical, WholeView};

/// One event with its moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Milliseconds since the run began.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Event {
    /// Something began, ended or was found.
    Lifecycle(Lifecycle),
    /// How far something is.
    Progress(Progress),
    /// A line that a program wrote.
    Log(Log),
}

impl Event {
    /// Whether a slow reader may be spared it.
    pub fn may_drop(&self) -> bool {
        !matches!(self, Self::Lifecycle(_))
    }
}

/// Something began, ended or was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Lifecycle {
    /// A run began.
    RunStarted {
        /// `install`, `reset`, …
        verb: String,
        /// Site.
        site: String,
        /// Name of the run, unique on the controller.
        run: String,
        /// Milliseconds since 1970 at which it began.
        unix_ms: u64,
        /// Steps of the plan, each after those that it needs.
        steps: Vec<StepInfo>,
    },
    /// A host is connected and its agent answers.
    HostConnected {
        /// Host.
        host: String,
    },
    /// A host's connection broke and is being made again.
    HostLost {
        /// Host.
        host: String,
        /// Chain of causes, outermost first.
        reasons: Vec<String>,
    },
    /// All steps of a host were looked at.
    HostChecked {
        /// Host.
        host: String,
        /// Steps found done.
        done: u64,
        /// Steps found not done.
        pending: u64,
    },
    /// What is to be done is known; from here on hosts are changed.
    Resolved {
        /// Steps that will be tried.
        pending: u64,
        /// Steps that need nothing.
        unchanged: u64,
    },
    /// A host cannot be gone on with; its remaining steps are left out.
    HostFailed {
        /// Host.
        host: String,
        /// Chain of causes, outermost first.
        reasons: Vec<String>,
        /// What to do next, where known.
        hint: Option<String>,
    },
    /// A step was found done before.
    StepUnchanged {
        /// Step.
        step: String,
    },
    /// A step began.
    StepStarted {
        /// Step.
        step: String,
    },
    /// A step was done and verified.
    StepDone {
        /// Step.
        step: String,
        /// Milliseconds it took.
        took_ms: u64,
        /// Whether anything on the host was changed.
        changed: bool,
        /// Bytes sent to the host for it.
        bytes: u64,
    },
    /// A step failed.
    StepFailed {
        /// Step.
        step: String,
        /// Chain of causes, outermost first; the last lines of a program's output among them.
        reasons: Vec<String>,
        /// What to do next, where known.
        hint: Option<String>,
    },
    /// A step was not tried, since one that it needs failed.
    StepSkipped {
        /// Step.
        step: String,
        /// The failed step or host at the root of it, or `stopped`.
        because: String,
    },
    /// A step was broken off by request; a later run takes it up again.
    StepStopped {
        /// Step.
        step: String,
    },
    /// The run was asked to end early.
    StopRequested {
        /// Whether running steps are broken off rather than waited for.
        now: bool,
    },
    /// The run ended.
    RunEnded {
        /// Whether every step is done.
        ok: bool,
        /// Steps done in this run.
        changed: u64,
        /// Steps found done before.
        unchanged: u64,
        /// Steps failed.
        failed: u64,
        /// Steps left out.
        skipped: u64,
        /// Bytes sent to hosts.
        bytes: u64,
    },
}

/// A step as a reader needs to know it beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInfo {
    /// Id.
    pub id: String,
    /// Host.
    pub host: String,
    /// Title for people.
    pub title: String,
    /// Bytes it may move.
    pub bytes: u64,
    /// Steps it needs.
    pub needs: Vec<String>,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Step.
    pub step: String,
    /// Bytes moved so far, those that were there already among them.
    pub bytes: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A line that a program wrote while a step ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Step.
    pub step: String,
    /// The line, without its end.
    pub line: String,
}
