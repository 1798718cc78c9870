//! Layers, images and host packages of a lock, put together in the store from what [`Fetcher::fetch`](crate::Fetcher::fetch) put there.
//!
//! No network, no clock, no machine's state: the same lock gives the same digests in any store, at any number of jobs, under any umask. Layers are made at
//! most two at once, so that memory stays small. It blocks: call it from `spawn_blocking`.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_spec::image::{ImageIndex, ImageManifest};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Image, ImageContent, Layer, Lock, Package, PackageContent, Pinned, Upstream};
use qiji_blueprint::site::{Arch, Role};

use crate::error::chain;
use crate::image;
use crate::layer::{self, LayerBlob, LayerError};
use crate::store::Store;

/// A blob and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobDesc {
    /// OCI media type; `application/octet-stream` for a raw file.
    pub media_type: String,
    /// Digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// An image of one architecture, whole in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembledImage {
    /// Full name with tag.
    pub name: String,
    /// Architecture.
    pub arch: Arch,
    /// Hosts that need it before Kubernetes can pull anything.
    pub roles: Vec<Role>,
    /// Manifest.
    pub manifest: BlobDesc,
    /// Configuration.
    pub config: BlobDesc,
    /// Layers, lowest first.
    pub layers: Vec<BlobDesc>,
}

/// A host package of one architecture, whole in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembledPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: Arch,
    /// Hosts that get it.
    pub roles: Vec<Role>,
    /// Its layers, lowest first, or one raw file.
    pub blobs: Vec<BlobDesc>,
}

/// What others say of an image, or the image's own index, whole in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembledUpstream {
    /// Where it stands: the image's repository and a tag.
    pub name: String,
    /// The manifest or the index.
    pub manifest: BlobDesc,
    /// Configuration and layers of a manifest; none of an index.
    pub blobs: Vec<BlobDesc>,
}

/// All of a lock's images, packages and upstreams, in the lock's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// Images.
    pub images: Vec<AssembledImage>,
    /// Packages.
    pub packages: Vec<AssembledPackage>,
    /// What others say of images.
    pub upstreams: Vec<AssembledUpstream>,
}

/// How to assemble.
#[derive(Debug, Clone, Copy)]
pub struct AssembleOptions {
    /// Layers at once; 1 or 2, more is taken as 2.
    pub jobs: usize,
}

impl Default for AssembleOptions {
    fn default() -> Self {
        Self { jobs: MAX_JOBS }
    }
}

const MAX_JOBS: usize = 2;

const RAW_FILE: &str = "application/octet-stream";

/// One thing that could not be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// A layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The lock does not have what it names.
    #[error("{user} for {arch} needs {what}, which the lock does not have")]
    Unknown {
        /// The image or package.
        user: String,
        /// Architecture.
        arch: Arch,
        /// The layer or artifact.
        what: String,
    },
    /// What others say of an image is missing or wrong.
    #[error("cannot use {name}, which is about an image")]
    Upstream {
        /// Where it stands.
        name: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The blobs of an image or package are missing or wrong.
    #[error("cannot use what {user} for {arch} is made of")]
    Content {
        /// The image or package.
        user: String,
        /// Architecture.
        arch: Arch,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Everything that could not be put together; its text shows all.
#[derive(Debug)]
pub struct AssembleErrors {
    /// The faults, layers first.
    pub faults: Vec<AssembleError>,
}

impl std::error::Error for AssembleErrors {}

impl fmt::Display for AssembleErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lock cannot be put together")?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n{}", chain(fault)))
    }
}

/// Puts together everything that the lock names. All its artifacts must be in the store.
pub fn assemble(store: &Store, lock: &Lock) -> Result<Assembled, AssembleErrors> {
    assemble_with(store, lock, AssembleOptions::default())
}

/// As [`assemble`], with options.
pub fn assemble_with(
    store: &Store,
    lock: &Lock,
    options: AssembleOptions,
) -> Result<Assembled, AssembleErrors> {
    let artifacts = lock.artifacts.iter().map(|it| ((it.name.as_str(), it.arch), it.pin)).collect();
    let (layers, mut faults) = make_layers(store, &lock.layers, &artifacts, options.jobs);
    if !faults.is_empty() {
        return Err(AssembleErrors { faults });
    }
    let stock = Stock { store, artifacts, layers };
    let images = keep(lock.images.iter().map(|image| stock.image(image)), &mut faults);
    let packages = keep(lock.packages.iter().map(|package| stock.package(package)), &mut faults);
    let upstreams = keep(lock.upstreams.iter().map(|upstream| stock.upstream(upstream)), &mut faults);
    if faults.is_empty() {
        Ok(Assembled { images, packages, upstreams })
    } else {
        Err(AssembleErrors { faults })
    }
}

type ByName<'a, T> = HashMap<(&'a str, Arch), T>;

/// The good results; the others go to `faults`.
fn keep<T>(
    results: impl Iterator<Item = Result<T, AssembleError>>,
    faults: &mut Vec<AssembleError>,
) -> Vec<T> {
    results.filter_map(|result| result.map_err(|fault| faults.push(fault)).ok()).collect()
}

/// Makes all layers, a few at once. Faults are in the lock's order.
fn make_layers<'a>(
    store: &Store,
    layers: &'a [Layer],
    artifacts: &ByName<'_, Pinned>,
    jobs: usize,
) -> (ByName<'a, LayerBlob>, Vec<AssembleError>) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some((index, layer)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            layers.get(index).map(|layer| (index, layer))
        } {
            let find = |name: &str| artifacts.get(&(name, layer.arch)).copied();
            let made = layer::make(store, layer, find);
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, made));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, MAX_JOBS) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    let (mut good, mut faults) = (HashMap::new(), Vec::new());
    for (index, made) in results {
        match made {
            Ok(blob) => drop(good.insert((layers[index].name.as_str(), layers[index].arch), blob)),
            Err(wrong) => faults.extend(wrong.into_iter().map(AssembleError::from)),
        }
    }
    (good, faults)
}

/// What images and packages are made from.
struct Stock<'a> {
    store: &'a Store,
    artifacts: ByName<'a, Pinned>,
    layers: ByName<'a, LayerBlob>,
}

impl Stock<'_> {
    fn image(&self, image: &Image) -> Result<AssembledImage, AssembleError> {
        let user = format!("image {}", image.name);
        match &image.content {
            ImageContent::Assembled { layers, config } => {
                let layers = self.layers_of(&user, image.arch, layers)?;
                let put = image::put(self.store, image.arch, config, &layers);
                let (config, manifest) = put.map_err(|error| content(&user, image.arch, error))?;
                let layers = layers.iter().map(|(_, layer)| desc(image::LAYER, layer.blob)).collect();
                Ok(assembled(image, desc(image::MANIFEST, manifest), desc(image::CONFIG, config), layers))
            }
            ImageContent::Copied { artifact } => {
                let pin = self.artifact(&user, image.arch, artifact)?;
                self.copied(image, pin).map_err(|error| content(&user, image.arch, error))
            }
        }
    }

    /// An image as a registry gave it, with all its blobs compared.
    fn copied(&self, image: &Image, pin: Pinned) -> io::Result<AssembledImage> {
        let manifest: ImageManifest = serde_json::from_slice(&self.document(&pin)?)?;
        let (own, config, layers) = self.manifest(pin, &manifest)?;
        Ok(assembled(image, own, config, layers))
    }

    /// A document of the store, compared with its digest.
    fn document(&self, pin: &Pinned) -> io::Result<Vec<u8>> {
        self.store.verify(&pin.digest, Some(pin.size)).map_err(io::Error::other)?;
        fs_err::read(self.store.blob_path(&pin.digest))
    }

    /// A manifest, its configuration and its layers, each compared with its digest.
    fn manifest(
        &self,
        pin: Pinned,
        manifest: &ImageManifest,
    ) -> io::Result<(BlobDesc, BlobDesc, Vec<BlobDesc>)> {
        let blob = |it: &oci_spec::image::Descriptor| -> io::Result<BlobDesc> {
            let digest = it.digest().to_string().parse().map_err(io::Error::other)?;
            self.store.verify(&digest, Some(it.size())).map_err(io::Error::other)?;
            Ok(BlobDesc { media_type: it.media_type().to_string(), digest, size: it.size() })
        };
        let media_type =
            manifest.media_type().as_ref().map_or(image::MANIFEST.to_owned(), ToString::to_string);
        let layers = manifest.layers().iter().map(blob).collect::<io::Result<_>>()?;
        let own = BlobDesc { media_type, digest: pin.digest, size: pin.size };
        Ok((own, blob(manifest.config())?, layers))
    }

    fn upstream(&self, upstream: &Upstream) -> Result<AssembledUpstream, AssembleError> {
        let fault =
            |error: io::Error| AssembleError::Upstream { name: upstream.name.clone(), source: error.into() };
        let (manifest, blobs) = self.said(upstream.pin).map_err(fault)?;
        Ok(AssembledUpstream { name: upstream.name.clone(), manifest, blobs })
    }

    /// A manifest with its blobs, or an index alone.
    fn said(&self, pin: Pinned) -> io::Result<(BlobDesc, Vec<BlobDesc>)> {
        let bytes = self.document(&pin)?;
        if let Ok(index) = serde_json::from_slice::<ImageIndex>(&bytes) {
            let media_type = index.media_type().as_ref().map_or(image::INDEX.to_owned(), ToString::to_string);
            return Ok((desc(&media_type, pin), Vec::new()));
        }
        let (own, config, layers) = self.manifest(pin, &serde_json::from_slice(&bytes)?)?;
        Ok((own, std::iter::once(config).chain(layers).collect()))
    }

    fn package(&self, package: &Package) -> Result<AssembledPackage, AssembleError> {
        let user = format!("package {}", package.name);
        let blobs = match &package.content {
            PackageContent::Layers { layers } => {
                let layers = self.layers_of(&user, package.arch, layers)?;
                layers.iter().map(|(_, layer)| desc(image::LAYER, layer.blob)).collect()
            }
            PackageContent::File { artifact } => {
                let pin = self.artifact(&user, package.arch, artifact)?;
                let checked = self.store.verify(&pin.digest, Some(pin.size));
                checked.map_err(|error| content(&user, package.arch, error))?;
                vec![desc(RAW_FILE, pin)]
            }
        };
        let (name, version, roles) = (package.name.clone(), package.version.clone(), package.roles.clone());
        Ok(AssembledPackage { name, version, arch: package.arch, roles, blobs })
    }

    fn artifact(&self, user: &str, arch: Arch, name: &str) -> Result<Pinned, AssembleError> {
        let unknown =
            || AssembleError::Unknown { user: user.to_owned(), arch, what: format!("artifact {name}") };
        self.artifacts.get(&(name, arch)).copied().ok_or_else(unknown)
    }

    fn layers_of(
        &self,
        user: &str,
        arch: Arch,
        names: &[String],
    ) -> Result<Vec<(String, LayerBlob)>, AssembleError> {
        let find = |name: &String| {
            let unknown =
                || AssembleError::Unknown { user: user.to_owned(), arch, what: format!("layer {name}") };
            Ok((name.clone(), *self.layers.get(&(name.as_str(), arch)).ok_or_else(unknown)?))
        };
        names.iter().map(find).collect()
    }
}

fn assembled(image: &Image, manifest: BlobDesc, config: BlobDesc, layers: Vec<BlobDesc>) -> AssembledImage {
    let (name, roles) = (image.name.clone(), image.roles.clone());
    AssembledImage { name, arch: image.arch, roles, manifest, config, layers }
}

fn desc(media_type: &str, pin: Pinned) -> BlobDesc {
    BlobDesc { media_type: media_type.to_owned(), digest: pin.digest, size: pin.size }
}

fn content(
    user: &str,
    arch: Arch,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> AssembleError {
    AssembleError::Content { user: user.to_owned(), arch, source: error.into() }
}
