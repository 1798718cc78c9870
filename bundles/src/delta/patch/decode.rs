//! Applying a patch. It may come from anybody: every number in it is checked against what is there before it is used.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;

use super::{PIECE, SECTION, SECTIONS, WINDOW_LOG, take_number, unzigzag};

/// Writes the content that `patch` makes from `old` to `out`; it must have `size` bytes.
///
/// # Errors
/// Of kind `InvalidData` where the patch does not keep the rules or does not give as many bytes; what was written is of no use then.
pub(crate) fn apply(old: &File, patch: impl Read, size: u64, out: impl Write) -> io::Result<()> {
    let mut decoder = zstd::Decoder::new(patch)?.single_frame();
    decoder.window_log_max(WINDOW_LOG)?;
    let mut blocks = BufReader::with_capacity(PIECE, decoder);
    let mut new =
        New { old, old_size: old.metadata()?.len(), out, left: size, cursor: 0, buffer: Vec::new() };
    while let Some(block) = Block::read(&mut blocks)? {
        new.block(&block)?;
    }
    let mut patch = blocks.into_inner().finish();
    match (new.left, patch.read(&mut [0])?) {
        (0, 0) => new.out.flush(),
        (0, _) => Err(bad("bytes follow its end")),
        (left, _) => Err(bad(&format!("it lacks {left} bytes of the content"))),
    }
}

fn bad(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the patch is wrong: {reason}"))
}

/// The sections of a block.
struct Block([Vec<u8>; SECTIONS]);

impl Block {
    /// The next block; nothing at the end.
    fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut lengths = [[0; 4]; SECTIONS];
        let mut first = from.take(lengths.as_flattened().len() as u64);
        let read = io::copy(&mut first, &mut lengths.as_flattened_mut())?;
        match read {
            0 => return Ok(None),
            whole if whole == lengths.as_flattened().len() as u64 => {}
            _ => return Err(bad("it ends in the middle of a block")),
        }
        let mut sections = [const { Vec::new() }; SECTIONS];
        for (section, length) in sections.iter_mut().zip(lengths) {
            let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
            if length > SECTION {
                return Err(bad("a section is too long"));
            }
            from.take(length as u64).read_to_end(section)?;
            if section.len() < length {
                return Err(bad("it ends in the middle of a block"));
            }
        }
        Ok(Some(Self(sections)))
    }
}

/// The new content, as far as it is.
struct New<'f, W> {
    old: &'f File,
    old_size: u64,
    out: W,
    /// Bytes that are still to come.
    left: u64,
    /// Where the last copy ended in the old content.
    cursor: u64,
    buffer: Vec<u8>,
}

impl<W: Write> New<'_, W> {
    fn block(&mut self, block: &Block) -> io::Result<()> {
        let [moves, gaps, runs, values, literals] = block.0.each_ref().map(Vec::as_slice);
        let mut changes = Changes { gaps, runs, values, copied: 0, next: None };
        let (mut moves, mut literals) = (moves, literals);
        changes.advance()?;
        while !moves.is_empty() {
            let mut number = || take_number(&mut moves).ok_or_else(|| bad("a move is cut off"));
            let (literal, step, copy) = (number()?, unzigzag(number()?), number()?);
            let literal = length(literal)?;
            let taken = literals.split_off(..literal).ok_or_else(|| bad("it lacks literals"))?;
            self.put(taken)?;
            self.copy(step, length(copy)?, &mut changes)?;
        }
        if !literals.is_empty() || !changes.is_done() {
            return Err(bad("a block holds more than its moves use"));
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| bad("it gives more bytes than the content has"))?;
        self.out.write_all(bytes)
    }

    fn copy(&mut self, step: i64, length: usize, changes: &mut Changes<'_>) -> io::Result<()> {
        let outside = || bad("it copies from outside the old content");
        let start = self.cursor.checked_add_signed(step).ok_or_else(outside)?;
        let end = start.checked_add(length as u64).filter(|&end| end <= self.old_size).ok_or_else(outside)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(length, 0);
        self.old.read_exact_at(&mut buffer, start)?;
        changes.apply(&mut buffer)?;
        self.put(&buffer)?;
        (self.buffer, self.cursor) = (buffer, end);
        Ok(())
    }
}

fn length(number: u64) -> io::Result<usize> {
    let length = usize::try_from(number).unwrap_or(usize::MAX);
    if length <= PIECE { Ok(length) } else { Err(bad("a move is too long")) }
}

/// What is added to the copied bytes of a block.
struct Changes<'b> {
    gaps: &'b [u8],
    runs: &'b [u8],
    values: &'b [u8],
    /// Copied bytes of this block so far.
    copied: u64,
    /// Where the next run begins, in copied bytes of this block, and its values.
    next: Option<(u64, &'b [u8])>,
}

impl<'b> Changes<'b> {
    /// Reads the next run, which counts from where `self.next` ends.
    fn advance(&mut self) -> io::Result<()> {
        let from = self.next.map_or(0, |(start, values)| start + values.len() as u64);
        self.next = None;
        if self.gaps.is_empty() {
            return Ok(());
        }
        let gap = take_number(&mut self.gaps).ok_or_else(|| bad("a gap is cut off"))?;
        let run = take_number(&mut self.runs).ok_or_else(|| bad("a run is cut off"))?;
        let values: Option<&'b [u8]> = usize::try_from(run).ok().and_then(|run| self.values.split_off(..run));
        let values = values.ok_or_else(|| bad("it lacks values"))?;
        let start = from.checked_add(gap).ok_or_else(|| bad("a gap is too long"))?;
        self.next = Some((start, values));
        Ok(())
    }

    /// Changes the bytes of a copy.
    fn apply(&mut self, copied: &mut [u8]) -> io::Result<()> {
        let end = self.copied + copied.len() as u64;
        while let Some((start, values)) = self.next.filter(|&(start, _)| start < end) {
            let at = usize::try_from(start - self.copied).map_err(io::Error::other)?;
            let place =
                copied.get_mut(at..at + values.len()).ok_or_else(|| bad("a run goes beyond its copy"))?;
            place.iter_mut().zip(values).for_each(|(byte, value)| *byte = byte.wrapping_add(*value));
            self.advance()?;
        }
        self.copied = end;
        Ok(())
    }

    const fn is_done(&self) -> bool {
        self.next.is_none() && self.gaps.is_empty() && self.runs.is_empty() && self.values.is_empty()
    }
}
