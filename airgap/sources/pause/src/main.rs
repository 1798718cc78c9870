//! The process that holds a pod's namespaces: it does nothing, and stays.
//!
//! As process 1 of a pod that shares its process namespace it also inherits orphans, and reaps each one when it ends. It leaves with status 0 on
//! SIGINT or SIGTERM. No thread, no allocation after the start, one sleeping system call.

use std::io;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--version") => {
            println!("qiji-pause {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(_) => {
            eprintln!("usage: qiji-pause [--version]");
            return ExitCode::from(2);
        }
    }
    match hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("qiji-pause: cannot wait for signals: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until told to end, reaping what dies meanwhile.
fn hold() -> io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
        signals.add(signal);
    }
    // Blocked, a signal waits for `wait` below, also one that comes while orphans are reaped.
    signals.thread_block()?;
    reap();
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => reap(),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reaps every child that has ended. One signal may stand for several.
fn reap() {
    while waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)
        .is_ok_and(|status| status != WaitStatus::StillAlive)
    {}
}
