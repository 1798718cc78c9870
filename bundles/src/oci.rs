//! The JSON documents of a bundle (OCI image specification 1.1: `descriptor.md`, `manifest.md`, `image-index.md`).
//!
//! Own types, because the bytes matter: fields in one fixed order, annotations sorted, nothing optional written when absent. Reading is
//! lenient towards fields that these types do not know, as image manifests made elsewhere may have them; documents of our own are
//! held to their exact bytes by rendering them again.

use std::collections::BTreeMap;

use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};

use crate::hash;

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const BUNDLE: &str = "application/vnd.qiji.bundle.v1";
pub(crate) const PACKAGE: &str = "application/vnd.qiji.package.v1";
pub(crate) const CHART: &str = "application/vnd.qiji.chart.v1";
pub(crate) const DOCUMENT: &str = "application/vnd.qiji.document.v1";
pub(crate) const UPSTREAM: &str = "application/vnd.qiji.upstream.v1";
pub(crate) const SPDX: &str = "application/spdx+json";
pub(crate) const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
pub(crate) const NAME: &str = "dev.qiji.name";
pub(crate) const VERSION: &str = "dev.qiji.version";
pub(crate) const EDITION: &str = "dev.qiji.edition";
pub(crate) const ROLES: &str = "dev.qiji.roles";
pub(crate) const FORMAT: &str = "dev.qiji.format";

/// The only version of the format so far, in the annotation [`FORMAT`] of the root.
pub(crate) const FORMAT_VERSION: &str = "1";
/// The whole of the member `oci-layout`.
pub(crate) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The config of artifacts that have none.
pub(crate) const EMPTY_CONFIG: &[u8] = b"{}";
/// Most bytes that a JSON document may have. Its nesting needs no limit: known fields have flat types, and unknown ones are skipped
/// without recursion.
pub(crate) const MAX_JSON: u64 = 4 << 20;

/// Most bytes of all JSON documents together, each counted as often as it is referred to: what is read from them stays in memory, and a few
/// documents that refer to each other many times would otherwise be read without end.
pub(crate) const MAX_DOCUMENTS: u64 = 64 << 20;
/// Most bytes of an annotation that is used.
const MAX_ANNOTATION: usize = 1024;

/// Annotations, sorted by key.
pub(crate) type Annotations = BTreeMap<String, String>;

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub(crate) annotations: Annotations,
}

/// What a manifest is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub(crate) annotations: Annotations,
}

/// An image or another artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub(crate) annotations: Annotations,
}

impl Descriptor {
    /// A descriptor of `bytes`.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, hash::digest(bytes), bytes.len() as u64)
    }

    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            artifact_type: None,
            platform: None,
            annotations: Annotations::new(),
        }
    }

    /// The value of an annotation, or what is missing.
    pub(crate) fn annotation(&self, key: &str) -> Result<&str, String> {
        annotation(&self.annotations, key)
    }
}

/// The value of an annotation, or what is wrong with it.
pub(crate) fn annotation<'a>(annotations: &'a Annotations, key: &str) -> Result<&'a str, String> {
    match annotations.get(key) {
        None => Err(format!("annotation `{key}` is missing")),
        Some(value) if value.len() > MAX_ANNOTATION => {
            Err(format!("annotation `{key}` has more than {MAX_ANNOTATION} bytes"))
        }
        Some(value) => Ok(value),
    }
}

impl Manifest {
    /// A manifest of an artifact that is not an image.
    pub(crate) fn artifact(kind: &str, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            artifact_type: Some(kind.to_owned()),
            config: Descriptor::of(EMPTY, EMPTY_CONFIG),
            layers,
            subject: None,
            annotations: Annotations::new(),
        }
    }
}

impl Index {
    pub(crate) fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            artifact_type: None,
            manifests,
            annotations: Annotations::new(),
        }
    }
}

/// The canonical bytes of a document: compact JSON, no line break at the end.
pub(crate) fn to_bytes<T: Serialize>(document: &T) -> Vec<u8> {
    // Strings, integers, lists and maps with string keys: `serde_json` has no way to fail on these.
    serde_json::to_vec(document).expect("plain data is always JSON")
}
