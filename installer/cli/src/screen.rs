//! Shows a run's events to a person or a script. Three readers of the same stream: live lines on a terminal (a line a host, with
//! bytes, rate and time left), plain lines where the output is not a terminal, and JSON lines.
//!
//! What failed is told once, at the end, with its reasons and hint; nothing else is repeated.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use qiji_events::{Event, HostView, Lifecycle, Stage, Stamped, Summary, TimeLeft, Typical, WholeView};

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A line a host, redrawn.
    Live,
    /// One line an event.
    Plain,
    /// One JSON document an event.
    Json,
}

impl Style {
    /// The style for this caller.
    pub(crate) fn choose(json: bool) -> Self {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Self::Json,
            (false, true) => Self::Live,
            (false, false) => Self::Plain,
        }
    }
}

/// A reader of events.
pub(crate) struct Screen {
    style: Style,
    summary: Summary,
    bars: MultiProgress,
    hosts: BTreeMap<String, ProgressBar>,
    /// The last line, for all hosts together.
    whole: Option<ProgressBar>,
    titles: BTreeMap<String, (String, String)>,
    /// Everything seen, for the report at the end.
    seen: Vec<Stamped>,
}

impl Screen {
    /// A screen for a run; `typical` is what an earlier one took.
    pub(crate) fn new(style: Style, typical: Typical) -> Self {
        Self {
            style,
            summary: Summary::new(typical),
            bars: MultiProgress::new(),
            hosts: BTreeMap::new(),
            whole: None,
            titles: BTreeMap::new(),
            seen: Vec::new(),
        }
    }

    /// Takes and shows the next event.
    pub(crate) fn show(&mut self, stamped: &Stamped) {
        self.summary.apply(stamped);
        match self.style {
            Style::Json => json(stamped),
            Style::Plain => self.plain(stamped),
            Style::Live => self.live(stamped),
        }
        if matches!(stamped.event, Event::Lifecycle(_)) {
            self.seen.push(stamped.clone());
        }
    }

    /// The lifecycle events that were shown.
    pub(crate) fn into_seen(self) -> Vec<Stamped> {
        for bar in self.hosts.values().chain(&self.whole) {
            bar.finish_and_clear();
        }
        self.seen
    }

    fn plain(&mut self, stamped: &Stamped) {
        let Event::Lifecycle(event) = &stamped.event else { return };
        if let Some(line) = self.line(event) {
            eprintln!("{:>7.1}s  {line}", Duration::from_millis(stamped.at_ms).as_secs_f64());
        }
    }

    /// One line for an event, where it is worth one.
    fn line(&mut self, event: &Lifecycle) -> Option<String> {
        match event {
            Lifecycle::RunStarted { steps, .. } => {
                let known =
                    steps.iter().map(|step| (step.id.clone(), (step.host.clone(), step.title.clone())));
                self.titles.extend(known);
                None
            }
            Lifecycle::HostConnected { host } => Some(format!("{host}: connected")),
            Lifecycle::HostLost { host, reasons } => {
                Some(format!("{host}: connection lost ({}); connecting again", reasons.join(": ")))
            }
            Lifecycle::Resolved { pending, unchanged } => {
                Some(format!("{pending} steps to do, {unchanged} done before"))
            }
            Lifecycle::HostFailed { host, reasons, .. } => {
                Some(format!("{host}: FAILED: {}", reasons.join(": ")))
            }
            Lifecycle::StepDone { step, took_ms, bytes, .. } => {
                let (host, title) = self.title(step);
                let sent = if *bytes > 0 { format!(", {}", size(*bytes)) } else { String::new() };
                Some(format!(
                    "{host}: {title} ({:.1} s{sent})",
                    Duration::from_millis(*took_ms).as_secs_f64()
                ))
            }
            Lifecycle::StepFailed { step, reasons, .. } => {
                let (host, title) = self.title(step);
                Some(format!("{host}: {title}: FAILED: {}", reasons.join(": ")))
            }
            Lifecycle::StopRequested { now } => Some(
                if *now { "stopping now" } else { "stopping after the running steps; once more to stop now" }
                    .to_owned(),
            ),
            _ => None,
        }
    }

    fn title(&self, step: &str) -> (String, String) {
        self.titles.get(step).cloned().unwrap_or_else(|| (String::new(), step.to_owned()))
    }

    fn live(&mut self, stamped: &Stamped) {
        if let Event::Lifecycle(event) = &stamped.event {
            let telling = matches!(
                event,
                Lifecycle::HostFailed { .. } | Lifecycle::StepFailed { .. } | Lifecycle::StopRequested { .. }
            );
            if let Some(line) = self.line(event).filter(|_| telling) {
                let _ = self.bars.println(line);
            }
        }
        for view in self.summary.hosts(stamped.at_ms) {
            let bar = self.hosts.entry(view.host.clone()).or_insert_with(|| new_bar(&self.bars));
            bar.set_message(host_line(&view));
        }
        let whole = self.summary.whole(stamped.at_ms);
        let bar = self.whole.get_or_insert_with(|| new_bar(&self.bars));
        bar.set_message(format!("whole site: {}", numbers(&whole)));
    }
}

fn json(stamped: &Stamped) {
    if let Ok(text) = serde_json::to_string(stamped) {
        // A reader that went away ends the output, not the run.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

fn new_bar(bars: &MultiProgress) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn host_line(view: &HostView) -> String {
    let doing = match &view.stage {
        Stage::Connecting => "connecting".to_owned(),
        Stage::Checking => "waiting".to_owned(),
        Stage::Reconnecting => "connecting again".to_owned(),
        Stage::Finished => "done".to_owned(),
        Stage::Failed(_) => "failed".to_owned(),
        Stage::Working => view.current.iter().map(|step| step.title.as_str()).collect::<Vec<_>>().join(", "),
    };
    format!("{:<12} {} {doing}", view.host, numbers(&view.whole))
}

fn numbers(whole: &WholeView) -> String {
    let done = whole.done + whole.unchanged;
    let mut words = vec![format!("[{done}/{}]", done + whole.left + whole.failed + whole.skipped)];
    if whole.bytes_total > 0 && whole.bytes < whole.bytes_total {
        words.push(format!("{} of {}", size(whole.bytes), size(whole.bytes_total)));
    }
    words.extend(whole.rate.map(|rate| format!("{}/s", size(rate))));
    match whole.time_left {
        _ if whole.left == 0 => {}
        TimeLeft::About(ms) => words.push(format!("{} left", time(ms))),
        TimeLeft::AtLeast(ms) => words.push(format!("at least {} left", time(ms))),
        TimeLeft::Unknown => {}
    }
    words.join(" ")
}

/// Milliseconds in words: `8 s`, `3 min 20 s`.
pub(crate) fn time(ms: u64) -> String {
    match ms.div_ceil(1000) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Bytes in words: `12.3 MB`.
pub(crate) fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::{size, time};

    #[test]
    fn numbers_are_said_in_words() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(12_345_678), "12.3 MB");
        assert_eq!(size(2_000_000_000), "2.0 GB");
        assert_eq!(time(7_200), "8 s");
        assert_eq!(time(200_000), "3 min 20 s");
    }
}
