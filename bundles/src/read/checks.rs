//! What members are held to in a pass, in whatever order it comes by them.

use std::io::Read;

use qiji_blueprint::Digest;

use super::medium::Medium;
use super::parse::Parsed;
use super::scan::{Extent, Members};
use crate::error::Fault;
use crate::tar::{self, BLOCK};

/// What is read, and what it is held to.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) medium: &'a dyn Medium,
    pub(super) members: &'a Members,
    pub(super) parsed: &'a Parsed,
}

impl Pass<'_> {
    /// The fault of a blob that does not have its digest.
    pub(super) fn damaged(self, digest: Digest, extent: Extent) -> Fault {
        let owner = self.parsed.owners[&digest].clone();
        Fault::Blob { digest, owner, start: extent.start, end: extent.end() }
    }
}

/// Name of a blob's member.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads a header, which must be that of the member.
pub(super) fn check_header(input: &mut impl Read, name: &str, extent: Extent) -> Result<(), Fault> {
    let mut block = [0; 512];
    input.read_exact(&mut block).map_err(Fault::Read)?;
    if block == tar::header(name, extent.size) {
        return Ok(());
    }
    let (name, offset) = (name.to_owned(), extent.start - BLOCK);
    Err(Fault::Member { name, offset, reason: "was changed while the bundle was being read" })
}

/// Reads the padding after a member, which must be zero.
pub(super) fn check_padding(input: &mut impl Read, name: &str, extent: Extent) -> Result<(), Fault> {
    let mut block = [0; 512];
    let padding = &mut block[..usize::try_from(tar::padding(extent.size)).unwrap_or(0)];
    input.read_exact(padding).map_err(Fault::Read)?;
    if padding.iter().all(|&byte| byte == 0) {
        return Ok(());
    }
    Err(Fault::Padding { name: name.to_owned(), start: extent.end(), end: extent.padded_end() })
}
