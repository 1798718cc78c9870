//! Where passphrases and passwords come from: a file that is named, or a prompt on the terminal. Never an argument.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use fs_err as fs;
use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};

/// Where the passphrase of a key is.
#[derive(Debug, Clone, Args)]
pub(crate) struct PassphraseArgs {
    /// File whose first line is the passphrase of the key; a prompt asks when it is not given
    #[arg(long, value_name = "FILE", env = "QIJI_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The file that holds the passphrase, where one was named.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.passphrase_file.as_deref()
    }

    /// The passphrase of a new key: a prompt asks twice.
    pub(crate) fn choose(&self, what: &str) -> Result<Zeroizing<String>, Failure> {
        if let Some(file) = self.file() {
            return first_line(file);
        }
        let first = prompt(&format!("new passphrase of {what}: "))?;
        let second = prompt("the same again: ")?;
        if *first == *second {
            Ok(first)
        } else {
            Err(Failure::new(Kind::Input, "the two passphrases differ"))
        }
    }
}

/// The passphrase of an existing key.
pub(crate) fn of(file: Option<&Path>, key: &str) -> Result<Zeroizing<String>, Failure> {
    match file {
        Some(file) => first_line(file),
        None => prompt(&format!("passphrase of {key}: ")),
    }
}

/// The first line of a file.
pub(crate) fn first_line(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let text =
        Zeroizing::new(fs::read_to_string(file).map_err(|error| Failure::from_error(Kind::Input, &error))?);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::new(Kind::Input, format!("{} has an empty first line", file.display())));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Asks on the terminal, without showing what is typed.
pub(crate) fn prompt(text: &str) -> Result<Zeroizing<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        let failure = Failure::new(
            Kind::Input,
            format!("there is no terminal to ask for the {}", text.trim_end_matches([':', ' '])),
        );
        return Err(failure.hint("name a file that holds it, such as with --passphrase-file"));
    }
    rpassword::prompt_password(text)
        .map(Zeroizing::new)
        .map_err(|error| Failure::from_error(Kind::Input, &error))
}
