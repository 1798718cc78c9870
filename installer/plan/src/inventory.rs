//! What a verified bundle offers to hosts, an architecture at a time.

use std::collections::BTreeMap;

use qiji_blueprint::Digest;
use qiji_blueprint::site::{Arch, Role};
use serde::{Deserialize, Serialize};

use crate::action::{BlobRef, ImportedImage};
use crate::paths;

/// All that a bundle offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// For each architecture in the bundle.
    pub offers: BTreeMap<Arch, Offer>,
}

/// What a bundle offers to hosts of one architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What is unpacked on hosts.
    pub packages: Vec<HostPackage>,
    /// Container images.
    pub images: Vec<HostImage>,
}

/// Something that is unpacked on hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPackage {
    /// Name: `kubernetes`, `containerd`.
    pub name: String,
    /// Version.
    pub version: String,
    /// Hosts that get it.
    pub roles: Vec<Role>,
    /// Layers, lowest first.
    pub layers: Vec<BlobRef>,
}

/// A container image, in one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostImage {
    /// Full name with tag: `qiji.local/etcd:3.7.3-0`.
    pub name: String,
    /// Hosts that get it.
    pub roles: Vec<Role>,
    /// Its manifest.
    pub manifest: BlobRef,
    /// Digest of the index that it is from, where the bundle has that.
    pub index: Option<Digest>,
    /// Its config and layers.
    pub blobs: Vec<BlobRef>,
}

impl Offer {
    /// The package of this name.
    pub fn package(&self, name: &str) -> Option<&HostPackage> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The image whose repository ends in this name.
    pub fn image(&self, name: &str) -> Option<&HostImage> {
        self.images.iter().find(|image| image.short_name() == name)
    }
}

impl HostPackage {
    /// Folder on a host.
    pub fn folder(&self) -> String {
        paths::package(&self.name, &self.version)
    }

    /// A name for its exact content.
    pub fn content(&self) -> String {
        let layers: Vec<String> = self.layers.iter().map(|layer| layer.digest.to_string()).collect();
        Digest::of(layers.join("\n").as_bytes()).to_string()
    }
}

impl HostImage {
    /// Repository without registry and tag: `etcd`.
    pub fn short_name(&self) -> &str {
        let path = self.split().0;
        path.rsplit_once('/').map_or(path, |(_, last)| last)
    }

    /// Everything before the last part of the repository: `qiji.local`.
    pub fn registry(&self) -> &str {
        self.split().0.rsplit_once('/').map_or("", |(first, _)| first)
    }

    /// Tag: `3.7.3-0`; empty when there is none.
    pub fn tag(&self) -> &str {
        self.split().1
    }

    /// What an agent imports.
    pub fn imported(&self) -> ImportedImage {
        let digests = std::iter::once(self.manifest.digest).chain(self.index);
        ImportedImage {
            name: self.name.clone(),
            by_digest: digests.map(|digest| format!("{}@{digest}", self.split().0)).collect(),
            manifest: self.manifest,
            blobs: self.blobs.clone(),
        }
    }

    fn split(&self) -> (&str, &str) {
        match self.name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (&self.name, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_name_falls_into_its_parts() {
        let blob = BlobRef { digest: Digest::of(b""), size: 0 };
        let image = |name: &str| HostImage {
            name: name.into(),
            roles: vec![],
            manifest: blob,
            index: Some(Digest::of(b"index")),
            blobs: vec![],
        };
        let etcd = image("registry.site:5000/base/etcd:3.7.3-0");
        assert_eq!(
            (etcd.registry(), etcd.short_name(), etcd.tag()),
            ("registry.site:5000/base", "etcd", "3.7.3-0")
        );
        let names = [Digest::of(b""), Digest::of(b"index")];
        let names = names.map(|digest| format!("registry.site:5000/base/etcd@{digest}"));
        assert_eq!(etcd.imported().by_digest, names);
        let bare = image("registry.site:5000/etcd");
        assert_eq!((bare.registry(), bare.short_name(), bare.tag()), ("registry.site:5000", "etcd", ""));
    }
}
