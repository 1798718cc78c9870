//! What happens during a run, as data: no executor and no terminal in it. Terminal, JSON lines and a saved run are readers of the same stream.
//!
//! Two kinds: [`Event::Lifecycle`] is never dropped and is what a journal keeps; [`Event::Progress`] may be dropped when a reader is slow.

use serde::{Deserialize, Serialize};

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
        /// Steps of the plan: (id, host, title).
        steps: Vec<StepInfo>,
    },
    /// A host is connected and its agent answers.
    HostConnected {
        /// Host.
        host: String,
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
        /// The failed step.
        because: String,
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
