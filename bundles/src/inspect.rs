//! What is in a bundle, for people and for scripts.

use std::collections::BTreeMap;
use std::fmt;

use qiji_blueprint::Digest;
use qiji_blueprint::site::{Arch, Role};
use serde::Serialize;

use crate::contents::Contents;
use crate::dsse::Held;
use crate::key::KeyId;
use crate::oci::FORMAT_VERSION;
use crate::read::parse::Parsed;
use crate::render::roles_text;
use crate::trust::TrustedKeys;

/// A summary of a bundle. Its `Display` is a text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// Edition that it was made for; empty for none.
    pub edition: String,
    /// Channel that it is released to; empty for none.
    pub channel: String,
    /// Version of the format.
    pub format: String,
    /// Digest of the root index.
    pub root: Digest,
    /// Whether signatures and all bytes were checked; if not, everything here is only what the file claims.
    pub verified: bool,
    /// Signatures, by key.
    pub signatures: Vec<SignatureSummary>,
    /// Images, by name and architecture.
    pub images: Vec<ImageSummary>,
    /// Host packages, by name and architecture.
    pub packages: Vec<PackageSummary>,
    /// Helm charts, by release.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<ChartSummary>,
    /// What others say of images, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamSummary>,
    /// Documents, by name.
    pub documents: Vec<DocumentSummary>,
    /// Bytes of all artifacts, each counted whole.
    pub logical_bytes: u64,
    /// Bytes of their blobs, each counted once.
    pub stored_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// A signature of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SignatureSummary {
    /// The key that the signature names.
    pub key: KeyId,
    /// Whether it holds.
    pub state: SignatureState,
}

/// Whether a signature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureState {
    /// It is by a trusted key.
    Trusted,
    /// It names a trusted key, but is not by it.
    Bad,
    /// Its key is not among the trusted ones, so nothing can be said.
    Unknown,
}

/// An image of one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSummary {
    /// Full name with tag.
    pub name: String,
    /// Architecture.
    pub arch: Arch,
    /// Hosts that need it.
    pub roles: Vec<Role>,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Bytes of manifest, configuration and layers.
    pub bytes: u64,
    /// Layers, lowest first.
    pub layers: Vec<LayerSummary>,
}

/// A layer of an image or a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LayerSummary {
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes.
    pub bytes: u64,
    /// Images and packages that use the blob, this one included.
    pub used_by: usize,
}

/// A host package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageSummary {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: Arch,
    /// Hosts that get it.
    pub roles: Vec<Role>,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Blobs, lowest first.
    pub layers: Vec<LayerSummary>,
}

/// A Helm chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChartSummary {
    /// Name of its release.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of the archive.
    pub digest: Digest,
    /// Digests of its files of values; later ones count over earlier ones.
    pub values: Vec<Digest>,
    /// Bytes of archive and values.
    pub bytes: u64,
}

/// What others say of an image, or the image's own index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamSummary {
    /// Where it stands: the image's repository and a tag.
    pub name: String,
    /// What it is: the media type of its first layer, or of the index.
    pub kind: String,
    /// Digest of the manifest or the index.
    pub digest: Digest,
    /// Bytes of the manifest and of what it refers to.
    pub bytes: u64,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DocumentSummary {
    /// Name.
    pub name: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Bytes.
    pub bytes: u64,
}

/// Sums up a bundle.
pub(crate) fn inspect(parsed: &Parsed, file_bytes: u64, trusted: Option<&TrustedKeys>) -> Inspection {
    let Contents { name, version, edition, .. } = &parsed.contents;
    let contents = &parsed.contents;
    let uses = uses(contents);
    let mut stored: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut logical_bytes = 0;
    for (_, blob) in contents.blobs() {
        logical_bytes += blob.size;
        stored.insert(blob.digest, blob.size);
    }
    Inspection {
        name: name.clone(),
        version: version.clone(),
        edition: edition.clone(),
        channel: parsed.channel.clone(),
        format: FORMAT_VERSION.to_owned(),
        root: parsed.root.digest,
        verified: false,
        signatures: signatures(parsed, trusted),
        images: images(contents, &uses),
        packages: packages(contents, &uses),
        charts: contents.charts.iter().filter_map(chart).collect(),
        upstreams: contents.upstreams.iter().map(upstream).collect(),
        documents: documents(contents),
        logical_bytes,
        stored_bytes: stored.values().sum(),
        file_bytes,
    }
}

type Uses = BTreeMap<Digest, usize>;

/// How many images and packages use each layer.
fn uses(contents: &Contents) -> Uses {
    let mut uses = Uses::new();
    let images = contents.images.iter().map(|image| &image.layers);
    for layers in images.chain(contents.packages.iter().map(|package| &package.blobs)) {
        let mut digests: Vec<_> = layers.iter().map(|layer| layer.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        for digest in digests {
            *uses.entry(digest).or_default() += 1;
        }
    }
    uses
}

fn layers(blobs: &[crate::Blob], uses: &Uses) -> Vec<LayerSummary> {
    let layer = |blob: &crate::Blob| LayerSummary {
        digest: blob.digest,
        bytes: blob.size,
        used_by: uses.get(&blob.digest).copied().unwrap_or_default(),
    };
    blobs.iter().map(layer).collect()
}

fn images(contents: &Contents, uses: &Uses) -> Vec<ImageSummary> {
    let image = |image: &crate::ImageEntry| ImageSummary {
        name: image.name.clone(),
        arch: image.arch,
        roles: image.roles.clone(),
        digest: image.manifest.digest,
        bytes: image.size(),
        layers: layers(&image.layers, uses),
    };
    contents.images.iter().map(image).collect()
}

fn packages(contents: &Contents, uses: &Uses) -> Vec<PackageSummary> {
    let package = |package: &crate::PackageEntry| PackageSummary {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch,
        roles: package.roles.clone(),
        bytes: package.size(),
        layers: layers(&package.blobs, uses),
    };
    contents.packages.iter().map(package).collect()
}

/// A chart; contents without faults have its archive always.
fn chart(chart: &crate::ChartEntry) -> Option<ChartSummary> {
    let (archive, values) = chart.blobs.split_first()?;
    Some(ChartSummary {
        name: chart.name.clone(),
        version: chart.version.clone(),
        digest: archive.digest,
        values: values.iter().map(|blob| blob.digest).collect(),
        bytes: chart.size(),
    })
}

fn upstream(upstream: &crate::UpstreamEntry) -> UpstreamSummary {
    // The first blob is the configuration, which says nothing of what it is.
    let what = upstream.blobs.get(1).unwrap_or(&upstream.manifest);
    UpstreamSummary {
        name: upstream.name.clone(),
        kind: what.media_type.clone(),
        digest: upstream.manifest.digest,
        bytes: upstream.size(),
    }
}

fn documents(contents: &Contents) -> Vec<DocumentSummary> {
    let document = |document: &crate::DocumentEntry| DocumentSummary {
        name: document.name.clone(),
        digest: document.blob.digest,
        bytes: document.blob.size,
    };
    contents.documents.iter().map(document).collect()
}

fn signatures(parsed: &Parsed, trusted: Option<&TrustedKeys>) -> Vec<SignatureSummary> {
    let state = |held| match held {
        Held::Trusted => SignatureState::Trusted,
        Held::Bad => SignatureState::Bad,
        Held::Unknown => SignatureState::Unknown,
    };
    // An envelope was checked for form when it was parsed, so there is always an answer.
    let found = parsed.envelope.signatures(trusted).unwrap_or_default();
    found.into_iter().map(|(key, held)| SignatureSummary { key, state: state(held) }).collect()
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claim = if self.verified { "verified" } else { "not verified: this is what the file claims" };
        writeln!(f, "{} {} ({claim})", self.name, self.version)?;
        writeln!(f, "root  {}", self.root)?;
        for (what, name) in [("edition", &self.edition), ("channel", &self.channel)] {
            if !name.is_empty() {
                writeln!(f, "{what} {name}")?;
            }
        }
        for signature in &self.signatures {
            let state = match signature.state {
                SignatureState::Trusted => "trusted",
                SignatureState::Bad => "NAMES A TRUSTED KEY BUT IS FALSE",
                SignatureState::Unknown => "not a trusted key",
            };
            writeln!(f, "signed by {} ({state})", signature.key)?;
        }
        if self.signatures.is_empty() {
            writeln!(f, "not signed")?;
        }
        let mut table = Table::default();
        for image in &self.images {
            let shared = image.layers.iter().filter(|layer| layer.used_by > 1).count();
            let note = format!("{} layers, {shared} shared", image.layers.len());
            table.row("images", &image.name, image.arch, image.bytes, &note, &image.roles);
        }
        for package in &self.packages {
            let name = format!("{} {}", package.name, package.version);
            let note = format!("{} blobs", package.layers.len());
            table.row("packages", &name, package.arch, package.bytes, &note, &package.roles);
        }
        for chart in &self.charts {
            let note = match chart.values.len() {
                0 => String::new(),
                1 => "1 file of values".to_owned(),
                count => format!("{count} files of values"),
            };
            let name = format!("{} {}", chart.name, chart.version);
            table.add("charts", [name, String::new(), human(chart.bytes), note]);
        }
        for upstream in &self.upstreams {
            let (name, kind) = (upstream.name.clone(), upstream.kind.clone());
            table.add("of images, by others", [name, String::new(), human(upstream.bytes), kind]);
        }
        for document in &self.documents {
            table.add(
                "documents",
                [document.name.clone(), String::new(), human(document.bytes), String::new()],
            );
        }
        f.write_str(&table.text())?;
        let (logical, stored, file) =
            (human(self.logical_bytes), human(self.stored_bytes), human(self.file_bytes));
        writeln!(f, "\n{logical} of artifacts, {stored} stored, {file} in the file")
    }
}

/// Rows under headings, in columns.
#[derive(Default)]
struct Table(Vec<(&'static str, [String; 4])>);

impl Table {
    fn row(&mut self, heading: &'static str, name: &str, arch: Arch, bytes: u64, note: &str, roles: &[Role]) {
        let note = if roles.is_empty() { note.to_owned() } else { format!("{note}; {}", roles_text(roles)) };
        self.add(heading, [name.to_owned(), arch.to_string(), human(bytes), note]);
    }

    fn add(&mut self, heading: &'static str, cells: [String; 4]) {
        self.0.push((heading, cells));
    }

    fn text(&self) -> String {
        let width =
            |column: usize| self.0.iter().map(|(_, cells)| cells[column].len()).max().unwrap_or_default();
        let (name_width, arch_width, size_width) = (width(0), width(1), width(2));
        let mut text = String::new();
        let mut last = "";
        for (heading, [name, arch, size, note]) in &self.0 {
            if *heading != last {
                text.extend(["\n", heading, "\n"]);
                last = heading;
            }
            let row = format!("  {name:name_width$}  {arch:arch_width$}  {size:>size_width$}  {note}");
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `12.3 MB`, in powers of 1000.
pub(crate) fn human(bytes: u64) -> String {
    let mut unit = 1_u64;
    let mut name = "B";
    for (size, label) in [(1_000, "kB"), (1_000_000, "MB"), (1_000_000_000, "GB")] {
        if bytes >= size {
            (unit, name) = (size, label);
        }
    }
    if unit == 1 {
        return format!("{bytes} B");
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes_for_people() {
        assert_eq!(
            [0, 999, 1_000, 1_549, 150_000_000].map(human),
            ["0 B", "999 B", "1.0 kB", "1.5 kB", "150.0 MB"]
        );
    }
}
