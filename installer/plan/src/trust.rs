//! What hosts remember of trust: a step before all others on each host.
//!
//! A host remembers that a bundle was accepted before anything else on it changes, so that an installation that is broken off counts, too.

use std::collections::BTreeSet;

use crate::draft::{file, id, step};
use crate::paths;
use crate::plan::{Plan, Step};

/// The plan with a step on each of its hosts that keeps `text` there.
pub fn remembering(plan: Plan, text: &str) -> Plan {
    let hosts: BTreeSet<String> = plan.steps.iter().map(|step| step.host.clone()).collect();
    let keep = |host: &String| {
        let deed = file(paths::TRUST, 0o600, text);
        step(host, "trust", "remember the policy and the bundle", deed)
    };
    let mut steps: Vec<_> = hosts.iter().map(keep).collect();
    let first = |step: Step| {
        let own = format!("{}/", step.host);
        let waits = step.needs.iter().any(|need| need.0.starts_with(&own));
        let trust = id(&step.host, "trust");
        if waits { step } else { step.after([&trust]) }
    };
    steps.extend(plan.steps.into_iter().map(first));
    Plan { steps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;

    #[test]
    fn every_host_remembers_before_anything_else_on_it() {
        let wait = |host: &str, words: &str| step(host, words, words, Action::Wait);
        let first = wait("a", "first");
        let second = wait("a", "second").after([&first.id]);
        let elsewhere = wait("b", "elsewhere").after([&second.id]);
        let third = wait("b", "third");
        let plan = remembering(Plan { steps: vec![first, second, elsewhere, third] }, "text");
        let needs = |name: &str| {
            let step = plan.steps.iter().find(|step| step.id.0 == name).unwrap();
            step.needs.iter().map(|id| id.0.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(plan.steps[0].id.0, "a/trust");
        assert_eq!(plan.steps[1].id.0, "b/trust");
        assert_eq!(needs("a/first"), ["a/trust"]);
        assert_eq!(needs("a/second"), ["a/first"]);
        assert_eq!(needs("b/elsewhere"), ["a/second", "b/trust"]);
        assert_eq!(needs("b/third"), ["b/trust"]);
    }
}
