//! `qiji sign FILE --key KEY`: adds signatures to a bundle, or to a change of a policy.
//!
//! Keys can thus live on another machine than the one that builds, and a second party signs what the first has signed. Of a bundle every byte is
//! checked first; what is signed is told. The file is written beside its place and then takes it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use qiji_bundle::{SigningKey, WriteError};

use crate::failure::{Classify, Failure, Kind};
use crate::inputs::{self, Meter};
use crate::signer::{self, SignersArgs};
use crate::trust;

/// Arguments of `qiji sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle, or the policy file whose last change is to be signed
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File for the signed one [default: it takes the place of FILE]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    signers: SignersArgs,
}

/// Signs.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let keys = args.signers.load_some()?;
    let keys: Vec<&SigningKey> = keys.iter().collect();
    let output = args.output.as_ref().unwrap_or(&args.file);
    if trust::is_policy(&args.file)? {
        sign_policy(&args.file, &keys, output)?;
    } else {
        sign_bundle(&args.file, &keys, output)?;
    }
    signer::tell(&keys);
    Ok(())
}

fn sign_bundle(file: &Path, keys: &[&SigningKey], output: &Path) -> Result<(), Failure> {
    let mut meter = Meter::new("checking");
    let whole =
        inputs::open(file)?.check_bytes(&mut |progress| meter.show(progress)).map_err(inputs::refused)?;
    let mut meter = Meter::new("writing");
    qiji_bundle::sign(&whole, keys, output, &mut |progress| meter.show(progress)).map_err(not_written)?;
    drop(meter);
    let inspection = whole.inspect();
    println!("{} {}, root {}", inspection.name, inspection.version, inspection.root);
    for (what, name) in [("edition", inspection.edition), ("channel", inspection.channel)] {
        if !name.is_empty() {
            println!("{what} {name}");
        }
    }
    Ok(())
}

fn sign_policy(file: &Path, keys: &[&SigningKey], output: &Path) -> Result<(), Failure> {
    let mut policy = trust::load_policy(file)?;
    policy.sign(keys).map_err(|error| trust::policy_failure(&error, file))?;
    write_policy(output, &policy.to_text())?;
    print!("{policy}");
    if let Err(error) = policy.trusted() {
        println!("not in force yet: {error}");
    }
    Ok(())
}

/// Writes a policy file: beside its place first, then at its place at once.
pub(crate) fn write_policy(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(mode(0o644)).tempfile_in(folder).failed()?;
    file.write_all(text.as_bytes()).failed()?;
    file.as_file().sync_all().failed()?;
    file.persist(path).failed().map(drop)
}

fn mode(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// A bundle that could not be written.
#[allow(clippy::needless_pass_by_value, reason = "it is given away by map_err")]
pub(crate) fn not_written(error: WriteError) -> Failure {
    let kind = if matches!(error, WriteError::Spec(_)) { Kind::Input } else { Kind::Failed };
    Failure::from_error(kind, &error)
}
