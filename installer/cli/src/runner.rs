//! Carries a plan out, shows what happens, and says at the end how it went. Ctrl-C once ends after the running steps, twice at once.

use std::sync::Arc;

use qiji_blueprint::site::Site;
use qiji_engine::{Cancel, Events, RunReport, SiteLock, StepFailure, Work};
use qiji_events::{Stamped, Typical};

use crate::failure::{Classify, Failure, Kind};
use crate::screen::{Screen, Style, size};
use crate::site::OnSite;

/// The lifecycle events of a run.
pub(crate) type Told = Vec<Stamped>;

/// Runs `work` with its events on the screen.
pub(crate) async fn run(
    on_site: &OnSite,
    work: Work,
    lock: &SiteLock,
    style: Style,
    typical: Typical,
) -> Result<(RunReport, Told), Failure> {
    let events = Arc::new(Events::new());
    let mut stream = events.subscribe();
    let shown = tokio::spawn(async move {
        let mut screen = Screen::new(style, typical);
        while let Some(stamped) = stream.recv().await {
            screen.show(&stamped);
        }
        screen.into_seen()
    });
    let cancel = Cancel::new();
    let interrupts = tokio::spawn(stop_on_interrupts(cancel.clone()));
    let engine = on_site.engine().with_events(events).with_cancel(cancel);
    let report = engine.run(work, Some(lock)).await;
    interrupts.abort();
    // The stream ends with the engine that feeds it.
    drop(engine);
    let told = shown.await.failed()?;
    Ok((report.failed()?, told))
}

async fn stop_on_interrupts(cancel: Cancel) {
    while tokio::signal::ctrl_c().await.is_ok() {
        cancel.request();
    }
}

/// Says how a run went, and gives the verb's outcome.
pub(crate) fn conclude(
    site: &Site,
    report: &RunReport,
    told: &Told,
    style: Style,
    done: &str,
) -> Result<(), Failure> {
    if !report.is_ok() {
        return Err(failure(site, report));
    }
    if style == Style::Json {
        return Ok(());
    }
    let seconds = report.took.as_secs_f64();
    if report.changed == 0 {
        println!(
            "site `{}`: nothing to change ({} steps looked at in {seconds:.1} s)",
            site.name, report.unchanged
        );
        return Ok(());
    }
    let sent = size(report.bytes);
    println!("site `{}`: {done}; {} steps in {seconds:.1} s, {sent} sent", site.name, report.changed);
    let breakdown = qiji_events::report(told);
    let path: Vec<String> = breakdown
        .critical_path
        .iter()
        .rev()
        .filter(|part| part.took_ms >= 500)
        .take(6)
        .map(|part| {
            format!("{} {:.1} s", part.id, std::time::Duration::from_millis(part.took_ms).as_secs_f64())
        })
        .collect();
    if !path.is_empty() {
        println!("what it waited for, last first: {}", path.join(", "));
    }
    Ok(())
}

/// Every failure once, each with its host, step, reasons, output and hint.
fn failure(site: &Site, report: &RunReport) -> Failure {
    let mut lines = Vec::new();
    for (host, failure) in &report.hosts_failed {
        lines.push(format!("error: {host}: cannot go on"));
        lines.extend(told(failure));
    }
    for failed in &report.failed {
        lines.push(format!("error: {}: step {} failed", failed.host, failed.step));
        lines.extend(told(&failed.failure));
    }
    if report.stopped {
        lines.push("the run was stopped on request".to_owned());
    }
    let (changed, unchanged) = (report.changed, report.unchanged);
    let (failed, left) = (report.failed.len(), report.skipped.len());
    let name = &site.name;
    lines.push(format!(
        "site `{name}`: {changed} steps done, {unchanged} done before, {failed} failed, {left} left out"
    ));
    lines.push("  hint: mend the cause and run the same command again: it goes on from here".to_owned());
    Failure::rendered(Kind::Failed, lines.join("\n"))
}

/// Reasons, the program's last lines, and what to do next.
fn told(failure: &StepFailure) -> Vec<String> {
    let reasons = failure.reasons.iter().map(|reason| format!("  because: {reason}"));
    let output = failure.output.iter().map(|line| format!("    | {line}"));
    let hint = failure.hint.iter().map(|hint| format!("  hint: {hint}"));
    reasons.chain(output).chain(hint).collect()
}
