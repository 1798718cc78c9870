//! What an image that a site brings along means for each architecture.

use std::collections::BTreeSet;

use super::BroughtImage;
use crate::lock::{Artifact, Image, ImageContent};
use crate::site::{Arch, Site};

/// What is fetched for an image and what it becomes on the site, for each architecture of the hosts that get it.
pub(crate) fn expand(image: &BroughtImage, site: &Site) -> (Vec<Artifact<()>>, Vec<Image>) {
    let hosts = site.nodes.iter().filter(|node| image.roles.contains(&node.role));
    let archs: BTreeSet<Arch> = hosts.map(|node| node.arch).collect();
    let tag = image.name.rsplit(':').next().unwrap_or_default();
    let artifact = |arch: &Arch| Artifact {
        name: image.name.clone(),
        version: tag.to_owned(),
        arch: *arch,
        pin: (),
        sources: image.sources.clone(),
    };
    let whole = |arch: &Arch| Image {
        name: image.name.clone(),
        arch: *arch,
        roles: image.roles.clone(),
        content: ImageContent::Copied { artifact: image.name.clone() },
    };
    (archs.iter().map(artifact).collect(), archs.iter().map(whole).collect())
}
