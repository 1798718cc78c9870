//! `qiji delta BUNDLE --against INVENTORY --output FILE --key KEY`: a delta of a bundle that is there and signed.
//!
//! Where keys live on other machines than the one that builds, the whole bundle is signed first, then the delta is made of it and signed the same way:
//! the delta carries the whole bundle's signatures.

use std::path::PathBuf;

use qiji_bundle::{Against, BlobSource, DeltaError, Inventory, SigningKey, WrittenDelta, delta_of};

use crate::base::{BaseArgs, refused};
use crate::failure::Failure;
use crate::inputs::{self, Meter};
use crate::screen::size;
use crate::signer::{self, SigningArgs};
use crate::verbs::inventory;

/// Against what a delta is made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AgainstArgs {
    #[command(flatten)]
    pub(crate) base: BaseArgs,
    /// Carry layers whole whose old ones are not on this machine
    #[arg(long)]
    whole_where_missing: bool,
}

impl AgainstArgs {
    /// With an inventory and a source of old blobs.
    pub(crate) const fn against<'a>(&self, inventory: &'a Inventory, old: &'a dyn BlobSource) -> Against<'a> {
        Against { inventory, old, whole_where_missing: self.whole_where_missing }
    }
}

/// Arguments of `qiji delta`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The whole bundle, signed
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// What the site holds, from `qiji inventory`
    #[arg(long, value_name = "INVENTORY")]
    against: PathBuf,
    #[command(flatten)]
    how: AgainstArgs,
    /// File for the delta
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    signing: SigningArgs,
}

/// Makes the delta.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let keys = args.signing.load("delta")?;
    let keys: Vec<&SigningKey> = keys.iter().collect();
    let inventory = inventory::read(&args.against)?;
    let old = args.how.base.open()?;
    let mut meter = Meter::new("checking");
    let whole = inputs::open(&args.bundle)?;
    if whole.is_delta() {
        return Err(refused(DeltaError::IsADelta));
    }
    let whole = whole.check_bytes(&mut |progress| meter.show(progress)).map_err(inputs::refused)?;
    let mut meter = Meter::new("comparing");
    let against = args.how.against(&inventory, &old);
    let written = delta_of(&whole, &keys, &against, &args.output, &mut |progress| meter.show(progress));
    let written = written.map_err(refused)?;
    drop(meter);
    tell(&args.output, &written);
    signer::tell(&keys);
    Ok(())
}

/// Says what became of the whole bundle.
pub(crate) fn tell(output: &std::path::Path, written: &WrittenDelta) {
    let WrittenDelta { size: bytes, whole_size, root, held, patched, patches, whole } = *written;
    println!(
        "{}: {} in place of {}, root of the whole {root}",
        output.display(),
        size(bytes),
        size(whole_size)
    );
    println!("held by the site: {} blobs, {}", held.0, size(held.1));
    println!("patched: {} blobs, {}, by {} of patches", patched.0, size(patched.1), size(patches));
    println!("carried whole: {} blobs, {}", whole.0, size(whole.1));
}
