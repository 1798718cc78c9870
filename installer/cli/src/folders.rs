//! Where the installer keeps things when it is not told: the XDG base folders.

use std::path::PathBuf;

use clap::Args;

/// The artifact store.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// Folder of the artifact store [default: the XDG cache folder]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// The store's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.store.clone().unwrap_or_else(|| xdg("XDG_CACHE_HOME", ".cache").join("qiji"))
    }
}

/// The installer's own state: journals, locks, accepted host keys.
#[derive(Debug, Clone, Args)]
pub(crate) struct StateArgs {
    /// Folder of journals, locks and accepted host keys [default: the XDG state folder]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl StateArgs {
    /// The state's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| xdg("XDG_STATE_HOME", ".local/state").join("qiji"))
    }
}

fn xdg(variable: &str, below_home: &str) -> PathBuf {
    match std::env::var_os(variable).map(PathBuf::from) {
        Some(folder) if folder.is_absolute() => folder,
        _ => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(below_home),
    }
}
