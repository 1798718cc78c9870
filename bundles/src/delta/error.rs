//! What can go wrong with deltas, and which kind of wrong it is.

use std::io;

use qiji_blueprint::Digest;

use crate::error::{Class, VerifyError, WriteError};

/// A delta could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The file is no inventory.
    #[error("it is not an inventory: {0}")]
    Inventory(String),
    /// Blobs that patches would start from are not on the machine that makes the delta.
    #[error("the site holds blobs to start from that are not here:\n  {}", lines(.0))]
    OldNotHere(Vec<Missing>),
    /// The site lacks blobs that the delta builds on.
    #[error("the site lacks what the delta builds on ({}):\n  {}", bundles(.bases), lines(.missing))]
    BaseNotHeld {
        /// Bundles that the delta was made against, by name and version.
        bases: Vec<String>,
        /// What is missing.
        missing: Vec<Missing>,
    },
    /// The bundle that the delta is made of has no signature.
    #[error("a delta carries the signatures of the bundle that it rebuilds, and that has none")]
    Unsigned,
    /// A verified bundle is no delta.
    #[error("the bundle is not a delta")]
    NotADelta,
    /// The bundle is a delta, where a whole one was asked for.
    #[error("the bundle is a delta, and a whole one is needed")]
    IsADelta,
    /// The recipe does not keep its rules.
    #[error("the delta's recipe is wrong: {0}")]
    Recipe(String),
    /// What came out has another digest.
    #[error("blob {digest}, rebuilt, has other bytes than it must{}", other_zstd(*.made_with))]
    Differs {
        /// The digest that it should have.
        digest: Digest,
        /// Number of the zstd release that the delta was made with.
        made_with: u32,
    },
    /// A blob that is held has other bytes than its digest says.
    #[error("the old blob {0} is damaged")]
    OldDamaged(Digest),
    /// The delta cannot be read.
    #[error(transparent)]
    Read(#[from] VerifyError),
    /// The output cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Reading or writing scratch files or blobs failed.
    #[error("cannot {deed}")]
    Io {
        /// What was to be done.
        deed: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// A blob that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its digest.
    pub digest: Digest,
    /// What it is used for; empty where that is not known.
    pub used_for: String,
}

impl DeltaError {
    /// Which kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Inventory(_)
            | Self::Unsigned
            | Self::NotADelta
            | Self::IsADelta
            | Self::Write(WriteError::Spec(_)) => Class::Malformed,
            Self::OldNotHere(_)
            | Self::BaseNotHeld { .. }
            | Self::Differs { .. }
            | Self::Write(_)
            | Self::Io { .. } => Class::Failed,
            Self::Recipe(_) | Self::OldDamaged(_) => Class::Untrustworthy,
            Self::Read(error) => error.class(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Inventory(_) => "give the file that `qiji inventory` wrote",
            Self::OldNotHere(_) => {
                "name the bundles that the site holds with --base, or say --whole-where-missing to carry these layers whole"
            }
            Self::BaseNotHeld { .. } => {
                "name the bundle that the site was installed from with --base, or have a delta made against what it holds (`qiji inventory`)"
            }
            Self::Unsigned => "sign the whole bundle first, then make the delta of it with `qiji delta`",
            Self::IsADelta => "rebuild it first with `qiji rebuild`",
            Self::NotADelta => "it needs no rebuilding: use it as it is",
            Self::Differs { .. } => "rebuild it with the qiji release that made the delta",
            Self::OldDamaged(_) => "get the old bundle again, or have a delta made that does not need it",
            Self::Read(error) => error.hint(),
            Self::Recipe(_) => "do not use this file; get it again from its source",
            Self::Write(_) | Self::Io { .. } => {
                "check the disk: the output's folder needs room for the largest layers, unpacked"
            }
        }
    }

    pub(super) fn io(deed: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let deed = deed.into();
        move |source| Self::Io { deed, source }
    }
}

/// Missing blobs that are told one by one.
const SHOWN: usize = 20;

fn lines(missing: &[Missing]) -> String {
    let line = |one: &Missing| match one.used_for.as_str() {
        "" => one.digest.to_string(),
        used_for => format!("{} ({used_for})", one.digest),
    };
    let mut lines: Vec<String> = missing.iter().take(SHOWN).map(line).collect();
    if missing.len() > SHOWN {
        lines.push(format!("and {} more", missing.len() - SHOWN));
    }
    lines.join("\n  ")
}

fn bundles(bases: &[String]) -> String {
    if bases.is_empty() { "no bundle".to_owned() } else { bases.join(", ") }
}

fn other_zstd(made_with: u32) -> String {
    let own = zstd::zstd_safe::version_number();
    if own == made_with {
        return String::new();
    }
    format!(": the delta was made with zstd {}, and this qiji has {}", release(made_with), release(own))
}

/// `1.5.7` of 10507.
fn release(number: u32) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}
