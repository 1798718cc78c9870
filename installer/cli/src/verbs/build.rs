//! `qiji build SITE.kdl --output FILE --key KEY`: the bundle that the lock describes. With `--unsigned` it waits for `qiji sign`.
//!
//! 1. Keys are opened first: a wrong passphrase must not cost a build.
//! 2. The lock is read (or made, where a caller asks for that) and held to the site.
//! 3. What it names is fetched, looked into, put together, and written as one signed file; with `--against` only what a site lacks of it, as a delta.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err as fs;
use qiji_airgap::{Assembled, BlobDesc, Store, assemble};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::Lock;
use qiji_blueprint::site::Site;
use qiji_bundle::{
    Against, Blob, BlobSource, BundleSpec, Either, ImageEntry, Inventory, OldBundles, PackageEntry,
    SigningKey, UpstreamEntry,
};

use crate::artifacts::{self, ArtifactArgs};
use crate::base;
use crate::charts;
use crate::endorsements;
use crate::failure::{Classify, Failure, Kind};
use crate::folders::StoreArgs;
use crate::inputs::{self, LOCK_DOCUMENT, Meter, SITE_DOCUMENT, SITE_FILE_DOCUMENT};
use crate::materials::{self, Materials};
use crate::screen::size;
use crate::signer::{self, SigningArgs};
use crate::verbs::delta::AgainstArgs;
use crate::verbs::{self, delta, lock, sign};
use crate::volumes::{self, ParityArgs};

/// The channel of a bundle that nothing else is said of.
pub(crate) const CHANNEL: &str = "stable";

/// Arguments of `qiji build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site file
    #[arg(value_name = "SITE.kdl")]
    site: PathBuf,
    /// File for the bundle
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Cut the bundle into volumes of at most this size, such as 700MB, 4.7GB or 32GiB; FILE is then what their names begin with
    #[arg(long, value_name = "SIZE", value_parser = volumes::volume_size)]
    volume_size: Option<u64>,
    #[command(flatten)]
    parity: ParityArgs,
    /// The lock [default: SITE.lock]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    signing: SigningArgs,
    /// Channel that it is released to; the sites' policies may allow some only
    #[arg(long, value_name = "NAME", default_value = CHANNEL)]
    channel: String,
    /// Write a delta instead: only what a site lacks that holds what this file says, from `qiji inventory`
    #[arg(long, value_name = "INVENTORY", conflicts_with = "unsigned")]
    against: Option<PathBuf>,
    #[command(flatten)]
    how: AgainstArgs,
    #[command(flatten)]
    artifacts: ArtifactArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Builds the bundle.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let keys = args.signing.load("bundle")?;
    let lock = args.lock.clone().unwrap_or_else(|| inputs::lock_path(&args.site));
    let order = Order {
        site: &args.site,
        lock: Some(&lock),
        output: &args.output,
        store: &args.store.folder(),
        artifacts: &args.artifacts,
        channel: &args.channel,
        against: args.against.as_deref().map(|against| (against, &args.how)),
    };
    build(&order, &keys)?;
    let Some(size) = args.volume_size else { return Ok(()) };
    volumes::cut(&args.output, &args.output, args.parity.division(size))?;
    fs::remove_file(&args.output).failed()
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
    /// Where artifacts are had.
    pub(crate) artifacts: &'a ArtifactArgs,
    /// Channel that it is released to.
    pub(crate) channel: &'a str,
    /// Inventory that a delta is made against, and how.
    pub(crate) against: Option<(&'a Path, &'a AgainstArgs)>,
}

impl Order<'_> {
    /// The folder of the site file, from which paths in it count.
    fn folder(&self) -> &Path {
        self.site.parent().unwrap_or(Path::new(""))
    }
}

/// Builds a bundle and signs it with the keys, if there are any.
pub(crate) fn build(order: &Order<'_>, keys: &[SigningKey]) -> Result<(), Failure> {
    let against =
        order.against.map(|(inventory, how)| Ok((verbs::inventory::read(inventory)?, how.base.open()?, how)));
    let against: Option<(Inventory, OldBundles, _)> = against.transpose()?;
    let (checked, site_text) = inputs::site_file(order.site)?;
    let site = &checked.site;
    let lock = match order.lock {
        Some(path) => lock::read(path, site)?,
        None => lock::lock(site, order.folder(), order.store, order.artifacts)?,
    };
    let watch = artifacts::Watch::start();
    let fetcher = artifacts::fetcher(order.store, order.artifacts, &watch)?;
    let runtime = artifacts::runtime()?;
    let outcome = runtime.block_on(fetcher.fetch(&lock));
    drop(watch);
    outcome.map_err(|errors| artifacts::not_had(&errors))?;
    charts::take_values(fetcher.store(), order.folder(), &lock)?;
    endorsements::hold(fetcher.store(), &lock, &endorsements::keys(site, order.folder())?)?;
    let assembled = assemble(fetcher.store(), &lock);
    let assembled =
        assembled.map_err(|errors| Failure::rendered(Kind::Failed, format!("error: {errors}")))?;

    let ingredients = qiji_airgap::ingredients(fetcher.store(), &lock).failed()?;

    let mut spec = contents(site, assembled, &lock);
    order.channel.clone_into(&mut spec.channel);
    let descriptions = Materials::new(&lock, ingredients).describe(&spec);
    spec.sboms = descriptions.iter().map(|one| (one.subject.clone(), one.to_spdx())).collect();
    spec.documents = vec![
        (SITE_DOCUMENT.to_owned(), serde_json::to_vec(site).failed()?),
        (SITE_FILE_DOCUMENT.to_owned(), site_text.into_bytes()),
        (LOCK_DOCUMENT.to_owned(), lock.to_kdl().into_bytes()),
    ];
    let source = StoreBlobs(fetcher.store());
    let signers: Vec<&SigningKey> = keys.iter().collect();
    match &against {
        Some((inventory, old, how)) => {
            let old = Either(old, &source);
            let against = how.against(inventory, &old);
            write_delta(&spec, &source, &signers, &against, order.output)?;
        }
        None => write_whole(&spec, &source, &signers, order.output)?,
    }
    println!("{}", materials::summary(&descriptions));
    signer::tell(&signers);
    Ok(())
}

fn write_whole(
    spec: &BundleSpec,
    source: &StoreBlobs<'_>,
    keys: &[&SigningKey],
    output: &Path,
) -> Result<(), Failure> {
    let mut meter = Meter::new("writing");
    let written = qiji_bundle::write(spec, source, keys, output, &mut |progress| meter.show(progress))
        .map_err(sign::not_written)?;
    drop(meter);
    println!("{}: {}, root {}", output.display(), size(written.size), written.root);
    Ok(())
}

fn write_delta(
    spec: &BundleSpec,
    source: &StoreBlobs<'_>,
    keys: &[&SigningKey],
    against: &Against<'_>,
    output: &Path,
) -> Result<(), Failure> {
    let mut meter = Meter::new("comparing");
    let written =
        qiji_bundle::write_delta(spec, source, keys, against, output, &mut |progress| meter.show(progress))
            .map_err(base::refused)?;
    drop(meter);
    delta::tell(output, &written);
    Ok(())
}

fn contents(site: &Site, assembled: Assembled, lock: &Lock) -> BundleSpec {
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
    let upstreams = assembled.upstreams.into_iter().map(|upstream| UpstreamEntry {
        name: upstream.name,
        manifest: blob(upstream.manifest),
        blobs: upstream.blobs.into_iter().map(blob).collect(),
    });
    BundleSpec {
        name: site.name.clone(),
        version: site.version.to_string(),
        edition: site.edition.clone(),
        images: images.collect(),
        packages: packages.collect(),
        charts: lock.charts.iter().map(charts::entry).collect(),
        upstreams: upstreams.collect(),
        ..BundleSpec::default()
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
