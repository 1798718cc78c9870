//! The pass over a medium from which bytes come faster than one thread hashes them: several threads take one blob after another, the largest first, so
//! that they end at about the same time. Each reads and hashes its own blob through one buffer.

use std::cmp::Reverse;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use qiji_blueprint::Digest;

use super::checks::{Pass, blob_name, check_header, check_padding};
use super::medium::Medium;
use super::scan::Extent;
use crate::error::Fault;
use crate::hash::{BUFFER, Hasher};
use crate::tar::BLOCK;

/// Checks every blob, and the headers and paddings of the two small members.
pub(super) fn check(pass: Pass<'_>, count: usize, report: &mut dyn FnMut(u64)) -> Result<(), Fault> {
    let mut blobs: Vec<_> = pass.members.blobs.iter().map(|(digest, extent)| (*digest, *extent)).collect();
    blobs.sort_by_key(|(_, extent)| Reverse(extent.size));
    let work = Work { pass, blobs, next: AtomicUsize::new(0), first: AtomicU64::new(u64::MAX) };
    let (tell, told) = channel();
    let found = thread::scope(|scope| {
        let work = &work;
        let worker = |tell: Sender<u64>| scope.spawn(move || work.take_blobs(&tell));
        let workers: Vec<_> = (0..count).map(|_| worker(tell.clone())).collect();
        drop(tell);
        let mut done = 0;
        for bytes in told {
            done += bytes;
            report(done);
        }
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().filter_map(join).min_by_key(|found: &Found| found.place)
    });
    match found {
        Some(found) => Err(found.fault),
        None => check_small_members(pass).map(|()| report(pass.members.length)),
    }
}

fn check_small_members(pass: Pass<'_>) -> Result<(), Fault> {
    for (name, extent) in [("index.json", pass.members.index), ("oci-layout", pass.members.layout)] {
        check_header(&mut Reading { medium: pass.medium, place: extent.start - BLOCK }, name, extent)?;
        check_padding(&mut Reading { medium: pass.medium, place: extent.end() }, name, extent)?;
    }
    Ok(())
}

/// What the threads share.
struct Work<'a> {
    pass: Pass<'a>,
    /// By size, the largest first.
    blobs: Vec<(Digest, Extent)>,
    /// The next that nobody has taken.
    next: AtomicUsize,
    /// Where the first blob begins that is known to be at fault. Those after it need not be looked at.
    first: AtomicU64,
}

/// A fault, and where its blob begins.
struct Found {
    place: u64,
    fault: Fault,
}

impl Work<'_> {
    /// Checks blobs until there are no more. Gives the first one in the file that is at fault.
    fn take_blobs(&self, tell: &Sender<u64>) -> Option<Found> {
        let mut buffer = vec![0; BUFFER];
        let mut found: Option<Found> = None;
        while let Some(&(digest, extent)) = self.blobs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if extent.start > self.first.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(fault) = self.check_blob(digest, extent, &mut buffer, tell) {
                self.first.fetch_min(extent.start, Ordering::Relaxed);
                if found.as_ref().is_none_or(|found| extent.start < found.place) {
                    found = Some(Found { place: extent.start, fault });
                }
            }
        }
        found
    }

    fn check_blob(
        &self,
        digest: Digest,
        extent: Extent,
        buffer: &mut [u8],
        tell: &Sender<u64>,
    ) -> Result<(), Fault> {
        let mut input = Reading { medium: self.pass.medium, place: extent.start - BLOCK };
        let name = blob_name(&digest);
        check_header(&mut input, &name, extent)?;
        let mut hasher = Hasher::new();
        let mut left = extent.size;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            input.read_exact(&mut buffer[..count]).map_err(Fault::Read)?;
            hasher.update(&buffer[..count]);
            left -= count as u64;
            // Whoever counts listens until the last thread has ended.
            let _ = tell.send(count as u64);
        }
        if hasher.finish() != digest {
            return Err(self.pass.damaged(digest, extent));
        }
        check_padding(&mut input, &name, extent)
    }
}

/// A medium from some place on.
struct Reading<'a> {
    medium: &'a dyn Medium,
    place: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.medium.read_at(buffer, self.place)?;
        self.place += count as u64;
        Ok(count)
    }
}
