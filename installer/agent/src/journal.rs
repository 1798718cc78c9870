//! The host's journal: one line when a step begins and one when it ends, each synced before the work goes on.
//! It tells, after any crash, whether an earlier try at a step was left half-made.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use qiji_blueprint::Digest;
use qiji_plan::{Action, StepId};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::root::{self, Root};
use crate::wire::{JournalEntry, Mark};

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Digest over a deed: the same deed gives the same digest, on any host and in any run.
///
/// Taken over the deed as planned, before placeholders get their values.
pub fn fingerprint(action: &Action) -> Result<Digest, Fault> {
    Ok(Digest::of(&serde_json::to_vec(action)?))
}

/// The journal of one host.
#[derive(Debug)]
pub struct Journal {
    root: Root,
    writing: Mutex<()>,
}

impl Journal {
    /// The journal of this host.
    pub fn new(root: Root) -> Self {
        Self { root, writing: Mutex::new(()) }
    }

    /// Adds a line.
    pub fn write(&self, run: &str, step: &StepId, fingerprint: Digest, mark: Mark) -> Result<(), Fault> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        root::make_state_folder(&self.root.state(""), 0o700)?;
        let entry =
            JournalEntry { at_ms: now_ms(), run: run.to_owned(), step: step.0.clone(), fingerprint, mark };
        Ok(root::append_line(&self.root.state("journal.jsonl"), &entry)?)
    }

    /// All lines, oldest first.
    pub fn entries(&self) -> Result<Vec<JournalEntry>, Fault> {
        Ok(root::read_lines(&self.root.state("journal.jsonl"))?)
    }

    /// Whether the last try at a step was begun and did not come to its end.
    pub fn left_half_made(&self, step: &StepId) -> Result<bool, Fault> {
        let last = self.entries()?.into_iter().rev().find(|entry| entry.step == step.0);
        Ok(last.is_some_and(|entry| entry.mark != Mark::Done))
    }
}

/// What is kept of a step that was done: for deeds whose result cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneMark {
    /// Digest over the deed.
    pub fingerprint: Digest,
    /// Digests of files that it left, where those depend on values of the run.
    pub files: BTreeMap<String, Digest>,
}

fn mark_path(root: &Root, step: &StepId) -> std::path::PathBuf {
    let name: String = step
        .0
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect();
    root.state("done").join(format!("{name}-{}", Digest::of(step.0.as_bytes()).short()))
}

/// The mark of a step, if it has one.
pub fn done_mark(root: &Root, step: &StepId) -> Result<Option<DoneMark>, Fault> {
    let text = root::read_text(&mark_path(root, step))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Leaves a mark.
pub fn mark_done(root: &Root, step: &StepId, mark: &DoneMark) -> Result<(), Fault> {
    let path = mark_path(root, step);
    root::make_state_folder(&root.state("done"), 0o700)?;
    Ok(root::write_whole(&path, 0o600, &serde_json::to_vec(mark)?)?)
}

/// Takes the mark away, before the deed is done again.
pub fn unmark(root: &Root, step: &StepId) -> Result<(), Fault> {
    let path = mark_path(root, step);
    match fs_err::remove_file(&path) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => Err(fault.into()),
        _ => Ok(()),
    }
}
