//! Writing blocks: where the new content is like the old one, and how it differs there.

use std::io::{self, Write};

use super::{PIECE, SECTION, SECTIONS, put_number, zigzag};

/// Takes literals and copies in the order of the new content, and writes blocks of them.
pub(super) struct Blocks<W> {
    out: W,
    moves: Vec<u8>,
    gaps: Vec<u8>,
    runs: Vec<u8>,
    values: Vec<u8>,
    literals: Vec<u8>,
    /// Bytes of literals that the next move takes.
    waiting: usize,
    /// Where the last copy ended in the old content.
    cursor: u64,
    /// Copied bytes of this block since its last run.
    gap: u64,
}

impl<W: Write> Blocks<W> {
    pub(super) const fn new(out: W) -> Self {
        Self {
            out,
            moves: Vec::new(),
            gaps: Vec::new(),
            runs: Vec::new(),
            values: Vec::new(),
            literals: Vec::new(),
            waiting: 0,
            cursor: 0,
            gap: 0,
        }
    }

    /// Bytes that are like nothing in the old content.
    pub(super) fn literal(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(PIECE - self.waiting));
            self.literals.extend_from_slice(piece);
            self.waiting += piece.len();
            bytes = rest;
            if self.waiting == PIECE {
                self.end_move(self.cursor, 0)?;
            }
        }
        Ok(())
    }

    /// Bytes that are like those at `place` of the old content; both slices have the same length, at most [`PIECE`].
    pub(super) fn copy(&mut self, place: u64, old: &[u8], new: &[u8]) -> io::Result<()> {
        let mut pairs = old.iter().zip(new).enumerate().peekable();
        let (mut same, mut last) = (self.gap, 0);
        while let Some((at, _)) = pairs.find(|(_, (old, new))| old != new) {
            let mut end = at + 1;
            while pairs.next_if(|(_, (old, new))| old != new).is_some() {
                end += 1;
            }
            same += (at - last) as u64;
            put_number(&mut self.gaps, same);
            put_number(&mut self.runs, (end - at) as u64);
            self.values
                .extend(old[at..end].iter().zip(&new[at..end]).map(|(old, new)| new.wrapping_sub(*old)));
            (same, last) = (0, end);
        }
        self.gap = same + (new.len() - last) as u64;
        self.end_move(place, new.len())
    }

    fn end_move(&mut self, place: u64, length: usize) -> io::Result<()> {
        put_number(&mut self.moves, self.waiting as u64);
        put_number(&mut self.moves, zigzag(place.wrapping_sub(self.cursor).cast_signed()));
        put_number(&mut self.moves, length as u64);
        self.waiting = 0;
        self.cursor = place + length as u64;
        let full = [&self.moves, &self.gaps, &self.runs, &self.values, &self.literals];
        if full.iter().any(|section| section.len() >= SECTION / 2) { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        let sections: [&mut Vec<u8>; SECTIONS] =
            [&mut self.moves, &mut self.gaps, &mut self.runs, &mut self.values, &mut self.literals];
        for section in &sections {
            let length = u32::try_from(section.len()).map_err(io::Error::other)?;
            self.out.write_all(&length.to_le_bytes())?;
        }
        for section in sections {
            self.out.write_all(section)?;
            section.clear();
        }
        self.gap = 0;
        Ok(())
    }

    /// Writes what is left, and gives the output back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if self.waiting > 0 {
            self.end_move(self.cursor, 0)?;
        }
        if !self.moves.is_empty() {
            self.end_block()?;
        }
        Ok(self.out)
    }
}
