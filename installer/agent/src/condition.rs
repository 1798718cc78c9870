//! Conditions of a step: looked at once for a check, and again and again after a deed until they hold or time is over.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use qiji_plan::Condition;

use crate::fault::Fault;
use crate::host::Task;
use crate::root;

/// How long a program of a condition may take.
const PROGRAM: Duration = Duration::from_secs(30);
/// How long an HTTP answer may take.
const HTTP: Duration = Duration::from_secs(3);

/// The first condition that does not hold, in words; nothing when all hold.
///
/// # Errors
/// One of them could not be looked at.
pub fn first_unmet(task: Task<'_>, all: &[Condition]) -> Result<Option<String>, Fault> {
    for condition in all {
        if let Some(why) = unmet(task, condition)? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// Waits until all hold.
///
/// # Errors
/// Time is over; the message says what did not come true.
pub fn wait(task: Task<'_>, all: &[Condition]) -> Result<(), Fault> {
    let mut pause = Duration::from_millis(50);
    loop {
        let why = match first_unmet(task, all) {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => Fault::new(why),
            Err(fault) => fault,
        };
        if task.cancelled.load(Ordering::SeqCst) {
            return Err(why.within("nobody waits for it any more"));
        }
        if Instant::now() + pause >= task.deadline {
            return Err(
                why.within("the step's work was done, but what it should lead to did not come in time")
            );
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

fn unmet(task: Task<'_>, condition: &Condition) -> Result<Option<String>, Fault> {
    let there =
        |path: &str| -> Result<bool, Fault> { Ok(root::look(&task.host.root.path(path)?)?.is_some()) };
    Ok(match condition {
        Condition::Exists { path } => (!there(path)?).then(|| format!("{path} is missing")),
        Condition::Missing { path } => there(path)?.then(|| format!("{path} is there")),
        Condition::UnitActive { name } => {
            let argv = ["systemctl", "is-active", "--", name];
            let state = task.ask(&argv)?;
            let word = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            (word != "active").then(|| format!("{name} is {word}"))
        }
        Condition::Succeeds { argv, env } => prints(task, argv, env, None),
        Condition::Prints { argv, env, text } => prints(task, argv, env, Some(text)),
        Condition::HttpOk { port, path } => http_ok(*port, path),
    })
}

fn prints(
    task: Task<'_>,
    argv: &[String],
    env: &BTreeMap<String, String>,
    text: Option<&str>,
) -> Option<String> {
    let ended = match task.ask_with(argv, env, PROGRAM).and_then(|ended| ended.succeeded(argv)) {
        Ok(ended) => ended,
        Err(fault) => {
            let last = fault.0.output.last().map(|line| format!(": {line}")).unwrap_or_default();
            return Some(format!("{fault}{last}"));
        }
    };
    let printed = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    let wanted = text?;
    (printed != wanted.trim())
        .then(|| format!("`{}` prints `{}`, not `{wanted}`", argv.join(" "), cut(&printed)))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= 200 {
        text.to_owned()
    } else {
        text.chars().take(200).collect::<String>() + "…"
    }
}

fn http_ok(port: u16, path: &str) -> Option<String> {
    match get_status(port, path) {
        Ok(200) => None,
        Ok(status) => Some(format!("http://127.0.0.1:{port}{path} answers {status}")),
        Err(fault) => Some(format!("http://127.0.0.1:{port}{path} does not answer: {fault}")),
    }
}

fn get_status(port: u16, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), HTTP)?;
    stream.set_read_timeout(Some(HTTP))?;
    stream.set_write_timeout(Some(HTTP))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = std::str::from_utf8(&head[9..12]).ok().and_then(|text| text.parse().ok());
    status.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "this is no HTTP answer"))
}
