//! Holds images from elsewhere to the keys that must have signed them, by the signatures that were found with them.
//!
//! 1. Of everything that is said in an image's repository, each layer is looked at: cosign's signatures (*simple signing*: the payload as a layer, the
//!    signature as its annotation), DSSE envelopes, and sigstore bundles with an envelope in them.
//! 2. A statement counts only with a signature by one of the keys, and only for the digests that it names.
//! 3. An image is endorsed by a key if, for each architecture, the key signed its manifest, or the image's index in which that manifest stands.
//!
//! Keys are Ed25519, or ECDSA on P-256 with SHA-256, as cosign makes them. Certificates and transparency logs need services that an air-gapped site does
//! not have; they are kept, but not looked at. Everything is read from the store, each blob compared with its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use pkcs8::Document;
use pkcs8::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{ImageContent, Lock};
use qiji_blueprint::site::Arch;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;

use crate::error::StoreError;
use crate::source::platform_pin;
use crate::store::Store;

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The predicate of a statement that says nothing but that the image is signed.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
/// Most bytes of a payload or an envelope that is looked at.
const LIMIT: u64 = 32 << 20;

const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ID_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// A public key that images are held to.
#[derive(Clone)]
pub struct ImageKey {
    name: String,
    algorithm: &'static dyn VerificationAlgorithm,
    bytes: Vec<u8>,
}

/// A file that is not such a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is not a public key in PEM, Ed25519 or ECDSA on P-256")]
pub struct ImageKeyError {
    name: String,
}

impl fmt::Debug for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ImageKey").field(&self.name).finish()
    }
}

impl ImageKey {
    /// Reads a `SubjectPublicKeyInfo` in PEM (RFC 7468). `name` is what people call it.
    pub fn from_pem(name: &str, text: &str) -> Result<Self, ImageKeyError> {
        let refused = || ImageKeyError { name: name.to_owned() };
        let (label, document) = Document::from_pem(text).map_err(|_| refused())?;
        let info = SubjectPublicKeyInfoRef::try_from(document.as_bytes()).map_err(|_| refused())?;
        let curve = info.algorithm.parameters_oid().ok();
        let algorithm: &'static dyn VerificationAlgorithm = match (info.algorithm.oid, curve) {
            (ID_ED25519, None) => &ED25519,
            (ID_EC, Some(ID_P256)) => &ECDSA_P256_SHA256_ASN1,
            _ => return Err(refused()),
        };
        let bytes =
            info.subject_public_key.as_bytes().filter(|_| label == "PUBLIC KEY").ok_or_else(refused)?;
        Ok(Self { name: name.to_owned(), algorithm, bytes: bytes.to_owned() })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.bytes).verify(message, signature).is_ok()
    }
}

/// That a key vouches for an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endorsement {
    /// Full name of the image.
    pub image: String,
    /// Name of the key.
    pub key: String,
    /// Type of what the key said; nothing for a mere signature.
    pub predicate: Option<String>,
}

/// A key that did not sign an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// Full name of the image.
    pub image: String,
    /// Architecture.
    pub arch: Arch,
    /// Name of the key.
    pub key: String,
    /// Signatures that were found in the image's repository, by whomever and of whatever.
    pub found: usize,
}

impl fmt::Display for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, arch, key, found } = self;
        write!(f, "image {image} for {arch} is not signed by {key}: ")?;
        match found {
            0 => f.write_str("no signature was found with it"),
            1 => f.write_str("the one signature found is by another key, or of another image"),
            many => write!(f, "the {many} signatures found are by other keys, or of other images"),
        }
    }
}

/// Images that are not signed as they must be.
#[derive(Debug, thiserror::Error)]
pub enum EndorseError {
    /// Some are not; all are told.
    #[error("{}", .0.iter().map(Unsigned::to_string).collect::<Vec<_>>().join("\n"))]
    Unsigned(Vec<Unsigned>),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Holds the images of a lock to their keys, by the full names of images. Gives everything that these keys vouch for, sorted.
pub fn endorse(
    store: &Store,
    lock: &Lock,
    keys: &BTreeMap<String, Vec<ImageKey>>,
) -> Result<Vec<Endorsement>, EndorseError> {
    let (mut all, mut lacking) = (BTreeSet::new(), Vec::new());
    for (image, keys) in keys {
        let said = statements(store, lock, image, keys)?;
        let index = lock.upstreams.iter().find(|upstream| upstream.name == *image);
        let index = index.map(|upstream| read(store, &upstream.pin.digest)).transpose()?;
        for (arch, manifest) in manifests(lock, image) {
            let subjects = subjects(manifest, index.as_deref());
            for (number, key) in keys.iter().enumerate() {
                let about =
                    |one: &&Statement| one.key == Some(number) && !one.subjects.is_disjoint(&subjects);
                let mut signed = false;
                for one in said.iter().filter(about) {
                    signed |= one.predicate.is_none();
                    let (image, predicate) = (image.clone(), one.predicate.clone());
                    all.insert(Endorsement { image, key: key.name.clone(), predicate });
                }
                if !signed {
                    let found = said.iter().filter(|one| one.predicate.is_none()).count();
                    lacking.push(Unsigned { image: image.clone(), arch, key: key.name.clone(), found });
                }
            }
        }
    }
    if lacking.is_empty() { Ok(all.into_iter().collect()) } else { Err(EndorseError::Unsigned(lacking)) }
}

/// Manifests of an image, by architecture.
fn manifests(lock: &Lock, image: &str) -> Vec<(Arch, Digest)> {
    let pinned = |arch, name: &str| {
        let artifact =
            lock.artifacts.iter().find(|artifact| artifact.name == name && artifact.arch == arch)?;
        Some((arch, artifact.pin.digest))
    };
    let images = lock.images.iter().filter(|one| one.name == image);
    let copied = images.filter_map(|one| match &one.content {
        ImageContent::Copied { artifact } => pinned(one.arch, artifact),
        ImageContent::Assembled { .. } => None,
    });
    copied.collect()
}

/// What may be signed so that a manifest is: itself, or an index that it stands in.
fn subjects(manifest: Digest, index: Option<&[u8]>) -> BTreeSet<Digest> {
    let mut subjects = BTreeSet::from([manifest]);
    if let Some(bytes) = index
        && let Ok(index) = serde_json::from_slice::<ImageIndex>(bytes)
        && index.manifests().iter().any(|entry| entry.digest().to_string() == manifest.to_string())
    {
        subjects.insert(Digest::of(bytes));
    }
    subjects
}

/// Something signed.
#[derive(Debug)]
struct Statement {
    /// The first key that it is by.
    key: Option<usize>,
    /// What it is about.
    subjects: BTreeSet<Digest>,
    /// Type of what is said; nothing where it is a mere signature.
    predicate: Option<String>,
}

/// Everything signed in an image's repository.
fn statements(
    store: &Store,
    lock: &Lock,
    image: &str,
    keys: &[ImageKey],
) -> Result<Vec<Statement>, EndorseError> {
    let repository = |name: &str| name.rsplit_once(':').map(|(repository, _)| repository.to_owned());
    let mut all = Vec::new();
    for upstream in lock.upstreams.iter().filter(|one| repository(&one.name) == repository(image)) {
        let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&read(store, &upstream.pin.digest)?)
        else {
            continue;
        };
        for layer in manifest.layers() {
            all.extend(statement(store, layer, keys)?);
        }
    }
    Ok(all)
}

fn statement(
    store: &Store,
    layer: &Descriptor,
    keys: &[ImageKey],
) -> Result<Option<Statement>, EndorseError> {
    let media_type = layer.media_type().to_string();
    let is_bundle = media_type.starts_with(SIGSTORE_BUNDLE);
    if !is_bundle && media_type != SIMPLE_SIGNING && media_type != ENVELOPE || layer.size() > LIMIT {
        return Ok(None);
    }
    let Ok(pin) = platform_pin(layer) else { return Ok(None) };
    let bytes = read(store, &pin.digest)?;
    Ok(if media_type == SIMPLE_SIGNING {
        simple(layer, &bytes, keys)
    } else if is_bundle {
        let bundle = serde_json::from_slice::<Bundle>(&bytes).ok();
        bundle.and_then(|bundle| bundle.dsse_envelope?.statement(keys))
    } else {
        serde_json::from_slice::<Envelope>(&bytes).ok().and_then(|envelope| envelope.statement(keys))
    })
}

/// cosign's own form: the payload names the digest, the signature is an annotation (cosign, `specs/SIGNATURE_SPEC.md`).
fn simple(layer: &Descriptor, payload: &[u8], keys: &[ImageKey]) -> Option<Statement> {
    let signature = STANDARD.decode(layer.annotations().as_ref()?.get(SIGNATURE)?).ok()?;
    let Payload { critical } = serde_json::from_slice(payload).ok()?;
    let subjects = BTreeSet::from([critical.image.digest.parse().ok()?]);
    let key = keys.iter().position(|key| key.signed(payload, &signature));
    Some(Statement { key, subjects, predicate: None })
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: CriticalImage,
}

#[derive(Deserialize)]
struct CriticalImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// A sigstore bundle (sigstore, `protobuf-specs`), as far as it is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Option<Envelope>,
}

/// A DSSE envelope.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

impl Envelope {
    /// The in-toto statement in it.
    fn statement(&self, keys: &[ImageKey]) -> Option<Statement> {
        let payload = STANDARD.decode(&self.payload).ok()?;
        if self.payload_type != IN_TOTO {
            return None;
        }
        let mut message = format!("DSSEv1 {} {} {} ", IN_TOTO.len(), IN_TOTO, payload.len()).into_bytes();
        message.extend_from_slice(&payload);
        let signatures = self.signatures.iter().filter_map(|one| STANDARD.decode(&one.sig).ok());
        let signatures: Vec<Vec<u8>> = signatures.collect();
        let by = |key: &ImageKey| signatures.iter().any(|signature| key.signed(&message, signature));
        let statement: InToto = serde_json::from_slice(&payload).ok()?;
        let digests = statement.subject.iter().filter_map(|subject| subject.digest.get("sha256"));
        Some(Statement {
            key: keys.iter().position(by),
            subjects: digests.filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect(),
            predicate: Some(statement.predicate_type).filter(|predicate| predicate != SIGNED),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InToto {
    subject: Vec<InTotoSubject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct InTotoSubject {
    digest: BTreeMap<String, String>,
}

/// A blob of the store, compared with its digest.
fn read(store: &Store, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    store.verify(digest, None)?;
    fs_err::read(store.blob_path(digest)).map_err(StoreError::io("read a signature"))
}
