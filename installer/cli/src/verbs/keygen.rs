//! `qiji keygen --output KEY`: a new signing key.

use std::path::PathBuf;

use qiji_bundle::{Passphrase, SigningKey};

use crate::failure::{Classify, Failure};
use crate::passphrase::PassphraseArgs;

/// Arguments of `qiji keygen`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File for the private key; the public one goes beside it, as KEY.pub
    #[arg(long, value_name = "KEY")]
    output: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Makes the key.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let text = args.passphrase.choose(&args.output.display().to_string())?;
    let passphrase = Passphrase::new(text.to_string()).input()?;
    let public = SigningKey::generate().failed()?.save(&args.output, &passphrase).input()?;
    println!("private key {} (keep it, and its passphrase, apart from the bundles)", args.output.display());
    println!("public key  {}.pub", args.output.display());
    println!("key id      {}", public.id());
    Ok(())
}
