//! What there is to pull: names and tags, manifests by digest, and who refers to whom.
//!
//! 1. From the root, which the bundle's signatures are about, every index and manifest is read, each held to its digest.
//! 2. The signature is not reached from there: what is left over is looked through for it.
//! 3. What others say of an image stands under the tags of its own; where the image's own index is there, the image's name stands for it.
//! 4. A manifest with a subject is a referrer of that: the signature of the root, a bill of materials of an image or a package.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use qiji_blueprint::Digest;
use serde::Deserialize;

use crate::contents::is_index;
use crate::error::VerifyError;
use crate::oci::{
    Annotations, DOCKER_MANIFEST, Descriptor, INDEX, MANIFEST, MAX_JSON, NAME, REF_NAME, UPSTREAM,
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
    listed: Vec<String>,
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

/// What the root leads to.
#[derive(Debug, Default)]
struct Reached {
    digests: BTreeSet<Digest>,
    /// Images by their full names.
    images: Vec<(String, Digest)>,
    /// Images' own indexes, by the images' full names.
    indexes: BTreeMap<String, Digest>,
}

impl Reached {
    /// Takes note of an entry of the root that has a name to pull by.
    fn name(&mut self, entry: &Descriptor) {
        let annotation = |key: &str| entry.annotations.get(key).cloned();
        let is_upstream = entry.artifact_type.as_deref() == Some(UPSTREAM);
        let Some(name) = annotation(if is_upstream { NAME } else { REF_NAME }) else { return };
        if is_upstream && is_index(&entry.media_type) {
            self.indexes.insert(name, entry.digest);
        } else {
            self.images.push((name, entry.digest));
        }
    }

    /// What each name stands for.
    fn names(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.images.iter().map(|(name, digest)| (name.as_str(), *self.indexes.get(name).unwrap_or(digest)))
    }
}

impl Registry {
    /// Reads the manifests of a bundle.
    pub fn new(bundle: Verified) -> Result<Self, VerifyError> {
        let mut registry = Self {
            bundle,
            manifests: BTreeMap::new(),
            names: BTreeMap::new(),
            listed: Vec::new(),
            referrers: BTreeMap::new(),
        };
        let reached = registry.walk()?;
        registry.read_rest(&reached.digests)?;
        registry.name(&reached);
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

    /// Reads everything below the root, level by level, each in the order in which it lies.
    fn walk(&mut self) -> Result<Reached, VerifyError> {
        let mut reached = Reached::default();
        let mut level = BTreeMap::from([(self.bundle.root(), INDEX.to_owned())]);
        while !level.is_empty() {
            let mut below = BTreeMap::new();
            for (digest, media_type) in level {
                reached.digests.insert(digest);
                let Some(document) = self.read(&digest)? else { continue };
                let contents = document.config.iter().chain(&document.layers);
                reached.digests.extend(contents.map(|content| content.digest));
                for entry in &document.manifests {
                    if digest == self.bundle.root() {
                        reached.name(entry);
                    }
                    if is_manifest(&entry.media_type) && !reached.digests.contains(&entry.digest) {
                        below.insert(entry.digest, entry.media_type.clone());
                    }
                }
                self.add(digest, media_type, document);
            }
            level = below;
        }
        Ok(reached)
    }

    /// Looks for manifests among the blobs that the root does not lead to.
    fn read_rest(&mut self, reached: &BTreeSet<Digest>) -> Result<(), VerifyError> {
        let rest: Vec<Digest> = self.bundle.blobs().filter(|digest| !reached.contains(digest)).collect();
        for digest in rest {
            let Some(mut document) = self.read(&digest)? else { continue };
            let media_type = document.media_type.take().filter(|media_type| is_manifest(media_type));
            if let Some(media_type) = media_type {
                self.add(digest, media_type, document);
            }
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

    fn add(&mut self, digest: Digest, media_type: String, document: Document) {
        if let Some(subject) = document.subject {
            let size = self.bundle.blob_size(&digest).unwrap_or_default();
            let mut descriptor = Descriptor::new(&media_type, digest, size);
            descriptor.artifact_type =
                document.artifact_type.or_else(|| document.config.map(|config| config.media_type));
            descriptor.annotations = document.annotations;
            self.referrers.entry(subject.digest).or_default().push(descriptor);
        }
        self.manifests.insert(digest, media_type);
    }

    /// Gives names to images, of the form `host/path:tag`, and to the bundle itself. Those with hosts are listed only where a path alone says too
    /// little.
    fn name(&mut self, reached: &Reached) {
        let mut paths = BTreeMap::new();
        for (name, digest) in reached.names() {
            let Some((repository, tag)) = name.rsplit_once(':') else { continue };
            let Some((host, path)) = repository.split_once('/') else { continue };
            let long = with_host(host, path);
            self.tag(path, tag, digest);
            self.tag(&long, tag, digest);
            paths.insert(long, path);
        }
        let own = self.names.entry(format!("bundles/{}", self.bundle.name())).or_default();
        own.insert(tag_of(self.bundle.version()), Some(self.bundle.root()));
        let is_unclear =
            |path: &&str| self.names.get(*path).is_some_and(|tags| tags.values().any(Option::is_none));
        let is_listed = |name: &&String| paths.get(*name).is_none_or(is_unclear);
        self.listed = self.names.keys().filter(is_listed).cloned().collect();
    }

    fn tag(&mut self, name: &str, tag: &str, digest: Digest) {
        let tags = self.names.entry(name.to_owned()).or_default();
        let known = tags.entry(tag.to_owned()).or_insert(Some(digest));
        if *known != Some(digest) {
            *known = None;
        }
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
    is_index(media_type) || [MANIFEST, DOCKER_MANIFEST].contains(&media_type)
}
