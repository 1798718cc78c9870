//! The installer is killed at every point that a run passes, one after the other, and run again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use qiji_events::{Event, Lifecycle};
use qiji_plan::{Plan, Step};

use super::{Bench, plan};
use crate::SiteState;
use crate::fake::{Cluster, Faults, receive, step};

fn small_site() -> Plan {
    let mut steps = vec![receive("cp/receive", &[], &[200_000, 70_000]), step("cp/init", &["cp/receive"])];
    for host in ["w1", "w2"] {
        let name = |words: &str| format!("{host}/{words}");
        steps.push(receive(&name("receive"), &[], &[200_000]));
        steps.push(step(&name("modules"), &[]));
        steps.push(step(&name("unpack"), &[&name("receive")]));
        steps.push(step(&name("join"), &[&name("unpack"), &name("modules"), "cp/init"]));
    }
    plan(steps)
}

fn faults(kill_at: Option<u64>) -> Faults {
    let delay = |step: &Step| Duration::from_millis(10 + step.id.0.len() as u64);
    Faults { kill_at, delay: Some(Box::new(delay)), rate: Some(5_000_000), ..Faults::default() }
}

/// Runs until killed; `true` when the run came to its end before that.
async fn run_until_killed(plan: &Plan, cluster: &Arc<Cluster>, state: &SiteState) -> bool {
    let bench = Bench::new(plan, cluster);
    let lock = state.lock().expect("nobody else works on it");
    tokio::select! {
        report = bench.run_with(Some(&lock)) => report.expect("a sound plan").is_ok(),
        () = cluster.killed() => false,
    }
}

fn journalled_done(state: &SiteState) -> HashSet<String> {
    let events = state.last_run().expect("a journal");
    let done = events.into_iter().filter_map(|stamped| match stamped.event {
        Event::Lifecycle(Lifecycle::StepDone { step, .. }) => Some(step),
        _ => None,
    });
    done.collect()
}

#[tokio::test(start_paused = true)]
async fn killed_anywhere_it_goes_on() {
    let plan = small_site();
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let mut kill_at = 0;
    loop {
        let state = SiteState::open(folder.path(), &format!("site-{kill_at}")).expect("a state");
        let cluster = Cluster::new(&plan, faults(Some(kill_at)));
        let ended = run_until_killed(&plan, &cluster, &state).await;
        let done = journalled_done(&state);
        let again = cluster.revived(faults(None));
        assert!(run_until_killed(&plan, &again, &state).await, "killed at {kill_at}");
        assert_eq!(again.violations(), Vec::<String>::new(), "killed at {kill_at}");
        assert_eq!(again.done().len(), plan.steps.len());
        for (step, times) in again.begun() {
            let allowed = if done.contains(&step) { 1 } else { 2 };
            assert!(times <= allowed, "killed at {kill_at}: {step} was begun {times} times");
        }
        if ended {
            break;
        }
        kill_at += 1;
    }
    assert!(kill_at > 40, "a run passes many points, not {kill_at}");
}
