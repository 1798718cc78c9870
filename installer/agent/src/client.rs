//! The installer's side of the conversation, on tokio: requests run side by side over one pair of streams.
//!
//! A request whose future is dropped is cancelled on the host. When the stream breaks, every waiting request ends with
//! [`CallError::Lost`]. Memory stays flat: at most [`WINDOW`] bytes of a blob are under way, in frames of [`CHUNK`] bytes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use qiji_plan::{BlobRef, Facts, FoundFile, FoundImage, Step};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::wire::{
    self, CHUNK, FRAME_LIMIT, Failure, FromAgent, Hello, JournalEntry, Json, Outcome, PING_EVERY, PROTOCOL,
    Reply, Request, SILENCE, ToAgent, WINDOW,
};

/// Pieces of a blob that are asked for and not yet there: as many bytes as may be under way in the other direction.
const PIECES: usize = 16;
/// Frames of blobs that wait to be written.
const QUEUE: usize = 2;

/// Why an agent gave no good answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The connection to the agent is gone.
    #[error("the connection to the agent is lost: {0}")]
    Lost(String),
    /// The agent speaks another protocol.
    #[error("the agent speaks protocol {theirs}, this installer {PROTOCOL}")]
    Protocol {
        /// Its protocol.
        theirs: u32,
    },
    /// The agent could not do it.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// What was to be sent could not be read or packed.
    #[error("cannot send to the agent: {0}")]
    Send(String),
}

/// What a step did.
#[derive(Clone, PartialEq, Eq)]
pub struct Applied {
    /// Whether anything on the host was changed.
    pub changed: bool,
    /// Value of a step that reads one.
    pub output: Option<Vec<u8>>,
}

impl std::fmt::Debug for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let read = self.output.as_ref().map(Vec::len);
        f.debug_struct("Applied").field("changed", &self.changed).field("output_bytes", &read).finish()
    }
}

type Waiting = Arc<Mutex<Option<HashMap<u32, UnboundedSender<FromAgent>>>>>;

/// A connected agent. Clones share the connection; it ends with the last one.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hello: Hello,
    next: AtomicU32,
    control: UnboundedSender<Vec<u8>>,
    data: mpsc::Sender<Vec<u8>>,
    waiting: Waiting,
    lost: Arc<Mutex<Option<String>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Client {
    /// Says hello over the agent's standard input and output.
    ///
    /// # Errors
    /// The stream ends or does not answer in a minute, or the agent speaks another protocol.
    pub async fn connect<R, W>(mut reader: R, mut writer: W) -> Result<Self, CallError>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let own = Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), digest: None };
        let frame = wire::encode(&ToAgent::Hello(own), &[]).map_err(lost)?;
        writer.write_all(&frame).await.map_err(lost)?;
        writer.flush().await.map_err(lost)?;
        let first = timeout(SILENCE, read_message(&mut reader)).await;
        let first = first.map_err(|_| CallError::Lost("it does not answer".to_owned()))?.map_err(lost)?;
        let Some(FromAgent::Hello(hello)) = first else {
            return Err(CallError::Lost("it ended, or did not say hello".to_owned()));
        };
        if hello.protocol != PROTOCOL {
            return Err(CallError::Protocol { theirs: hello.protocol });
        }
        Ok(Self::start(hello, reader, writer))
    }

    fn start<R, W>(hello: Hello, reader: R, writer: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (control, control_out) = mpsc::unbounded_channel();
        let (data, data_out) = mpsc::channel(QUEUE);
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let cause = Arc::new(Mutex::new(None));
        let tasks = [
            tokio::spawn(hear(reader, Arc::clone(&waiting), Arc::clone(&cause))),
            tokio::spawn(speak(writer, control_out, data_out, Arc::clone(&waiting), Arc::clone(&cause))),
        ];
        Self(Arc::new(Inner { hello, next: AtomicU32::new(1), control, data, waiting, lost: cause, tasks }))
    }

    /// What the agent said of itself.
    pub fn hello(&self) -> &Hello {
        &self.0.hello
    }

    /// Looks at the host.
    pub async fn facts(&self) -> Result<Facts, CallError> {
        match self.call(Request::Facts).await? {
            Reply::Facts(facts) => Ok(*facts),
            other => Err(unexpected(&other)),
        }
    }

    /// Takes the host for this run, for as long as the connection lasts.
    ///
    /// # Errors
    /// Another installer holds it; the message says who.
    pub async fn lock(&self, run: &str, site: &str) -> Result<(), CallError> {
        match self.call(Request::Lock { run: run.to_owned(), site: site.to_owned() }).await? {
            Reply::Locked => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Are these steps done? One outcome for each, in their order.
    pub async fn check(&self, steps: &[Step]) -> Result<Vec<Outcome>, CallError> {
        let mut all = Vec::with_capacity(steps.len());
        for batch in batches(steps)? {
            let steps = Json::pack(&batch).map_err(unsendable)?;
            match self.call(Request::Check { steps }).await? {
                Reply::Checked(outcomes) => all.extend(outcomes),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(all)
    }

    /// Carries out a step. `values` fill the placeholders of its content; `log` is told each line that its programs print.
    ///
    /// # Errors
    /// [`CallError::Failed`] says what went wrong on the host; the host must be locked first.
    pub async fn apply(
        &self,
        step: &Step,
        values: &BTreeMap<String, String>,
        mut log: impl FnMut(&str) + Send,
    ) -> Result<Applied, CallError> {
        let step = Json::pack(step).map_err(unsendable)?;
        let values = Json::pack(values).map_err(unsendable)?;
        let mut call = self.open(Request::Apply { step, values })?;
        loop {
            match call.next().await? {
                FromAgent::Log { line, .. } => log(&line),
                FromAgent::Reply { reply: Reply::Applied { changed, output }, .. } => {
                    return Ok(Applied { changed, output: output.map(|value| value.0) });
                }
                FromAgent::Reply { reply: Reply::Failed(failure), .. } => return Err(failure.into()),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Bytes of each blob that are on the host already.
    pub async fn blob_status(&self, blobs: &[BlobRef]) -> Result<Vec<u64>, CallError> {
        match self.call(Request::BlobStatus { blobs: blobs.to_vec() }).await? {
            Reply::BlobStatus(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a blob from `offset` on; `from` gives the bytes behind it. `progress` is told the bytes that have reached the disk,
    /// those before `offset` among them. Returns when the host has compared the whole blob with its digest.
    pub async fn put_blob(
        &self,
        blob: BlobRef,
        offset: u64,
        mut from: impl AsyncRead + Unpin + Send,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<(), CallError> {
        let mut call = self.open(Request::PutBlob { blob, offset })?;
        let mut window = WINDOW;
        let mut stored = offset;
        let mut all_sent = false;
        loop {
            while window >= CHUNK as u64 && !all_sent {
                let frame = read_chunk(&mut from, call.id)
                    .await
                    .map_err(|fault| CallError::Send(fault.to_string()))?;
                let Some((frame, length)) = frame else {
                    let end = wire::encode(&ToAgent::End { id: call.id }, &[]).map_err(unsendable)?;
                    self.0.data.send(end).await.map_err(|_| self.lost())?;
                    all_sent = true;
                    break;
                };
                self.0.data.send(frame).await.map_err(|_| self.lost())?;
                window -= length;
                if !call.events.is_empty() {
                    break;
                }
            }
            match call.next().await? {
                FromAgent::Credit { bytes, .. } => {
                    window += bytes;
                    stored += bytes;
                    progress(stored);
                }
                FromAgent::Reply { reply: Reply::Stored, .. } => return Ok(()),
                FromAgent::Reply { reply: Reply::Failed(failure), .. } => return Err(failure.into()),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// The end of the host's journal, oldest line first.
    pub async fn events(&self) -> Result<Vec<JournalEntry>, CallError> {
        match self.call(Request::Events).await? {
            Reply::Events(entries) => Ok(entries),
            other => Err(unexpected(&other)),
        }
    }

    /// The whole blobs that the host has, in its staging store or in containerd's, in the order of their digests.
    pub async fn held(&self) -> Result<Vec<BlobRef>, CallError> {
        let mut all: Vec<BlobRef> = Vec::new();
        loop {
            let after = all.last().map(|blob| blob.digest);
            match self.call(Request::Held { after }).await? {
                Reply::Held(more) if more.is_empty() => return Ok(all),
                Reply::Held(more) => all.extend(more),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Files and links of the packages that are unpacked on the host, in the order of their paths.
    pub async fn files(&self) -> Result<Vec<FoundFile>, CallError> {
        let mut all: Vec<FoundFile> = Vec::new();
        loop {
            let after = all.last().map(|file| file.path.clone());
            match self.call(Request::Files { after }).await? {
                Reply::Files(more) if more.is_empty() => return Ok(all),
                Reply::Files(more) => all.extend(more),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Images that bundles brought into the host's containerd, in the order of their names.
    pub async fn images(&self) -> Result<Vec<FoundImage>, CallError> {
        match self.call(Request::Images).await? {
            Reply::Images(images) => Ok(images),
            other => Err(unexpected(&other)),
        }
    }

    /// Hands the bytes of a blob that the host has to `take`, piece by piece. Whoever gets them compares them with the digest.
    pub async fn read_blob(
        &self,
        blob: BlobRef,
        mut take: impl FnMut(&[u8]) -> io::Result<()> + Send,
    ) -> Result<(), CallError> {
        let mut offsets = (0..blob.size).step_by(CHUNK);
        let mut under_way = VecDeque::new();
        loop {
            while under_way.len() < PIECES {
                let Some(offset) = offsets.next() else { break };
                under_way.push_back(self.open(Request::ReadBlob { blob, offset })?);
            }
            let Some(mut call): Option<Call> = under_way.pop_front() else { return Ok(()) };
            match call.next().await? {
                FromAgent::Reply { reply: Reply::Piece(piece), .. } => {
                    take(&piece.0).map_err(|fault| CallError::Send(fault.to_string()))?;
                }
                FromAgent::Reply { reply: Reply::Failed(failure), .. } => return Err(failure.into()),
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let mut call = self.open(request)?;
        loop {
            match call.next().await? {
                FromAgent::Reply { reply: Reply::Failed(failure), .. } => return Err(failure.into()),
                FromAgent::Reply { reply, .. } => return Ok(reply),
                _ => {}
            }
        }
    }

    fn open(&self, request: Request) -> Result<Call, CallError> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::unbounded_channel();
        match self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.insert(id, sender),
            None => return Err(self.lost()),
        };
        let call = Call { id, client: self.clone(), events, answered: false };
        self.say(&ToAgent::Request { id, request })?;
        Ok(call)
    }

    fn say(&self, message: &ToAgent) -> Result<(), CallError> {
        let frame = wire::encode(message, &[]).map_err(|fault| CallError::Send(fault.to_string()))?;
        self.0.control.send(frame).map_err(|_| self.lost())
    }

    fn lost(&self) -> CallError {
        let cause = self.0.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        CallError::Lost(cause.unwrap_or_else(|| "it has ended".to_owned()))
    }
}

/// A request that waits for what comes back.
struct Call {
    id: u32,
    client: Client,
    events: UnboundedReceiver<FromAgent>,
    answered: bool,
}

impl Call {
    async fn next(&mut self) -> Result<FromAgent, CallError> {
        let event = self.events.recv().await.ok_or_else(|| self.client.lost())?;
        self.answered |= matches!(event, FromAgent::Reply { .. });
        Ok(event)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(waiting) = self.client.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            waiting.remove(&self.id);
        }
        if !self.answered {
            let _ = self.client.say(&ToAgent::Cancel { id: self.id });
        }
    }
}

fn lost(fault: impl std::fmt::Display) -> CallError {
    CallError::Lost(fault.to_string())
}

fn unsendable(fault: impl std::fmt::Display) -> CallError {
    CallError::Send(fault.to_string())
}

/// Steps in groups that fit one frame each.
fn batches(steps: &[Step]) -> Result<Vec<&[Step]>, CallError> {
    let mut all = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, step) in steps.iter().enumerate() {
        let size = serde_json::to_vec(step).map_err(unsendable)?.len() + 1;
        if at > from && bytes + size > FRAME_LIMIT - 1024 {
            all.push(&steps[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    all.push(&steps[from..]);
    Ok(all)
}

fn unexpected(got: &impl std::fmt::Debug) -> CallError {
    let mut shown = format!("{got:?}");
    shown.truncate(shown.char_indices().nth(40).map_or(shown.len(), |(at, _)| at));
    CallError::Lost(format!("it answered with something else ({shown})"))
}

async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<FromAgent>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head).await {
        Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let mut body = vec![0; wire::body_length(head)?];
    from.read_exact(&mut body).await?;
    wire::decode(&body).map(|(message, _)| Some(message))
}

/// The next frame with bytes of a blob, and how many; nothing at the end.
async fn read_chunk(from: &mut (impl AsyncRead + Unpin), id: u32) -> io::Result<Option<(Vec<u8>, u64)>> {
    let mut frame = wire::encode(&ToAgent::Data { id }, &[])?;
    let start = frame.len();
    frame.reserve_exact(CHUNK);
    let length = from.take(CHUNK as u64).read_to_end(&mut frame).await? as u64;
    let body = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&body.to_be_bytes());
    debug_assert_eq!(frame.len() as u64, start as u64 + length);
    Ok((length > 0).then_some((frame, length)))
}

/// Hands what comes back to those who wait for it, until the stream ends.
async fn hear(mut from: impl AsyncRead + Unpin, waiting: Waiting, lost: Arc<Mutex<Option<String>>>) {
    let cause = loop {
        let message = match read_message(&mut from).await {
            Ok(Some(message)) => message,
            Ok(None) => break "it has ended".to_owned(),
            Err(fault) => break fault.to_string(),
        };
        let (FromAgent::Log { id, .. } | FromAgent::Credit { id, .. } | FromAgent::Reply { id, .. }) =
            &message
        else {
            continue;
        };
        let guard = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = guard.as_ref().and_then(|waiting| waiting.get(id)) {
            let _ = sender.send(message);
        }
    };
    give_up(&waiting, &lost, cause);
}

fn give_up(waiting: &Waiting, lost: &Mutex<Option<String>>, cause: String) {
    lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Writes frames: requests before bytes of blobs, and a sign of life when there is nothing to say.
async fn speak(
    mut to: impl AsyncWrite + Unpin,
    mut control: UnboundedReceiver<Vec<u8>>,
    mut data: mpsc::Receiver<Vec<u8>>,
    waiting: Waiting,
    lost: Arc<Mutex<Option<String>>>,
) {
    let Ok(ping) = wire::encode(&ToAgent::Ping, &[]) else { return };
    let mut beat = tokio::time::interval(PING_EVERY);
    loop {
        let frame = tokio::select! {
            biased;
            frame = control.recv() => frame,
            _ = beat.tick() => Some(ping.clone()),
            frame = data.recv() => frame,
        };
        let Some(frame) = frame else { break };
        let written = async {
            to.write_all(&frame).await?;
            to.flush().await
        };
        if let Err(fault) = written.await {
            return give_up(&waiting, &lost, fault.to_string());
        }
    }
    let _ = to.shutdown().await;
}
