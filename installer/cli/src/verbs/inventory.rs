//! `qiji inventory BUNDLE... --output FILE`: what a site holds that was installed from these bundles, as a file for `qiji build --against`.
//!
//! With `--site SITE.kdl` the hosts are asked which blobs they still hold. What these are used for is known from the bundles that are named, and from
//! those that the controller rebuilt; other blobs are written down without a use, so that they need not be carried again.

use std::path::{Path, PathBuf};

use qiji_bundle::Inventory;

use crate::base::refused;
use crate::failure::{Classify, Failure};
use crate::held::HostsArgs;
use crate::inputs;
use crate::screen::size;

/// Arguments of `qiji inventory`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bundles that the site holds, or was installed from, oldest first
    #[arg(value_name = "BUNDLE", required_unless_present = "site")]
    bundles: Vec<PathBuf>,
    #[command(flatten)]
    hosts: HostsArgs,
    /// File for the inventory
    #[arg(long, value_name = "INVENTORY")]
    output: PathBuf,
}

/// Writes the inventory.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut inventory = Inventory::default();
    for path in &args.bundles {
        inventory.add(&inputs::open(path)?).map_err(|error| {
            refused(error).while_doing(format!("cannot take {} into the inventory", path.display()))
        })?;
    }
    if let Some(hosts) = args.hosts.open()? {
        hosts.narrow(&mut inventory)?;
    }
    write(&inventory, &args.output)
}

/// Writes an inventory, and says what is in it.
fn write(inventory: &Inventory, output: &Path) -> Result<(), Failure> {
    fs_err::write(output, inventory.to_bytes()).failed()?;
    for bundle in &inventory.bundles {
        println!("{} {}, root {}", bundle.name, bundle.version, bundle.root);
    }
    let bytes = inventory.blobs.values().map(|blob| blob.size).sum();
    println!("{}: {} blobs, {}", output.display(), inventory.blobs.len(), size(bytes));
    Ok(())
}

/// Reads an inventory.
pub(crate) fn read(path: &Path) -> Result<Inventory, Failure> {
    let bytes = fs_err::read(path).input()?;
    Inventory::parse(&bytes)
        .map_err(|error| refused(error).while_doing(format!("cannot use {}", path.display())))
}
