//! What is inside a bundle, in tables: the artifacts that images and packages are made of, and the parts of those. `inspect` shows them as text, as
//! JSON and as a page; each may be narrowed by a [`Filter`].

mod page;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use clap::builder::PossibleValuesParser;
use qiji_blueprint::Digest;
use qiji_blueprint::part::{Ingredient, Part, PartKind};
use qiji_blueprint::site::Arch;
use qiji_bundle::sbom::Description;
use serde::Serialize;

pub(crate) use page::page;
pub(crate) use text::text;

/// What a licence that is not known is called.
pub(crate) const UNKNOWN: &str = "unknown";

/// Which artifacts and parts to show.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Filter {
    /// Only what has this in its name, or in the name of the artifact, image or package that it is in
    #[arg(long, value_name = "TEXT")]
    component: Option<String>,
    /// Only what is for this architecture
    #[arg(long, value_name = "ARCH", value_parser = PossibleValuesParser::new(Arch::ALL.map(Arch::as_str)))]
    arch: Option<String>,
    /// Only what is under this licence; `unknown` for what has none that is known
    #[arg(long, alias = "licence", value_name = "SPDX-ID")]
    license: Option<String>,
    /// Only parts of this kind
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(PartKind::ALL.map(PartKind::as_str)))]
    kind: Option<String>,
}

impl Filter {
    /// Whether it lets everything through.
    pub(crate) const fn is_open(&self) -> bool {
        self.component.is_none() && self.arch.is_none() && self.license.is_none() && self.kind.is_none()
    }

    fn holds(&self, row: &Row<'_>) -> bool {
        let Row { description, ingredient, part } = row;
        let names = [&part.name, &ingredient.part.name, description.subject.name()];
        self.component.as_ref().is_none_or(|text| names.iter().any(|name| contains(name, text)))
            && self
                .arch
                .as_ref()
                .is_none_or(|arch| description.subject.arch().is_some_and(|own| own.as_str() == arch))
            && self.license.as_ref().is_none_or(|id| licensed(part.licence.as_deref(), id))
            && self.kind.as_ref().is_none_or(|kind| part.kind.as_str() == kind)
    }
}

fn contains(name: &str, text: &str) -> bool {
    name.to_lowercase().contains(&text.to_lowercase())
}

/// Whether an expression names a licence.
fn licensed(expression: Option<&str>, id: &str) -> bool {
    let words = expression.unwrap_or(UNKNOWN).split([' ', '(', ')']);
    words.into_iter().any(|word| word.eq_ignore_ascii_case(id))
}

/// One part in one artifact of one image or package.
struct Row<'a> {
    description: &'a Description,
    ingredient: &'a Ingredient,
    part: &'a Part,
}

/// The tables.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Inside {
    /// Artifacts, by name and architecture.
    pub(crate) artifacts: Vec<ArtifactRow>,
    /// Parts, by kind, name and version; an artifact without parts stands for itself.
    pub(crate) parts: Vec<PartRow>,
    /// Licence expressions and how many parts have them, the most frequent first.
    pub(crate) licences: Vec<LicenceRow>,
}

/// An artifact.
#[derive(Debug, Serialize)]
pub(crate) struct ArtifactRow {
    pub(crate) name: String,
    pub(crate) version: String,
    /// None of what is for every architecture.
    pub(crate) arch: Option<Arch>,
    pub(crate) kind: PartKind,
    pub(crate) licence: Option<String>,
    pub(crate) digest: Digest,
    pub(crate) origin: String,
    /// How many parts it has.
    pub(crate) parts: usize,
    /// Images and packages that it is in.
    pub(crate) used_by: BTreeSet<String>,
}

/// A part.
#[derive(Debug, Serialize)]
pub(crate) struct PartRow {
    pub(crate) kind: PartKind,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    pub(crate) arches: BTreeSet<Arch>,
    /// Artifacts that it is in.
    pub(crate) artifacts: BTreeSet<String>,
}

/// A licence expression.
#[derive(Debug, Serialize)]
pub(crate) struct LicenceRow {
    pub(crate) licence: String,
    pub(crate) parts: usize,
}

impl Inside {
    /// The tables of what these describe, as far as the filter lets it through.
    pub(crate) fn of(descriptions: &[Description], filter: &Filter) -> Self {
        let rows = descriptions.iter().flat_map(|description| {
            description.parts().map(move |(ingredient, part)| Row { description, ingredient, part })
        });
        let rows: Vec<_> = rows.filter(|row| filter.holds(row)).collect();
        let parts = parts(&rows);
        Self { artifacts: artifacts(&rows), licences: licences(&parts), parts }
    }

    /// How many parts have no licence that is known.
    pub(crate) fn unknown(&self) -> usize {
        self.parts.iter().filter(|part| part.licence.is_none()).count()
    }

    /// Kinds and how many parts are of each.
    pub(crate) fn kinds(&self) -> BTreeMap<PartKind, usize> {
        let mut kinds = BTreeMap::new();
        for part in &self.parts {
            *kinds.entry(part.kind).or_default() += 1;
        }
        kinds
    }
}

fn artifacts(rows: &[Row<'_>]) -> Vec<ArtifactRow> {
    let mut found: BTreeMap<(&str, Option<Arch>, Digest), ArtifactRow> = BTreeMap::new();
    for Row { description, ingredient, .. } in rows {
        let (own, arch) = (&ingredient.part, description.subject.arch());
        let row = found.entry((&own.name, arch, ingredient.digest)).or_insert_with(|| ArtifactRow {
            name: own.name.clone(),
            version: own.version.clone(),
            arch,
            kind: own.kind,
            licence: own.licence.clone(),
            digest: ingredient.digest,
            origin: ingredient.origin.clone(),
            parts: ingredient.parts.len(),
            used_by: BTreeSet::new(),
        });
        row.used_by.insert(description.subject.name().to_owned());
    }
    found.into_values().collect()
}

fn parts(rows: &[Row<'_>]) -> Vec<PartRow> {
    let mut found: BTreeMap<&Part, PartRow> = BTreeMap::new();
    for Row { description, ingredient, part } in rows {
        let row = found.entry(part).or_insert_with(|| PartRow {
            kind: part.kind,
            name: part.name.clone(),
            version: part.version.clone(),
            licence: part.licence.clone(),
            arches: BTreeSet::new(),
            artifacts: BTreeSet::new(),
        });
        row.arches.extend(description.subject.arch());
        row.artifacts.insert(ingredient.part.name.clone());
    }
    found.into_values().collect()
}

fn licences(parts: &[PartRow]) -> Vec<LicenceRow> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for part in parts {
        *counts.entry(part.licence.as_deref().unwrap_or(UNKNOWN)).or_default() += 1;
    }
    let mut rows: Vec<_> = counts
        .into_iter()
        .map(|(licence, parts)| LicenceRow { licence: licence.to_owned(), parts })
        .collect();
    rows.sort_by(|a, b| b.parts.cmp(&a.parts).then_with(|| a.licence.cmp(&b.licence)));
    rows
}

#[cfg(test)]
mod tests;
