//! The one pass over a whole bundle: one thread reads ahead, this one holds every header once more to its name and size and all padding to zero, and
//! [lanes](super::lanes) hold every blob to its digest.
//!
//! Where several things are wrong, the one that comes first in the file is told, however many lanes there are.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::lanes::{self, Buffer, Damaged, Lanes};
use super::medium::Medium;
use super::parse::Parsed;
use super::scan::{Extent, Members};
use crate::Progress;
use crate::error::Fault;
use crate::hash::BUFFER;
use crate::tar::{self, BLOCK};

/// Reads and checks every byte of all members. The end blocks and the two small members were checked when the bundle was opened.
pub(crate) fn run(
    medium: &dyn Medium,
    members: &Members,
    parsed: &Parsed,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Fault> {
    run_in(lanes::count(), medium, members, parsed, progress)
}

fn run_in(
    count: usize,
    medium: &dyn Medium,
    members: &Members,
    parsed: &Parsed,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Fault> {
    let buffers = lanes::buffers(count);
    thread::scope(|scope| {
        let (full, ready) = sync_channel(buffers);
        let (pool, spare) = sync_channel(buffers);
        (0..buffers).for_each(|_| drop(pool.try_send(Vec::new())));
        let total = members.length;
        scope.spawn(move || read_ahead(medium, total, &full, &spare));
        let lanes = Lanes::start(scope, count);
        let mut input = Input { ready, pool, buffer: None, position: 0, done: 0, total, progress };
        let outcome = check(&mut input, &lanes, members);
        // Buffers must be on their way back when the reading thread is waited for.
        drop(input);
        match lanes.finish() {
            Some(damaged) => Err(fault(damaged, parsed)),
            None => outcome,
        }
    })
}

fn fault(Damaged { digest, extent }: Damaged, parsed: &Parsed) -> Fault {
    let owner = parsed.owners[&digest].clone();
    Fault::Blob { digest, owner, start: extent.start, end: extent.end() }
}

fn check(input: &mut Input<'_>, lanes: &Lanes<'_>, members: &Members) -> Result<(), Fault> {
    for (digest, &extent) in &members.blobs {
        if lanes.stopped() {
            return Ok(());
        }
        let name = format!("blobs/sha256/{}", digest.hex());
        check_header(input, &name, extent)?;
        let lane = lanes.idlest();
        input.feed(extent.size, lanes, lane).map_err(Fault::Read)?;
        lanes.end(lane, *digest, extent);
        check_padding(input, &name, extent)?;
    }
    for (name, extent) in [("index.json", members.index), ("oci-layout", members.layout)] {
        check_header(input, name, extent)?;
        input.pass(extent.size, |_| ()).map_err(Fault::Read)?;
        check_padding(input, name, extent)?;
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
        let Ok(mut buffer) = spare.recv() else { return };
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

/// The receiving end of [`read_ahead`].
struct Input<'p> {
    ready: Receiver<Filled>,
    pool: SyncSender<Vec<u8>>,
    buffer: Option<Arc<Buffer>>,
    position: usize,
    done: u64,
    total: u64,
    progress: &'p mut dyn FnMut(Progress),
}

impl Input<'_> {
    /// The buffer with the next bytes, and where in it they begin.
    fn buffer(&mut self) -> io::Result<(&Arc<Buffer>, usize)> {
        if self.buffer.as_ref().is_none_or(|buffer| self.position == buffer.bytes.len()) {
            let over = || io::Error::from(io::ErrorKind::UnexpectedEof);
            if self.done >= self.total {
                return Err(over());
            }
            self.buffer = None;
            let bytes = self.ready.recv().map_err(|_| over())??;
            self.position = 0;
            self.done += bytes.len() as u64;
            self.buffer = Some(Arc::new(Buffer { bytes, pool: self.pool.clone() }));
            (self.progress)(Progress { done: self.done, total: self.total });
        }
        let position = self.position;
        self.buffer
            .as_ref()
            .map(|buffer| (buffer, position))
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Hands the next `size` bytes to a lane.
    fn feed(&mut self, mut size: u64, lanes: &Lanes<'_>, lane: usize) -> io::Result<()> {
        while size > 0 {
            let (buffer, from) = self.buffer()?;
            let count = at_most(size, buffer.bytes.len() - from);
            lanes.feed(lane, buffer, from..from + count);
            self.position += count;
            size -= count as u64;
        }
        Ok(())
    }

    /// Hands the next `size` bytes to `take`, in pieces.
    fn pass(&mut self, mut size: u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        while size > 0 {
            let (buffer, from) = self.buffer()?;
            let count = at_most(size, buffer.bytes.len() - from);
            take(&buffer.bytes[from..from + count]);
            self.position += count;
            size -= count as u64;
        }
        Ok(())
    }
}

fn at_most(wanted: u64, there: usize) -> usize {
    usize::try_from(wanted).unwrap_or(usize::MAX).min(there)
}

impl Read for Input<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let (buffer, from) = self.buffer()?;
        let count = target.len().min(buffer.bytes.len() - from);
        target[..count].copy_from_slice(&buffer.bytes[from..from + count]);
        self.position += count;
        Ok(count)
    }
}
