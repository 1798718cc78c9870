//! A command on a host as streams: standard input to write, standard output to read, and what it said on standard error, of
//! which the end is kept. A slow reader holds the sender back; standard error never does.

use std::sync::{Arc, Mutex, PoisonError};

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, Sig};
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, watch};

/// Bytes of standard error that are kept.
const KEPT: usize = 16 << 10;
/// Bytes of standard output between the connection and its reader.
const BUFFER: usize = 512 << 10;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(u32),
    /// By a signal, such as `KILL`.
    Signal(String),
    /// The connection went first.
    Lost,
}

/// A command that runs on a host.
pub struct Channel {
    /// Its standard input; ends when shut down.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub stdout: DuplexStream,
    /// Its standard error and its end.
    pub status: Status,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channel")
    }
}

/// What a command said on standard error, and how it ended. Clones see the same.
#[derive(Debug, Clone)]
pub struct Status {
    said: Arc<Mutex<Vec<u8>>>,
    more: Arc<Notify>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Status {
    /// The end of its standard error.
    pub fn stderr(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).trim_end().to_owned()
    }

    /// The last line of its standard error.
    pub fn last_line(&self) -> String {
        self.stderr().lines().last().unwrap_or_default().trim().to_owned()
    }

    /// Waits until it has said more.
    pub(crate) async fn more(&self) {
        self.more.notified().await;
    }

    /// Waits for its end.
    pub async fn exit(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended.ok().and_then(|exit| exit.clone()).unwrap_or(Exit::Lost)
    }
}

/// Connects the streams of a channel on which a command was started.
pub(crate) fn start(channel: russh::Channel<Msg>) -> Channel {
    let (reading, writing) = channel.split();
    let stdin = Box::new(writing.make_writer());
    let (stdout, sink) = tokio::io::duplex(BUFFER);
    let said = Arc::new(Mutex::new(Vec::new()));
    let more = Arc::new(Notify::new());
    let (ended, exit) = watch::channel(None);
    let pump = Pump { said: Arc::clone(&said), more: Arc::clone(&more), ended };
    tokio::spawn(async move {
        pump.run(reading, sink).await;
        let _ = writing.close().await;
    });
    Channel { stdin, stdout, status: Status { said, more, exit } }
}

struct Pump {
    said: Arc<Mutex<Vec<u8>>>,
    more: Arc<Notify>,
    ended: watch::Sender<Option<Exit>>,
}

impl Pump {
    async fn run(self, mut from: ChannelReadHalf, mut stdout: DuplexStream) {
        let mut exit = None;
        let mut wanted = true;
        while let Some(message) = from.wait().await {
            match message {
                ChannelMsg::Data { data } if wanted => wanted = stdout.write_all(&data).await.is_ok(),
                ChannelMsg::ExtendedData { data, .. } => self.keep(&data),
                ChannelMsg::Eof => {
                    let _ = stdout.shutdown().await;
                }
                ChannelMsg::ExitStatus { exit_status } => exit = Some(Exit::Status(exit_status)),
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    exit = Some(Exit::Signal(signal_word(&signal_name)));
                }
                ChannelMsg::Failure => self.keep(b"the server refused to run a command"),
                _ => {}
            }
        }
        let _ = self.ended.send(Some(exit.unwrap_or(Exit::Lost)));
        self.more.notify_one();
    }

    fn keep(&self, bytes: &[u8]) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(bytes);
        if said.len() > 2 * KEPT {
            let excess = said.len() - KEPT;
            said.drain(..excess);
        }
        drop(said);
        self.more.notify_one();
    }
}

fn signal_word(signal: &Sig) -> String {
    match signal {
        Sig::Custom(word) => word.clone(),
        known => format!("{known:?}"),
    }
}
