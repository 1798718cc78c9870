//! Carries plans out: over many hosts at once, each step as soon as what it needs is done, journalled, resumable at any point.
//!
//! ```text
//! Fleet (links to hosts) ─┐
//! BlobProvider (bundle) ──┼─> Engine::run(Work, SiteLock) ──> RunReport
//! SiteState (journal) ────┘        └──> Events ──> readers (qiji_events::Summary, a terminal, JSON lines)
//! ```
//!
//! Guarantees, each held by a test with hosts that fail on purpose ([`fake`](crate) in the `fake` feature):
//! - A step runs after all that it needs, on whichever hosts they are; nothing else makes a host wait for another.
//! - A step that ended well is not done again, by this run or a later one, whatever was killed in between.
//! - A failed step or a lost host leaves out what needs it and nothing else.
//! - Events and journal hold no secret: values that steps read are wiped when the run ends, and are taken out of what programs print.
//!
//! Limits: all hosts are looked at before the first step begins, so a host that takes long to connect delays the begin (not the rest) of a run.
mod bus;
mod cancel;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod fleet;
mod graph;
mod journal;
mod link;
pub mod remote;
mod run;
mod step;
mod survey;
#[cfg(test)]
mod tests;
mod transfer;
mod values;

pub use bus::{Events, JournalError, Subscription};
pub use cancel::Cancel;
pub use fleet::{Answers, Fleet, FleetOptions};
pub use graph::PlanFault;
pub use journal::{SiteLock, SiteState, StateError};
pub use link::{
    Applied, BlobProvider, Bytes, CheckOutcome, ConnectError, Connector, HostLink, LinkError, LogSink,
    PieceSink, ProgressSink, StepFailure, Values,
};
pub use run::{Engine, EngineError, EngineOptions, FailedStep, RunReport, Work};
pub use survey::{Standing, Survey};
pub use values::{NotText, Value};
