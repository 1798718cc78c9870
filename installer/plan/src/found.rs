//! What is on a host of what bundles bring there, as its agent finds it.

use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};

/// A file or a link of an unpacked package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFile {
    /// Path below [`crate::paths::PACKAGES`]: `etcd-3.7.3/usr/local/bin/etcd`.
    pub path: String,
    /// What is there.
    pub what: Found,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// A file.
    File {
        /// Digest of its content.
        digest: Digest,
        /// Bytes.
        size: u64,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Its target.
        target: String,
    },
}

/// An image that a bundle brought into the host's containerd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundImage {
    /// Full name with tag.
    pub name: String,
    /// Digest of its manifest.
    pub digest: Digest,
}
