//! The one pass over a whole bundle: every header is held once more to its name and size, all padding to zero, and every blob to its digest.
//!
//! 1. A few samples show how fast bytes come.
//! 2. A slow medium is read front to back by one thread, which reads ahead; [lanes](super::lanes) hash what it reads.
//! 3. Where bytes come faster than they are hashed, as from memory or a fast disk, several threads read and hash one blob each ([apart](super::apart)).
//!
//! Where several things are wrong, the one that comes first in the file is told, however many threads there are.

use std::hint::black_box;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::apart;
use super::checks::{Pass, blob_name, check_header, check_padding};
use super::lanes::{self, Buffer, Damaged, Lanes};
use super::medium::Medium;
use super::scan::Members;
use crate::Progress;
use crate::error::Fault;
use crate::hash::{self, BUFFER};
use crate::tar;

/// Bytes that show how fast the medium is, in each of three places.
const SAMPLE: usize = 256 << 10;
/// A bundle of less is read front to back: threads would be started for nothing.
const SMALL: u64 = 4 << 20;

/// Reads and checks every byte of all members. The end blocks and the two small members were checked when the bundle was opened.
pub(crate) fn run(pass: Pass<'_>, progress: &mut dyn FnMut(Progress)) -> Result<(), Fault> {
    let (count, total) = (lanes::count(), pass.members.length);
    let mut report = |done| progress(Progress { done, total });
    if count > 1 && total > SMALL && comes_fast(pass.medium, total) {
        return apart::check(pass, count, &mut report);
    }
    pass.front_to_back(count, &mut report)
}

/// Whether bytes come in less than three quarters of the time that it takes to hash them. What cannot be read is told later, in its place.
fn comes_fast(medium: &dyn Medium, total: u64) -> bool {
    let mut buffer = vec![0; SAMPLE];
    let (mut reading, mut hashing) = (Duration::ZERO, Duration::ZERO);
    for place in [0, total / 2, total.saturating_sub(SAMPLE as u64)] {
        let begun = Instant::now();
        if medium.read_exact_at(&mut buffer, place).is_err() {
            return false;
        }
        let filled = Instant::now();
        black_box(hash::digest(&buffer));
        reading += filled.duration_since(begun);
        hashing += filled.elapsed();
    }
    4 * reading < 3 * hashing
}

impl Pass<'_> {
    fn front_to_back(self, count: usize, report: &mut dyn FnMut(u64)) -> Result<(), Fault> {
        thread::scope(|scope| {
            let buffers = lanes::buffers(count);
            let (full, ready) = sync_channel(buffers);
            let (pool, spare) = sync_channel(buffers);
            (0..buffers).for_each(|_| drop(pool.try_send(Vec::new())));
            let (medium, length) = (self.medium, self.members.length);
            scope.spawn(move || read_ahead(medium, length, &full, &spare));
            let lanes = Lanes::start(scope, count);
            let mut input = Input { ready, pool, buffer: None, position: 0, left: length, length, report };
            let outcome = check(&mut input, &lanes, self.members);
            // Buffers must be on their way back when the reading thread is waited for.
            drop(input);
            match lanes.finish() {
                Some(Damaged { digest, extent }) => Err(self.damaged(digest, extent)),
                None => outcome,
            }
        })
    }
}

fn check(input: &mut Input<'_>, lanes: &Lanes<'_>, members: &Members) -> Result<(), Fault> {
    for (&digest, &extent) in &members.blobs {
        if lanes.stopped() {
            return Ok(());
        }
        let name = blob_name(&digest);
        check_header(input, &name, extent)?;
        let lane = lanes.idlest();
        input.feed(extent.size, lanes, lane).map_err(Fault::Read)?;
        lanes.end(lane, digest, extent);
        check_padding(input, &name, extent)?;
    }
    for (name, extent) in [("index.json", members.index), ("oci-layout", members.layout)] {
        check_header(input, name, extent)?;
        input.pass(extent.size).map_err(Fault::Read)?;
        check_padding(input, name, extent)?;
    }
    input.pass(tar::END).map_err(Fault::Read)
}

type Filled = io::Result<Vec<u8>>;

/// Sends the file in order; ends early when nobody receives any more.
fn read_ahead(medium: &dyn Medium, length: u64, full: &SyncSender<Filled>, spare: &Receiver<Vec<u8>>) {
    let mut position = 0;
    while position < length {
        let Ok(mut buffer) = spare.recv() else { break };
        let size = usize::try_from(length - position).unwrap_or(BUFFER).min(BUFFER);
        buffer.resize(size, 0);
        let filled = medium.read_exact_at(&mut buffer, position).map(|()| buffer);
        position += size as u64;
        let failed = filled.is_err();
        if full.send(filled).is_err() || failed {
            break;
        }
    }
}

/// The receiving end of [`read_ahead`].
struct Input<'p> {
    ready: Receiver<Filled>,
    pool: SyncSender<Vec<u8>>,
    buffer: Option<Arc<Buffer>>,
    position: usize,
    /// Bytes that are still to come, of how many.
    left: u64,
    length: u64,
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
            self.left -= bytes.len() as u64;
            self.buffer = Some(Arc::new(Buffer { bytes, pool: self.pool.clone() }));
            (self.report)(self.length - self.left);
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

    /// Passes over the next `size` bytes.
    fn pass(&mut self, mut size: u64) -> io::Result<()> {
        while size > 0 {
            let (buffer, from) = self.buffer()?;
            let count = at_most(size, buffer.bytes.len() - from);
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
