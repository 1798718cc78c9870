//! However an owner ends, its site goes: by a panic, by SIGTERM and SIGINT, and after SIGKILL by the next that comes.

#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use common::{host, id, machine};
use qiji_hosts::{Kind, Testbed, TestbedSpec};

/// Starts an owner of two hosts in a process of its own; gives it back with its site's ID.
fn owner() -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_qiji-hosts"))
        .args(["hold", "netns", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let id = line.trim().rsplit('/').next().unwrap().to_owned();
    assert_eq!(id.len(), 4, "no site: {line}");
    assert!(machine(&id).len() > 10, "the site does not show");
    (child, id)
}

fn end_by(signal: &str) -> String {
    let (mut child, id) = owner();
    // Waiting would close it, and its end is the other way to end this owner.
    let _stdin = child.stdin.take();
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let ended = child.wait().unwrap();
    assert!(ended.signal().is_some(), "the signal did not end the owner: {ended}");
    id
}

#[test]
fn a_signal_removes_the_site() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let id = end_by(signal);
        assert_eq!(machine(&id), BTreeSet::new(), "after {signal}");
    }
}

#[test]
fn what_a_killed_owner_left_goes_with_the_next_start() {
    let id = end_by("-KILL");
    let spec = TestbedSpec::new("next", "10.20.1.0/24".parse().unwrap()).host(host(
        "n1",
        "10.20.1.1/24",
        Kind::Netns,
    ));
    let next = Testbed::start(&spec).unwrap();
    assert_eq!(machine(&id), BTreeSet::new());
    next.stop().unwrap();
}

#[test]
fn a_panic_removes_the_site() {
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let spec = TestbedSpec::new("panic", "10.20.1.0/24".parse().unwrap()).host(host(
            "n1",
            "10.20.1.1/24",
            Kind::Netns,
        ));
        let testbed = Testbed::start(&spec).unwrap();
        send.send(id(&testbed)).unwrap();
        panic!("as meant");
    });
    assert!(panicked.join().is_err());
    assert_eq!(machine(&receive.recv().unwrap()), BTreeSet::new());
}
