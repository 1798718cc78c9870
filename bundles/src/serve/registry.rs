//! What there is to pull: names and tags, manifests by digest, and who refers to whom.
//!
//! 1. From the root, which the bundle's signatures are about, every index and manifest is read, each held to its digest.
//! 2. Blobs that these do not reach are referrers if they are manifests with a subject: signatures, SBOMs, attestations.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use qiji_blueprint::Digest;
use serde::Deserialize;

use crate::error::VerifyError;
use crate::oci::{
    Annotations, BUNDLE, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, INDEX, MANIFEST, MAX_JSON, REF_NAME,
};
use crate::read::Verified;

/// The tags of a repository; one without a digest stands for different images of several hosts.
pub(crate) type Tags = BTreeMap<String, Option<Digest>>;

/// A verified bundle as a registry.
#[derive(Debug, Clone)]
pub struct Registry {
    bundle: Verified,
    manifests: BTreeMap<Digest, String>,
    names: BTreeMap<String, Tags>,
    listed: BTreeSet<String>,
    referrers: BTreeMap<Digest, Vec<Descriptor>>,
}

/// What is of interest in an index or a manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Annotations,
}

impl Registry {
    /// Reads the manifests of a bundle.
    pub fn new(bundle: Verified) -> Result<Self, VerifyError> {
        let mut registry = Self {
            bundle,
            manifests: BTreeMap::new(),
            names: BTreeMap::new(),
            listed: BTreeSet::new(),
            referrers: BTreeMap::new(),
        };
        let reached = registry.walk()?;
        registry.find_referrers(&reached)?;
        let own = format!("bundles/{}", registry.bundle.name());
        let (version, root) = (tag_of(registry.bundle.version()), registry.bundle.root());
        registry.add(&own, &version, root);
        registry.list();
        Ok(registry)
    }

    /// The bundle.
    pub const fn bundle(&self) -> &Verified {
        &self.bundle
    }

    /// Repositories, sorted: by path, and with the host where paths alone are not enough.
    pub fn repositories(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().map(String::as_str)
    }

    /// The tags of a repository, where `host` is that which a mirror is asked for.
    pub(crate) fn tags(&self, name: &str, host: Option<&str>) -> Option<&Tags> {
        match host {
            Some(host) => self.names.get(&with_host(host, name)),
            None => self.names.get(name),
        }
    }

    /// Media type of a manifest.
    pub(crate) fn manifest(&self, digest: &Digest) -> Option<&str> {
        self.manifests.get(digest).map(String::as_str)
    }

    /// What refers to a manifest.
    pub(crate) fn referrers(&self, digest: &Digest) -> &[Descriptor] {
        self.referrers.get(digest).map_or(&[], Vec::as_slice)
    }

    /// Reads everything below the root, level by level, each in the order in which it lies. Gives all digests that were met.
    fn walk(&mut self) -> Result<BTreeSet<Digest>, VerifyError> {
        let (mut reached, mut names) = (BTreeSet::new(), Vec::new());
        let mut level = BTreeMap::from([(self.bundle.root(), INDEX.to_owned())]);
        while !level.is_empty() {
            let mut below = BTreeMap::new();
            for (digest, media_type) in level {
                let document = self.read(&digest)?;
                self.manifests.insert(digest, media_type);
                reached.insert(digest);
                let Some(document) = document else { continue };
                reached.extend(document.config.iter().chain(&document.layers).map(|content| content.digest));
                for entry in document.manifests {
                    let name = entry
                        .annotations
                        .get(REF_NAME)
                        .filter(|_| document.artifact_type.as_deref() == Some(BUNDLE));
                    names.extend(name.map(|name| (name.clone(), entry.digest)));
                    if is_manifest(&entry.media_type) && !self.manifests.contains_key(&entry.digest) {
                        below.insert(entry.digest, entry.media_type);
                    }
                }
            }
            level = below;
        }
        for (name, digest) in names {
            self.add_image(&name, digest);
        }
        Ok(reached)
    }

    fn find_referrers(&mut self, reached: &BTreeSet<Digest>) -> Result<(), VerifyError> {
        let rest: Vec<Digest> = self
            .bundle
            .blobs()
            .map(|(digest, _)| digest)
            .filter(|digest| !reached.contains(digest))
            .collect();
        for digest in rest {
            let Some(document) = self.read(&digest)? else { continue };
            let (Some(media_type), Some(subject)) = (document.media_type, document.subject) else { continue };
            if !is_manifest(&media_type) {
                continue;
            }
            let size = self.bundle.blob_size(&digest).unwrap_or_default();
            let mut descriptor = Descriptor::new(&media_type, digest, size);
            descriptor.artifact_type =
                document.artifact_type.or_else(|| document.config.map(|config| config.media_type));
            descriptor.annotations = document.annotations;
            self.manifests.insert(digest, media_type);
            self.referrers.entry(subject.digest).or_default().push(descriptor);
        }
        Ok(())
    }

    /// Reads a document; nothing where it is too large for one, or none.
    fn read(&self, digest: &Digest) -> Result<Option<Document>, VerifyError> {
        if self.bundle.blob_size(digest).is_none_or(|size| size > MAX_JSON) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let read = self.bundle.blob(digest)?.read_to_end(&mut bytes);
        read.map_err(|error| self.bundle.failed(error))?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// An image under its path, and under its path with its host. Names are `host/path:tag`.
    fn add_image(&mut self, name: &str, digest: Digest) {
        let Some((repository, tag)) = name.rsplit_once(':') else { return };
        let Some((host, path)) = repository.split_once('/') else { return };
        self.add(path, tag, digest);
        self.add(&with_host(host, path), tag, digest);
    }

    fn add(&mut self, name: &str, tag: &str, digest: Digest) {
        let tags = self.names.entry(name.to_owned()).or_default();
        let known = tags.entry(tag.to_owned()).or_insert(Some(digest));
        if *known != Some(digest) {
            *known = None;
        }
    }

    /// Lists repositories by their paths; those with their hosts only where a path alone says too little.
    fn list(&mut self) {
        let hosts: BTreeSet<&str> =
            self.bundle.images(None).filter_map(|image| Some(image.name.split_once('/')?.0)).collect();
        let is_long = |name: &str| {
            hosts.iter().any(|host| {
                name.strip_prefix(&with_host(host, "")).is_some_and(|path| self.names.contains_key(path))
            })
        };
        let unclear: BTreeSet<&str> = self
            .names
            .iter()
            .filter(|(_, tags)| tags.values().any(Option::is_none))
            .map(|(name, _)| name.as_str())
            .collect();
        let needed = |name: &str| {
            hosts.iter().any(|host| {
                name.strip_prefix(&with_host(host, "")).is_some_and(|path| unclear.contains(path))
            })
        };
        self.listed = self.names.keys().filter(|name| !is_long(name) || needed(name)).cloned().collect();
    }
}

/// A repository with its host, which may hold a port: a colon is not allowed in a repository's name.
fn with_host(host: &str, path: &str) -> String {
    format!("{}/{path}", host.replace(':', "-"))
}

/// A version as a tag, which has fewer characters to choose from.
fn tag_of(version: &str) -> String {
    version.replace(|character: char| !character.is_ascii_alphanumeric() && !"._-".contains(character), "_")
}

fn is_manifest(media_type: &str) -> bool {
    [INDEX, MANIFEST, DOCKER_MANIFEST, DOCKER_LIST].contains(&media_type)
}
