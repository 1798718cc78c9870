//! What differs between two bundles, or between a bundle and what something else holds.
//!
//! 1. Each side is brought into [`Holdings`]: plain lists of images, packages, artifacts, parts and documents, each with version, licence, digest and size.
//! 2. [`compare`] pairs them by name. What only one of the sides can know about is left out: a host does not know the licence of a crate.
//! 3. [`file_changes`] looks into the layers of the packages that differ, and into no others.
//! 4. [`host_changes`] compares a bundle with what hosts say they hold.
//!
//! A side that was not verified is compared just the same; [`Holdings::verified`] says so, and whoever shows the answer must.

mod files;
mod hosts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use qiji_blueprint::Digest;
use qiji_blueprint::part::PartKind;
use qiji_blueprint::site::Arch;
use serde::Serialize;

pub use self::files::file_changes;
pub use self::hosts::{HostHoldings, host_changes};
use crate::contents::split_tag;
use crate::inspect::Inspection;
use crate::sbom::Description;

/// What sort of thing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sort {
    /// A container image.
    Image,
    /// A host package.
    Package,
    /// A file of a host package.
    HostFile,
    /// A Helm chart with its values.
    Chart,
    /// What others say of an image.
    Upstream,
    /// An artifact that images and packages are made of.
    Artifact,
    /// A part of an artifact: a Go module, a crate, a Debian package.
    Part,
    /// A document: the site, the lock.
    Document,
}

impl Sort {
    /// What several of them are called.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Image => "images",
            Self::Package => "packages",
            Self::HostFile => "hosts' files",
            Self::Chart => "charts",
            Self::Upstream => "of images, by others",
            Self::Artifact => "artifacts",
            Self::Part => "parts",
            Self::Document => "documents",
        }
    }
}

/// What is compared by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// What sort of thing.
    pub sort: Sort,
    /// Its name: of an image, without tag; of a file, below its package's name.
    pub name: String,
    /// Architecture, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// Of a part, what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<PartKind>,
}

/// What is known of a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Item {
    /// Version, or several where several are there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Licence, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Digest of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What else it is: a link's target, a file's mode.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Item {
    /// A file of a host.
    pub fn file(digest: Digest, size: u64, mode: u32) -> Self {
        let note = format!("mode {:04o}", mode & 0o7777);
        Self { digest: Some(digest), size: Some(size), note, ..Self::default() }
    }

    /// A symbolic link of a host.
    pub fn link(target: &str) -> Self {
        Self { note: format!("link to {}", files::plain(target)), ..Self::default() }
    }
}

/// What one side holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holdings {
    /// Name of the side, with its version.
    pub name: String,
    /// Digest of the root, where it is a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
    /// Whether signatures and every byte were checked.
    pub verified: bool,
    /// Bytes of all blobs, each counted once; of a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// Bytes of the file; of a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// Sorts of things that this side can know about.
    #[serde(skip)]
    pub sorts: BTreeSet<Sort>,
    /// Everything.
    #[serde(skip)]
    pub items: BTreeMap<Key, Item>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Which.
    #[serde(flatten)]
    pub key: Key,
    /// What it was; nothing where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Item>,
    /// What it is; nothing where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Item>,
    /// Hosts on which it is so, where hosts were asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// Hosts that are named one by one.
const NAMED: usize = 4;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (&self.from, &self.to) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        write!(f, "{sign} ")?;
        if let Some(kind) = self.key.kind {
            write!(f, "{kind} ")?;
        }
        f.write_str(&self.key.name)?;
        if let Some(arch) = self.key.arch {
            write!(f, " ({arch})")?;
        }
        self.said(f)?;
        match self.hosts.as_slice() {
            [] => Ok(()),
            few if few.len() <= NAMED => write!(f, "  on {}", few.join(", ")),
            many => write!(f, "  on {} and {} more", many[..NAMED].join(", "), many.len() - NAMED),
        }
    }
}

impl Change {
    /// The words behind the name: of a thing that was there before, only what is another now.
    fn said(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |item: &Item| [item.version.clone(), licence(item), item.note.clone(), size(item)];
        let words = match (&self.from, &self.to) {
            (Some(from), Some(to)) => {
                let pairs = one(from).into_iter().zip(one(to)).filter(|(from, to)| from != to);
                let mut words: Vec<_> =
                    pairs.map(|(from, to)| format!("{} → {}", named(&from), named(&to))).collect();
                if words.is_empty() {
                    words.push("other content of the same size".to_owned());
                }
                words
            }
            (Some(item), None) | (None, Some(item)) => {
                one(item).into_iter().filter(|word| !word.is_empty()).collect()
            }
            (None, None) => Vec::new(),
        };
        words
            .iter()
            .enumerate()
            .try_for_each(|(at, word)| write!(f, "{}{word}", if at == 0 { "  " } else { ", " }))
    }
}

fn named(word: &str) -> &str {
    if word.is_empty() { "(none)" } else { word }
}

fn licence(item: &Item) -> String {
    item.licence.clone().unwrap_or_default()
}

fn size(item: &Item) -> String {
    item.size.map(crate::inspect::human).unwrap_or_default()
}

/// Everything that differs, of the sorts that both sides know about.
pub fn compare(from: &Holdings, to: &Holdings) -> Vec<Change> {
    let known = |key: &&Key| from.sorts.contains(&key.sort) && to.sorts.contains(&key.sort);
    let keys: BTreeSet<&Key> = from.items.keys().chain(to.items.keys()).filter(known).collect();
    let changes = keys.into_iter().filter_map(|key| {
        let (before, after) = (from.items.get(key), to.items.get(key));
        (before != after).then(|| Change {
            key: key.clone(),
            from: before.cloned(),
            to: after.cloned(),
            hosts: Vec::new(),
        })
    });
    changes.collect()
}

impl Holdings {
    /// What a bundle holds, from its summary and its bills of materials.
    pub(crate) fn of_bundle<'a>(
        summary: &Inspection,
        descriptions: impl Iterator<Item = &'a Description>,
    ) -> Self {
        let mut items = BTreeMap::new();
        let key = |sort, name: &str, arch| Key { sort, name: name.to_owned(), arch, kind: None };
        for image in &summary.images {
            let (name, tag) = split_tag(&image.name);
            let item = Item {
                version: tag.to_owned(),
                digest: Some(image.digest),
                size: Some(image.bytes),
                ..Item::default()
            };
            items.insert(key(Sort::Image, name, Some(image.arch)), item);
        }
        for package in &summary.packages {
            let item = Item {
                version: package.version.clone(),
                digest: Some(of_all(package.layers.iter().map(|layer| &layer.digest))),
                size: Some(package.bytes),
                ..Item::default()
            };
            items.insert(key(Sort::Package, &package.name, Some(package.arch)), item);
        }
        for chart in &summary.charts {
            let item = Item {
                version: chart.version.clone(),
                digest: Some(of_all(std::iter::once(&chart.digest).chain(&chart.values))),
                size: Some(chart.bytes),
                ..Item::default()
            };
            items.insert(key(Sort::Chart, &chart.name, None), item);
        }
        for upstream in &summary.upstreams {
            let item = Item { digest: Some(upstream.digest), size: Some(upstream.bytes), ..Item::default() };
            items.insert(key(Sort::Upstream, &upstream.name, None), item);
        }
        for document in &summary.documents {
            let item = Item { digest: Some(document.digest), size: Some(document.bytes), ..Item::default() };
            items.insert(key(Sort::Document, &document.name, None), item);
        }
        items.extend(materials(descriptions));
        Self {
            name: format!("{} {}", summary.name, summary.version),
            root: Some(summary.root),
            verified: summary.verified,
            stored_bytes: Some(summary.stored_bytes),
            file_bytes: Some(summary.file_bytes),
            sorts: [
                Sort::Image,
                Sort::Package,
                Sort::HostFile,
                Sort::Chart,
                Sort::Upstream,
                Sort::Artifact,
                Sort::Part,
                Sort::Document,
            ]
            .into(),
            items,
        }
    }
}

/// One digest for several blobs in their order.
fn of_all<'a>(digests: impl Iterator<Item = &'a Digest>) -> Digest {
    let lines: Vec<String> = digests.map(Digest::to_string).collect();
    crate::hash::digest(lines.join("\n").as_bytes())
}

/// Artifacts by architecture; parts for all architectures at once, with every version that is there.
fn materials<'a>(descriptions: impl Iterator<Item = &'a Description>) -> BTreeMap<Key, Item> {
    let mut items = BTreeMap::new();
    let mut parts: BTreeMap<Key, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for description in descriptions {
        for ingredient in &description.ingredients {
            let part = &ingredient.part;
            let (arch, name) = (description.subject.arch(), part.name.clone());
            let key = Key { sort: Sort::Artifact, name, arch, kind: None };
            let (version, licence) = (part.version.clone(), part.licence.clone());
            items.insert(key, Item { version, licence, digest: Some(ingredient.digest), ..Item::default() });
        }
        for part in description.ingredients.iter().flat_map(|ingredient| &ingredient.parts) {
            let key = Key { sort: Sort::Part, name: part.name.clone(), arch: None, kind: Some(part.kind) };
            let (versions, licences) = parts.entry(key).or_default();
            versions.insert(&part.version);
            licences.extend(part.licence.as_deref());
        }
    }
    let joined = |words: BTreeSet<&str>, by: &str| words.into_iter().collect::<Vec<_>>().join(by);
    items.extend(parts.into_iter().map(|(key, (versions, licences))| {
        let licence = (!licences.is_empty()).then(|| joined(licences, ", "));
        (key, Item { version: joined(versions, ", "), licence, ..Item::default() })
    }));
    items
}
