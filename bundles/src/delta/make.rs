//! Making a delta.
//!
//! 1. Every blob of the whole bundle that the site does not hold gets an old one to start from, if one is used alike. All that are not at hand are told at once.
//! 2. Of each such blob the content is unpacked, patched from the old content, and what comes of the patch compared; the blob comes whole where it
//!    cannot be packed again to the same bytes, or where the patch is no smaller.
//! 3. Recipe, patches and whole blobs are written as a bundle, which is signed.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use qiji_blueprint::Digest;

use super::error::{DeltaError, Missing};
use super::inventory::Inventory;
use super::packing::{self, Comparing, Packing};
use super::recipe::{
    BLOB_DOCUMENT, Listed, MAX_CONTENT, Old, PATCHES_DOCUMENT, Patched, RECIPE_DOCUMENT, Recipe,
};
use super::uses::{self, Uses};
use super::{old, patch};
use crate::contents::{Blob, BundleSpec, Contents, DocumentEntry};
use crate::hash::Hasher;
use crate::key::SigningKey;
use crate::read::Whole;
use crate::write::{self, BlobSource, Plan};
use crate::{Progress, RAW_FILE, sign};

/// What a blob costs in the delta besides its bytes if it is a document of its own: manifest, headers, its line in the root.
const OWN_DOCUMENT: u64 = 1536;
/// First bytes of what is compressed already: gzip, zstd, xz, bzip2.
const COMPRESSED: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zXZ", b"BZh"];

/// What a delta is made against.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// What the site holds.
    pub inventory: &'a Inventory,
    /// Where the old blobs can be read here.
    pub old: &'a dyn BlobSource,
    /// Whether blobs come whole where the old one to start from is not here; else that is an error.
    pub whole_where_missing: bool,
}

/// A delta that was written, and what became of the blobs of the whole bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenDelta {
    /// Bytes of the delta.
    pub size: u64,
    /// Bytes of the whole bundle.
    pub whole_size: u64,
    /// Digest of the root index of the whole bundle.
    pub root: Digest,
    /// Blobs that the site holds, and their bytes.
    pub held: (usize, u64),
    /// Blobs that are patched, and their bytes.
    pub patched: (usize, u64),
    /// Bytes of the patches.
    pub patches: u64,
    /// Blobs that come whole, and their bytes.
    pub whole: (usize, u64),
}

/// Writes a delta of the bundle that [`write()`](crate::write()) would write with the same arguments. Scratch files are made in the folder of `out`.
pub fn write_delta(
    spec: &BundleSpec,
    source: &dyn BlobSource,
    keys: &[&SigningKey],
    against: &Against<'_>,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<WrittenDelta, DeltaError> {
    if keys.is_empty() {
        return Err(DeltaError::Unsigned);
    }
    let contents = Contents::of(spec);
    let plan = write::plan(spec, &contents, source, keys)?;
    let whole = WholeBundle { plan, contents: &contents, channel: &spec.channel, source };
    whole.delta(against, keys, out, progress)
}

/// Writes a delta of a signed bundle that is there, signed by `keys`; without keys it waits for [`sign`](crate::sign).
pub fn delta_of(
    bundle: &Whole,
    keys: &[&SigningKey],
    against: &Against<'_>,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<WrittenDelta, DeltaError> {
    if bundle.signers().is_empty() {
        return Err(DeltaError::Unsigned);
    }
    let plan = sign::plan(bundle, bundle.envelope());
    let contents = bundle.contents();
    let whole = WholeBundle { plan, contents, channel: bundle.channel(), source: bundle };
    whole.delta(against, keys, out, progress)
}

/// The bundle that the delta shall rebuild.
struct WholeBundle<'a> {
    plan: Plan<'a>,
    contents: &'a Contents,
    channel: &'a str,
    source: &'a dyn BlobSource,
}

impl BlobSource for WholeBundle<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        match self.plan.bytes(digest) {
            Some(bytes) => Ok(Box::new(bytes)),
            None => self.source.open(digest),
        }
    }
}

impl WholeBundle<'_> {
    fn delta(
        &self,
        against: &Against<'_>,
        keys: &[&SigningKey],
        out: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<WrittenDelta, DeltaError> {
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let uses = uses::of(self.contents);
        let missing = self.missing(against, &uses);
        if !missing.is_empty() && !against.whole_where_missing {
            return Err(DeltaError::OldNotHere(missing));
        }
        let mut maker = Maker::new(against, &uses, folder)?;
        let recipe = maker.recipe(self, progress)?;
        let patches = maker.patches()?;
        let spec = self.spec(&recipe, &patches.blob);
        let source = Pieces { whole: self, patches: &patches };
        let written = write::write(&spec, &source, keys, out, progress)?;
        Ok(summary(&recipe, written.size, self.plan.size()))
    }

    /// Old blobs that patches would start from and that are not at hand.
    fn missing(&self, against: &Against<'_>, uses: &Uses) -> Vec<Missing> {
        let held = &against.inventory.blobs;
        let new = self.plan.sizes().filter(|(digest, _)| !held.contains_key(digest));
        let old = new.filter_map(|(digest, _)| against.inventory.alike(uses.get(&digest)?));
        let mut missing: Vec<Missing> = old
            .filter(|(digest, _)| against.old.open(digest).is_err())
            .map(|(&digest, held)| Missing { digest, used_for: held.uses.join(", ") })
            .collect();
        missing.sort_by_key(|one| one.digest);
        missing.dedup();
        missing
    }

    /// The delta as a bundle.
    fn spec(&self, recipe: &Recipe, patches: &Blob) -> BundleSpec {
        let file = |name: String, blob: Blob| DocumentEntry { name, blob };
        let whole = recipe.whole.iter().map(|&Listed { digest, size }| {
            let blob = Blob { media_type: RAW_FILE.to_owned(), digest, size };
            file(format!("{BLOB_DOCUMENT}{}", digest.hex()), blob)
        });
        let mut files: Vec<DocumentEntry> = whole.collect();
        files.push(file(PATCHES_DOCUMENT.to_owned(), patches.clone()));
        BundleSpec {
            name: self.contents.name.clone(),
            version: self.contents.version.clone(),
            edition: self.contents.edition.clone(),
            channel: self.channel.to_owned(),
            documents: vec![(RECIPE_DOCUMENT.to_owned(), recipe.to_bytes())],
            files,
            ..BundleSpec::default()
        }
    }
}

fn summary(recipe: &Recipe, size: u64, whole_size: u64) -> WrittenDelta {
    let count = |blobs: &[Listed]| (blobs.len(), blobs.iter().map(|blob| blob.size).sum());
    let patched = recipe.patched.iter().chain([&recipe.index]);
    WrittenDelta {
        size,
        whole_size,
        root: recipe.root,
        held: count(&recipe.held),
        patched: (patched.clone().count(), patched.clone().map(|blob| blob.size).sum()),
        patches: patched.map(|blob| blob.length).sum(),
        whole: count(&recipe.whole),
    }
}

/// Where the delta's blobs come from.
struct Pieces<'a> {
    whole: &'a WholeBundle<'a>,
    patches: &'a Patches,
}

impl BlobSource for Pieces<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        if *digest != self.patches.blob.digest {
            return self.whole.open(digest);
        }
        let mut file = &self.patches.file;
        file.rewind()?;
        Ok(Box::new(file))
    }
}

/// All patches, one after another.
struct Patches {
    file: File,
    blob: Blob,
}

/// Decides of each blob how it comes, and makes the patches.
struct Maker<'a> {
    against: &'a Against<'a>,
    uses: &'a Uses,
    folder: PathBuf,
    patches: File,
    /// Bytes of the patches so far.
    at: u64,
}

/// A blob of the whole bundle that is to be patched together.
struct New<'a> {
    digest: Digest,
    size: u64,
    source: &'a dyn BlobSource,
}

impl New<'_> {
    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        self.source.open(&self.digest)
    }
}

impl<'a> Maker<'a> {
    fn new(against: &'a Against<'a>, uses: &'a Uses, folder: &Path) -> Result<Self, DeltaError> {
        Ok(Self { against, uses, folder: folder.to_owned(), patches: old::scratch(folder)?, at: 0 })
    }

    fn recipe(
        &mut self,
        whole: &WholeBundle<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Recipe, DeltaError> {
        let (mut held, mut as_it_is, mut patched) = (Vec::new(), Vec::new(), Vec::new());
        let (mut done, total) = (0, whole.plan.size());
        for (digest, size) in whole.plan.sizes() {
            let listed = Listed { digest, size };
            if self.against.inventory.blobs.get(&digest).is_some_and(|held| held.size == size) {
                held.push(listed);
            } else {
                let start = self.uses.get(&digest).and_then(|uses| self.start(uses));
                match self.patch(&New { digest, size, source: whole }, start)? {
                    Some(made) => patched.push(made),
                    None => as_it_is.push(listed),
                }
            }
            done += size;
            progress(Progress { done, total });
        }
        let index = self.index(whole.plan.index())?;
        let mut recipe = Recipe::new(whole.plan.root(), self.against.inventory.bundles.clone(), index);
        (recipe.held, recipe.whole, recipe.patched) = (held, as_it_is, patched);
        Ok(recipe)
    }

    /// The old blob to start from for one that has these uses.
    fn start(&self, uses: &[String]) -> Option<Digest> {
        let (digest, _) = self.against.inventory.alike(uses)?;
        self.against.old.open(digest).is_ok().then_some(*digest)
    }

    /// The recipe for `index.json`, which is like the root.
    fn index(&mut self, bytes: &[u8]) -> Result<Patched, DeltaError> {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        let digest = hasher.finish();
        let source = Bytes(bytes);
        let new = New { digest, size: bytes.len() as u64, source: &source };
        let start = self.start(&[uses::ROOT.to_owned()]);
        let made = self.patch_content(&new, start, Packing::Plain, u64::MAX)?;
        Ok(made.expect("a patch of any length was asked for"))
    }

    /// The recipe for a blob, with its patch written; nothing if it is better carried whole.
    fn patch(&mut self, new: &New<'_>, start: Option<Digest>) -> Result<Option<Patched>, DeltaError> {
        let failed = || DeltaError::io(format!("unpack blob {}", new.digest));
        let content = old::scratch(&self.folder)?;
        // What cannot be unpacked has no content but itself; a blob that cannot be read is told when it is written.
        let unpacked = new.open().and_then(|blob| packing::unpack(blob, &content, MAX_CONTENT));
        if unpacked.is_err() {
            return Ok(None);
        }
        let Some(packing) = packing::find(&content, || new.open()).map_err(failed())? else {
            return Ok(None);
        };
        if packing == Packing::Plain && is_compressed(&content).map_err(failed())? {
            return Ok(None);
        }
        if packing != Packing::Plain && start.is_none() {
            return Ok(None);
        }
        self.patch_from(new, &content, start, packing, new.size + OWN_DOCUMENT)
    }

    fn patch_content(
        &mut self,
        new: &New<'_>,
        start: Option<Digest>,
        packing: Packing,
        most: u64,
    ) -> Result<Option<Patched>, DeltaError> {
        let failed = || DeltaError::io(format!("read blob {}", new.digest));
        let mut content = old::scratch(&self.folder)?;
        io::copy(&mut new.open().map_err(failed())?, &mut content).map_err(failed())?;
        self.patch_from(new, &content, start, packing, most)
    }

    /// Writes the patch, if it has less than `most` bytes.
    fn patch_from(
        &mut self,
        new: &New<'_>,
        content: &File,
        start: Option<Digest>,
        packing: Packing,
        most: u64,
    ) -> Result<Option<Patched>, DeltaError> {
        let failed = || DeltaError::io(format!("make a patch for blob {}", new.digest));
        let file = old::scratch(&self.folder)?;
        let mut starts = Vec::new();
        if let Some(digest) = start {
            let content = old::add_content(self.against.old, digest, MAX_CONTENT, &file)?;
            let size = self.against.inventory.blobs.get(&digest).map_or(0, |held| held.size);
            starts.push(Old { digest, size, content });
        }
        self.patches.seek(SeekFrom::Start(self.at)).map_err(failed())?;
        patch::make(&file, content, &old::scratch(&self.folder)?, &self.patches).map_err(failed())?;
        let end = self.patches.stream_position().map_err(failed())?;
        let length = end - self.at;
        if length >= most {
            self.patches.set_len(self.at).map_err(failed())?;
            return Ok(None);
        }
        self.check(&file, content, length).map_err(failed())?;
        let size = content.metadata().map_err(failed())?.len();
        let (digest, at) = (new.digest, self.at);
        self.at = end;
        Ok(Some(Patched { digest, size: new.size, at, length, content: size, packing, old: starts }))
    }

    /// Requires that the patch that was just written gives the content: what is carried to a site cannot be mended there.
    fn check(&mut self, old: &File, mut content: &File, length: u64) -> io::Result<()> {
        self.patches.seek(SeekFrom::Start(self.at))?;
        content.rewind()?;
        let size = content.metadata()?.len();
        let patch = (&self.patches).take(length);
        patch::apply(old, patch, size, Comparing::with(BufReader::with_capacity(64 << 10, content)))
    }

    /// The patches as a blob.
    fn patches(mut self) -> Result<Patches, DeltaError> {
        let failed = || DeltaError::io("read the patches");
        self.patches.set_len(self.at).map_err(failed())?;
        self.patches.rewind().map_err(failed())?;
        let mut hasher = Hashing(Hasher::new());
        io::copy(&mut self.patches, &mut hasher).map_err(failed())?;
        let blob = Blob { media_type: RAW_FILE.to_owned(), digest: hasher.0.finish(), size: self.at };
        Ok(Patches { file: self.patches, blob })
    }
}

/// Whether a content begins like something that is compressed already: a patch from nothing would be no smaller.
fn is_compressed(content: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut head = [0; 8];
    let count = content.read_at(&mut head, 0)?;
    Ok(COMPRESSED.iter().any(|magic| head[..count].starts_with(magic)))
}

/// Bytes at hand, whatever their digest.
struct Bytes<'b>(&'b [u8]);

impl BlobSource for Bytes<'_> {
    fn open(&self, _: &Digest) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.0))
    }
}

struct Hashing(Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
