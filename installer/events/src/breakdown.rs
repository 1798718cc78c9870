//! Where the time of a run went: from its lifecycle events to durations of steps, the chain of steps that set the length of the whole,
//! and bytes and busy time per host.
//!
//! The chain is walked backwards from the step that ended last: before each step stands the one of its needs that ended last. Time between that
//! end and the step's start is time in which it was held up by something other than its needs (a bound on parallel work, mostly).
//! Events may end in the middle of a run; steps without an end are left out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::{Event, Lifecycle, Stamped, StepInfo};

/// How a step came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done and verified.
    Done,
    /// Failed.
    Failed,
    /// Broken off.
    Stopped,
}

/// One step that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTime {
    /// Id.
    pub id: String,
    /// Host.
    pub host: String,
    /// Title for people.
    pub title: String,
    /// Milliseconds from the run's begin to its start.
    pub start_ms: u64,
    /// Milliseconds from the run's begin to its end.
    pub end_ms: u64,
    /// Bytes sent for it.
    pub bytes: u64,
    /// How it came out.
    pub outcome: Outcome,
}

impl StepTime {
    /// Milliseconds it took.
    pub fn took_ms(&self) -> u64 {
        self.end_ms.saturating_sub(self.start_ms)
    }
}

/// One link of the chain that set the length of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPart {
    /// Step.
    pub id: String,
    /// Milliseconds it could have run but did not.
    pub waited_ms: u64,
    /// Milliseconds it took.
    pub took_ms: u64,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTime {
    /// Host.
    pub host: String,
    /// Steps that ran.
    pub steps: u64,
    /// Sum of their milliseconds; more than the run's where they overlapped.
    pub busy_ms: u64,
    /// Bytes sent to it.
    pub bytes: u64,
}

/// Where the time of a run went. Its `Display` is a text table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breakdown {
    /// Milliseconds of the whole run, as far as the events go.
    pub total_ms: u64,
    /// Milliseconds until it was known what is to be done: connecting and checking.
    pub checking_ms: u64,
    /// Steps that ran, longest first.
    pub steps: Vec<StepTime>,
    /// The chain, first step first.
    pub critical_path: Vec<PathPart>,
    /// Hosts, by name.
    pub hosts: Vec<HostTime>,
}

/// Works out where the time of one run went.
pub fn report<'a>(events: impl IntoIterator<Item = &'a Stamped>) -> Breakdown {
    let mut reading = Reading::default();
    for stamped in events {
        reading.take(stamped);
    }
    reading.finish()
}

#[derive(Default)]
struct Reading<'a> {
    infos: HashMap<&'a str, &'a StepInfo>,
    started: HashMap<&'a str, u64>,
    ended: HashMap<&'a str, StepTime>,
    total_ms: u64,
    checking_ms: Option<u64>,
}

impl<'a> Reading<'a> {
    fn take(&mut self, stamped: &'a Stamped) {
        let Event::Lifecycle(event) = &stamped.event else { return };
        let at = stamped.at_ms;
        self.total_ms = self.total_ms.max(at);
        match event {
            Lifecycle::RunStarted { steps, .. } => {
                self.infos = steps.iter().map(|info| (info.id.as_str(), info)).collect();
            }
            Lifecycle::Resolved { .. } => self.checking_ms = Some(at),
            Lifecycle::StepStarted { step } => {
                self.started.insert(step, at);
            }
            Lifecycle::StepDone { step, bytes, .. } => self.end(step, at, *bytes, Outcome::Done),
            Lifecycle::StepFailed { step, .. } => self.end(step, at, 0, Outcome::Failed),
            Lifecycle::StepStopped { step } => self.end(step, at, 0, Outcome::Stopped),
            _ => {}
        }
    }

    fn end(&mut self, step: &'a str, end_ms: u64, bytes: u64, outcome: Outcome) {
        let Some(&start_ms) = self.started.get(step) else { return };
        let info = self.infos.get(step);
        let time = StepTime {
            id: step.to_owned(),
            host: info.map_or_else(|| host_of(step).to_owned(), |info| info.host.clone()),
            title: info.map_or_else(String::new, |info| info.title.clone()),
            start_ms,
            end_ms,
            bytes,
            outcome,
        };
        self.ended.insert(step, time);
    }

    fn finish(self) -> Breakdown {
        let critical_path = self.critical_path();
        let hosts = self.hosts();
        let mut steps: Vec<StepTime> = self.ended.into_values().collect();
        steps.sort_by(|a, b| b.took_ms().cmp(&a.took_ms()).then_with(|| a.id.cmp(&b.id)));
        let checking_ms = self.checking_ms.unwrap_or(self.total_ms);
        Breakdown { total_ms: self.total_ms, checking_ms, steps, critical_path, hosts }
    }

    fn critical_path(&self) -> Vec<PathPart> {
        let mut path = Vec::new();
        let mut at = self.ended.values().max_by(|a, b| a.end_ms.cmp(&b.end_ms).then_with(|| b.id.cmp(&a.id)));
        while let Some(step) = at {
            let before = self.last_need(&step.id, step.start_ms);
            let ready_ms = before.map_or(self.checking_ms.unwrap_or(0), |need| need.end_ms);
            path.push(PathPart {
                id: step.id.clone(),
                waited_ms: step.start_ms.saturating_sub(ready_ms),
                took_ms: step.took_ms(),
            });
            at = before;
        }
        path.reverse();
        path
    }

    /// The need that ended last, seen through needs that did not run.
    fn last_need(&self, step: &str, before_ms: u64) -> Option<&StepTime> {
        let mut last: Option<&StepTime> = None;
        let mut open: Vec<&str> = vec![step];
        let mut seen: HashSet<&str> = HashSet::new();
        while let Some(at) = open.pop() {
            let Some(info) = self.infos.get(at) else { continue };
            for need in &info.needs {
                match self.ended.get(need.as_str()) {
                    Some(time) if time.end_ms <= before_ms => {
                        last = Some(last.filter(|last| last.end_ms >= time.end_ms).unwrap_or(time));
                    }
                    None if seen.insert(need) => open.push(need),
                    Some(_) | None => {}
                }
            }
        }
        last
    }

    fn hosts(&self) -> Vec<HostTime> {
        let mut hosts: BTreeMap<&str, HostTime> = BTreeMap::new();
        for step in self.ended.values() {
            let host = hosts.entry(&step.host).or_insert_with(|| HostTime {
                host: step.host.clone(),
                steps: 0,
                busy_ms: 0,
                bytes: 0,
            });
            host.steps += 1;
            host.busy_ms += step.took_ms();
            host.bytes += step.bytes;
        }
        hosts.into_values().collect()
    }
}

fn host_of(step: &str) -> &str {
    step.split_once('/').map_or("", |(host, _)| host)
}

/// Steps that the table shows; the rest is summed up in a line.
const SHOWN_STEPS: usize = 15;

impl fmt::Display for Breakdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "whole run {:>36}", Seconds(self.total_ms))?;
        writeln!(f, "connecting and checking {:>22}", Seconds(self.checking_ms))?;
        self.fmt_path(f)?;
        self.fmt_steps(f)?;
        self.fmt_hosts(f)
    }
}

impl Breakdown {
    fn fmt_path(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.critical_path.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:<36} {:>9} {:>9}", "longest chain of steps", "took", "held up")?;
        for part in &self.critical_path {
            writeln!(f, "{:<36} {:>9} {:>9}", part.id, Seconds(part.took_ms), Seconds(part.waited_ms))?;
        }
        Ok(())
    }

    fn fmt_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:<36} {:>9} {:>9} {:>10}", "longest steps", "took", "began", "sent")?;
        for step in self.steps.iter().take(SHOWN_STEPS) {
            let (took, began) = (Seconds(step.took_ms()), Seconds(step.start_ms));
            writeln!(
                f,
                "{:<36} {took:>9} {began:>9} {:>10}{}",
                step.id,
                Bytes(step.bytes),
                step.outcome.mark()
            )?;
        }
        let rest: u64 = self.steps.iter().skip(SHOWN_STEPS).map(StepTime::took_ms).sum();
        match self.steps.len().saturating_sub(SHOWN_STEPS) {
            0 => Ok(()),
            more => writeln!(f, "{:<36} {:>9}", format!("{more} shorter steps together"), Seconds(rest)),
        }
    }

    fn fmt_hosts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hosts.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:<36} {:>9} {:>9} {:>10}", "host", "steps", "busy", "sent")?;
        for host in &self.hosts {
            let (busy, sent) = (Seconds(host.busy_ms), Bytes(host.bytes));
            writeln!(f, "{:<36} {:>9} {busy:>9} {sent:>10}", host.host, host.steps)?;
        }
        Ok(())
    }
}

impl Outcome {
    fn mark(self) -> &'static str {
        match self {
            Self::Done => "",
            Self::Failed => "  failed",
            Self::Stopped => "  stopped",
        }
    }
}

struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:02} s", self.0 / 1000, self.0 % 1000 / 10))
    }
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.pad("-"),
            bytes @ 1..100_000 => f.pad(&format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100)),
            bytes => f.pad(&format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, done, info, run, started};

    #[test]
    fn the_chain_is_walked_back_from_the_step_that_ended_last() {
        let steps = vec![
            info("a/one", &[], 5_000_000),
            info("a/two", &["a/one"], 0),
            info("b/fast", &[], 0),
            info("b/last", &["b/fast", "a/two"], 0),
        ];
        let events = vec![
            at(0, run(steps)),
            at(100, Lifecycle::Resolved { pending: 4, unchanged: 0 }),
            at(100, started("a/one")),
            at(100, started("b/fast")),
            at(200, done("b/fast", 0)),
            at(2100, done("a/one", 5_000_000)),
            at(2150, started("a/two")),
            at(2400, done("a/two", 0)),
            at(2400, started("b/last")),
            at(2500, done("b/last", 0)),
        ];
        let found = report(&events);
        let chain: Vec<_> =
            found.critical_path.iter().map(|part| (part.id.as_str(), part.waited_ms)).collect();
        assert_eq!(chain, [("a/one", 0), ("a/two", 50), ("b/last", 0)]);
        let sum: u64 = found.critical_path.iter().map(|part| part.took_ms + part.waited_ms).sum();
        assert_eq!(sum + found.checking_ms, found.total_ms);
        assert_eq!(found.steps[0].id, "a/one");
        assert_eq!((found.hosts[0].bytes, found.hosts[0].busy_ms), (5_000_000, 2250));
        let text = found.to_string();
        assert!(text.contains("a/one                                   2.00 s"), "{text}");
        assert!(text.contains("5.0 MB"), "{text}");
    }

    #[test]
    fn a_step_found_done_is_seen_through() {
        let steps = vec![info("a/one", &[], 0), info("a/two", &["a/one"], 0), info("a/three", &["a/two"], 0)];
        let events = vec![
            at(0, run(steps)),
            at(1, Lifecycle::StepUnchanged { step: "a/two".into() }),
            at(10, started("a/one")),
            at(60, done("a/one", 0)),
            at(60, started("a/three")),
            at(90, done("a/three", 0)),
        ];
        let chain: Vec<_> = report(&events).critical_path.into_iter().map(|part| part.id).collect();
        assert_eq!(chain, ["a/one", "a/three"]);
    }

    #[test]
    fn a_run_that_was_cut_off_has_a_breakdown_of_what_ended() {
        let events = vec![at(0, run(vec![info("a/one", &[], 0)])), at(5, started("a/one"))];
        let found = report(&events);
        assert!(found.steps.is_empty() && found.critical_path.is_empty());
        assert_eq!(found.total_ms, 5);
    }
}
