//! Several threads that hash blobs, fed from one stream.
//!
//! A medium is read once, front to back; what is parallel is the hashing. Each blob is hashed by one lane, the one with the least to do when the blob
//! begins. Buffers come from a pool of fixed size, so that memory does not grow with the bundle: while one lane is busy with a large blob,
//! the stream runs ahead to the next blobs as far as the pool allows.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use qiji_blueprint::Digest;

use super::scan::Extent;
use crate::hash::Hasher;

/// Most lanes: more are fed no faster by one stream.
const MOST: usize = 4;
/// Buffers for one lane, and for each further one.
const FIRST: usize = 6;
const FURTHER: usize = 22;
/// Most buffers.
const BUFFERS: usize = 28;

/// How many lanes this machine is good for.
pub(super) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST)
}

/// How many buffers the pool has.
pub(super) fn buffers(lanes: usize) -> usize {
    (FIRST + FURTHER * lanes.saturating_sub(1)).min(BUFFERS)
}

/// A filled buffer. It goes back to the pool when the last piece of it has been hashed.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    pub(super) pool: SyncSender<Vec<u8>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // The pool has room for all buffers; where it is gone, nothing is read any more.
        drop(self.pool.try_send(std::mem::take(&mut self.bytes)));
    }
}

/// A blob whose bytes are not those of its digest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Damaged {
    pub(super) digest: Digest,
    pub(super) extent: Extent,
}

/// What a lane is told.
enum Word {
    Bytes(Arc<Buffer>, Range<usize>),
    End(Digest, Extent),
}

struct Lane<'s> {
    words: Sender<Word>,
    waiting: Arc<AtomicU64>,
    thread: ScopedJoinHandle<'s, Option<Damaged>>,
}

/// The lanes.
pub(super) struct Lanes<'s>(Vec<Lane<'s>>);

impl<'s> Lanes<'s> {
    pub(super) fn start<'e>(scope: &'s Scope<'s, 'e>, count: usize) -> Self {
        let start = |_| {
            let (words, heard) = channel();
            let waiting = Arc::new(AtomicU64::new(0));
            let left = Arc::clone(&waiting);
            Lane { words, waiting, thread: scope.spawn(move || hash(&heard, &left)) }
        };
        Self((0..count.max(1)).map(start).collect())
    }

    /// The lane for the next blob.
    pub(super) fn idlest(&self) -> usize {
        let waiting = |lane: &Lane<'_>| lane.waiting.load(Ordering::Relaxed);
        self.0.iter().enumerate().min_by_key(|(_, lane)| waiting(lane)).map_or(0, |(index, _)| index)
    }

    /// Gives a lane the next bytes of its blob.
    pub(super) fn feed(&self, lane: usize, buffer: &Arc<Buffer>, range: Range<usize>) {
        let lane = &self.0[lane];
        lane.waiting.fetch_add(range.len() as u64, Ordering::Relaxed);
        // A lane that found damage has stopped listening.
        drop(lane.words.send(Word::Bytes(Arc::clone(buffer), range)));
    }

    /// Ends a lane's blob, which must have this digest.
    pub(super) fn end(&self, lane: usize, digest: Digest, extent: Extent) {
        drop(self.0[lane].words.send(Word::End(digest, extent)));
    }

    /// Whether a lane has stopped before its time.
    pub(super) fn stopped(&self) -> bool {
        self.0.iter().any(|lane| lane.thread.is_finished())
    }

    /// Waits for all, and gives the first blob in the file that is damaged.
    pub(super) fn finish(self) -> Option<Damaged> {
        let join = |lane: Lane<'_>| {
            drop(lane.words);
            match lane.thread.join() {
                Ok(found) => found,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        };
        // Every lane is waited for.
        let damaged: Vec<_> = self.0.into_iter().filter_map(join).collect();
        damaged.into_iter().min_by_key(|damaged| damaged.extent.start)
    }
}

/// Hashes one blob after another until there is no more, or one is damaged.
fn hash(words: &Receiver<Word>, waiting: &AtomicU64) -> Option<Damaged> {
    let mut hasher = Hasher::new();
    while let Ok(word) = words.recv() {
        match word {
            Word::Bytes(buffer, range) => {
                let bytes = &buffer.bytes[range];
                hasher.update(bytes);
                waiting.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
            }
            Word::End(digest, extent) => {
                if std::mem::replace(&mut hasher, Hasher::new()).finish() != digest {
                    return Some(Damaged { digest, extent });
                }
            }
        }
    }
    None
}
