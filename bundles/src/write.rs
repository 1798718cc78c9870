//! Writing a bundle.
//!
//! 1. The spec is checked, with image manifests read from the source and compared with what the spec says of them; all faults at once.
//! 2. Documents are rendered, the statement signed by the keys that are given, and every member's size is known.
//! 3. Members are written in order to `FILE.partial`; each blob is hashed while it is copied.
//! 4. The file is synced and renamed to its name, and the folder is synced.
//!
//! After an error the partial file is removed. Two writers must not write the same file at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use fs_err::File;
use qiji_blueprint::Digest;

use crate::Progress;
use crate::contents::{Blob, BundleSpec, Contents, ImageEntry, Owner, is_channel};
use crate::dsse::Envelope;
use crate::error::WriteError;
use crate::hash::{self, BUFFER, Hasher};
use crate::key::SigningKey;
use crate::oci::{LAYOUT, Manifest};
use crate::render::{self, Rendered};
use crate::statement::IN_TOTO;
use crate::tar;

/// Where blobs come from, such as a content-addressed store.
pub trait BlobSource {
    /// Opens a blob from its start.
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>>;
}

/// A bundle that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file.
    pub size: u64,
    /// Digest of the root index, which names all of the contents.
    pub root: Digest,
}

/// Writes a bundle to `out`, replacing a file of that name once the new one is complete. Without keys it is unsigned, and waits for
/// [`sign`](crate::sign).
pub fn write(
    spec: &BundleSpec,
    source: &dyn BlobSource,
    keys: &[&SigningKey],
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Written, WriteError> {
    plan(spec, &Contents::of(spec), source, keys)?.write(source, out, progress)
}

/// What [`write()`] will write; `contents` are those of `spec`.
pub(crate) fn plan<'a>(
    spec: &'a BundleSpec,
    contents: &Contents,
    source: &dyn BlobSource,
    keys: &[&SigningKey],
) -> Result<Plan<'a>, WriteError> {
    let members = gather(spec, contents, source)?;
    let rendered = render::render(contents);
    let mut envelope = Envelope::new(IN_TOTO, &rendered.about(contents).statement(&spec.channel));
    envelope.sign(keys);
    Ok(Plan::new(members, rendered, &envelope))
}

/// All members of a bundle but `oci-layout`, with what is known of them before anything is written.
pub(crate) struct Plan<'a> {
    root: Digest,
    blobs: Members<'a>,
    index: Vec<u8>,
}

/// Blobs by digest.
pub(crate) type Members<'a> = BTreeMap<Digest, Member<'a>>;

/// A blob that is to be written.
pub(crate) struct Member<'a> {
    owner: Owner,
    size: u64,
    /// The bytes, where they are at hand; otherwise they come from the source.
    bytes: Option<Cow<'a, [u8]>>,
}

/// Checks the spec and lists its blobs, documents and manifests with their bytes.
fn gather<'a>(
    spec: &'a BundleSpec,
    contents: &Contents,
    source: &dyn BlobSource,
) -> Result<Members<'a>, WriteError> {
    let mut faults = contents.faults();
    if !is_channel(&spec.channel) {
        faults.push(format!(
            "channel `{}` has characters other than lower-case letters, digits and .-",
            spec.channel
        ));
    }
    let mut members = members(contents, &mut faults);
    if !faults.is_empty() {
        return Err(WriteError::Spec(faults));
    }
    for image in &contents.images {
        match read_manifest(image, source)? {
            Ok(bytes) => store(&mut members, image.owner(), Cow::Owned(bytes)),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(WriteError::Spec(faults));
    }
    for (name, bytes) in &spec.documents {
        store(&mut members, Owner::Document { name: name.clone() }, Cow::Borrowed(bytes));
    }
    for (subject, bytes) in &spec.sboms {
        store(&mut members, Owner::Sbom { subject: subject.clone() }, Cow::Borrowed(bytes));
    }
    Ok(members)
}

/// The blobs of some contents, all to come from a source.
pub(crate) fn members<'a>(contents: &Contents, faults: &mut Vec<String>) -> Members<'a> {
    let mut members = Members::new();
    for (owner, blob) in contents.blobs() {
        let member = Member { owner, size: blob.size, bytes: None };
        let known = members.entry(blob.digest).or_insert(member);
        if known.size != blob.size {
            faults.push(format!("blob {} has two sizes, {} and {}", blob.digest, known.size, blob.size));
        }
    }
    members
}

impl<'a> Plan<'a> {
    /// Adds the documents, the signature and `index.json`.
    pub(crate) fn new(mut blobs: Members<'a>, rendered: Rendered, envelope: &Envelope) -> Self {
        for (owner, bytes) in rendered.documents.into_values() {
            store(&mut blobs, owner, Cow::Owned(bytes));
        }
        let envelope = envelope.to_bytes();
        let (signature, manifest) = render::signature(&rendered.root, &envelope);
        store(&mut blobs, Owner::Signature, Cow::Owned(envelope));
        store(&mut blobs, Owner::Signature, Cow::Owned(manifest));
        store(&mut blobs, Owner::Empty, Cow::Borrowed(crate::oci::EMPTY_CONFIG));
        let index = render::index_json(&rendered.root, &signature, &rendered.images);
        Self { root: rendered.root.digest, blobs, index }
    }

    /// A bundle whose blobs are known by digest and size alone, and all come from a source.
    pub(crate) fn given(root: Digest, sizes: impl Iterator<Item = (Digest, u64)>, index: Vec<u8>) -> Self {
        let member = |(digest, size)| (digest, Member { owner: Owner::Root, size, bytes: None });
        Self { root, blobs: sizes.map(member).collect(), index }
    }

    /// Digest of the root index.
    pub(crate) const fn root(&self) -> Digest {
        self.root
    }

    /// Digest and size of each blob, in the file's order.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.blobs.iter().map(|(digest, member)| (*digest, member.size))
    }

    /// The bytes of a blob that does not come from a source.
    pub(crate) fn bytes(&self, digest: &Digest) -> Option<&[u8]> {
        self.blobs.get(digest)?.bytes.as_deref()
    }

    /// The bytes of `index.json`.
    pub(crate) fn index(&self) -> &[u8] {
        &self.index
    }

    /// Bytes of the finished file.
    pub(crate) fn size(&self) -> u64 {
        let tail = [self.index.len(), LAYOUT.len()].map(|size| size as u64);
        let sizes = self.blobs.values().map(|member| member.size).chain(tail);
        sizes.map(|size| tar::BLOCK + size + tar::padding(size)).sum::<u64>() + tar::END
    }

    /// Writes the file under its partial name and gives it its own when it is complete.
    pub(crate) fn write(
        &self,
        source: &dyn BlobSource,
        out: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Written, WriteError> {
        let partial = partial_path(out);
        let done = self.write_partial(source, &partial, progress);
        let done = done.and_then(|()| publish(&partial, out).map_err(WriteError::Output));
        if let Err(error) = done {
            // The first error counts; there may be no file to remove.
            drop(fs_err::remove_file(&partial));
            return Err(error);
        }
        Ok(Written { size: self.size(), root: self.root })
    }

    fn write_partial(
        &self,
        source: &dyn BlobSource,
        partial: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), WriteError> {
        let file = File::create(partial).map_err(WriteError::Output)?;
        let mut output = Output {
            file: BufWriter::with_capacity(BUFFER, file),
            buffer: vec![0; BUFFER],
            done: 0,
            total: self.size(),
            progress,
        };
        for (digest, member) in &self.blobs {
            let name = format!("blobs/sha256/{}", digest.hex());
            match &member.bytes {
                Some(bytes) => output.member(&name, bytes).map_err(WriteError::Output)?,
                None => output.stream(&name, *digest, member, source)?,
            }
        }
        output.member("index.json", &self.index).map_err(WriteError::Output)?;
        output.member("oci-layout", LAYOUT).map_err(WriteError::Output)?;
        output.put(&[0; 2 * 512]).map_err(WriteError::Output)?;
        output
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map_err(WriteError::Output)
    }
}

/// The file that is being written.
struct Output<'p> {
    file: BufWriter<File>,
    buffer: Vec<u8>,
    done: u64,
    total: u64,
    progress: &'p mut dyn FnMut(Progress),
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.done += bytes.len() as u64;
        (self.progress)(Progress { done: self.done, total: self.total });
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros = [0; 512];
        let count = usize::try_from(tar::padding(size)).expect("padding is below 512");
        self.put(&zeros[..count])
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let size = bytes.len() as u64;
        self.put(&tar::header(name, size))?;
        self.put(bytes)?;
        self.pad(size)
    }

    /// Copies a blob from the source and requires that it has its size and digest.
    fn stream(
        &mut self,
        name: &str,
        digest: Digest,
        member: &Member<'_>,
        source: &dyn BlobSource,
    ) -> Result<(), WriteError> {
        let owner = || member.owner.clone();
        let unreadable = |source| WriteError::Source { digest, owner: owner(), source };
        let differs = |found| WriteError::Differs { digest, owner: owner(), size: member.size, found };
        let mut reader = source.open(&digest).map_err(unreadable)?;
        self.put(&tar::header(name, member.size)).map_err(WriteError::Output)?;
        let mut hasher = Hasher::new();
        let mut copied = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let count = hash::fill(&mut *reader, &mut buffer).map_err(unreadable)?;
            copied += count as u64;
            if count == 0 {
                break;
            }
            if copied > member.size {
                return Err(differs("more bytes".to_owned()));
            }
            hasher.update(&buffer[..count]);
            self.put(&buffer[..count]).map_err(WriteError::Output)?;
        }
        self.buffer = buffer;
        if copied < member.size {
            return Err(differs(format!("{copied} bytes")));
        }
        let found = hasher.finish();
        if found != digest {
            return Err(differs(format!("bytes with digest {found}")));
        }
        self.pad(member.size).map_err(WriteError::Output)
    }
}

/// Reads an image's manifest; the inner error says how it differs from the spec.
fn read_manifest(image: &ImageEntry, source: &dyn BlobSource) -> Result<Result<Vec<u8>, String>, WriteError> {
    let Blob { digest, size, .. } = image.manifest;
    let unreadable = |source| WriteError::Source { digest, owner: image.owner(), source };
    let mut bytes = Vec::new();
    source
        .open(&digest)
        .and_then(|reader| reader.take(size + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 != size || hash::digest(&bytes) != digest {
        let found = format!("{} bytes with digest {}", bytes.len(), hash::digest(&bytes));
        return Err(WriteError::Differs { digest, owner: image.owner(), size, found });
    }
    Ok(check_manifest(image, &bytes).map(|()| bytes))
}

fn check_manifest(image: &ImageEntry, bytes: &[u8]) -> Result<(), String> {
    let owner = image.owner();
    let manifest: Manifest = serde_json::from_slice(bytes)
        .map_err(|error| format!("{owner}: the manifest is unreadable: {error}"))?;
    if manifest.media_type.as_ref().is_some_and(|found| *found != image.manifest.media_type) {
        return Err(format!(
            "{owner}: the manifest has another media type than {}",
            image.manifest.media_type
        ));
    }
    let layers: Vec<_> = manifest.layers.iter().map(Blob::from).collect();
    if Blob::from(&manifest.config) != image.config || layers != image.layers {
        return Err(format!(
            "{owner}: the manifest refers to another configuration or other layers than listed"
        ));
    }
    Ok(())
}

fn store<'a>(blobs: &mut Members<'a>, owner: Owner, bytes: Cow<'a, [u8]>) {
    let size = bytes.len() as u64;
    let member = blobs.entry(hash::digest(&bytes)).or_insert(Member { owner, size, bytes: None });
    member.bytes = Some(bytes);
}

fn partial_path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn publish(partial: &Path, out: &Path) -> io::Result<()> {
    fs_err::rename(partial, out)?;
    let folder = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
