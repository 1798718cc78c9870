//! An archive of `docker save` in its older form: `manifest.json`, configurations, and layers as plain tars.
//!
//! There is no manifest in it, so one is made: the configuration as it is, the layers compressed as ours are (`layer.rs`), in the same way on every
//! machine. Each layer is held to its digest in the configuration (`rootfs.diff_ids`).

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifestBuilder, MediaType};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::Pinned;
use serde::Deserialize;

use super::archive::Archive;
use crate::error::{SourceError, StoreError};
use crate::{image, layer};

/// One image in `manifest.json` (Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset Format").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The manifest of an image, whose configuration and layers are then in the store.
pub(super) fn manifest(archive: &Archive, name: Option<&str>) -> Result<Vec<u8>, SourceError> {
    let entry = entry(archive, name)?;
    let text = archive.files.document(&entry.config).map_err(|error| archive.unusable(&error))?;
    let config: ImageConfiguration = serde_json::from_slice(&text)
        .map_err(|error| archive.unusable(&format!("its {}: {error}", entry.config)))?;
    let wanted = config.rootfs().diff_ids();
    if wanted.len() != entry.layers.len() {
        return Err(archive.unusable(&format!(
            "it has {} layers and needs {}",
            entry.layers.len(),
            wanted.len()
        )));
    }
    let mut layers = Vec::new();
    for (member, diff_id) in entry.layers.iter().zip(wanted) {
        let diff_id =
            diff_id.parse().map_err(|_| archive.unusable(&format!("`{diff_id}` is not a digest")))?;
        layers.push(descriptor(image::LAYER, &compressed(archive, member, &diff_id)?));
    }
    let config = descriptor(image::CONFIG, &archive.store.put(&text)?);
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(layers)
        .build()
        .map_err(|error| archive.unusable(&error))?;
    image::canonical(&manifest).map_err(|error| archive.unusable(&error))
}

fn descriptor(media_type: &str, pin: &Pinned) -> Descriptor {
    image::descriptor(media_type, pin)
}

fn entry(archive: &Archive, name: Option<&str>) -> Result<Entry, SourceError> {
    let text = archive.files.document("manifest.json");
    let text =
        text.map_err(|_| archive.unusable("it is neither an OCI image layout nor from `docker save`"))?;
    let mut all: Vec<Entry> = serde_json::from_slice(&text)
        .map_err(|error| archive.unusable(&format!("its manifest.json: {error}")))?;
    let known: Vec<_> = all.iter().flat_map(|entry| entry.repo_tags.iter().flatten().cloned()).collect();
    if let Some(name) = name {
        let full = normal(name);
        all.retain(|entry| entry.repo_tags.iter().flatten().any(|tag| normal(tag) == full));
    }
    match (all.pop(), all.is_empty()) {
        (Some(entry), true) => Ok(entry),
        (None, _) => {
            let name = name.unwrap_or_default();
            Err(archive.unusable(&format!("it has no image {name}, only {}", known.join(", "))))
        }
        _ => Err(archive.unusable(&format!("it has several images, so say which: {}", known.join(", ")))),
    }
}

/// A name in full, so that `nginx:1` and `docker.io/library/nginx:1` are the same.
fn normal(name: &str) -> String {
    name.parse::<oci_spec::distribution::Reference>().map_or_else(|_| name.to_owned(), |it| it.whole())
}

/// The layer in the store, compressed. What was compressed before is not compressed again.
fn compressed(archive: &Archive, member: &str, diff_id: &Digest) -> Result<Pinned, SourceError> {
    let store = &archive.store;
    let (mut reader, _) = archive.files.open_file(member).map_err(|error| archive.unusable(&error))?;
    let made = layer::compress(store, &mut reader, diff_id)
        .map_err(StoreError::io(format!("compress layer {}", diff_id.short())))?;
    if made.diff_id == *diff_id {
        return Ok(made.blob);
    }
    let what = format!("{}, member {member}", archive.path.display());
    let hint = Some("the archive is damaged: make it again".to_owned());
    Err(SourceError::WrongDigest { what, expected: *diff_id, found: made.diff_id, hint })
}
