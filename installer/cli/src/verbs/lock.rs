//! `qiji lock SITE.kdl`: pins every artifact that the site needs, and writes `SITE.lock`.

use std::path::{Path, PathBuf};

use fs_err as fs;
use qiji_airgap::{Fetcher, Trust};
use qiji_blueprint::Catalogue;
use qiji_blueprint::lock::Lock;
use qiji_blueprint::site::Site;

use crate::artifacts::{self, ArtifactArgs};
use crate::failure::{Classify, Failure, Kind};
use crate::folders::StoreArgs;
use crate::inputs;

/// Arguments of `qiji lock`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site file
    #[arg(value_name = "SITE.kdl")]
    site: PathBuf,
    /// File for the lock [default: SITE.lock]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    artifacts: ArtifactArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Locks the site.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (checked, _) = inputs::site_file(&args.site)?;
    let output = args.output.clone().unwrap_or_else(|| inputs::lock_path(&args.site));
    let lock = lock(&checked.site, &args.store.folder(), &args.artifacts)?;
    let text = lock.to_kdl();
    if fs::read_to_string(&output).is_ok_and(|old| old == text) {
        println!("{}: {} artifacts, as before", output.display(), lock.artifacts.len());
        return Ok(());
    }
    write_whole(&output, &text)?;
    println!("{}: {} artifacts", output.display(), lock.artifacts.len());
    Ok(())
}

/// Finds the digest of everything that the site needs.
pub(crate) fn lock(site: &Site, store: &Path, artifacts: &ArtifactArgs) -> Result<Lock, Failure> {
    let wanted = Catalogue::builtin().wanted(site).input()?;
    let watch = artifacts::Watch::start();
    let fetcher: Fetcher = artifacts::fetcher(store, artifacts, &watch)?;
    let resolved = artifacts::runtime()?.block_on(fetcher.resolve(&wanted));
    drop(watch);
    let resolved = resolved.map_err(|errors| artifacts::not_had(&errors))?;
    for found in &resolved.provenance {
        if let Trust::Unverified(why) = &found.trust {
            eprintln!("warning: {} from {} was not checked: {why}", found.artifact.name, found.source);
        }
    }
    Ok(resolved.lock)
}

/// Writes the file beside and renames it, so that a lock is whole or the old one.
fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, text).failed()?;
    fs::rename(&partial, path).failed()
}

/// Reads a lock, and holds it to the site.
pub(crate) fn read(path: &Path, site: &Site) -> Result<Lock, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::from_error(Kind::Input, &error).hint("run `qiji lock` first"))?;
    let lock =
        Lock::parse(&path.display().to_string(), &text).map_err(|faults| inputs::from_faults(&faults))?;
    if lock.site_digest == site.digest() {
        return Ok(lock);
    }
    let failure =
        Failure::new(Kind::Input, format!("the site has changed since {} was written", path.display()));
    Err(failure.hint("run `qiji lock` again"))
}
