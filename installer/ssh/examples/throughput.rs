//! How fast bytes reach a host over SSH, and how much memory that takes: a blob through the agent, and beside it the same bytes
//! through `cat` over our own channel, through `ssh` and through `scp`. All to one sshd on loopback; needs root.
//!
//! `cargo run --release -p qiji-ssh --example throughput -- AGENT [MIB]`

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on should stop")]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

#[path = "../tests/server/mod.rs"]
mod server;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use qiji_agent::Client;
use qiji_blueprint::Digest;
use qiji_plan::BlobRef;
use qiji_ssh::{AgentBinary, Become, Session, push_agent};
use server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn peak_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

async fn ask(session: &Session, command: &str) -> String {
    let mut channel = session.exec(command).await.unwrap();
    let mut said = String::new();
    channel.stdout.read_to_string(&mut said).await.unwrap();
    said
}

fn rate(what: &str, mib: u64, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    let whole = u32::try_from(mib).map_or(0.0, f64::from);
    println!("{what:<28} {:>7.1} MiB/s ({seconds:.2} s)", whole / seconds);
}

fn openssh(server: &Server, program: &str, words: &[&str], stdin: Stdio) {
    let mut command = Command::new(program);
    let port = server.port.to_string();
    command.args(["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"]);
    command
        .arg(server.path("user"))
        .args([if program == "scp" { "-P" } else { "-p" }, &port])
        .args(words)
        .stdin(stdin);
    assert!(command.status().unwrap().success());
}

async fn through_agent(server: &Server, agent: &Path, file: &Path, blob: BlobRef, mib: u64) {
    let session = server.connect().await;
    let digest = Digest::of(&fs_err::read(agent).unwrap()).hex();
    let bytes = tokio::fs::File::open(agent).await.unwrap();
    let channel = push_agent(&session, AgentBinary { digest, bytes }, &Become::Root).await.unwrap();
    let client = Client::connect(channel.reader, channel.writer).await.unwrap();
    client.lock("bench", "bench").await.unwrap();
    let source = tokio::fs::File::open(file).await.unwrap();
    let begun = Instant::now();
    client.put_blob(blob, 0, source, |_| {}).await.unwrap();
    rate("agent (hashed, synced)", mib, begun);
    let held = ask(&session, "cat /proc/$(pgrep -n ^qiji-agent)/status").await;
    let own = fs_err::read_to_string("/proc/self/status").unwrap();
    println!("peak memory: agent {} KiB, client {} KiB", peak_kib(&held), peak_kib(&own));
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let agent = Path::new(words.first().expect("usage: throughput AGENT [MIB]"));
    let mib: u64 = words.get(1).map_or(500, |word| word.parse().unwrap());
    let server = Server::start();
    let file = server.path("bytes");
    let made = Command::new("sh")
        .arg("-c")
        .arg(format!("head -c {mib}M /dev/urandom > {}", file.display()))
        .status();
    assert!(made.unwrap().success());
    let sum = Command::new("sha256sum").arg(&file).output().unwrap();
    let digest = format!("sha256:{}", &String::from_utf8_lossy(&sum.stdout)[..64]).parse().unwrap();
    through_agent(&server, agent, &file, BlobRef { digest, size: mib << 20 }, mib).await;

    let session = server.connect().await;
    let mut channel = session.exec("cat > /var/lib/bytes").await.unwrap();
    let mut source = tokio::fs::File::open(&file).await.unwrap();
    let mut piece = vec![0; 256 << 10];
    let begun = Instant::now();
    loop {
        let count = source.read(&mut piece).await.unwrap();
        if count == 0 {
            break;
        }
        channel.stdin.write_all(&piece[..count]).await.unwrap();
    }
    channel.stdin.shutdown().await.unwrap();
    channel.status.exit().await;
    rate("cat over our channel", mib, begun);

    let begun = Instant::now();
    let stdin = std::fs::OpenOptions::new().read(true).open(&file).unwrap();
    openssh(&server, "ssh", &["root@127.0.0.1", "cat > /var/lib/bytes"], stdin.into());
    rate("ssh cat", mib, begun);
    let begun = Instant::now();
    openssh(&server, "scp", &[file.to_str().unwrap(), "root@127.0.0.1:/var/lib/bytes"], Stdio::null());
    rate("scp", mib, begun);
}
