//! What artifacts are made of: the words that whoever finds it out (`airgap`) and whoever writes it down (`bundles`) share.
//!
//! An [`Ingredient`] is an artifact of a lock, or several of one name where they are one thing; its [`Part`]s are what was found inside.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What sort of thing a part or an ingredient is. Each has one type of [package URL](https://github.com/package-url/purl-spec).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// A container image that comes from elsewhere as it is.
    Image,
    /// A Helm chart.
    Chart,
    /// A program or another file.
    File,
    /// A Debian package.
    Debian,
    /// An Alpine package.
    Alpine,
    /// A Go module; Go's standard library is the module `stdlib`.
    GoModule,
    /// A Rust crate.
    Crate,
}

impl PartKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Image, Self::Chart, Self::File, Self::Debian, Self::Alpine, Self::GoModule, Self::Crate];

    /// Its name, as people write it: `go-module`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Chart => "chart",
            Self::File => "file",
            Self::Debian => "debian",
            Self::Alpine => "alpine",
            Self::GoModule => "go-module",
            Self::Crate => "crate",
        }
    }
}

impl std::fmt::Display for PartKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing with a name, a version and a licence of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// What sort of thing.
    pub kind: PartKind,
    /// Name in its own world: `k8s.io/api`, `serde`, `libc6`.
    pub name: String,
    /// Version in its own world; empty where it is not known.
    pub version: String,
    /// SPDX licence expression; nothing where it is not known.
    pub licence: Option<String>,
}

/// An artifact, whence it comes, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ingredient {
    /// The artifact itself.
    pub part: Part,
    /// Digest of its bytes; of the manifest, where it is an image.
    pub digest: Digest,
    /// Where it comes from and how it was built, a sentence for people.
    pub origin: String,
    /// What was found inside, sorted, each once.
    pub parts: Vec<Part>,
    /// Texts of the licences that its expressions name as `LicenseRef-…`.
    pub licence_texts: BTreeMap<String, String>,
}

/// The licence expression of something that is made of parts with these: all of them at once, each once; nothing where one of them is not known, or where there are none.
pub fn all_of<'a>(licences: impl IntoIterator<Item = Option<&'a str>>) -> Option<String> {
    let known: Vec<&str> = licences.into_iter().collect::<Option<_>>()?;
    let terms: BTreeSet<String> = known.into_iter().flat_map(terms).collect();
    let terms: Vec<_> = terms.into_iter().collect();
    match terms.as_slice() {
        [] => None,
        [only] => Some(bare(only).to_owned()),
        several => Some(several.join(" AND ")),
    }
}

/// What must hold at once for an expression to hold, each as a term of a longer one.
fn terms(expression: &str) -> Vec<String> {
    let (mut terms, mut depth) = (vec![String::new()], 0_usize);
    for word in expression.split(' ') {
        match (word, depth) {
            ("OR", 0) => return vec![format!("({expression})")],
            ("AND", 0) => terms.push(String::new()),
            _ => {
                if let Some(term) = terms.last_mut() {
                    term.push_str(if term.is_empty() { "" } else { " " });
                    term.push_str(word);
                }
            }
        }
        depth = (depth + word.matches('(').count()).saturating_sub(word.matches(')').count());
    }
    terms
}

/// A term that stands alone.
fn bare(term: &str) -> &str {
    term.strip_prefix('(').and_then(|term| term.strip_suffix(')')).unwrap_or(term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_put_together() {
        assert_eq!(all_of([Some("MIT"), Some("MIT")]).as_deref(), Some("MIT"));
        assert_eq!(all_of([Some("MIT OR ISC")]).as_deref(), Some("MIT OR ISC"));
        assert_eq!(all_of([Some("MIT OR ISC"), Some("MIT")]).as_deref(), Some("(MIT OR ISC) AND MIT"));
        assert_eq!(
            all_of([Some("Zlib AND ISC"), Some("MIT AND ISC")]).as_deref(),
            Some("ISC AND MIT AND Zlib")
        );
        let mixed = all_of([Some("(MIT OR ISC) AND Zlib"), Some("MIT")]);
        assert_eq!(mixed.as_deref(), Some("(MIT OR ISC) AND MIT AND Zlib"));
        let with = all_of([Some("GPL-2.0-only WITH x-exception"), Some("MIT")]);
        assert_eq!(with.as_deref(), Some("GPL-2.0-only WITH x-exception AND MIT"));
        assert_eq!(all_of([Some("MIT"), None]), None);
        assert_eq!(all_of([]), None);
    }
}
