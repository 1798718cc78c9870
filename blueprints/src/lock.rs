//! The lock: everything a bundle will hold, pinned. It is complete by itself — artifacts with their digests, and how layers, images
//! and host packages are put together from them — so that the same lock gives the same bundle whatever catalogue built it.
//!
//! It is written as KDL, sorted, one artifact a node, so that a change of version shows as a change of a few lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::site::{Arch, Role};

/// A whole lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Name of the site it was made for.
    pub site: String,
    /// Version of the site.
    pub version: String,
    /// Digest of the resolved site (its canonical JSON): a site that changed must be locked again.
    pub site_digest: Digest,
    /// What is fetched, sorted by name and architecture.
    pub artifacts: Vec<Artifact<Pinned>>,
    /// How layers are put together, sorted by name and architecture.
    pub layers: Vec<Layer>,
    /// Container images, sorted by name and architecture.
    pub images: Vec<Image>,
    /// What is unpacked on hosts, sorted by name and architecture.
    pub packages: Vec<Package>,
    /// Helm charts, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<Chart<Pinned>>,
    /// What others say of images that come from elsewhere, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<Upstream>,
}

/// What must be locked: a [`Lock`] whose artifacts have sources but no digests yet. The catalogue and a site give one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Name of the site.
    pub site: String,
    /// Version of the site.
    pub version: String,
    /// Digest of the resolved site.
    pub site_digest: Digest,
    /// What is to be found, sorted by name and architecture.
    pub artifacts: Vec<Artifact<()>>,
    /// See [`Lock::layers`].
    pub layers: Vec<Layer>,
    /// See [`Lock::images`].
    pub images: Vec<Image>,
    /// See [`Lock::packages`].
    pub packages: Vec<Package>,
    /// See [`Lock::charts`]. They are locked before the rest, as it takes a chart to know its images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<Chart<Pinned>>,
}

/// Digest and size of the bytes of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Digest of the file; of the manifest, where the artifact is an image.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// One file (or, from an OCI registry, one image) to be had from any of its sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact<P> {
    /// Name, unique together with the architecture: `kube`, `libmnl0`.
    pub name: String,
    /// Upstream version, for people.
    pub version: String,
    /// Architecture it is for.
    pub arch: Arch,
    /// Digest and size, in a lock.
    pub pin: P,
    /// Sources in the order in which they are tried; all are held to the same digest.
    pub sources: Vec<Source>,
}

/// Where an artifact can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "source")]
pub enum Source {
    /// Built from one of our own Go mains.
    Go {
        /// Folder under `airgap/sources/`.
        recipe: String,
        /// Name of the recipe's output.
        output: String,
    },
    /// A Debian package, the `.deb` file itself.
    Debian {
        /// Release, such as `trixie`.
        suite: String,
        /// Package name.
        package: String,
        /// Version; the newest of the suite while it is not locked.
        version: Option<String>,
    },
    /// An image in an OCI registry.
    Oci {
        /// `registry/repository:tag`, with `@sha256:…` once locked.
        reference: String,
    },
    /// A Helm chart in a repository of charts.
    Repository {
        /// Address of the folder that holds its `index.yaml`, without a slash at its end.
        url: String,
        /// Address of the archive, once locked.
        file: Option<String>,
    },
    /// A file over HTTPS.
    Https {
        /// Address.
        url: String,
    },
    /// A file below one of the folders given with `--artifacts`, or beside the `qiji` binary.
    Folder {
        /// Relative path.
        path: String,
    },
    /// An image in a file or folder below one of those folders: an OCI image layout, an archive of one, or an archive of `docker save`.
    Archive {
        /// Relative path.
        path: String,
        /// Name of the image in it; needed where it holds several.
        image: Option<String>,
    },
    /// An image in the store of a containerd on this machine.
    Containerd {
        /// Name that the image has there.
        image: String,
        /// Namespace in which it lies.
        namespace: String,
    },
}

impl Source {
    /// Whether what it gives is an image, which is its manifest and all that hangs on it, and not one file.
    pub fn gives_image(&self) -> bool {
        matches!(self, Self::Oci { .. } | Self::Archive { .. } | Self::Containerd { .. })
    }
}

/// A Helm chart: the archive as `helm package` makes it, and the values that it is installed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chart<P> {
    /// Name of its release, unique in a lock.
    pub name: String,
    /// Its own name.
    pub chart: String,
    /// Its version.
    pub version: String,
    /// Digest and size of the archive, in a lock.
    pub pin: P,
    /// Sources in the order in which they are tried: registries ([`Source::Oci`], where the digest is that of the manifest), repositories
    /// ([`Source::Repository`]) and files ([`Source::Folder`]).
    pub sources: Vec<Source>,
    /// Files of values; later ones count over earlier ones.
    pub values: Vec<ChartValues<P>>,
}

/// A file of values for a chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartValues<P> {
    /// Path from the folder of the site file.
    pub path: String,
    /// Digest and size of the file, in a lock.
    pub pin: P,
}

/// What others say of an image that comes from elsewhere: a signature, an attestation, a bill of materials. Or the image's own index, which such
/// things are said of: it is kept as it is, so that what is said of it can be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Where it stands, unique in a lock: the image's repository and a tag, such as `quay.io/team/app:sha256-….sig`. An index stands under the image's
    /// own name.
    pub name: String,
    /// Digest and size of the manifest or the index.
    pub pin: Pinned,
    /// Sources in the order in which they are tried.
    pub sources: Vec<Source>,
}

/// How one file system layer is put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Name, unique together with the architecture.
    pub name: String,
    /// Architecture.
    pub arch: Arch,
    /// Entries in any order; they are sorted by path when written. Parent folders are added, mode 0755.
    pub entries: Vec<LayerEntry>,
}

/// One entry of a layer. Paths are relative, without a leading slash. Owner is 0:0, times are zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "entry")]
pub enum LayerEntry {
    /// A file.
    File {
        /// Path in the layer.
        path: String,
        /// Name of the artifact, of the layer's architecture.
        artifact: String,
        /// Path inside the artifact, where that is a `.deb`; may hold one `*` that must match exactly one regular file. Links are followed.
        member: Option<String>,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Path in the layer.
        path: String,
        /// What it points to, as written.
        target: String,
    },
    /// A folder.
    Folder {
        /// Path in the layer.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// A small text.
    Text {
        /// Path in the layer.
        path: String,
        /// The text.
        content: String,
        /// Permission bits.
        mode: u32,
    },
}

/// A container image of one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Full name with tag: `qiji.local/kube-apiserver:v1.36.3`.
    pub name: String,
    /// Architecture.
    pub arch: Arch,
    /// Hosts that need it before Kubernetes can pull anything.
    pub roles: Vec<Role>,
    /// What it is made of.
    pub content: ImageContent,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "content")]
pub enum ImageContent {
    /// Put together from layers by us.
    Assembled {
        /// Names of layers of the same architecture, lowest first.
        layers: Vec<String>,
        /// The image's configuration.
        config: ImageConfig,
    },
    /// Copied as it is from a registry.
    Copied {
        /// Name of the artifact.
        artifact: String,
    },
}

/// Configuration of an assembled image (OCI image specification, `config.md`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Entrypoint.
    pub entrypoint: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// User, `uid:gid`; root when empty.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Whether a package of this name is one of the tools themselves, which no host unpacks: `agent`, one raw file, is sent to hosts before anything
/// else, and `qiji` is for whoever carries the bundle.
pub fn is_tool(package: &str) -> bool {
    matches!(package, "agent" | "qiji")
}

/// Something that is unpacked on hosts, under a folder of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name: `kubernetes`, `containerd`. Those of [`is_tool`] are not unpacked.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: Arch,
    /// Hosts that get it.
    pub roles: Vec<Role>,
    /// What it is made of.
    pub content: PackageContent,
}

/// What a package is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "content")]
pub enum PackageContent {
    /// Layers, lowest first; the same blobs as in the images that use them.
    Layers {
        /// Names of layers of the same architecture.
        layers: Vec<String>,
    },
    /// One artifact as it is.
    File {
        /// Name of the artifact.
        artifact: String,
    },
}

impl ImageContent {
    /// Names of the layers that it is put together from, lowest first; none where it is copied.
    pub fn layers(&self) -> &[String] {
        match self {
            Self::Assembled { layers, .. } => layers,
            Self::Copied { .. } => &[],
        }
    }

    /// Name of the artifact that it is, where it is copied.
    pub fn artifact(&self) -> Option<&str> {
        match self {
            Self::Assembled { .. } => None,
            Self::Copied { artifact } => Some(artifact),
        }
    }
}

impl PackageContent {
    /// Names of the layers that it is put together from, lowest first; none where it is one file.
    pub fn layers(&self) -> &[String] {
        match self {
            Self::Layers { layers } => layers,
            Self::File { .. } => &[],
        }
    }

    /// Name of the artifact that it is, where it is one file.
    pub fn artifact(&self) -> Option<&str> {
        match self {
            Self::Layers { .. } => None,
            Self::File { artifact } => Some(artifact),
        }
    }
}

impl Layer {
    /// Names of the artifacts that its files come from.
    pub fn artifacts(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match entry {
            LayerEntry::File { artifact, .. } => Some(artifact.as_str()),
            _ => None,
        })
    }
}
