//! Programs (ELF): only the sections that say what is in them are read, wherever they lie in however large a file.

use std::io::{Read, Seek};

use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, SectionHeader as _};
use object::{Endianness, ReadCache};
use qiji_blueprint::part::Part;

use super::{crates, go};

/// The first bytes of every program.
pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// Most bytes of a section that is read.
const LIMIT: u64 = 16 << 20;

/// What a program says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// How it was built, where that is told.
    pub(super) how: Option<String>,
    /// What is in it.
    pub(super) parts: Vec<Part>,
}

/// Reads a program; nothing where it says nothing of itself, or is damaged.
pub(super) fn read(file: impl Read + Seek) -> Option<Program> {
    let cache = ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, &cache).ok()?;
    let find = |name: &[u8]| {
        let (_, section) = sections.section_by_name(endian, name)?;
        if section.sh_size(endian) > LIMIT {
            return None;
        }
        section.data(endian, &cache).ok()
    };
    if let Some(build) = find(b".go.buildinfo").and_then(go::read) {
        return Some(Program { how: Some(build.how), parts: build.modules });
    }
    let parts = find(b".dep-v0").and_then(crates::read)?;
    Some(Program { how: None, parts })
}
