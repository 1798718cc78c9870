//! Running programs: each in a process group of its own, with a minimal environment, a time limit, and its last output kept.
//!
//! Guarantees: a program that is over time, cancelled, or left behind by a dying agent is ended together with all that it
//! started in its group (TERM, then KILL). Output is read as it comes, so that a talkative program never blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::fault::Fault;

/// Bytes of output that are kept for an error.
pub const TAIL: usize = 8 << 10;
/// Most bytes of standard output that a step may read.
pub const OUTPUT_LIMIT: usize = 512 << 10;
/// How long a program has to end after TERM.
const GRACE: Duration = Duration::from_secs(2);
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Process groups that run now.
#[derive(Debug, Default)]
pub struct Running {
    groups: Mutex<BTreeSet<i32>>,
    closed: AtomicBool,
}

impl Running {
    fn enter(&self, pid: Pid) {
        self.lock().insert(pid.as_raw_nonzero().get());
        if self.closed.load(Ordering::SeqCst) {
            signal(pid, Signal::KILL);
        }
    }

    fn leave(&self, pid: Pid) {
        self.lock().remove(&pid.as_raw_nonzero().get());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<i32>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all programs, for good: one that is started later is ended at once.
    pub fn end_all(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let groups: Vec<Pid> = self.lock().iter().filter_map(|raw| Pid::from_raw(*raw)).collect();
        for group in &groups {
            signal(*group, Signal::TERM);
        }
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until && groups.iter().any(|group| group_lives(*group)) {
            thread::sleep(Duration::from_millis(20));
        }
        for group in groups {
            signal(group, Signal::KILL);
        }
    }
}

fn signal(group: Pid, which: Signal) {
    let _ = rustix::process::kill_process_group(group, which);
}

fn group_lives(group: Pid) -> bool {
    rustix::process::test_kill_process_group(group).is_ok()
}

/// Writes a program's standard input.
pub type Feed<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'a>;

/// A program to run.
pub struct Program<'a> {
    /// Program and arguments.
    pub argv: &'a [String],
    /// Environment beyond the minimal one.
    pub env: &'a BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Option<Feed<'a>>,
    /// When it must have ended.
    pub deadline: Instant,
    /// Set when nobody waits for it any more.
    pub cancelled: &'a AtomicBool,
    /// Told each line that it prints; nothing where the output is secret.
    pub log: Option<&'a (dyn Fn(&str) + Sync)>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Its standard output, up to [`OUTPUT_LIMIT`] and one byte.
    pub stdout: Vec<u8>,
    /// Last part of both outputs.
    pub tail: String,
}

impl Program<'_> {
    /// Runs it to its end, whatever its status.
    ///
    /// # Errors
    /// It cannot be started, is over time, or was cancelled.
    pub fn run(self, running: &Running) -> Result<Ended, Fault> {
        let shown = self.argv.join(" ");
        let mut child = self.start()?;
        let group = Pid::from_child(&child);
        running.enter(group);
        let result = thread::scope(|scope| {
            let stdin = child.stdin.take();
            let feed = self.stdin;
            scope.spawn(move || {
                if let (Some(feed), Some(mut stdin)) = (feed, stdin) {
                    let _ = feed(&mut stdin);
                }
            });
            let kept = Arc::new(Mutex::new(Kept::default()));
            let readers = [
                pump(scope, child.stdout.take(), &kept, true, self.log),
                pump(scope, child.stderr.take(), &kept, false, self.log),
            ];
            let status = wait(&mut child, group, self.deadline, self.cancelled);
            settle(group, &readers);
            let kept = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
            (status, kept)
        });
        running.leave(group);
        let (status, kept) = result;
        let tail = if self.log.is_some() { kept.tail() } else { String::new() };
        match status {
            Ok(status) => Ok(Ended { status, stdout: kept.stdout, tail }),
            Err(fault) => Err(fault.within(format!("cannot run `{shown}`")).output(&tail)),
        }
    }

    fn start(&self) -> Result<Child, Fault> {
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(Fault::new("a step names no program"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8");
        command.envs(self.env).current_dir("/").process_group(0);
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|fault| Fault::from(fault).within(format!("cannot start `{program}`")))
    }
}

impl Ended {
    /// Nothing if it ended well.
    ///
    /// # Errors
    /// Names the program, its status and its last lines.
    pub fn succeeded(self, argv: &[String]) -> Result<Self, Fault> {
        if self.status.success() {
            return Ok(self);
        }
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        Err(Fault::new(format!("`{}` {how}", argv.join(" "))).output(&self.tail))
    }
}

fn wait(
    child: &mut Child,
    group: Pid,
    deadline: Instant,
    cancelled: &AtomicBool,
) -> Result<ExitStatus, Fault> {
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let why = if cancelled.load(Ordering::SeqCst) {
            Some("nobody waits for it any more")
        } else if Instant::now() >= deadline {
            Some("it did not end in time")
        } else {
            None
        };
        if let Some(why) = why {
            end(child, group);
            return Err(Fault::new(why));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn end(child: &mut Child, group: Pid) {
    signal(group, Signal::TERM);
    let until = Instant::now() + GRACE;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(20));
    }
    signal(group, Signal::KILL);
    let _ = child.wait();
}

/// What is left of the group may hold the pipes open: it gets a moment, then it is ended.
fn settle(group: Pid, readers: &[Option<thread::ScopedJoinHandle<'_, ()>>; 2]) {
    let until = Instant::now() + Duration::from_millis(500);
    while readers.iter().flatten().any(|reader| !reader.is_finished()) {
        if Instant::now() >= until {
            signal(group, Signal::KILL);
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[derive(Debug, Default)]
struct Kept {
    stdout: Vec<u8>,
    tail: Vec<u8>,
}

impl Kept {
    fn add(&mut self, bytes: &[u8], is_stdout: bool) {
        if is_stdout {
            let room = (OUTPUT_LIMIT + 1).saturating_sub(self.stdout.len());
            self.stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }

    fn tail(&self) -> String {
        let from = self.tail.len().saturating_sub(TAIL);
        String::from_utf8_lossy(&self.tail[from..]).trim_end().to_owned()
    }
}

fn pump<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    pipe: Option<impl Read + Send + 'scope>,
    kept: &Arc<Mutex<Kept>>,
    is_stdout: bool,
    log: Option<&'scope (dyn Fn(&str) + Sync)>,
) -> Option<thread::ScopedJoinHandle<'scope, ()>> {
    let mut pipe = pipe?;
    let kept = Arc::clone(kept);
    Some(scope.spawn(move || {
        let mut piece = [0; 8192];
        let mut line = Vec::new();
        while let Ok(count @ 1..) = pipe.read(&mut piece) {
            kept.lock().unwrap_or_else(PoisonError::into_inner).add(&piece[..count], is_stdout);
            if let Some(log) = log {
                say_lines(&mut line, &piece[..count], log);
            }
        }
    }))
}

/// Passes on whole lines; one that is longer than a screenful is cut.
fn say_lines(line: &mut Vec<u8>, bytes: &[u8], log: &(dyn Fn(&str) + Sync)) {
    for byte in bytes {
        if *byte == b'\n' {
            log(&String::from_utf8_lossy(line));
            line.clear();
        } else if line.len() < 4096 {
            line.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration) -> Result<Ended, Fault> {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let none = AtomicBool::new(false);
        let program = Program {
            argv: &argv,
            env: &BTreeMap::new(),
            stdin: None,
            deadline: Instant::now() + limit,
            cancelled: &none,
            log: Some(&|_| {}),
        };
        program.run(&Running::default())?.succeeded(&argv)
    }

    #[test]
    fn a_failing_program_shows_its_last_lines() {
        let fault = run("echo one; echo two >&2; exit 3", Duration::from_secs(5)).unwrap_err();
        assert!(fault.to_string().ends_with("ended with status 3"), "{fault}");
        assert_eq!(fault.0.output.len(), 2);
    }

    #[test]
    fn a_program_over_time_is_ended_with_its_children() {
        let begun = Instant::now();
        let fault = run("sleep 60 & sleep 60; wait", Duration::from_millis(300)).unwrap_err();
        assert!(fault.to_string().contains("did not end in time"), "{fault}");
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn what_a_program_leaves_behind_does_not_hold_it_up() {
        let begun = Instant::now();
        let ended = run("sleep 30 & echo done", Duration::from_secs(20)).unwrap();
        assert_eq!(ended.stdout, b"done\n");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
