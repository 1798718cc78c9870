//! What is to be said about the volumes of a set.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::ranges::Ranges;

/// How a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Condition {
    /// All that was read of it is what it must be.
    Whole,
    /// It is not there.
    Missing,
    /// Some bytes are not what they must be, or cannot be read.
    Damaged {
        /// Bytes of its file.
        bytes: Ranges,
    },
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Missing => f.write_str("missing"),
            Self::Damaged { bytes } => write!(f, "damaged in bytes {bytes}"),
        }
    }
}

/// A volume and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumeHealth {
    /// What people call it: `volume 002`, `parity volume p01`.
    pub volume: String,
    /// Its file; where it should be, if it is missing.
    pub file: PathBuf,
    /// How it is.
    #[serde(flatten)]
    pub condition: Condition,
}

impl fmt::Display for VolumeHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) is {}", self.volume, self.file.display(), self.condition)
    }
}

/// A file that has the name of a volume and is none of the set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stray {
    /// The file.
    pub file: PathBuf,
    /// What it is instead.
    pub reason: String,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file.display(), self.reason)
    }
}

/// How the volumes of a set are, as far as they were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Every volume of the set, data first.
    pub volumes: Vec<VolumeHealth>,
    /// Other files that were looked at.
    pub strays: Vec<Stray>,
}

impl Health {
    /// Volumes that are missing or damaged.
    pub fn ailing(&self) -> impl Iterator<Item = &VolumeHealth> {
        self.volumes.iter().filter(|volume| volume.condition != Condition::Whole)
    }

    /// Whether there is nothing to say.
    pub fn is_well(&self) -> bool {
        self.ailing().next().is_none() && self.strays.is_empty()
    }
}

impl fmt::Display for Health {
    /// A line for each volume that is not whole and each file that is not of the set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ailing().try_for_each(|volume| writeln!(f, "{volume}"))?;
        self.strays.iter().try_for_each(|stray| writeln!(f, "{stray}"))
    }
}
