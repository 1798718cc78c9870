//! What artifacts are made of: the first half of a bill of materials. The other half, writing it down, is `qiji_bundle::sbom`.
//!
//! 1. An artifact is recognised by its first bytes: a program (ELF), a Debian package, an archive, an image's manifest.
//! 2. Programs of Go and Rust say themselves what is in them, packages have databases and `copyright` files; images are looked through layer by layer.
//! 3. Where it comes from and how it is built is told by the lock and by the recipe.
//! 4. What was found is remembered under the artifact's digest; while nothing changes it is taken from the store.
//!
//! Guarantees: no network, no clock, no machine's state: the same artifact gives the same answer on any machine. What is not known is left open, never
//! guessed: such parts have no licence, and a file that says nothing of itself has no parts.
//!
//! All artifacts of the lock must be in the store, compared with their digests ([`Fetcher::fetch`](crate::Fetcher::fetch)). It blocks: call it from
//! `spawn_blocking`.

mod chart;
mod copyright;
mod crates;
mod elf;
mod go;
mod licence;
mod origin;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufReader, Read};

use oci_spec::image::ImageManifest;
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Artifact, Chart, Lock, Pinned, Source};
use qiji_blueprint::part::{Ingredient, Part, PartKind, all_of};
use serde::{Deserialize, Serialize};

use self::tree::Tree;
use crate::deb;
use crate::error::chain;
use crate::progress::ArtifactName;
use crate::store::{CHUNK, Store};

/// Raised when the way of looking changes, so that everything is looked at again.
const METHOD: &str = "inside 1";

/// The first bytes of a Debian package, which is an `ar` archive.
const AR: &[u8] = b"!<arch>\n";

/// Most bytes of an image's manifest.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// What is in an artifact could not be found out.
#[derive(Debug, thiserror::Error)]
#[error("cannot find out what is in {artifact}")]
pub struct InsideError {
    /// The artifact.
    pub artifact: ArtifactName,
    /// The cause.
    pub source: io::Error,
}

/// All artifacts that could not be looked into; its text shows all.
#[derive(Debug)]
pub struct InsideErrors {
    /// The faults, in the lock's order.
    pub faults: Vec<InsideError>,
}

impl std::error::Error for InsideErrors {}

impl fmt::Display for InsideErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(|fault| chain(fault)).collect();
        f.write_str(&faults.join("\n"))
    }
}

/// What each artifact of the lock is made of, in the lock's order, then what each chart is.
pub fn ingredients(store: &Store, lock: &Lock) -> Result<Vec<(ArtifactName, Ingredient)>, InsideErrors> {
    let (mut good, mut faults) = (Vec::new(), Vec::new());
    for artifact in &lock.artifacts {
        let name = ArtifactName { name: artifact.name.clone(), arch: Some(artifact.arch) };
        match found(store, artifact) {
            Ok(found) => good.push((name, ingredient(artifact, found))),
            Err(source) => faults.push(InsideError { artifact: name, source }),
        }
    }
    for chart in &lock.charts {
        let name = ArtifactName::of_chart(&chart.name);
        match chart::found(store, chart) {
            Ok(found) => good.push((name, of_chart(chart, found))),
            Err(source) => faults.push(InsideError { artifact: name, source }),
        }
    }
    if faults.is_empty() { Ok(good) } else { Err(InsideErrors { faults }) }
}

/// What the bytes of an artifact say, and nothing else does.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    kind: PartKind,
    /// Name, version and licence, where the artifact says them itself.
    own: Option<Part>,
    /// How it was built.
    how: Option<String>,
    parts: Vec<Part>,
    texts: BTreeMap<String, String>,
}

impl Found {
    fn nothing(kind: PartKind) -> Self {
        Self { kind, own: None, how: None, parts: Vec::new(), texts: BTreeMap::new() }
    }
}

fn ingredient(artifact: &Artifact<Pinned>, found: Found) -> Ingredient {
    let mut parts = found.parts;
    parts.extend(origin::linked(artifact));
    parts.sort();
    parts.dedup();
    let own = found.own.unwrap_or_else(|| Part {
        kind: found.kind,
        name: artifact.name.clone(),
        version: artifact.version.clone(),
        licence: all_of(parts.iter().map(|part| part.licence.as_deref())),
    });
    let origin = origin::told(artifact, found.how.as_deref());
    Ingredient { part: own, digest: artifact.pin.digest, origin, parts, licence_texts: found.texts }
}

fn of_chart(chart: &Chart<Pinned>, (part, parts): (Part, Vec<Part>)) -> Ingredient {
    let origin = origin::told_of_chart(chart);
    Ingredient { part, digest: chart.pin.digest, origin, parts, licence_texts: BTreeMap::new() }
}

fn found(store: &Store, artifact: &Artifact<Pinned>) -> io::Result<Found> {
    let is_image = artifact.sources.iter().any(Source::gives_image);
    let key = key(&artifact.pin.digest, is_image)?;
    if let Some(found) = store.recall(&key) {
        return Ok(found);
    }
    let found = if is_image { image(store, &artifact.pin) } else { file(store, &artifact.pin) }?;
    store.remember(&key, &found).map_err(io::Error::other)?;
    Ok(found)
}

fn key(digest: &Digest, is_image: bool) -> io::Result<Digest> {
    let parts = (METHOD, digest, is_image, Digest::of(go::TABLE.as_bytes()));
    Ok(Digest::of(&serde_json::to_vec(&parts)?))
}

fn open(store: &Store, digest: &Digest) -> io::Result<fs_err::File> {
    store.read(digest).map_err(io::Error::other)
}

fn file(store: &Store, pin: &Pinned) -> io::Result<Found> {
    let mut start = Vec::new();
    open(store, &pin.digest)?.take(AR.len() as u64).read_to_end(&mut start)?;
    if start.starts_with(elf::MAGIC) {
        program(store, pin)
    } else if start == AR {
        package(store, pin)
    } else {
        Ok(Found::nothing(PartKind::File))
    }
}

fn program(store: &Store, pin: &Pinned) -> io::Result<Found> {
    let nothing = Found::nothing(PartKind::File);
    Ok(match elf::read(open(store, &pin.digest)?) {
        Some(program) => Found { how: program.how, parts: program.parts, ..nothing },
        None => nothing,
    })
}

/// A Debian package: what it says of itself, and the programs in it that say something of themselves.
fn package(store: &Store, pin: &Pinned) -> io::Result<Found> {
    let open = || Ok::<_, io::Error>(BufReader::with_capacity(CHUNK, open(store, &pin.digest)?));
    let control = copyright::paragraphs(&deb::control(open()?)?).into_iter().next().unwrap_or_default();
    let mut tree = Tree::new(store);
    deb::each_file(open()?, |path, content| tree.file(path, content))?;
    let licence = control.get("Package").map(|name| tree.licence_of(name)).unwrap_or_default();
    let own = tree::debian(&control, licence.expression);
    let own = own.ok_or_else(|| io::Error::other("its control file names no package and version"))?;
    let (parts, mut texts) = tree.finish();
    texts.extend(licence.texts);
    Ok(Found { kind: PartKind::Debian, own: Some(own), how: None, parts: parts.into_iter().collect(), texts })
}

/// An image as a registry gave it.
fn image(store: &Store, pin: &Pinned) -> io::Result<Found> {
    let mut text = Vec::new();
    open(store, &pin.digest)?.take(MANIFEST_LIMIT).read_to_end(&mut text)?;
    let manifest: ImageManifest = serde_json::from_slice(&text)?;
    let mut tree = Tree::new(store);
    for layer in manifest.layers() {
        let digest = layer.digest().to_string().parse().map_err(io::Error::other)?;
        let blob = BufReader::with_capacity(CHUNK, open(store, &digest)?);
        each_file(layer.media_type().as_ref(), blob, &mut tree)?;
    }
    let (parts, texts) = tree.finish();
    let parts: Vec<_> = parts.into_iter().collect();
    Ok(Found { parts, texts, ..Found::nothing(PartKind::Image) })
}

/// Shows a layer's regular files to `tree`. A layer of a type that is no tar is passed over: it has no files.
fn each_file(media_type: &str, blob: impl Read, tree: &mut Tree<'_>) -> io::Result<()> {
    let content: Box<dyn Read> = match media_type.rsplit(['.', '+']).next() {
        Some("gzip") => Box::new(flate2::read::MultiGzDecoder::new(blob)),
        Some("zstd") => Box::new(zstd::Decoder::new(blob)?),
        Some("tar") => Box::new(blob),
        _ => return Ok(()),
    };
    let mut archive = tar::Archive::new(content);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = deb::normal(&entry.path()?.to_string_lossy());
            tree.file(&path, &mut entry)?;
        }
    }
    Ok(())
}

/// Reads bytes as each kind of file that says what it is made of.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(bytes: &[u8], store: &Store) -> io::Result<()> {
    let mut tree = Tree::new(store);
    for path in ["var/lib/dpkg/status", "lib/apk/db/installed", "usr/share/doc/libc6/copyright", "usr/bin/it"]
    {
        tree.file(path, &mut &*bytes)?;
    }
    tree.finish();
    chart::fuzz(bytes).map(drop)
}
