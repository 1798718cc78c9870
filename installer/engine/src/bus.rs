//! From the engine to the readers of its events: each gets every lifecycle event, in order, and as many of the others as it keeps up with.
//!
//! A lifecycle event is in the journal, on the disk, before [`Bus::emit`] returns. Events of many steps that wait together are synced together,
//! so the cost of a sync does not grow with the number of hosts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::{io, mem};

use qiji_events::{Event, Lifecycle, Log, Progress, Stamped};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::journal::{Journal, line};

/// Unread events after which a reader misses those that may be dropped.
const BACKLOG: usize = 1024;
/// Most events synced together.
const BATCH: usize = 512;

/// Where an engine's events come out. Readers subscribe before the run begins.
#[derive(Debug, Default)]
pub struct Events {
    readers: Mutex<Vec<Reader>>,
}

#[derive(Debug)]
struct Reader {
    sender: mpsc::UnboundedSender<Arc<Stamped>>,
    unread: Arc<AtomicUsize>,
}

impl Events {
    /// Without readers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reader. It sees what is emitted from now on; its stream ends when this is dropped.
    pub fn subscribe(&self) -> Subscription {
        let (sender, receiver) = mpsc::unbounded_channel();
        let unread = Arc::new(AtomicUsize::new(0));
        self.readers.lock().expect("no holder panics").push(Reader { sender, unread: Arc::clone(&unread) });
        Subscription { receiver, unread }
    }

    fn send(&self, stamped: Stamped) {
        let stamped = Arc::new(stamped);
        self.readers.lock().expect("no holder panics").retain(|reader| {
            if stamped.event.may_drop() && reader.unread.load(Ordering::Relaxed) >= BACKLOG {
                return true;
            }
            reader.unread.fetch_add(1, Ordering::Relaxed);
            reader.sender.send(Arc::clone(&stamped)).is_ok()
        });
    }
}

/// One reader's stream.
#[derive(Debug)]
pub struct Subscription {
    receiver: mpsc::UnboundedReceiver<Arc<Stamped>>,
    unread: Arc<AtomicUsize>,
}

impl Subscription {
    /// The next event; nothing after the last.
    pub async fn recv(&mut self) -> Option<Arc<Stamped>> {
        let event = self.receiver.recv().await;
        self.count(event)
    }

    /// The next event, for a thread outside the executor.
    pub fn blocking_recv(&mut self) -> Option<Arc<Stamped>> {
        let event = self.receiver.blocking_recv();
        self.count(event)
    }

    /// The next event if there is one now.
    pub fn try_recv(&mut self) -> Option<Arc<Stamped>> {
        let event = self.receiver.try_recv().ok();
        self.count(event)
    }

    fn count(&self, event: Option<Arc<Stamped>>) -> Option<Arc<Stamped>> {
        if event.is_some() {
            self.unread.fetch_sub(1, Ordering::Relaxed);
        }
        event
    }
}

/// The journal could not be written; nothing may go on that it does not know of.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot write the journal")]
pub struct JournalError(#[source] Arc<io::Error>);

type Ack = oneshot::Sender<Result<(), JournalError>>;

/// The engine's end of one run's events.
#[derive(Debug)]
pub(crate) struct Bus {
    run: String,
    begun: Instant,
    events: Arc<Events>,
    /// Held while an event is stamped and passed on, so that all readers see one order.
    order: Mutex<()>,
    journal: Option<mpsc::UnboundedSender<(Vec<u8>, Option<Ack>)>>,
    writer: OnceLock<JoinHandle<()>>,
}

impl Bus {
    pub(crate) fn new(run: String, events: Arc<Events>, journal: Option<Journal>) -> Self {
        let writer = OnceLock::new();
        let journal = journal.map(|journal| {
            let (sender, receiver) = mpsc::unbounded_channel();
            writer.get_or_init(|| tokio::spawn(write(journal, receiver)));
            sender
        });
        Self { run, begun: Instant::now(), events, order: Mutex::new(()), journal, writer }
    }

    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Passes a lifecycle event on and waits until the journal has it.
    pub(crate) async fn emit(&self, event: Lifecycle) -> Result<(), JournalError> {
        self.emit_all([event]).await
    }

    /// Passes several on and waits until the journal has all.
    pub(crate) async fn emit_all(
        &self,
        events: impl IntoIterator<Item = Lifecycle>,
    ) -> Result<(), JournalError> {
        let mut last = None;
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            last = self.post(event, events.peek().is_none());
        }
        match last {
            None => Ok(()),
            Some(ack) => ack.await.unwrap_or_else(|_| Err(gone())),
        }
    }

    /// Passes a lifecycle event on that announces nothing which has to wait for the journal.
    pub(crate) fn tell(&self, event: Lifecycle) {
        drop(self.post(event, false));
    }

    fn post(
        &self,
        event: Lifecycle,
        acknowledged: bool,
    ) -> Option<oneshot::Receiver<Result<(), JournalError>>> {
        let _order = self.order.lock().expect("no holder panics");
        let at_ms = self.at_ms();
        let mut waiting = None;
        if let Some(journal) = &self.journal {
            let ack = acknowledged.then(|| {
                let (ack, done) = oneshot::channel();
                waiting = Some(done);
                ack
            });
            // A writer that is gone drops the acknowledgement, which the waiting side takes for a failure.
            drop(journal.send((line(&self.run, at_ms, &event), ack)));
        }
        self.events.send(Stamped { at_ms, event: Event::Lifecycle(event) });
        waiting
    }

    pub(crate) fn progress(&self, progress: Progress) {
        self.pass(Event::Progress(progress));
    }

    pub(crate) fn log(&self, step: &str, line: String) {
        self.pass(Event::Log(Log { step: step.to_owned(), line }));
    }

    fn pass(&self, event: Event) {
        let _order = self.order.lock().expect("no holder panics");
        self.events.send(Stamped { at_ms: self.at_ms(), event });
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.get() {
            writer.abort();
        }
    }
}

fn gone() -> JournalError {
    JournalError(Arc::new(io::Error::other("its writer is gone")))
}

async fn write(mut journal: Journal, mut lines: mpsc::UnboundedReceiver<(Vec<u8>, Option<Ack>)>) {
    let mut batch = Vec::new();
    let mut failed: Option<JournalError> = None;
    while lines.recv_many(&mut batch, BATCH).await > 0 {
        let mut acks = Vec::new();
        let mut bytes = Vec::new();
        for (line, ack) in mem::take(&mut batch) {
            bytes.extend_from_slice(&line);
            acks.extend(ack);
        }
        if failed.is_none() {
            let appended = tokio::task::spawn_blocking(move || (journal.append(&bytes), journal)).await;
            let Ok((result, back)) = appended else { return };
            journal = back;
            failed = result.err().map(|fault| JournalError(Arc::new(fault)));
        }
        for ack in acks {
            drop(ack.send(failed.clone().map_or(Ok(()), Err)));
        }
    }
}
