//! Carries a plan out, shows what happens, and says at the end how it went. Ctrl-C once ends after the running steps, twice at once.

use std::sync::Arc;

use qiji_blueprint::site::Site;
use qiji_engine::{Cancel, Events, RunReport, SiteLock, Work};
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
pub(crate) fn conclude(site: &Site, report: &RunReport, told: &Told, style: Style, done: &str) -> Result<(), Failure> {
    if !report.is_ok() {
        return Err(failure(site, report));
    }
    if style == Style::Json {
        return Ok(());
    }
    let seconds = report.took.as_secs_f64();
    if report.changed == 0 {
        println!("site `{}`: nothing to change ({} steps looked at in {seconds:.1} s)", site.name, report.unchanged);
        return Ok(());
    }
    let sent = size(report.bytes);
    println!("site `{}`: {done}; {} steps in {seconds:.1} s, {sent} sent", site.name, report.changed);
    let breakdown = qiji_events::report(told);
    let path: Vec<String> = breakdown.critical_path.iter().rev().filter(|part| part.took_ms >= 500).take(6)
        .map(|part| format!("{} {:.1} s", part.id, std::time::Duration::from_millis(part.took_ms).as_secs_f64())).collect();
    if !path.is_empty() {
        println!("what it waited for, last first: {}", path.join(", "));
    }
    Ok(())
}

/// Every failure once, each with its host, step, reasons, output and hint.
fn failure(site: &Site, report: &RunReport) -> Failure {
    let mut text = String::new();
    for (host, failure) in &report.hosts_failed {
        text += &format!("error: {host}: {}\n", failure.reasons.join("\n  because: "));
        text += &failure.hint.as_ref().map_or_else(String::new, |hint| format!("  hint: {hint}\n"));
    }
    for failed in &report.failed {
        text += &format!("error: {}: step {} failed\n", failed.host, failed.step);
        for reason in &failed.failure.reasons {
            text += &format!("  because: {reason}\n");
        }
        for line in &failed.failure.output {
            text += &format!("    | {line}\n");
        }
        text += &failed.failure.hint.as_ref().map_or_else(String::new, |hint| format!("  hint: {hint}\n"));
    }
    if report.stopped {
        text += "the run was stopped on request\n";
    }
    text += &format!(
        "site `{}`: {} steps done, {} done before, {} failed, {} left out\n  hint: mend the cause and run the same command again: it goes on from here",
        site.name,
        report.changed,
        report.unchanged,
        report.failed.len(),
        report.skipped.len(),
    );
    Failure::rendered(Kind::Failed, text)
}
