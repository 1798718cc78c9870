//! `cargo xtask fuzz`: every parser of untrusted bytes under libFuzzer and `AddressSanitizer`, then a table.
//!
//! 1. A nightly toolchain and `cargo-fuzz` are set up where they are missing.
//! 2. Targets and seeds are built from `fuzz/`, which is a workspace of its own.
//! 3. Each target runs for its time. What it found new of ways through the code is kept for the next run.
//! 4. An input that ends a target badly, takes more than a minute or more than 2 GiB is a finding: it is kept, and the chore fails.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use fs_err as fs;

use crate::places;
use crate::run::{quiet, run as run_program};

/// The version that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";
/// What libFuzzer's targets are built for.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What to fuzz.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u32,
    /// Only this target; may be given more than once
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
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
    set_up()?;
    let all = build()?;
    if let Some(unknown) = options.targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    let chosen = all.iter().filter(|name| options.targets.is_empty() || options.targets.contains(name));
    let mut table = Vec::new();
    let mut found = false;
    for name in chosen {
        let outcome = fuzz(name, options.seconds)?;
        found |= outcome.found;
        table.push(outcome.row(name, options.seconds));
        println!("{}", table.last().map_or("", String::as_str));
    }
    println!(
        "\n| target | seconds | executions | edges | peak memory | findings |\n|---|---|---|---|---|---|"
    );
    println!("{}", table.join("\n"));
    if found {
        bail!("inputs that end a target badly lie in {}", folder("findings").display())
    }
    Ok(())
}

fn folder(name: &str) -> PathBuf {
    places::scratch("fuzz").join(name)
}

/// Where `cargo-fuzz` is installed.
fn tools() -> PathBuf {
    places::scratch("cargo-fuzz")
}

fn set_up() -> Result<()> {
    if quiet(Command::new("cargo").args(["+nightly", "--version"])).is_err() {
        println!("installing a nightly toolchain");
        quiet(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]))
            .context("cannot install a nightly toolchain; install one with rustup")?;
    }
    if !tools().join("bin/cargo-fuzz").exists() {
        println!("installing cargo-fuzz {CARGO_FUZZ} into {}", tools().display());
        let mut install = Command::new(env!("CARGO"));
        install.args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ, "--root"]).arg(tools());
        quiet(&mut install).context("cannot install cargo-fuzz")?;
    }
    Ok(())
}

/// Builds all targets and writes their seeds; gives the targets' names.
fn build() -> Result<Vec<String>> {
    let workspace = places::workspace();
    let fuzz = workspace.join("fuzz");
    let mut build = Command::new(tools().join("bin/cargo-fuzz"));
    build.args(["build", "--fuzz-dir"]).arg(&fuzz).arg("--target-dir").arg(folder("build"));
    run_program(nightly(&mut build).current_dir(&workspace))?;
    let mut seeds = Command::new("cargo");
    seeds.args(["run", "--quiet", "--example", "seeds", "--manifest-path"]).arg(fuzz.join("Cargo.toml"));
    seeds.arg("--target-dir").arg(folder("build")).arg("--").arg(folder("seeds"));
    run_program(nightly(&mut seeds).current_dir(&workspace))?;
    let names =
        fs::read_dir(folder("seeds"))?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// With the nightly toolchain; its lints are not ours.
fn nightly(command: &mut Command) -> &mut Command {
    command.env("RUSTUP_TOOLCHAIN", "nightly").env("RUSTFLAGS", "--cap-lints=warn").env_remove("CARGO")
}

fn fuzz(name: &str, seconds: u32) -> Result<Outcome> {
    let (corpus, findings) = (folder("corpus").join(name), folder("findings"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&findings)?;
    let mut command = Command::new(folder("build").join(TRIPLE).join("release").join(name));
    command.arg(&corpus).arg(folder("seeds").join(name)).arg(format!("-max_total_time={seconds}"));
    command.args(["-rss_limit_mb=2048", "-timeout=60", "-print_final_stats=1", "-verbosity=1"]);
    command.arg(format!("-artifact_prefix={}/{name}-", findings.display()));
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let lines: Vec<_> = text.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
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
