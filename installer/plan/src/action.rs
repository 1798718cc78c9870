//! What an agent can be told to do: a small set of typed deeds, none of which knows Kubernetes. A plan is made of them,
//! the agent carries them out, and each can be asked about first (`check`) and is asked about afterwards (`verify`).
//!
//! Every deed records, on its host and before it changes anything, what was there before; [`Action::Undo`] puts that back.

use std::collections::BTreeMap;
use std::fmt;

use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};

/// A blob of the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Names a step: `cp1/kubelet`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub String);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that goes into a file or a program's standard input. May hold secrets, so it never prints itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The text, in which `@{name}` stands for the value of an input.
    pub text: String,
    /// Values that earlier steps give: placeholder name → step with an [`Action::Read`].
    pub inputs: BTreeMap<String, StepId>,
    /// Whether it must not be shown or kept outside its file.
    pub secret: bool,
}

impl Content {
    /// Text that is fixed and may be shown.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), inputs: BTreeMap::new(), secret: false }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes{})", self.text.len(), if self.secret { ", secret" } else { "" })
    }
}

/// One deed on one host. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Action {
    /// Bring blobs of the bundle to the host's staging store (`/var/lib/qiji/blobs`). Done when all are there and match.
    Receive {
        /// The blobs.
        blobs: Vec<BlobRef>,
    },
    /// Unpack tar+zstd (or plain tar) layers from the staging store into a folder, through a scratch folder that is renamed when whole.
    Unpack {
        /// Layers, lowest first.
        layers: Vec<BlobRef>,
        /// Folder that will hold exactly these layers.
        into: String,
    },
    /// A folder exists, with this mode.
    Folder {
        /// Path.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// A file has exactly this content and mode. Written beside and renamed.
    File {
        /// Path; its parents are made, 0755.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Content.
        content: Content,
    },
    /// A symbolic link points there.
    Link {
        /// Path; its parents are made, 0755.
        path: String,
        /// Target.
        target: String,
    },
    /// A kernel module is loaded or built in, or the feature it gives is there.
    Module {
        /// Name, such as `br_netfilter`.
        name: String,
        /// A path that exists when the feature is there, such as `/proc/sys/net/bridge`; empty when only the module list tells.
        shown_by: String,
    },
    /// A kernel setting has this value now. (A [`Action::File`] under `/etc/sysctl.d` makes it last.)
    Sysctl {
        /// Dotted key.
        key: String,
        /// Value.
        value: String,
        /// Whether a larger number is as good.
        at_least: bool,
    },
    /// A systemd unit is enabled and running with its present configuration.
    Unit {
        /// Unit name with suffix.
        name: String,
        /// Changes whenever anything it reads changes; on a change the unit is restarted.
        fingerprint: String,
    },
    /// Container images are in the host's containerd, under their names, unpacked.
    ImportImages {
        /// The images.
        images: Vec<ImportedImage>,
        /// Path of `ctr`.
        ctr: String,
        /// Path of containerd's socket.
        socket: String,
    },
    /// A program runs to its end with status 0. Done when it ended so before with this same step *and* the step's conditions hold.
    Run {
        /// Program and arguments; holds no secret.
        argv: Vec<String>,
        /// Environment added to a minimal one (`PATH`, `HOME=/root`, `LC_ALL=C.UTF-8`).
        env: BTreeMap<String, String>,
        /// Standard input.
        stdin: Option<Content>,
    },
    /// A file's content or a program's output becomes this step's value for later steps. Never done beforehand.
    Read {
        /// Program and arguments whose standard output is read (`cat` for a file).
        argv: Vec<String>,
        /// Environment, as in [`Action::Run`].
        env: BTreeMap<String, String>,
        /// Whether the value is a secret.
        secret: bool,
    },
    /// Nothing is done; the step's conditions come true in time.
    Wait,
    /// Stop and disable a unit if it is there.
    StopUnit {
        /// Unit name with suffix.
        name: String,
    },
    /// End all processes whose cgroup path holds one of these words, then remove those cgroups.
    KillCgroups {
        /// Words, such as `kubepods`.
        holding: Vec<String>,
    },
    /// Unmount everything mounted at or below these paths, deepest first.
    Unmount {
        /// Paths.
        below: Vec<String>,
    },
    /// Remove files and folders that are there.
    Remove {
        /// Paths.
        paths: Vec<String>,
    },
    /// Delete network links with these names, or names that begin so where one ends in `*`.
    DeleteLinks {
        /// Names.
        names: Vec<String>,
    },
    /// Put back what the recorded changes replaced, newest first, then forget them.
    Undo,
}

/// An image as the bundle holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedImage {
    /// Full name with tag.
    pub name: String,
    /// Its names by digest, `registry/repository@sha256:…`: of the manifest, and of the index that this is from. Pods may use each of them.
    pub by_digest: Vec<String>,
    /// Its manifest (of the host's architecture).
    pub manifest: BlobRef,
    /// Its config and layers.
    pub blobs: Vec<BlobRef>,
}

/// Something that can be looked at on a host and is true or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "if")]
pub enum Condition {
    /// A path exists.
    Exists {
        /// Path.
        path: String,
    },
    /// A path does not exist.
    Missing {
        /// Path.
        path: String,
    },
    /// A systemd unit is active.
    UnitActive {
        /// Unit name with suffix.
        name: String,
    },
    /// A program ends with status 0 within 30 s.
    Succeeds {
        /// Program and arguments.
        argv: Vec<String>,
        /// Environment added.
        env: BTreeMap<String, String>,
    },
    /// A program ends with status 0 and its output, trimmed, is this.
    Prints {
        /// Program and arguments.
        argv: Vec<String>,
        /// Environment added.
        env: BTreeMap<String, String>,
        /// The text.
        text: String,
    },
    /// `GET` of a plain HTTP address on loopback answers 200.
    HttpOk {
        /// Port on 127.0.0.1.
        port: u16,
        /// Path, such as `/healthz`.
        path: String,
    },
}
