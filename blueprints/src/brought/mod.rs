//! What a site brings along: images and Helm charts that come from elsewhere.
//!
//! An image has a name with its registry and its tag, which is also its name on the site. A chart brings the images that it names: [`find`](images::find)
//! finds them in what the chart renders to, and [`settle`] holds them to what the site says of them.

mod chart;
mod gather;
pub mod images;
mod settle;
mod text;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::lock::{Chart, ChartValues, Source};
use crate::site::Role;

pub(crate) use chart::{CHART, LOCKED_SOURCES, Reader as ChartReader, print_chart};
pub(crate) use gather::expand;
pub use settle::{ChartFault, ChartFaults, Settled, settle};
pub(crate) use text::{IMAGE, Reader, print_image};

/// An image from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroughtImage {
    /// Full name with tag: `docker.io/library/nginx:1.29`.
    pub name: String,
    /// Digest that its registry must have under that name, where one is written: of the manifest, or of the index over several.
    pub digest: Option<Digest>,
    /// Hosts that get it; sorted.
    pub roles: Vec<Role>,
    /// Sources in the order in which they are tried.
    pub sources: Vec<Source>,
    /// Public keys that must all have signed it: paths of PEM files, from the folder of the site file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
}

impl BroughtImage {
    /// An image that is had where its name says.
    pub(crate) fn from_its_name(name: String, digest: Option<Digest>, roles: Vec<Role>) -> Self {
        let reference = digest.map_or_else(|| name.clone(), |digest| format!("{name}@{digest}"));
        Self { name, digest, roles, sources: vec![Source::Oci { reference }], signed_by: Vec::new() }
    }
}

/// A Helm chart from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroughtChart {
    /// Name of its release, unique in a site.
    pub name: String,
    /// Its own name.
    pub chart: String,
    /// Its version.
    pub version: String,
    /// Namespace that it is installed into.
    pub namespace: String,
    /// Files of values, from the folder of the site file; later ones count over earlier ones.
    pub values: Vec<String>,
    /// Hosts that get its images; sorted.
    pub roles: Vec<Role>,
    /// Sources in the order in which they are tried.
    pub sources: Vec<Source>,
    /// What is said of its images.
    pub images: ChartImages,
}

impl BroughtChart {
    /// The chart as it is to be locked, with what `pin` gives for the chart and for each of its files of values.
    pub fn wanted<P>(&self, pin: P, values: Vec<P>) -> Chart<P> {
        let values = self.values.iter().cloned().zip(values);
        Chart {
            name: self.name.clone(),
            chart: self.chart.clone(),
            version: self.version.clone(),
            pin,
            sources: self.sources.clone(),
            values: values.map(|(path, pin)| ChartValues { path, pin }).collect(),
        }
    }
}

/// What a site says of a chart's images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartImages {
    /// Likely names of images that are images: full names.
    pub declared: Vec<String>,
    /// Images that nothing in the chart names: full names.
    pub added: Vec<String>,
    /// Texts that are no names of images, or of images that are not needed.
    pub excluded: Vec<String>,
}
