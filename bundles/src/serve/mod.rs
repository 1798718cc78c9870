//! A read-only registry over a verified bundle: the OCI distribution specification 1.1, pulling and content discovery, and nothing that writes.
//!
//! 1. [`Registry::new`] reads the bundle's manifests once and knows from then on which names, tags, digests and referrers there are.
//! 2. [`Registry::answer`] turns a request into status, headers and the place of the body: a pure function, no byte of a blob is read.
//! 3. [`serve`] listens, speaks TLS and HTTP/1.1, and sends blobs straight from where they lie in the bundle, from one file or from volumes.
//!
//! An image `host/path:tag` is found as `path:tag`, as `host/path:tag` (a colon in the host is written `-`), and as `path:tag` with `?ns=host`, which is how
//! containerd asks a mirror. Where two hosts have the same path and tag, it is found with its host only. The bundle itself is `bundles/NAME:VERSION`:
//! its root, from which everything is reached by digest.
//!
//! What refers to a manifest is found by that: the signature of the root, the bills of materials of images and packages.
//!
//! Guarantees: a blob that is sent whole is hashed on the way, and one that has changed since the bundle was verified never ends: its last piece is held back
//! and the connection is broken. Memory does not grow with blobs, and at most 16 are read at a time; others wait.
//!
//! Limits: parts of blobs are sent as they lie, and whoever asked for one holds it to the digest. Any blob of the bundle is found under any of its
//! repositories: there is nobody to keep them from, as everybody is answered.

mod answer;
mod body;
mod page;
mod range;
mod registry;
mod request;
mod server;
mod tls;

pub use self::answer::Content;
pub use self::registry::Registry;
pub use self::server::{Settings, serve};
pub use self::tls::{Authority, Identity, TlsError, own_names};
