//! HTTP transfers into the store: verified whole, resumed where they broke off.
//!
//! 1. The partial that an earlier run left is opened and hashed.
//! 2. Only the rest is asked for (`Range`, RFC 9110 section 14). When the digest is locked any source may continue what another
//!    began, since the end is compared; otherwise only the same address with the same strong entity tag may (`If-Range`).
//! 3. A transfer that breaks off is tried again after a pause, as long as new bytes keep coming; so is one that the server puts off (429, 5xx),
//!    after the pause that it asks for (`Retry-After`).
//! 4. The whole is compared with the locked digest. Where an old beginning was used and the whole is wrong, it is fetched once more
//!    from its first byte; then it is thrown away.
//!
//! Proxies come from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`; trust from the machine's certificates (`SSL_CERT_FILE` is
//! honoured) and [`Settings::extra_roots`]. Plain HTTP is for loopback only, except where the caller says that what comes is checked by digest or
//! signature; a redirect never leads from HTTPS to HTTP.

mod download;
mod retry;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

pub(crate) use download::Download;

use crate::error::SourceError;
use crate::registry::CredentialsError;
use crate::settings::Settings;

/// The machine's or the site's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file of a private certificate authority cannot be read.
    #[error("cannot read certificates from {path}")]
    Roots {
        /// The file.
        path: std::path::PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file of registry logins cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The client cannot be made.
    #[error("cannot set up HTTPS")]
    Client {
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The largest document (index, manifest, token) that is read into memory.
const DOCUMENT_LIMIT: usize = 8 << 20;

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
        self.ask(url, || with_authorization(self.get(url).header(ACCEPT, accept), authorization)).await
    }

    /// The answer to a form, whatever its status. Broken transfers are tried again.
    pub(crate) async fn form(&self, url: &str, fields: &[(&str, &str)]) -> Result<Document, SourceError> {
        let body =
            Zeroizing::new(form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish());
        let request = || {
            let request = self.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            request.body(body.as_bytes().to_vec())
        };
        self.ask(url, request).await
    }

    async fn ask(&self, url: &str, request: impl Fn() -> RequestBuilder) -> Result<Document, SourceError> {
        let mut failures = 0;
        loop {
            let outcome = read_document(request()).await;
            failures += 1;
            let last = failures >= self.tries;
            match outcome {
                Ok(document) if retry::put_off(document.status) && !last => {
                    retry::pause(failures, retry::asked(&document.headers)).await;
                }
                Ok(document) => return Ok(document),
                Err(_) if !last => retry::pause(failures, None).await,
                Err(error) => return Err(SourceError::Transfer { url: url.to_owned(), source: error }),
            }
        }
    }

    /// Whether a server speaks TLS, be its certificate trusted or not. One that cannot be reached does not.
    pub(crate) async fn speaks_tls(&self, url: &str) -> bool {
        match self.get(url).send().await {
            Ok(_) => true,
            Err(error) => {
                tls_error(&error).is_some_and(|tls| !matches!(tls, rustls::Error::InvalidMessage(_)))
            }
        }
    }
}

/// The fault of TLS among the causes of an error.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // An I/O error passes over the error that it holds when it is asked for its source.
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = held.map_or_else(|| error.source(), |held| Some(held as &(dyn Error + 'static)));
    }
    None
}

/// A small document as it came.
pub(crate) struct Document {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
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

/// The login that an answer asks for; several are joined as one header may hold them (RFC 9110, section 11.6.1).
pub(crate) fn challenge(headers: &HeaderMap) -> String {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(", ")
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

async fn read_document(request: RequestBuilder) -> Result<Document, Box<dyn Error + Send + Sync>> {
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
    let Some(text) = value else { return request };
    match HeaderValue::from_str(text) {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.header(AUTHORIZATION, value)
        }
        // A login that no header can hold is told when the request is made.
        Err(_) => request.header(AUTHORIZATION, text),
    }
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
        let fault = |source: Box<dyn Error + Send + Sync>| SetupError::Roots { path: path.clone(), source };
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
