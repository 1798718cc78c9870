//! From a blob to its content and back: a blob that is a zstd frame has what it decompresses to as its content, any other is its own content.
//!
//! Going back is possible only where the same bytes come of it. [`find`] tries that: it compresses the content as our layers are compressed and compares
//! with the blob, and gives up at the first other byte.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write};

use serde::{Deserialize, Serialize};

use crate::hash::{BUFFER, fill};

/// First bytes of a zstd frame (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bytes of the frame's header that are looked at: the magic number, the descriptor, the window.
const HEAD: usize = 6;
/// Largest window that is decompressed, as a power of two; the agent on hosts allows as much.
const MAX_WINDOW_LOG: u32 = 27;
/// Largest window that is compressed with, as a power of two: twice that of our layers.
const PACKED_WINDOW_LOG: u32 = 23;
/// Levels that are tried, and no others are allowed: that of our layers, and what zstd takes where nobody says a level.
const LEVELS: [i32; 2] = [9, 3];

/// How a content becomes a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Packing {
    /// It is the blob.
    Plain,
    /// One zstd frame without content size, written by one thread.
    Zstd {
        /// Level.
        level: i32,
        /// Window, as a power of two.
        #[serde(rename = "window-log")]
        window_log: u32,
        /// Whether the frame has a checksum.
        checksum: bool,
    },
}

impl Packing {
    /// Whether it is one that is allowed: others would take memory as they please.
    pub(super) fn is_sound(self) -> bool {
        match self {
            Self::Plain => true,
            Self::Zstd { level, window_log, .. } => {
                LEVELS.contains(&level) && (10..=PACKED_WINDOW_LOG).contains(&window_log)
            }
        }
    }
}

/// Writes the content of a blob to `out` and gives its size.
///
/// # Errors
/// The blob cannot be read, is a damaged frame, or has more than `most` bytes of content.
pub(super) fn unpack(mut blob: impl Read, mut out: &File, most: u64) -> io::Result<u64> {
    let mut head = [0; MAGIC.len()];
    let count = fill(&mut blob, &mut head)?;
    let whole = head[..count].chain(blob);
    let mut content: Box<dyn Read> = if head[..count] == MAGIC {
        let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER / 8, whole))?;
        decoder.window_log_max(MAX_WINDOW_LOG)?;
        Box::new(decoder)
    } else {
        Box::new(whole)
    };
    let mut buffer = vec![0; BUFFER / 8];
    let mut size = 0;
    loop {
        let count = fill(&mut *content, &mut buffer)?;
        size += count as u64;
        if size > most {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the content has more than {most} bytes"),
            ));
        }
        if count == 0 {
            return Ok(size);
        }
        out.write_all(&buffer[..count])?;
    }
}

/// Writes the blob that a content becomes.
pub(super) fn pack(mut content: &File, packing: Packing, mut out: impl Write) -> io::Result<()> {
    content.rewind()?;
    let mut content = BufReader::with_capacity(BUFFER / 8, content);
    match packing {
        Packing::Plain => io::copy(&mut content, &mut out).map(drop),
        Packing::Zstd { level, window_log, checksum } => {
            let mut encoder = zstd::Encoder::new(out, level)?;
            encoder.window_log(window_log)?;
            encoder.include_checksum(checksum)?;
            encoder.include_contentsize(false)?;
            io::copy(&mut content, &mut encoder)?;
            encoder.finish()?.flush()
        }
    }
}

/// How `content` becomes the blob that it is from; nothing if that is not known. `open` opens the blob.
pub(super) fn find<'b>(
    content: &File,
    open: impl Fn() -> io::Result<Box<dyn Read + 'b>>,
) -> io::Result<Option<Packing>> {
    let mut head = [0; HEAD];
    let count = fill(&mut *open()?, &mut head)?;
    if count < MAGIC.len() || head[..MAGIC.len()] != MAGIC {
        return Ok(Some(Packing::Plain));
    }
    let Some((window_log, checksum)) = frame(head) else { return Ok(None) };
    for level in LEVELS {
        let packing = Packing::Zstd { level, window_log, checksum };
        let mut same = Comparing::with(open()?);
        match pack(content, packing, &mut same) {
            Ok(()) if same.is_at_end()? => return Ok(Some(packing)),
            Err(error) if same.is_same => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}

/// Window and whether there is a checksum, of a frame that says no content size and asks for no dictionary (RFC 8878, section 3.1.1.1).
fn frame(head: [u8; HEAD]) -> Option<(u32, bool)> {
    let [.., descriptor, window] = head;
    let (checksum, rest) = (descriptor & 0b100, descriptor & !0b100);
    let (exponent, mantissa) = (window >> 3, window & 0b111);
    let window_log = 10 + u32::from(exponent);
    (rest == 0 && mantissa == 0 && window_log <= PACKED_WINDOW_LOG).then_some((window_log, checksum != 0))
}

/// Takes bytes for as long as they are those that a reader gives.
pub(super) struct Comparing<R> {
    expected: R,
    is_same: bool,
    buffer: Vec<u8>,
}

impl<R: Read> Comparing<R> {
    pub(super) const fn with(expected: R) -> Self {
        Self { expected, is_same: true, buffer: Vec::new() }
    }

    /// Whether all that was taken is the same, and all that is expected was taken.
    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.is_same && fill(&mut self.expected, &mut [0])? == 0)
    }
}

impl<R: Read> Write for Comparing<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.resize(bytes.len(), 0);
        let count = fill(&mut self.expected, &mut self.buffer)?;
        self.is_same &= self.buffer[..count] == *bytes;
        if self.is_same { Ok(count) } else { Err(io::Error::other("the bytes are other ones")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn content() -> Vec<u8> {
        (0..400_000_u32).flat_map(|number| (number / 7 % 1000).to_le_bytes()).collect()
    }

    fn found(content: &[u8], blob: &[u8]) -> Option<Packing> {
        find(&file(content), || Ok(Box::new(blob))).unwrap()
    }

    #[test]
    fn a_layer_of_ours_is_packed_again_to_the_same_bytes() {
        let content = content();
        for (level, window_log, checksum) in [(9, 22, true), (3, 21, false)] {
            let packing = Packing::Zstd { level, window_log, checksum };
            let mut blob = Vec::new();
            pack(&file(&content), packing, &mut blob).unwrap();
            let unpacked = tempfile::tempfile().unwrap();
            assert_eq!(unpack(&blob[..], &unpacked, content.len() as u64).unwrap(), content.len() as u64);
            assert_eq!(found(&content, &blob), Some(packing));
            blob.push(0);
            assert_eq!(found(&content, &blob), None, "a blob that goes on");
        }
    }

    #[test]
    fn what_we_cannot_pack_to_the_same_bytes_is_told() {
        let content = content();
        let mut encoder = zstd::Encoder::new(Vec::new(), 5).unwrap();
        encoder.write_all(&content).unwrap();
        assert_eq!(found(&content, &encoder.finish().unwrap()), None, "another level");
        assert_eq!(found(&content, &zstd::bulk::compress(&content, 9).unwrap()), None, "with content size");
        assert_eq!(found(&content, &content), Some(Packing::Plain));
        assert_eq!(found(b"", b""), Some(Packing::Plain));
    }

    #[test]
    fn a_content_is_never_larger_than_was_said() {
        let bomb = zstd::encode_all(&vec![0; 10_000_000][..], 1).unwrap();
        let error = unpack(&bomb[..], &tempfile::tempfile().unwrap(), 1000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(unpack(&bomb[..bomb.len() - 1], &tempfile::tempfile().unwrap(), u64::MAX).is_err());
        assert_eq!(unpack(&b"(\xb5"[..], &tempfile::tempfile().unwrap(), 2).unwrap(), 2);
    }
}
