//! Transfers over HTTPS: resumed, refused, redirected, retried, and told whole when they fail.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use qiji_airgap::Settings;
use qiji_blueprint::lock::Source;
use support::{Authority, Bench, Reply, Server, artifact, https, lock, noise, partial, pin, wanted};

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_broke_off() {
    let (authority, body) = (Authority::new(), noise(300_000));
    let copy = body.clone();
    let server = Server::tls(&authority, move |asked, before| {
        let reply = Reply::file(&copy, asked);
        if before == 0 { reply.cut_after(100_000) } else { reply }
    })
    .await;
    let bench = Bench::new(authority.settings());
    let lock = lock(vec![artifact("a", pin(&body), vec![https(server.url("/a"))])]);
    bench.fetcher.fetch(&lock).await.unwrap();
    assert_eq!(bench.read(&pin(&body).digest), body);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].range, None);
    assert_eq!(asked[1].range.as_deref(), Some("bytes=100000-"), "only the rest is asked for");
    assert!(asked[1].if_range.is_some(), "the rest is asked for only of the same file");
    bench.fetcher.fetch(&lock).await.unwrap();
    assert_eq!(server.asked().len(), 2, "what is in the store is not asked for again");
}

#[tokio::test]
async fn another_run_goes_on_with_what_the_last_one_left() {
    let (authority, body) = (Authority::new(), noise(200_000));
    let copy = body.clone();
    let down = Arc::new(AtomicUsize::new(1));
    let switch = down.clone();
    let server = Server::tls(&authority, move |asked, before| match switch.load(Ordering::SeqCst) {
        1 if before == 0 => Reply::file(&copy, asked).cut_after(50_000),
        1 => Reply::status(503),
        _ => Reply::file(&copy, asked),
    })
    .await;
    let bench = Bench::new(Settings { tries: 2, ..authority.settings() });
    let lock = lock(vec![artifact("a", pin(&body), vec![https(server.url("/a"))])]);
    bench.fetcher.fetch(&lock).await.unwrap_err();
    down.store(0, Ordering::SeqCst);
    bench.fetcher.fetch(&lock).await.unwrap();
    assert_eq!(server.asked().last().unwrap().range.as_deref(), Some("bytes=50000-"));
    assert_eq!(bench.read(&pin(&body).digest), body);
}

#[tokio::test]
async fn a_rotten_beginning_is_fetched_again_from_the_start() {
    let (authority, body) = (Authority::new(), noise(100_000));
    let copy = body.clone();
    let server = Server::tls(&authority, move |asked, _| Reply::file(&copy, asked)).await;
    let bench = Bench::new(authority.settings());
    fs_err::write(partial(&bench.store, &pin(&body).digest), [7; 1000]).unwrap();
    let lock = lock(vec![artifact("a", pin(&body), vec![https(server.url("/a"))])]);
    bench.fetcher.fetch(&lock).await.unwrap();
    assert_eq!(bench.read(&pin(&body).digest), body);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_both_sources_named() {
    let (authority, body) = (Authority::new(), noise(5000));
    let server = Server::tls(&authority, |asked, _| match asked.path.as_str() {
        "/flipped" => Reply::bytes(&[0; 5000]),
        "/longer" => Reply::bytes(&[0; 6000]),
        "/shorter" => Reply::bytes(&[0; 10]),
        _ => Reply::status(404),
    })
    .await;
    let bench = Bench::new(authority.settings());
    let sources = ["/flipped", "/longer", "/shorter", "/none"].map(|path| https(server.url(path)));
    let lock = lock(vec![artifact("a", pin(&body), sources.to_vec()), artifact("b", pin(b"b"), vec![])]);
    let error = bench.fetcher.fetch(&lock).await.unwrap_err();
    let text = error.to_string();
    for part in [
        "/flipped has",
        "/longer cannot",
        "/shorter cannot",
        "/none answered 404",
        "b 1.0 for amd64: it has no source",
    ] {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
    assert!(
        text.contains(&pin(&body).digest.to_string()) && text.contains(&pin(&[0; 5000]).digest.to_string())
    );
    assert_eq!(error.failures.len(), 2);
    assert!(!bench.store.blob_path(&pin(&[0; 5000]).digest).exists(), "refused bytes stay out of the store");
}

#[tokio::test]
async fn the_next_source_is_taken_when_one_fails() {
    let (authority, body) = (Authority::new(), noise(5000));
    let copy = body.clone();
    let server = Server::tls(&authority, move |asked, _| match asked.path.as_str() {
        "/good" => Reply::file(&copy, asked),
        "/wrong" => Reply::bytes(&[1; 5000]),
        _ => Reply::status(404),
    })
    .await;
    let bench = Bench::new(authority.settings());
    let sources = ["/gone", "/wrong", "/good"].map(|path| https(server.url(path))).to_vec();
    let done = bench.fetcher.fetch(&lock(vec![artifact("a", pin(&body), sources)])).await.unwrap();
    assert_eq!(done.artifacts[0].source, Some(server.url("/good")));
}

#[tokio::test]
async fn a_redirect_is_followed_but_not_to_plain_http() {
    let (authority, body) = (Authority::new(), noise(5000));
    let (copy, other_copy) = (body.clone(), body.clone());
    let plain = Server::plain(move |asked, _| Reply::file(&other_copy, asked)).await;
    let target = plain.url("/a");
    let server = Server::tls(&authority, move |asked, _| match asked.path.as_str() {
        "/moved" => Reply::status(302).header("location", "/a"),
        "/down" => Reply::status(302).header("location", &target),
        _ => Reply::file(&copy, asked),
    })
    .await;
    let bench = Bench::new(authority.settings());
    let down = lock(vec![artifact("a", pin(&body), vec![https(server.url("/down"))])]);
    let text = bench.fetcher.fetch(&down).await.unwrap_err().to_string();
    assert!(text.contains("plain http"), "{text}");
    assert!(plain.asked().is_empty());
    let moved = lock(vec![artifact("a", pin(&body), vec![https(server.url("/moved"))])]);
    bench.fetcher.fetch(&moved).await.unwrap();
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_plain_http_elsewhere_refused() {
    let authority = Authority::new();
    let server =
        Server::tls(&authority, |_, _| Reply { delay: Duration::from_mins(1), ..Reply::status(200) }).await;
    let bench =
        Bench::new(Settings { tries: 1, idle_timeout: Duration::from_millis(300), ..authority.settings() });
    let sources = vec![https(server.url("/a")), https("http://192.0.2.1/a".to_owned())];
    let text =
        bench.fetcher.fetch(&lock(vec![artifact("a", pin(b"a"), sources)])).await.unwrap_err().to_string();
    assert!(text.contains("timed out") && text.contains("plain HTTP"), "{text}");
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    let authority = Authority::new();
    let server = Server::tls(&authority, |_, _| Reply::bytes(b"a")).await;
    let bench = Bench::new(Settings { tries: 1, ..Settings::default() });
    let lock = lock(vec![artifact("a", pin(b"a"), vec![https(server.url("/a"))])]);
    let text = bench.fetcher.fetch(&lock).await.unwrap_err().to_string();
    assert!(text.to_lowercase().contains("certificate") || text.contains("UnknownIssuer"), "{text}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_damaged_blob_is_fetched_again() {
    let (authority, body) = (Authority::new(), noise(5000));
    let copy = body.clone();
    let server = Server::tls(&authority, move |asked, _| Reply::file(&copy, asked)).await;
    let bench = Bench::new(authority.settings());
    let found =
        bench.fetcher.resolve(&wanted(vec![artifact("a", (), vec![https(server.url("/a"))])])).await.unwrap();
    assert_eq!(found.lock.artifacts[0].pin, pin(&body));
    fs_err::write(bench.store.blob_path(&pin(&body).digest), b"rotten").unwrap();
    bench.fetcher.fetch(&found.lock).await.unwrap();
    assert_eq!(bench.read(&pin(&body).digest), body);
}

#[tokio::test]
async fn a_folder_gives_only_what_is_locked_and_stays_in_itself() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    fs_err::write(folders[0].path().join("tool"), b"old").unwrap();
    fs_err::write(folders[1].path().join("tool"), b"right").unwrap();
    let all: Vec<_> = folders.iter().map(|folder| folder.path().to_owned()).collect();
    let bench = Bench::new(Settings { folders: all, ..Settings::default() });
    let from = |path: &str| vec![Source::Folder { path: path.to_owned() }];
    bench.fetcher.fetch(&lock(vec![artifact("tool", pin(b"right"), from("tool"))])).await.unwrap();
    let wrong = vec![
        artifact("a", pin(b"x"), from("tool")),
        artifact("b", pin(b"x"), from("../tool")),
        artifact("c", pin(b"x"), from("none")),
    ];
    let text = bench.fetcher.fetch(&lock(wrong)).await.unwrap_err().to_string();
    for part in ["tool has sha256:", "../tool is refused", "none is in none of the folders", "--artifacts"] {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}
