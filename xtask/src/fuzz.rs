//! `cargo xtask fuzz`: every parser of untrusted bytes under libFuzzer and `AddressSanitizer`, then a table.
//!
//! 1. One program with all targets is built from `fuzz/libfuzzer`, which is a workspace of its own, and seeds are written by `fuzz/`. The pinned
//!    compiler is told to allow the sanitizer, which it otherwise keeps for its nightly builds; nothing else is built that way.
//! 2. Each target runs for its time on a core of its own, as many at once as there are cores. What it found new of ways through the code is kept for the next run.
//! 3. An input that ends a target badly, takes more than a minute or more than 2 GiB is a finding: it is kept, and the chore fails at its end.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use fs_err as fs;

use crate::places;
use crate::run::run as run_program;

/// What libFuzzer's program is built for.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Instrumentation as libFuzzer wants it: counters of edges, and what is compared with what.
const FLAGS: &str = "--cap-lints=warn -Zsanitizer=address -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// Lines of a failed target's output that are shown.
const SHOWN: usize = 40;

/// What to fuzz.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u32,
    /// Only this target; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// What a run of a target gave.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    executions: u64,
    /// Edges of the program that were reached.
    coverage: u64,
    peak_mib: u64,
    found: bool,
}

impl Outcome {
    /// Reads what libFuzzer prints.
    fn read(text: &str, good: bool) -> Self {
        let number = |line: &str, word: &str| {
            line.split_once(word).and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        };
        let last = |word: &str| text.lines().rev().find_map(|line| number(line, word)).unwrap_or(0);
        Self {
            executions: last("stat::number_of_executed_units:"),
            coverage: last(" cov: "),
            peak_mib: last("stat::peak_rss_mb:"),
            found: !good,
        }
    }

    fn row(&self, name: &str, seconds: u32) -> String {
        let Self { executions, coverage, peak_mib, found } = self;
        let found = if *found { "**one**" } else { "none" };
        format!("| {name} | {seconds} | {executions} | {coverage} | {peak_mib} MiB | {found} |")
    }
}

/// Builds and runs the targets.
pub(crate) fn run(options: &Options) -> Result<()> {
    let all = build()?;
    if let Some(unknown) = options.only.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    let chosen = all.iter().filter(|name| options.only.is_empty() || options.only.contains(name));
    let outcomes = fuzz_all(chosen, options.seconds)?;
    println!(
        "\n| target | seconds | executions | edges | peak memory | findings |\n|---|---|---|---|---|---|"
    );
    for (name, outcome) in &outcomes {
        println!("{}", outcome.row(name, options.seconds));
    }
    let found = outcomes.values().any(|outcome| outcome.found);
    ensure!(!found, "inputs that end a target badly lie in {}", folder("findings").display());
    Ok(())
}

/// Runs targets, as many at once as there are cores, and tells each as it ends.
fn fuzz_all<'a>(
    names: impl Iterator<Item = &'a String> + Send,
    seconds: u32,
) -> Result<BTreeMap<&'a str, Outcome>> {
    let queue = Mutex::new(names);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<BTreeMap<&'a str, Outcome>> {
        let mut done = BTreeMap::new();
        while let Some(name) = next() {
            let outcome = fuzz(name, seconds)?;
            println!("{}", outcome.row(name, seconds));
            done.insert(name.as_str(), outcome);
        }
        Ok(done)
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut all = BTreeMap::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow!("what runs a target panicked"))??);
        }
        Ok(all)
    })
}

fn folder(name: &str) -> PathBuf {
    places::scratch("fuzz").join(name)
}

/// Builds the program and writes the seeds; gives the targets' names.
fn build() -> Result<Vec<String>> {
    let mut seeds = Command::new(env!("CARGO"));
    seeds.args(["run", "--quiet", "--package", "qiji-fuzz", "--example", "seeds", "--"]).arg(folder("seeds"));
    run_program(seeds.current_dir(places::workspace()))?;
    let manifest = places::workspace().join("fuzz/libfuzzer/Cargo.toml");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--release", "--target", TRIPLE, "--manifest-path"]).arg(manifest);
    build.arg("--target-dir").arg(folder("build"));
    build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    run_program(&mut build)?;
    let names = fs::read_dir(folder("seeds"))?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.map(|name| Ok(name?.to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn fuzz(name: &str, seconds: u32) -> Result<Outcome> {
    let (corpus, findings) = (folder("corpus").join(name), folder("findings"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&findings)?;
    let program = folder("build").join(TRIPLE).join("release/qiji-libfuzzer");
    let mut command = Command::new(program);
    command.env("QIJI_FUZZ_TARGET", name).arg(&corpus).arg(folder("seeds").join(name));
    command.arg(format!("-max_total_time={seconds}"));
    command.args(["-rss_limit_mb=2048", "-timeout=60", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={}/{name}-", findings.display()));
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    fs::write(folder(&format!("{name}.log")), &*text)?;
    if !output.status.success() {
        let lines: Vec<_> = text.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(SHOWN)..].join("\n"));
    }
    Ok(Outcome::read(&text, output.status.success()))
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn what_libfuzzer_prints_is_read() {
        let text = "#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 30Mb\n\
            #4096\tpulse  cov: 1234 ft: 5678 corp: 90/10Kb lim: 4096 exec/s: 100 rss: 120Mb\n\
            Done 4242 runs in 61 second(s)\nstat::number_of_executed_units: 4242\nstat::peak_rss_mb:             121\n";
        let outcome = Outcome::read(text, true);
        assert_eq!(outcome, Outcome { executions: 4242, coverage: 1234, peak_mib: 121, found: false });
        assert_eq!(outcome.row("lock", 60), "| lock | 60 | 4242 | 1234 | 121 MiB | none |");
        assert!(Outcome::read("", false).found);
    }
}
