//! Helm charts of a site, while it is locked and built.
//!
//! 1. Files of values are read from the folder of the site file, and pinned.
//! 2. Charts are got into the store, and rendered as they will be on the site.
//! 3. The images that they name are held to what the site says of them; those that remain are wanted like all others.
//! 4. What they name by a digest must be what was locked, or hosts would not know it by that.
//!
//! Building renders nothing: the lock has all images. It holds values to the lock, and puts them into the bundle.

use std::path::Path;

use fs_err as fs;
use qiji_airgap::{Fetcher, Helm, HelmError, Release, Store};
use qiji_blueprint::brought::images::{ChartObject, ImageName};
use qiji_blueprint::brought::{BroughtChart, settle};
use qiji_blueprint::lock::{Chart, Lock, Pinned, Wanted};
use qiji_blueprint::site::Site;
use qiji_blueprint::{Catalogue, Digest};
use qiji_bundle::{Blob, CHART_ARCHIVE, CHART_VALUES, ChartEntry};
use tokio::runtime::Runtime;

use crate::artifacts;
use crate::failure::{Classify, Failure, Kind};

/// What a bundle of a site is made of.
pub(crate) struct Charted {
    /// All of it, the images of charts included.
    pub(crate) wanted: Wanted,
    /// Images that charts name by digest, each with the chart.
    by_digest: Vec<(String, String)>,
}

impl Charted {
    /// That of a site that has no charts.
    pub(crate) const fn without_charts(wanted: Wanted) -> Self {
        Self { wanted, by_digest: Vec::new() }
    }

    /// Warns of images that a chart names by a digest that nothing in the lock has.
    pub(crate) fn tell_unknown(&self, lock: &Lock) {
        for (release, image) in self.by_digest.iter().filter(|(_, image)| !has(lock, image)) {
            eprintln!(
                "warning: chart {release} names {image} by a digest that the image which was locked does not have: hosts of the site would not find it, so take \
                 the digest away by the chart's values, or bring the image from where it has it"
            );
        }
    }
}

/// Whether what is locked has the digest by which an image is named, as its manifest or as its index.
fn has(lock: &Lock, image: &str) -> bool {
    let Some(digest) = ImageName::read(image).and_then(|name| name.digest) else { return true };
    let artifacts = lock.artifacts.iter().map(|artifact| artifact.pin.digest);
    artifacts.chain(lock.upstreams.iter().map(|upstream| upstream.pin.digest)).any(|known| known == digest)
}

/// What a bundle of the site is made of, its charts and their images included.
pub(crate) fn wanted(
    runtime: &Runtime,
    fetcher: &Fetcher,
    site: &Site,
    folder: &Path,
) -> Result<Charted, Failure> {
    let charts = runtime.block_on(pinned(fetcher, site, folder))?;
    let rendered = runtime.block_on(rendered(fetcher, site, &charts))?;
    let rendered: Vec<_> = site.charts.iter().zip(rendered).collect();
    let settled = settle(site, &rendered)
        .map_err(|faults| Failure::rendered(Kind::Input, format!("error: {faults}")))?;
    let wanted = Catalogue::builtin().wanted_with(site, &settled.images, charts).input()?;
    Ok(Charted { wanted, by_digest: settled.by_digest })
}

/// The charts with their archives and values, all of them in the store.
async fn pinned(fetcher: &Fetcher, site: &Site, folder: &Path) -> Result<Vec<Chart<Pinned>>, Failure> {
    let unpinned: Vec<_> =
        site.charts.iter().map(|chart| chart.wanted((), vec![(); chart.values.len()])).collect();
    let resolved = fetcher.resolve_charts(&unpinned).await.map_err(|errors| artifacts::not_had(&errors))?;
    let mut charts = Vec::new();
    for (chart, found) in site.charts.iter().zip(resolved) {
        let values = chart.values.iter().map(|path| put_values(fetcher.store(), folder, path));
        let values = values.collect::<Result<_, Failure>>()?;
        charts.push(Chart { sources: found.sources, ..chart.wanted(found.pin, values) });
    }
    Ok(charts)
}

fn put_values(store: &Store, folder: &Path, path: &str) -> Result<Pinned, Failure> {
    store.put(&fs::read(folder.join(path)).input()?).failed()
}

/// The objects of each chart. Everything that is wrong with charts and values is told at once.
async fn rendered(
    fetcher: &Fetcher,
    site: &Site,
    charts: &[Chart<Pinned>],
) -> Result<Vec<Vec<ChartObject>>, Failure> {
    let helm = fetcher.helm().await.map_err(|error| not_run(&error))?;
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (brought, chart) in site.charts.iter().zip(charts) {
        match render(&helm, site, brought, chart).await {
            Ok(objects) => all.push(objects),
            Err(error @ HelmError::Chart { .. }) => wrong.push(format!("error: {error}")),
            Err(error) => return Err(not_run(&error)),
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(Failure::rendered(Kind::Input, wrong.join("\n"))) }
}

fn not_run(error: &HelmError) -> Failure {
    match error {
        HelmError::Program(errors) => artifacts::not_had(errors),
        other => Failure::from_error(Kind::Failed, other),
    }
}

async fn render(
    helm: &Helm,
    site: &Site,
    brought: &BroughtChart,
    chart: &Chart<Pinned>,
) -> Result<Vec<ChartObject>, HelmError> {
    let values: Vec<Digest> = chart.values.iter().map(|values| values.pin.digest).collect();
    let release = Release {
        name: &chart.name,
        namespace: &brought.namespace,
        kubernetes: &site.cluster.version.to_string(),
        chart: (&chart.chart, &chart.version),
        archive: chart.pin.digest,
        values: &values,
    };
    helm.render(&release).await
}

/// Puts the files of values that the lock names into the store. One that is not there is taken from an earlier run.
pub(crate) fn take_values(store: &Store, folder: &Path, lock: &Lock) -> Result<(), Failure> {
    for values in lock.charts.iter().flat_map(|chart| &chart.values) {
        let path = folder.join(&values.path);
        if !path.exists() && store.holds(&values.pin).failed()? {
            continue;
        }
        if put_values(store, folder, &values.path)? != values.pin {
            let message = format!("{} has changed since the site was locked", path.display());
            return Err(Failure::new(Kind::Input, message).hint("run `qiji lock` again"));
        }
    }
    Ok(())
}

/// A chart of the lock, for a bundle.
pub(crate) fn entry(chart: &Chart<Pinned>) -> ChartEntry {
    let blob =
        |kind: &str, pin: &Pinned| Blob { media_type: kind.to_owned(), digest: pin.digest, size: pin.size };
    let values = chart.values.iter().map(|values| blob(CHART_VALUES, &values.pin));
    ChartEntry {
        name: chart.name.clone(),
        version: chart.version.clone(),
        blobs: std::iter::once(blob(CHART_ARCHIVE, &chart.pin)).chain(values).collect(),
    }
}
