//! What others say of an image: signatures, attestations, bills of materials, and whatever else has it as its subject.
//!
//! 1. Things are said of the image's index, of its manifest for each architecture, and of such things themselves, as of a signed bill of materials.
//! 2. The index is kept too: most signatures are of it. `BuildKit` puts attestations into it, as manifests without a platform.
//! 3. Everything is kept byte for byte, with all its blobs, each compared with its digest.
//!
//! The place that gave the image is asked, and no other: what a mirror does not have is not looked for elsewhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use oci_spec::image::ImageIndex;
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Pinned, Upstream};

use super::platform::{Top, image_blobs, pin};
use super::{Said, Shelf};
use crate::error::SourceError;
use crate::registry::tag_beside;
use crate::source::Job;

/// Most that may be said of one image.
const MOST: usize = 1000;
/// What a manifest in an index is about, as `BuildKit` writes it.
const ABOUT: &str = "vnd.docker.reference.digest";

/// Finds all that is said of an image and of these manifests of it, and puts it into the store.
pub(super) async fn gather<S: Shelf>(
    shelf: &S,
    job: &Job<'_>,
    image: &str,
    manifests: &[Digest],
) -> Result<Vec<Upstream>, SourceError> {
    let mut gathering = Gathering { shelf, job, image, found: BTreeMap::new(), seen: BTreeSet::new() };
    let top = shelf.top(job).await?;
    let mut subjects: VecDeque<Digest> = manifests.iter().copied().collect();
    // An archive may have given an index that it does not have, but that was put together from what it has.
    let index = match Top::read(&top) {
        Ok(Top::Index(index)) if shelf.has(job, &Digest::of(&top)).await? => Some(index),
        _ => None,
    };
    if index.is_some() {
        subjects.push_front(Digest::of(&top));
    }
    gathering.seen.extend(&subjects);
    let mut told = false;
    while let Some(subject) = subjects.pop_front() {
        let Some(said) = shelf.said_of(job, &subject).await? else { break };
        told = true;
        for one in said {
            subjects.extend(gathering.keep(one).await?);
        }
    }
    if let Some(index) = index.filter(|_| told) {
        gathering.keep_index(&top)?;
        for one in gathering.inside(&index, manifests).await? {
            gathering.keep(one).await?;
        }
    }
    Ok(gathering.found.into_values().collect())
}

/// Puts a manifest with its blobs, or an index, into the store.
pub(super) async fn put<S: Shelf>(shelf: &S, job: &Job<'_>, bytes: &[u8]) -> Result<Pinned, SourceError> {
    let malformed = |reason| SourceError::Malformed { what: shelf.label(), reason };
    if let Top::Manifest = Top::read(bytes).map_err(malformed)? {
        for blob in image_blobs(bytes).map_err(malformed)? {
            shelf.blob(job, &blob).await?;
        }
    }
    Ok(job.context.store.put(bytes)?)
}

struct Gathering<'a, S> {
    shelf: &'a S,
    job: &'a Job<'a>,
    image: &'a str,
    /// By name.
    found: BTreeMap<String, Upstream>,
    /// Manifests that were found.
    seen: BTreeSet<Digest>,
}

impl<S: Shelf> Gathering<'_, S> {
    /// Keeps something that is said; gives its digest where it is new.
    async fn keep(&mut self, Said { tag, bytes }: Said) -> Result<Option<Digest>, SourceError> {
        if !self.seen.insert(Digest::of(&bytes)) {
            return Ok(None);
        }
        let pin = put(self.shelf, self.job, &bytes).await?;
        let repository = self.image.rsplit_once(':').map_or(self.image, |(repository, _)| repository);
        self.add(format!("{repository}:{tag}"), pin)?;
        Ok(Some(pin.digest))
    }

    fn keep_index(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        let pin = self.job.context.store.put(bytes)?;
        self.add(self.image.to_owned(), pin)
    }

    fn add(&mut self, name: String, pin: Pinned) -> Result<(), SourceError> {
        let sources = vec![self.shelf.pinned(&pin.digest)];
        self.found.insert(name.clone(), Upstream { name, pin, sources });
        if self.found.len() <= MOST {
            return Ok(());
        }
        let reason = format!("there are more than {MOST} signatures, attestations and the like");
        Err(SourceError::Malformed { what: self.shelf.label(), reason })
    }

    /// The attestations in an index that are about one of these manifests.
    async fn inside(&self, index: &ImageIndex, manifests: &[Digest]) -> Result<Vec<Said>, SourceError> {
        let mut said = Vec::new();
        for entry in index.manifests() {
            let about = entry.annotations().as_ref().and_then(|all| all.get(ABOUT)?.parse::<Digest>().ok());
            let Some(about) = about.filter(|about| manifests.contains(about)) else { continue };
            let pin =
                pin(entry).map_err(|reason| SourceError::Malformed { what: self.shelf.label(), reason })?;
            if !self.shelf.has(self.job, &pin.digest).await? {
                continue;
            }
            let bytes = self.shelf.manifest(self.job, &pin.digest).await?;
            said.push(Said { tag: tag_beside(&about, &pin.digest.short()), bytes });
        }
        Ok(said)
    }
}
