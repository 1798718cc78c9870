//! The agent over SSH: pushed once, spoken to, gone with its installer, taken away. Needs root, for a mount namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod server;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use qiji_agent::Client;
use qiji_blueprint::Digest;
use qiji_plan::{Action, BlobRef, Step, StepId};
use qiji_ssh::{AgentBinary, AgentChannel, Become, Secret, Session, SshError, push_agent, remove_agent};
use server::Server;

/// The agent's binary, built once.
fn agent() -> &'static (PathBuf, Digest) {
    static BUILT: OnceLock<(PathBuf, Digest)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built =
            Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "qiji-agent"]).status().unwrap();
        assert!(built.success());
        let own = std::env::current_exe().unwrap();
        let path = own.ancestors().nth(2).unwrap().join("qiji-agent");
        let digest = Digest::of(&fs_err::read(&path).unwrap());
        (path, digest)
    })
}

async fn push(session: &Session, root: &Become) -> Result<AgentChannel, SshError> {
    let (path, digest) = agent();
    let bytes = tokio::fs::File::open(path).await.unwrap();
    push_agent(session, AgentBinary { digest: digest.hex(), bytes }, root).await
}

async fn connect(channel: AgentChannel) -> Client {
    Client::connect(channel.reader, channel.writer).await.unwrap()
}

/// Runs a command on the host and gives back what it printed.
async fn ask(session: &Session, command: &str) -> String {
    use tokio::io::AsyncReadExt;
    let mut channel = session.exec(command).await.unwrap();
    let mut said = String::new();
    channel.stdout.read_to_string(&mut said).await.unwrap();
    said.trim().to_owned()
}

fn shell(script: &str) -> Step {
    Step {
        id: StepId("w2/run".to_owned()),
        host: "w2".to_owned(),
        title: "run".to_owned(),
        needs: Vec::new(),
        only_if_pending: Vec::new(),
        action: Action::Run {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            stdin: None,
        },
        verify: Vec::new(),
        clean_first: Vec::new(),
        timeout_s: 600,
    }
}

#[tokio::test]
async fn the_agent_is_sent_once_and_taken_away() {
    let server = Server::start();
    let session = server.connect().await;
    let first = push(&session, &Become::Root).await.unwrap();
    assert!(first.sent);
    let client = connect(first).await;
    assert_eq!(client.hello().digest, Some(agent().1));
    assert!(client.facts().await.unwrap().root);
    drop(client);
    let second = push(&session, &Become::Root).await.unwrap();
    assert!(!second.sent, "it was sent again");
    drop(second);
    let place = "/var/lib/qiji/agent/qiji-agent-*";
    assert_eq!(ask(&session, &format!("stat -c %a:%u {place}")).await, "700:0");
    ask(
        &session,
        &format!("for f in {place}; do cp $f /var/lib/x; echo broken >> /var/lib/x; mv /var/lib/x $f; done"),
    )
    .await;
    assert!(push(&session, &Become::Root).await.unwrap().sent, "a spoilt binary was started");
    remove_agent(&session, &Become::Root).await.unwrap();
    assert_eq!(ask(&session, "ls -A /var/lib").await, "");
}

#[tokio::test]
async fn the_agents_folder_stays_while_changes_are_recorded() {
    let server = Server::start();
    let session = server.connect().await;
    ask(&session, "mkdir -p /var/lib/qiji; echo x > /var/lib/qiji/changes.jsonl").await;
    let refused = remove_agent(&session, &Become::Root).await.unwrap_err().to_string();
    assert!(refused.contains("changes are still recorded"), "{refused}");
}

#[tokio::test]
async fn sudo_asks_for_a_password_or_not() {
    let server = Server::start();
    let session = server.connect().await;
    let fault = push(&session, &Become::Sudo).await.unwrap_err();
    assert!(
        matches!(&fault, SshError::SudoRefused { said, .. } if said.ends_with("a password is required")),
        "{fault}"
    );
    let wrong = push(&session, &Become::SudoPassword(Secret::new("wrong"))).await.unwrap_err().to_string();
    assert!(wrong.ends_with("the password is wrong"), "{wrong}");
    let right = Become::SudoPassword(Secret::new("opensesame"));
    ask(&session, "touch /var/lib/barred").await;
    let barred = push(&session, &right).await.unwrap_err().to_string();
    assert_eq!(barred, "host w2 does not let user root become root: root is not in the sudoers file.");
    ask(&session, "rm /var/lib/barred").await;
    connect(push(&session, &right).await.unwrap()).await.facts().await.unwrap();
    // Where no password is asked for, none may end up in the agent's input.
    ask(&session, "touch /var/lib/free").await;
    connect(push(&session, &right).await.unwrap()).await.facts().await.unwrap();
    connect(push(&session, &Become::Sudo).await.unwrap()).await.facts().await.unwrap();
}

#[tokio::test]
async fn a_host_that_runs_no_programs_there_is_named() {
    let server = Server::start();
    let session = server.connect().await;
    ask(&session, "mount -o remount,noexec /var/lib").await;
    let fault = push(&session, &Become::Root).await.unwrap_err();
    assert!(matches!(fault, SshError::AgentNotStarted { .. }), "{fault}");
    assert!(fault.hint().unwrap().contains("noexec"));
}

#[tokio::test]
async fn when_the_connection_goes_the_agent_and_its_work_go() {
    let server = Server::start();
    let watcher = server.connect().await;
    let session = server.connect().await;
    let client = connect(push(&session, &Become::Root).await.unwrap()).await;
    client.lock("r1", "site").await.unwrap();
    let work = tokio::spawn(async move {
        client.apply(&shell("echo $$ > /var/lib/pid; sleep 600"), &BTreeMap::new(), |_| {}).await
    });
    let pid = loop {
        let pid = ask(&watcher, "cat /var/lib/pid 2>/dev/null").await;
        if !pid.is_empty() {
            break pid;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let alive = format!("test -d /proc/{pid} && ! grep -q \") Z \" /proc/{pid}/stat && echo yes");
    assert_eq!(ask(&watcher, &alive).await, "yes");
    let begun = Instant::now();
    drop(session);
    let ended = work.await.unwrap().unwrap_err().to_string();
    assert!(begun.elapsed() < Duration::from_secs(1), "its loss was noticed after {:?}", begun.elapsed());
    assert!(ended.contains("connection to the agent is lost"), "{ended}");
    while ask(&watcher, &alive).await == "yes" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "the work went on without its installer");
}

#[tokio::test]
async fn a_blob_reaches_the_host() {
    let server = Server::start();
    let session = server.connect().await;
    let client = connect(push(&session, &Become::Root).await.unwrap()).await;
    client.lock("r1", "site").await.unwrap();
    let bytes = vec![7; 12 << 20];
    let blob = BlobRef { digest: Digest::of(&bytes), size: bytes.len() as u64 };
    client.put_blob(blob, 0, &bytes[..], |_| {}).await.unwrap();
    assert_eq!(client.blob_status(&[blob]).await.unwrap(), [blob.size]);
}
