//! Bytes: only what is missing, from where it stopped, and honest about how far.

use std::time::Duration;

use qiji_events::{Event, Stamped};
use qiji_plan::Action;

use super::{Bench, plan};
use crate::fake::{Cluster, Faults, receive, step};

const BIG: u64 = 3_000_000;

fn progress(events: &[Stamped]) -> Vec<(u64, u64)> {
    let progress = events.iter().filter_map(|stamped| match &stamped.event {
        Event::Progress(progress) => Some((stamped.at_ms, progress.bytes)),
        _ => None,
    });
    progress.collect()
}

#[tokio::test(start_paused = true)]
async fn only_the_missing_rest_is_sent() {
    let plan = plan(vec![receive("a/receive", &[], &[BIG, 500_000]), step("a/next", &["a/receive"])]);
    let cluster = Cluster::new(&plan, Faults { rate: Some(1_000_000), ..Faults::default() });
    let Action::Receive { blobs } = &plan.steps[0].action else { unreachable!() };
    cluster.set_blob("a", blobs[0], 1_000_000);
    cluster.set_blob("a", blobs[1], 500_000);
    let (report, events) = Bench::new(&plan, &cluster).watch().await;
    assert!(report.is_ok(), "{report:?}");
    assert_eq!((report.bytes, cluster.received("a")), (2_000_000, 2_000_000));
    assert_eq!(cluster.violations(), Vec::<String>::new());
    let shown = progress(&events);
    assert_eq!(shown.first().map(|(_, bytes)| *bytes), Some(1_500_000), "what was there is said first");
    assert_eq!(shown.last().map(|(_, bytes)| *bytes), Some(3_500_000));
    assert!(shown.is_sorted_by_key(|(_, bytes)| *bytes));
    assert!(shown.len() <= 24, "{} events in two seconds", shown.len());
}

#[tokio::test(start_paused = true)]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    for seed in 0..30 {
        let plan = plan(vec![receive("a/receive", &[], &[BIG])]);
        let faults = Faults { losses_per_thousand: 60, seed, rate: Some(10_000_000), ..Faults::default() };
        let cluster = Cluster::new(&plan, faults);
        let report = Bench::new(&plan, &cluster).run().await;
        assert!(report.is_ok(), "{report:?}");
        assert_eq!(cluster.violations(), Vec::<String>::new());
        // A chunk whose writing was cut off is sent again; one that was written is not.
        assert_eq!(cluster.received("a"), BIG, "seed {seed}");
        assert_eq!(report.bytes, BIG);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_stands_still_fails_and_a_slow_one_does_not() {
    let plan = plan(vec![qiji_plan::Step { timeout_s: 40, ..receive("a/receive", &[], &[BIG]) }]);
    let slow = Cluster::new(&plan, Faults { rate: Some(10_000), ..Faults::default() });
    let report = Bench::new(&plan, &slow).run().await;
    assert!(report.is_ok() && report.took > Duration::from_secs(250), "{report:?}");
    let still = Cluster::new(&plan, Faults { rate: Some(10), ..Faults::default() });
    let report = Bench::new(&plan, &still).run().await;
    assert_eq!(report.failed[0].failure.reasons, ["no byte moved for 40 s"]);
}

#[tokio::test(start_paused = true)]
async fn steps_run_beside_a_transfer_and_a_stop_ends_it_at_once() {
    let plan = plan(vec![receive("a/receive", &[], &[BIG]), step("a/beside", &[])]);
    let cluster = Cluster::new(&plan, Faults { rate: Some(100_000), ..Faults::default() });
    let bench = Bench::new(&plan, &cluster);
    let (report, ()) = tokio::join!(bench.run(), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.cancel.request();
    });
    assert_eq!((report.changed, report.took.as_secs()), (1, 5));
    assert!(cluster.received("a") > 400_000);
}
