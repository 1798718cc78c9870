//! Logging in: by key file, by the running SSH agent, or by password. The ways are tried in order; what became of each is told.
//!
//! A passphrase or password is asked for when its way's turn comes, on a thread where a person may take their time: other hosts go on,
//! and the time that the host has for its answers does not run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::secret::Secret;
use crate::session::Gate;

/// Asks for the passphrase of a key file; nothing when there is none to be had.
pub type Passphrases = Arc<dyn Fn(&Path) -> Option<Secret> + Send + Sync>;

/// Gives the password, or says why there is none. May ask a person.
pub type Passwords = Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>;

/// A way to log in.
#[derive(Clone)]
pub enum Auth {
    /// A private key file in OpenSSH's format.
    Key {
        /// Path.
        path: PathBuf,
        /// Asked when it is encrypted.
        passphrases: Option<Passphrases>,
    },
    /// The running SSH agent (`SSH_AUTH_SOCK`).
    Agent,
    /// A password; answers `keyboard-interactive` too.
    Password(Passwords),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Auth {
    fn shown(&self) -> String {
        match self {
            Self::Key { path, .. } => format!("key {}", path.display()),
            Self::Agent => "SSH agent".to_owned(),
            Self::Password(_) => "password".to_owned(),
        }
    }
}

/// A way to log in with its secret at hand.
enum Ready {
    Key(Box<PrivateKey>),
    Agent,
    Password(Secret),
}

/// What became of a try.
enum Tried {
    In,
    Out(String),
}

/// Why logging in could not be tried to its end.
pub(crate) enum Cut {
    /// The host did not answer in time.
    Late,
    /// The connection broke.
    Broken(russh::Error),
}

/// Tries the ways in order. Nothing when one was accepted, else what became of each. The host has `patience` for each.
pub(crate) async fn log_in(
    handle: &mut Handle<Gate>,
    user: &str,
    methods: &[Auth],
    patience: Duration,
) -> Result<Option<Vec<String>>, Cut> {
    let mut tried = Vec::new();
    for method in methods {
        let outcome = match ready(method).await {
            Ok(ready) => timeout(patience, present(handle, user, ready)).await.map_err(|_| Cut::Late)?,
            Err(why) => Ok(Tried::Out(why)),
        };
        match outcome {
            Ok(Tried::In) => return Ok(None),
            Ok(Tried::Out(why)) => tried.push(format!("{}: {why}", method.shown())),
            Err(_) if !tried.is_empty() && handle.is_closed() => {
                tried.push(format!(
                    "{}: the host ended the connection, as after too many tries",
                    method.shown()
                ));
                break;
            }
            Err(source) => return Err(Cut::Broken(source)),
        }
    }
    if tried.is_empty() {
        tried.push("no way to log in was given".to_owned());
    }
    Ok(Some(tried))
}

/// Gets what a way needs; may take as long as a person does.
async fn ready(method: &Auth) -> Result<Ready, String> {
    let method = method.clone();
    let asked = spawn_blocking(move || match method {
        Auth::Key { path, passphrases } => {
            open_key(&path, passphrases.as_ref()).map(|key| Ready::Key(Box::new(key)))
        }
        Auth::Agent => Ok(Ready::Agent),
        Auth::Password(ask) => ask().map(Ready::Password),
    });
    asked.await.unwrap_or_else(|_| Err("it could not be asked for".to_owned()))
}

async fn present(handle: &mut Handle<Gate>, user: &str, ready: Ready) -> Result<Tried, russh::Error> {
    match ready {
        Ready::Key(key) => by_key(handle, user, *key).await,
        Ready::Agent => by_agent(handle, user).await,
        Ready::Password(password) => by_password(handle, user, &password).await,
    }
}

fn judged(result: &AuthResult) -> Tried {
    match result {
        AuthResult::Success => Tried::In,
        AuthResult::Failure { partial_success: true, .. } => {
            Tried::Out("accepted, but the host asks for more".to_owned())
        }
        AuthResult::Failure { .. } => Tried::Out("refused".to_owned()),
    }
}

async fn rsa_hash(handle: &Handle<Gate>, algorithm: &Algorithm) -> Result<Option<HashAlg>, russh::Error> {
    if matches!(algorithm, Algorithm::Rsa { .. }) {
        Ok(handle.best_supported_rsa_hash().await?.flatten())
    } else {
        Ok(None)
    }
}

async fn by_key(handle: &mut Handle<Gate>, user: &str, key: PrivateKey) -> Result<Tried, russh::Error> {
    let hash = rsa_hash(handle, &key.algorithm()).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    Ok(judged(&handle.authenticate_publickey(user, key).await?))
}

fn open_key(path: &Path, passphrases: Option<&Passphrases>) -> Result<PrivateKey, String> {
    let text = fs_err::read_to_string(path).map_err(|fault| fault.to_string())?;
    match russh::keys::decode_secret_key(&text, None) {
        Err(russh::keys::Error::KeyIsEncrypted) => {}
        other => return other.map_err(|fault| fault.to_string()),
    }
    let secret =
        passphrases.and_then(|ask| ask(path)).ok_or("it is encrypted and no passphrase was given")?;
    russh::keys::decode_secret_key(&text, Some(secret.reveal()))
        .map_err(|_| "the passphrase does not open it".to_owned())
}

async fn by_agent(handle: &mut Handle<Gate>, user: &str) -> Result<Tried, russh::Error> {
    let mut agent = match AgentClient::connect_env().await {
        Ok(agent) => agent,
        Err(fault) => return Ok(Tried::Out(format!("none runs ({fault})"))),
    };
    let identities = match agent.request_identities().await {
        Ok(identities) => identities,
        Err(fault) => return Ok(Tried::Out(fault.to_string())),
    };
    let mut refused = 0;
    for identity in identities {
        let AgentIdentity::PublicKey { key, .. } = identity else { continue };
        let hash = rsa_hash(handle, &key.algorithm()).await?;
        match handle.authenticate_publickey_with(user, key, hash, &mut agent).await {
            Ok(AuthResult::Success) => return Ok(Tried::In),
            Ok(_) | Err(_) => refused += 1,
        }
    }
    Ok(Tried::Out(if refused == 0 {
        "it holds no key".to_owned()
    } else {
        format!("refused {refused} keys")
    }))
}

async fn by_password(
    handle: &mut Handle<Gate>,
    user: &str,
    password: &Secret,
) -> Result<Tried, russh::Error> {
    if let AuthResult::Success = handle.authenticate_password(user, password.reveal()).await? {
        return Ok(Tried::In);
    }
    let mut response = handle.authenticate_keyboard_interactive_start(user, None).await?;
    for _ in 0..3 {
        match response {
            KeyboardInteractiveAuthResponse::Success => return Ok(Tried::In),
            KeyboardInteractiveAuthResponse::Failure { .. } => break,
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                let answers = prompts.iter().map(|_| password.reveal().to_owned()).collect();
                response = handle.authenticate_keyboard_interactive_respond(answers).await?;
            }
        }
    }
    Ok(Tried::Out("refused".to_owned()))
}
