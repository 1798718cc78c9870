//! Passwords and passphrases for logging in: from the file that the site names, or from a prompt; each asked for once.
//!
//! Only one question stands on the terminal at a time, however many hosts are being reached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use qiji_engine::remote::Secrets;
use qiji_ssh::Secret;

use crate::passphrase::{first_line, prompt};

/// Asks the caller, and remembers the answers while the program runs.
#[derive(Default)]
pub(crate) struct Asked {
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    /// By user.
    passwords: BTreeMap<String, Secret>,
    /// By key; nothing where the caller could not be asked.
    passphrases: BTreeMap<PathBuf, Option<Secret>>,
}

impl Secrets for Asked {
    /// One password a user: a site with fifty hosts is not asked fifty times.
    fn password(&self, user: &str, host: &str, file: Option<&Path>) -> Result<Secret, String> {
        if let Some(file) = file {
            let line = first_line(file);
            return line.map(|line| Secret::new(line.as_str())).map_err(|failure| failure.reasons());
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = answers.passwords.get(user) {
            return Ok(secret.clone());
        }
        let asked =
            prompt(&format!("password of {user} at {host}: ")).map_err(|failure| failure.reasons())?;
        let secret = Secret::new(asked.as_str());
        answers.passwords.insert(user.to_owned(), secret.clone());
        Ok(secret)
    }

    fn passphrase(&self, key: &Path) -> Option<Secret> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = || {
            prompt(&format!("passphrase of {}: ", key.display())).ok().map(|text| Secret::new(text.as_str()))
        };
        answers.passphrases.entry(key.to_path_buf()).or_insert_with(asked).clone()
    }
}
