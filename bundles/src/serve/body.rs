//! The body of an answer, sent piece by piece.
//!
//! A blob is read and hashed on a thread for blocking work, one piece ahead of the connection. The last piece is sent only when the whole blob has been
//! found to be what it should be; otherwise the body ends with an error, on which the connection is broken before the client has all bytes.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, channel};

use crate::hash;

/// Bytes of a piece. Smaller ones make a disk slow, as the kernel reads no further ahead than some hundred kilobytes by itself.
const PIECE: usize = 512 << 10;
/// Blobs that are read at a time, each of which takes four pieces of memory at most.
const STREAMS: u32 = 16;

/// A body: bytes at hand, or a blob that is being read.
#[derive(Debug)]
pub(crate) enum Sending {
    /// These bytes, once.
    Bytes(Bytes),
    /// Pieces of a blob, and how many bytes are still to come.
    Blob(Receiver<io::Result<Bytes>>, u64),
}

impl Sending {
    /// A body whose bytes cannot be had: the connection breaks.
    pub(crate) fn broken(size: u64) -> Self {
        Self::Blob(channel(1).1, size)
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match self.get_mut() {
            Self::Bytes(bytes) if bytes.is_empty() => None,
            Self::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Self::Blob(_, 0) => None,
            Self::Blob(receiver, left) => {
                let next = ready!(receiver.poll_recv(context));
                let next = next.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
                *left = left.saturating_sub(next.as_ref().map_or(0, |piece| piece.len() as u64));
                Some(next)
            }
        };
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Blob(_, left) => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Blob(_, left) => SizeHint::with_exact(*left),
        }
    }
}

/// Reads blobs for bodies, a limited number at a time.
#[derive(Debug)]
pub(crate) struct Streams {
    permits: Arc<Semaphore>,
    buffers: Buffers,
    patience: Duration,
}

impl Streams {
    /// A client may take `patience` for a piece.
    pub(crate) fn new(patience: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(STREAMS as usize));
        Self { permits, buffers: Buffers::default(), patience }
    }

    /// Starts to send the `size` bytes that `reader` gives. Waits while too many others are being read.
    pub(crate) async fn send(&self, reader: impl Read + Send + 'static, size: u64) -> Sending {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Sending::broken(size);
        };
        let (sender, receiver) = channel(1);
        let (buffers, patience, runtime) = (self.buffers.clone(), self.patience, Handle::current());
        tokio::task::spawn_blocking(move || {
            read(reader, &buffers, |piece| runtime.block_on(sender.send_timeout(piece, patience)).is_ok());
            drop(permit);
        });
        Sending::Blob(receiver, size)
    }

    /// Waits until nothing is read any more, and lets nothing begin.
    pub(crate) async fn end(&self) {
        // It fails only where it has been closed before.
        let _ = self.permits.acquire_many(STREAMS).await;
        self.permits.close();
    }
}

/// Reads to the end, one piece held back until the next one is there. Ends early when nobody wants more.
fn read(mut reader: impl Read, buffers: &Buffers, give: impl Fn(io::Result<Bytes>) -> bool) {
    let mut held: Option<Bytes> = None;
    loop {
        let mut buffer = buffers.take();
        let count = match hash::fill(&mut reader, &mut buffer.bytes) {
            Ok(count) => count,
            Err(error) => {
                give(Err(error));
                return;
            }
        };
        if held.take().is_some_and(|held| !give(Ok(held))) || count == 0 {
            return;
        }
        let is_last = count < buffer.bytes.len();
        let piece = Bytes::from_owner(buffer).slice(..count);
        if is_last {
            give(Ok(piece));
            return;
        }
        held = Some(piece);
    }
}

/// Buffers that are used again and again, so that sending does not go through the allocator.
#[derive(Debug, Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that goes back to the others with its end.
struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    fn take(&self) -> Buffer {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: spare.unwrap_or_else(|| vec![0; PIECE]), home: self.clone() }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}
