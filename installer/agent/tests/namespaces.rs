//! Deeds on a whole host, done for real: the agent runs with `/` as its root, in mount and network namespaces of its own.
//! systemd alone is played, by a `systemctl` that keeps its units as files. Needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::process::Stdio;

use qiji_agent::{Client, Outcome};
use qiji_plan::{Action, Condition, Content, Step, StepId};
use tokio::process::{Child, Command};

/// Units are files in `/var/lib/units`: `NAME` loaded, `NAME.on` enabled, `NAME.up` running, `NAME.log` what was done.
const SYSTEMCTL: &str = r"#!/bin/sh
verb=$1; for name; do :; done
u=/var/lib/units/$name
case $verb in
show)
    [ -e $u ] && echo LoadState=loaded || echo LoadState=not-found
    [ -e $u.up ] && echo ActiveState=active || echo ActiveState=inactive
    [ -e $u ] && { [ -e $u.on ] && echo UnitFileState=enabled || echo UnitFileState=disabled; }
    exit 0;;
enable) touch $u.on;;
disable) rm -f $u.on;;
start|restart) touch $u.up; echo $verb >> $u.log;;
stop) rm -f $u.up; echo stop >> $u.log;;
is-active) [ -e $u.up ] && echo active || { echo inactive; exit 3; };;
esac
exit 0
";

async fn start(setup: &str) -> (Child, Client) {
    let script = format!(
        "mount -t tmpfs none /var/lib && mount -t tmpfs none /usr/local/sbin && ip link set lo up && \
         printf %s \"$SYSTEMCTL\" > /usr/local/sbin/systemctl && chmod 755 /usr/local/sbin/systemctl && \
         mkdir /var/lib/units && {setup} && exec \"$0\" serve"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "sh", "-c", &script]);
    command.arg(env!("CARGO_BIN_EXE_qiji-agent")).env("SYSTEMCTL", SYSTEMCTL);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let client = Client::connect(child.stdout.take().unwrap(), child.stdin.take().unwrap()).await.unwrap();
    client.lock("r1", "site").await.unwrap();
    (child, client)
}

fn step(action: Action) -> Step {
    Step {
        id: StepId(format!("h1/{action:?}")),
        host: "h1".to_owned(),
        title: "do".to_owned(),
        needs: Vec::new(),
        only_if_pending: Vec::new(),
        action,
        verify: Vec::new(),
        clean_first: Vec::new(),
        timeout_s: 20,
    }
}

/// Applies a step that is not done yet, after which it is.
async fn apply(client: &Client, action: Action) {
    let step = step(action);
    let before = client.check(std::slice::from_ref(&step)).await.unwrap();
    assert!(matches!(before[0], Outcome::Pending { .. }), "{before:?}");
    assert!(client.apply(&step, &BTreeMap::new(), |_| {}).await.unwrap().changed);
    assert_eq!(client.check(&[step]).await.unwrap(), [Outcome::Done]);
}

/// What a shell in the agent's namespaces prints.
async fn ask(client: &Client, script: &str) -> String {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let step = step(Action::Read { argv, env: BTreeMap::new(), secret: false });
    let output = client.apply(&step, &BTreeMap::new(), |_| {}).await.unwrap().output.unwrap();
    String::from_utf8(output).unwrap().trim().to_owned()
}

#[tokio::test]
async fn links_are_deleted_by_name_and_beginning() {
    let setup = "ip link add cni0 type bridge && ip link add veth1a type veth peer name veth1b && ip link add keep0 type bridge";
    let (_child, client) = start(setup).await;
    apply(&client, Action::DeleteLinks { names: vec!["cni0".to_owned(), "veth*".to_owned()] }).await;
    assert_eq!(ask(&client, "ip -br link show type bridge | cut -d\\  -f1").await, "keep0");
}

#[tokio::test]
async fn mounts_go_deepest_first_and_removing_never_crosses_into_one() {
    let setup = "mkdir -p /var/lib/k/pods/a\\ b /var/lib/outside && echo mine > /var/lib/outside/file && \
        mount -t tmpfs none /var/lib/k/pods/a\\ b && mkdir /var/lib/k/pods/a\\ b/deep && \
        mount -t tmpfs none /var/lib/k/pods/a\\ b/deep && \
        mkdir /var/lib/bound && mkdir /var/lib/bound/in && mount --bind /var/lib/outside /var/lib/bound/in";
    let (_child, client) = start(setup).await;
    apply(&client, Action::Unmount { below: vec!["/var/lib/k".to_owned()] }).await;
    assert_eq!(ask(&client, "ls -A '/var/lib/k/pods/a b'").await, "");
    apply(&client, Action::Remove { paths: vec!["/var/lib/bound".to_owned()] }).await;
    assert_eq!(ask(&client, "cat /var/lib/outside/file").await, "mine");
    let system = step(Action::Remove { paths: vec!["/var/lib".to_owned()] });
    let refused = client.apply(&system, &BTreeMap::new(), |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("belongs to the system"), "{refused}");
}

#[tokio::test]
async fn a_unit_restarts_when_its_configuration_changes_and_undo_stops_it() {
    let (_child, client) = start("touch /var/lib/units/own.service.on /var/lib/units/own.service.up").await;
    let unit = |fingerprint: &str| Action::Unit {
        name: "k.service".to_owned(),
        fingerprint: fingerprint.to_owned(),
    };
    let missing = client.apply(&step(unit("1")), &BTreeMap::new(), |_| {}).await.unwrap_err().to_string();
    assert!(missing.contains("no unit k.service"), "{missing}");
    let path = "/var/lib/units/k.service".to_owned();
    apply(&client, Action::File { path, mode: 0o644, content: Content::plain("[Unit]") }).await;
    apply(&client, unit("1")).await;
    assert!(!client.apply(&step(unit("1")), &BTreeMap::new(), |_| {}).await.unwrap().changed);
    apply(&client, unit("2")).await;
    assert_eq!(ask(&client, "tr '\\n' ' ' < /var/lib/units/k.service.log").await, "restart restart");
    let mut active = step(Action::Wait);
    active.verify = vec![Condition::UnitActive { name: "k.service".to_owned() }];
    assert_eq!(client.check(&[active]).await.unwrap(), [Outcome::Done]);

    ask(&client, "touch /var/lib/units/own.service").await;
    apply(&client, Action::StopUnit { name: "own.service".to_owned() }).await;
    client.apply(&step(Action::Undo), &BTreeMap::new(), |_| {}).await.unwrap();
    let left = ask(&client, "cd /var/lib/units; ls | grep -v log | tr '\\n' ' '").await;
    assert_eq!(
        left, "own.service own.service.on own.service.up",
        "what ran before runs again, what is ours is gone"
    );
}

#[tokio::test]
async fn a_kernel_setting_is_put_back() {
    let (_child, client) = start("mount -o remount,rw,bind /proc/sys/net 2>/dev/null || true").await;
    let writable = "echo 0 2>/dev/null > /proc/sys/net/ipv4/ip_forward && echo yes || echo no";
    assert_eq!(
        ask(&client, &format!("({writable}) 2>/dev/null")).await,
        "yes",
        "/proc/sys/net cannot be written here"
    );
    let key = "net.ipv4.ip_forward".to_owned();
    apply(&client, Action::Sysctl { key, value: "1".to_owned(), at_least: false }).await;
    client.apply(&step(Action::Undo), &BTreeMap::new(), |_| {}).await.unwrap();
    assert_eq!(ask(&client, "cat /proc/sys/net/ipv4/ip_forward").await, "0");
}
