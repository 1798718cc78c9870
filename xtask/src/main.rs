//! The house's own chores. Two of them are all that a fresh machine needs: `cargo xtask demo` and `cargo xtask test`.
//!
//! Each sets up what is missing first ([`setup`]), says what it does, and stops at the first failure with its reason.
//! Everything that is made lies under `target/` and the user's own caches; nothing is written into the tree, but by
//! `licences`, which is for those who change a recipe.

mod bench;
mod cross;
mod demo;
mod fuzz;
mod licences;
mod places;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the qiji workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install what building and testing need: Debian packages, the Rust targets, Go
    Setup,
    /// Build the product, make the quickstart's bundle, and rehearse its installation on throw-away hosts
    Demo,
    /// Build the product for other architectures than the machine's, and set up what locking a site that has them needs
    Cross,
    /// Check the house rules and run the tests
    Test(test::Options),
    /// Run every parser of untrusted bytes on inputs that a fuzzer makes, and print a table
    Fuzz(fuzz::Options),
    /// Make the table of the licences of Go modules again, after a recipe has changed
    Licences,
    /// Measure, and print the table that the README quotes
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().chore {
        Chore::Setup => setup::run(),
        Chore::Demo => setup::run().and_then(|()| demo::run()),
        Chore::Cross => setup::run().and_then(|()| demo::build_product()).and_then(|()| cross::run()),
        Chore::Test(options) => setup::run().and_then(|()| test::run(&options)),
        Chore::Fuzz(options) => setup::run().and_then(|()| fuzz::run(&options)),
        Chore::Licences => setup::run().and_then(|()| licences::run()),
        Chore::Bench(options) => setup::run().and_then(|()| bench::run(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
