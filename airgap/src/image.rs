//! Config and manifest of an image that is put together from layers (OCI image specification 1.1, `config.md` and `manifest.md`).
//!
//! Both are JSON without spaces and with sorted keys, created at 1970-01-01T00:00:00Z, so that the same layers give the same digests.

use std::collections::BTreeMap;
use std::io;

use oci_spec::image::{
    ConfigBuilder, Descriptor, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder,
    ImageManifestBuilder, MediaType, RootFsBuilder, Sha256Digest,
};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{ImageConfig, Pinned};
use qiji_blueprint::site::Arch;
use serde_json::Value;

use crate::layer::LayerBlob;
use crate::store::Store;

/// Media type of an image manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index over manifests.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an image's configuration.
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of our layers.
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

const CREATED: &str = "1970-01-01T00:00:00Z";

/// Puts config and manifest into the store; returns them in this order.
pub(crate) fn put(
    store: &Store,
    arch: Arch,
    config: &ImageConfig,
    layers: &[(String, LayerBlob)],
) -> io::Result<(Pinned, Pinned)> {
    let document = configuration(arch, config, layers).map_err(io::Error::other)?;
    let config = store.put(&canonical(&document)?).map_err(io::Error::other)?;
    let blobs = layers.iter().map(|(_, layer)| descriptor(LAYER, &layer.blob));
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(CONFIG, &config))
        .layers(blobs.collect::<Vec<_>>())
        .build()
        .map_err(io::Error::other)?;
    let manifest = store.put(&canonical(&manifest)?).map_err(io::Error::other)?;
    Ok((config, manifest))
}

fn configuration(
    arch: Arch,
    config: &ImageConfig,
    layers: &[(String, LayerBlob)],
) -> Result<ImageConfiguration, oci_spec::OciSpecError> {
    let env: Vec<_> = config.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut run = ConfigBuilder::default();
    if !config.entrypoint.is_empty() {
        run = run.entrypoint(config.entrypoint.clone());
    }
    if !env.is_empty() {
        run = run.env(env);
    }
    if !config.user.is_empty() {
        run = run.user(config.user.clone());
    }
    if !config.labels.is_empty() {
        run = run.labels(config.labels.clone().into_iter().collect::<std::collections::HashMap<_, _>>());
    }
    let step = |name: &String| {
        HistoryBuilder::default().created(CREATED).created_by(format!("qiji layer {name}")).build()
    };
    let history = layers.iter().map(|(name, _)| step(name)).collect::<Result<Vec<_>, _>>()?;
    let diff_ids: Vec<_> = layers.iter().map(|(_, layer)| layer.diff_id.to_string()).collect();
    ImageConfigurationBuilder::default()
        .created(CREATED)
        .architecture(arch.as_str())
        .os("linux")
        .config(run.build()?)
        .rootfs(RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build()?)
        .history(history)
        .build()
}

/// Refers to a blob.
pub(crate) fn descriptor(media_type: &str, pin: &Pinned) -> Descriptor {
    Descriptor::new(MediaType::from(media_type), pin.size, digest(&pin.digest))
}

fn digest(digest: &Digest) -> Sha256Digest {
    use std::str::FromStr as _;
    // Our digests have the 64 lower-case digits that this one asks for.
    Sha256Digest::from_str(&digest.hex())
        .unwrap_or_else(|_| unreachable!("a digest has 64 hexadecimal digits"))
}

/// JSON without spaces and with sorted keys, whatever order the types have.
pub(crate) fn canonical(value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Sorted::from(serde_json::to_value(value)?))?)
}

/// A JSON value whose objects are sorted by key.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Sorted {
    Object(BTreeMap<String, Sorted>),
    Array(Vec<Sorted>),
    Other(Value),
}

impl From<Value> for Sorted {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(map) => {
                Self::Object(map.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
            Value::Array(values) => Self::Array(values.into_iter().map(Self::from).collect()),
            other => Self::Other(other),
        }
    }
}
