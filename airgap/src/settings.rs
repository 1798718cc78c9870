//! What a fetch may be told from outside. Everything has a default that works on a machine with a network.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::progress::Watcher;
use crate::registry::Mirror;

/// Debian's own address for its mirrors. Plain HTTP, as Debian has it: the index is signed and everything else hangs on it by digest.
pub const DEBIAN_MIRROR: &str = "http://deb.debian.org/debian";

/// Where Debian's `debian-archive-keyring` package puts the keys that sign its archive.
pub const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Settings of a [`Fetcher`](crate::Fetcher).
#[derive(Clone)]
pub struct Settings {
    /// Folders searched by folder sources, in order.
    pub folders: Vec<PathBuf>,
    /// Debian mirrors, tried in order; each the folder that holds `dists/`.
    pub debian_mirrors: Vec<String>,
    /// `OpenPGP` keys that may sign a Debian suite.
    pub debian_keyring: PathBuf,
    /// Refuse a Debian suite whose signature cannot be checked here. A signature that is wrong is refused always.
    pub require_signed_index: bool,
    /// PEM files of private certificate authorities to trust besides the machine's own.
    pub extra_roots: Vec<PathBuf>,
    /// Logins for registries, a file in the form of Docker's `config.json`.
    pub registry_config: Option<PathBuf>,
    /// Mirrors of registries, tried in this order before the registry itself.
    pub mirrors: Vec<Mirror>,
    /// containerd's client and the address of its socket.
    pub containerd: Containerd,
    /// Folder of Go recipes to use instead of the ones that are part of the program; for working on them, and for tests.
    pub recipes: Option<PathBuf>,
    /// Transfers at once. Go builds run one at a time, as each uses all cores.
    pub transfers: usize,
    /// How often in a row a transfer may break off without a new byte before its source is given up.
    pub tries: u32,
    /// Silence after which a transfer counts as broken off.
    pub idle_timeout: Duration,
    /// Who hears of progress.
    pub watcher: Watcher,
}

/// How the containerd of this machine is reached.
#[derive(Debug, Clone)]
pub struct Containerd {
    /// containerd's client, `ctr`.
    pub client: PathBuf,
    /// Its socket; containerd's usual one where it is none.
    pub socket: Option<PathBuf>,
}

impl Default for Containerd {
    fn default() -> Self {
        Self { client: PathBuf::from("ctr"), socket: None }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            folders: Vec::new(),
            debian_mirrors: vec![DEBIAN_MIRROR.to_owned()],
            debian_keyring: PathBuf::from(DEBIAN_KEYRING),
            require_signed_index: false,
            extra_roots: Vec::new(),
            registry_config: None,
            mirrors: Vec::new(),
            containerd: Containerd::default(),
            recipes: None,
            transfers: 4,
            tries: 4,
            idle_timeout: Duration::from_mins(1),
            watcher: Arc::new(|_| ()),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("folders", &self.folders)
            .field("debian_mirrors", &self.debian_mirrors)
            .field("transfers", &self.transfers)
            .finish_non_exhaustive()
    }
}
