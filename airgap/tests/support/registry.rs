//! What a registry has and how it behaves, for [`Server`](super::Server).

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use base64::Engine as _;
use qiji_blueprint::Digest;
use serde_json::{Value, json};

use super::{Asked, Reply, noise};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How a registry knows who asks.
#[derive(Debug, Clone, Default)]
pub(crate) enum Login {
    /// It does not ask.
    #[default]
    None,
    /// `user:password` with each request.
    Basic(&'static str),
    /// A token, which anybody gets.
    Anonymous,
    /// A token, for `user:password`.
    Password(&'static str),
    /// A token, for a refresh token.
    Refresh(&'static str),
}

/// What a registry has.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) paths: HashMap<String, Vec<u8>>,
    pub(crate) login: Login,
    /// A token serves so many requests; always, where it is none.
    pub(crate) token_uses: Option<usize>,
    /// Replies that come before the real one, by path.
    pub(crate) first: HashMap<String, Vec<Reply>>,
    /// The first transfer of each blob is cut in the middle.
    pub(crate) cut_blobs: bool,
}

pub(crate) fn descriptor(kind: &str, body: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": Digest::of(body).to_string(), "size": body.len() })
}

/// Bytes of a JSON value.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

impl Content {
    /// Adds a blob.
    pub(crate) fn blob(&mut self, repository: &str, body: &[u8]) {
        self.paths.insert(format!("/v2/{repository}/blobs/{}", Digest::of(body)), body.to_vec());
    }

    /// Adds a manifest by its digest, and by names.
    pub(crate) fn manifest(&mut self, repository: &str, body: &[u8], names: &[&str]) -> Digest {
        let digest = Digest::of(body);
        for name in names.iter().map(ToString::to_string).chain([digest.to_string()]) {
            self.paths.insert(format!("/v2/{repository}/manifests/{name}"), body.to_vec());
        }
        digest
    }

    /// Adds an image of one architecture, with a layer of 90,000 bytes. Gives its manifest.
    pub(crate) fn image(&mut self, repository: &str, arch: &str, names: &[&str]) -> Vec<u8> {
        let config = bytes(
            &json!({ "architecture": arch, "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } }),
        );
        let layer = noise(90_000);
        let manifest = bytes(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
        }));
        self.blob(repository, &config);
        self.blob(repository, &layer);
        self.manifest(repository, &manifest, names);
        manifest
    }

    /// Adds an image of several architectures. Gives its index, and the manifests in the order of the architectures.
    pub(crate) fn index(
        &mut self,
        repository: &str,
        archs: &[&str],
        names: &[&str],
    ) -> (Vec<u8>, Vec<Vec<u8>>) {
        let manifests: Vec<_> = archs.iter().map(|arch| self.image(repository, arch, &[])).collect();
        let entries = manifests.iter().zip(archs).map(|(manifest, arch)| {
            let mut entry = descriptor(MANIFEST, manifest);
            entry["platform"] = json!({ "os": "linux", "architecture": arch });
            entry
        });
        let index = bytes(&json!({ "schemaVersion": 2, "manifests": entries.collect::<Vec<_>>() }));
        self.manifest(repository, &index, names);
        (index, manifests)
    }

    /// What it answers, at an address.
    pub(crate) fn serve(self, base: &str) -> impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static + use<> {
        let (base, tokens) = (base.to_owned(), Mutex::new(Tokens::default()));
        move |asked, before| {
            if asked.path.starts_with("/token") {
                return self.token(asked, &mut tokens.lock().unwrap());
            }
            if !self.allowed(asked, &mut tokens.lock().unwrap()) {
                return self.challenge(&base, asked);
            }
            let mut first = self.first.get(&asked.path).into_iter().flatten();
            if let Some(reply) = first.nth(before) {
                return reply.clone();
            }
            match self.paths.get(&asked.path) {
                Some(body) if asked.path.contains("/blobs/") && self.cut_blobs && before == 0 => {
                    Reply::file(body, asked).cut_after(body.len() / 2)
                }
                Some(body) => Reply::file(body, asked),
                None => Reply::status(404),
            }
        }
    }

    fn allowed(&self, asked: &Asked, tokens: &mut Tokens) -> bool {
        let shown = asked.authorization.as_deref().unwrap_or_default();
        match self.login {
            Login::None => true,
            Login::Basic(pair) => shown == basic(pair),
            _ => {
                let Some(token) = shown.strip_prefix("Bearer ") else { return false };
                let used = tokens.uses.entry(token.to_owned()).or_default();
                *used += 1;
                tokens.given.contains(token) && self.token_uses.is_none_or(|most| *used <= most)
            }
        }
    }

    fn challenge(&self, base: &str, asked: &Asked) -> Reply {
        let repository = asked.path.split('/').skip(2).take(2).collect::<Vec<_>>().join("/");
        let challenge = match self.login {
            Login::Basic(_) => "Basic realm=\"test\"".to_owned(),
            _ => format!(
                "Bearer realm=\"{base}/token\",service=\"test\",scope=\"repository:{repository}:pull\""
            ),
        };
        Reply::status(401).header("www-authenticate", &challenge)
    }

    fn token(&self, asked: &Asked, tokens: &mut Tokens) -> Reply {
        let good = match self.login {
            Login::Password(pair) => asked.authorization.as_deref() == Some(&basic(pair)),
            Login::Refresh(token) => {
                asked.method == "POST" && asked.body.ends_with(&format!("&refresh_token={token}"))
            }
            _ => asked.authorization.is_none(),
        };
        let (scope, service) = ("scope=repository%3A", "service=test");
        if !good || ![&asked.path, &asked.body].iter().any(|it| it.contains(scope) && it.contains(service)) {
            return Reply::status(401);
        }
        let token = format!("t{}", tokens.given.len());
        let answer = json!({ "token": token }).to_string();
        tokens.given.insert(token);
        Reply::bytes(answer.as_bytes())
    }
}

#[derive(Debug, Default)]
struct Tokens {
    given: BTreeSet<String>,
    uses: HashMap<String, usize>,
}

fn basic(pair: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}
