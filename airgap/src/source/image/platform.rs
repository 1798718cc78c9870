//! What a manifest or index says: pure functions over their bytes (OCI image specification 1.1; Docker's schema 2 is read the same way).

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, Platform};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::Pinned;
use qiji_blueprint::site::Arch;
use serde::Deserialize;

/// What an image's name leads to.
pub(crate) enum Top {
    /// One manifest, which may be of any architecture.
    Manifest,
    /// An index over manifests.
    Index(Box<ImageIndex>),
}

impl Top {
    /// Tells an index from a manifest.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        if let Ok(index) = serde_json::from_slice::<ImageIndex>(bytes) {
            return Ok(Self::Index(Box::new(index)));
        }
        image_blobs(bytes).map(|_| Self::Manifest)
    }
}

/// The manifest for an architecture; where there is none, what there is, for people.
pub(crate) fn choose(index: &ImageIndex, arch: Arch) -> Result<&Descriptor, String> {
    let platforms = || index.manifests().iter().filter_map(|entry| Some((entry, entry.platform().as_ref()?)));
    let fits =
        |platform: &Platform| is_linux(platform) && platform.architecture().to_string() == arch.as_str();
    let found = platforms().filter(|(_, platform)| fits(platform)).min_by_key(|(_, platform)| rank(platform));
    found.map(|(entry, _)| entry).ok_or_else(|| {
        let known = platforms().filter(|(_, platform)| platform.os().to_string() != "unknown");
        let has: Vec<_> = known.map(|(_, it)| format!("{}/{}", it.os(), it.architecture())).collect();
        if has.is_empty() { "manifests without a platform".to_owned() } else { has.join(", ") }
    })
}

fn is_linux(platform: &Platform) -> bool {
    platform.os().to_string() == "linux"
}

/// Variants that every processor of the architecture runs come first.
fn rank(platform: &Platform) -> u8 {
    match platform.variant().as_deref() {
        None => 0,
        Some("v1" | "v8" | "v8.0") => 1,
        Some(_) => 2,
    }
}

/// Config and layers of an image manifest, in this order.
pub(crate) fn image_blobs(manifest: &[u8]) -> Result<Vec<Pinned>, String> {
    let manifest: ImageManifest =
        serde_json::from_slice(manifest).map_err(|error| format!("it is not an image manifest: {error}"))?;
    std::iter::once(manifest.config()).chain(manifest.layers()).map(pin).collect()
}

/// Digest and size of a descriptor, if its digest is of a kind that we know.
pub(crate) fn pin(descriptor: &Descriptor) -> Result<Pinned, String> {
    let digest = descriptor.digest().to_string();
    let digest: Digest = digest.parse().map_err(|_| format!("`{digest}` is not a SHA-256 digest"))?;
    Ok(Pinned { digest, size: descriptor.size() })
}

/// The platform in an image's configuration.
pub(crate) fn platform_of(config: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Config {
        architecture: String,
        os: String,
    }
    let config: Config =
        serde_json::from_slice(config).map_err(|_| "its configuration is not that of an image".to_owned())?;
    Ok(format!("{}/{}", config.os, config.architecture))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn index(platforms: &[(&str, &str, Option<&str>)]) -> ImageIndex {
        let entry = |(at, (os, arch, variant)): (usize, &(&str, &str, Option<&str>))| {
            let mut platform = json!({ "os": os, "architecture": arch });
            if let Some(variant) = variant {
                platform["variant"] = json!(variant);
            }
            let digest = Digest::of(&[u8::try_from(at).unwrap()]).to_string();
            json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": at, "platform": platform })
        };
        let manifests: Vec<_> = platforms.iter().enumerate().map(entry).collect();
        serde_json::from_value(json!({ "schemaVersion": 2, "manifests": manifests })).unwrap()
    }

    #[test]
    fn the_most_common_variant_is_chosen() {
        let index = index(&[
            ("windows", "amd64", None),
            ("linux", "amd64", Some("v3")),
            ("linux", "amd64", None),
            ("linux", "arm64", Some("v9")),
            ("linux", "arm64", Some("v8")),
        ]);
        assert_eq!(choose(&index, Arch::Amd64).unwrap().size(), 2);
        assert_eq!(choose(&index, Arch::Arm64).unwrap().size(), 4);
        let has = choose(&index, Arch::Loong64).unwrap_err();
        assert_eq!(has, "windows/amd64, linux/amd64, linux/amd64, linux/arm64, linux/arm64");
    }

    #[test]
    fn attestations_are_no_platform() {
        let index = index(&[("unknown", "unknown", None), ("linux", "s390x", None)]);
        assert_eq!(choose(&index, Arch::Amd64).unwrap_err(), "linux/s390x");
    }

    #[test]
    fn what_is_neither_manifest_nor_index_is_refused() {
        for text in ["", "{}", "[]", "{\"schemaVersion\": 1, \"fsLayers\": []}"] {
            assert!(Top::read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(platform_of(b"{}").is_err());
        assert_eq!(platform_of(b"{\"os\":\"linux\",\"architecture\":\"arm64\"}").unwrap(), "linux/arm64");
    }
}
