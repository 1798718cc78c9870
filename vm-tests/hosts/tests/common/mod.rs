//! What both tests need: the machine's state before and after, and SSH as a controller does it.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use qiji_hosts::{Host, HostSpec, Kind, Testbed};

/// What a site may leave traces in, as lines: namespaces, links, mounts, control groups, loop devices, processes, folders.
#[allow(clippy::disallowed_methods, reason = "a test shows paths by itself")]
pub(crate) fn machine(id: &str) -> BTreeSet<String> {
    let tool = |name: &str, arguments: &[&str]| {
        let output = Command::new(name).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned);
    let all = tool("ip", &["netns", "list"])
        .into_iter()
        .chain(
            tool("ip", &["-o", "link", "show"])
                .into_iter()
                .filter_map(|l| Some(l.split(':').nth(1)?.to_owned())),
        )
        .chain(points)
        .chain(tool("find", &["/sys/fs/cgroup", "-type", "d"]))
        .chain(tool("losetup", &["-a"]))
        .chain(tool("ps", &["-eo", "args"]))
        .chain(tool("ls", &["/var/lib/qiji-hosts", "/run/systemd/nspawn/propagate"]));
    // The ID is short, so it is looked for only where names of the site have it.
    let of = |line: &str, id: &str| {
        line == id
            || ["qiji-", "qiji-hosts-", "qiji-hosts/"]
                .iter()
                .any(|part| line.contains(&format!("{part}{id}")))
    };
    all.filter(|line| of(line, id)).collect()
}

/// The short ID of a testbed, which is in the name of everything that belongs to it.
pub(crate) fn id(testbed: &Testbed) -> String {
    testbed.dir().file_name().unwrap().to_string_lossy().into_owned()
}

pub(crate) fn host(name: &str, address: &str, kind: Kind) -> HostSpec {
    HostSpec::new(name, address.parse().unwrap(), kind)
}

/// Runs `command` on `host` by SSH from where the controller stands.
pub(crate) fn ssh(testbed: &Testbed, host: &Host, user: &str, command: &str) -> Output {
    let key = testbed.ssh_key();
    let known = format!("UserKnownHostsFile={}", testbed.known_hosts().display());
    testbed
        .command("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", &known, "-i"])
        .arg(key)
        .args(["-l", user, &host.address().to_string(), command])
        .output()
        .unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
