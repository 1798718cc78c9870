//! The process as a pod sees it: it stays, reaps what dies, and leaves on a signal.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PAUSE: &str = env!("CARGO_BIN_EXE_qiji-pause");

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} took more than 10 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts it with a child that it did not start and that ends at once, as an orphan does that it inherits.
#[test]
fn it_reaps_what_dies_and_leaves_on_a_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("sleep 0.3 & exec \"$0\"").arg(PAUSE).stdin(Stdio::null());
        let mut child = shell.spawn().unwrap();
        let id = child.id();
        let name = || std::fs::read_link(format!("/proc/{id}/exe")).unwrap_or_default();
        wait_until("the start", || name().ends_with("qiji-pause"));
        let children = || children_of(id);
        assert_eq!(children().len(), 1, "the orphan is still there");
        wait_until("reaping", || children().is_empty());
        assert!(child.try_wait().unwrap().is_none(), "it stays");
        kill(Pid::from_raw(id.cast_signed()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn it_tells_its_version_and_refuses_what_it_does_not_know() {
    let told = Command::new(PAUSE).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&told.stdout), format!("qiji-pause {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(Command::new(PAUSE).arg("--help").output().unwrap().status.code(), Some(2));
}

/// Children of a process, dead ones included.
fn children_of(id: u32) -> Vec<String> {
    let all = Command::new("ps").args(["-o", "pid=", "--ppid", &id.to_string()]).output().unwrap();
    String::from_utf8_lossy(&all.stdout).split_whitespace().map(str::to_owned).collect()
}
