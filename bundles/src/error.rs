//! What can go wrong with a bundle, and which kind of wrong it is.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use qiji_blueprint::Digest;

use crate::contents::Owner;
use crate::key::{KeyId, KeyKind};
use crate::volumes::{Hopeless, OpenError};

/// Kinds of failure, each with its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The file could not be read to its end: the work failed.
    Failed,
    /// The file is not there, is not a bundle at all, or has another version of the format: the input is wrong.
    Malformed,
    /// A signature or digest does not hold, or bytes are not what they must be.
    Untrustworthy,
}

impl Class {
    /// The exit status of a command that ends with it: 1, 2 or 4.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Malformed => 2,
            Self::Untrustworthy => 4,
        }
    }
}

/// A bundle was refused.
#[derive(Debug)]
pub struct VerifyError {
    /// The bundle.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Box<Fault>,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), plain(&self.fault.to_string()))
    }
}

impl Error for VerifyError {
    /// The cause of the fault: the fault itself is in the message.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.fault.source()
    }
}

impl VerifyError {
    pub(crate) fn at(path: &Path) -> impl FnOnce(Fault) -> Self {
        let path = path.to_owned();
        move |fault| Self { path, fault: Box::new(fault) }
    }

    /// Which kind of failure it is.
    pub fn class(&self) -> Class {
        self.fault.class()
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match &*self.fault {
            Fault::Open(_) => "check the path",
            Fault::Volumes(_) => {
                "give the folder that holds the volumes of one bundle, or one of these volumes"
            }
            Fault::Hopeless(_) => {
                "copy the volumes that are named once more from where they come from, and verify again"
            }
            Fault::Read(_) => "check the disk or medium that holds the file",
            Fault::NotABundle(_) => "give the .qiji file that `qiji build` wrote",
            Fault::OtherFormat(_) => "use the qiji release that made this bundle, or a newer one",
            Fault::Unsigned => "get a signed bundle from whoever built it, or sign it with `qiji sign`",
            Fault::MissingKinds { .. } => {
                "have it signed by a trusted key of that kind with `qiji sign`, and give that public key with --trust"
            }
            Fault::Channel { .. } => "get a bundle of a channel that the policy allows",
            Fault::UnknownKeys { .. } => {
                "check with whoever built the bundle which key signs it, and give that public key with --trust"
            }
            _ => "do not use this file; get the bundle again from its source and compare its sha256",
        }
    }
}

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file cannot be opened.
    #[error("cannot be opened")]
    Open(#[source] io::Error),
    /// Reading failed.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// There is no set of volumes.
    #[error(transparent)]
    Volumes(OpenError),
    /// Volumes are lost or damaged beyond repair.
    #[error("{0}")]
    Hopeless(Hopeless),
    /// Nothing about the file looks like a bundle.
    #[error("is not a qiji bundle: {0}")]
    NotABundle(&'static str),
    /// A bundle, but of another version of the format.
    #[error("is a bundle of format {0}, and this qiji reads format 1 only")]
    OtherFormat(String),
    /// A member's header is not what it must be.
    #[error("the header of member {member} at byte {offset} (after {previous}) is damaged")]
    Header {
        /// Number of the member, from 1.
        member: usize,
        /// Where the header starts.
        offset: u64,
        /// The member before it.
        previous: String,
    },
    /// A member has a name that no member may have, or comes at the wrong place.
    #[error("member `{name}` at byte {offset} {reason}")]
    Member {
        /// Name as found, control characters escaped.
        name: String,
        /// Where its header starts.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The bytes between a member and the next one are not zero.
    #[error("the padding after {name} is damaged, in bytes {start} to {end}")]
    Padding {
        /// Member before the padding.
        name: String,
        /// First byte of the padding.
        start: u64,
        /// First byte after the padding.
        end: u64,
    },
    /// The file is shorter than its members say.
    #[error("the file ends at byte {length}, in the middle of {name}: it was cut short")]
    Truncated {
        /// Member that is cut.
        name: String,
        /// Length of the file.
        length: u64,
    },
    /// The two zero blocks at the end are not there, not zero or not last.
    #[error("the end of the file is damaged at byte {offset}: {reason}")]
    End {
        /// Where the end blocks start.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A blob's bytes have another digest.
    #[error("blob {digest} of {owner} is damaged, in bytes {start} to {end}")]
    Blob {
        /// Digest that the bytes should have.
        digest: Digest,
        /// What it belongs to.
        owner: Owner,
        /// First byte in the file.
        start: u64,
        /// First byte after it.
        end: u64,
    },
    /// A blob is not in the file.
    #[error("blob {digest} of {owner} is missing")]
    Missing {
        /// Its digest.
        digest: Digest,
        /// What it belongs to.
        owner: Owner,
    },
    /// A blob has another size than is written where it is referred to.
    #[error("blob {digest} of {owner} has {found} bytes instead of {expected}")]
    Size {
        /// Its digest.
        digest: Digest,
        /// What it belongs to.
        owner: Owner,
        /// Size in the descriptor.
        expected: u64,
        /// Size in the file.
        found: u64,
    },
    /// A blob that nothing refers to.
    #[error("blob {digest} at byte {offset} belongs to nothing in the bundle")]
    Extra {
        /// Its digest.
        digest: Digest,
        /// First byte in the file.
        offset: u64,
    },
    /// A document does not say what it must.
    #[error("{what} is wrong: {reason}")]
    Document {
        /// The document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no signature.
    #[error("the bundle is not signed")]
    Unsigned,
    /// Too few signatures are by trusted keys.
    #[error(
        "{} of the {needed} needed signatures by trusted keys; signed by {}; trusted: {}",
        good.len(), list(found), list(trusted)
    )]
    UnknownKeys {
        /// Trusted keys whose signatures hold.
        good: Vec<KeyId>,
        /// Keys that the bundle names.
        found: Vec<KeyId>,
        /// Keys that were given as trusted.
        trusted: Vec<KeyId>,
        /// Signatures needed.
        needed: usize,
    },
    /// The edition asks for signatures by keys of kinds that none is by.
    #[error(
        "edition {edition} needs a signature by a trusted key of kind {}; signed by {}",
        kinds(missing),
        list(signers)
    )]
    MissingKinds {
        /// The bundle's edition.
        edition: String,
        /// Kinds that are missing.
        missing: Vec<KeyKind>,
        /// Trusted keys whose signatures hold.
        signers: Vec<KeyId>,
    },
    /// The policy does not allow the bundle's channel.
    #[error("the bundle is of {}, and the policy allows {}", channel_name(channel), allowed.join(", "))]
    Channel {
        /// The bundle's channel.
        channel: String,
        /// Channels that are allowed.
        allowed: Vec<String>,
    },
    /// A signature in the name of a trusted key is not by that key.
    #[error("the signature by trusted key {key} does not hold")]
    BadSignature {
        /// The trusted key.
        key: KeyId,
    },
    /// The signed statement is about something else.
    #[error("the signed statement is not about this bundle: {reason}")]
    OtherSubject {
        /// Where they differ.
        reason: String,
    },
}

impl Fault {
    /// Which kind of failure it is.
    pub const fn class(&self) -> Class {
        match self {
            Self::Open(_) | Self::Volumes(_) | Self::NotABundle(_) | Self::OtherFormat(_) => Class::Malformed,
            Self::Read(_) => Class::Failed,
            _ => Class::Untrustworthy,
        }
    }

    pub(crate) fn document(what: &dyn fmt::Display, reason: impl Into<String>) -> Self {
        Self::Document { what: what.to_string(), reason: reason.into() }
    }
}

fn kinds(kinds: &[KeyKind]) -> String {
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" and of kind ")
}

fn channel_name(channel: &str) -> String {
    if channel.is_empty() { "no channel".to_owned() } else { format!("channel {channel}") }
}

/// Most characters of a fault that are shown.
const MAX_SHOWN: usize = 4_000;

/// A text that may hold words out of an untrusted bundle, safe for a terminal: control characters are escaped, and its end is cut off.
fn plain(text: &str) -> String {
    let escape =
        |c: char| if matches!(c, '"' | '\'' | '\\') { c.to_string() } else { c.escape_debug().collect() };
    let shown: String = text.chars().take(MAX_SHOWN).map(escape).collect();
    if text.chars().nth(MAX_SHOWN).is_some() { format!("{shown} ...") } else { shown }
}

fn list(keys: &[KeyId]) -> String {
    match keys {
        [] => "no key".to_owned(),
        keys => keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// A bundle could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What was asked for breaks the rules of the format; all faults.
    #[error("the bundle cannot be written:\n  {}", .0.join("\n  "))]
    Spec(Vec<String>),
    /// A blob cannot be had.
    #[error("cannot read blob {digest} of {owner}")]
    Source {
        /// Its digest.
        digest: Digest,
        /// What it belongs to.
        owner: Owner,
        /// Why.
        source: io::Error,
    },
    /// A blob's bytes are not those that its digest names.
    #[error("blob {digest} of {owner} should have {size} bytes, but the store gave {found}")]
    Differs {
        /// Its digest.
        digest: Digest,
        /// What it belongs to.
        owner: Owner,
        /// Its size.
        size: u64,
        /// What came instead.
        found: String,
    },
    /// The output cannot be written; the error names the path.
    #[error("cannot write the bundle")]
    Output(#[source] io::Error),
}
