//! `qiji build SITE.kdl --output FILE --key KEY`: the bundle that the lock describes.
//!
//! 1. The key is opened first: a wrong passphrase must not cost a build.
//! 2. The lock is read (or made, where a caller asks for that) and held to the site.
//! 3. What it names is fetched, put together, and written as one signed file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err as fs;
use qiji_airgap::{Assembled, BlobDesc, Store, assemble};
use qiji_blueprint::Digest;
use qiji_blueprint::site::Site;
use qiji_bundle::{Blob, BlobSource, BundleSpec, ImageEntry, PackageEntry, SigningKey};

use crate::artifacts::{self, ArtifactArgs};
use crate::failure::{Classify, Failure, Kind};
use crate::folders::StoreArgs;
use crate::inputs::{self, LOCK_DOCUMENT, Meter, SITE_DOCUMENT, SITE_FILE_DOCUMENT};
use crate::screen::size;
use crate::signer::SignerArgs;
use crate::verbs::lock;

/// Arguments of `qiji build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site file
    #[arg(value_name = "SITE.kdl")]
    site: PathBuf,
    /// File for the bundle
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The lock [default: SITE.lock]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    artifacts: ArtifactArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Builds the bundle.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let key = args.signer.load()?;
    let lock = args.lock.clone().unwrap_or_else(|| inputs::lock_path(&args.site));
    let order = Order {
        site: &args.site,
        lock: Some(&lock),
        output: &args.output,
        store: &args.store.folder(),
        folders: args.artifacts.folders(),
    };
    build(&order, &key)
}

/// What is to be built.
pub(crate) struct Order<'a> {
    /// The site file.
    pub(crate) site: &'a Path,
    /// The lock; without one, the site is locked on the way.
    pub(crate) lock: Option<&'a Path>,
    /// File for the bundle.
    pub(crate) output: &'a Path,
    /// Folder of the artifact store.
    pub(crate) store: &'a Path,
    /// Folders with artifacts.
    pub(crate) folders: &'a [PathBuf],
}

/// Builds and signs a bundle.
pub(crate) fn build(order: &Order<'_>, key: &SigningKey) -> Result<(), Failure> {
    let (checked, site_text) = inputs::site_file(order.site)?;
    let site = &checked.site;
    let lock = match order.lock {
        Some(path) => lock::read(path, site)?,
        None => lock::lock(site, order.store, order.folders)?,
    };
    let watch = artifacts::Watch::start();
    let fetcher = artifacts::fetcher(order.store, order.folders, &watch)?;
    let runtime = artifacts::runtime()?;
    let outcome = runtime.block_on(fetcher.fetch(&lock));
    drop(watch);
    outcome.map_err(|errors| artifacts::not_had(&errors))?;
    let assembled = assemble(fetcher.store(), &lock);
    let assembled =
        assembled.map_err(|errors| Failure::rendered(Kind::Failed, format!("error: {errors}")))?;

    let mut spec = contents(site, assembled);
    spec.documents = vec![
        (SITE_DOCUMENT.to_owned(), serde_json::to_vec(site).failed()?),
        (SITE_FILE_DOCUMENT.to_owned(), site_text.into_bytes()),
        (LOCK_DOCUMENT.to_owned(), lock.to_kdl().into_bytes()),
    ];
    let mut meter = Meter::new("writing");
    let source = StoreBlobs(fetcher.store());
    let written =
        qiji_bundle::write(&spec, &source, &[key], order.output, &mut |progress| meter.show(progress))
            .failed()?;
    drop(meter);
    println!("{}: {}, root {}", order.output.display(), size(written.size), written.root);
    println!("signed by {}", key.public().id());
    Ok(())
}

fn contents(site: &Site, assembled: Assembled) -> BundleSpec {
    let images = assembled.images.into_iter().map(|image| ImageEntry {
        name: image.name,
        arch: image.arch,
        roles: image.roles,
        manifest: blob(image.manifest),
        config: blob(image.config),
        layers: image.layers.into_iter().map(blob).collect(),
    });
    let packages = assembled.packages.into_iter().map(|package| PackageEntry {
        name: package.name,
        arch: package.arch,
        version: package.version,
        roles: package.roles,
        blobs: package.blobs.into_iter().map(blob).collect(),
    });
    BundleSpec {
        name: site.name.clone(),
        version: site.version.to_string(),
        images: images.collect(),
        packages: packages.collect(),
        documents: Vec::new(),
    }
}

fn blob(desc: BlobDesc) -> Blob {
    Blob { media_type: desc.media_type, digest: desc.digest, size: desc.size }
}

/// The artifact store as a source of blobs. The writer compares each with its digest.
struct StoreBlobs<'a>(&'a Store);

impl BlobSource for StoreBlobs<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        let file: File = fs::File::open(self.0.blob_path(digest))?.into_parts().0;
        Ok(Box::new(file))
    }
}
