//! From what artifacts are made of to the bills of materials of a bundle: an image or a host package is made of the artifacts that its layers name.

use std::collections::{BTreeMap, BTreeSet};

use qiji_airgap::ArtifactName;
use qiji_blueprint::lock::{Layer, Lock};
use qiji_blueprint::part::{Ingredient, Part};
use qiji_blueprint::site::Arch;
use qiji_bundle::sbom::Description;
use qiji_bundle::{BundleSpec, ChartEntry, ImageEntry, PackageEntry};

/// What is known of the artifacts of a lock.
pub(crate) struct Materials<'a> {
    lock: &'a Lock,
    ingredients: BTreeMap<ArtifactName, Ingredient>,
    layers: BTreeMap<(&'a str, Arch), &'a Layer>,
}

impl<'a> Materials<'a> {
    /// Of these artifacts.
    pub(crate) fn new(lock: &'a Lock, ingredients: Vec<(ArtifactName, Ingredient)>) -> Self {
        let layers = lock.layers.iter().map(|layer| ((layer.name.as_str(), layer.arch), layer)).collect();
        Self { lock, ingredients: ingredients.into_iter().collect(), layers }
    }

    /// The bill of materials of each image, package and chart.
    pub(crate) fn describe(&self, spec: &BundleSpec) -> Vec<Description> {
        let images = spec.images.iter().map(|image| Description::of_image(image, self.of_image(image)));
        let packages = spec.packages.iter();
        let packages = packages.map(|package| Description::of_package(package, self.of_package(package)));
        let charts = spec.charts.iter().map(|chart| Description::of_chart(chart, self.of_chart(chart)));
        images.chain(packages).chain(charts).collect()
    }

    fn of_chart(&self, entry: &ChartEntry) -> Vec<Ingredient> {
        self.ingredients.get(&ArtifactName::of_chart(&entry.name)).cloned().into_iter().collect()
    }

    fn of_image(&self, entry: &ImageEntry) -> Vec<Ingredient> {
        let mut images = self.lock.images.iter();
        let found = images.find(|image| image.name == entry.name && image.arch == entry.arch);
        let content = found.map(|image| &image.content);
        content.map_or_else(Vec::new, |content| self.of(content.layers(), content.artifact(), entry.arch))
    }

    fn of_package(&self, entry: &PackageEntry) -> Vec<Ingredient> {
        let mut packages = self.lock.packages.iter();
        let found = packages.find(|package| package.name == entry.name && package.arch == entry.arch);
        let content = found.map(|package| &package.content);
        content.map_or_else(Vec::new, |content| self.of(content.layers(), content.artifact(), entry.arch))
    }

    fn of(&self, layers: &[String], artifact: Option<&str>, arch: Arch) -> Vec<Ingredient> {
        let layers = layers.iter().filter_map(|name| self.layers.get(&(name.as_str(), arch)));
        let names: BTreeSet<&str> = layers.flat_map(|layer| layer.artifacts()).chain(artifact).collect();
        let find = |name: &str| {
            self.ingredients.get(&ArtifactName { name: name.to_owned(), arch: Some(arch) }).cloned()
        };
        names.into_iter().filter_map(find).collect()
    }
}

/// One line on what was found, and which parts have no licence that is known.
pub(crate) fn summary(descriptions: &[Description]) -> String {
    let parts: BTreeSet<&Part> =
        descriptions.iter().flat_map(Description::parts).map(|(_, part)| part).collect();
    let unknown: Vec<_> =
        parts.iter().filter(|part| part.licence.is_none()).map(|part| part.name.as_str()).collect();
    let end = if unknown.is_empty() {
        "the licence of each is known".to_owned()
    } else {
        format!("no licence is known of {}: {}", unknown.len(), unknown.join(", "))
    };
    format!("{} bills of materials name {} parts; {end}", descriptions.len(), parts.len())
}

#[cfg(test)]
mod tests {
    use qiji_blueprint::Digest;
    use qiji_blueprint::part::PartKind;
    use qiji_bundle::sbom::Subject;

    use super::*;

    fn description(licence: Option<&str>) -> Description {
        let part = |name: &str, licence: Option<&str>| Part {
            kind: PartKind::Crate,
            name: name.to_owned(),
            version: "1".to_owned(),
            licence: licence.map(str::to_owned),
        };
        let ingredient = Ingredient {
            part: part("program", None),
            digest: Digest::of(b"x"),
            origin: String::new(),
            parts: vec![part("a", Some("MIT")), part("b", licence)],
            licence_texts: BTreeMap::new(),
        };
        let subject = Subject::Package { name: "p".to_owned(), arch: Arch::Amd64 };
        Description {
            subject,
            version: "1".to_owned(),
            digest: Digest::of(b"m"),
            ingredients: vec![ingredient],
        }
    }

    #[test]
    fn parts_without_a_licence_are_counted_and_named() {
        let known = summary(&[description(Some("ISC")), description(Some("ISC"))]);
        assert_eq!(known, "2 bills of materials name 2 parts; the licence of each is known");
        let unknown = summary(&[description(None)]);
        assert_eq!(unknown, "1 bills of materials name 2 parts; no licence is known of 1: b");
    }
}
