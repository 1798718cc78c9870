//! HTTP transfers into the store: verified whole, resumed where they broke off.
//!
//! 1. The partial that an earlier run left is opened and hashed.
//! 2. Only the rest is asked for (`Range`, RFC 9110 section 14). When the digest is locked any source may continue what another
//!    began, since the end is compared; otherwise only the same address with the same strong entity tag may (`If-Range`).
//! 3. A transfer that breaks off is tried again after a pause, as long as new bytes keep coming.
//! 4. The whole is compared with the locked digest. Where an old beginning was used and the whole is wrong, it is fetched once more
//!    from its first byte; then it is thrown away.
//!
//! Proxies come from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`; trust from the machine's certificates (`SSL_CERT_FILE` is
//! honoured) and [`Settings::extra_roots`]. Plain HTTP is for loopback only, except where the caller says that what comes is checked by digest or
//! signature; a redirect never leads from HTTPS to HTTP.

use std::sync::Arc;
use std::time::Duration;

use qiji_blueprint::Digest;
use qiji_blueprint::lock::Pinned;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::SourceError;
use crate::progress::Meter;
use crate::settings::Settings;
use crate::store::{Origin, Partial, Store};

/// The machine's or the site's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file of a private certificate authority cannot be read.
    #[error("cannot read certificates from {path}")]
    Roots {
        /// The file.
        path: std::path::PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The client cannot be made.
    #[error("cannot set up HTTPS")]
    Client {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The largest document (index, manifest, token) that is read into memory.
const DOCUMENT_LIMIT: usize = 8 << 20;

/// One thing to download.
pub(crate) struct Download<'a> {
    pub(crate) url: &'a str,
    /// Value of the `Authorization` header.
    pub(crate) authorization: Option<&'a str>,
    /// What it must be.
    pub(crate) expect: Option<Pinned>,
}

/// A client with its manners.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client,
    tries: u32,
}

impl Http {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls(settings)?)
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(settings.idle_timeout)
            .redirect(reqwest::redirect::Policy::custom(follow))
            .user_agent(concat!("qiji/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SetupError::Client { source: error.into() })?;
        Ok(Self { client, tries: settings.tries.max(1) })
    }

    /// A request without a policy; the caller has used [`checked`].
    pub(crate) fn get(&self, url: &str) -> RequestBuilder {
        self.client.get(url)
    }

    /// A small document, whatever its status. Broken transfers are tried again.
    pub(crate) async fn document(
        &self,
        url: &str,
        accept: &str,
        authorization: Option<&str>,
    ) -> Result<Document, SourceError> {
        let mut failures = 0;
        loop {
            let request = with_authorization(self.get(url).header(ACCEPT, accept), authorization);
            match read_document(request).await {
                Ok(document) if document.status.is_server_error() && failures + 1 < self.tries => {}
                Ok(document) => return Ok(document),
                Err(_) if failures + 1 < self.tries => {}
                Err(error) => return Err(SourceError::Transfer { url: url.to_owned(), source: error }),
            }
            failures += 1;
            pause(failures).await;
        }
    }

    /// Downloads a blob into the store. An `expect`ed one that is there already costs no request.
    pub(crate) async fn download(
        &self,
        store: &Store,
        what: &Download<'_>,
        meter: &Meter,
    ) -> Result<Pinned, SourceError> {
        let key = what.expect.map_or_else(|| Digest::of(what.url.as_bytes()), |pin| pin.digest);
        let mut partial = open_partial(store, key).await?;
        if let Some(pin) = what.expect
            && store.holds(&pin)?
        {
            partial.discard()?;
            return Ok(pin);
        }
        let mut resumed = partial.size() > 0;
        loop {
            self.complete(&mut partial, what, meter).await?;
            match what.expect {
                Some(pin) if pin != partial.pin() && resumed => partial.restart()?,
                Some(pin) if pin != partial.pin() => {
                    let found = partial.pin().digest;
                    partial.discard()?;
                    let what = what.url.to_owned();
                    return Err(SourceError::WrongDigest { what, expected: pin.digest, found, hint: None });
                }
                _ => return Ok(partial.finish()?),
            }
            resumed = false;
        }
    }

    /// Transfers until the end, beginning again where it broke off.
    async fn complete(
        &self,
        partial: &mut Partial,
        what: &Download<'_>,
        meter: &Meter,
    ) -> Result<(), SourceError> {
        let (mut failures, mut best) = (0, partial.size());
        loop {
            let error = match self.transfer(partial, what, meter).await {
                Ok(()) => return Ok(()),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Again(error)) => error,
            };
            if partial.size() > best {
                (failures, best) = (0, partial.size());
            }
            failures += 1;
            if failures >= self.tries {
                return Err(error);
            }
            pause(failures).await;
        }
    }

    /// One request and as much of its answer as comes.
    async fn transfer(
        &self,
        partial: &mut Partial,
        what: &Download<'_>,
        meter: &Meter,
    ) -> Result<(), Broken> {
        if what.expect.is_some_and(|pin| pin.size == partial.size() && pin.size > 0) {
            return Ok(());
        }
        let mut request = with_authorization(self.get(what.url), what.authorization);
        if let Beginning::Kept { tag } = beginning(partial, what)? {
            request = request.header(RANGE, format!("bytes={}-", partial.size()));
            if let Some(tag) = tag {
                request = request.header(IF_RANGE, tag);
            }
        }
        let response = request.send().await.map_err(|error| broken(what.url, error))?;
        accept(&response, partial, what)?;
        receive(response, partial, what, meter).await
    }
}

/// A small document as it came.
pub(crate) struct Document {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Document {
    /// The body, if the status is success.
    pub(crate) fn success(self, url: &str) -> Result<Vec<u8>, SourceError> {
        if self.status.is_success() {
            Ok(self.body)
        } else {
            Err(SourceError::Status { url: url.to_owned(), status: self.status.as_u16() })
        }
    }
}

/// Parses an address and refuses plain HTTP to other machines.
pub(crate) fn checked(text: &str) -> Result<Url, SourceError> {
    let refuse = |reason| SourceError::Refused { url: text.to_owned(), reason };
    let url = Url::parse(text).map_err(|_| refuse("it is not an address"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(refuse("plain HTTP is used on this machine only; write https")),
        _ => Err(refuse("only https is used")),
    }
}

/// Whether an address is this machine's own by its very text.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// A transfer that ended early.
enum Broken {
    /// May be tried again.
    Again(SourceError),
    /// Trying again would not help.
    Final(SourceError),
}

impl<E: Into<SourceError>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

fn broken(url: &str, error: reqwest::Error) -> Broken {
    let again = !error.is_redirect() && !error.is_builder();
    let error = SourceError::Transfer { url: url.to_owned(), source: error.without_url().into() };
    if again { Broken::Again(error) } else { Broken::Final(error) }
}

async fn open_partial(store: &Store, key: Digest) -> Result<Partial, SourceError> {
    let store = store.clone();
    Ok(crate::blocking(move || store.partial(&key)).await?)
}

/// What is done with the beginning that an earlier transfer left.
enum Beginning {
    /// There is none, or none that may be continued.
    None,
    /// It is continued, if the server still has what carries this entity tag.
    Kept { tag: Option<String> },
}

/// Whether the partial may be continued; if not, it is emptied.
fn beginning(partial: &mut Partial, what: &Download<'_>) -> Result<Beginning, SourceError> {
    if partial.size() == 0 {
        return Ok(Beginning::None);
    }
    let tag = partial.origin().filter(|origin| origin.url == what.url).and_then(|origin| origin.etag.clone());
    let too_long = what.expect.is_some_and(|pin| partial.size() >= pin.size);
    if too_long || (tag.is_none() && what.expect.is_none()) {
        partial.restart()?;
        return Ok(Beginning::None);
    }
    Ok(Beginning::Kept { tag })
}

/// Compares the answer's kind with what was asked.
fn accept(response: &Response, partial: &mut Partial, what: &Download<'_>) -> Result<(), Broken> {
    let status = response.status();
    let url = || what.url.to_owned();
    match status {
        StatusCode::PARTIAL_CONTENT if continues_at(response, partial.size()) => return Ok(()),
        StatusCode::OK => {
            let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
            let etag = etag.filter(|tag| !tag.starts_with("W/")).map(str::to_owned);
            partial.restart()?;
            partial.set_origin(Origin { url: url(), etag })?;
            return Ok(());
        }
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => partial.restart()?,
        _ => {}
    }
    let error = SourceError::Status { url: url(), status: status.as_u16() };
    let again = status.is_server_error()
        || matches!(
            status,
            StatusCode::PARTIAL_CONTENT
                | StatusCode::RANGE_NOT_SATISFIABLE
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        );
    Err(if again { Broken::Again(error) } else { Broken::Final(error) })
}

/// Whether a 206 begins at `offset`: `Content-Range: bytes OFFSET-…`.
fn continues_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.and_then(|range| range.strip_prefix(&format!("bytes {offset}-"))).is_some()
}

async fn receive(
    mut response: Response,
    partial: &mut Partial,
    what: &Download<'_>,
    meter: &Meter,
) -> Result<(), Broken> {
    let total = response.content_length().map(|rest| partial.size() + rest);
    let total = what.expect.map(|pin| pin.size).or(total);
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(what.url, error))? {
        let before = partial.size();
        partial.append(&chunk)?;
        meter.moved(before, partial.size(), total);
        if let Some(pin) = what.expect
            && partial.size() > pin.size
        {
            partial.restart()?;
            let reason = format!("it is longer than the {} bytes that are locked", pin.size);
            return Err(Broken::Final(SourceError::Malformed { what: what.url.to_owned(), reason }));
        }
    }
    match what.expect {
        Some(pin) if partial.size() < pin.size => {
            partial.restart()?;
            let reason = format!("it is shorter than the {} bytes that are locked", pin.size);
            Err(Broken::Final(SourceError::Malformed { what: what.url.to_owned(), reason }))
        }
        _ => Ok(()),
    }
}

async fn read_document(
    request: RequestBuilder,
) -> Result<Document, Box<dyn std::error::Error + Send + Sync>> {
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        body.extend_from_slice(&chunk);
        if body.len() > DOCUMENT_LIMIT {
            return Err(format!("it is larger than {DOCUMENT_LIMIT} bytes").into());
        }
    }
    Ok(Document { status: response.status(), headers: response.headers().clone(), body })
}

fn with_authorization(request: RequestBuilder, value: Option<&str>) -> RequestBuilder {
    match value {
        Some(value) => request.header(AUTHORIZATION, value),
        None => request,
    }
}

/// Waits longer after each failure: 0.2 s, 0.4 s, 0.8 s, at most 5 s.
async fn pause(failures: u32) {
    let pause = Duration::from_millis(100) * 2u32.saturating_pow(failures.min(6));
    tokio::time::sleep(pause.min(Duration::from_secs(5))).await;
}

fn follow(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let from_https = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > 10 {
        attempt.error("it redirects more than ten times")
    } else if from_https && attempt.url().scheme() != "https" {
        attempt.error("it redirects from https to plain http")
    } else {
        attempt.follow()
    }
}

fn tls(settings: &Settings) -> Result<rustls::ClientConfig, SetupError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in &settings.extra_roots {
        let fault = |source: Box<dyn std::error::Error + Send + Sync>| SetupError::Roots {
            path: path.clone(),
            source,
        };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fault(error.into()))? {
            let certificate = certificate.map_err(|error| fault(error.into()))?;
            roots.add(certificate).map_err(|error| fault(error.into()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Client { source: error.into() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
