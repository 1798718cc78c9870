//! The one pass over a whole bundle: a second thread reads ahead, this one hashes. Every blob is held to its digest, all padding to zero, and every
//! header once more to its name and size.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::medium::Medium;
use super::parse::Parsed;
use super::scan::{Extent, Members};
use crate::Progress;
use crate::error::Fault;
use crate::hash::{BUFFER, Hasher};
use crate::tar::{self, BLOCK};

/// Buffers that the reading thread may be ahead.
const AHEAD: usize = 4;

/// Reads and checks every byte of all members. The end blocks and the two small members were checked when the bundle was opened.
pub(crate) fn run(
    medium: &dyn Medium,
    members: &Members,
    parsed: &Parsed,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Fault> {
    thread::scope(|scope| {
        let (full, ready) = sync_channel(AHEAD);
        let (empty, spare) = sync_channel(AHEAD + 2);
        let total = members.length;
        scope.spawn(move || read_ahead(medium, total, &full, &spare));
        let input = Input { ready, empty, buffer: Vec::new(), position: 0, done: 0, total, progress };
        check(input, members, parsed)
    })
}

fn check(mut input: Input<'_>, members: &Members, parsed: &Parsed) -> Result<(), Fault> {
    for (digest, &extent) in &members.blobs {
        let name = format!("blobs/sha256/{}", digest.hex());
        check_header(&mut input, &name, extent)?;
        let mut hasher = Hasher::new();
        input.pass(extent.size, |bytes| hasher.update(bytes)).map_err(Fault::Read)?;
        if hasher.finish() != *digest {
            let owner = parsed.owners[digest].clone();
            return Err(Fault::Blob { digest: *digest, owner, start: extent.start, end: extent.end() });
        }
        check_padding(&mut input, &name, extent)?;
    }
    for (name, extent) in [("index.json", members.index), ("oci-layout", members.layout)] {
        check_header(&mut input, name, extent)?;
        input.pass(extent.size, |_| ()).map_err(Fault::Read)?;
        check_padding(&mut input, name, extent)?;
    }
    input.pass(tar::END, |_| ()).map_err(Fault::Read)
}

fn check_header(input: &mut Input<'_>, name: &str, extent: Extent) -> Result<(), Fault> {
    let mut block = [0; 512];
    input.read_exact(&mut block).map_err(Fault::Read)?;
    if block == tar::header(name, extent.size) {
        return Ok(());
    }
    let (name, offset) = (name.to_owned(), extent.start - BLOCK);
    Err(Fault::Member { name, offset, reason: "was changed while the bundle was being read" })
}

fn check_padding(input: &mut Input<'_>, name: &str, extent: Extent) -> Result<(), Fault> {
    let mut zero = true;
    let padding = tar::padding(extent.size);
    input.pass(padding, |bytes| zero &= bytes.iter().all(|&byte| byte == 0)).map_err(Fault::Read)?;
    if zero {
        return Ok(());
    }
    Err(Fault::Padding { name: name.to_owned(), start: extent.end(), end: extent.padded_end() })
}

type Filled = io::Result<Vec<u8>>;

/// Sends the file in order; ends early when nobody receives any more.
fn read_ahead(medium: &dyn Medium, total: u64, full: &SyncSender<Filled>, spare: &Receiver<Vec<u8>>) {
    let mut position = 0;
    while position < total {
        let mut buffer = spare.try_recv().unwrap_or_default();
        let size = usize::try_from(total - position).unwrap_or(BUFFER).min(BUFFER);
        buffer.resize(size, 0);
        let filled = medium.read_exact_at(&mut buffer, position).map(|()| buffer);
        position += size as u64;
        let failed = filled.is_err();
        if full.send(filled).is_err() || failed {
            return;
        }
    }
}

/// The receiving end of [`read_ahead`] as a reader.
struct Input<'p> {
    ready: Receiver<Filled>,
    empty: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    position: usize,
    done: u64,
    total: u64,
    progress: &'p mut dyn FnMut(Progress),
}

impl Input<'_> {
    /// Hands the next `size` bytes to `take`, in pieces.
    fn pass(&mut self, mut size: u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        while size > 0 {
            let bytes = self.fill_buf()?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let count = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len());
            take(&bytes[..count]);
            self.consume(count);
            size -= count as u64;
        }
        Ok(())
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.buffer.len() && self.done < self.total {
            let next = self.ready.recv().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))??;
            // The reading thread may be gone, having read everything.
            drop(self.empty.try_send(std::mem::replace(&mut self.buffer, next)));
            self.position = 0;
            self.done += self.buffer.len() as u64;
            (self.progress)(Progress { done: self.done, total: self.total });
        }
        Ok(&self.buffer[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl Read for Input<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let count = bytes.read(target)?;
        self.consume(count);
        Ok(count)
    }
}
