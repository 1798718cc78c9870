//! What a site brings along: images that come from elsewhere.
//!
//! An image has a name with its registry and its tag, which is also its name on the site.

mod gather;
mod text;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::lock::Source;
use crate::site::Role;

pub(crate) use gather::expand;
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
}
