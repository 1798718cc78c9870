//! `qiji join VOLUMES --output FILE`: the bundle's file again, verified and with what was damaged restored.

use std::path::PathBuf;

use crate::failure::{Classify, Failure, Kind};
use crate::inputs::{BundleArgs, Meter};
use crate::screen::size;

/// Arguments of `qiji join`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// File for the bundle
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Joins the volumes.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let bundle = args.bundle.verify()?;
    let Some(volumes) = bundle.volumes() else {
        return Err(Failure::new(Kind::Input, format!("{} is one file already", bundle.path().display())));
    };
    let mut meter = Meter::new("joining");
    volumes.join(&args.output, &mut |progress| meter.show(progress)).failed()?;
    drop(meter);
    println!("{}: {}, root {}", args.output.display(), size(bundle.size()), bundle.root());
    Ok(())
}
