//! A file at any place, through a small cache of pages.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes of a page.
const PAGE: usize = 64 << 10;
/// Pages that are kept; each has one place, by its number.
const KEPT: usize = 32;

/// A file that is read at many places, near ones mostly.
pub(super) struct Pages<'f> {
    file: &'f File,
    size: u64,
    kept: Vec<Page>,
}

#[derive(Clone, Default)]
struct Page {
    /// Where it begins; of an empty page anything.
    start: u64,
    bytes: Vec<u8>,
}

impl<'f> Pages<'f> {
    pub(super) fn new(file: &'f File) -> io::Result<Self> {
        Ok(Self { file, size: file.metadata()?.len(), kept: vec![Page::default(); KEPT] })
    }

    /// Bytes of the file.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes from `at` on, at least one and at most to the end of their page; none at the end of the file.
    pub(super) fn from(&mut self, at: u64) -> io::Result<&[u8]> {
        let page = self.page(at)?;
        Ok(page.bytes.get(offset(at - page.start)..).unwrap_or_default())
    }

    /// Bytes up to `at`, at least one and at most from the beginning of their page; none at the beginning of the file.
    pub(super) fn up_to(&mut self, at: u64) -> io::Result<&[u8]> {
        let Some(last) = at.checked_sub(1) else { return Ok(&[]) };
        let page = self.page(last)?;
        Ok(&page.bytes[..page.bytes.len().min(offset(last - page.start) + 1)])
    }

    /// Fills `buffer` from `at` on, as far as the file goes.
    pub(super) fn fill(&mut self, at: u64, buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
        let left = self.size.saturating_sub(at);
        buffer.resize(usize::try_from(left).unwrap_or(usize::MAX).min(length), 0);
        self.file.read_exact_at(buffer, at)
    }

    fn page(&mut self, at: u64) -> io::Result<&Page> {
        let start = at - at % PAGE as u64;
        let place = offset(start / PAGE as u64 % KEPT as u64);
        let page = &mut self.kept[place];
        if page.start != start || page.bytes.is_empty() {
            page.start = start;
            let left = self.size.saturating_sub(start);
            page.bytes.resize(usize::try_from(left).unwrap_or(usize::MAX).min(PAGE), 0);
            self.file.read_exact_at(&mut page.bytes, start)?;
        }
        Ok(page)
    }
}

/// A distance inside a page or the cache.
fn offset(distance: u64) -> usize {
    usize::try_from(distance).expect("pages are small")
}
