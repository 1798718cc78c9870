//! Passwords and passphrases for logging in: from the file that the site names, or from a prompt; each asked for once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use qiji_engine::remote::Secrets;
use qiji_ssh::Secret;

use crate::folders::expand_home;
use crate::passphrase::{first_line, prompt};

/// Asks the caller, and remembers the answers while the program runs.
#[derive(Default)]
pub(crate) struct Asked {
    passwords: Mutex<BTreeMap<String, Secret>>,
    passphrases: Mutex<BTreeMap<PathBuf, Option<Secret>>>,
}

impl Secrets for Asked {
    /// One password a user: a site with fifty hosts is not asked fifty times.
    fn password(&self, user: &str, host: &str, file: Option<&Path>) -> Result<Secret, String> {
        if let Some(file) = file {
            let line =
                first_line(&expand_home(&file.to_string_lossy())).map_err(|failure| failure.to_string())?;
            return Ok(Secret::new(line.as_str()));
        }
        let mut known = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = known.get(user) {
            return Ok(secret.clone());
        }
        let asked =
            prompt(&format!("password of {user} at {host}: ")).map_err(|failure| failure.to_string())?;
        let secret = Secret::new(asked.as_str());
        known.insert(user.to_owned(), secret.clone());
        Ok(secret)
    }

    fn passphrase(&self, key: &Path) -> Option<Secret> {
        let mut known = self.passphrases.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = || {
            prompt(&format!("passphrase of {}: ", key.display())).ok().map(|text| Secret::new(text.as_str()))
        };
        known.entry(key.to_path_buf()).or_insert_with(asked).clone()
    }
}
