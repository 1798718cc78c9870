//! An image in an OCI registry, over the distribution protocol (OCI distribution specification 1.1).
//!
//! The artifact is the manifest of one architecture; config and layers come with it. While locking, a tag is followed to an index and
//! on to the architecture's manifest, and the reference is pinned to that manifest's digest. While fetching, only the digest is asked
//! for, the manifest is compared with it, and every blob with the manifest. Anonymous bearer tokens are got where the registry asks.
//!
//! Limits: no logins; plain HTTP to loopback only.

use async_trait::async_trait;
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Pinned};
use reqwest::StatusCode;
use reqwest::header::WWW_AUTHENTICATE;
use tokio::sync::OnceCell;

use super::{Found, Job, Source, Trust};
use crate::error::SourceError;
use crate::http::{Document, Download, checked, is_loopback};

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// See the module.
pub(super) struct OciSource {
    pub(super) reference: String,
}

/// One repository, and the token it gave.
struct Repository {
    reference: Reference,
    base: String,
    token: OnceCell<String>,
}

impl Repository {
    fn new(text: &str) -> Result<Self, SourceError> {
        let malformed = |reason: String| SourceError::Malformed { what: text.to_owned(), reason };
        let reference: Reference = text.parse().map_err(|error| malformed(format!("{error}")))?;
        let registry = reference.resolve_registry();
        let https = format!("https://{registry}");
        let url = checked(&https)?;
        // Loopback is this machine alone: tests and mirrors there need no certificate.
        let scheme = if is_loopback(&url) { "http" } else { "https" };
        let base = format!("{scheme}://{registry}/v2/{}", reference.repository());
        Ok(Self { reference, base, token: OnceCell::new() })
    }

    fn authorization(&self) -> Option<&str> {
        self.token.get().map(String::as_str)
    }

    /// A manifest by tag or digest, with a token where one is asked for.
    async fn manifest(&self, job: &Job<'_>, name: &str) -> Result<Vec<u8>, SourceError> {
        let url = format!("{}/manifests/{name}", self.base);
        let http = &job.context.http;
        let first = http.document(&url, MANIFESTS, self.authorization()).await?;
        if first.status != StatusCode::UNAUTHORIZED || self.token.initialized() {
            return first.success(&url);
        }
        self.token.get_or_try_init(|| self.log_in(job, &first)).await?;
        http.document(&url, MANIFESTS, self.authorization()).await?.success(&url)
    }

    /// Gets an anonymous token as the `WWW-Authenticate` header asks.
    async fn log_in(&self, job: &Job<'_>, refusal: &Document) -> Result<String, SourceError> {
        let challenge = refusal.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let malformed = |reason: &str| SourceError::Malformed {
            what: format!("the login that {} asks for", self.reference.registry()),
            reason: reason.to_owned(),
        };
        let challenge = challenge.and_then(|text| text.strip_prefix("Bearer "));
        let challenge = challenge.ok_or_else(|| malformed("it is not a bearer token"))?;
        let mut url = checked(&parameter(challenge, "realm").ok_or_else(|| malformed("it has no realm"))?)?;
        let scope = parameter(challenge, "scope");
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.reference.repository()));
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = parameter(challenge, "service") {
            url.query_pairs_mut().append_pair("service", &service);
        }
        let answer = job.context.http.document(url.as_str(), "application/json", None).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.success(url.as_str())?)
            .map_err(|_| malformed("the answer is not JSON"))?;
        let token =
            answer.get("token").or_else(|| answer.get("access_token")).and_then(|token| token.as_str());
        token.map(|token| format!("Bearer {token}")).ok_or_else(|| malformed("the answer has no token"))
    }
}

/// The value of `name="value"` in a challenge (RFC 9110 section 11.2).
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let start = challenge.find(&format!("{name}=\""))? + name.len() + 2;
    let rest = &challenge[start..];
    Some(rest[..rest.find('"')?].to_owned())
}

impl OciSource {
    /// The manifest of the job's architecture and its bytes, following an index.
    async fn platform_manifest(
        &self,
        job: &Job<'_>,
        repository: &Repository,
    ) -> Result<Vec<u8>, SourceError> {
        let name = repository.reference.digest().or(repository.reference.tag()).unwrap_or("latest");
        let bytes = repository.manifest(job, name).await?;
        if let Some(digest) = repository.reference.digest() {
            self.compare(digest, &bytes)?;
        }
        let Ok(index) = serde_json::from_slice::<ImageIndex>(&bytes) else {
            return Ok(bytes);
        };
        let platforms =
            || index.manifests().iter().filter_map(|entry| Some((entry, entry.platform().as_ref()?)));
        let wanted = platforms().find(|(_, platform)| {
            platform.os().to_string() == "linux" && platform.architecture().to_string() == job.arch.as_str()
        });
        let Some((entry, _)) = wanted else {
            let has: Vec<_> =
                platforms().map(|(_, it)| format!("{}/{}", it.os(), it.architecture())).collect();
            let (reference, arch, has) = (self.reference.clone(), job.arch, has.join(", "));
            return Err(SourceError::NoPlatform { reference, arch, has });
        };
        let digest = entry.digest().to_string();
        let bytes = repository.manifest(job, &digest).await?;
        self.compare(&digest, &bytes)?;
        Ok(bytes)
    }

    fn compare(&self, expected: &str, bytes: &[u8]) -> Result<(), SourceError> {
        let malformed = |reason: String| SourceError::Malformed { what: self.reference.clone(), reason };
        let expected: Digest = expected.parse().map_err(|error| malformed(format!("{error}")))?;
        let found = Digest::of(bytes);
        if found == expected {
            return Ok(());
        }
        Err(SourceError::WrongDigest { what: self.reference.clone(), expected, found, hint: None })
    }

    fn read(&self, bytes: &[u8]) -> Result<Vec<Pinned>, SourceError> {
        image_blobs(bytes).map_err(|reason| SourceError::Malformed {
            what: format!("manifest of {}", self.reference),
            reason,
        })
    }
}

#[async_trait]
impl Source for OciSource {
    fn label(&self) -> String {
        format!("registry image {}", self.reference)
    }

    async fn resolve(&self, job: &Job<'_>) -> Result<Found, SourceError> {
        let repository = Repository::new(&self.reference)?;
        let bytes = self.platform_manifest(job, &repository).await?;
        self.read(&bytes)?;
        let pin = job.context.store.put(&bytes)?;
        let plain = self.reference.split('@').next().unwrap_or(&self.reference);
        let source = lock::Source::Oci { reference: format!("{plain}@{}", pin.digest) };
        let trust = Trust::Transport(format!("as {} gave it", repository.reference.registry()));
        Ok(Found { pin, source, trust })
    }

    async fn fetch(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        let repository = Repository::new(&self.reference)?;
        let bytes = repository.manifest(job, &pin.digest.to_string()).await?;
        self.compare(&pin.digest.to_string(), &bytes)?;
        for blob in self.read(&bytes)? {
            let url = format!("{}/blobs/{}", repository.base, blob.digest);
            let what = Download { url: &url, authorization: repository.authorization(), expect: Some(blob) };
            job.context.http.download(&job.context.store, &what, &job.meter).await?;
        }
        job.context.store.put(&bytes)?;
        Ok(())
    }
}

/// Config and layers of an image manifest, in this order.
pub(crate) fn image_blobs(manifest: &[u8]) -> Result<Vec<Pinned>, String> {
    let manifest: ImageManifest =
        serde_json::from_slice(manifest).map_err(|error| format!("it is not an image manifest: {error}"))?;
    let blob = |descriptor: &Descriptor| {
        let digest = descriptor.digest().to_string().parse().map_err(|error| format!("{error}"))?;
        Ok(Pinned { digest, size: descriptor.size() })
    };
    std::iter::once(manifest.config()).chain(manifest.layers()).map(blob).collect()
}
