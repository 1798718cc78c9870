//! What blobs are used for, in words that stay the same from one version of a bundle to the next: `package kubernetes amd64 layer 0`. By them a new
//! blob finds the old one that it is likely to be like.

use std::collections::BTreeMap;

use qiji_blueprint::Digest;

use crate::contents::{Contents, Owner, split_tag};
use crate::render;
use crate::sbom::Subject;

/// Each blob's uses, sorted.
pub(super) type Uses = BTreeMap<Digest, Vec<String>>;

/// The use of the root index, which `index.json` is like.
pub(super) const ROOT: &str = "root";

/// All blobs of a bundle but those of its signature, with their uses.
pub(super) fn of(contents: &Contents) -> Uses {
    let mut uses = Uses::new();
    let mut add = |digest: Digest, text: String| uses.entry(digest).or_default().push(text);
    for image in &contents.images {
        let image_use = format!("image {} {}", without_tag(&image.name), image.arch);
        add(image.manifest.digest, format!("{image_use} manifest"));
        add(image.config.digest, format!("{image_use} config"));
        for (number, layer) in image.layers.iter().enumerate() {
            add(layer.digest, format!("{image_use} layer {number}"));
        }
    }
    for package in &contents.packages {
        for (number, blob) in package.blobs.iter().enumerate() {
            add(blob.digest, format!("package {} {} layer {number}", package.name, package.arch));
        }
    }
    for chart in &contents.charts {
        for (number, blob) in chart.blobs.iter().enumerate() {
            add(blob.digest, format!("chart {} blob {number}", chart.name));
        }
    }
    for document in &contents.documents {
        add(document.blob.digest, format!("document {}", document.name));
    }
    for sbom in &contents.sboms {
        add(sbom.blob.digest, about(&sbom.subject));
    }
    for upstream in &contents.upstreams {
        let text = rendered(&upstream.owner());
        for (number, blob) in upstream.blobs.iter().enumerate() {
            add(blob.digest, format!("{text} blob {number}"));
        }
        add(upstream.manifest.digest, text);
    }
    for (digest, (owner, _)) in render::render(contents).documents {
        add(digest, rendered(&owner));
    }
    for texts in uses.values_mut() {
        texts.sort_unstable();
        texts.dedup();
    }
    uses
}

/// The use of a document that follows from the contents.
fn rendered(owner: &Owner) -> String {
    match owner {
        Owner::Root => ROOT.to_owned(),
        Owner::Signature => "signature".to_owned(),
        Owner::ImageIndex { name } => format!("image {} index", without_tag(name)),
        Owner::Image { name, arch } => format!("image {} {arch} manifest", without_tag(name)),
        Owner::Package { name, arch, .. } => format!("package {name} {arch} manifest"),
        Owner::Chart { name } => format!("chart {name} manifest"),
        Owner::Document { name } => format!("document {name} manifest"),
        Owner::Sbom { subject } => format!("{} manifest", about(subject)),
        Owner::Upstream { name } => format!("upstream {}", without_tag(name)),
        Owner::Empty => "empty".to_owned(),
    }
}

/// The use of a bill of materials.
fn about(subject: &Subject) -> String {
    match subject {
        Subject::Image { name, arch } => format!("sbom of image {} {arch}", without_tag(name)),
        Subject::Package { name, arch } => format!("sbom of package {name} {arch}"),
        Subject::Chart { name } => format!("sbom of chart {name}"),
    }
}

fn without_tag(name: &str) -> &str {
    split_tag(name).0
}
