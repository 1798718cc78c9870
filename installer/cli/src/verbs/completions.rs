//! `qiji completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::failure::Failure;

/// Arguments of `qiji completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the completions.
#[allow(clippy::unnecessary_wraps, reason = "all verbs have one shape")]
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    clap_complete::generate(args.shell, &mut crate::Qiji::command(), "qiji", &mut std::io::stdout());
    Ok(())
}
