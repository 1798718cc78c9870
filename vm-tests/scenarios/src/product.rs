//! The product under test: its binaries, and what a run of them answered.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The released binaries.
#[derive(Debug, Clone)]
pub struct Product {
    folder: PathBuf,
}

impl Product {
    /// The product in the folder that `QIJI_PRODUCT` names.
    pub fn find() -> Result<Self> {
        let folder = std::env::var_os("QIJI_PRODUCT").map(PathBuf::from);
        let folder =
            folder.context("QIJI_PRODUCT does not name the product's folder: run `cargo xtask test`")?;
        ensure!(
            folder.join("qiji").is_file(),
            "there is no qiji in {}: run `cargo xtask test`",
            folder.display()
        );
        Ok(Self { folder })
    }

    /// The folder with the binaries.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The `qiji` binary.
    pub fn qiji(&self) -> PathBuf {
        self.folder.join("qiji")
    }
}

/// What a run answered.
#[derive(Debug)]
pub struct Run {
    /// Exit status; nothing when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Runs `command` to its end.
    pub fn of(command: &mut Command) -> Result<Self> {
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Holds when the run ended with this status; otherwise shows what it said.
    pub fn expect(self, status: i32) -> Result<Self> {
        ensure!(self.status == Some(status), "expected exit status {status}, got {self}");
        Ok(self)
    }

    /// Holds when both outputs together hold `text`.
    pub fn says(self, text: &str) -> Result<Self> {
        ensure!(self.stdout.contains(text) || self.stderr.contains(text), "`{text}` is not in {self}");
        Ok(self)
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status.map_or_else(|| "a signal".to_owned(), |status| status.to_string());
        write!(
            f,
            "status {status}\n--- standard output\n{}\n--- standard error\n{}",
            self.stdout, self.stderr
        )
    }
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
