//! `qiji keygen --output KEY`: a new signing key, Ed25519 or SM2.

use std::path::PathBuf;

use qiji_bundle::{KeyKind, Passphrase, SigningKey};

use crate::failure::{Classify, Failure};
use crate::passphrase::PassphraseArgs;

/// Arguments of `qiji keygen`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File for the private key; the public one goes beside it, as KEY.pub
    #[arg(long, value_name = "KEY")]
    output: PathBuf,
    /// Kind of the key: ed25519, or sm2 (with SM3)
    #[arg(long, value_name = "KIND", default_value_t = KeyKind::Ed25519)]
    kind: KeyKind,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Makes the key.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let text = args.passphrase.choose(&args.output.display().to_string())?;
    let passphrase = Passphrase::new(text.to_string()).input()?;
    let public = SigningKey::generate_kind(args.kind).failed()?.save(&args.output, &passphrase).input()?;
    println!("private key {} (keep it, and its passphrase, apart from the bundles)", args.output.display());
    println!("public key  {}.pub", args.output.display());
    println!("key id      {} ({})", public.id(), public.kind());
    Ok(())
}
