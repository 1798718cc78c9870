//! Over random graphs, latencies, prior states and lost links: order is kept and nothing is done twice.

use std::time::Duration;

use proptest::prelude::*;
use qiji_plan::{Plan, Step};

use super::Bench;
use crate::fake::{Cluster, Faults, receive, step};

/// One random step: host, needs among those before it, milliseconds it takes, done before, bytes.
type Shape = (u8, Vec<prop::sample::Index>, u64, bool, Option<u64>);

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let needs = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    // From 3 on, the two blobs that are made of it differ: a step names each blob once.
    let bytes = prop::option::weighted(0.2, 3_u64..300_000);
    prop::collection::vec((0_u8..5, needs, 0_u64..3_000, prop::bool::weighted(0.2), bytes), 1..40)
}

fn graph(shapes: &[Shape]) -> Plan {
    let mut steps: Vec<Step> = Vec::new();
    for (number, (host, needs, _, _, bytes)) in shapes.iter().enumerate() {
        let needs: Vec<String> = if number == 0 {
            Vec::new()
        } else {
            needs.iter().map(|need| steps[need.index(number)].id.0.clone()).collect()
        };
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        let id = format!("h{host}/{number}");
        steps.push(match bytes {
            Some(bytes) => receive(&id, &needs, &[*bytes, bytes / 2 + 1]),
            None => step(&id, &needs),
        });
    }
    Plan { steps }
}

fn number(step: &Step) -> usize {
    step.title.parse().expect("a number")
}

/// A step that is done already can only stand on steps that are: else the fake hosts would see it as out of order.
fn done_before(shapes: &[Shape], plan: &Plan) -> Vec<String> {
    let mut done = std::collections::HashSet::new();
    for (step, (.., before, bytes)) in plan.steps.iter().zip(shapes) {
        if *before && bytes.is_none() && step.needs.iter().all(|need| done.contains(&need.0)) {
            done.insert(step.id.0.clone());
        }
    }
    done.into_iter().collect()
}

fn check(shapes: &[Shape], losses_per_thousand: u64, seed: u64) -> Result<(), TestCaseError> {
    let plan = graph(shapes);
    let latencies: Vec<u64> = shapes.iter().map(|shape| shape.2).collect();
    let delay = move |step: &Step| Duration::from_millis(latencies[number(step)]);
    let faults = Faults { losses_per_thousand, seed, delay: Some(Box::new(delay)), ..Faults::default() };
    let cluster = Cluster::new(&plan, faults);
    let before = done_before(shapes, &plan);
    cluster.set_done(before.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let report = runtime.block_on(Bench::new(&plan, &cluster).run());
    prop_assert_eq!(cluster.violations(), Vec::<String>::new());
    prop_assert!(report.is_ok(), "{:?}", report);
    prop_assert_eq!(cluster.done().len(), plan.steps.len());
    let begun = cluster.begun();
    let applied = plan.steps.iter().filter(|step| step.bytes() == 0);
    for step in applied {
        let times = begun.get(&step.id.0).copied().unwrap_or(0);
        prop_assert_eq!(times == 0, before.contains(&step.id.0), "{} was begun {} times", step.id, times);
        prop_assert!(losses_per_thousand > 0 || times <= 1, "{} was begun {} times", step.id, times);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn needs_come_first(shapes in shapes()) {
        check(&shapes, 0, 0)?;
    }

    #[test]
    fn lost_links_change_nothing_in_the_end(shapes in shapes(), seed in any::<u64>()) {
        check(&shapes, 20, seed)?;
    }
}
