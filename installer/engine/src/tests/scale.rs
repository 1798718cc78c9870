//! A large site costs what its size says: time grows with the number of steps and memory with the number of hosts, not faster.
//! With `--nocapture` the figures are shown.

use std::time::Duration;

use qiji_plan::{Plan, Step};
use rustix::time::{ClockId, clock_gettime};

use super::Bench;
use crate::SiteState;
use crate::fake::{Cluster, Faults, step};

const STEPS: usize = 40;

/// Four chains of ten steps a host, and one step of the first host that all others need in their middle.
fn site(hosts: usize) -> Plan {
    let mut steps: Vec<Step> = vec![step("cp/ready", &[])];
    for host in 0..hosts {
        for number in 0..STEPS {
            let before = format!("h{host}/{}", number.saturating_sub(4));
            let mut needs = if number < 4 { vec![] } else { vec![before.as_str()] };
            if number == STEPS / 2 {
                needs.push("cp/ready");
            }
            steps.push(step(&format!("h{host}/{number}"), &needs));
        }
    }
    Plan { steps }
}

/// Processor time of this thread.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn resident_kib() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
}

/// Processor time of a run over `hosts` hosts.
async fn measure(hosts: usize) -> Duration {
    let plan = site(hosts);
    let delay = |step: &Step| Duration::from_millis(1_000 + step.id.0.len() as u64);
    let cluster = Cluster::new(&plan, Faults { delay: Some(Box::new(delay)), ..Faults::default() });
    let bench = Bench::new(&plan, &cluster);
    let (before, memory) = (used(), resident_kib());
    let report = bench.run().await;
    let took = used().saturating_sub(before);
    assert!(report.is_ok());
    assert_eq!(report.changed, plan.steps.len() as u64);
    assert_eq!(cluster.violations(), Vec::<String>::new());
    let grown = resident_kib().saturating_sub(memory);
    println!(
        "{hosts} hosts, {} steps: {took:?} of processor time, {grown} KiB more memory, {:?} of site time",
        plan.steps.len(),
        report.took
    );
    took
}

#[tokio::test(start_paused = true)]
async fn four_times_the_hosts_cost_four_times_the_time() {
    measure(50).await;
    let small = measure(250).await;
    let large = measure(1_000).await;
    assert!(large < small * 8, "{small:?} for 250 hosts, {large:?} for 1,000");
}

#[tokio::test]
async fn a_thousand_hosts_are_journalled() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = SiteState::open(folder.path(), "lab").expect("a state");
    let lock = state.lock().expect("free");
    let plan = site(1_000);
    let cluster = Cluster::new(&plan, Faults::default());
    let begun = std::time::Instant::now();
    let report = Bench::new(&plan, &cluster).run_with(Some(&lock)).await.expect("a sound plan");
    println!("1000 hosts, {} steps, journalled: {:?}", plan.steps.len(), begun.elapsed());
    assert!(report.is_ok());
    let events = state.last_run().expect("a journal");
    assert!(events.len() > 2 * plan.steps.len(), "{} events", events.len());
    let again = Bench::new(&plan, &cluster.revived(Faults::default()));
    let begun = std::time::Instant::now();
    let report = again.run_with(Some(&lock)).await.expect("a sound plan");
    println!("again, with nothing to do: {:?}", begun.elapsed());
    assert_eq!(report.changed, 0);
    assert!(qiji_events::report(&events).total_ms > 0);
}
