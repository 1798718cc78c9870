//! The `qiji` binary: one file a verb, errors printed once, here.
//!
//! Exit status: 0 done; 1 the work failed; 2 the input is wrong; 3 there is a difference; 4 a signature or digest does not hold.

mod answer;
mod artifacts;
mod base;
mod charts;
mod cluster;
mod endorsements;
mod failure;
mod folders;
mod held;
mod inputs;
mod inside;
mod materials;
mod memory;
mod passphrase;
mod runner;
mod screen;
mod secrets;
mod signer;
mod site;
mod table;
mod trust;
mod verbs;
mod volumes;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Installs a Kubernetes platform on bare metal from one signed file, with no network but the site's own.
#[derive(Debug, Parser)]
#[command(name = "qiji", version, propagate_version = true, max_term_width = 110)]
struct Qiji {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a site file and show all of its faults at once
    Check(verbs::check::Args),
    /// Pin every artifact that the site needs, by digest
    Lock(verbs::lock::Args),
    /// Build the bundle that the lock describes, and sign it
    Build(verbs::build::Args),
    /// Make a signing key, its private half encrypted by a passphrase
    Keygen(verbs::keygen::Args),
    /// Add signatures to a bundle, or to a change of a policy
    Sign(verbs::sign::Args),
    /// Say whose signatures count on a site, and change that
    Policy(verbs::policy::Args),
    /// Write down what a site holds, for deltas
    Inventory(verbs::inventory::Args),
    /// Make a delta of a bundle: only what a site lacks of it
    Delta(verbs::delta::Args),
    /// Rebuild the whole bundle from a delta
    Rebuild(verbs::rebuild::Args),
    /// Cut a bundle into volumes, with parity volumes from which lost ones are made again
    Split(verbs::split::Args),
    /// Put volumes together to one file again
    Join(verbs::join::Args),
    /// Check every byte and signature of a bundle
    Verify(verbs::verify::Args),
    /// Show what a bundle holds
    Inspect(verbs::inspect::Args),
    /// Show what differs between two bundles; ends with status 3 where anything does
    Diff(verbs::diff::Args),
    /// Show what an installation would do, without doing it
    Plan(verbs::plan::Args),
    /// Install the bundle's site, or go on with an installation that was interrupted
    Install(verbs::install::Args),
    /// Show how the site's hosts and its cluster are
    Status(verbs::status::Args),
    /// Remove what was installed, so that each host is as it was before
    Reset(verbs::reset::Args),
    /// Install a site on throw-away hosts with no way out, test it, and sign a report
    Rehearse(verbs::rehearse::Args),
    /// Give a bundle's images out as a read-only registry with TLS, without unpacking it
    Serve(verbs::serve::Args),
    /// Print a shell's completions
    Completions(verbs::completions::Args),
}

fn main() -> ExitCode {
    let outcome = match Qiji::parse().verb {
        Verb::Check(args) => verbs::check::run(&args),
        Verb::Lock(args) => verbs::lock::run(&args),
        Verb::Build(args) => verbs::build::run(&args),
        Verb::Keygen(args) => verbs::keygen::run(&args),
        Verb::Sign(args) => verbs::sign::run(&args),
        Verb::Policy(args) => verbs::policy::run(&args),
        Verb::Inventory(args) => verbs::inventory::run(&args),
        Verb::Delta(args) => verbs::delta::run(&args),
        Verb::Rebuild(args) => verbs::rebuild::run(&args),
        Verb::Split(args) => verbs::split::run(&args),
        Verb::Join(args) => verbs::join::run(&args),
        Verb::Verify(args) => verbs::verify::run(&args),
        Verb::Inspect(args) => verbs::inspect::run(&args),
        Verb::Diff(args) => verbs::diff::run(&args),
        Verb::Plan(args) => verbs::plan::run(&args),
        Verb::Install(args) => verbs::install::run(&args),
        Verb::Status(args) => verbs::status::run(&args),
        Verb::Reset(args) => verbs::reset::run(&args),
        Verb::Rehearse(args) => verbs::rehearse::run(&args),
        Verb::Serve(args) => verbs::serve::run(&args),
        Verb::Completions(args) => verbs::completions::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                eprintln!("{text}");
            }
            failure.exit_code()
        }
    }
}
