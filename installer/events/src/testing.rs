//! Short ways to write down recorded events.

use crate::{Event, Lifecycle, Progress, Stamped, StepInfo};

pub(crate) fn info(id: &str, needs: &[&str], bytes: u64) -> StepInfo {
    StepInfo {
        id: id.into(),
        host: id.split_once('/').map_or(id, |(host, _)| host).into(),
        title: format!("do {}", id.split_once('/').map_or(id, |(_, words)| words)),
        bytes,
        needs: needs.iter().map(|&need| need.into()).collect(),
    }
}

pub(crate) fn run(steps: Vec<StepInfo>) -> Lifecycle {
    Lifecycle::RunStarted { verb: "install".into(), site: "lab".into(), run: "r1".into(), unix_ms: 0, steps }
}

pub(crate) fn started(step: &str) -> Lifecycle {
    Lifecycle::StepStarted { step: step.into() }
}

pub(crate) fn done(step: &str, bytes: u64) -> Lifecycle {
    Lifecycle::StepDone { step: step.into(), took_ms: 0, changed: true, bytes }
}

pub(crate) fn at(at_ms: u64, event: Lifecycle) -> Stamped {
    Stamped { at_ms, event: Event::Lifecycle(event) }
}

pub(crate) fn moved(at_ms: u64, step: &str, bytes: u64, total: u64) -> Stamped {
    Stamped { at_ms, event: Event::Progress(Progress { step: step.into(), bytes, total }) }
}
