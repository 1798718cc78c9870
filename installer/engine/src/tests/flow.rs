//! What runs, what does not, and what is said about it.

use std::collections::BTreeMap;
use std::time::Duration;

use qiji_events::{Event, Lifecycle};
use qiji_plan::{Action, Content, Step, StepId};

use super::{Bench, done_at, ids, plan};
use crate::fake::{Cluster, Faults, step};
use crate::{EngineError, PlanFault, Standing};

fn read(id: &str, needs: &[&str]) -> Step {
    Step {
        action: Action::Read { argv: vec!["cat".into()], env: BTreeMap::new(), secret: true },
        ..step(id, needs)
    }
}

fn taking(id: &str, needs: &[&str], name: &str, from: &str) -> Step {
    let inputs = BTreeMap::from([(name.to_owned(), StepId(from.to_owned()))]);
    let content = Content { text: format!("@{{{name}}}"), inputs, secret: true };
    Step { action: Action::File { path: "/x".into(), mode: 0o600, content }, ..step(id, needs) }
}

fn failing(steps: &[&str]) -> Faults {
    Faults { failing: steps.iter().map(|&step| step.to_owned()).collect(), ..Faults::default() }
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_leaves_out_what_needs_it_and_nothing_else() {
    let plan = plan(vec![
        step("a/one", &[]),
        step("a/two", &["a/one"]),
        step("a/apart", &[]),
        step("b/one", &[]),
        step("b/two", &["b/one", "a/two"]),
        step("b/three", &["b/two"]),
    ]);
    let cluster = Cluster::new(&plan, failing(&["a/one"]));
    let report = Bench::new(&plan, &cluster).run().await;
    assert!(!report.is_ok());
    assert_eq!(report.failed[0].step, "a/one");
    assert_eq!(ids(&report.skipped), [("a/two", "a/one"), ("b/three", "a/one"), ("b/two", "a/one")]);
    assert_eq!(cluster.done(), ["a/apart", "b/one"].map(str::to_owned).into());
}

#[tokio::test(start_paused = true)]
async fn a_cause_passes_through_steps_found_done() {
    let plan = plan(vec![step("a/one", &[]), step("a/two", &["a/one"]), step("b/three", &["a/two"])]);
    let cluster = Cluster::new(&plan, failing(&["a/one"]));
    cluster.set_done(["a/two".to_owned()]);
    let report = Bench::new(&plan, &cluster).run().await;
    assert_eq!(ids(&report.skipped), [("b/three", "a/one")]);
    assert_eq!(report.unchanged, 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_stops_itself_only() {
    let plan = plan(vec![
        step("a/one", &[]),
        step("b/one", &[]),
        step("b/two", &["a/one", "b/one"]),
        step("c/one", &["a/one"]),
    ]);
    let faults = Faults { down: ["b".to_owned()].into(), ..Faults::default() };
    let cluster = Cluster::new(&plan, faults);
    let (report, events) = Bench::new(&plan, &cluster).watch().await;
    assert_eq!(report.hosts_failed["b"].reasons, ["b does not answer"]);
    assert_eq!(ids(&report.skipped), [("b/one", "b"), ("b/two", "b")]);
    assert_eq!(report.changed, 2);
    let told =
        events.iter().filter(|event| matches!(&event.event, Event::Lifecycle(Lifecycle::HostFailed { .. })));
    assert_eq!(told.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_changes_nothing_and_asks_each_host_once() {
    let plan =
        plan(vec![step("a/one", &[]), read("a/value", &["a/one"]), taking("b/two", &[], "v", "a/value")]);
    let first = Cluster::new(&plan, Faults::default());
    let report = Bench::new(&plan, &first).run().await;
    assert!(report.is_ok() && report.changed == 2, "{report:?}");
    let second = first.revived(Faults::default());
    let (report, events) = Bench::new(&plan, &second).watch().await;
    assert!(report.is_ok());
    assert_eq!((report.changed, report.unchanged), (0, 3));
    assert_eq!((second.checks("a"), second.checks("b")), (1, 1));
    assert_eq!(second.begun(), first.begun());
    assert!(
        events
            .iter()
            .any(|event| matches!(event.event, Event::Lifecycle(Lifecycle::Resolved { pending: 0, .. })))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_pending_follows_from_what_was_found() {
    let wait = |id: &str, needs: &[&str]| Step { action: Action::Wait, ..step(id, needs) };
    let only_if = |id: &str, others: &[&str]| Step {
        only_if_pending: others.iter().map(|&other| StepId(other.to_owned())).collect(),
        ..step(id, &[])
    };
    let plan = plan(vec![
        step("a/done", &[]),
        step("a/changed", &[]),
        wait("a/wait-apart", &["a/done"]),
        wait("a/wait-after", &["a/changed"]),
        only_if("a/not-wanted", &["a/done"]),
        only_if("a/wanted", &["a/done", "a/changed"]),
        only_if("a/chained", &["a/wanted"]),
        read("a/read-for-done", &[]),
        read("a/read-for-pending", &[]),
        taking("b/has-it", &[], "v", "a/read-for-done"),
        taking("b/takes-it", &[], "v", "a/read-for-pending"),
    ]);
    let cluster = Cluster::new(&plan, Faults::default());
    cluster.set_done(["a/done", "a/wait-apart", "a/wait-after", "b/has-it"].map(str::to_owned));
    let bench = Bench::new(&plan, &cluster);
    let survey = bench.engine.survey(plan.clone()).await.expect("a sound plan");
    let steps = plan.steps.iter().zip(survey.standings());
    let pending = steps.filter(|(_, standing)| matches!(standing, Standing::Pending { .. }));
    let pending: Vec<&str> = pending.map(|(step, _)| step.id.0.as_str()).collect();
    let wanted = ["a/changed", "a/wait-after", "a/wanted", "a/chained", "a/read-for-pending", "b/takes-it"];
    assert_eq!(pending, wanted);
    assert!(cluster.begun().is_empty(), "a survey changes nothing");
    let report = bench.run().await;
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(cluster.begun().len(), wanted.len());
}

#[tokio::test(start_paused = true)]
async fn no_event_holds_a_secret() {
    let plan = plan(vec![
        read("a/secret", &[]),
        taking("b/good", &[], "v", "a/secret"),
        taking("b/bad", &[], "v", "a/secret"),
    ]);
    let cluster = Cluster::new(&plan, failing(&["b/bad"]));
    let (report, events) = Bench::new(&plan, &cluster).watch().await;
    let text = format!("{report:?} {}", serde_json::to_string(&events).expect("plain data"));
    assert!(!text.contains("value-of-a/secret"), "{text}");
    assert!(text.contains("v is [secret]") && text.contains("told to fail, with [secret]"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_host_delays_nobody_else() {
    let mut steps = Vec::new();
    for host in 0..20 {
        let before = |number: u32| format!("h{host}/{number}");
        steps.push(step(&before(0), &[]));
        steps.extend((1..5).map(|number| step(&before(number), &[&before(number - 1)])));
    }
    let plan = plan(steps);
    let delay = |step: &Step| Duration::from_secs(if step.host == "h7" { 100 } else { 1 });
    let cluster = Cluster::new(&plan, Faults { delay: Some(Box::new(delay)), ..Faults::default() });
    let (report, events) = Bench::new(&plan, &cluster).watch().await;
    assert!(report.is_ok());
    for host in (0..20).filter(|host| *host != 7) {
        let done = done_at(&events, &format!("h{host}/4")).expect("done");
        assert!(done < Duration::from_millis(5_100), "h{host} took {done:?}");
    }
    assert!(done_at(&events, "h7/4").expect("done") >= Duration::from_secs(500));
}

#[tokio::test(start_paused = true)]
async fn a_host_runs_four_steps_at_once() {
    let plan = plan((0..10).map(|number| step(&format!("a/{number}"), &[])).collect());
    let cluster = Cluster::new(
        &plan,
        Faults { delay: Some(Box::new(|_| Duration::from_secs(1))), ..Faults::default() },
    );
    let report = Bench::new(&plan, &cluster).run().await;
    assert_eq!(report.took.as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn asked_once_running_steps_end_and_no_other_begins() {
    let plan = plan(vec![step("a/one", &[]), step("a/two", &["a/one"])]);
    let cluster = Cluster::new(
        &plan,
        Faults { delay: Some(Box::new(|_| Duration::from_secs(10))), ..Faults::default() },
    );
    let bench = Bench::new(&plan, &cluster);
    let (report, ()) = tokio::join!(bench.run(), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        bench.cancel.request();
    });
    assert!(report.stopped && !report.is_ok());
    assert_eq!(report.took.as_secs(), 10);
    assert_eq!((report.changed, ids(&report.skipped)), (1, vec![("a/two", "stopped")]));
}

#[tokio::test(start_paused = true)]
async fn asked_twice_running_steps_are_broken_off() {
    let plan = plan(vec![step("a/one", &[]), step("a/two", &["a/one"])]);
    let cluster = Cluster::new(
        &plan,
        Faults { delay: Some(Box::new(|_| Duration::from_secs(10))), ..Faults::default() },
    );
    let bench = Bench::new(&plan, &cluster);
    let ((report, events), ()) = tokio::join!(bench.watch(), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        bench.cancel.request();
        bench.cancel.request();
    });
    assert_eq!(report.took.as_secs(), 3);
    assert_eq!(ids(&report.skipped), [("a/one", "stopped"), ("a/two", "stopped")]);
    let stopped = Lifecycle::StepStopped { step: "a/one".into() };
    assert!(events.iter().any(|event| event.event == Event::Lifecycle(stopped.clone())));
}

#[tokio::test(start_paused = true)]
async fn a_step_without_an_answer_fails_in_time() {
    let plan = plan(vec![Step { timeout_s: 20, ..step("a/hangs", &[]) }, step("a/other", &[])]);
    let delay = |step: &Step| Duration::from_secs(if step.id.0 == "a/hangs" { 100_000 } else { 0 });
    let cluster = Cluster::new(&plan, Faults { delay: Some(Box::new(delay)), ..Faults::default() });
    let report = Bench::new(&plan, &cluster).run().await;
    assert_eq!(report.failed[0].failure.reasons, ["no answer from the host within 35 s"]);
    assert_eq!(report.changed, 1);
}

#[tokio::test]
async fn all_faults_of_a_plan_are_told_before_any_host_is_touched() {
    let plan = plan(vec![
        step("a/one", &["a/two", "a/none"]),
        step("a/two", &[]),
        step("a/two", &[]),
        taking("a/takes", &[], "v", "a/one"),
    ]);
    let cluster = Cluster::new(&plan, Faults::default());
    let fault = Bench::new(&plan, &cluster).run_with(None).await.expect_err("unsound");
    let EngineError::Plan { faults } = fault else { panic!("{fault}") };
    let a = |text: &str| format!("a/{text}");
    assert!(faults.contains(&PlanFault::Twice { step: a("two") }));
    assert!(faults.contains(&PlanFault::Unknown { step: a("one"), other: a("none") }));
    assert!(faults.contains(&PlanFault::Order { step: a("one"), other: a("two") }));
    assert!(faults.contains(&PlanFault::Input { step: a("takes"), other: a("one") }));
    assert_eq!(cluster.points(), 0);
}
