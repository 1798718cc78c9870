//! What a site holds already, where deltas are made and used: bundles that are named, and those that were rebuilt here before.
//!
//! On site every verb takes a delta in place of a bundle ([`whole`]): the bundle that it stands for is rebuilt once, kept below the state folder, and
//! used from there by the next verb and as the base of the next delta. The one before the last is removed when a new one is there.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use qiji_bundle::{BlobSource, Delta, DeltaError, Either, OldBundles, Untrusted, Verified};

use crate::failure::{Classify, Failure};
use crate::held::HostBlobs;
use crate::inputs::{self, Meter};
use crate::screen::size;
use crate::trust;

/// Rebuilt bundles that are kept.
const KEPT: usize = 2;

/// Bundles that are there already.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct BaseArgs {
    /// For a delta: a bundle that is there already, to start from. May be given more than once
    #[arg(long = "base", value_name = "BUNDLE")]
    bundles: Vec<PathBuf>,
}

impl BaseArgs {
    /// Opens them.
    pub(crate) fn open(&self) -> Result<OldBundles, Failure> {
        let opened: Result<Vec<Untrusted>, Failure> =
            self.bundles.iter().map(|path| inputs::open(path)).collect();
        Ok(OldBundles(opened?))
    }
}

/// A delta that could not be made or used.
#[allow(clippy::needless_pass_by_value, reason = "it is given away by map_err")]
pub(crate) fn refused(error: DeltaError) -> Failure {
    Failure::from_error(trust::kind(error.class()), &error).hint(error.hint())
}

/// Rebuilds the whole bundle of a delta.
pub(crate) fn rebuild(delta: &Verified, old: &dyn BlobSource, output: &Path) -> Result<(), Failure> {
    let delta = Delta::open(delta).map_err(refused)?;
    let mut meter = Meter::new("rebuilding");
    delta.rebuild(old, output, &mut |progress| meter.show(progress)).map(drop).map_err(refused)
}

/// The whole bundle that a delta stands for, kept below the state folder; it must be verified still. `hosts` gives, once it is known where blobs that are on
/// their way can lie, what neither the bundles that are named nor those that were rebuilt here have.
pub(crate) fn whole(
    delta: &Verified,
    bases: &BaseArgs,
    state: &Path,
    hosts: impl FnOnce(&Path) -> Result<Option<HostBlobs>, Failure>,
) -> Result<PathBuf, Failure> {
    let folder = state.join("sites").join(delta.name()).join("bundles");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).failed()?;
    let recipe = Delta::open(delta).map_err(refused)?;
    let path = folder.join(format!("{}-{}.qiji", delta.version(), recipe.root().short()));
    if path.exists() {
        return Ok(path);
    }
    let kept = kept(&folder)?;
    let opened: Result<Vec<Untrusted>, Failure> = kept.iter().map(|path| inputs::open(path)).collect();
    let (named, kept, hosts) = (bases.open()?, OldBundles(opened?), hosts(&folder)?);
    let here = Either(&named, &kept);
    match &hosts {
        Some(hosts) => rebuild(delta, &Either(&here, hosts), &path)?,
        None => rebuild(delta, &here, &path)?,
    }
    if let Some(hosts) = hosts {
        hosts.close();
    }
    eprintln!(
        "rebuilt {} {} from the delta: {}",
        delta.name(),
        delta.version(),
        size(fs::metadata(&path).failed()?.len())
    );
    drop(kept);
    tidy(&folder)?;
    Ok(path)
}

/// Bundles that were rebuilt here, oldest first.
fn kept(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).failed()? {
        let entry = entry.failed()?;
        if entry.path().extension().is_some_and(|extension| extension == "qiji") {
            found.push((entry.metadata().failed()?.modified().failed()?, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn tidy(folder: &Path) -> Result<(), Failure> {
    let kept = kept(folder)?;
    let surplus = kept.len().saturating_sub(KEPT);
    kept.iter().take(surplus).try_for_each(|path| fs::remove_file(path).failed())
}
