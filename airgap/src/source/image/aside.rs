//! What lies in an image layout beside its images: signatures, attestations and the like.
//!
//! `index.json` lists them among the images. They are told from images by what they are about:
//! 1. what has a subject (OCI image specification 1.1), as `oras copy --recursive --to-oci-layout` lists it;
//! 2. what goes by a tag of cosign's, `sha256-….sig`;
//! 3. what `cosign save` marks as signatures or attestations: they are of the image that was saved (cosign, `pkg/oci/layout`).

use oci_spec::image::Descriptor;
use qiji_blueprint::Digest;
use serde::Deserialize;

use super::platform::pin;
use crate::registry::{COSIGN, tag_beside};

/// The annotation with which `cosign save` says what an entry is.
const KIND: &str = "kind";
/// What it is for signatures and attestations, and how their tags end.
const SAVED: [(&str, &str); 2] =
    [("dev.cosignproject.cosign/sigs", "sig"), ("dev.cosignproject.cosign/atts", "att")];

/// An entry of `index.json` that is no image of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aside {
    /// What it is about; nothing where that is the image that was saved with it.
    subject: Option<Digest>,
    /// How the tag ends that it has or is given.
    ending: String,
}

impl Aside {
    /// By the entry itself. `names` are those that it goes by.
    pub(super) fn of_entry<'a>(entry: &Descriptor, mut names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let kind = entry.annotations().as_ref().and_then(|all| all.get(KIND));
        let saved = SAVED.iter().find(|(known, _)| kind.is_some_and(|kind| kind == known));
        if let Some((_, ending)) = saved {
            return Some(Self { subject: None, ending: (*ending).to_owned() });
        }
        names.find_map(Self::of_name)
    }

    /// By the manifest or index that an entry is of.
    pub(super) fn of_manifest(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Referrer {
            subject: Option<Descriptor>,
        }
        let referrer: Referrer = serde_json::from_slice(bytes).ok()?;
        let subject = pin(&referrer.subject?).ok()?.digest;
        Some(Self { subject: Some(subject), ending: Digest::of(bytes).short() })
    }

    fn of_name(name: &str) -> Option<Self> {
        let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
        let (hex, ending) = tag.strip_prefix("sha256-")?.split_once('.')?;
        let subject = format!("sha256:{hex}").parse().ok().filter(|_| COSIGN.contains(&ending))?;
        Some(Self { subject: Some(subject), ending: ending.to_owned() })
    }

    /// Whether it is about a manifest or index. `image` is the one that was saved.
    pub(super) fn is_about(&self, subject: &Digest, image: &Digest) -> bool {
        self.subject.as_ref().unwrap_or(image) == subject
    }

    /// The tag that it has or is given, beside what it is about.
    pub(super) fn tag(&self, subject: &Digest) -> String {
        tag_beside(subject, &self.ending)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(kind: &str) -> Descriptor {
        let value = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(b"x").to_string(), "size": 1, "annotations": { "kind": kind },
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn signatures_are_told_from_images_by_their_tag_or_mark() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let tagged = format!("r.example/app:sha256-{}.sig", one.hex());
        let aside = Aside::of_entry(&entry("x"), [tagged.as_str()].into_iter()).unwrap();
        assert!(aside.is_about(&one, &other) && !aside.is_about(&other, &other));
        assert_eq!(aside.tag(&one), format!("sha256-{}.sig", one.hex()));

        let saved = Aside::of_entry(&entry("dev.cosignproject.cosign/atts"), [].into_iter()).unwrap();
        assert!(saved.is_about(&one, &one) && !saved.is_about(&one, &other));
        assert_eq!(saved.tag(&one), format!("sha256-{}.att", one.hex()));

        let no_digest = "r.example/app:sha256-12.sig";
        let unknown = format!("sha256-{}.zip", one.hex());
        for name in ["v1", "r.example:5000/app", no_digest, &unknown] {
            assert_eq!(Aside::of_entry(&entry("dev.cosignproject.cosign/image"), [name].into_iter()), None);
        }
    }

    #[test]
    fn a_subject_is_read_from_manifest_and_index() {
        let subject = json!({ "mediaType": "x/y", "digest": Digest::of(b"s").to_string(), "size": 1 });
        for list in ["layers", "manifests"] {
            let bytes =
                serde_json::to_vec(&json!({ "schemaVersion": 2, list: [], "subject": subject })).unwrap();
            let aside = Aside::of_manifest(&bytes).unwrap();
            assert!(aside.is_about(&Digest::of(b"s"), &Digest::of(b"x")));
        }
        for text in ["", "{}", "{\"subject\": null}", "{\"subject\": {\"digest\": \"sha512:00\"}}"] {
            assert_eq!(Aside::of_manifest(text.as_bytes()), None, "{text}");
        }
    }
}
