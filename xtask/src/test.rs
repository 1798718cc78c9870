//! `cargo xtask test`: the house rules, then the tests from the bottom up, then one line that counts them.
//!
//! 1. Format, lints, licences.
//! 2. Unit, property and integration tests of every crate.
//! 3. The whole-system scenarios, over the product as it is released. `--all` adds those that take long, for which the product is built for
//!    other architectures too, and the tests that need cosign.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{have, lines, run as run_program};
use crate::{cross, demo, places, setup};

/// Sets another clock for programs that are linked dynamically.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// What to test.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Also what takes long: repeated kills, every fault, every architecture
    #[arg(long)]
    all: bool,
    /// Only the scenarios whose name holds this; leaves out everything else
    #[arg(long, value_name = "TEXT")]
    scenario: Option<String>,
}

/// How many tests passed and failed.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// Adds a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    fn read(&mut self, line: &str) {
        let Some(counts) = line.trim().strip_prefix("test result: ") else { return };
        let count = |word: &str| -> u64 {
            let part = counts.split([';', '.']).find(|part| part.trim().ends_with(word));
            part.and_then(|part| part.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.ignored += count("ignored");
    }
}

/// Runs the tests.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut tally = Tally::default();
    let mut whole = true;
    if options.scenario.is_none() {
        rules()?;
        whole &= lines(
            cargo().args(["test", "--workspace", "--no-fail-fast", "--exclude", "qiji-scenarios"]),
            |line| {
                tally.read(line);
            },
        )?;
    }
    if options.all && options.scenario.is_none() {
        whole &= lines(&mut with_cosign()?, |line| tally.read(line))?;
    }
    demo::build_product()?;
    whole &= lines(&mut scenarios(options)?, |line| tally.read(line))?;
    println!("\n{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.ignored);
    if whole && tally.failed == 0 && tally.passed > 0 { Ok(()) } else { bail!("tests failed") }
}

fn rules() -> Result<()> {
    run_program(cargo().args(["fmt", "--all", "--check"]))?;
    run_program(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    if have("cargo-deny") {
        run_program(cargo().args(["deny", "--offline", "check", "licenses", "bans", "sources"]))?;
    }
    Ok(())
}

/// The documented commands, run with the real cosign.
fn with_cosign() -> Result<Command> {
    let folders =
        std::iter::once(setup::cosign()?).chain(std::env::split_paths(&setup::path()).collect::<Vec<_>>());
    let mut command = cargo();
    command.args(["test", "--package", "qiji-bundle", "--test", "it", "--", "--ignored", "cosign"]);
    command.env("PATH", std::env::join_paths(folders)?);
    Ok(command)
}

fn scenarios(options: &Options) -> Result<Command> {
    let mut command = cargo();
    command.args(["test", "--package", "qiji-scenarios", "--test", "scenarios", "--"]);
    command.arg("--test-threads=1").env("QIJI_PRODUCT", places::product());
    if options.all {
        command.arg("--include-ignored");
        let wanted = |name: &str| options.scenario.as_ref().is_none_or(|text| name.contains(text));
        for (_, prepare) in NEEDS.iter().filter(|(name, _)| wanted(name)) {
            prepare(&mut command)?;
        }
    }
    command.args(&options.scenario);
    Ok(command)
}

/// Makes what one scenario needs, and tells it to the scenarios' program.
type Prepare = fn(&mut Command) -> Result<()>;

/// Scenarios that need more than the product.
const NEEDS: [(&str, Prepare); 4] = [
    ("every_program_of_every_architecture_starts", architectures),
    ("two_builds_that_have_nothing_in_common_are_the_same_bytes", otherwise_linked),
    ("spdx_tools_take_the_documents", spdx_tools),
    ("an_image_keeps_what_others_signed", cosign),
];

fn architectures(command: &mut Command) -> Result<()> {
    cross::ready()?;
    command.env("QIJI_ARTIFACTS", cross::artifacts()).env("PATH", cross::path_with_emulators()?);
    Ok(())
}

fn otherwise_linked(command: &mut Command) -> Result<()> {
    setup::packages(&[], &[(FAKETIME, "libfaketime"), ("/usr/share/i18n/locales/tr_TR", "locales")])?;
    run_program(cargo().args(["build", "--quiet", "--package", "qiji"]))?;
    command.env("QIJI_DYNAMIC", places::target().join("debug/qiji"));
    Ok(())
}

fn cosign(command: &mut Command) -> Result<()> {
    command.env("QIJI_COSIGN", setup::cosign()?.join("cosign"));
    Ok(())
}

fn spdx_tools(command: &mut Command) -> Result<()> {
    command.env("QIJI_SPDX_TOOLS", setup::spdx_tools()?);
    Ok(())
}

fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(places::workspace()).env("PATH", setup::path());
    command
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn result_lines_are_added_up() {
        let mut tally = Tally::default();
        tally.read(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        );
        tally.read("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.5s");
        tally.read("running 5 tests");
        assert_eq!((tally.passed, tally.failed, tally.ignored), (15, 2, 1));
    }
}
