//! The table: rows as data, and the machine that they were measured on.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What came of it.
    pub(crate) value: String,
    /// What it should be; empty where nobody has said.
    pub(crate) aim: &'static str,
}

/// A row.
pub(crate) fn row(what: impl Into<String>, value: impl Into<String>, aim: &'static str) -> Row {
    Row { what: what.into(), value: value.into(), aim }
}

/// Rows under a line that names the machine. Its `Display` is Markdown.
#[derive(Debug)]
pub(crate) struct Table {
    /// The machine.
    pub(crate) machine: String,
    /// The rows.
    pub(crate) rows: Vec<Row>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Measured by `cargo xtask bench` on {}.\n", self.machine)?;
        writeln!(f, "| what | measured | aim |\n|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} | {} | {} |", row.what, row.value, row.aim))
    }
}

/// This machine in words: processor, cores, memory, kernel, distribution.
pub(crate) fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let model = value(&cpu, "model name", ':').unwrap_or("a processor without a name");
    let cores = std::thread::available_parallelism()?;
    let kib = value(&memory, "MemTotal", ':').and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let gib = kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{:.1}", float(kib) / 1_048_576.0));
    let system = value(&system, "PRETTY_NAME", '=').unwrap_or("Linux").trim_matches('"');
    Ok(format!("{model}, {cores} cores, {gib} GiB of memory, {system}, kernel {}", kernel.trim()))
}

fn value<'a>(text: &'a str, name: &str, sign: char) -> Option<&'a str> {
    let (_, value) =
        text.lines().filter_map(|line| line.split_once(sign)).find(|(key, _)| key.trim() == name)?;
    Some(value.trim())
}

/// The middle of some times; the mean of the two middle ones where their number is even.
pub(crate) fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => Duration::ZERO,
        (count, half) if count % 2 == 1 => sorted[half],
        (_, half) => (sorted[half - 1] + sorted[half]) / 2,
    }
}

/// Seconds in words; of several runs the median and the span.
pub(crate) fn seconds(times: &[Duration]) -> String {
    let text = |time: Duration| {
        let places = if time < Duration::from_secs(1) { 3 } else { 1 };
        format!("{:.places$} s", time.as_secs_f64())
    };
    match (times.iter().min(), times.iter().max()) {
        (Some(least), Some(most)) if times.len() > 1 => {
            format!("{} ({} to {}, {} runs)", text(median(times)), text(*least), text(*most), times.len())
        }
        _ => text(median(times)),
    }
}

/// How many times `other` a time is, by the medians.
pub(crate) fn ratio(times: &[Duration], other: &[Duration]) -> String {
    format!("{:.2}", median(times).as_secs_f64() / median(other).as_secs_f64())
}

/// Bytes in words.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", float(bytes) / 1e6)
}

/// A number for ratios.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up() {
        let times = [3, 1, 2].map(Duration::from_secs);
        assert_eq!(median(&times), Duration::from_secs(2));
        assert_eq!(median(&times[..2]), Duration::from_secs(2));
        assert_eq!(median(&[]), Duration::ZERO);
        assert_eq!(seconds(&times), "2.0 s (1.0 s to 3.0 s, 3 runs)");
        assert_eq!(seconds(&[Duration::from_millis(52)]), "0.052 s");
        assert_eq!(ratio(&times, &times[1..2]), "2.00");
    }

    #[test]
    fn a_table_is_markdown() {
        let table = Table { machine: "a desk".to_owned(), rows: vec![row("size", "1 MB", "≤ 2 MB")] };
        let text = "Measured by `cargo xtask bench` on a desk.\n\n\
                    | what | measured | aim |\n|---|---|---|\n| size | 1 MB | ≤ 2 MB |\n";
        assert_eq!(table.to_string(), text);
        assert!(machine().unwrap().contains(" cores, "));
    }
}
