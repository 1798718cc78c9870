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
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::hash;

/// Bytes of a piece.
const PIECE: usize = 128 << 10;
/// Time that a client may take for one piece.
const PATIENCE: Duration = Duration::from_secs(60);

/// A body: bytes at hand, or a blob that is being read.
#[derive(Debug)]
pub(crate) enum Sending {
    /// These bytes, once.
    Bytes(Bytes),
    /// Pieces of a blob, and how many bytes are still to come.
    Blob(Receiver<io::Result<Bytes>>, u64),
}

impl Sending {
    /// Starts to read `size` bytes. The permit is given back when all is read or nobody wants more.
    pub(crate) fn start(
        reader: impl Read + Send + 'static,
        size: u64,
        pieces: Pieces,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (sender, receiver) = channel(1);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            send(reader, &pieces, &sender, &runtime);
            drop(permit);
        });
        Self::Blob(receiver, size)
    }
}

/// Reads to the end, one piece held back until the next one is there. Ends early when nobody wants more.
fn send(mut reader: impl Read, pieces: &Pieces, sender: &Sender<io::Result<Bytes>>, runtime: &Handle) {
    let give = |piece: io::Result<Bytes>| runtime.block_on(sender.send_timeout(piece, PATIENCE)).is_ok();
    let mut held: Option<Bytes> = None;
    loop {
        let mut piece = pieces.take();
        let (count, failed) = match hash::fill(&mut reader, &mut piece.bytes) {
            Ok(count) => (count, None),
            Err(error) => (0, Some(error)),
        };
        if let Some(error) = failed {
            give(Err(error));
            return;
        }
        if held.take().is_some_and(|held| !give(Ok(held))) || count == 0 {
            return;
        }
        let is_last = count < piece.bytes.len();
        let piece = Bytes::from_owner(piece).slice(..count);
        if is_last {
            give(Ok(piece));
            return;
        }
        held = Some(piece);
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
                *left -= next.as_ref().map_or(0, |piece| piece.len() as u64).min(*left);
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

/// Buffers that are used again and again, so that sending does not go through the allocator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that goes back to the others with its end.
struct Piece {
    bytes: Vec<u8>,
    home: Pieces,
}

impl Pieces {
    fn take(&self) -> Piece {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Piece { bytes: spare.unwrap_or_else(|| vec![0; PIECE]), home: self.clone() }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}
