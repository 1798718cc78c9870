//! A Debian mirror, made and served by the test.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod support;

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

use qiji_airgap::{Settings, Trust};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::Source;
use support::{Bench, Server, artifact, deb, files, lock, pin, wanted};

/// A mirror of suite `trixie` with the packages, each name, version and bytes. Unsigned.
fn mirror(packages: &[(&str, &str, &[u8])]) -> HashMap<String, Vec<u8>> {
    let mut paths = HashMap::new();
    let mut index = String::new();
    for (name, version, bytes) in packages {
        let filename = format!("pool/main/x/{name}/{name}_{version}_amd64.deb");
        let (size, digest) = (bytes.len(), Digest::of(bytes).hex());
        index.extend([format!(
            "Package: {name}\nVersion: {version}\nDescription: a\n b\nFilename: {filename}\nSize: {size}\nSHA256: {digest}\n\n"
        )]);
        paths.insert(format!("/{filename}"), bytes.to_vec());
    }
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(index.as_bytes()).unwrap();
    let index = xz.finish().unwrap();
    let hex = Digest::of(&index).hex();
    let release = format!(
        "Suite: stable\nCodename: trixie\nAcquire-By-Hash: yes\nSHA256:\n {hex} {} main/binary-amd64/Packages.xz\n",
        index.len()
    );
    paths.insert("/dists/trixie/InRelease".to_owned(), release.clone().into_bytes());
    paths.insert("/dists/forky/InRelease".to_owned(), release.into_bytes());
    paths.insert(format!("/dists/trixie/main/binary-amd64/by-hash/SHA256/{hex}"), index);
    paths
}

fn settings(mirrors: Vec<String>) -> Settings {
    Settings {
        debian_mirrors: mirrors,
        debian_keyring: PathBuf::from("/none"),
        tries: 1,
        ..Settings::default()
    }
}

fn package(suite: &str, name: &str, version: Option<&str>) -> Vec<Source> {
    let version = version.map(str::to_owned);
    vec![Source::Debian { suite: suite.to_owned(), package: name.to_owned(), version }]
}

#[tokio::test]
async fn the_newest_version_is_locked_and_fetched_from_the_first_mirror_that_works() {
    let (old, new) = (deb(&[("usr/a", b"old")], &[]), deb(&[("usr/a", b"new")], &[]));
    let server = Server::plain(files(mirror(&[
        ("liba", "1.9-1", &old),
        ("liba", "1.10-1", &new),
        ("libb", "1", &old),
    ])))
    .await;
    let bench = Bench::new(settings(vec!["http://127.0.0.1:1/debian".to_owned(), server.base.clone()]));
    let both = vec![
        artifact("liba", (), package("trixie", "liba", None)),
        artifact("libb", (), package("trixie", "libb", None)),
    ];
    let found = bench.fetcher.resolve(&wanted(both)).await.unwrap();
    assert_eq!(found.lock.artifacts[0].pin, pin(&new));
    assert_eq!(found.lock.artifacts[0].sources, package("trixie", "liba", Some("1.10-1")));
    assert!(matches!(&found.provenance[0].trust, Trust::Unverified(why) if why.contains("/none")));
    let releases = server.asked().iter().filter(|asked| asked.path.ends_with("InRelease")).count();
    assert_eq!(releases, 1, "a suite is read once a run");
    bench.fetcher.fetch(&found.lock).await.unwrap();
    assert_eq!(bench.read(&pin(&new).digest), new);
}

#[tokio::test]
async fn what_left_the_suite_or_is_not_what_the_index_says_is_told() {
    let good = deb(&[("usr/a", b"a")], &[]);
    let mut paths = mirror(&[("liba", "1", &good), ("libb", "1", &good)]);
    paths.insert("/pool/main/x/libb/libb_1_amd64.deb".to_owned(), vec![0; good.len()]);
    let server = Server::plain(files(paths)).await;
    let bench = Bench::new(settings(vec![server.base.clone()]));
    let artifacts = vec![
        artifact("gone", pin(b"of an older suite"), package("trixie", "liba", Some("0.9"))),
        artifact("bad", pin(&good), package("trixie", "libb", Some("1"))),
        artifact("other", pin(&good), package("forky", "liba", None)),
    ];
    let text = bench.fetcher.fetch(&lock(artifacts)).await.unwrap_err().to_string();
    for part in [
        "liba 0.9 for amd64 is not in trixie",
        "run `qiji lock` again",
        "libb_1_amd64.deb has",
        "describes stable or trixie and not forky",
    ] {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}

#[tokio::test]
async fn a_signature_is_asked_for_where_the_settings_say_so() {
    let server = Server::plain(files(mirror(&[("liba", "1", b"x")]))).await;
    let strict = Settings { require_signed_index: true, ..settings(vec![server.base.clone()]) };
    let artifacts = vec![artifact("liba", (), package("trixie", "liba", None))];
    let text = Bench::new(strict).fetcher.resolve(&wanted(artifacts)).await.unwrap_err().to_string();
    assert!(text.contains("/none is not there"), "{text}");
}
