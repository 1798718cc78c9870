//! Logins for registries, from a file in the form of Docker's `config.json` (Podman's `auth.json` is the same).
//!
//! - `auths` names registries, or paths in them (`registry.example/team`); the longest that fits counts. An entry holds `auth`
//!   (base64 of `user:password`), or `username` and `password`, or an `identitytoken`.
//! - `credHelpers` and `credsStore` name programs `docker-credential-NAME`, which are asked when a registry wants a login, over their standard input.
//!
//! Secrets are never part of an argument list or of a message.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::error::SourceError;

/// A text that cannot be printed and is wiped when it is no longer used.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What one registry is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// User and password.
    Password {
        /// User.
        user: String,
        /// Password.
        password: Secret,
    },
    /// A token that buys short-lived ones (`OAuth2` refresh token).
    Refresh(Secret),
    /// A token that is shown as it is.
    Bearer(Secret),
}

impl Login {
    /// `Basic …`, where the login is one with a password.
    pub(crate) fn basic(&self) -> Option<Secret> {
        let Self::Password { user, password } = self else { return None };
        let pair = Zeroizing::new(format!("{user}:{}", password.reveal()));
        Some(Secret::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
    }
}

/// A file of logins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("cannot read the registry logins in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is not what it must be. The text itself is not repeated, as it may hold secrets.
    #[error("{path} is not a file of registry logins: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The logins of a file.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    logins: BTreeMap<String, Login>,
    helpers: BTreeMap<String, String>,
    default_helper: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Credentials {
    /// Reads a file.
    pub(crate) fn load(path: &Path) -> Result<Self, CredentialsError> {
        let path_buf = || path.to_path_buf();
        let text = fs_err::read(path).map(Zeroizing::new);
        let text = text.map_err(|source| CredentialsError::Read { path: path_buf(), source })?;
        Self::parse(&text).map_err(|reason| CredentialsError::Malformed { path: path_buf(), reason })
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let place = |error: serde_json::Error| format!("line {}, column {}", error.line(), error.column());
        let file: File = serde_json::from_slice(text).map_err(place)?;
        let mut found = Self { default_helper: file.creds_store, ..Self::default() };
        for (name, entry) in file.auths {
            if let Some(login) = entry.login().map_err(|reason| format!("{name}: {reason}"))? {
                found.logins.insert(key(&name), login);
            }
        }
        found.helpers = file.cred_helpers.into_iter().map(|(name, helper)| (key(&name), helper)).collect();
        Ok(found)
    }

    /// The login for a repository, from the file or from a helper.
    pub(crate) async fn find(&self, registry: &str, repository: &str) -> Result<Option<Login>, SourceError> {
        if let Some(login) = self.written(registry, repository) {
            return Ok(Some(login.clone()));
        }
        let names = names_of(registry);
        let helper = names.iter().find_map(|name| self.helpers.get(*name));
        match helper.or(self.default_helper.as_ref()) {
            Some(helper) => ask(helper, if hub(registry) { HUB } else { registry }).await,
            None => Ok(None),
        }
    }

    /// What the file itself has: the longest path that leads to the repository.
    fn written(&self, registry: &str, repository: &str) -> Option<&Login> {
        for name in names_of(registry) {
            let mut path = format!("{name}/{repository}");
            loop {
                if let Some(login) = self.logins.get(&path) {
                    return Some(login);
                }
                let Some(end) = path.rfind('/') else { break };
                path.truncate(end);
            }
        }
        None
    }
}

impl Entry {
    fn login(self) -> Result<Option<Login>, String> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Login::Refresh(Secret::new(self.identitytoken))));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Login::Bearer(Secret::new(self.registrytoken))));
        }
        if !self.auth.is_empty() {
            let bytes = STANDARD.decode(self.auth.trim()).map(Zeroizing::new);
            let bytes = bytes.map_err(|_| "its auth is not base64")?;
            let text = std::str::from_utf8(&bytes).map_err(|_| "its auth is not text")?;
            let (user, password) = text.split_once(':').ok_or("its auth has no `:` in it")?;
            // Docker pads short passwords with zero bytes.
            return Ok(Some(password_login(user, password.trim_end_matches('\0'))));
        }
        let named = !self.username.is_empty();
        Ok(named.then(|| password_login(&self.username, &self.password)))
    }
}

/// What helpers answer instead of a user where the secret is a refresh token.
const TOKEN_USER: &str = "<token>";

fn password_login(user: &str, password: &str) -> Login {
    let password = Secret::new(password);
    if user == TOKEN_USER {
        return Login::Refresh(password);
    }
    Login::Password { user: user.to_owned(), password }
}

/// The name under which Docker keeps the login of its own registry.
const HUB: &str = "https://index.docker.io/v1/";

fn hub(registry: &str) -> bool {
    matches!(registry, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// Names under which a registry may stand in a file.
fn names_of(registry: &str) -> Vec<&str> {
    if hub(registry) { vec!["index.docker.io", "docker.io", "registry-1.docker.io"] } else { vec![registry] }
}

/// A name as it stands in the file, without scheme and without the path that Docker adds for its own registry.
fn key(name: &str) -> String {
    let bare = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://"));
    let name = bare.unwrap_or(name).trim_end_matches('/');
    name.strip_suffix("/v1").or_else(|| name.strip_suffix("/v2")).unwrap_or(name).to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a credential helper (docker/docker-credential-helpers, `get`). One that knows nothing of the registry is no fault.
async fn ask(helper: &str, server: &str) -> Result<Option<Login>, SourceError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let malformed = |reason: &str| SourceError::Malformed {
        what: format!("the answer of docker-credential-{helper}"),
        reason: reason.to_owned(),
    };
    if helper.is_empty() || !helper.chars().all(plain) {
        return Err(malformed("the file of logins gives it no usable name"));
    }
    let program = format!("docker-credential-{helper}");
    let fault = |source| SourceError::Run { program: program.clone(), source };
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().map_err(fault)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(server.as_bytes()).await.map_err(fault)?;
    }
    let output = child.wait_with_output().await.map_err(fault)?;
    let stdout = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Ok(None);
    }
    let answer: Answer = serde_json::from_slice(&stdout).map_err(|_| malformed("it is not understood"))?;
    Ok(Some(password_login(&answer.username, &answer.secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> Login {
        Login::Password { user: user.to_owned(), password: Secret::new(password) }
    }

    fn parse(text: &str) -> Credentials {
        Credentials::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_longest_path_counts() {
        let found = parse(
            r#"{"auths": {"r.example": {"auth": "YTox"}, "https://r.example/team/": {"username": "b", "password": "2"},
            "r.example/team/app": {"identitytoken": "t"}, "other:5000": {}}, "HttpHeaders": {"x": "y"}}"#,
        );
        assert_eq!(found.written("r.example", "app"), Some(&login("a", "1")));
        assert_eq!(found.written("r.example", "teams"), Some(&login("a", "1")));
        assert_eq!(found.written("r.example", "team/web"), Some(&login("b", "2")));
        assert_eq!(found.written("r.example", "team/app/x"), Some(&Login::Refresh(Secret::new("t"))));
        assert_eq!(found.written("other:5000", "app"), None);
        assert_eq!(found.written("example", "app"), None);
    }

    #[test]
    fn dockers_own_registry_has_several_names() {
        let found = parse(r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YTpiOmM="}}}"#);
        assert_eq!(found.written("docker.io", "library/nginx"), Some(&login("a", "b:c")));
        assert_eq!(found.written("index.docker.io", "x"), Some(&login("a", "b:c")));
    }

    #[test]
    fn secrets_are_not_printed() {
        let found =
            parse(r#"{"auths": {"r": {"auth": "YTpodXNoLWh1c2g="}, "s": {"registrytoken": "hush-hush"}}}"#);
        assert!(!format!("{found:?}").contains("hush"), "{found:?}");
        assert_eq!(login("a", "1").basic().unwrap().reveal(), "Basic YTox");
    }

    #[test]
    fn a_broken_file_is_told_without_its_text() {
        for (text, told) in [
            ("{\"auths\": {\"r\": {\"auth\": 5}}}", "line 1"),
            ("{\"auths\": {\"r\": {\"auth\": \"YWJj\"}}}", "no `:`"),
            ("{\"auths\": {\"r\": {\"auth\": \"!!\"}}}", "not base64"),
            ("hush", "line 1"),
        ] {
            let reason = Credentials::parse(text.as_bytes()).unwrap_err();
            assert!(reason.contains(told) && !reason.contains("hush"), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_helper_cannot_be_any_program() {
        for name in ["../x", "a b", "", "x;y"] {
            let error = ask(name, "r").await.unwrap_err();
            assert!(error.to_string().contains("no usable name"), "{error}");
        }
    }
}
