//! `qiji split BUNDLE --volume-size SIZE`: a bundle that is there, cut into volumes beside it.

use std::path::PathBuf;

use crate::failure::{Failure, Kind};
use crate::inputs;
use crate::volumes::{self, ParityArgs};

/// Arguments of `qiji split`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Most bytes of a volume, such as 700MB, 4.7GB or 32GiB
    #[arg(long, value_name = "SIZE", value_parser = volumes::volume_size)]
    volume_size: u64,
    #[command(flatten)]
    parity: ParityArgs,
    /// What the names of the volumes begin with [default: the bundle's name]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Splits the bundle.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if !args.bundle.is_file() {
        return Err(Failure::new(Kind::Input, format!("{} is not one file", args.bundle.display()))
            .hint("put volumes together with `qiji join` before cutting them in another way"));
    }
    // What is no bundle, or a damaged one, is not worth a disc.
    drop(inputs::open(&args.bundle)?);
    let stem = args.output.as_ref().unwrap_or(&args.bundle);
    volumes::cut(&args.bundle, stem, args.parity.division(args.volume_size))
}
