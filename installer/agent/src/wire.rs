//! The frames that installer and agent exchange over the two directions of a byte stream.
//!
//! A frame is a `u32` length (big endian), then that many bytes: one message in postcard, and behind it, for
//! [`ToAgent::Data`] only, the raw bytes of a blob. No frame is longer than [`FRAME_LIMIT`].
//!
//! 1. Both sides open with `Hello`. Each checks the other's protocol number and gives up in plain words where it differs.
//! 2. The installer sends requests, each with an id of its own; they run side by side. Any number of `Log` and `Progress`
//!    and exactly one `Reply` come back for each.
//! 3. A blob is sent as `PutBlob`, then `Data` frames, then `End`. The sender may have [`WINDOW`] bytes out; each `Credit`
//!    gives back what has reached the disk. A slow disk thus stops its own transfer and nothing else, and memory stays flat.
//! 4. The installer sends `Ping` every few seconds. An agent that hears nothing for [`SILENCE`] takes the installer for dead.
//!
//! Steps travel as JSON inside a frame: their types are tagged in a way that a format without field names cannot read back.

use std::io::{self, Read, Write};
use std::time::Duration;

use qiji_blueprint::Digest;
use qiji_plan::{BlobRef, Facts, FoundFile, FoundImage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Number of this protocol. Grows with every change that the other side would misread.
pub const PROTOCOL: u32 = 4;
/// Longest frame in bytes, without its length.
pub const FRAME_LIMIT: usize = 1 << 20;
/// Most bytes of a blob in one frame.
pub const CHUNK: usize = 256 << 10;
/// Bytes of one blob that may be under way and not yet on the disk.
pub const WINDOW: u64 = 4 << 20;
/// How often the installer sends `Ping`.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// How long an agent waits for any frame before it takes the installer for dead.
pub const SILENCE: Duration = Duration::from_mins(1);

/// What each side says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the speaker.
    pub protocol: u32,
    /// Version of the speaker's crate.
    pub version: String,
    /// Digest of the speaker's own binary, where it could be read.
    pub digest: Option<Digest>,
}

/// A value that travels as JSON text.
///
/// May hold secrets, so it never prints itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(String);

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// A value that a step read. May be a secret, so it never prints itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(pub Vec<u8>);

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Value({} bytes)", self.0.len())
    }
}

impl Json {
    /// Packs a value.
    pub fn pack<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self)
    }

    /// Unpacks it.
    pub fn unpack<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

/// A message from the installer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// First message.
    Hello(Hello),
    /// A request.
    Request {
        /// Its id, new for each.
        id: u32,
        /// What is asked.
        request: Request,
    },
    /// Bytes of a blob, which follow in the same frame.
    Data {
        /// Id of the `PutBlob`.
        id: u32,
    },
    /// The blob is sent.
    End {
        /// Id of the `PutBlob`.
        id: u32,
    },
    /// Nobody waits for this request's answer any more; a running program is ended.
    Cancel {
        /// Its id.
        id: u32,
    },
    /// The installer lives.
    Ping,
}

/// What can be asked of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Look at the host.
    Facts,
    /// Are these steps (`Vec<Step>`) done?
    Check {
        /// The steps.
        steps: Json,
    },
    /// Carry out a step.
    Apply {
        /// The step.
        step: Json,
        /// Values for the placeholders of its content (`BTreeMap<String, String>`).
        values: Json,
    },
    /// How much of each blob is in the staging store?
    BlobStatus {
        /// The blobs.
        blobs: Vec<BlobRef>,
    },
    /// A blob follows, from this offset on.
    PutBlob {
        /// The blob.
        blob: BlobRef,
        /// Bytes that are there already and will not be sent.
        offset: u64,
    },
    /// Take the host for this run, for as long as this agent lives.
    Lock {
        /// Names the run.
        run: String,
        /// Name of the site.
        site: String,
    },
    /// The host's journal.
    Events,
    /// Which whole blobs does the host have, in the staging store or in containerd's? In the order of their digests, those after this one, as many as fit an answer.
    Held {
        /// The last one that is known.
        after: Option<Digest>,
    },
    /// A piece of a whole blob.
    ReadBlob {
        /// The blob.
        blob: BlobRef,
        /// First byte.
        offset: u64,
    },
    /// What is unpacked on the host? In the order of paths, those after this one, as many as fit an answer.
    Files {
        /// The last one that is known.
        after: Option<String>,
    },
    /// Which images did bundles bring into containerd?
    Images,
}

/// A message from the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromAgent {
    /// First message.
    Hello(Hello),
    /// A line that a program of this request printed.
    Log {
        /// Id of the request.
        id: u32,
        /// The line.
        line: String,
    },
    /// The sender may send that many bytes more.
    Credit {
        /// Id of the `PutBlob`.
        id: u32,
        /// Bytes that reached the disk.
        bytes: u64,
    },
    /// The answer.
    Reply {
        /// Id of the request.
        id: u32,
        /// The answer.
        reply: Reply,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Facts`.
    Facts(Box<Facts>),
    /// To `Check`: one for each step.
    Checked(Vec<Outcome>),
    /// To `Apply`.
    Applied {
        /// Whether anything on the host was changed.
        changed: bool,
        /// Value of a step that reads one.
        output: Option<Value>,
    },
    /// To `BlobStatus`: bytes that are there, for each blob.
    BlobStatus(Vec<u64>),
    /// To `PutBlob`: the blob is whole and matches its digest.
    Stored,
    /// To `Lock`.
    Locked,
    /// To `Events`: lines of the journal, oldest first.
    Events(Vec<JournalEntry>),
    /// To `Held`: some blobs; none when there are no more.
    Held(Vec<BlobRef>),
    /// To `ReadBlob`: [`CHUNK`] bytes, or those that are left.
    Piece(Value),
    /// To `Files`: some files; none when there are no more.
    Files(Vec<FoundFile>),
    /// To `Images`.
    Images(Vec<FoundImage>),
    /// To any: it could not be done.
    Failed(Failure),
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing is left to do.
    Done,
    /// Something is left to do.
    Pending {
        /// What, in a few words.
        why: String,
    },
    /// It could not be found out.
    Broken(Failure),
}

/// Why something could not be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Chain of causes, outermost first.
    pub reasons: Vec<String>,
    /// What to do next, where known.
    pub hint: Option<String>,
    /// Last lines that a program printed.
    pub output: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reasons.join(": "))
    }
}

impl std::error::Error for Failure {}

/// A line of the host's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Run that it belongs to.
    pub run: String,
    /// Step.
    pub step: String,
    /// Digest over the step's deed.
    pub fingerprint: Digest,
    /// What happened to it.
    pub mark: Mark,
}

/// What happened to a step on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// It was begun.
    Begun,
    /// It was done and verified.
    Done,
    /// It failed.
    Failed,
}

/// A message as a frame, with `data` behind it.
///
/// # Errors
/// The frame would be longer than [`FRAME_LIMIT`].
pub fn encode<M: Serialize>(message: &M, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = postcard::to_extend(message, vec![0; 4]).map_err(io::Error::other)?;
    frame.extend_from_slice(data);
    let length = frame.len() - 4;
    if length > FRAME_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("message of {length} bytes is too long"),
        ));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// A message out of a frame's body, and how many bytes at the end of the body are data.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> io::Result<(M, usize)> {
    let (message, rest) = postcard::take_from_bytes(body).map_err(|fault| {
        io::Error::new(io::ErrorKind::InvalidData, format!("unreadable message: {fault}"))
    })?;
    Ok((message, rest.len()))
}

/// Length of a frame's body from its first four bytes.
///
/// # Errors
/// It is beyond [`FRAME_LIMIT`]: the other side does not speak this protocol.
pub fn body_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(head) as usize;
    if length > FRAME_LIMIT {
        let shown = String::from_utf8_lossy(&head).into_owned();
        let text = format!("the other side does not speak the agent's protocol (it began with {shown:?})");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(length)
}

/// Reads one frame's body; nothing at the end of the stream.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    let mut filled = 0;
    while filled < head.len() {
        match from.read(&mut head[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
    let mut body = vec![0; body_length(head)?];
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

/// Writes one frame and flushes.
pub fn write_frame<M: Serialize>(to: &mut impl Write, message: &M, data: &[u8]) -> io::Result<()> {
    to.write_all(&encode(message, data)?)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_travels_behind_its_message() {
        let frame = encode(&ToAgent::Data { id: 7 }, b"abc").unwrap();
        let body = read_frame(&mut frame.as_slice()).unwrap().unwrap();
        let (message, data) = decode::<ToAgent>(&body).unwrap();
        assert_eq!(message, ToAgent::Data { id: 7 });
        assert_eq!(&body[body.len() - data..], b"abc");
    }

    #[test]
    fn a_shell_that_talks_is_told_from_an_agent() {
        let fault = read_frame(&mut b"bash: no such file".as_slice()).unwrap_err();
        assert!(fault.to_string().contains("\"bash\""), "{fault}");
    }

    #[test]
    fn a_cut_frame_is_an_error_and_an_end_is_not() {
        let frame = encode(&ToAgent::Ping, &[]).unwrap();
        assert!(read_frame(&mut &frame[..2]).is_err());
        assert!(read_frame(&mut &frame[..frame.len() - 1]).is_err());
        assert!(read_frame(&mut [].as_slice()).unwrap().is_none());
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused() {
        assert!(encode(&ToAgent::Data { id: 1 }, &vec![0; FRAME_LIMIT + 1]).is_err());
    }
}
