//! One repository in one place: manifests, blobs and referrers, with the login that the registry asks for.

use std::sync::Arc;

use qiji_blueprint::Digest;
use qiji_blueprint::lock::Pinned;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::challenge::Challenge;
use super::credentials::{Login, Secret};
use super::{Answer, Place, Registries};
use crate::error::SourceError;
use crate::http::{Document, Download, Http, challenge, checked, is_loopback};
use crate::progress::Meter;
use crate::store::Store;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Endings of the tags under which cosign keeps what it says of a digest.
pub(crate) const COSIGN: [&str; 3] = ["sig", "att", "sbom"];
/// Most pages of a list of referrers.
const PAGES: usize = 64;

/// See the module.
pub(crate) struct Repository<'a> {
    http: &'a Http,
    registries: &'a Registries,
    place: Place,
    base: String,
}

impl<'a> Repository<'a> {
    /// Opens a place.
    pub(crate) async fn open(http: &'a Http, registries: &'a Registries, place: &Place) -> Answer<Self> {
        let scheme = scheme(http, registries, place.host()).await?;
        let base = format!("{scheme}://{}/v2/{}", place.host(), place.repository);
        Ok(Self { http, registries, place: place.clone(), base })
    }

    /// A manifest or index by tag or digest. One by digest is compared with it.
    pub(crate) async fn manifest(&self, name: &str) -> Answer<Vec<u8>> {
        let url = format!("{}/manifests/{name}", self.base);
        let bytes = self.document(&url, MANIFESTS).await?.success(&url)?;
        self.compare(name, bytes)
    }

    /// As [`Repository::manifest`], asked once a run: whoever asks again gets the same bytes.
    pub(crate) async fn top(&self, name: &str) -> Answer<Vec<u8>> {
        let slot = self.registries.tops.slot((self.place.clone(), name.to_owned()));
        slot.get_or_try_init(|| self.manifest(name)).await.cloned()
    }

    /// What is said of a manifest or index in this repository, each with the tag that it has or is given: what cosign put under a tag of its own, and
    /// whatever has it as its subject (distribution specification 1.1, *Listing Referrers*, with the tag for registries without it).
    pub(crate) async fn said_of(&self, subject: &Digest) -> Answer<Vec<(String, Vec<u8>)>> {
        let mut said = Vec::new();
        for ending in COSIGN {
            let tag = tag_beside(subject, ending);
            said.extend(self.manifest_if_there(&tag).await?.map(|bytes| (tag, bytes)));
        }
        for digest in self.referrers(subject, &stem(subject)).await? {
            let tag = tag_beside(subject, &digest.short());
            said.push((tag, self.manifest(&digest.to_string()).await?));
        }
        Ok(said)
    }

    /// Digests of the manifests of which a digest is the subject.
    async fn referrers(&self, subject: &Digest, tag: &str) -> Answer<Vec<Digest>> {
        let mut url = format!("{}/referrers/{subject}", self.base);
        let mut digests = Vec::new();
        for page in 0..PAGES {
            let document = self.document(&url, INDEX).await?;
            if page == 0 && !is_index(&document) {
                // A registry of before the specification's version 1.1, which answers this in one way or another.
                let bytes = self.manifest_if_there(tag).await?;
                return bytes.map_or(Ok(Vec::new()), |bytes| listed(&url, &bytes));
            }
            let next = next_page(&url, &document.headers)?;
            digests.extend(listed(&url, &document.success(&url)?)?);
            match next {
                Some(next) => url = next,
                None => return Ok(digests),
            }
        }
        Err(SourceError::Malformed { what: url, reason: format!("it has more than {PAGES} pages") })
    }

    async fn manifest_if_there(&self, tag: &str) -> Answer<Option<Vec<u8>>> {
        let url = format!("{}/manifests/{tag}", self.base);
        let document = self.document(&url, MANIFESTS).await?;
        if document.status == StatusCode::NOT_FOUND { Ok(None) } else { document.success(&url).map(Some) }
    }

    fn compare(&self, name: &str, bytes: Vec<u8>) -> Answer<Vec<u8>> {
        let Ok(expected) = name.parse::<Digest>() else { return Ok(bytes) };
        let found = Digest::of(&bytes);
        if found == expected {
            return Ok(bytes);
        }
        let what = format!("{}@{name}", self.place);
        Err(SourceError::WrongDigest { what, expected, found, hint: None })
    }

    /// Puts a blob into the store.
    pub(crate) async fn blob(&self, store: &Store, pin: &Pinned, meter: &Meter) -> Answer<()> {
        let url = format!("{}/blobs/{}", self.base, pin.digest);
        let mut shown = self.session().await;
        for attempt in 0..2 {
            let authorization = shown.as_ref().map(Secret::reveal);
            let what = Download { url: &url, authorization, expect: Some(*pin) };
            match self.http.download(store, &what, meter).await {
                Err(SourceError::Login { challenge, .. }) if attempt == 0 => {
                    shown = self.renew(shown.as_ref(), &challenge, &url).await?;
                }
                outcome => return outcome.map(drop),
            }
        }
        Err(SourceError::Status { url, status: 401 })
    }

    /// A document, after a login where one is asked for.
    async fn document(&self, url: &str, accept: &str) -> Answer<Document> {
        let shown = self.session().await;
        let first = self.http.document(url, accept, shown.as_ref().map(Secret::reveal)).await?;
        if first.status != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        match self.renew(shown.as_ref(), &challenge(&first.headers), url).await? {
            Some(fresh) => self.http.document(url, accept, Some(fresh.reveal())).await,
            None => Ok(first),
        }
    }

    /// What is shown to the registry so far.
    async fn session(&self) -> Option<Secret> {
        let slot = self.registries.sessions.slot(self.place.clone());
        let session = slot.get_or_init(|| async { tokio::sync::Mutex::new(None) }).await;
        session.lock().await.clone()
    }

    /// Answers a challenge, unless another task has done so since `shown` was refused. Nothing where there is no answer to give.
    async fn renew(&self, shown: Option<&Secret>, challenge: &str, url: &str) -> Answer<Option<Secret>> {
        let slot = self.registries.sessions.slot(self.place.clone());
        let session = slot.get_or_init(|| async { tokio::sync::Mutex::new(None) }).await;
        let mut current = session.lock().await;
        if current.is_some() && current.as_ref() != shown {
            return Ok(current.clone());
        }
        let login = self.registries.credentials.find(&self.place.registry, &self.place.repository).await?;
        *current = match Challenge::parse(challenge) {
            Some(Challenge::Basic) => login.as_ref().and_then(Login::basic),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.place.repository));
                Some(self.token(&realm, service.as_deref(), &scope, login.as_ref()).await?)
            }
            None => {
                let what = format!("the login that {url} asks for");
                let reason = "it is neither `Bearer` with a realm nor `Basic`".to_owned();
                return Err(SourceError::Malformed { what, reason });
            }
        };
        Ok(current.clone())
    }

    /// Gets a token (distribution, `docs/spec/auth/token.md` and `oauth.md`).
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        login: Option<&Login>,
    ) -> Answer<Secret> {
        let mut url = checked(realm)?;
        let answer = match login {
            Some(Login::Bearer(token)) => return Ok(bearer(token.reveal())),
            Some(Login::Refresh(token)) => {
                let mut form = vec![("grant_type", "refresh_token"), ("client_id", "qiji"), ("scope", scope)];
                form.extend(service.map(|service| ("service", service)));
                form.push(("refresh_token", token.reveal()));
                self.http.form(realm, &form).await?
            }
            Some(Login::Password { .. }) | None => {
                url.query_pairs_mut().append_pair("scope", scope);
                if let Some(service) = service {
                    url.query_pairs_mut().append_pair("service", service);
                }
                let basic = login.and_then(Login::basic);
                self.http
                    .document(url.as_str(), "application/json", basic.as_ref().map(Secret::reveal))
                    .await?
            }
        };
        let body = Zeroizing::new(answer.success(realm)?);
        let token =
            serde_json::from_slice(&body).ok().and_then(|token: Token| token.token.or(token.access_token));
        token.map(|token| bearer(&token)).ok_or_else(|| SourceError::Malformed {
            what: format!("the token of {realm}"),
            reason: "the answer holds none".to_owned(),
        })
    }
}

/// The tag of what is said of a digest, by its ending: one of cosign's, or the start of its own digest.
pub(crate) fn tag_beside(subject: &Digest, ending: &str) -> String {
    format!("{}.{ending}", stem(subject))
}

/// The tag under which what refers to a digest is listed where a registry has no interface for that.
fn stem(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// Whether an answer is a list of referrers, and not some other success.
fn is_index(document: &Document) -> bool {
    document.status.is_success() && serde_json::from_slice::<Listed>(&document.body).is_ok()
}

/// The digests that a list of referrers names. Those of other kinds than we know cannot be compared, and are told.
fn listed(url: &str, bytes: &[u8]) -> Answer<Vec<Digest>> {
    let malformed = |reason: String| SourceError::Malformed { what: url.to_owned(), reason };
    let listed: Listed = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let digest = |entry: Entry| {
        entry.digest.parse().map_err(|_| malformed(format!("`{}` is not a SHA-256 digest", entry.digest)))
    };
    listed.manifests.into_iter().map(digest).collect()
}

/// The page that a `Link` names as the next one (RFC 8288).
fn next_page(url: &str, headers: &HeaderMap) -> Answer<Option<String>> {
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let next = links.filter(|link| link.contains("rel=\"next\"") || link.contains("rel=next"));
    let mut targets =
        next.filter_map(|link| link.split_once('<')?.1.split_once('>')).map(|(target, _)| target);
    let Some(target) = targets.next() else { return Ok(None) };
    let base = checked(url)?;
    let joined = base.join(target).ok().filter(|joined| joined.origin() == base.origin());
    let elsewhere =
        || SourceError::Refused { url: target.to_owned(), reason: "a next page must be on the same host" };
    joined.map(|joined| Some(joined.to_string())).ok_or_else(elsewhere)
}

/// A list of manifests.
#[derive(Deserialize)]
struct Listed {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn bearer(token: &str) -> Secret {
    Secret::new(format!("Bearer {token}"))
}

/// `https`; on loopback `http`, if the server does not speak TLS.
async fn scheme(http: &Http, registries: &Registries, host: &str) -> Answer<&'static str> {
    let https = format!("https://{host}/v2/");
    if !is_loopback(&checked(&https)?) {
        return Ok("https");
    }
    let slot: Arc<_> = registries.schemes.slot(host.to_owned());
    let probe = || async { if http.speaks_tls(&https).await { "https" } else { "http" } };
    Ok(*slot.get_or_init(probe).await)
}
