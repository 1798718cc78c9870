//! From a site and the catalogue to what a bundle is made of.
//!
//! 1. The version of Kubernetes gives the core, the site its own components.
//! 2. For each architecture of the site, each component gives its artifacts, layers, images and packages, with the placeholders of
//!    the architecture filled in.
//! 3. What the site brings along is added: an image for every architecture of the hosts that get it.
//! 4. Images and packages for roles that no host of that architecture has are left out, and so are the layers and artifacts that then
//!    nothing uses.
//!
//! The same site and catalogue always give the same, sorted by name and architecture.

use std::collections::{BTreeMap, BTreeSet};

use crate::brought::{self, BroughtImage};
use crate::catalogue::{Architecture, Catalogue, ComponentVersion};
use crate::digest::Digest;
use crate::lock::{Artifact, Chart, Image, Layer, LayerEntry, Package, Pinned, Source, Wanted};
use crate::lock_text::broken_references;
use crate::site::{Arch, Role, Site};

/// The catalogue cannot give what the site asks for. It never happens for a site that was checked against the same catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalogue cannot give what site {site} needs: {}", findings.join("; "))]
pub struct WantedError {
    /// Name of the site.
    pub site: String,
    /// All that is missing, a sentence each.
    pub findings: Vec<String>,
}

impl Site {
    /// Digest of the site: of its canonical JSON. It is what a lock holds to tell that the site has changed since.
    pub fn digest(&self) -> Digest {
        // A value of this type always has a JSON form: its maps have text for keys and its numbers are whole.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

impl Catalogue {
    /// What a bundle of `site` is made of, for all its architectures and roles.
    pub fn wanted(&self, site: &Site) -> Result<Wanted, WantedError> {
        self.wanted_with(site, &site.images, Vec::new())
    }

    /// As [`Catalogue::wanted`], with these images in the place of the site's own, and with these charts: what [`settle`](crate::brought::settle) gives.
    pub fn wanted_with(
        &self,
        site: &Site,
        images: &[BroughtImage],
        charts: Vec<Chart<Pinned>>,
    ) -> Result<Wanted, WantedError> {
        let mut findings = Vec::new();
        let components = self.components_of(site, &mut findings);
        let mut wanted = Wanted {
            site: site.name.clone(),
            version: site.version.to_string(),
            site_digest: site.digest(),
            artifacts: vec![],
            layers: vec![],
            images: vec![],
            packages: vec![],
            charts,
        };
        for arch in site.architectures() {
            let Some(facts) = self.architectures.get(&arch) else {
                findings.push(format!("nothing is known of architecture {arch}"));
                continue;
            };
            let roles = site
                .nodes
                .iter()
                .filter(|node| node.arch == arch)
                .map(|node| node.role)
                .collect::<BTreeSet<_>>();
            for (name, version, component) in &components {
                if component.architectures.contains(&arch) {
                    let filler = Filler { arch, facts, roles: &roles, version };
                    filler.add(component, &mut wanted);
                } else {
                    findings.push(format!("{name} {version} is not there for {arch}"));
                }
            }
        }
        for image in images {
            let (artifacts, copies) = brought::expand(image, site);
            wanted.artifacts.extend(artifacts);
            wanted.images.extend(copies);
        }
        prune(&mut wanted);
        sort(&mut wanted);
        findings.extend(doubled(&wanted));
        findings.extend(broken_references(
            &wanted.artifacts,
            &wanted.layers,
            &wanted.images,
            &wanted.packages,
        ));
        if findings.is_empty() { Ok(wanted) } else { Err(WantedError { site: site.name.clone(), findings }) }
    }

    /// All components of the site: those of its core, and its own.
    fn components_of<'a>(
        &'a self,
        site: &'a Site,
        findings: &mut Vec<String>,
    ) -> Vec<(&'a str, &'a str, &'a ComponentVersion)> {
        let core = self.cores.get(&site.cluster.version);
        if core.is_none() {
            findings.push(format!("there is no core for Kubernetes {}", site.cluster.version));
        }
        let base = core.into_iter().flat_map(|core| &core.components);
        let base = base.map(|(name, version)| (name.as_str(), version.as_str()));
        let own = site.components.iter().map(|choice| (choice.name.as_str(), choice.version.as_str()));
        let mut found = Vec::new();
        for (name, version) in base.chain(own) {
            match self.components.get(name).and_then(|component| component.versions.get(version)) {
                Some(component) => found.push((name, version, component)),
                None => findings.push(format!("there is no {name} {version}")),
            }
        }
        found
    }
}

/// Fills in what depends on the architecture.
struct Filler<'a> {
    arch: Arch,
    facts: &'a Architecture,
    roles: &'a BTreeSet<Role>,
    version: &'a str,
}

impl Filler<'_> {
    fn text(&self, text: &str) -> String {
        let values = [
            ("{arch}", self.arch.as_str()),
            ("{machine}", self.arch.machine()),
            ("{triplet}", &self.facts.triplet),
            ("{library-folder}", &self.facts.library_folder),
            ("{loader}", &self.facts.loader),
            ("{debian}", &self.facts.debian),
        ];
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn add(&self, component: &ComponentVersion, wanted: &mut Wanted) {
        let arch = self.arch;
        wanted.artifacts.extend(component.artifacts.iter().map(|(name, sources)| {
            let sources: Vec<_> = sources.iter().map(|source| self.source(source)).collect();
            Artifact { name: name.clone(), version: self.version_of(&sources), arch, pin: (), sources }
        }));
        wanted.layers.extend(component.layers.iter().map(|(name, entries)| {
            let entries = entries.iter().map(|entry| self.entry(entry)).collect();
            Layer { name: name.clone(), arch, entries }
        }));
        let here = |roles: &Vec<Role>| roles.iter().any(|role| self.roles.contains(role));
        let images = component.images.iter().filter(|(_, roles, _)| here(roles));
        wanted.images.extend(images.map(|(name, roles, content)| Image {
            name: name.clone(),
            arch,
            roles: roles.clone(),
            content: content.clone(),
        }));
        let packages = component.packages.iter().filter(|(_, roles, _)| here(roles));
        wanted.packages.extend(packages.map(|(name, roles, content)| Package {
            name: name.clone(),
            version: self.version.to_owned(),
            arch,
            roles: roles.clone(),
            content: content.clone(),
        }));
    }

    /// The version of the component; of a Debian package the suite, until it is locked.
    fn version_of(&self, sources: &[Source]) -> String {
        match sources.first() {
            Some(Source::Debian { suite, version, .. }) => version.clone().unwrap_or_else(|| suite.clone()),
            _ => self.version.to_owned(),
        }
    }

    fn source(&self, source: &Source) -> Source {
        let fill = |text: &String| self.text(text);
        match source {
            Source::Go { recipe, output } => Source::Go { recipe: fill(recipe), output: fill(output) },
            Source::Debian { suite, package, version } => Source::Debian {
                suite: fill(suite),
                package: fill(package),
                version: version.as_ref().map(fill),
            },
            Source::Oci { reference } => Source::Oci { reference: fill(reference) },
            Source::Repository { url, file } => {
                Source::Repository { url: fill(url), file: file.as_ref().map(fill) }
            }
            Source::Https { url } => Source::Https { url: fill(url) },
            Source::Folder { path } => Source::Folder { path: fill(path) },
            Source::Archive { path, image } => {
                Source::Archive { path: fill(path), image: image.as_ref().map(fill) }
            }
            Source::Containerd { image, namespace } => {
                Source::Containerd { image: fill(image), namespace: fill(namespace) }
            }
        }
    }

    fn entry(&self, entry: &LayerEntry) -> LayerEntry {
        let fill = |text: &String| self.text(text);
        match entry {
            LayerEntry::File { path, artifact, member, mode } => LayerEntry::File {
                path: fill(path),
                artifact: fill(artifact),
                member: member.as_ref().map(fill),
                mode: *mode,
            },
            LayerEntry::Link { path, target } => LayerEntry::Link { path: fill(path), target: fill(target) },
            LayerEntry::Folder { path, mode } => LayerEntry::Folder { path: fill(path), mode: *mode },
            LayerEntry::Text { path, content, mode } => {
                LayerEntry::Text { path: fill(path), content: fill(content), mode: *mode }
            }
        }
    }
}

/// Leaves out layers and artifacts that no image and no package uses.
fn prune(wanted: &mut Wanted) {
    let (mut layers, mut artifacts) = (BTreeSet::new(), BTreeSet::new());
    let mut uses = |names: &[String], artifact: Option<&str>, arch: Arch| {
        layers.extend(names.iter().map(|name| (name.clone(), arch)));
        artifacts.extend(artifact.map(|name| (name.to_owned(), arch)));
    };
    for image in &wanted.images {
        uses(image.content.layers(), image.content.artifact(), image.arch);
    }
    for package in &wanted.packages {
        uses(package.content.layers(), package.content.artifact(), package.arch);
    }
    wanted.layers.retain(|layer| layers.contains(&(layer.name.clone(), layer.arch)));
    for layer in &wanted.layers {
        artifacts.extend(layer.artifacts().map(|name| (name.to_owned(), layer.arch)));
    }
    wanted.artifacts.retain(|artifact| artifacts.contains(&(artifact.name.clone(), artifact.arch)));
}

fn sort(wanted: &mut Wanted) {
    wanted.artifacts.sort_by(|a, b| (&a.name, a.arch).cmp(&(&b.name, b.arch)));
    wanted.layers.sort_by(|a, b| (&a.name, a.arch).cmp(&(&b.name, b.arch)));
    wanted.images.sort_by(|a, b| (&a.name, a.arch).cmp(&(&b.name, b.arch)));
    wanted.packages.sort_by(|a, b| (&a.name, a.arch).cmp(&(&b.name, b.arch)));
    wanted.charts.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Names that two components gave for the same architecture.
fn doubled(wanted: &Wanted) -> Vec<String> {
    let mut counts: BTreeMap<(&str, &str, Arch), usize> = BTreeMap::new();
    let artifacts = wanted.artifacts.iter().map(|one| ("artifact", one.name.as_str(), one.arch));
    let layers = wanted.layers.iter().map(|one| ("layer", one.name.as_str(), one.arch));
    let images = wanted.images.iter().map(|one| ("image", one.name.as_str(), one.arch));
    let packages = wanted.packages.iter().map(|one| ("package", one.name.as_str(), one.arch));
    for key in artifacts.chain(layers).chain(images).chain(packages) {
        *counts.entry(key).or_default() += 1;
    }
    let twice = counts.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|((kind, name, arch), _)| format!("two components have the {kind} {name} for {arch}")).collect()
}
