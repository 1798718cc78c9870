//! The outermost layer of reading: the tar. Gives where each blob lies; nothing about content is believed yet.
//!
//! The grammar is narrow: blobs in ascending order of their digests, `index.json`, `oci-layout`, two zero blocks, end of file. Every header is
//! compared with the one that its name and size give.

use std::collections::BTreeMap;
use std::io;

use qiji_blueprint::Digest;

use super::medium::Medium;
use crate::error::Fault;
use crate::oci::{LAYOUT, MAX_JSON};
use crate::tar::{self, BLOCK, Block, END};

/// Most members that a bundle may have.
const MAX_MEMBERS: usize = 1 << 16;
const BLOBS: &str = "blobs/sha256/";
const INDEX: &str = "index.json";
const LAYOUT_NAME: &str = "oci-layout";

/// Where a member's bytes lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First byte.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) size: u64,
}

impl Extent {
    /// First byte after the content.
    pub(crate) const fn end(self) -> u64 {
        self.start + self.size
    }

    /// First byte after the padding.
    pub(crate) fn padded_end(self) -> u64 {
        self.end() + tar::padding(self.size)
    }
}

/// The members of a bundle.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) blobs: BTreeMap<Digest, Extent>,
    pub(crate) index: Extent,
    pub(crate) layout: Extent,
    /// Bytes of the file.
    pub(crate) length: u64,
}

/// Reads all headers.
pub(crate) fn scan(medium: &dyn Medium) -> Result<Members, Fault> {
    let length = medium.size();
    recognise(medium, length)?;
    let mut scanner = Scanner { medium, length, position: 0, count: 0, previous: "the start".to_owned() };
    let mut blobs = BTreeMap::new();
    let (mut name, mut offset, mut extent) = scanner.next()?;
    while let Some(hex) = name.strip_prefix(BLOBS) {
        let digest: Digest = format!("sha256:{hex}")
            .parse()
            .map_err(|_| member(&name, offset, "is not named by a sha256 digest"))?;
        if blobs.last_key_value().is_some_and(|(last, _)| *last >= digest) {
            return Err(member(&name, offset, "is there twice or out of order"));
        }
        if blobs.len() == MAX_MEMBERS {
            return Err(member(&name, offset, "is one too many: a bundle has at most 65,536 blobs"));
        }
        blobs.insert(digest, extent);
        (name, offset, extent) = scanner.next()?;
    }
    expect(&name, INDEX, offset)?;
    let index = extent;
    if index.size > MAX_JSON {
        return Err(Fault::document(&INDEX, "it is larger than 4 MiB"));
    }
    let (name, offset, layout) = scanner.next()?;
    expect(&name, LAYOUT_NAME, offset)?;
    if layout.size != LAYOUT.len() as u64 {
        return Err(Fault::document(&"member oci-layout", "it has another size than it must"));
    }
    scanner.end()?;
    Ok(Members { blobs, index, layout, length })
}

/// Tells a damaged bundle from a file that never was one. A bundle starts with the name of a blob and ends with `oci-layout`; a file that is near to
/// either is taken for a bundle, and whatever is wrong with it later is damage.
fn recognise(medium: &dyn Medium, length: u64) -> Result<(), Fault> {
    if length < END + BLOCK {
        return Err(Fault::NotABundle("it is too short"));
    }
    let start: Block = read_at(medium, 0)?;
    let differing = start.iter().zip(BLOBS.as_bytes()).filter(|(found, expected)| found != expected).count();
    let tail_at = length.checked_sub(END + 2 * BLOCK);
    let tail = tail_at.map(|offset| read_at::<512>(medium, offset)).transpose()?;
    let ends_well = tail.is_some_and(|block| block == tar::header(LAYOUT_NAME, LAYOUT.len() as u64));
    if differing > 4 && !ends_well {
        return Err(Fault::NotABundle("it does not start as one"));
    }
    Ok(())
}

struct Scanner<'f> {
    medium: &'f dyn Medium,
    length: u64,
    position: u64,
    count: usize,
    previous: String,
}

impl Scanner<'_> {
    /// Name, offset of the header and extent of the next member.
    fn next(&mut self) -> Result<(String, u64, Extent), Fault> {
        let offset = self.position;
        self.count += 1;
        if self.length < offset + BLOCK {
            return Err(self.truncated(&format!("what follows {}", self.previous)));
        }
        let block = read_at(self.medium, offset)?;
        let (name, size) = tar::parse(&block).ok_or_else(|| Fault::Header {
            member: self.count,
            offset,
            previous: self.previous.clone(),
        })?;
        let extent = Extent { start: offset + BLOCK, size };
        if extent.padded_end() > self.length {
            return Err(self.truncated(&name));
        }
        self.position = extent.padded_end();
        self.previous.clone_from(&name);
        Ok((name, offset, extent))
    }

    /// Requires two zero blocks and then the end of the file.
    fn end(&self) -> Result<(), Fault> {
        let fault = |reason| Err(Fault::End { offset: self.position, reason });
        match self.length.checked_sub(self.position + END) {
            None => return fault("it was cut short"),
            Some(0) => {}
            Some(_) => return fault("bytes follow the last block"),
        }
        let blocks: [u8; 1024] = read_at(self.medium, self.position)?;
        if blocks.iter().any(|&byte| byte != 0) {
            return fault("a byte is not zero");
        }
        Ok(())
    }

    fn truncated(&self, name: &str) -> Fault {
        Fault::Truncated { name: name.to_owned(), length: self.length }
    }
}

fn expect(name: &str, expected: &str, offset: u64) -> Result<(), Fault> {
    if name == expected { Ok(()) } else { Err(member(name, offset, "has no place here")) }
}

fn member(name: &str, offset: u64, reason: &'static str) -> Fault {
    Fault::Member { name: name.escape_debug().to_string(), offset, reason }
}

fn read_at<const N: usize>(medium: &dyn Medium, offset: u64) -> Result<[u8; N], Fault> {
    let mut block = [0; N];
    medium.read_exact_at(&mut block, offset).map_err(Fault::Read)?;
    Ok(block)
}

/// Reads a whole small extent.
pub(crate) fn read_extent(medium: &dyn Medium, extent: Extent) -> io::Result<Vec<u8>> {
    let size = usize::try_from(extent.size).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    medium.read_exact_at(&mut bytes, extent.start)?;
    Ok(bytes)
}
