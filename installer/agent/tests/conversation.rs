//! Installer and agent as they talk: a real agent process, a folder that stands for the host's file tree.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use qiji_agent::{CallError, Client, Outcome};
use qiji_blueprint::Digest;
use qiji_plan::{Action, BlobRef, Condition, Content, Found, Step, StepId};
use tokio::process::{Child, Command};

fn start(root: &Path, die_at: Option<u64>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qiji-agent"));
    command
        .arg("--root")
        .arg(root)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if let Some(point) = die_at {
        command.env("QIJI_AGENT_DIE_AT", point.to_string());
    }
    command.spawn().unwrap()
}

async fn connect(root: &Path) -> (Child, Client) {
    let (child, client) = try_connect(root, None).await;
    (child, client.unwrap())
}

async fn try_connect(root: &Path, die_at: Option<u64>) -> (Child, Result<Client, CallError>) {
    let mut child = start(root, die_at);
    let client = Client::connect(child.stdout.take().unwrap(), child.stdin.take().unwrap()).await;
    (child, client)
}

fn step(name: &str, action: Action) -> Step {
    Step {
        id: StepId(format!("h1/{name}")),
        host: "h1".to_owned(),
        title: name.to_owned(),
        needs: Vec::new(),
        only_if_pending: Vec::new(),
        action,
        verify: Vec::new(),
        clean_first: Vec::new(),
        timeout_s: 20,
    }
}

fn shell(name: &str, script: &str) -> Step {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    step(name, Action::Run { argv, env: BTreeMap::new(), stdin: None })
}

async fn apply(client: &Client, step: &Step) -> Result<bool, CallError> {
    client.apply(step, &BTreeMap::new(), |_| {}).await.map(|applied| applied.changed)
}

fn blob(bytes: &[u8]) -> BlobRef {
    BlobRef { digest: Digest::of(bytes), size: bytes.len() as u64 }
}

/// Bytes that do not repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(next).collect()
}

/// All that is below a folder, with content and mode.
fn tree(root: &Path) -> BTreeMap<String, String> {
    use std::os::unix::fs::PermissionsExt;
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let what = if found.is_symlink() {
                format!("-> {}", fs_err::read_link(&path).unwrap().display())
            } else if found.is_dir() {
                todo.push(path.clone());
                format!("{:o}", found.permissions().mode())
            } else {
                let at = found.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
                format!("{:o} {} {at}", found.permissions().mode(), Digest::of(&fs_err::read(&path).unwrap()))
            };
            all.insert(path.strip_prefix(root).unwrap().display().to_string(), what);
        }
    }
    all
}

#[tokio::test]
async fn what_a_host_holds_can_be_read_back() {
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    assert_eq!(client.held().await.unwrap(), []);
    client.lock("r1", "site").await.unwrap();
    let all = [noise(5_000_000), noise(100), Vec::new()];
    for bytes in &all {
        client.put_blob(blob(bytes), 0, &bytes[..], |_| {}).await.unwrap();
    }
    // Half a blob is not held.
    fs_err::write(
        root.path().join("var/lib/qiji/blobs").join(format!("{}.part", Digest::of(b"x").hex())),
        b"x",
    )
    .unwrap();
    let mut expected: Vec<BlobRef> = all.iter().map(|bytes| blob(bytes)).collect();
    // containerd has one of them too, and another.
    let content = root.path().join(qiji_plan::paths::CONTAINERD_BLOBS.trim_start_matches('/'));
    fs_err::create_dir_all(&content).unwrap();
    let of_containerd = noise(300_000);
    for bytes in [&all[1], &of_containerd] {
        fs_err::write(content.join(Digest::of(bytes).hex()), bytes).unwrap();
    }
    expected.push(blob(&of_containerd));
    expected.sort_by_key(|blob| blob.digest);
    assert_eq!(client.held().await.unwrap(), expected);
    for bytes in all.iter().chain([&of_containerd]) {
        let mut read = Vec::new();
        let take = |piece: &[u8]| {
            read.extend_from_slice(piece);
            Ok(())
        };
        client.read_blob(blob(bytes), take).await.unwrap();
        assert!(read == *bytes);
    }
    let missing = client.read_blob(blob(b"never there"), |_| Ok(())).await.unwrap_err();
    assert!(missing.to_string().contains("is not on the host"), "{missing}");
}

#[tokio::test]
async fn what_is_unpacked_on_a_host_is_told() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    assert_eq!(client.files().await.unwrap(), []);
    let packages = root.path().join("opt/qiji/packages");
    let bin = packages.join("etcd-3.7.3/bin");
    fs_err::create_dir_all(&bin).unwrap();
    // More than one answer holds, and content that differs.
    for number in 0..3000 {
        fs_err::write(bin.join(format!("{number:04}")), number.to_string()).unwrap();
    }
    fs_err::set_permissions(bin.join("0007"), std::fs::Permissions::from_mode(0o750)).unwrap();
    symlink("bin/0007", packages.join("etcd-3.7.3/link")).unwrap();
    symlink("/", packages.join("root")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(packages.join("socket")).unwrap();

    let files = client.files().await.unwrap();
    assert!(files.is_sorted_by_key(|file| &file.path));
    let found: BTreeMap<&str, &Found> = files.iter().map(|file| (file.path.as_str(), &file.what)).collect();
    assert_eq!((files.len(), found.len()), (3002, 3002));
    let seven = Found::File { digest: Digest::of(b"7"), size: 1, mode: 0o750 };
    assert_eq!(found["etcd-3.7.3/bin/0007"], &seven);
    assert_eq!(found["etcd-3.7.3/link"], &Found::Link { target: "bin/0007".to_owned() });
    // Links are told, not followed.
    assert_eq!(found["root"], &Found::Link { target: "/".to_owned() });

    let silent = client.images().await.unwrap_err();
    assert!(silent.to_string().contains("containerd does not run"), "{silent}");
}

#[tokio::test]
async fn facts_of_the_host_come_back() {
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    assert!(client.hello().digest.is_some());
    let facts = client.facts().await.unwrap();
    assert_eq!(facts.leftovers, Vec::<String>::new());
    assert_eq!(facts.installed_site, None);
}

#[tokio::test]
async fn what_a_host_remembers_of_trust_comes_back_until_a_reset() {
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    for text in ["{\"accepted\":{}}\n", "{\"accepted\":{\"x\":1}}\n"] {
        assert_ne!(client.facts().await.unwrap().trust.as_deref(), Some(text));
        let (path, content) = (qiji_plan::paths::TRUST.to_owned(), Content::plain(text));
        let keep = step("trust", Action::File { path, mode: 0o600, content });
        assert!(apply(&client, &keep).await.unwrap());
        assert_eq!(client.facts().await.unwrap().trust.as_deref(), Some(text));
    }
    apply(&client, &step("undo", Action::Undo)).await.unwrap();
    assert_eq!(client.facts().await.unwrap().trust, None);
}

#[tokio::test]
async fn a_blob_is_gone_on_with_and_a_wrong_one_refused() {
    let root = tempfile::tempdir().unwrap();
    let bytes = noise(9 << 20);
    let whole = blob(&bytes);
    let (mut child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    let cut = client.put_blob(whole, 0, &bytes[..5 << 20], |_| {}).await.unwrap_err();
    assert!(cut.to_string().contains("ended after"), "{cut}");
    drop(client);
    child.wait().await.unwrap();

    let (_child, client) = connect(root.path()).await;
    client.lock("r2", "site").await.unwrap();
    let there = client.blob_status(&[whole]).await.unwrap()[0];
    assert_eq!(there, 5 << 20);
    let mut last = 0;
    client.put_blob(whole, there, &bytes[5 << 20..], |at| last = at).await.unwrap();
    assert_eq!(last, whole.size);
    assert_eq!(client.blob_status(&[whole]).await.unwrap(), [whole.size]);
    let receive = step("receive", Action::Receive { blobs: vec![whole] });
    assert_eq!(client.check(std::slice::from_ref(&receive)).await.unwrap(), [Outcome::Done]);

    let lie = BlobRef { digest: Digest::of(b"other"), size: 3 };
    let refused = client.put_blob(lie, 0, &b"abc"[..], |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("arrived as"), "{refused}");
    assert_eq!(client.blob_status(&[lie]).await.unwrap(), [0]);
}

#[tokio::test]
async fn a_transfer_and_a_step_do_not_wait_for_each_other() {
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    let bytes = noise(20 << 20);
    let slow = shell("slow", "sleep 2");
    let begun = Instant::now();
    let transfer = async {
        client.put_blob(blob(&bytes), 0, &bytes[..], |_| {}).await.unwrap();
        begun.elapsed()
    };
    let running = async {
        apply(&client, &slow).await.unwrap();
        begun.elapsed()
    };
    let (sent, ran) = tokio::join!(transfer, running);
    assert!(ran >= Duration::from_secs(2));
    assert!(sent < ran, "the transfer took {sent:?}");
}

#[tokio::test]
async fn a_second_installer_is_told_who_holds_the_host() {
    let root = tempfile::tempdir().unwrap();
    let (_first, one) = connect(root.path()).await;
    let (_second, two) = connect(root.path()).await;
    one.lock("run-a", "plant").await.unwrap();
    let refused = two.lock("run-b", "plant").await.unwrap_err().to_string();
    assert!(refused.contains("run run-a of site plant holds this host"), "{refused}");
    let unlocked = apply(&two, &shell("x", "true")).await.unwrap_err().to_string();
    assert!(unlocked.contains("not locked"), "{unlocked}");
}

#[tokio::test]
async fn a_program_runs_once_and_again_when_it_changes() {
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    let first = shell("init", "echo working");
    assert!(matches!(client.check(std::slice::from_ref(&first)).await.unwrap()[0], Outcome::Pending { .. }));
    let mut lines = Vec::new();
    client.apply(&first, &BTreeMap::new(), |line| lines.push(line.to_owned())).await.unwrap();
    assert_eq!(lines, ["working"]);
    assert_eq!(client.check(std::slice::from_ref(&first)).await.unwrap(), [Outcome::Done]);
    let changed = shell("init", "echo otherwise");
    assert!(matches!(client.check(&[changed]).await.unwrap()[0], Outcome::Pending { .. }));
}

#[tokio::test]
async fn a_failed_step_shows_why_and_is_cleaned_before_the_next_try() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("var/lib/half");
    let (_child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    let script =
        format!("mkdir -p {0}/made; test -e {0}/twice && exit 0; echo no luck >&2; exit 4", place.display());
    let mut failing = shell("init", &script);
    failing.clean_first = vec!["/var/lib/half".to_owned()];
    let CallError::Failed(failure) = apply(&client, &failing).await.unwrap_err() else {
        panic!("no failure")
    };
    assert!(failure.to_string().contains("ended with status 4"), "{failure}");
    assert_eq!(failure.output, ["no luck"]);
    assert!(place.join("made").exists());
    fs_err::write(place.join("twice"), "").unwrap();
    assert!(apply(&client, &failing).await.is_err(), "what the first try left was not cleaned away");
}

#[tokio::test]
async fn many_large_steps_are_checked_in_their_order() {
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    let large = |name: &str| {
        let content = Content::plain(name.repeat(400_000 / name.len()));
        step(name, Action::File { path: format!("/etc/{name}"), mode: 0o644, content })
    };
    let steps = ["one", "two", "six", "ten", "elf"].map(large);
    apply(&client, &steps[3]).await.unwrap();
    let outcomes = client.check(&steps).await.unwrap();
    let done: Vec<bool> = outcomes.iter().map(|outcome| *outcome == Outcome::Done).collect();
    assert_eq!(done, [false, false, false, true, false]);
    assert!(client.check(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_condition_that_never_comes_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    let mut waiting = step("wait", Action::Wait);
    waiting.timeout_s = 1;
    waiting.verify = vec![Condition::Exists { path: "/etc/ready".to_owned() }];
    let fault = apply(&client, &waiting).await.unwrap_err().to_string();
    assert!(fault.ends_with("/etc/ready is missing"), "{fault}");
}

#[tokio::test]
async fn a_secret_from_another_step_is_filled_in_and_known_again() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    let inputs = BTreeMap::from([("token".to_owned(), StepId("cp1/token".to_owned()))]);
    let content = Content { text: "join @{token}\n".to_owned(), inputs, secret: true };
    let file = step("join", Action::File { path: "/etc/qiji/join".to_owned(), mode: 0o600, content });
    let without = apply(&client, &file).await.unwrap_err().to_string();
    assert!(without.contains("no value was given for `@{token}`"), "{without}");
    let values = BTreeMap::from([("token".to_owned(), "abc".to_owned())]);
    client.apply(&file, &values, |_| {}).await.unwrap();
    let path = root.path().join("etc/qiji/join");
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "join abc\n");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(client.check(std::slice::from_ref(&file)).await.unwrap(), [Outcome::Done]);
    fs_err::write(&path, "join xyz\n").unwrap();
    assert!(matches!(client.check(&[file]).await.unwrap()[0], Outcome::Pending { .. }));
}

#[tokio::test]
async fn when_the_installer_is_gone_its_programs_are_ended() {
    let root = tempfile::tempdir().unwrap();
    let (mut child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    let pid_file = root.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
    let work = {
        let client = client.clone();
        tokio::spawn(async move { apply(&client, &shell("long", &script)).await })
    };
    let pid = loop {
        match fs_err::read_to_string(&pid_file) {
            Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(Path::new("/proc").join(&pid).exists());
    let begun = Instant::now();
    work.abort();
    drop(work.await);
    drop(client);
    child.wait().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    let state = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "the program still runs: {state}");
}

#[tokio::test]
async fn a_request_that_is_dropped_ends_its_program() {
    let root = tempfile::tempdir().unwrap();
    let (_child, client) = connect(root.path()).await;
    client.lock("r1", "site").await.unwrap();
    let long = shell("long", "sleep 600");
    let gone = tokio::time::timeout(Duration::from_millis(300), apply(&client, &long)).await;
    assert!(gone.is_err());
    let until = Instant::now() + Duration::from_secs(4);
    loop {
        let failed =
            client.events().await.unwrap().iter().any(|entry| entry.mark == qiji_agent::wire::Mark::Failed);
        if failed {
            break;
        }
        assert!(Instant::now() < until, "the program was not ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in [("bin/tool", "#!/bin/sh\n"), ("share/note", "text\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    zstd::encode_all(tar.into_inner().unwrap().as_slice(), 3).unwrap()
}

/// A file tree with something in the way of each step.
fn former_tree(root: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for folder in ["etc/old", "opt/qiji", "proc/sys/net/ipv4", "var/lib"] {
        fs_err::create_dir_all(root.join(folder)).unwrap();
    }
    fs_err::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    fs_err::set_permissions(root.join("etc/hosts"), std::fs::Permissions::from_mode(0o640)).unwrap();
    fs_err::os::unix::fs::symlink("old", root.join("etc/link")).unwrap();
    fs_err::create_dir(root.join("opt/taken")).unwrap();
    fs_err::write(root.join("opt/taken/mine"), "keep me").unwrap();
    fs_err::write(root.join("proc/sys/net/ipv4/ip_forward"), "0\n").unwrap();
}

fn all_kinds(layer: BlobRef) -> Vec<Step> {
    let file = |path: &str, text: &str| Action::File {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::plain(text),
    };
    let unpack = |into: &str| Action::Unpack { layers: vec![layer], into: into.to_owned() };
    vec![
        step("file", file("/etc/new/deep/conf", "a\n")),
        step("hosts", file("/etc/hosts", "127.0.0.1 localhost\n10.0.0.1 cp1\n")),
        step("folder", Action::Folder { path: "/var/lib/made".to_owned(), mode: 0o700 }),
        step("mode", Action::Folder { path: "/etc/old".to_owned(), mode: 0o711 }),
        step("link", Action::Link { path: "/etc/link".to_owned(), target: "new".to_owned() }),
        step("unpack", unpack("/opt/qiji/tools")),
        step("taken", unpack("/opt/taken")),
        step(
            "sysctl",
            Action::Sysctl { key: "net.ipv4.ip_forward".to_owned(), value: "1".to_owned(), at_least: false },
        ),
        shell("run", "true"),
    ]
}

/// Brings the layer and applies all steps; false when the agent died on the way.
async fn install(root: &Path, die_at: Option<u64>) -> Result<bool, CallError> {
    let bytes = layer();
    let layer = blob(&bytes);
    let (_child, client) = try_connect(root, die_at).await;
    let client = client?;
    client.lock("r1", "site").await?;
    let there = client.blob_status(&[layer]).await?[0];
    if there < layer.size {
        let rest = &bytes[usize::try_from(there).unwrap()..];
        client.put_blob(layer, there, rest, |_| {}).await?;
    }
    let steps = all_kinds(layer);
    let mut changed = false;
    for step in &steps {
        if client.check(std::slice::from_ref(step)).await? != [Outcome::Done] {
            changed |= apply(&client, step).await?;
        }
    }
    let left = client.check(&steps).await?;
    assert!(left.iter().all(|outcome| *outcome == Outcome::Done), "{left:?}");
    Ok(changed)
}

async fn undo(root: &Path, die_at: Option<u64>) -> Result<(), CallError> {
    let (_child, client) = try_connect(root, die_at).await;
    let client = client?;
    client.lock("r2", "site").await?;
    apply(&client, &step("undo", Action::Undo)).await?;
    Ok(())
}

/// The tree without what the installer itself removes last.
fn rest(root: &Path) -> BTreeMap<String, String> {
    let mut all = tree(root);
    all.retain(|path, _| path != "var/lib/qiji" && path != "var/lib/qiji/lock");
    all
}

#[tokio::test]
async fn a_second_install_changes_nothing_and_undo_puts_all_back() {
    let root = tempfile::tempdir().unwrap();
    former_tree(root.path());
    let before = rest(root.path());
    assert!(install(root.path(), None).await.unwrap());
    assert_eq!(fs_err::read_to_string(root.path().join("opt/taken/bin/tool")).unwrap(), "#!/bin/sh\n");
    let installed = tree(root.path());
    assert!(!install(root.path(), None).await.unwrap(), "the second install changed something");
    let again = tree(root.path());
    let differ: Vec<_> = installed.iter().filter(|(path, what)| again.get(*path) != Some(*what)).collect();
    assert!(differ.iter().all(|(path, _)| path.ends_with("qiji/lock")), "{differ:?}");
    let (_child, client) = connect(root.path()).await;
    assert_eq!(client.facts().await.unwrap().installed_site.as_deref(), Some("site"));
    drop(client);
    undo(root.path(), None).await.unwrap();
    let mut after = rest(root.path());
    let mut before = before;
    // The stand-in for a kernel setting is a plain file, so its time and final newline may differ.
    let setting = "proc/sys/net/ipv4/ip_forward";
    assert_eq!(fs_err::read_to_string(root.path().join(setting)).unwrap().trim(), "0");
    before.remove(setting);
    after.remove(setting);
    assert_eq!(before, after);
}

/// The agent is killed at every crash point of an install in turn, then the install is run again; the same for undoing.
#[tokio::test]
async fn an_agent_killed_at_any_point_loses_nothing() {
    let mut died = 0;
    for point in (1..).step_by(step_width()) {
        let root = tempfile::tempdir().unwrap();
        former_tree(root.path());
        let before = rest(root.path());
        let first = install(root.path(), Some(point)).await;
        if first.is_err() {
            died += 1;
            install(root.path(), None)
                .await
                .unwrap_or_else(|fault| panic!("after death at point {point}: {fault}"));
        }
        let undone = undo(root.path(), Some(point)).await;
        if undone.is_err() {
            undo(root.path(), None)
                .await
                .unwrap_or_else(|fault| panic!("undo after death at point {point}: {fault}"));
        }
        let (mut before, mut after) = (before, rest(root.path()));
        before.remove("proc/sys/net/ipv4/ip_forward");
        after.remove("proc/sys/net/ipv4/ip_forward");
        assert_eq!(before, after, "after death at point {point}");
        if first.is_ok() {
            break;
        }
    }
    assert!(died > 20, "only {died} crash points were met");
}

/// Every point with `QIJI_TEST_ALL`; else a sample of them.
fn step_width() -> usize {
    if std::env::var_os("QIJI_TEST_ALL").is_some() { 1 } else { 5 }
}
