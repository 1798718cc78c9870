//! The engine's promises, held against hosts that fail on purpose. Time is virtual unless a test says otherwise.

mod flow;
mod kill;
mod order;
mod scale;
mod transfer;

use std::sync::Arc;
use std::time::Duration;

use qiji_events::{Event, Lifecycle, Stamped};
use qiji_plan::{Plan, Step};

use crate::fake::{Cluster, FakeBlobs, FakeConnector};
use crate::{Cancel, Engine, EngineError, Events, Fleet, FleetOptions, RunReport, SiteLock, Work};

/// An engine over a cluster, its events and the way to end it.
struct Bench {
    engine: Engine,
    events: Arc<Events>,
    cancel: Cancel,
    plan: Plan,
}

impl Bench {
    fn new(plan: &Plan, cluster: &Arc<Cluster>) -> Self {
        let options = FleetOptions { connects: 5, ..FleetOptions::default() };
        let fleet = Arc::new(Fleet::new(Arc::new(FakeConnector(Arc::clone(cluster))), options));
        let (events, cancel) = (Arc::new(Events::new()), Cancel::new());
        let engine = Engine::new(fleet, FakeBlobs::of(plan))
            .with_events(Arc::clone(&events))
            .with_cancel(cancel.clone());
        Self { engine, events, cancel, plan: plan.clone() }
    }

    async fn run(&self) -> RunReport {
        self.run_with(None).await.expect("a sound plan")
    }

    async fn run_with(&self, lock: Option<&SiteLock>) -> Result<RunReport, EngineError> {
        let work = Work { verb: "install".into(), site: "lab".into(), plan: self.plan.clone() };
        self.engine.run(work, lock).await
    }

    /// Runs and gives all events too.
    async fn watch(&self) -> (RunReport, Vec<Stamped>) {
        let mut reader = self.events.subscribe();
        let report = self.run().await;
        let mut seen = Vec::new();
        while let Some(event) = reader.try_recv() {
            seen.push(Stamped::clone(&event));
        }
        (report, seen)
    }
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan { steps }
}

fn ids(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut ids: Vec<_> = pairs.iter().map(|(step, because)| (step.as_str(), because.as_str())).collect();
    ids.sort_unstable();
    ids
}

/// Moment at which a step was done.
fn done_at(events: &[Stamped], step: &str) -> Option<Duration> {
    events.iter().find_map(|stamped| match &stamped.event {
        Event::Lifecycle(Lifecycle::StepDone { step: done, .. }) if done == step => {
            Some(Duration::from_millis(stamped.at_ms))
        }
        _ => None,
    })
}
