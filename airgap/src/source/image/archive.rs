//! An image in a local file or folder: an OCI image layout, as a folder or as an archive of one, or an archive of `docker save`.
//!
//! What it is shows from what is in it: a layout has `oci-layout`, Docker's older archive has `manifest.json` alone. A layout's blobs are taken as they
//! are, and what lies beside its images says something of them (`aside.rs`). Docker's archive has no manifest and no compressed layers; both are made, in
//! the same way on every machine (`docker.rs`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use oci_spec::image::{Descriptor, ImageIndex};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Pinned};

use super::aside::Aside;
use super::files::Files;
use super::platform::pin;
use super::{Said, Shelf, docker};
use crate::error::SourceError;
use crate::source::{Job, folder};
use crate::store::Store;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Where containerd and Docker put the full name, as the one above may hold the tag alone.
const FULL_NAME: &str = "io.containerd.image.name";

/// See the module.
pub(in crate::source) struct ArchiveShelf {
    /// Path below one of the folders searched.
    pub(in crate::source) path: String,
    /// Name of the image in it; needed where it holds several.
    pub(in crate::source) image: Option<String>,
}

/// An archive that was opened.
#[derive(Clone)]
pub(super) struct Archive {
    pub(super) path: PathBuf,
    pub(super) files: Arc<Files>,
    pub(super) store: Store,
}

impl Archive {
    /// Whether it is an image layout.
    fn is_layout(&self) -> bool {
        self.files.has("oci-layout") && self.files.has("index.json")
    }

    /// The error that says why the archive cannot be used.
    pub(super) fn unusable(&self, reason: &(impl fmt::Display + ?Sized)) -> SourceError {
        SourceError::Malformed { what: self.path.display().to_string(), reason: reason.to_string() }
    }

    /// The manifest or index that a name stands for.
    fn stands_for(&self, name: Option<&str>) -> Result<Vec<u8>, SourceError> {
        if self.is_layout() { self.top(name) } else { docker::manifest(self, name) }
    }

    /// The manifest or index that a name stands for in a layout.
    fn top(&self, name: Option<&str>) -> Result<Vec<u8>, SourceError> {
        let index = self.index()?;
        let mut found = Vec::new();
        for entry in index.manifests().iter().filter(|entry| is_named(entry, name)) {
            if self.aside(entry)?.is_none() {
                found.push(entry.clone());
            }
        }
        // Tools that list every manifest name only the image that was meant.
        if found.iter().any(is_called) {
            found.retain(is_called);
        }
        match found.as_slice() {
            [one] => self.document(&pin(one).map_err(|reason| self.unusable(&reason))?.digest),
            [] => {
                Err(self.unusable(&format!("it has no image {}, only {}", name.unwrap_or(""), names(&index))))
            }
            several if several.iter().all(|entry| entry.platform().is_some()) => {
                let mut index = index.clone();
                index.set_manifests(found);
                serde_json::to_vec(&index).map_err(|error| self.unusable(&error))
            }
            _ => Err(self.unusable(&format!("it has several images, so say which: {}", names(&index)))),
        }
    }

    /// A layout's list of what is in it.
    fn index(&self) -> Result<ImageIndex, SourceError> {
        let text = self.files.document("index.json").map_err(|error| self.unusable(&error))?;
        serde_json::from_slice(&text).map_err(|error| self.unusable(&format!("its index.json: {error}")))
    }

    /// An entry of that list as something that is said, where it is no image of its own.
    fn aside(&self, entry: &Descriptor) -> Result<Option<Aside>, SourceError> {
        let (aside, pin) = (Aside::of_entry(entry, names_of(entry)), pin(entry));
        match pin {
            Ok(pin) if aside.is_none() && self.has_blob(&pin.digest) => {
                Ok(Aside::of_manifest(&self.document(&pin.digest)?))
            }
            _ => Ok(aside),
        }
    }

    /// What is said in a layout of a manifest or an index; in Docker's archive there is no place for it.
    fn said_of(&self, name: Option<&str>, subject: &Digest) -> Result<Option<Vec<Said>>, SourceError> {
        if !self.is_layout() {
            return Ok(None);
        }
        let image = Digest::of(&self.top(name)?);
        let mut said = Vec::new();
        for entry in self.index()?.manifests() {
            let Some(aside) = self.aside(entry)?.filter(|aside| aside.is_about(subject, &image)) else {
                continue;
            };
            let pin = pin(entry).map_err(|reason| self.unusable(&reason))?;
            said.push(Said { tag: aside.tag(subject), bytes: self.document(&pin.digest)? });
        }
        Ok(Some(said))
    }

    /// Whether a layout has a blob.
    fn has_blob(&self, digest: &Digest) -> bool {
        self.files.has(&blob_name(digest))
    }

    /// A manifest or configuration of a layout, compared with its digest.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        let bytes = self.files.document(&blob_name(digest)).map_err(|error| self.unusable(&error))?;
        self.compare(digest, Digest::of(&bytes)).map(|()| bytes)
    }

    /// Copies a blob of a layout into the store.
    fn blob(&self, pin: &Pinned) -> Result<(), SourceError> {
        if self.store.holds(pin)? {
            return Ok(());
        }
        let (mut reader, _) =
            self.files.open_file(&blob_name(&pin.digest)).map_err(|error| self.unusable(&error))?;
        let found = self.store.put_reader(&mut reader)?;
        if found.digest != pin.digest {
            self.store.discard(&found.digest)?;
        }
        self.compare(&pin.digest, found.digest)
    }

    fn compare(&self, expected: &Digest, found: Digest) -> Result<(), SourceError> {
        if found == *expected {
            return Ok(());
        }
        let what = format!("{}, member {}", self.path.display(), blob_name(expected));
        let hint = Some("the archive is damaged: make it again".to_owned());
        Err(SourceError::WrongDigest { what, expected: *expected, found, hint })
    }
}

/// The member of a layout that holds a blob.
fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Whether an entry of `index.json` goes by a name, which may be its tag alone. Every image does where no name is asked for.
fn is_named(entry: &Descriptor, name: Option<&str>) -> bool {
    let Some(name) = name else { return true };
    let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
    names_of(entry).any(|known| known == name || known == tag)
}

/// Whether it has a name at all.
fn is_called(entry: &Descriptor) -> bool {
    names_of(entry).next().is_some()
}

fn names_of(entry: &Descriptor) -> impl Iterator<Item = &str> {
    let annotation = |key: &str| entry.annotations().as_ref()?.get(key).map(String::as_str);
    [FULL_NAME, REF_NAME].into_iter().filter_map(annotation)
}

fn names(index: &ImageIndex) -> String {
    let mut names: Vec<_> = index.manifests().iter().filter_map(|entry| names_of(entry).next()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "images without a name".to_owned() } else { names.join(", ") }
}

impl ArchiveShelf {
    /// Does something with the archive, away from the async tasks.
    async fn with<T: Send + 'static>(
        &self,
        job: &Job<'_>,
        work: impl FnOnce(&Archive, Option<&str>) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let path = folder::find(&self.path, &job.context.settings.folders, Path::exists)?.swap_remove(0);
        let store = job.context.store.clone();
        let slot = job.context.archives.slot(path.clone());
        let image = self.image.clone();
        let open = || async {
            let (path, store) = (path.clone(), store.clone());
            let open = move || Files::open(&path, &store).map(Arc::new).map_err(|error| (path, error));
            crate::blocking(open).await
        };
        let files = slot.get_or_try_init(open).await;
        let files = files.map_err(|(path, error)| unreadable(&path, error))?.clone();
        let archive = Archive { path, files, store };
        crate::blocking(move || work(&archive, image.as_deref())).await
    }
}

fn unreadable(path: &Path, error: io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::Other => {
            SourceError::Malformed { what: path.display().to_string(), reason: error.to_string() }
        }
        _ => SourceError::Local { path: path.to_owned(), source: error },
    }
}

#[async_trait]
impl Shelf for ArchiveShelf {
    fn label(&self) -> String {
        match &self.image {
            Some(image) => format!("archive {} ({image})", self.path),
            None => format!("archive {}", self.path),
        }
    }

    fn voucher(&self) -> String {
        format!("as it lies in {}", self.path)
    }

    async fn top(&self, job: &Job<'_>) -> Result<Vec<u8>, SourceError> {
        self.with(job, Archive::stands_for).await
    }

    async fn manifest(&self, job: &Job<'_>, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        let digest = *digest;
        self.with(job, move |archive, name| {
            if archive.is_layout() {
                return archive.document(&digest);
            }
            let bytes = docker::manifest(archive, name)?;
            archive.compare(&digest, Digest::of(&bytes)).map(|()| bytes)
        })
        .await
    }

    async fn blob(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        let pin = *pin;
        self.with(job, move |archive, _| {
            if archive.is_layout() {
                return archive.blob(&pin);
            }
            // Reading the manifest of Docker's archive has put everything into the store.
            if archive.store.holds(&pin)? { Ok(()) } else { Err(archive.unusable("a layer is gone")) }
        })
        .await
    }

    async fn said_of(&self, job: &Job<'_>, subject: &Digest) -> Result<Option<Vec<Said>>, SourceError> {
        let subject = *subject;
        self.with(job, move |archive, name| archive.said_of(name, &subject)).await
    }

    async fn has(&self, job: &Job<'_>, manifest: &Digest) -> Result<bool, SourceError> {
        let digest = *manifest;
        self.with(job, move |archive, _| Ok(archive.is_layout() && archive.has_blob(&digest))).await
    }

    fn pinned(&self, _manifest: &Digest) -> lock::Source {
        lock::Source::Archive { path: self.path.clone(), image: self.image.clone() }
    }
}

/// Reads all that there is of an image of any name.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(path: &Path, store: &Store) -> Result<(), SourceError> {
    use super::platform::{Top, choose, image_blobs, platform_of};
    use qiji_blueprint::site::Arch;

    let Ok(files) = Files::open(path, store) else { return Ok(()) };
    let archive = Archive { path: path.to_owned(), files: Arc::new(files), store: store.clone() };
    for name in [None, Some("a:1")] {
        let Ok(bytes) = archive.stands_for(name) else { continue };
        let manifests = match Top::read(&bytes) {
            Ok(Top::Index(index)) => {
                let chosen = Arch::ALL.into_iter().filter_map(|arch| pin(choose(&index, arch).ok()?).ok());
                chosen.filter_map(|pin| archive.document(&pin.digest).ok()).collect()
            }
            _ => vec![bytes],
        };
        for blob in manifests.iter().flat_map(|manifest| image_blobs(manifest).unwrap_or_default()) {
            archive.blob(&blob)?;
            platform_of(&archive.document(&blob.digest)?).ok();
        }
    }
    Ok(())
}
