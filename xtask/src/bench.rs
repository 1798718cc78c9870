//! `cargo xtask bench`: measures, and prints the table that the README quotes.
//!
//! 1. Builds the product and the quickstart's bundle, which also fills Go's build cache.
//! 2. Locks and builds anew from an empty store, and once more; with `--cold` from an empty Go build cache before (long).
//! 3. Verifies the bundle by turns with openssl.
//! 4. Packs from a warm store by turns with tar and zstd; writes, verifies and serves a bundle of 4 GiB.
//! 5. Makes and applies deltas, from releases with other versions of Kubernetes among them.
//! 6. In each round, on fresh hosts: install, install again, reset, install once more; then the same cluster by hand.
//!
//! It measures and judges nothing: a figure that misses its aim is a row like any other. A program that fails ends it, and so does a
//! build that gives other bytes. `docs/benchmarks.md` says what is in each row.

mod build;
mod by_hand;
mod delta;
mod field;
mod large;
mod measure;
mod pack;
mod serve;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use fs_err as fs;
use qiji_hosts::{Kind, requirements};

use self::by_hand::{ByHand, Versions, by_hand};
use self::field::Field;
use self::measure::Measured;
use self::table::{Row, Table, machine, megabytes, ratio, row, seconds};
use crate::demo::{self, Made};
use crate::places;

/// A part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Locking and building
    Build,
    /// Packing, as against tar and zstd
    Pack,
    /// Verifying, as against openssl
    Verify,
    /// A bundle of 4 GiB
    Large,
    /// Deltas between releases; takes half an hour the first time
    Delta,
    /// Installing, as against kubeadm by hand
    Install,
}

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these parts of the table
    #[arg(long, value_name = "PART", value_enum)]
    only: Vec<Part>,
    /// Also build with an empty Go build cache, which takes a quarter of an hour
    #[arg(long)]
    cold: bool,
    /// How often to install on fresh hosts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
}

/// The most memory that `qiji` itself held, by verb, in KiB.
#[derive(Debug, Default)]
pub(crate) struct Peaks(BTreeMap<&'static str, u64>);

impl Peaks {
    /// Takes note of a run.
    pub(crate) fn note(&mut self, verb: &'static str, measured: Measured) {
        let peak = self.0.entry(verb).or_insert(0);
        *peak = measured.peak_kib.max(*peak);
    }

    fn rows(&self) -> Vec<Row> {
        let all = self.0.iter();
        all.map(|(verb, kib)| row(format!("peak memory of qiji, {verb}"), megabytes(kib * 1024), "< 100 MB"))
            .collect()
    }
}

/// Measures everything, and prints the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |part: Part| options.only.is_empty() || options.only.contains(&part);
    if wanted(Part::Install) {
        can_start_hosts()?;
    }
    let folder = places::scratch("bench");
    let logs = folder.join("logs");
    fs::create_dir_all(&logs)?;
    demo::build_product()?;
    let made = demo::make_bundle(&folder)?;
    let mut peaks = Peaks::default();
    let mut rows = build::size(&made)?;
    if wanted(Part::Build) {
        rows.extend(build::build(&made, options.cold, &logs, &mut peaks)?);
    }
    if wanted(Part::Verify) {
        rows.extend(build::verify(&made, &logs, &mut peaks)?);
    }
    if wanted(Part::Pack) {
        rows.extend(pack::pack(&made, &logs, &mut peaks)?);
    }
    if wanted(Part::Large) {
        rows.extend(large::large(&logs)?);
    }
    if wanted(Part::Delta) {
        rows.extend(delta::delta(&made, &logs, &mut peaks)?);
    }
    if wanted(Part::Install) {
        rows.extend(install(&made, options.rounds, &logs, &mut peaks)?);
    }
    rows.extend(peaks.rows());
    let table = Table { machine: machine()?, rows };
    fs::write(folder.join("table.md"), table.to_string())?;
    println!("\n{table}");
    Ok(())
}

fn can_start_hosts() -> Result<()> {
    let lacks: Vec<String> = requirements(Kind::Nspawn).iter().map(ToString::to_string).collect();
    if !lacks.is_empty() {
        bail!("this machine cannot start test hosts:\n  {}", lacks.join("\n  "));
    }
    Ok(())
}

/// What the rounds took.
#[derive(Debug, Default)]
struct Rounds {
    fresh: Vec<Duration>,
    again: Vec<Duration>,
    reset: Vec<Duration>,
    after_reset: Vec<Duration>,
    by_hand: Vec<ByHand>,
    sent: BTreeMap<String, u64>,
}

fn install(made: &Made, count: u8, logs: &Path, peaks: &mut Peaks) -> Result<Vec<Row>> {
    let versions = Versions::of(&build::inspect(made)?)?;
    let mut rounds = Rounds::default();
    for number in 1..=count {
        println!("round {number} of {count}");
        rounds.play(&Field::start(made, logs)?, &versions, peaks)?;
    }
    Ok(rounds.rows())
}

impl Rounds {
    fn play(&mut self, field: &Field<'_>, versions: &Versions, peaks: &mut Peaks) -> Result<()> {
        let mut step = |name: &'static str, verb: &str| -> Result<Duration> {
            let measured = field.qiji(verb, &name.replace(' ', "-"))?;
            peaks.note(name, measured);
            Ok(measured.wall)
        };
        self.fresh.push(step("install", "install")?);
        self.sent = field.sent()?;
        self.again.push(step("second install", "install")?);
        self.reset.push(step("reset", "reset")?);
        self.after_reset.push(step("install after a reset", "install")?);
        self.by_hand.push(by_hand(&field.testbed, versions)?);
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        let commands: Vec<Duration> = self.by_hand.iter().map(|taken| taken.commands).collect();
        let end_state: Vec<Duration> = self.by_hand.iter().map(|taken| taken.end_state).collect();
        let mut rows = vec![
            row("install on three fresh hosts", seconds(&self.fresh), ""),
            row("second install, nothing to change", seconds(&self.again), "< 5 s"),
            row("reset", seconds(&self.reset), ""),
            row("install after a reset", seconds(&self.after_reset), ""),
            row("(a) by hand: `kubeadm init` and two `kubeadm join` have returned", seconds(&commands), ""),
            row(
                "(b) by hand: pod network, proxy and names are up as well; not like for like",
                seconds(&end_state),
                "",
            ),
            row("install as a ratio to (a)", ratio(&self.fresh, &commands), "≤ 2"),
        ];
        let sent = self.sent.iter();
        rows.extend(
            sent.map(|(host, bytes)| row(format!("sent to {host} by an install"), megabytes(*bytes), "")),
        );
        rows
    }
}
