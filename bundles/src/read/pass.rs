//! The one pass over a whole bundle: one thread reads ahead, another holds every header once more to its name and size and all padding to zero, and
//! [lanes](super::lanes) hold every blob to its digest.
//!
//! 1. The file is read front to back. A blob is hashed by one lane, so a large one keeps the others idle once all buffers hold nothing but it.
//! 2. Therefore, where the first blobs show that bytes come faster than a lane hashes them, as from memory or a fast disk, the rest is cut into as many
//!    parts as there are lanes, each with a reader and a lane of its own. A slow medium is read in one direction to its end.
//!
//! Where several things are wrong, the one that comes first in the file is told, however many lanes there are.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use qiji_blueprint::Digest;

use super::lanes::{self, Buffer, Damaged, Lanes, Pace, Speed};
use super::medium::Medium;
use super::parse::Parsed;
use super::scan::{Extent, Members};
use crate::Progress;
use crate::error::Fault;
use crate::hash::BUFFER;
use crate::tar::{self, BLOCK};

/// Bytes that show how fast the medium is.
const PROBE: u64 = 4 << 20;

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
    let (done, total) = (AtomicU64::new(0), members.length);
    let sweep = Sweep { medium, members, parsed, done: &done };
    let mut report = |done| progress(Progress { done, total });
    let blobs: Vec<_> = members.blobs.iter().map(|(digest, extent)| (*digest, *extent)).collect();
    let first = blobs.partition_point(|(_, extent)| extent.start < PROBE);
    let (first, rest) = if count > 1 { blobs.split_at(first) } else { (&[][..], &blobs[..]) };
    let begin = first.last().map_or(0, |(_, extent)| extent.padded_end());
    let probe = Part { blobs: first, start: 0, end: begin };
    let pace = sweep.check(&probe, count, lanes::buffers(count), &mut report)?;
    let parts = if pace.outruns_a_lane() { cut(rest, count) } else { vec![rest] };
    let mut start = begin;
    let mut ranges = Vec::new();
    for (number, blobs) in parts.iter().enumerate() {
        let is_last = number + 1 == parts.len();
        let end = blobs.last().filter(|_| !is_last).map_or(total, |(_, extent)| extent.padded_end());
        ranges.push(Part { blobs, start, end });
        start = end;
    }
    let (each, buffers) = (count / ranges.len(), lanes::buffers(count) / ranges.len());
    let Some((own, others)) = ranges.split_first() else { return Ok(()) };
    thread::scope(|scope| {
        let others: Vec<_> = others
            .iter()
            .map(|part| scope.spawn(move || sweep.check(part, each, buffers, &mut |_| ())))
            .collect();
        let mut outcome = sweep.check(own, each, buffers, &mut report);
        for other in others {
            let checked = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome = outcome.and(checked);
        }
        outcome.map(|_| report(total))
    })
}

/// Cuts blobs that lie one after another into some parts of about the same size.
fn cut(blobs: &[(Digest, Extent)], count: usize) -> Vec<&[(Digest, Extent)]> {
    let (Some((_, first)), Some((_, last))) = (blobs.first(), blobs.last()) else { return vec![blobs] };
    let share = (last.end() - first.start) / count as u64;
    let (mut rest, mut parts) = (blobs, Vec::new());
    for number in 1..count as u64 {
        let border = first.start + share * number;
        let (part, after) = rest.split_at(rest.partition_point(|(_, extent)| extent.end() <= border));
        if !part.is_empty() {
            parts.push(part);
        }
        rest = after;
    }
    parts.push(rest);
    parts
}

/// Blobs that lie one after another, and the bytes from the header of the first to the padding of the last; to the end of the file, where they are the
/// last of all.
struct Part<'a> {
    blobs: &'a [(Digest, Extent)],
    start: u64,
    end: u64,
}

/// What all parts of a pass share.
#[derive(Clone, Copy)]
struct Sweep<'a> {
    medium: &'a dyn Medium,
    members: &'a Members,
    parsed: &'a Parsed,
    /// Bytes that were read, of all parts.
    done: &'a AtomicU64,
}

impl Sweep<'_> {
    /// Reads and checks a part. Gives how fast that went.
    fn check(
        self,
        part: &Part<'_>,
        count: usize,
        buffers: usize,
        report: &mut dyn FnMut(u64),
    ) -> Result<Pace, Fault> {
        thread::scope(|scope| {
            let (full, ready) = sync_channel(buffers);
            let (pool, spare) = sync_channel(buffers);
            (0..buffers).for_each(|_| drop(pool.try_send(Vec::new())));
            let (medium, start, end) = (self.medium, part.start, part.end);
            let reader = scope.spawn(move || read_ahead(medium, start..end, &full, &spare));
            let lanes = Lanes::start(scope, count);
            let left = end - start;
            let mut input = Input { ready, pool, buffer: None, position: 0, left, done: self.done, report };
            let outcome = check(&mut input, &lanes, part, self.members);
            // Buffers must be on their way back when the reading thread is waited for.
            drop(input);
            let (damaged, mut pace) = lanes.finish();
            pace.reading = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match damaged {
                Some(damaged) => Err(fault(damaged, self.parsed)),
                None => outcome.map(|()| pace),
            }
        })
    }
}

fn fault(Damaged { digest, extent }: Damaged, parsed: &Parsed) -> Fault {
    let owner = parsed.owners[&digest].clone();
    Fault::Blob { digest, owner, start: extent.start, end: extent.end() }
}

fn check(input: &mut Input<'_>, lanes: &Lanes<'_>, part: &Part<'_>, members: &Members) -> Result<(), Fault> {
    for &(digest, extent) in part.blobs {
        if lanes.stopped() {
            return Ok(());
        }
        let name = format!("blobs/sha256/{}", digest.hex());
        check_header(input, &name, extent)?;
        let lane = lanes.idlest();
        input.feed(extent.size, lanes, lane).map_err(Fault::Read)?;
        lanes.end(lane, digest, extent);
        check_padding(input, &name, extent)?;
    }
    if part.end < members.length {
        return Ok(());
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

/// Sends a part of the file in order; ends early when nobody receives any more. Gives how fast bytes came.
fn read_ahead(
    medium: &dyn Medium,
    part: Range<u64>,
    full: &SyncSender<Filled>,
    spare: &Receiver<Vec<u8>>,
) -> Speed {
    let (mut position, mut speed) = (part.start, Speed::default());
    while position < part.end {
        let Ok(mut buffer) = spare.recv() else { break };
        let size = usize::try_from(part.end - position).unwrap_or(BUFFER).min(BUFFER);
        buffer.resize(size, 0);
        let begun = Instant::now();
        let filled = medium.read_exact_at(&mut buffer, position).map(|()| buffer);
        speed.add(size, begun.elapsed());
        position += size as u64;
        let failed = filled.is_err();
        if full.send(filled).is_err() || failed {
            break;
        }
    }
    speed
}

/// The receiving end of [`read_ahead`].
struct Input<'p> {
    ready: Receiver<Filled>,
    pool: SyncSender<Vec<u8>>,
    buffer: Option<Arc<Buffer>>,
    position: usize,
    /// Bytes that are still to come.
    left: u64,
    /// Bytes of all parts.
    done: &'p AtomicU64,
    report: &'p mut dyn FnMut(u64),
}

impl Input<'_> {
    /// The buffer with the next bytes, and where in it they begin.
    fn buffer(&mut self) -> io::Result<(&Arc<Buffer>, usize)> {
        if self.buffer.as_ref().is_none_or(|buffer| self.position == buffer.bytes.len()) {
            let over = || io::Error::from(io::ErrorKind::UnexpectedEof);
            if self.left == 0 {
                return Err(over());
            }
            self.buffer = None;
            let bytes = self.ready.recv().map_err(|_| over())??;
            self.position = 0;
            let count = bytes.len() as u64;
            self.left -= count;
            self.buffer = Some(Arc::new(Buffer { bytes, pool: self.pool.clone() }));
            (self.report)(self.done.fetch_add(count, Ordering::Relaxed) + count);
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
