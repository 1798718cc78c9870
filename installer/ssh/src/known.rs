//! The host keys that were accepted once, in a file of the format of OpenSSH's `known_hosts` (sshd(8)), without hashed names.
//! Written whole beside its place, synced and renamed, 0600, so that a crash leaves the old file or the new one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use russh::keys::PublicKey;

use crate::error::SshError;

/// A file of host keys.
#[derive(Debug)]
pub struct KnownHosts {
    path: PathBuf,
    writing: Mutex<()>,
}

/// `10.0.0.5`, or `[10.0.0.5]:2222` for another port than 22.
fn name_of(address: &str, port: u16) -> String {
    if port == 22 { address.to_owned() } else { format!("[{address}]:{port}") }
}

impl KnownHosts {
    /// The keys in this file, which need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), writing: Mutex::new(()) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keys held for an address.
    pub fn keys(&self, address: &str, port: u16) -> Result<Vec<PublicKey>, SshError> {
        let wanted = name_of(address, port);
        let key_of = |line: &str| {
            let (names, key) = line.split_once(' ')?;
            names.split(',').any(|name| name == wanted).then(|| PublicKey::from_openssh(key).ok())?
        };
        Ok(self.read()?.lines().filter_map(key_of).collect())
    }

    fn fault(&self, source: io::Error) -> SshError {
        SshError::KnownHosts { path: self.path.clone(), source }
    }

    fn read(&self) -> Result<String, SshError> {
        match fs_err::read_to_string(&self.path) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|source| self.fault(source)),
        }
    }

    /// Holds a key from now on.
    pub fn add(&self, address: &str, port: u16, line: &str) -> Result<(), SshError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = self.read()?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for part in [&name_of(address, port), " ", line, "\n"] {
            text.push_str(part);
        }
        self.replace(&text).map_err(|source| self.fault(source))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs_err::create_dir_all(folder)?;
        let beside = self.path.with_extension(format!("new-{}", std::process::id()));
        let mut options = fs_err::OpenOptions::new();
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create(true).truncate(true).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs_err::rename(beside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn a_key_is_held_for_its_port_only() {
        let folder = tempfile::tempdir().unwrap();
        let known = KnownHosts::at(folder.path().join("state/known_hosts"));
        assert!(known.keys("10.0.0.5", 22).unwrap().is_empty());
        known.add("10.0.0.5", 2222, KEY).unwrap();
        assert!(known.keys("10.0.0.5", 22).unwrap().is_empty());
        assert_eq!(known.keys("10.0.0.5", 2222).unwrap().len(), 1);
        let mode = std::os::unix::fs::PermissionsExt::mode(&known.path().metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
