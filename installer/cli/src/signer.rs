//! The key that a verb signs with.

use std::path::PathBuf;

use qiji_bundle::{Passphrase, SigningKey};

use crate::failure::{Classify, Failure};
use crate::passphrase::PassphraseArgs;

/// A private key and where its passphrase is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SignerArgs {
    /// Private key to sign with
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl SignerArgs {
    /// Opens the key.
    pub(crate) fn load(&self) -> Result<SigningKey, Failure> {
        let text = self.passphrase.get(&self.key.display().to_string())?;
        let passphrase = Passphrase::new(text.to_string()).input()?;
        SigningKey::load(&self.key, &passphrase).input()
    }
}
