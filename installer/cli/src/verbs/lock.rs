//! `qiji lock SITE.kdl`: pins every artifact that the site needs, and writes `SITE.lock`.

use std::path::{Path, PathBuf};

use fs_err as fs;
use qiji_airgap::{ArtifactName, FetchErrors, Fetcher, Trust};
use qiji_blueprint::Catalogue;
use qiji_blueprint::lock::Lock;
use qiji_blueprint::site::Site;

use crate::artifacts::{self, ArtifactArgs};
use crate::charts::{self, Charted};
use crate::endorsements;
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
    let folder = args.site.parent().unwrap_or(Path::new(""));
    let lock = lock(&checked.site, folder, &args.store.folder(), &args.artifacts)?;
    let text = lock.to_kdl();
    if fs::read_to_string(&output).is_ok_and(|old| old == text) {
        println!("{}: {} artifacts, as before", output.display(), lock.artifacts.len());
        return Ok(());
    }
    write_whole(&output, &text)?;
    println!("{}: {} artifacts", output.display(), lock.artifacts.len());
    Ok(())
}

/// Finds the digest of everything that the site needs. `folder` is that of the site file.
pub(crate) fn lock(
    site: &Site,
    folder: &Path,
    store: &Path,
    artifacts: &ArtifactArgs,
) -> Result<Lock, Failure> {
    let keys = endorsements::keys(site, folder)?;
    let watch = artifacts::Watch::start();
    let fetcher: Fetcher = artifacts::fetcher(store, artifacts, &watch)?;
    let runtime = artifacts::runtime()?;
    let charted = if site.charts.is_empty() {
        Charted::without_charts(Catalogue::builtin().wanted(site).input()?)
    } else {
        charts::wanted(&runtime, &fetcher, site, folder)?
    };
    let resolved = runtime.block_on(fetcher.resolve(&charted.wanted));
    drop(watch);
    let resolved = resolved.map_err(|errors| not_found(&errors, site))?;
    charted.tell_unknown(&resolved.lock);
    for found in &resolved.provenance {
        if let Trust::Unverified(why) = &found.trust {
            eprintln!("warning: {} from {} was not checked: {why}", found.artifact.name, found.source);
        }
    }
    endorsements::tell(&endorsements::hold(fetcher.store(), &resolved.lock, &keys)?);
    Ok(resolved.lock)
}

/// Artifacts that could not be found. An image that lacks an architecture is a fault of the site, and its hosts are named.
fn not_found(errors: &FetchErrors, site: &Site) -> Failure {
    let lacking = errors.lacking();
    if lacking.is_empty() {
        return artifacts::not_had(errors);
    }
    let mut text = format!("error: {errors}");
    for artifact in &lacking {
        let ArtifactName { name, arch: Some(arch) } = artifact else { continue };
        let hosts = site.nodes.iter().filter(|node| node.arch == *arch);
        let hosts: Vec<_> = hosts.map(|node| node.name.as_str()).collect();
        let line = format!("\n{name} is not there for {arch}, the architecture of {}", some_of(&hosts));
        text.push_str(&line);
    }
    text.push_str("\n  hint: take another image, or write in its `roles` only hosts that can run it");
    Failure::rendered(Kind::Input, text)
}

/// The first few names, and how many more there are.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 4;
    let first = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
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

#[cfg(test)]
mod tests {
    use qiji_airgap::{ArtifactFailure, Attempt, SourceError};
    use qiji_blueprint::site::Arch;

    use super::*;

    fn failure(name: &str, cause: SourceError) -> ArtifactFailure {
        let attempts = vec![Attempt { source: "a registry".to_owned(), cause }];
        ArtifactFailure { name: name.to_owned(), version: "v1".to_owned(), arch: Some(Arch::Arm64), attempts }
    }

    fn no_platform() -> SourceError {
        let (reference, has) = ("r.example/app:v1".to_owned(), "linux/amd64".to_owned());
        SourceError::NoPlatform { reference, arch: Arch::Arm64, has }
    }

    #[test]
    fn an_image_that_lacks_an_architecture_is_told_with_the_hosts() {
        let example = include_str!("../../../../blueprints/examples/gov-multi-chip.kdl");
        let site = qiji_blueprint::check("gov.kdl", example, &Catalogue::builtin()).unwrap().site;
        let errors = FetchErrors { failures: vec![failure("r.example/app:v1", no_platform())] };
        let told = not_found(&errors, &site);
        assert_eq!(format!("{:?}", told.exit_code()), format!("{:?}", std::process::ExitCode::from(2)));
        let told = told.to_string();
        assert!(
            told.contains("r.example/app:v1 is not there for arm64, the architecture of kp01, kp02, kp03, kp04 and 20 more"),
            "{told}"
        );

        let gone = SourceError::Status { url: "https://r.example".to_owned(), status: 500 };
        let failures = vec![failure("r.example/app:v1", no_platform()), failure("other", gone)];
        let told = not_found(&FetchErrors { failures }, &site);
        assert_eq!(format!("{:?}", told.exit_code()), format!("{:?}", std::process::ExitCode::from(1)));
    }
}
