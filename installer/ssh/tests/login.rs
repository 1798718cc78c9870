//! Reaching a host and logging in, against a real sshd.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use qiji_ssh::{Auth, Exit, Secret, SshError};
use server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_key_logs_in_and_a_command_has_streams_and_a_status() {
    let server = Server::start();
    let session = server.connect().await;
    let mut channel = session.exec("cat; echo oops >&2; exit 7").await.unwrap();
    channel.stdin.write_all(b"hello").await.unwrap();
    channel.stdin.shutdown().await.unwrap();
    let mut said = String::new();
    channel.stdout.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hello");
    assert_eq!(channel.status.exit().await, Exit::Status(7));
    assert_eq!(channel.status.last_line(), "oops");
}

#[tokio::test]
async fn an_unknown_key_stops_until_it_is_accepted_and_is_then_held() {
    let mut server = Server::start();
    let methods = [server.key("user")];
    let SshError::HostKeyUnknown { fingerprint, line, .. } =
        server.connect_with(&methods, None, false).await.unwrap_err()
    else {
        panic!("the unknown key was taken");
    };
    let pinned = fs_err::read_to_string(server.path("host.pub")).unwrap();
    assert!(pinned.starts_with(&line) && fingerprint.starts_with("SHA256:"));
    server.connect_with(&methods, Some(&line), false).await.unwrap();
    assert!(!server.known.path().exists(), "a pinned key needs no keeping");
    server.connect_with(&methods, None, true).await.unwrap();
    server.connect_with(&methods, None, false).await.unwrap();

    server.change_host_key();
    for (pin, held_in) in
        [(None, server.known.path().display().to_string()), (Some(&*line), "the site".to_owned())]
    {
        match server.connect_with(&methods, pin, true).await.unwrap_err() {
            SshError::HostKeyChanged { held, found, held_in: place, .. } => {
                assert_eq!((held, place), (fingerprint.clone(), held_in));
                assert_ne!(found, fingerprint);
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_stranger_is_refused_and_told_what_was_tried() {
    let server = Server::start();
    let methods =
        [server.key("stranger"), server.key("locked"), Auth::Password(Arc::new(|| Ok(Secret::new("guess"))))];
    let fault = server.connect_with(&methods, None, true).await.unwrap_err();
    let SshError::AuthRefused { tried, .. } = &fault else { panic!("{fault}") };
    assert!(tried[0].ends_with("stranger: refused"), "{tried:?}");
    assert!(tried[1].ends_with("no passphrase was given"), "{tried:?}");
    assert_eq!(tried[2], "password: refused");
    assert!(!format!("{fault} {fault:?} {methods:?}").contains("guess"));
}

#[tokio::test]
async fn a_host_that_takes_no_more_tries_is_told_as_a_refusal() {
    let server = Server::start();
    // sshd ends the connection at the sixth.
    let methods: Vec<Auth> = (0..8).map(|_| server.key("stranger")).collect();
    let fault = server.connect_with(&methods, None, true).await.unwrap_err();
    let SshError::AuthRefused { tried, .. } = &fault else { panic!("{fault}: {fault:?}") };
    assert!(tried.len() < 8 && tried.last().unwrap().contains("ended the connection"), "{tried:?}");
}

#[tokio::test]
async fn a_password_is_asked_for_only_when_its_turn_comes() {
    let server = Server::start();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let password = Auth::Password(Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Err("nobody is there".to_owned())
    }));
    server.connect_with(&[server.key("user"), password.clone()], None, true).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let fault = server.connect_with(&[server.key("stranger"), password], None, true).await.unwrap_err();
    let SshError::AuthRefused { tried, .. } = &fault else { panic!("{fault}") };
    assert_eq!(tried[1], "password: nobody is there");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_is_asked_may_take_longer_than_a_host_while_other_work_goes_on() {
    let server = Server::start();
    let patience = Duration::from_secs(10);
    let slow = Auth::Key {
        path: server.path("locked"),
        passphrases: Some(Arc::new(move |_: &std::path::Path| {
            std::thread::sleep(patience + Duration::from_secs(1));
            Some(Secret::new("open sesame"))
        })),
    };
    // This runtime has one thread: were it held up, the other connection could not be made meanwhile.
    let begun = Instant::now();
    let other = async {
        server.connect().await;
        begun.elapsed()
    };
    let methods = [slow];
    let (session, other) = tokio::join!(server.connect_with(&methods, None, true), other);
    session.unwrap();
    assert!(other < patience, "the other connection took {other:?}");
}

#[tokio::test]
async fn an_encrypted_key_opens_with_its_passphrase() {
    let server = Server::start();
    let method = |passphrase: &'static str| Auth::Key {
        path: server.path("locked"),
        passphrases: Some(Arc::new(move |_: &std::path::Path| Some(Secret::new(passphrase)))),
    };
    server.connect_with(&[method("open sesame")], None, true).await.unwrap();
    let fault = server.connect_with(&[method("wrong")], None, true).await.unwrap_err().to_string();
    assert!(fault.contains("the passphrase does not open it"), "{fault}");
}

#[tokio::test]
async fn a_closed_port_and_a_silent_host_are_told_apart_from_refusals() {
    let mut server = Server::start();
    server.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let fault = server.connect_with(&[], None, true).await.unwrap_err();
    assert_eq!(fault.to_string(), format!("cannot reach 127.0.0.1:{} (host w2)", server.port));
    assert!(fault.hint().unwrap().contains("start the SSH server"));
}

#[tokio::test]
async fn a_large_transfer_arrives_whole() {
    let server = Server::start();
    let session = server.connect().await;
    let place = server.path("big");
    let bytes: Vec<u8> =
        (0..48_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect();
    let mut channel = session.exec(&format!("cat > {}", place.display())).await.unwrap();
    channel.stdin.write_all(&bytes).await.unwrap();
    channel.stdin.shutdown().await.unwrap();
    assert_eq!(channel.status.exit().await, Exit::Status(0));
    assert!(fs_err::read(&place).unwrap() == bytes);
    let mut back = session.exec(&format!("cat {}", place.display())).await.unwrap();
    let mut read = Vec::new();
    back.stdout.read_to_end(&mut read).await.unwrap();
    assert!(read == bytes);
}
