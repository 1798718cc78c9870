//! The agent's side of the conversation, on threads: one reads frames, one a request works, all write through one lock.
//!
//! Guarantees: a transfer and a step never wait for each other (see [`crate::wire`]); when the stream ends, or nothing was heard
//! for [`SILENCE`], all running programs are ended and the process exits. What was under way is found half-made by the journal.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use qiji_blueprint::Digest;
use qiji_plan::{BlobRef, FoundImage, Step, paths};
use sha2::{Digest as _, Sha256};

use crate::deeds;
use crate::facts;
use crate::fault::Fault;
use crate::found;
use crate::host::{Host, Task};
use crate::root::Root;
use crate::store::hash_into;
use crate::wire::{self, CHUNK, FromAgent, Hello, PROTOCOL, Reply, Request, SILENCE, ToAgent, WINDOW};

/// Blobs in one answer; they fit a frame.
const HELD_AT_ONCE: usize = 4096;
/// Time for the list of images.
const LIST_LIMIT: Duration = Duration::from_mins(1);

/// What this agent says of itself.
pub fn hello() -> Hello {
    Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), digest: own_digest().ok() }
}

fn own_digest() -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    hash_into(fs_err::File::open("/proc/self/exe")?, &mut hasher)?;
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

/// Speaks until the stream ends, then ends all programs.
///
/// # Errors
/// The stream broke, or the other side speaks another protocol.
pub fn serve(root: Root, mut from: impl Read, to: impl Write + Send + 'static) -> io::Result<()> {
    let agent = Arc::new(Agent {
        host: Host::new(root),
        out: Mutex::new(Box::new(to)),
        open: Mutex::new(HashMap::new()),
        heard: AtomicU64::new(0),
        begun: Instant::now(),
    });
    agent.say(&FromAgent::Hello(hello()));
    let watch = Arc::clone(&agent);
    thread::spawn(move || watch.watch_for_silence());
    let result = agent.listen(&mut from);
    agent.close();
    result
}

/// A request under way.
struct Open {
    cancelled: Arc<AtomicBool>,
    /// Where the bytes of a blob go.
    data: Option<Sender<Vec<u8>>>,
    /// Bytes that the sender may still send.
    window: Arc<AtomicU64>,
}

struct Agent {
    host: Host,
    out: Mutex<Box<dyn Write + Send>>,
    open: Mutex<HashMap<u32, Open>>,
    heard: AtomicU64,
    begun: Instant,
}

impl Agent {
    fn say(&self, message: &FromAgent) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A stream that cannot be written to has ended; the reading side notices.
        let _ = wire::write_frame(&mut *out, message, &[]);
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(self: &Arc<Self>, from: &mut impl Read) -> io::Result<()> {
        let mut greeted = false;
        while let Some(mut body) = wire::read_frame(from)? {
            let seconds = self.begun.elapsed().as_secs();
            self.heard.store(seconds, Ordering::SeqCst);
            let (message, data) = wire::decode::<ToAgent>(&body)?;
            if !greeted && !matches!(message, ToAgent::Hello(_)) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the installer did not say hello"));
            }
            match message {
                ToAgent::Hello(other) if other.protocol != PROTOCOL => {
                    let text =
                        format!("the installer speaks protocol {}, this agent {PROTOCOL}", other.protocol);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                ToAgent::Hello(_) => greeted = true,
                ToAgent::Request { id, request } => self.begin(id, request),
                ToAgent::Data { id } => {
                    body.drain(..body.len() - data);
                    self.take_data(id, body);
                }
                ToAgent::End { id } => {
                    if let Some(open) = self.open().get_mut(&id) {
                        open.data = None;
                    }
                }
                ToAgent::Cancel { id } => {
                    if let Some(open) = self.open().get_mut(&id) {
                        open.cancelled.store(true, Ordering::SeqCst);
                        open.data = None;
                    }
                }
                ToAgent::Ping => {}
            }
        }
        Ok(())
    }

    /// Passes bytes on to their writer. A sender that ignores the window loses its transfer, so that memory stays flat.
    fn take_data(&self, id: u32, bytes: Vec<u8>) {
        let mut all = self.open();
        let Some(open) = all.get_mut(&id) else { return };
        let length = bytes.len() as u64;
        if open.window.load(Ordering::SeqCst) < length {
            open.cancelled.store(true, Ordering::SeqCst);
            open.data = None;
            return;
        }
        open.window.fetch_sub(length, Ordering::SeqCst);
        if let Some(data) = &open.data {
            let _ = data.send(bytes);
        }
    }

    fn begin(self: &Arc<Self>, id: u32, request: Request) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let window = Arc::new(AtomicU64::new(WINDOW));
        let (sender, receiver) = channel();
        let data = matches!(request, Request::PutBlob { .. }).then_some(sender);
        let open = Open { cancelled: Arc::clone(&cancelled), data, window: Arc::clone(&window) };
        self.open().insert(id, open);
        let agent = Arc::clone(self);
        let work = move || {
            let incoming = Transfer { id, window, receiver };
            let reply = agent.answer(id, request, &cancelled, &incoming);
            agent.open().remove(&id);
            agent.say(&FromAgent::Reply { id, reply: reply.unwrap_or_else(|fault| Reply::Failed(fault.0)) });
        };
        if let Err(fault) = thread::Builder::new().name(format!("request {id}")).spawn(work) {
            self.open().remove(&id);
            self.say(&FromAgent::Reply { id, reply: Reply::Failed(Fault::from(fault).0) });
        }
    }

    fn answer(
        &self,
        id: u32,
        request: Request,
        cancelled: &AtomicBool,
        data: &Transfer,
    ) -> Result<Reply, Fault> {
        match request {
            Request::Facts => Ok(Reply::Facts(Box::new(facts::gather(&self.host)?))),
            Request::Check { steps } => {
                let steps: Vec<Step> = steps.unpack()?;
                let log = |_: &str| {};
                let one = |step| deeds::check(self.task(step, &log, cancelled), step);
                Ok(Reply::Checked(steps.iter().map(one).collect()))
            }
            Request::Apply { step, values } => self.apply(id, &step.unpack()?, &values.unpack()?, cancelled),
            Request::BlobStatus { blobs } => {
                let status =
                    blobs.iter().map(|blob| self.host.store.status(blob)).collect::<Result<_, _>>()?;
                Ok(Reply::BlobStatus(status))
            }
            Request::PutBlob { blob, offset } => self.receive(blob, offset, cancelled, data),
            Request::Lock { run, site } => self.host.lock(&run, &site).map(|()| Reply::Locked),
            Request::Events => Ok(Reply::Events(self.last_events()?)),
            Request::Held { after } => Ok(Reply::Held(self.host.store.held(after, HELD_AT_ONCE)?)),
            Request::ReadBlob { blob, offset } => {
                self.host.store.piece(&blob, offset, CHUNK).map(|bytes| Reply::Piece(wire::Value(bytes)))
            }
            Request::Files { after } => Ok(Reply::Files(found::files(&self.host.root, after.as_deref())?)),
            Request::Images => self.images(cancelled).map(Reply::Images),
        }
    }

    /// As much of the journal's end as fits one frame.
    fn last_events(&self) -> Result<Vec<wire::JournalEntry>, Fault> {
        let mut entries = self.host.journal.entries()?;
        let size = |entry: &wire::JournalEntry| entry.run.len() + entry.step.len() + 128;
        let mut room = wire::FRAME_LIMIT - 1024;
        let fitting = entries.iter().rev().take_while(|entry| {
            let fits = size(entry) <= room;
            room = room.saturating_sub(size(entry));
            fits
        });
        let keep = fitting.count();
        entries.drain(..entries.len() - keep);
        Ok(entries)
    }

    fn task<'a>(
        &'a self,
        step: &Step,
        log: &'a (dyn Fn(&str) + Sync),
        cancelled: &'a AtomicBool,
    ) -> Task<'a> {
        Task { host: &self.host, log, cancelled, deadline: Instant::now() + deeds::limit(step) }
    }

    fn images(&self, cancelled: &AtomicBool) -> Result<Vec<FoundImage>, Fault> {
        let task = Task { host: &self.host, log: &|_| {}, cancelled, deadline: Instant::now() + LIST_LIMIT };
        deeds::images::found(task, &paths::program("ctr"), paths::CONTAINERD_SOCKET)
    }

    fn apply(
        &self,
        id: u32,
        step: &Step,
        values: &BTreeMap<String, String>,
        cancelled: &AtomicBool,
    ) -> Result<Reply, Fault> {
        let log = |line: &str| self.say(&FromAgent::Log { id, line: line.to_owned() });
        let deed = deeds::apply(self.task(step, &log, cancelled), step, values)?;
        Ok(Reply::Applied { changed: deed.changed, output: deed.output.map(wire::Value) })
    }

    fn receive(
        &self,
        blob: BlobRef,
        offset: u64,
        cancelled: &AtomicBool,
        data: &Transfer,
    ) -> Result<Reply, Fault> {
        self.host.holder()?;
        let mut incoming = self.host.store.receive(blob, offset)?;
        for bytes in &data.receiver {
            incoming.write(&bytes)?;
            data.window.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            self.say(&FromAgent::Credit { id: data.id, bytes: bytes.len() as u64 });
        }
        if cancelled.load(Ordering::SeqCst) {
            return Err(Fault::new("the transfer was given up"));
        }
        incoming.finish()?;
        Ok(Reply::Stored)
    }

    fn watch_for_silence(&self) {
        loop {
            thread::sleep(Duration::from_secs(1));
            let heard = Duration::from_secs(self.heard.load(Ordering::SeqCst));
            if self.begun.elapsed().saturating_sub(heard) > SILENCE {
                self.close();
                std::process::exit(3);
            }
        }
    }

    /// Nobody listens any more: all work is given up.
    fn close(&self) {
        for open in self.open().values_mut() {
            open.cancelled.store(true, Ordering::SeqCst);
            open.data = None;
        }
        self.host.running.end_all();
    }
}

/// A blob's bytes on their way to the disk.
struct Transfer {
    id: u32,
    window: Arc<AtomicU64>,
    receiver: Receiver<Vec<u8>>,
}
