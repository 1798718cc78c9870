//! Bills of materials: what an image, a host package or a Helm chart is made of, as SPDX 2.3 JSON. `docs/sbom.md` says it for people.
//!
//! 1. Whoever builds a bundle makes a [`Description`] for each image, package and chart, and gives its bytes to
//!    [`BundleSpec::sboms`](crate::BundleSpec::sboms).
//! 2. A reader gets descriptions back with [`Verified::sboms`](crate::Verified::sboms), or with [`Untrusted::sboms`](crate::Untrusted::sboms) what
//!    a bundle claims.
//!
//! Guarantees: a description has one form in bytes: no clock in it, numbers instead of random names, everything sorted; reading what was
//! written gives the same description.
//!
//! Limits: a document is read only if it is at most 16 MiB and of the shape that is written here: the document describes one package, which
//! contains artifacts, which contain parts.

mod purl;
mod spdx;

use std::collections::BTreeMap;
use std::fmt;

use qiji_blueprint::Digest;
use qiji_blueprint::part::{Ingredient, Part, all_of};
use qiji_blueprint::site::Arch;
use serde::Serialize;

use self::spdx::{
    CONTAINS, Checksum, CreationInfo, DESCRIBES, DOCUMENT_ID, Document, ExternalRef, ExtractedLicence,
    NO_ASSERTION, PURL, Package, Relationship,
};
use crate::contents::{ChartEntry, ImageEntry, PackageEntry, split_tag};
use crate::hash;
use crate::render;

/// Most bytes of a document that is read.
pub(crate) const LIMIT: u64 = 16 << 20;

/// There is no clock in a bundle.
const CREATED: &str = "1970-01-01T00:00:00Z";
const NAMESPACE: &str = "https://qiji.dev/spdx/";
const CONTAINER: &str = "CONTAINER";
const INSTALL: &str = "INSTALL";
const ARCHIVE: &str = "ARCHIVE";

/// What a bill of materials is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Subject {
    /// An image of one architecture.
    Image {
        /// Full name with tag.
        name: String,
        /// Architecture.
        arch: Arch,
    },
    /// A host package of one architecture.
    Package {
        /// Name.
        name: String,
        /// Architecture.
        arch: Arch,
    },
    /// A Helm chart.
    Chart {
        /// Name of its release.
        name: String,
    },
}

impl Subject {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Image { name, .. } | Self::Package { name, .. } | Self::Chart { name } => name,
        }
    }

    /// Its architecture; a chart has none.
    pub const fn arch(&self) -> Option<Arch> {
        match self {
            Self::Image { arch, .. } | Self::Package { arch, .. } => Some(*arch),
            Self::Chart { .. } => None,
        }
    }

    const fn purpose(&self) -> &'static str {
        match self {
            Self::Image { .. } => CONTAINER,
            Self::Package { .. } => INSTALL,
            Self::Chart { .. } => ARCHIVE,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { name, arch } => write!(f, "image {name} ({arch})"),
            Self::Package { name, arch } => write!(f, "package {name} ({arch})"),
            Self::Chart { name } => write!(f, "chart {name}"),
        }
    }
}

/// What an image, a host package or a chart is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Description {
    /// What it is about.
    pub subject: Subject,
    /// Its version; of an image, the tag.
    pub version: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Artifacts that it is made of, sorted.
    pub ingredients: Vec<Ingredient>,
}

/// A document is not one that [`Description::to_spdx`] writes.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// It is not SPDX 2.3 JSON.
    #[error("it is not SPDX 2.3 JSON")]
    Json(#[from] serde_json::Error),
    /// It has another shape.
    #[error("{0}")]
    Shape(String),
}

impl Description {
    /// Describes an image.
    pub fn of_image(image: &ImageEntry, ingredients: Vec<Ingredient>) -> Self {
        let tag = split_tag(&image.name).1;
        let subject = Subject::Image { name: image.name.clone(), arch: image.arch };
        Self::new(subject, tag, image.manifest.digest, ingredients)
    }

    /// Describes a host package.
    pub fn of_package(package: &PackageEntry, ingredients: Vec<Ingredient>) -> Self {
        let subject = Subject::Package { name: package.name.clone(), arch: package.arch };
        let mut listed = package.clone();
        listed.roles.sort_unstable();
        listed.roles.dedup();
        Self::new(subject, &package.version, render::package_descriptor(&listed).digest, ingredients)
    }

    /// Describes a chart.
    pub fn of_chart(chart: &ChartEntry, ingredients: Vec<Ingredient>) -> Self {
        let subject = Subject::Chart { name: chart.name.clone() };
        Self::new(subject, &chart.version, render::chart_descriptor(chart).digest, ingredients)
    }

    fn new(subject: Subject, version: &str, digest: Digest, mut ingredients: Vec<Ingredient>) -> Self {
        ingredients.sort();
        ingredients.dedup();
        Self { subject, version: version.to_owned(), digest, ingredients }
    }

    /// All parts with the artifact that each is in; an artifact that has no parts stands for itself.
    pub fn parts(&self) -> impl Iterator<Item = (&Ingredient, &Part)> {
        self.ingredients.iter().flat_map(|ingredient| {
            let own = ingredient.parts.is_empty().then_some(&ingredient.part);
            own.into_iter().chain(&ingredient.parts).map(move |part| (ingredient, part))
        })
    }

    /// The licence expression of the whole; nothing where that of an artifact is not known.
    pub fn licence(&self) -> Option<String> {
        all_of(self.ingredients.iter().map(|ingredient| ingredient.part.licence.as_deref()))
    }

    /// The document: SPDX 2.3, compact JSON.
    pub fn to_spdx(&self) -> Vec<u8> {
        let mut document = Writer::new(self).document();
        let digest = hash::digest(&bytes_of(&document));
        document.document_namespace = format!("{NAMESPACE}sha256-{}", digest.hex());
        bytes_of(&document)
    }

    /// Reads a document back.
    pub fn from_spdx(bytes: &[u8]) -> Result<Self, SbomError> {
        let document: Document = serde_json::from_slice(bytes)?;
        Reader::new(&document).description()
    }
}

fn bytes_of(document: &Document) -> Vec<u8> {
    // Strings, lists and one boolean: `serde_json` has no way to fail on these.
    serde_json::to_vec(document).expect("plain data is always JSON")
}

/// From a description to a document.
struct Writer<'a> {
    description: &'a Description,
    /// Numbers of parts; equal parts of several artifacts are one.
    parts: BTreeMap<&'a Part, usize>,
}

fn id(number: usize) -> String {
    format!("SPDXRef-{number}")
}

impl<'a> Writer<'a> {
    fn new(description: &'a Description) -> Self {
        let mut parts: BTreeMap<&Part, usize> = description
            .ingredients
            .iter()
            .flat_map(|ingredient| &ingredient.parts)
            .map(|part| (part, 0))
            .collect();
        let first = 1 + description.ingredients.len();
        for (number, place) in parts.values_mut().enumerate() {
            *place = first + number;
        }
        Self { description, parts }
    }

    fn document(&self) -> Document {
        let Description { subject, ingredients, .. } = self.description;
        let mut packages = vec![self.subject()];
        packages.extend(ingredients.iter().enumerate().map(|(number, one)| self.ingredient(1 + number, one)));
        packages.extend(self.parts.iter().map(|(part, number)| self.part(*number, part)));
        let texts: BTreeMap<_, _> =
            ingredients.iter().flat_map(|ingredient| &ingredient.licence_texts).collect();
        Document {
            spdx_version: "SPDX-2.3".to_owned(),
            data_license: "CC0-1.0".to_owned(),
            id: DOCUMENT_ID.to_owned(),
            name: subject.to_string(),
            document_namespace: String::new(),
            creation_info: CreationInfo {
                created: CREATED.to_owned(),
                creators: vec![concat!("Tool: qiji-", env!("CARGO_PKG_VERSION")).to_owned()],
            },
            packages,
            has_extracted_licensing_infos: texts.into_iter().map(extracted).collect(),
            relationships: self.relationships(),
        }
    }

    fn subject(&self) -> Package {
        let Description { subject, version, digest, .. } = self.description;
        let url = match subject {
            Subject::Image { name, arch } => purl::of_image(name, digest, *arch),
            Subject::Package { name, .. } | Subject::Chart { name } => {
                purl::of_file(name, version, digest, subject.arch())
            }
        };
        Package {
            checksums: vec![checksum(digest)],
            primary_package_purpose: Some(subject.purpose().to_owned()),
            ..package(0, subject.name(), version, self.description.licence().as_deref(), url)
        }
    }

    fn ingredient(&self, number: usize, ingredient: &Ingredient) -> Package {
        let Ingredient { part, digest, origin, .. } = ingredient;
        let url = purl::of(part, Some(digest), self.description.subject.arch());
        Package {
            checksums: vec![checksum(digest)],
            source_info: origin.clone(),
            ..package(number, &part.name, &part.version, part.licence.as_deref(), url)
        }
    }

    fn part(&self, number: usize, part: &Part) -> Package {
        let url = purl::of(part, None, self.description.subject.arch());
        package(number, &part.name, &part.version, part.licence.as_deref(), url)
    }

    fn relationships(&self) -> Vec<Relationship> {
        let mut all = vec![Relationship::new(DOCUMENT_ID, DESCRIBES, &id(0))];
        for (number, ingredient) in self.description.ingredients.iter().enumerate() {
            let own = id(1 + number);
            all.push(Relationship::new(&id(0), CONTAINS, &own));
            let parts = ingredient.parts.iter().filter_map(|part| self.parts.get(part));
            all.extend(parts.map(|part| Relationship::new(&own, CONTAINS, &id(*part))));
        }
        all
    }
}

fn package(number: usize, name: &str, version: &str, licence: Option<&str>, url: String) -> Package {
    Package {
        id: id(number),
        name: name.to_owned(),
        version_info: version.to_owned(),
        download_location: NO_ASSERTION.to_owned(),
        files_analyzed: false,
        checksums: Vec::new(),
        source_info: String::new(),
        license_declared: licence.unwrap_or(NO_ASSERTION).to_owned(),
        primary_package_purpose: None,
        external_refs: vec![ExternalRef {
            reference_category: "PACKAGE-MANAGER".to_owned(),
            reference_type: PURL.to_owned(),
            reference_locator: url,
        }],
    }
}

fn checksum(digest: &Digest) -> Checksum {
    Checksum { algorithm: "SHA256".to_owned(), checksum_value: digest.hex() }
}

fn extracted((id, text): (&String, &String)) -> ExtractedLicence {
    ExtractedLicence {
        license_id: id.clone(),
        extracted_text: text.clone(),
        name: id.trim_start_matches("LicenseRef-").to_owned(),
    }
}

/// From a document to a description.
struct Reader<'a> {
    document: &'a Document,
    packages: BTreeMap<&'a str, &'a Package>,
    /// What each element contains or describes.
    inside: BTreeMap<&'a str, Vec<&'a str>>,
    texts: BTreeMap<&'a str, &'a str>,
}

impl<'a> Reader<'a> {
    fn new(document: &'a Document) -> Self {
        let packages = document.packages.iter().map(|package| (package.id.as_str(), package)).collect();
        let mut inside: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for relationship in &document.relationships {
            if [CONTAINS, DESCRIBES].contains(&relationship.relationship_type.as_str()) {
                let list = inside.entry(&relationship.spdx_element_id).or_default();
                list.push(&relationship.related_spdx_element);
            }
        }
        let texts = document.has_extracted_licensing_infos.iter();
        let texts = texts.map(|text| (text.license_id.as_str(), text.extracted_text.as_str())).collect();
        Self { document, packages, inside, texts }
    }

    fn description(&self) -> Result<Description, SbomError> {
        if let Some(package) = self.document.packages.iter().find(|package| !is_plain(package)) {
            return Err(shape(format!(
                "what it says of {} holds control characters",
                package.name.escape_debug()
            )));
        }
        if self.document.spdx_version != "SPDX-2.3" {
            return Err(shape(format!("it is {} and not SPDX-2.3", self.document.spdx_version)));
        }
        let [subject] = self.inside(DOCUMENT_ID) else {
            return Err(shape("it does not describe exactly one package".to_owned()));
        };
        let package = self.package(subject)?;
        let name = package.name.clone();
        let subject = match package.primary_package_purpose.as_deref() {
            Some(CONTAINER) => Subject::Image { name, arch: arch(package)? },
            Some(INSTALL) => Subject::Package { name, arch: arch(package)? },
            Some(ARCHIVE) => Subject::Chart { name },
            _ => return Err(shape(format!("{name} is no image, no host package and no chart"))),
        };
        let ingredients =
            self.inside(&package.id).iter().map(|id| self.ingredient(id)).collect::<Result<_, _>>()?;
        Ok(Description {
            subject,
            version: package.version_info.clone(),
            digest: digest(package)?,
            ingredients,
        })
    }

    fn ingredient(&self, id: &str) -> Result<Ingredient, SbomError> {
        let package = self.package(id)?;
        let parts =
            self.inside(id).iter().map(|id| part(self.package(id)?)).collect::<Result<Vec<_>, _>>()?;
        let own = part(package)?;
        let licence_texts = self.texts_of(parts.iter().chain([&own]));
        let (digest, origin) = (digest(package)?, package.source_info.clone());
        Ok(Ingredient { part: own, digest, origin, parts, licence_texts })
    }

    /// The texts that licences of `parts` name.
    fn texts_of<'p>(&self, parts: impl Iterator<Item = &'p Part>) -> BTreeMap<String, String> {
        let licences: Vec<&str> = parts.filter_map(|part| part.licence.as_deref()).collect();
        let named = self.texts.iter().filter(|(id, _)| licences.iter().any(|licence| names(licence, id)));
        named.map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect()
    }

    fn inside(&self, id: &str) -> &[&'a str] {
        self.inside.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    fn package(&self, id: &str) -> Result<&'a Package, SbomError> {
        self.packages.get(id).copied().ok_or_else(|| shape(format!("it has no package {id}")))
    }
}

/// Whether what will be shown can be shown: no line break, nothing that a terminal would obey.
fn is_plain(package: &Package) -> bool {
    let texts = [&package.name, &package.version_info, &package.source_info, &package.license_declared];
    !texts.iter().any(|text| text.contains(char::is_control))
}

/// Whether an expression names a licence.
fn names(expression: &str, id: &str) -> bool {
    expression.split([' ', '(', ')']).any(|word| word == id)
}

fn shape(reason: String) -> SbomError {
    SbomError::Shape(reason)
}

fn part(package: &Package) -> Result<Part, SbomError> {
    let kind = package.purl().and_then(purl::kind);
    let kind = kind.ok_or_else(|| shape(format!("{} has no package URL of a known kind", package.name)))?;
    let licence = (package.license_declared != NO_ASSERTION).then(|| package.license_declared.clone());
    Ok(Part { kind, name: package.name.clone(), version: package.version_info.clone(), licence })
}

fn digest(package: &Package) -> Result<Digest, SbomError> {
    let sha256 = package.checksums.iter().find(|checksum| checksum.algorithm == "SHA256");
    let digest = sha256.and_then(|checksum| format!("sha256:{}", checksum.checksum_value).parse().ok());
    digest.ok_or_else(|| shape(format!("{} has no SHA256 checksum", package.name)))
}

fn arch(package: &Package) -> Result<Arch, SbomError> {
    let query =
        package.purl().and_then(|url| url.split_once('?')).map(|(_, query)| query).unwrap_or_default();
    let name = query.split('&').find_map(|pair| pair.strip_prefix("arch="));
    let arch = name.and_then(|name| Arch::ALL.into_iter().find(|arch| arch.as_str() == name));
    arch.ok_or_else(|| shape(format!("{} has no architecture", package.name)))
}

#[cfg(test)]
mod tests;
