//! Reading a bundle, in two steps of trust.
//!
//! [`Untrusted::open`] reads headers and documents and checks that they fit together; it costs the same for a small bundle and a large one.
//! [`Untrusted::verify`] then checks the signatures, which is quick, and last every byte. Only [`Verified`] gives out contents.
//!
//! The file stays open: what was verified cannot be swapped for another file of the same name, and what is read later is hashed again.

mod apart;
mod blob;
mod checks;
mod lanes;
mod medium;
pub(crate) mod parse;
mod pass;
mod scan;
mod side;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qiji_blueprint::Digest;
use qiji_blueprint::site::Arch;

pub use blob::{BlobRange, VerifyingReader};
pub use medium::{FileMedium, Medium, Stamp};
pub use side::Side;

use self::checks::Pass;
use self::parse::Parsed;
use self::scan::Members;
use crate::BlobSource;
use crate::Progress;
use crate::contents::{
    Blob, ChartEntry, Contents, DocumentEntry, ImageEntry, Owner, PackageEntry, SbomEntry, UpstreamEntry,
};
use crate::dsse::Envelope;
use crate::error::{Fault, VerifyError};
use crate::hash;
use crate::inspect::{Inspection, inspect};
use crate::key::KeyId;
use crate::sbom::{Description, SbomError};
use crate::trust::TrustedKeys;
use crate::volumes::{VolumeSet, is_set, is_unrestorable};

/// A bundle that has been read but not verified: good for showing, not for acting upon.
#[derive(Debug)]
pub struct Untrusted {
    bundle: Bundle,
}

/// A bundle of which every byte is what its documents say, but whoever wrote those is not known: good for signing.
#[derive(Debug)]
pub struct Whole {
    bundle: Bundle,
}

/// A bundle whose signatures and bytes hold. Cheap to clone; clones share one open file.
#[derive(Debug, Clone)]
pub struct Verified {
    bundle: Arc<Bundle>,
    signers: Vec<KeyId>,
}

/// A bill of materials of a bundle.
#[derive(Debug)]
pub struct Sbom {
    /// What it is about, and its bytes.
    pub entry: SbomEntry,
    /// What it says, where it is of the shape that qiji writes.
    pub description: Result<Description, SbomError>,
}

#[derive(Debug)]
struct Bundle {
    path: PathBuf,
    medium: Arc<dyn Medium>,
    /// The medium once more, where it is a set of volumes.
    volumes: Option<Arc<VolumeSet>>,
    /// The medium's stamp before anything was read.
    stamp: Option<Stamp>,
    members: Members,
    parsed: Parsed,
}

impl Untrusted {
    /// Reads structure and documents. Everything but the bytes of large blobs and the signatures is checked here already.
    ///
    /// `path` is a bundle's file, or names a set of volumes: the folder that they lie in, one of them, or what their names have in common.
    pub fn open(path: &Path) -> Result<Self, VerifyError> {
        if is_set(path) {
            let set = VolumeSet::open(path).map_err(Fault::Volumes).map_err(VerifyError::at(path))?;
            return Self::over_volumes(Arc::new(set), path);
        }
        let file = FileMedium::open(path).map_err(Fault::Open).map_err(VerifyError::at(path))?;
        Self::over(Arc::new(file), path)
    }

    /// Reads structure and documents from a medium; `path` is what messages call it.
    pub fn over(medium: Arc<dyn Medium>, path: &Path) -> Result<Self, VerifyError> {
        let stamp = medium.stamp();
        let read = || {
            let members = scan::scan(&*medium)?;
            let parsed = parse::parse(&*medium, &members)?;
            Ok((members, parsed))
        };
        let (members, parsed) = read().map_err(VerifyError::at(path))?;
        Ok(Self { bundle: Bundle { path: path.to_owned(), medium, volumes: None, stamp, members, parsed } })
    }

    /// Reads structure and documents from a set of volumes; `path` is what messages call it.
    pub fn over_volumes(set: Arc<VolumeSet>, path: &Path) -> Result<Self, VerifyError> {
        let opened = Self::over(Arc::clone(&set) as Arc<dyn Medium>, path);
        let Self { bundle } = opened.map_err(|VerifyError { path, fault }| {
            let fault = explain(Some(&set), *fault, &mut |_| ());
            VerifyError { path, fault: Box::new(fault) }
        })?;
        Ok(Self { bundle: Bundle { volumes: Some(set), ..bundle } })
    }

    /// Checks signatures, then every byte of the file, in one pass.
    pub fn verify(
        self,
        trusted: &TrustedKeys,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Verified, VerifyError> {
        let bundle = self.bundle;
        let mut check = || {
            let signers = bundle.check_signatures(trusted)?;
            bundle.check_bytes(progress)?;
            Ok(signers)
        };
        let signers = check().map_err(VerifyError::at(&bundle.path))?;
        Ok(Verified { bundle: Arc::new(bundle), signers })
    }

    /// Name that the bundle claims.
    pub fn name(&self) -> &str {
        &self.bundle.parsed.contents.name
    }

    /// Checks every byte of the file, but no signature: for whoever is about to sign it.
    pub fn check_bytes(self, progress: &mut dyn FnMut(Progress)) -> Result<Whole, VerifyError> {
        self.bundle.check_bytes(progress).map_err(VerifyError::at(&self.bundle.path))?;
        Ok(Whole { bundle: self.bundle })
    }

    /// Whether it says that it is a delta.
    pub fn is_delta(&self) -> bool {
        self.contents().documents.iter().any(|document| document.name == crate::RECIPE_DOCUMENT)
    }

    /// Opens a blob as a source of bytes that somebody else compares with their digest.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Option<BlobRange> {
        self.bundle.range(digest, 0)
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.bundle.parsed.contents
    }

    pub(crate) fn root(&self) -> Digest {
        self.bundle.parsed.root.digest
    }

    /// What the bundle claims that its images, packages and charts are made of.
    pub fn sboms(&self) -> Result<Vec<Sbom>, VerifyError> {
        self.bundle.sboms().map_err(VerifyError::at(&self.bundle.path))
    }

    /// A summary of what the bundle claims to hold, with signatures judged by `trusted`, if given.
    pub fn inspect(&self, trusted: Option<&TrustedKeys>) -> Inspection {
        self.bundle.inspect(trusted)
    }
}

impl Whole {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.bundle.path
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.bundle.members.length
    }

    /// A summary of what the bundle holds.
    pub fn inspect(&self) -> Inspection {
        self.bundle.inspect(None)
    }

    /// Keys in whose names it is signed.
    pub fn signers(&self) -> Vec<KeyId> {
        let found = self.envelope().signatures(None).unwrap_or_default();
        found.into_iter().map(|(key, _)| key).collect()
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.bundle.parsed.contents
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.bundle.parsed.envelope
    }

    pub(crate) fn channel(&self) -> &str {
        &self.bundle.parsed.channel
    }
}

/// The bytes of a file that is whole; the writer compares each blob with its digest once more.
impl BlobSource for Whole {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn io::Read + '_>> {
        let range = self.bundle.range(digest, 0).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(range))
    }
}

impl Verified {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.bundle.path
    }

    /// The volumes, where it is a set of them.
    pub fn volumes(&self) -> Option<&VolumeSet> {
        self.bundle.volumes.as_deref()
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.bundle.members.length
    }

    /// Name of the bundle.
    pub fn name(&self) -> &str {
        &self.contents().name
    }

    /// Version of the bundle.
    pub fn version(&self) -> &str {
        &self.contents().version
    }

    /// Edition that it was made for; empty for none.
    pub fn edition(&self) -> &str {
        &self.contents().edition
    }

    /// Channel that it is released to; empty for none.
    pub fn channel(&self) -> &str {
        &self.bundle.parsed.channel
    }

    /// Holds the signatures to other keys, or to another policy, than the bundle was verified with. No byte is read again. Gives the trusted
    /// keys that signed it.
    pub fn hold_to(&self, trusted: &TrustedKeys) -> Result<Vec<KeyId>, VerifyError> {
        self.bundle.check_signatures(trusted).map_err(VerifyError::at(&self.bundle.path))
    }

    /// Digest of the root index.
    pub fn root(&self) -> Digest {
        self.bundle.parsed.root.digest
    }

    /// Trusted keys that signed it, sorted.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// Images, by name and architecture; all, or those of one architecture.
    pub fn images(&self, arch: Option<Arch>) -> impl Iterator<Item = &ImageEntry> {
        self.contents().images.iter().filter(move |image| arch.is_none_or(|arch| image.arch == arch))
    }

    /// What others say of images, and the indexes that images are from, by name.
    pub fn upstreams(&self) -> impl Iterator<Item = &UpstreamEntry> {
        self.contents().upstreams.iter()
    }

    /// Host packages of an architecture, by name.
    pub fn packages(&self, arch: Arch) -> impl Iterator<Item = &PackageEntry> {
        self.contents().packages.iter().filter(move |package| package.arch == arch)
    }

    /// A host package.
    pub fn package(&self, name: &str, arch: Arch) -> Option<&PackageEntry> {
        self.packages(arch).find(|package| package.name == name)
    }

    /// Helm charts, by release.
    pub fn charts(&self) -> impl Iterator<Item = &ChartEntry> {
        self.contents().charts.iter()
    }

    /// Documents, by name.
    pub fn documents(&self) -> impl Iterator<Item = &DocumentEntry> {
        self.contents().documents.iter()
    }

    /// The bytes of a document, read whole; nothing if the bundle has none of that name.
    pub fn document(&self, name: &str) -> Result<Option<Vec<u8>>, VerifyError> {
        let Some(entry) = self.documents().find(|document| document.name == name) else { return Ok(None) };
        let mut bytes = Vec::new();
        self.blob(&entry.blob.digest)?.read_to_end(&mut bytes).map_err(|error| self.failed(error))?;
        Ok(Some(bytes))
    }

    /// What images and packages are made of, by name and architecture.
    pub fn sboms(&self) -> Result<Vec<Sbom>, VerifyError> {
        self.bundle.sboms().map_err(VerifyError::at(&self.bundle.path))
    }

    /// Opens a blob; its bytes are hashed again while they are read.
    pub fn blob(&self, digest: &Digest) -> Result<VerifyingReader, VerifyError> {
        self.bundle.blob(digest)
    }

    /// Whether nothing has been written to the file since it was verified; `false` where that cannot be told.
    pub fn is_unchanged(&self) -> bool {
        self.bundle.stamp.is_some() && self.bundle.medium.stamp() == self.bundle.stamp
    }

    /// Opens a blob at an offset, for transfer in pieces. What it gives is not hashed again.
    pub fn open_blob_at(&self, digest: &Digest, offset: u64) -> Result<BlobRange, VerifyError> {
        self.bundle.range_that_is_there(digest, offset)
    }

    /// Bytes of a blob, if it is in the bundle.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        self.bundle.members.blobs.get(digest).map(|extent| extent.size)
    }

    /// Every blob, in the order in which they lie.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        self.bundle.members.blobs.keys().copied()
    }

    /// What a blob belongs to; the first, where it belongs to several.
    pub fn owner(&self, digest: &Digest) -> Option<&Owner> {
        self.bundle.parsed.owners.get(digest)
    }

    /// A summary of what the bundle holds.
    pub fn inspect(&self, trusted: &TrustedKeys) -> Inspection {
        Inspection { verified: true, ..self.bundle.inspect(Some(trusted)) }
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.bundle.parsed.contents
    }

    pub(crate) fn failed(&self, error: io::Error) -> VerifyError {
        self.bundle.failed(error)
    }
}

/// Where volumes could not be restored, every one is read to say all that is wrong with them.
fn explain(volumes: Option<&VolumeSet>, fault: Fault, progress: &mut dyn FnMut(Progress)) -> Fault {
    match (volumes, &fault) {
        (Some(set), Fault::Read(cause)) if is_unrestorable(cause) => {
            set.survey(progress);
            set.hopeless().map_or(fault, Fault::Hopeless)
        }
        _ => fault,
    }
}

impl Bundle {
    /// The bytes of a blob from an offset on, if it is in the bundle.
    fn range(&self, digest: &Digest, offset: u64) -> Option<BlobRange> {
        let extent = self.members.blobs.get(digest).copied()?;
        Some(BlobRange::new(Arc::clone(&self.medium), extent, offset))
    }

    fn range_that_is_there(&self, digest: &Digest, offset: u64) -> Result<BlobRange, VerifyError> {
        let missing = || Fault::Missing { digest: *digest, owner: Owner::Root };
        self.range(digest, offset).ok_or_else(missing).map_err(VerifyError::at(&self.path))
    }

    /// Opens a blob; its bytes are hashed again while they are read.
    fn blob(&self, digest: &Digest) -> Result<VerifyingReader, VerifyError> {
        let range = self.range_that_is_there(digest, 0)?;
        let owner = self.parsed.owners.get(digest).cloned().unwrap_or(Owner::Root);
        Ok(VerifyingReader::new(range, *digest, owner, self.path.clone()))
    }

    fn failed(&self, error: io::Error) -> VerifyError {
        match error.downcast::<VerifyError>() {
            Ok(error) => error,
            Err(error) => VerifyError { path: self.path.clone(), fault: Box::new(Fault::Read(error)) },
        }
    }

    fn check_signatures(&self, trusted: &TrustedKeys) -> Result<Vec<KeyId>, Fault> {
        let Parsed { contents, envelope, channel, .. } = &self.parsed;
        let signers = envelope.check(trusted)?;
        trusted.admit(&contents.edition, channel, &signers)?;
        Ok(signers)
    }

    fn check_bytes(&self, progress: &mut dyn FnMut(Progress)) -> Result<(), Fault> {
        let (medium, members, parsed) = (&*self.medium, &self.members, &self.parsed);
        let outcome = pass::run(Pass { medium, members, parsed }, progress);
        outcome.map_err(|fault| explain(self.volumes.as_deref(), fault, progress))
    }

    fn inspect(&self, trusted: Option<&TrustedKeys>) -> Inspection {
        inspect(&self.parsed, self.members.length, trusted)
    }

    fn sboms(&self) -> Result<Vec<Sbom>, Fault> {
        let read = |entry: &SbomEntry| {
            let bytes = self.small(&entry.blob, &entry.owner())?;
            Ok(Sbom { entry: entry.clone(), description: Description::from_spdx(&bytes) })
        };
        self.parsed.contents.sboms.iter().map(read).collect()
    }

    /// The bytes of a blob that the documents name, compared with its digest. Its size was compared when the bundle was opened.
    fn small(&self, blob: &Blob, owner: &Owner) -> Result<Vec<u8>, Fault> {
        let (digest, missing) = (blob.digest, Fault::Missing { digest: blob.digest, owner: owner.clone() });
        let extent = self.members.blobs.get(&digest).copied().ok_or(missing)?;
        let bytes = scan::read_extent(&*self.medium, extent).map_err(Fault::Read)?;
        if hash::digest(&bytes) == digest {
            return Ok(bytes);
        }
        Err(Fault::Blob { digest, owner: owner.clone(), start: extent.start, end: extent.end() })
    }
}
