//! `qiji inspect BUNDLE --trust KEY.pub`: what a bundle holds.

use crate::failure::{Classify, Failure};
use crate::inputs::BundleArgs;

/// Arguments of `qiji inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Shows the bundle.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let bundle = args.bundle.verify()?;
    let inspection = bundle.inspect(&args.bundle.keys()?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&inspection).failed()?);
    } else {
        print!("{inspection}");
    }
    Ok(())
}
