//! The keys that a verb signs with.

use std::path::{Path, PathBuf};

use qiji_bundle::{Passphrase, SigningKey};

use crate::failure::{Classify, Failure, Kind};
use crate::passphrase;

/// Private keys and where their passphrases are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SignersArgs {
    /// Private key to sign with; may be given more than once
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<PathBuf>,
    /// File whose first line is the passphrase: one for all keys, or one a key in their order; a prompt asks when it is not given
    #[arg(long = "passphrase-file", value_name = "FILE", env = "QIJI_PASSPHRASE_FILE")]
    passphrase_files: Vec<PathBuf>,
}

impl SignersArgs {
    /// Whether no key was given.
    pub(crate) const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Opens the keys, of which there must be one.
    pub(crate) fn load_some(&self) -> Result<Vec<SigningKey>, Failure> {
        if self.is_empty() {
            return Err(Failure::new(Kind::Input, "no key to sign with is named").hint("name one with --key"));
        }
        self.load()
    }

    /// Opens the keys.
    pub(crate) fn load(&self) -> Result<Vec<SigningKey>, Failure> {
        let (keys, files) = (self.keys.len(), self.passphrase_files.len());
        if files > 1 && files != keys {
            return Err(Failure::new(
                Kind::Input,
                format!("there are {keys} keys and {files} passphrase files: give one file, or one a key"),
            ));
        }
        let file = |at: usize| self.passphrase_files.get(at.min(files.saturating_sub(1)));
        let keys = self.keys.iter().enumerate();
        keys.map(|(at, key)| open(key, file(at).map(PathBuf::as_path))).collect()
    }
}

/// The keys that a new bundle is signed with, or the word that it is not signed yet.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SigningArgs {
    #[command(flatten)]
    signers: SignersArgs,
    /// Do not sign it: keys are on another machine, see `qiji sign`
    #[arg(long, conflicts_with = "keys")]
    unsigned: bool,
}

impl SigningArgs {
    /// Opens the keys for what is called `what`; none where it was said so.
    pub(crate) fn load(&self, what: &str) -> Result<Vec<SigningKey>, Failure> {
        if self.signers.is_empty() && !self.unsigned {
            let failure = Failure::new(Kind::Input, format!("nothing says how the {what} is to be signed"));
            return Err(
                failure.hint("name a key with --key, or say --unsigned and sign it later with `qiji sign`")
            );
        }
        self.signers.load()
    }
}

/// Says by which keys something was signed.
pub(crate) fn tell(keys: &[&SigningKey]) {
    for key in keys {
        println!("signed by {} ({})", key.public().id(), key.public().kind());
    }
    if keys.is_empty() {
        println!("not signed yet: see `qiji sign`");
    }
}

fn open(key: &Path, passphrase_file: Option<&Path>) -> Result<SigningKey, Failure> {
    let text = passphrase::of(passphrase_file, &key.display().to_string())?;
    let passphrase = Passphrase::new(text.to_string()).input()?;
    SigningKey::load(key, &passphrase).input()
}
