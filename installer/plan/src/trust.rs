//! What hosts remember of trust: a step before all others on each host.
//!
//! A host remembers that a bundle was accepted before anything else on it changes, so that an installation that is broken off counts, too.

use std::collections::BTreeSet;

use crate::draft::{file, id, step};
use crate::paths;
use crate::plan::Plan;

/// The plan with a step on each of its hosts that keeps `text` there.
pub fn remembering(plan: Plan, text: &str) -> Plan {
    let hosts: BTreeSet<String> = plan.steps.iter().map(|step| step.host.clone()).collect();
    let keep = |host: &String| {
        let deed = file(paths::TRUST, 0o600, text);
        step(host, "trust", "remember the policy and the bundle", deed)
    };
    let mut steps: Vec<_> = hosts.iter().map(keep).collect();
    let first = |mut step: crate::Step| {
        if step.needs.is_empty() {
            step.needs.push(id(&step.host, "trust"));
        }
        step
    };
    steps.extend(plan.steps.into_iter().map(first));
    Plan { steps }
}
