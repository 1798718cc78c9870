//! What can go wrong between the installer and a host, told apart so that a caller can act on it, each with a next step.

use std::path::PathBuf;

/// Why a host cannot be worked with over SSH.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// No TCP connection, or no SSH server behind it.
    #[error("cannot reach {address} (host {host})")]
    Unreachable {
        /// Host.
        host: String,
        /// Address and port.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The host's key is neither pinned nor known, and was not to be accepted.
    #[error("the key of host {host} is not known: {fingerprint}")]
    HostKeyUnknown {
        /// Host.
        host: String,
        /// SHA-256 fingerprint, as `ssh-keygen -l` shows it.
        fingerprint: String,
        /// The key itself, as the site file would pin it.
        line: String,
    },
    /// The host shows another key than the one held.
    #[error("host {host} shows the key {found}, but {held_in} holds {held}")]
    HostKeyChanged {
        /// Host.
        host: String,
        /// Fingerprint that was held.
        held: String,
        /// Fingerprint that it shows.
        found: String,
        /// `the site` or the file of known hosts.
        held_in: String,
    },
    /// No way to log in was accepted.
    #[error("host {host} refused the login of user {user} (tried: {})", tried.join(", "))]
    AuthRefused {
        /// Host.
        host: String,
        /// User.
        user: String,
        /// What was tried, in order, with what became of it.
        tried: Vec<String>,
    },
    /// `sudo` did not give root.
    #[error("host {host} does not let user {user} become root: {said}")]
    SudoRefused {
        /// Host.
        host: String,
        /// User.
        user: String,
        /// Last line that it said.
        said: String,
    },
    /// The agent could not be put there or started.
    #[error("cannot start the agent on host {host}: {said}")]
    AgentNotStarted {
        /// Host.
        host: String,
        /// What the host said.
        said: String,
    },
    /// Nothing came back in time.
    #[error("host {host} did not answer in time while {doing}")]
    TimedOut {
        /// Host.
        host: String,
        /// What was being done.
        doing: &'static str,
    },
    /// The connection broke or the server misbehaved.
    #[error("the connection to host {host} broke while {doing}")]
    Broken {
        /// Host.
        host: String,
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: russh::Error,
    },
    /// A key that the site pins cannot be read.
    #[error("the key that the site pins for host {host} is not an SSH public key")]
    BadPin {
        /// Host.
        host: String,
        /// Why.
        source: russh::keys::ssh_key::Error,
    },
    /// The file of known hosts cannot be read or written.
    #[error("cannot use the known hosts in {}", path.display())]
    KnownHosts {
        /// File.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The agent's binary cannot be read here.
    #[error("cannot read the agent's binary")]
    Binary(#[source] std::io::Error),
}

impl SshError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused => {
                "start the SSH server on the host, or correct `port` in the site's `access`".to_owned()
            }
            Self::Unreachable { .. } => {
                "check that the host is on and that its address in the site is right".to_owned()
            }
            Self::HostKeyUnknown { line, .. } => format!(
                "compare the fingerprint on the host, then pin `host-key \"{line}\"` in the site, or say --accept-host-keys once"
            ),
            Self::HostKeyChanged { held_in, .. } => format!(
                "if the host was set up anew, compare its fingerprint and correct {held_in}; otherwise someone may stand in between"
            ),
            Self::AuthRefused { .. } => {
                "check the user and the ways to log in under `access` in the site".to_owned()
            }
            Self::SudoRefused { .. } => {
                "let the user run commands through sudo, or log in as root".to_owned()
            }
            Self::AgentNotStarted { .. } => {
                "check that /var/lib on the host is writable, has room and is not mounted noexec".to_owned()
            }
            Self::TimedOut { .. } | Self::Broken { .. } => {
                "run the same command again; it goes on where it was".to_owned()
            }
            Self::BadPin { .. } => "write it as in the host's /etc/ssh/ssh_host_ed25519_key.pub".to_owned(),
            Self::KnownHosts { .. } | Self::Binary(_) => return None,
        })
    }
}
