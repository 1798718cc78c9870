//! Bringing the agent to a host, starting it as root, and taking it away.
//!
//! Flow: one command starts the agent if a binary of that digest is there, else says that it is wanted; then a second command takes
//! the binary from standard input, and the first one is run again. The commands are for a POSIX `sh`, which the login shell is only
//! asked to start, so that it may be another kind. Nothing is written outside `/var/lib/qiji`; `/tmp` is not used.
//!
//! `sudo` gets its password on standard input, and only when it has asked for it. Lines that a login prints before are skipped.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::timeout;

use crate::error::SshError;
use crate::exec::{Channel, Exit, Status};
use crate::secret::Secret;
use crate::session::Session;

const FOLDER: &str = "/var/lib/qiji";
const READY: &str = "qiji-agent-ready";
const WANTED: &str = "qiji-agent-wanted";
const DONE: &str = "qiji-agent-done";
/// What a script says first once `sudo` has let it run: without it, whatever was said came from `sudo`, in whatever language.
const LET_IN: &str = "qiji-let-in";
/// What `sudo` is told to ask with, so that its question is known among other lines.
const PROMPT: &str = "qiji-sudo-password:";
/// How long a command may take until its first answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// How to become root.
#[derive(Debug, Clone)]
pub enum Become {
    /// The user is root.
    Root,
    /// `sudo` without a password.
    Sudo,
    /// `sudo` with this password.
    SudoPassword(Secret),
}

/// The agent's binary.
#[derive(Debug)]
pub struct AgentBinary<R> {
    /// SHA-256 over it, 64 hexadecimal digits.
    pub digest: String,
    /// Its bytes; read only when the host lacks it.
    pub bytes: R,
}

/// A running agent's streams.
pub struct AgentChannel {
    /// What it says.
    pub reader: BufReader<DuplexStream>,
    /// What it is told.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard error and its end.
    pub status: Status,
    /// Whether its binary had to be sent.
    pub sent: bool,
}

impl std::fmt::Debug for AgentChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentChannel").field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// Puts the agent on a host unless it is there, and starts it as root.
///
/// # Errors
/// [`SshError::SudoRefused`], [`SshError::AgentNotStarted`], or what broke the connection.
pub async fn push_agent<R: AsyncRead + Unpin + Send>(
    session: &Session,
    binary: AgentBinary<R>,
    root: &Become,
) -> Result<AgentChannel, SshError> {
    let hex = binary.digest.trim_start_matches("sha256:").to_owned();
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        let fault = std::io::Error::new(std::io::ErrorKind::InvalidInput, "its digest is not a SHA-256");
        return Err(SshError::Binary(fault));
    }
    let start = start_script(&hex);
    if let Some(agent) = start_agent(session, &start, root, false).await? {
        return Ok(agent);
    }
    send(session, &hex, binary.bytes, root).await?;
    match start_agent(session, &start, root, true).await? {
        Some(agent) => Ok(agent),
        None => Err(not_started(session, "its binary was sent, but is not there")),
    }
}

/// Starts the agent that an earlier run left on a host, as root; nothing if none is there.
///
/// # Errors
/// As [`push_agent`].
pub async fn start_agent_there(session: &Session, root: &Become) -> Result<Option<AgentChannel>, SshError> {
    let script = format!(
        "for f in {FOLDER}/agent/qiji-agent-*; do if [ -x $f ]; then echo {READY}; exec $f serve; fi; done; echo {WANTED}"
    );
    start_agent(session, &script, root, false).await
}

/// Takes away all that the agent keeps on a host, itself included.
///
/// # Errors
/// Changes are still recorded there (undo them first), or the host refused.
pub async fn remove_agent(session: &Session, root: &Become) -> Result<(), SshError> {
    let script = format!(
        "if [ -s {FOLDER}/changes.jsonl ]; then echo changes are still recorded in {FOLDER} >&2; exit 3; fi; \
         rm -rf {FOLDER} && echo {DONE}"
    );
    let mut command = Command::start(session, &script, root).await?;
    match command.first_word(&[DONE]).await? {
        Some(_) => Ok(()),
        None => Err(not_started(session, &command.last_words().await)),
    }
}

fn not_started(session: &Session, said: &str) -> SshError {
    SshError::AgentNotStarted { host: session.host().to_owned(), said: said.to_owned() }
}

fn place(hex: &str) -> String {
    format!("{FOLDER}/agent/qiji-agent-{}", &hex[..12])
}

fn start_script(hex: &str) -> String {
    let place = place(hex);
    format!(
        "f={place}; if [ -f $f ] && command -v sha256sum >/dev/null 2>&1; then set -- $(sha256sum $f); \
         [ \"$1\" = {hex} ] || rm -f $f; fi; \
         if [ -x $f ]; then echo {READY}; exec $f serve; else echo {WANTED}; fi"
    )
}

fn send_script(hex: &str) -> String {
    let place = place(hex);
    format!(
        "set -e; umask 022; mkdir -p /var/lib; umask 077; mkdir -p {FOLDER}/agent; f={place}; echo {READY}; \
         cat >$f.new; chmod 700 $f.new; \
         if command -v sha256sum >/dev/null 2>&1; then set -- $(sha256sum $f.new); \
         [ \"$1\" = {hex} ] || {{ rm -f $f.new; echo the binary did not arrive whole >&2; exit 4; }}; fi; \
         for old in {FOLDER}/agent/qiji-agent-*; do [ $old = $f.new ] || rm -f $old; done; \
         mv -f $f.new $f; echo {DONE}"
    )
}

async fn start_agent(
    session: &Session,
    script: &str,
    root: &Become,
    sent: bool,
) -> Result<Option<AgentChannel>, SshError> {
    let mut command = Command::start(session, script, root).await?;
    match command.first_word(&[READY, WANTED]).await? {
        Some(READY) => Ok(Some(AgentChannel {
            reader: command.stdout,
            writer: command.stdin,
            status: command.status,
            sent,
        })),
        Some(_) => Ok(None),
        None => Err(not_started(session, &command.last_words().await)),
    }
}

async fn send(
    session: &Session,
    hex: &str,
    mut bytes: impl AsyncRead + Unpin + Send,
    root: &Become,
) -> Result<(), SshError> {
    let mut command = Command::start(session, &send_script(hex), root).await?;
    if command.first_word(&[READY]).await?.is_none() {
        return Err(not_started(session, &command.last_words().await));
    }
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = tokio::io::AsyncReadExt::read(&mut bytes, &mut piece).await.map_err(SshError::Binary)?;
        if count == 0 || command.stdin.write_all(&piece[..count]).await.is_err() {
            break;
        }
    }
    let _ = command.stdin.shutdown().await;
    match command.first_word(&[DONE]).await? {
        Some(_) => Ok(()),
        None => Err(not_started(session, &command.last_words().await)),
    }
}

/// A script that runs as root on a host.
struct Command<'a> {
    session: &'a Session,
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    stdout: BufReader<DuplexStream>,
    status: Status,
    password: Option<Secret>,
    asked: bool,
    /// Whether the script runs, for all that is known.
    let_in: bool,
}

impl<'a> Command<'a> {
    async fn start(session: &'a Session, script: &str, root: &Become) -> Result<Self, SshError> {
        debug_assert!(!script.contains(['\'', '!', '\\', '\n']), "must pass every shell unchanged");
        let (line, password) = match root {
            Become::Root => (format!("sh -c '{script}'"), None),
            Become::Sudo => (format!("sudo -n sh -c 'echo {LET_IN}; {script}'"), None),
            Become::SudoPassword(password) => {
                let line = format!("sudo -S -p {PROMPT} sh -c 'echo {LET_IN}; {script}'");
                (line, Some(password.clone()))
            }
        };
        let let_in = matches!(root, Become::Root);
        let Channel { stdin, stdout, status } = session.exec(&line).await?;
        Ok(Self { session, stdin, stdout: BufReader::new(stdout), status, password, asked: false, let_in })
    }

    /// Reads lines until one of these comes; nothing at the end of the output.
    async fn first_word(&mut self, words: &[&'static str]) -> Result<Option<&'static str>, SshError> {
        let mut line = Vec::new();
        loop {
            tokio::select! {
                read = timeout(PATIENCE, self.stdout.read_until(b'\n', &mut line)) => match read {
                    Err(_) => return Err(self.timed_out()),
                    Ok(Err(_) | Ok(0)) => return self.refusal().await,
                    Ok(Ok(_)) => {
                        let said = line.trim_ascii();
                        if let Some(word) = words.iter().find(|word| word.as_bytes() == said) {
                            return Ok(Some(*word));
                        }
                        self.let_in |= said == LET_IN.as_bytes();
                        line.clear();
                    }
                },
                () = self.status.more() => self.answer_sudo().await?,
            }
        }
    }

    fn timed_out(&self) -> SshError {
        SshError::TimedOut { host: self.session.host().to_owned(), doing: "starting the agent" }
    }

    fn sudo_refused(&self, said: String) -> SshError {
        SshError::SudoRefused {
            host: self.session.host().to_owned(),
            user: self.session.user().to_owned(),
            said,
        }
    }

    /// Gives the password when `sudo` asks, once.
    async fn answer_sudo(&mut self) -> Result<(), SshError> {
        let Some(password) = &self.password else { return Ok(()) };
        match (self.status.stderr().matches(PROMPT).count(), self.asked) {
            (0, _) | (1, true) => Ok(()),
            (_, true) => Err(self.sudo_refused("the password is wrong".to_owned())),
            (_, false) => {
                self.asked = true;
                let line = zeroize::Zeroizing::new(format!("{}\n", password.reveal()));
                let _ = self.stdin.write_all(line.as_bytes()).await;
                let _ = self.stdin.flush().await;
                Ok(())
            }
        }
    }

    /// The output ended before any known word: was it `sudo` that refused?
    async fn refusal(&mut self) -> Result<Option<&'static str>, SshError> {
        let exit = timeout(Duration::from_secs(5), self.status.exit()).await;
        if self.session.is_closed() && matches!(exit, Ok(Exit::Lost)) {
            let (host, source) = (self.session.host().to_owned(), russh::Error::Disconnect);
            return Err(SshError::Broken { host, doing: "starting the agent", source });
        }
        if self.let_in {
            return Ok(None);
        }
        let said = self.last_words().await;
        Err(self.sudo_refused(said.replace(PROMPT, "").trim().to_owned()))
    }

    async fn last_words(&mut self) -> String {
        let exit = timeout(Duration::from_secs(5), self.status.exit()).await.unwrap_or(Exit::Lost);
        match (self.status.last_line(), exit) {
            (line, _) if !line.is_empty() => line,
            (_, Exit::Status(code)) => format!("the command ended with status {code} and said nothing"),
            (_, Exit::Signal(signal)) => format!("the command was ended by signal {signal}"),
            (_, Exit::Lost) => "the connection ended".to_owned(),
        }
    }
}
