//! A plan as people read it: a host at a time, what will be done, and how many bytes go there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::action::{Action, StepId};
use crate::plan::{Plan, Step};

/// Writes a plan, a host at a time in the plan's order. With `pending`, only those steps; the others of a host are counted.
pub fn render_text(plan: &Plan, pending: Option<&BTreeSet<StepId>>) -> String {
    let mut text = String::new();
    let is_pending = |step: &&Step| pending.is_none_or(|pending| pending.contains(&step.id));
    for host in hosts(plan) {
        let all: Vec<&Step> = plan.steps.iter().filter(|step| step.host == host).collect();
        let left: Vec<&Step> = all.iter().copied().filter(is_pending).collect();
        let done = all.len() - left.len();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{host}: {}", summary(&left, done));
        for step in left {
            let from = foreign(step);
            let size = if step.bytes() > 0 { format!(" ({})", bytes(step.bytes())) } else { String::new() };
            let _ = writeln!(text, "  {}{size}{from}", step.title);
        }
    }
    text
}

fn summary(left: &[&Step], done: usize) -> String {
    let mut parts = Vec::new();
    match left.len() {
        0 => parts.push("nothing to do".to_owned()),
        1 => parts.push("1 step".to_owned()),
        steps => parts.push(format!("{steps} steps")),
    }
    let sizes: BTreeMap<_, _> = left.iter().flat_map(|step| blobs(step)).collect();
    let total: u64 = sizes.values().sum();
    if total > 0 {
        parts.push(format!("{} to receive", bytes(total)));
    }
    if done > 0 {
        parts.push(format!("{done} done already"));
    }
    parts.join(", ")
}

fn blobs(step: &Step) -> Vec<(qiji_blueprint::Digest, u64)> {
    match &step.action {
        Action::Receive { blobs } => blobs.iter().map(|blob| (blob.digest, blob.size)).collect(),
        _ => Vec::new(),
    }
}

/// Other hosts that a step waits for.
fn foreign(step: &Step) -> String {
    let others = step.needs.iter().filter_map(|need| need.0.split_once('/')).map(|(host, _)| host);
    let others: BTreeSet<&str> = others.filter(|host| *host != step.host).collect();
    if others.is_empty() {
        return String::new();
    }
    format!(" [after {}]", others.into_iter().collect::<Vec<_>>().join(", "))
}

fn hosts(plan: &Plan) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    plan.steps.iter().map(|step| step.host.as_str()).filter(|host| seen.insert(*host)).collect()
}

/// Bytes for people, in powers of 1024 with one digit after the point.
fn bytes(count: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if count >> shift > 0 {
            let tenths = (u128::from(count) * 10) >> shift;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_plan_is_readable() {
        let site = testing::site(1);
        let plan = crate::install_plan(&site, &testing::inventory(), &testing::facts(&site)).unwrap();
        insta::assert_snapshot!(render_text(&plan, None));
    }

    #[test]
    fn what_is_done_is_counted_not_listed() {
        let site = testing::site(1);
        let plan = crate::install_plan(&site, &testing::inventory(), &testing::facts(&site)).unwrap();
        let pending = BTreeSet::from([StepId("w1/receive-static".into()), StepId("w1/kubelet".into())]);
        let text = render_text(&plan, Some(&pending));
        assert!(text.contains("w1: 1 step, "), "{text}");
        assert!(text.contains("cp1: nothing to do, "), "{text}");
        assert_eq!(text.matches("start kubelet").count(), 1, "{text}");
    }

    #[test]
    fn sizes_are_cut_not_rounded_up() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes((1 << 20) - 1), "1023.9 KiB");
        assert_eq!(bytes(157_286_400), "150.0 MiB");
        assert_eq!(bytes(u64::MAX), "17179869183.9 GiB");
    }
}
