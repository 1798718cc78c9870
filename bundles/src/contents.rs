//! What a bundle holds, as plain data, and the rules that it must keep.
//!
//! A [`BundleSpec`] is what a caller wants; [`Contents`] is the same with documents reduced to digests and every list in its one order. The
//! reader arrives at the same type, so both sides go through the same checks.

use std::collections::BTreeSet;
use std::fmt;

use qiji_blueprint::Digest;
use qiji_blueprint::site::{Arch, Role};
use serde::Serialize;

use crate::hash;
use crate::oci::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, INDEX, MANIFEST, MAX_JSON, SPDX};
use crate::render;
use crate::sbom::{self, Subject};
use crate::tar::SIZE_LIMIT;
use crate::{CHART_ARCHIVE, CHART_VALUES, RAW_FILE};

/// Some bytes, named by their digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Blob {
    /// Media type (RFC 6838), such as `application/vnd.oci.image.layer.v1.tar+gzip`.
    pub media_type: String,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A container image of one architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ImageEntry {
    /// Full name with tag: `qiji.local/kube-apiserver:v1.36.3`. Unique together with the architecture.
    pub name: String,
    /// Architecture.
    pub arch: Arch,
    /// Hosts that need it before Kubernetes can pull anything.
    pub roles: Vec<Role>,
    /// The image manifest (OCI or Docker schema 2), whose bytes must refer to exactly `config` and `layers`.
    pub manifest: Blob,
    /// The image's configuration.
    pub config: Blob,
    /// Layers, lowest first.
    pub layers: Vec<Blob>,
}

/// What a host gets outside containers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PackageEntry {
    /// Name, unique together with the architecture.
    pub name: String,
    /// Architecture.
    pub arch: Arch,
    /// Version.
    pub version: String,
    /// Hosts that get it.
    pub roles: Vec<Role>,
    /// Layers that are unpacked over one another, lowest first, or one blob of type [`RAW_FILE`] that is a file as it is.
    pub blobs: Vec<Blob>,
}

/// A Helm chart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ChartEntry {
    /// Name of its release, unique.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The archive, of type [`CHART_ARCHIVE`], then its files of values, of type [`CHART_VALUES`]; later ones count over earlier ones.
    pub blobs: Vec<Blob>,
}

/// A text or another small file: the site, the lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DocumentEntry {
    /// Name, unique: `site`, `lock`.
    pub name: String,
    /// The bytes.
    pub blob: Blob,
}

/// What an image or a host package is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SbomEntry {
    /// What it is about; each has at most one.
    pub subject: Subject,
    /// The document, SPDX JSON.
    pub blob: Blob,
}

/// What others say of an image that comes from elsewhere: a signature, an attestation, a bill of materials of their own. Or the image's own index,
/// which such things are about. All of it is kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UpstreamEntry {
    /// Where it stands, unique: the image's repository and a tag, such as `quay.io/team/app:sha256-….sig`. An index stands under the image's own name.
    pub name: String,
    /// The manifest or the index (OCI, or Docker's).
    pub manifest: Blob,
    /// What a manifest refers to: its configuration, then its layers. What an index lists need not be there.
    pub blobs: Vec<Blob>,
}

/// What a bundle shall hold. The order of lists has no effect on the bundle, but for layers.
#[derive(Debug, Clone, Default)]
pub struct BundleSpec {
    /// Name of the bundle, a lower-case DNS name.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// Edition that it was made for, such as `trusted`; empty for none. Signatures of some kinds may have to hold for it.
    pub edition: String,
    /// Channel that it is released to, such as `stable`; empty for none. Said in the signed statement only: the contents are the same for all.
    pub channel: String,
    /// Container images.
    pub images: Vec<ImageEntry>,
    /// What is unpacked on hosts.
    pub packages: Vec<PackageEntry>,
    /// Helm charts.
    pub charts: Vec<ChartEntry>,
    /// Name and bytes of documents.
    pub documents: Vec<(String, Vec<u8>)>,
    /// Documents whose bytes come from the source, as they may be large.
    pub files: Vec<DocumentEntry>,
    /// Bills of materials ([`sbom::Description::to_spdx`]) of images, packages and charts.
    pub sboms: Vec<(Subject, Vec<u8>)>,
    /// What others say of images.
    pub upstreams: Vec<UpstreamEntry>,
}

/// What a blob belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The index that lists everything else.
    Root,
    /// The signed statement.
    Signature,
    /// The index over the architectures of an image.
    ImageIndex {
        /// Full name with tag.
        name: String,
    },
    /// An image of one architecture.
    Image {
        /// Full name with tag.
        name: String,
        /// Architecture.
        arch: Arch,
    },
    /// A host package.
    Package {
        /// Name.
        name: String,
        /// Version.
        version: String,
        /// Architecture.
        arch: Arch,
    },
    /// A Helm chart.
    Chart {
        /// Name of its release.
        name: String,
    },
    /// A document.
    Document {
        /// Name.
        name: String,
    },
    /// A bill of materials.
    Sbom {
        /// What it is about.
        subject: Subject,
    },
    /// What others say of an image.
    Upstream {
        /// Where it stands.
        name: String,
    },
    /// The empty configuration that all artifacts but images share.
    Empty,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the root index"),
            Self::Signature => f.write_str("the signature"),
            Self::ImageIndex { name } => write!(f, "image {name} (all architectures)"),
            Self::Image { name, arch } => write!(f, "image {name} ({arch})"),
            Self::Package { name, version, arch } => write!(f, "package {name} {version} ({arch})"),
            Self::Chart { name } => write!(f, "chart {name}"),
            Self::Document { name } => write!(f, "document {name}"),
            Self::Sbom { subject } => write!(f, "the bill of materials of {subject}"),
            Self::Upstream { name } => write!(f, "upstream {name}"),
            Self::Empty => f.write_str("the empty configuration"),
        }
    }
}

/// An image's name without its tag, and the tag.
pub(crate) fn split_tag(name: &str) -> (&str, &str) {
    name.rsplit_once(':').unwrap_or((name, ""))
}

impl Blob {
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest, self.size)
    }
}

impl From<&Descriptor> for Blob {
    fn from(descriptor: &Descriptor) -> Self {
        Self { media_type: descriptor.media_type.clone(), digest: descriptor.digest, size: descriptor.size }
    }
}

impl ImageEntry {
    /// The image as an owner of blobs.
    pub fn owner(&self) -> Owner {
        Owner::Image { name: self.name.clone(), arch: self.arch }
    }

    /// Manifest, configuration and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        [&self.manifest, &self.config].into_iter().chain(&self.layers)
    }

    /// Bytes of manifest, configuration and layers.
    pub fn size(&self) -> u64 {
        self.blobs().map(|blob| blob.size).sum()
    }
}

impl PackageEntry {
    /// The package as an owner of blobs.
    pub fn owner(&self) -> Owner {
        Owner::Package { name: self.name.clone(), version: self.version.clone(), arch: self.arch }
    }

    /// Bytes of all blobs.
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }
}

impl ChartEntry {
    /// The chart as an owner of blobs.
    pub fn owner(&self) -> Owner {
        Owner::Chart { name: self.name.clone() }
    }

    /// Bytes of archive and values.
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }
}

impl DocumentEntry {
    /// The document as an owner of blobs.
    pub fn owner(&self) -> Owner {
        Owner::Document { name: self.name.clone() }
    }
}

impl SbomEntry {
    /// The bill of materials as an owner of blobs.
    pub fn owner(&self) -> Owner {
        Owner::Sbom { subject: self.subject.clone() }
    }
}

impl UpstreamEntry {
    /// It as an owner of blobs.
    pub fn owner(&self) -> Owner {
        Owner::Upstream { name: self.name.clone() }
    }

    /// Whether it is an image's own index.
    pub fn is_index(&self) -> bool {
        is_index(&self.manifest.media_type)
    }

    /// Bytes of the manifest and of what it refers to.
    pub fn size(&self) -> u64 {
        std::iter::once(&self.manifest).chain(&self.blobs).map(|blob| blob.size).sum()
    }
}

/// Whether a media type is that of an index over manifests.
pub(crate) fn is_index(media_type: &str) -> bool {
    [INDEX, DOCKER_INDEX].contains(&media_type)
}

/// A bundle's contents in canonical order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) edition: String,
    pub(crate) images: Vec<ImageEntry>,
    pub(crate) packages: Vec<PackageEntry>,
    pub(crate) charts: Vec<ChartEntry>,
    pub(crate) documents: Vec<DocumentEntry>,
    pub(crate) sboms: Vec<SbomEntry>,
    pub(crate) upstreams: Vec<UpstreamEntry>,
}

impl Contents {
    /// The contents that `spec` asks for, sorted.
    pub(crate) fn of(spec: &BundleSpec) -> Self {
        let mut contents = Self {
            name: spec.name.clone(),
            version: spec.version.clone(),
            edition: spec.edition.clone(),
            images: spec.images.clone(),
            packages: spec.packages.clone(),
            charts: spec.charts.clone(),
            documents: spec.documents.iter().map(|(name, bytes)| document(name, bytes)).collect(),
            sboms: spec.sboms.iter().map(|(subject, bytes)| sbom(subject, bytes)).collect(),
            upstreams: spec.upstreams.clone(),
        };
        contents.documents.extend_from_slice(&spec.files);
        contents.sort();
        contents
    }

    /// Puts every list into its order: by name and architecture, roles each once.
    pub(crate) fn sort(&mut self) {
        let lists = self.images.iter_mut().map(|image| &mut image.roles);
        for roles in lists.chain(self.packages.iter_mut().map(|package| &mut package.roles)) {
            roles.sort_unstable();
            roles.dedup();
        }
        self.images.sort();
        self.packages.sort();
        self.charts.sort();
        self.documents.sort();
        self.sboms.sort();
        self.upstreams.sort();
    }

    /// Every blob that is not generated from the contents themselves, with its owner.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = (Owner, &Blob)> {
        let images = self.images.iter().flat_map(|image| image.blobs().map(|blob| (image.owner(), blob)));
        let packages =
            self.packages.iter().flat_map(|package| package.blobs.iter().map(|blob| (package.owner(), blob)));
        let charts =
            self.charts.iter().flat_map(|chart| chart.blobs.iter().map(|blob| (chart.owner(), blob)));
        let documents = self.documents.iter().map(|document| (document.owner(), &document.blob));
        let sboms = self.sboms.iter().map(|sbom| (sbom.owner(), &sbom.blob));
        let upstreams = self.upstreams.iter().flat_map(|upstream| {
            std::iter::once(&upstream.manifest).chain(&upstream.blobs).map(|blob| (upstream.owner(), blob))
        });
        images.chain(packages).chain(charts).chain(documents).chain(sboms).chain(upstreams)
    }

    /// All faults: unsafe names, duplicates, impossible sizes and media types.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        require(&mut faults, is_name(&self.name, LOWER), || {
            format!("bundle name `{}` is not a DNS name", self.name)
        });
        require(&mut faults, is_name(&self.version, VERSION), || {
            format!("bundle version `{}` has characters other than letters, digits and .+~:_-", self.version)
        });
        require(&mut faults, is_channel(&self.edition), || {
            format!("edition `{}` has characters other than lower-case letters, digits and .-", self.edition)
        });
        self.image_faults(&mut faults);
        self.package_faults(&mut faults);
        self.chart_faults(&mut faults);
        self.document_faults(&mut faults);
        self.sbom_faults(&mut faults);
        self.upstream_faults(&mut faults);
        for (owner, blob) in self.blobs() {
            require(&mut faults, blob.size < SIZE_LIMIT, || {
                format!("{owner}: {} is 8 GiB or larger", blob.digest)
            });
            require(&mut faults, is_media_type(&blob.media_type), || {
                format!("{owner}: `{}` is not a media type", blob.media_type)
            });
        }
        faults
    }

    fn image_faults(&self, faults: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for image in &self.images {
            let owner = image.owner();
            require(faults, is_image_name(&image.name), || {
                format!("{owner}: the name is not of the form registry/name:tag")
            });
            require(faults, seen.insert((&image.name, image.arch)), || format!("{owner} is there twice"));
            require(
                faults,
                [MANIFEST, DOCKER_MANIFEST].contains(&image.manifest.media_type.as_str()),
                || format!("{owner}: `{}` is not a type of image manifest", image.manifest.media_type),
            );
            require(faults, image.manifest.size <= MAX_JSON, || {
                format!("{owner}: the manifest is larger than 4 MiB")
            });
        }
    }

    fn package_faults(&self, faults: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for package in &self.packages {
            let owner = package.owner();
            require(faults, is_name(&package.name, NAME), || format!("{owner}: the name is not safe"));
            require(faults, is_name(&package.version, VERSION), || {
                format!("{owner}: the version is not safe")
            });
            require(faults, seen.insert((&package.name, package.arch)), || format!("{owner} is there twice"));
            require(faults, !package.blobs.is_empty(), || format!("{owner} has no content"));
        }
    }

    fn chart_faults(&self, faults: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for chart in &self.charts {
            let owner = chart.owner();
            require(faults, is_name(&chart.name, LOWER), || format!("{owner}: the name is not safe"));
            require(faults, is_name(&chart.version, VERSION), || format!("{owner}: the version is not safe"));
            require(faults, seen.insert(&chart.name), || format!("{owner} is there twice"));
            let (archive, values) = chart.blobs.split_at(chart.blobs.len().min(1));
            let is = |blob: &Blob, kind: &str| blob.media_type == kind;
            require(faults, archive.iter().any(|blob| is(blob, CHART_ARCHIVE)), || {
                format!("{owner}: its first blob is not {CHART_ARCHIVE}")
            });
            require(faults, values.iter().all(|blob| is(blob, CHART_VALUES)), || {
                format!("{owner}: a blob after the first is not {CHART_VALUES}")
            });
        }
    }

    fn document_faults(&self, faults: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for document in &self.documents {
            let owner = document.owner();
            require(faults, is_name(&document.name, NAME), || format!("{owner}: the name is not safe"));
            require(faults, seen.insert(&document.name), || format!("{owner} is there twice"));
        }
    }

    fn sbom_faults(&self, faults: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for sbom in &self.sboms {
            let owner = sbom.owner();
            require(faults, self.manifest_of(&sbom.subject).is_some(), || {
                format!("{owner}: there is no {}", sbom.subject)
            });
            require(faults, seen.insert(&sbom.subject), || format!("{owner} is there twice"));
            require(faults, sbom.blob.media_type == SPDX, || {
                format!("{owner}: `{}` is not {SPDX}", sbom.blob.media_type)
            });
            require(faults, sbom.blob.size <= sbom::LIMIT, || format!("{owner} is larger than 16 MiB"));
        }
    }

    fn upstream_faults(&self, faults: &mut Vec<String>) {
        let names: BTreeSet<&str> = self.images.iter().map(|image| image.name.as_str()).collect();
        let repositories: BTreeSet<&str> = names.iter().map(|name| split_tag(name).0).collect();
        let mut seen = BTreeSet::new();
        for upstream in &self.upstreams {
            let (owner, name) = (upstream.owner(), upstream.name.as_str());
            require(faults, is_image_name(name), || {
                format!("{owner}: the name is not of the form registry/name:tag")
            });
            require(faults, seen.insert(name), || format!("{owner} is there twice"));
            require(faults, repositories.contains(split_tag(name).0), || {
                format!("{owner}: there is no image in that repository")
            });
            let media_type = upstream.manifest.media_type.as_str();
            let is_known = upstream.is_index() || [MANIFEST, DOCKER_MANIFEST].contains(&media_type);
            require(faults, is_known, || format!("{owner}: `{media_type}` is not a type of manifest"));
            require(faults, upstream.is_index() == names.contains(name), || {
                format!("{owner}: an index, and nothing else, has the name of an image")
            });
            require(faults, upstream.is_index() == upstream.blobs.is_empty(), || {
                format!("{owner}: a manifest, and nothing else, has blobs")
            });
            require(faults, upstream.manifest.size <= MAX_JSON, || {
                format!("{owner}: the manifest is larger than 4 MiB")
            });
        }
    }

    /// The manifest of what a bill of materials is about.
    pub(crate) fn manifest_of(&self, subject: &Subject) -> Option<Descriptor> {
        match subject {
            Subject::Image { name, arch } => {
                let image = self.images.iter().find(|image| image.name == *name && image.arch == *arch)?;
                Some(image.manifest.descriptor())
            }
            Subject::Package { name, arch } => {
                let package =
                    self.packages.iter().find(|package| package.name == *name && package.arch == *arch)?;
                Some(render::package_descriptor(package))
            }
            Subject::Chart { name } => {
                let chart = self.charts.iter().find(|chart| chart.name == *name)?;
                Some(render::chart_descriptor(chart))
            }
        }
    }
}

fn sbom(subject: &Subject, bytes: &[u8]) -> SbomEntry {
    let blob = Blob { media_type: SPDX.to_owned(), digest: hash::digest(bytes), size: bytes.len() as u64 };
    SbomEntry { subject: subject.clone(), blob }
}

fn document(name: &str, bytes: &[u8]) -> DocumentEntry {
    let blob =
        Blob { media_type: RAW_FILE.to_owned(), digest: hash::digest(bytes), size: bytes.len() as u64 };
    DocumentEntry { name: name.to_owned(), blob }
}

/// Most faults that are told at once.
const MAX_FAULTS: usize = 100;

fn require(faults: &mut Vec<String>, holds: bool, fault: impl FnOnce() -> String) {
    if !holds && faults.len() < MAX_FAULTS {
        faults.push(fault());
    }
}

/// Whether this can name a channel or an edition, or is none.
pub(crate) fn is_channel(name: &str) -> bool {
    name.is_empty() || is_name(name, LOWER)
}

/// Whether this can name a document, or a key of a policy.
pub(crate) fn is_document_name(name: &str) -> bool {
    is_name(name, NAME)
}

type Allowed = fn(u8) -> bool;
const LOWER: Allowed = |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
const NAME: Allowed = |byte| byte.is_ascii_alphanumeric() || b".+_-".contains(&byte);
const VERSION: Allowed = |byte| byte.is_ascii_alphanumeric() || b".+~:_-".contains(&byte);

/// 1 to 128 allowed characters, a letter or digit first: never a path, an option or a hidden file.
fn is_name(name: &str, allowed: Allowed) -> bool {
    name.len() <= 128
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().all(allowed)
}

/// `host[:port]/path:tag`, lower case but for the tag.
fn is_image_name(name: &str) -> bool {
    let Some((repository, tag)) = name.rsplit_once(':') else { return false };
    let Some((host, path)) = repository.split_once('/') else { return false };
    let (host, port) = host.split_once(':').unwrap_or((host, "0"));
    let component: Allowed = |byte| LOWER(byte) || byte == b'_';
    name.len() <= 255
        && is_name(host, LOWER)
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && path.split('/').all(|word| is_name(word, component))
        && is_name(tag, |byte| NAME(byte) && byte != b'+')
}

/// `type/subtype` (RFC 6838, section 4.2).
fn is_media_type(text: &str) -> bool {
    let word =
        |word: &str| is_name(word, |byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte));
    text.split_once('/').is_some_and(|(kind, subtype)| word(kind) && word(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names() {
        for good in ["qiji.local/etcd:3.7.3-0", "localhost:5000/a/b_c:v1", "registry.k8s.io/pause:3.10"] {
            assert!(is_image_name(good), "{good}");
        }
        for bad in
            ["etcd:3", "a/b", "a/../b:1", "a/.b:1", "A/b:1", "a//b:1", "a/b:", "a:x/b:1", "a/b:1@x", "/b:1"]
        {
            assert!(!is_image_name(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_never_paths() {
        for bad in ["", ".", "..", "../x", "a/b", "-x", "a b", "a\0", "é"] {
            assert!(!is_name(bad, NAME) && !is_name(bad, VERSION) && !is_name(bad, LOWER), "{bad:?}");
        }
    }
}
