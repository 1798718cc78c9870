//! What a Helm chart says of itself: name, version and licence, in its `Chart.yaml`, and the same of the charts inside it.
//!
//! The licence is the annotation `artifacthub.io/license` (Artifact Hub, *Helm annotations*), where it is an expression of SPDX. Charts inside are folders below
//! `charts/`, or archives there.
//!
//! Limits: an archive that unpacks to more than [`LIMIT`] bytes is looked into no further.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use qiji_blueprint::lock::{Chart, Pinned};
use qiji_blueprint::part::{Part, PartKind};
use serde::Deserialize;

use super::licence;
use crate::store::{CHUNK, Store};

/// Most bytes that an archive may unpack to, those of archives inside it included: what Helm itself takes.
const LIMIT: u64 = 100 << 20;

/// Archives inside archives that are looked into.
const DEPTH: usize = 4;

/// Most bytes of a `Chart.yaml`.
const TEXT_LIMIT: u64 = 1 << 20;

const LICENCE: &str = "artifacthub.io/license";

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// The chart, and the charts inside it.
pub(super) fn found(store: &Store, chart: &Chart<Pinned>) -> io::Result<(Part, Vec<Part>)> {
    let file = BufReader::with_capacity(CHUNK, store.read(&chart.pin.digest).map_err(io::Error::other)?);
    let mut parts = Vec::new();
    let own = archive(&mut MultiGzDecoder::new(file).take(LIMIT), DEPTH, &mut parts)?;
    parts.sort();
    parts.dedup();
    let own = own.unwrap_or_else(|| Part {
        kind: PartKind::Chart,
        name: chart.chart.clone(),
        version: chart.version.clone(),
        licence: None,
    });
    Ok((own, parts))
}

/// Looks through an unpacked archive. Gives the chart itself; the others go to `parts`.
fn archive(content: &mut dyn Read, depth: usize, parts: &mut Vec<Part>) -> io::Result<Option<Part>> {
    let mut own = None;
    for entry in tar::Archive::new(content).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        match path.split('/').collect::<Vec<_>>().as_slice() {
            [_, "Chart.yaml"] => own = metadata(&mut entry)?,
            [_, "charts", .., "Chart.yaml"] => parts.extend(metadata(&mut entry)?),
            [_, "charts", .., name]
                if Path::new(name).extension().is_some_and(|end| end == "tgz") && depth > 0 =>
            {
                let mut inner: Box<dyn Read> = Box::new(MultiGzDecoder::new(entry).take(LIMIT));
                let inner = archive(&mut inner, depth - 1, parts)?;
                parts.extend(inner);
            }
            _ => {}
        }
    }
    Ok(own)
}

/// A chart by its `Chart.yaml`; nothing where that cannot be read.
fn metadata(content: &mut dyn Read) -> io::Result<Option<Part>> {
    let mut text = String::new();
    content.take(TEXT_LIMIT).read_to_string(&mut text)?;
    let Ok(metadata) = serde_saphyr::from_str::<Metadata>(&text) else { return Ok(None) };
    let licence = metadata.annotations.as_ref().and_then(|all| all.get(LICENCE));
    Ok(Some(Part {
        kind: PartKind::Chart,
        name: metadata.name,
        version: metadata.version,
        licence: licence.and_then(|text| licence::normal(text)),
    }))
}

/// Reads bytes as a chart's archive.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(bytes: &[u8]) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    archive(&mut MultiGzDecoder::new(bytes).take(LIMIT), DEPTH, &mut parts)?;
    Ok(parts)
}
