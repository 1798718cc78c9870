//! `qiji rebuild DELTA --base BUNDLE --output FILE`: the whole bundle, byte for byte, from a delta and what is there already.

use std::path::PathBuf;

use crate::base::{self, BaseArgs};
use crate::failure::{Classify, Failure};
use crate::inputs::{self, BundleArgs};
use crate::screen::size;

/// Arguments of `qiji rebuild`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    delta: BundleArgs,
    #[command(flatten)]
    base: BaseArgs,
    /// File for the whole bundle
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Rebuilds the bundle, and verifies it as it will be verified on site.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let delta = args.delta.verify()?;
    base::rebuild(&delta, &args.base.open()?, &args.output)?;
    let whole = inputs::verify(inputs::open(&args.output)?, &args.delta.keys()?)?;
    let bytes = fs_err::metadata(&args.output).failed()?.len();
    println!("{} {}: {}, {}", whole.name(), whole.version(), args.output.display(), size(bytes));
    println!("root {}", whole.root());
    Ok(())
}
