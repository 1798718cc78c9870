//! One connection to a host: reaching it, holding its key against what is known, logging in.
//!
//! Host keys: a key that the site pins is the only one that holds. Else the file of known hosts decides; a key that is not in it
//! is an error unless new keys are to be accepted, and is then kept. The algorithms of held keys are asked for first, so that a
//! host with several keys shows the one that is held.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{Config, Handle, Handler};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Disconnect, Preferred, cipher};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::auth::{self, Auth, Cut};
use crate::error::SshError;
use crate::exec::{self, Channel};
use crate::known::KnownHosts;

/// How often a sign of life is asked for when nothing comes.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Bytes that a host may send before it hears that they were taken.
const WINDOW: u32 = 8 << 20;

/// A host to reach.
#[derive(Debug)]
pub struct Target<'a> {
    /// Name of the host in the site, for messages.
    pub host: &'a str,
    /// Address or name to connect to.
    pub address: &'a str,
    /// TCP port.
    pub port: u16,
    /// User to log in as.
    pub user: &'a str,
    /// Ways to log in, tried in this order.
    pub methods: &'a [Auth],
    /// The public key that the site pins (`ssh-ed25519 AAAA…`).
    pub host_key: Option<&'a str>,
    /// Keys that were accepted before.
    pub known: &'a Arc<KnownHosts>,
    /// Whether a key that is not known yet is to be accepted and kept.
    pub accept_new: bool,
    /// How long reaching it, agreeing on keys and its answer to each way to log in may take.
    pub timeout: Duration,
}

/// A connection that is logged in. Ends when dropped, and all that runs over it with it.
pub struct Session {
    line: Line,
    host: String,
    user: String,
    handle: Handle<Gate>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.host)
    }
}

impl Session {
    /// Reaches a host and logs in.
    ///
    /// # Errors
    /// Each step has its own variant of [`SshError`].
    pub async fn connect(target: Target<'_>) -> Result<Self, SshError> {
        let held = Held::of(&target)?;
        let (stream, line) = reach(&target).await?;
        let refused = Arc::new(Mutex::new(None));
        let config = Arc::new(config(&held));
        let gate = Gate {
            host: target.host.to_owned(),
            address: target.address.to_owned(),
            port: target.port,
            held,
            known: Arc::clone(target.known),
            accept_new: target.accept_new,
            refused: Arc::clone(&refused),
        };
        let host = || target.host.to_owned();
        let begun = timeout(target.timeout, russh::client::connect_stream(config, stream, gate)).await;
        let mut handle = match begun {
            Err(_) => return Err(SshError::TimedOut { host: host(), doing: "agreeing on keys" }),
            Ok(Ok(handle)) => handle,
            Ok(Err(source)) => {
                let refusal = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(refusal.unwrap_or(SshError::Broken {
                    host: host(),
                    doing: "agreeing on keys",
                    source,
                }));
            }
        };
        let doing = "logging in";
        match auth::log_in(&mut handle, target.user, target.methods, target.timeout).await {
            Err(Cut::Late) => Err(SshError::TimedOut { host: host(), doing }),
            Err(Cut::Broken(source)) => Err(SshError::Broken { host: host(), doing, source }),
            Ok(Some(tried)) => {
                Err(SshError::AuthRefused { host: host(), user: target.user.to_owned(), tried })
            }
            Ok(None) => Ok(Self { line, host: host(), user: target.user.to_owned(), handle }),
        }
    }

    /// Name of the host, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// User that is logged in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Starts a command in the user's login shell, its streams connected.
    ///
    /// # Errors
    /// The connection is gone, or the server opens no channel.
    pub async fn exec(&self, command: &str) -> Result<Channel, SshError> {
        let broken =
            |source| SshError::Broken { host: self.host.clone(), doing: "starting a command", source };
        let channel = self.handle.channel_open_session().await.map_err(broken)?;
        channel.exec(true, command).await.map_err(broken)?;
        Ok(exec::start(channel))
    }

    /// Says goodbye.
    pub async fn close(self) {
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
        drop(self.line);
    }
}

/// Opens the TCP connection. Small writes go out at once.
async fn reach(target: &Target<'_>) -> Result<(TcpStream, Line), SshError> {
    let shown = if target.address.contains(':') {
        format!("[{}]:{}", target.address, target.port)
    } else {
        format!("{}:{}", target.address, target.port)
    };
    let unreachable =
        |source| SshError::Unreachable { host: target.host.to_owned(), address: shown.clone(), source };
    let connected = timeout(target.timeout, TcpStream::connect((target.address, target.port))).await;
    let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    let stream = connected.map_err(|late| unreachable(slow(late)))?.map_err(unreachable)?;
    let halves = stream.set_nodelay(true).and_then(|()| {
        let stream = stream.into_std()?;
        let line = Line(stream.try_clone()?);
        Ok((TcpStream::from_std(stream)?, line))
    });
    halves.map_err(unreachable)
}

/// The TCP connection once more, to cut it: streams of commands may outlive the session, and would keep it open.
struct Line(std::net::TcpStream);

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Keys that hold for a host.
struct Held {
    keys: Vec<PublicKey>,
    held_in: String,
}

impl Held {
    fn of(target: &Target<'_>) -> Result<Self, SshError> {
        let Some(pin) = target.host_key else {
            let keys = target.known.keys(target.address, target.port)?;
            return Ok(Self { keys, held_in: target.known.path().display().to_string() });
        };
        let key = PublicKey::from_openssh(pin)
            .map_err(|source| SshError::BadPin { host: target.host.to_owned(), source })?;
        Ok(Self { keys: vec![key], held_in: "the site".to_owned() })
    }
}

fn config(held: &Held) -> Config {
    let mut algorithms = Preferred::DEFAULT.key.into_owned();
    algorithms.sort_by_key(|offered| !held.keys.iter().any(|key| same_kind(offered, &key.algorithm())));
    Config {
        window_size: WINDOW,
        keepalive_interval: Some(KEEPALIVE),
        nodelay: true,
        preferred: Preferred { cipher: ciphers(), key: Cow::Owned(algorithms), ..Preferred::DEFAULT },
        ..Config::default()
    }
}

fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    one == other || matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

/// AES-GCM first where the processor computes it in hardware, else `ChaCha20`.
fn ciphers() -> Cow<'static, [cipher::Name]> {
    const FAST_AES: &[cipher::Name] = &[
        cipher::AES_128_GCM,
        cipher::AES_256_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_128_CTR,
    ];
    const NO_AES: &[cipher::Name] = &[
        cipher::CHACHA20_POLY1305,
        cipher::AES_128_GCM,
        cipher::AES_256_GCM,
        cipher::AES_256_CTR,
        cipher::AES_128_CTR,
    ];
    #[cfg(target_arch = "x86_64")]
    let in_hardware = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let in_hardware = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let in_hardware = false;
    Cow::Borrowed(if in_hardware { FAST_AES } else { NO_AES })
}

/// Stands at the door: judges the host's key before anything is sent.
pub(crate) struct Gate {
    host: String,
    address: String,
    port: u16,
    held: Held,
    known: Arc<KnownHosts>,
    accept_new: bool,
    refused: Arc<Mutex<Option<SshError>>>,
}

impl Gate {
    fn judge(&self, key: &PublicKey) -> Result<(), SshError> {
        if self.held.keys.iter().any(|held| held.key_data() == key.key_data()) {
            return Ok(());
        }
        let found = key.fingerprint(HashAlg::Sha256).to_string();
        if let Some(held) = self.held.keys.first() {
            let held = held.fingerprint(HashAlg::Sha256).to_string();
            let held_in = self.held.held_in.clone();
            return Err(SshError::HostKeyChanged { host: self.host.clone(), held, found, held_in });
        }
        let mut bare = key.clone();
        bare.set_comment("");
        let line = bare.to_openssh().unwrap_or_default().trim().to_owned();
        if self.accept_new && !line.is_empty() {
            return self.known.add(&self.address, self.port, &line);
        }
        Err(SshError::HostKeyUnknown { host: self.host.clone(), fingerprint: found, line })
    }
}

impl Handler for Gate {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        match self.judge(key) {
            Ok(()) => Ok(true),
            Err(refusal) => {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
                Ok(false)
            }
        }
    }
}
