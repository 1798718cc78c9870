//! A plan: plain data, a graph of steps. Making one only reads; carrying one out only obeys.

use serde::{Deserialize, Serialize};

use crate::action::{Action, Condition, StepId};

/// What will be done on all hosts of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Steps, each after all that it needs.
    pub steps: Vec<Step>,
}

/// One step on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Name, unique in the plan: `HOST/WORDS`.
    pub id: StepId,
    /// Host it runs on.
    pub host: String,
    /// What it does, for people: `start containerd`.
    pub title: String,
    /// Steps, on this or other hosts, that must be done first.
    pub needs: Vec<StepId>,
    /// When not empty: the step runs only if one of these steps was found not done at the start of the run.
    pub only_if_pending: Vec<StepId>,
    /// The deed.
    pub action: Action,
    /// What must hold afterwards; asked again until it does or `timeout_s` is over. For a check, asked once.
    pub verify: Vec<Condition>,
    /// Paths removed before the deed when an earlier try at it was begun and not finished: half-made things that it would trip over.
    pub clean_first: Vec<String>,
    /// Seconds that deed and verification may take together.
    pub timeout_s: u32,
}

impl Step {
    /// Bytes of the bundle that the step moves to its host, at most.
    pub fn bytes(&self) -> u64 {
        match &self.action {
            Action::Receive { blobs } => blobs.iter().map(|blob| blob.size).sum(),
            _ => 0,
        }
    }
}
