//! Patches: from an old content to a new one, in memory that does not grow with either.
//!
//! A patch is one zstd frame. What is in it is a row of blocks, each with five sections, so that like bytes lie together:
//!
//! ```text
//! lengths   5 × u32, little endian: bytes of each of the sections that follow
//! moves     for each move three numbers: bytes of literals, step in the old content, bytes to copy from there
//! gaps      for each run the copied bytes of this block between the run before and it
//! runs      for each run its length
//! values    the bytes of the runs: what is added to the copied bytes, modulo 256
//! literals  bytes that are taken as they are
//! ```
//!
//! Numbers are LEB128; a step is zigzag-coded and counts from where the last copy ended. A move gives its literals first, then its copy.
//!
//! 1. [`make`] looks for places of the old content that are like the new one ([`matches`]), and writes down where they differ ([`encode`]).
//!    Programs that are built anew differ nearly everywhere by a few bytes, since addresses move; that is why copies are allowed to differ.
//! 2. [`apply`] reads a patch front to back and the old content at any place ([`decode`]).
//!
//! Guarantees: the same contents give the same patch. Applying uses a few MiB, whatever a patch says; one that does not keep these rules is
//! an error, never a panic, and never gives more bytes than were asked for.

mod decode;
mod encode;
mod index;
mod matches;
mod pages;

use std::fs::File;
use std::io::{self, Write};

pub(crate) use decode::apply;

/// Most bytes that one move takes from literals, and most that it copies.
const PIECE: usize = 64 << 10;
/// Most bytes of a section. The writer ends a block once a section has half of it, and a move adds at most two bytes for each of its own.
const SECTION: usize = 384 << 10;
/// Sections of a block.
const SECTIONS: usize = 5;
/// Window of the frame, as a power of two: what a reader needs as memory.
const WINDOW_LOG: u32 = 21;
/// Level of compression. What is compressed is small beside the contents, so the strongest level that has no tables beyond the window is cheap.
const LEVEL: i32 = 19;
/// Powers of two for the compressor's tables, which would be sixteen times as large by default.
const TABLE_LOG: u32 = 20;

/// Writes a patch from `old` to `new`; `scratch` is an empty file that it may fill.
pub(crate) fn make(old: &File, new: &File, scratch: &File, out: impl Write) -> io::Result<()> {
    let mut writer = encode::Blocks::new(io::BufWriter::new(scratch));
    matches::find(old, new, &mut writer)?;
    writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    compress(scratch, out)
}

/// Compresses the blocks once they are all there: the compressor's tables and the index of the old content are never in memory together.
fn compress(mut blocks: &File, out: impl Write) -> io::Result<()> {
    use zstd::zstd_safe::CParameter;
    io::Seek::rewind(&mut blocks)?;
    let mut encoder = zstd::Encoder::new(out, LEVEL)?;
    for parameter in
        [CParameter::WindowLog(WINDOW_LOG), CParameter::ChainLog(TABLE_LOG), CParameter::HashLog(TABLE_LOG)]
    {
        encoder.set_parameter(parameter)?;
    }
    io::copy(&mut io::BufReader::with_capacity(PIECE, blocks), &mut encoder)?;
    encoder.finish()?.flush()
}

/// Appends a number as LEB128.
fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front. Nothing if there is none, or one of more than 63 bits.
fn take_number(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

const fn zigzag(step: i64) -> u64 {
    ((step << 1) ^ (step >> 63)).cast_unsigned()
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests;
