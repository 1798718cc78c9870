//! From [`Contents`] to the JSON documents of a bundle: a pure function. The writer stores what it gives; the reader runs it again on what
//! it has read and compares, so that a bundle has one form only.

use std::collections::BTreeMap;

use qiji_blueprint::Digest;
use qiji_blueprint::site::{Arch, Role};

use crate::contents::{
    ChartEntry, Contents, DocumentEntry, ImageEntry, Owner, PackageEntry, SbomEntry, UpstreamEntry,
};
use crate::oci::{
    self, Annotations, BUNDLE, CHART, DOCUMENT, Descriptor, EDITION, EMPTY_CONFIG, ENVELOPE, FORMAT,
    FORMAT_VERSION, INDEX, Index, MANIFEST, Manifest, NAME, PACKAGE, Platform, REF_NAME, ROLES, SPDX, TITLE,
    UPSTREAM, VERSION,
};
use crate::statement::About;

/// File name of a bill of materials, for tools that take it out.
const SBOM_TITLE: &str = "sbom.spdx.json";

/// The documents of a bundle.
pub(crate) struct Rendered {
    /// The root index.
    pub(crate) root: Descriptor,
    /// Images by their names, as `index.json` repeats them.
    pub(crate) images: Vec<Descriptor>,
    /// The bytes of each generated document, the root and the empty configuration among them.
    pub(crate) documents: BTreeMap<Digest, (Owner, Vec<u8>)>,
}

/// Everything but the signature.
pub(crate) fn render(contents: &Contents) -> Rendered {
    let mut documents = BTreeMap::new();
    let images: Vec<_> = contents
        .images
        .chunk_by(|left, right| left.name == right.name)
        .map(|same_name| image(&mut documents, same_name))
        .collect();
    let mut manifests = images.clone();
    manifests.extend(contents.packages.iter().map(|entry| package(&mut documents, entry)));
    manifests.extend(contents.charts.iter().map(|entry| chart(&mut documents, entry)));
    manifests.extend(contents.documents.iter().map(|entry| document(&mut documents, entry)));
    manifests.extend(contents.sboms.iter().filter_map(|entry| sbom(&mut documents, contents, entry)));
    manifests.extend(contents.upstreams.iter().map(upstream));
    let artifacts =
        [contents.packages.len(), contents.charts.len(), contents.documents.len(), contents.sboms.len()];
    if artifacts.iter().any(|count| *count > 0) {
        store(&mut documents, Owner::Empty, oci::EMPTY, EMPTY_CONFIG.to_vec());
    }

    let mut root = Index::new(manifests);
    root.artifact_type = Some(BUNDLE.to_owned());
    root.annotations =
        annotations(&[(FORMAT, FORMAT_VERSION), (NAME, &contents.name), (VERSION, &contents.version)]);
    if !contents.edition.is_empty() {
        root.annotations.insert(EDITION.to_owned(), contents.edition.clone());
    }
    let mut root = store(&mut documents, Owner::Root, INDEX, oci::to_bytes(&root));
    root.artifact_type = Some(BUNDLE.to_owned());
    Rendered { root, images, documents }
}

impl Rendered {
    /// What the statement about these documents is about.
    pub(crate) fn about<'a>(&'a self, contents: &'a Contents) -> About<'a> {
        let root = self.root.digest;
        About { contents, root, root_bytes: &self.documents[&root].1 }
    }
}

/// The manifest that ties a DSSE envelope to the root, and its descriptor.
pub(crate) fn signature(root: &Descriptor, envelope: &[u8]) -> (Descriptor, Vec<u8>) {
    let mut manifest = Manifest::artifact(ENVELOPE, vec![Descriptor::of(ENVELOPE, envelope)]);
    manifest.subject = Some(Descriptor::new(INDEX, root.digest, root.size));
    let bytes = oci::to_bytes(&manifest);
    let mut descriptor = Descriptor::of(MANIFEST, &bytes);
    descriptor.artifact_type = Some(ENVELOPE.to_owned());
    (descriptor, bytes)
}

/// The bytes of `index.json`: the root, the signature, then every image by its name.
pub(crate) fn index_json(root: &Descriptor, signature: &Descriptor, images: &[Descriptor]) -> Vec<u8> {
    let manifests = [root, signature].into_iter().chain(images).cloned().collect();
    oci::to_bytes(&Index::new(manifests))
}

/// `control-plane,worker`.
pub(crate) fn roles_text(roles: &[Role]) -> String {
    roles.iter().map(|&role| role_name(role)).collect::<Vec<_>>().join(",")
}

/// The inverse of [`roles_text`].
pub(crate) fn roles(text: &str) -> Result<Vec<Role>, String> {
    let known = [Role::ControlPlane, Role::Worker];
    let parse = |word: &str| known.into_iter().find(|&role| role_name(role) == word);
    let words = text.split(',').filter(|_| !text.is_empty());
    words.map(|word| parse(word).ok_or_else(|| format!("`{word}` is not a role"))).collect()
}

/// The architecture of a platform that qiji knows.
pub(crate) fn arch(descriptor: &Descriptor) -> Result<Arch, String> {
    let platform = descriptor.platform.as_ref().ok_or("a platform is missing")?;
    let known = Arch::ALL.into_iter().find(|arch| arch.as_str() == platform.architecture);
    known.ok_or_else(|| format!("`{}` is not a known architecture", platform.architecture))
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    }
}

type Documents = BTreeMap<Digest, (Owner, Vec<u8>)>;

fn store(documents: &mut Documents, owner: Owner, media_type: &str, bytes: Vec<u8>) -> Descriptor {
    let descriptor = Descriptor::of(media_type, &bytes);
    documents.entry(descriptor.digest).or_insert((owner, bytes));
    descriptor
}

fn image(documents: &mut Documents, same_name: &[ImageEntry]) -> Descriptor {
    let name = &same_name[0].name;
    let mut manifests: Vec<_> = same_name.iter().map(image_manifest).collect();
    let mut named = if manifests.len() == 1 {
        manifests.remove(0)
    } else {
        let bytes = oci::to_bytes(&Index::new(manifests));
        store(documents, Owner::ImageIndex { name: name.clone() }, INDEX, bytes)
    };
    named.annotations.insert(REF_NAME.to_owned(), name.clone());
    named
}

fn image_manifest(image: &ImageEntry) -> Descriptor {
    let mut descriptor = image.manifest.descriptor();
    descriptor.platform = Some(platform(image.arch));
    descriptor.annotations = annotations(&[(ROLES, &roles_text(&image.roles))]);
    descriptor
}

fn package(documents: &mut Documents, entry: &PackageEntry) -> Descriptor {
    let manifest = package_manifest(entry);
    let mut descriptor = store(documents, entry.owner(), MANIFEST, oci::to_bytes(&manifest));
    descriptor.artifact_type = Some(PACKAGE.to_owned());
    descriptor.platform = Some(platform(entry.arch));
    descriptor.annotations = manifest.annotations;
    descriptor
}

fn package_manifest(entry: &PackageEntry) -> Manifest {
    let mut manifest = Manifest::artifact(PACKAGE, entry.blobs.iter().map(crate::Blob::descriptor).collect());
    manifest.annotations =
        annotations(&[(NAME, &entry.name), (ROLES, &roles_text(&entry.roles)), (VERSION, &entry.version)]);
    manifest
}

/// Media type, digest and size of the manifest of a package.
pub(crate) fn package_descriptor(entry: &PackageEntry) -> Descriptor {
    Descriptor::of(MANIFEST, &oci::to_bytes(&package_manifest(entry)))
}

fn chart(documents: &mut Documents, entry: &ChartEntry) -> Descriptor {
    let manifest = chart_manifest(entry);
    let mut descriptor = store(documents, entry.owner(), MANIFEST, oci::to_bytes(&manifest));
    descriptor.artifact_type = Some(CHART.to_owned());
    descriptor.annotations = manifest.annotations;
    descriptor
}

fn chart_manifest(entry: &ChartEntry) -> Manifest {
    let mut manifest = Manifest::artifact(CHART, entry.blobs.iter().map(crate::Blob::descriptor).collect());
    manifest.annotations = annotations(&[(NAME, &entry.name), (VERSION, &entry.version)]);
    manifest
}

/// Media type, digest and size of the manifest of a chart.
pub(crate) fn chart_descriptor(entry: &ChartEntry) -> Descriptor {
    Descriptor::of(MANIFEST, &oci::to_bytes(&chart_manifest(entry)))
}

/// The manifest that ties a bill of materials to what it is about. Contents without faults have that always.
fn sbom(documents: &mut Documents, contents: &Contents, entry: &SbomEntry) -> Option<Descriptor> {
    let mut content = entry.blob.descriptor();
    content.annotations = annotations(&[(TITLE, SBOM_TITLE)]);
    let mut manifest = Manifest::artifact(SPDX, vec![content]);
    manifest.subject = Some(contents.manifest_of(&entry.subject)?);
    manifest.annotations = annotations(&[(NAME, entry.subject.name())]);
    let mut descriptor = store(documents, entry.owner(), MANIFEST, oci::to_bytes(&manifest));
    descriptor.artifact_type = Some(SPDX.to_owned());
    descriptor.platform = entry.subject.arch().map(platform);
    descriptor.annotations = manifest.annotations;
    Some(descriptor)
}

/// What others say of an image is referred to as it is.
fn upstream(entry: &UpstreamEntry) -> Descriptor {
    let mut descriptor = entry.manifest.descriptor();
    descriptor.artifact_type = Some(UPSTREAM.to_owned());
    descriptor.annotations = annotations(&[(NAME, &entry.name)]);
    descriptor
}

fn document(documents: &mut Documents, entry: &DocumentEntry) -> Descriptor {
    let mut content = entry.blob.descriptor();
    content.annotations = annotations(&[(TITLE, &entry.name)]);
    let mut manifest = Manifest::artifact(DOCUMENT, vec![content]);
    manifest.annotations = annotations(&[(NAME, &entry.name)]);
    let mut descriptor = store(documents, entry.owner(), MANIFEST, oci::to_bytes(&manifest));
    descriptor.artifact_type = Some(DOCUMENT.to_owned());
    descriptor.annotations = manifest.annotations;
    descriptor
}

fn platform(arch: Arch) -> Platform {
    Platform { architecture: arch.as_str().to_owned(), os: "linux".to_owned() }
}

fn annotations(pairs: &[(&str, &str)]) -> Annotations {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}
