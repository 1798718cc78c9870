//! Images into a real containerd. Runs where `QIJI_TEST_CONTAINERD` names a folder that holds `containerd` and `ctr`; needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use qiji_agent::{Client, Outcome};
use qiji_blueprint::Digest;
use qiji_plan::{Action, BlobRef, ImportedImage, Step, StepId};
use tokio::process::{Child, Command};

/// containerd with folders of its own, its data on a tmpfs that goes with it.
async fn containerd(programs: &Path, folder: &Path) -> Child {
    let config = format!(
        "version = 3\nroot = '{0}/data'\nstate = '{0}/state'\ndisabled_plugins = ['io.containerd.grpc.v1.cri', \
         'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime']\n[grpc]\naddress = '{0}/containerd.sock'\n",
        folder.display()
    );
    fs_err::write(folder.join("config.toml"), config).unwrap();
    fs_err::create_dir(folder.join("data")).unwrap();
    let script = "mount -t tmpfs none \"$1\"/data && exec \"$0\" --config \"$1\"/config.toml";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command
        .arg(programs.join("containerd"))
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let child = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !folder.join("containerd.sock").exists() {
        assert!(Instant::now() < until, "containerd does not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child
}

struct Blobs(Vec<(BlobRef, Vec<u8>)>);

impl Blobs {
    fn add(&mut self, bytes: Vec<u8>) -> BlobRef {
        let blob = BlobRef { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        self.0.push((blob, bytes));
        blob
    }

    fn image(&mut self, name: &str, layer: BlobRef, diff: Digest) -> ImportedImage {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Entrypoint": ["/bin/tool"], "Labels": { "of": name } },
            "rootfs": { "type": "layers", "diff_ids": [diff.to_string()] },
        });
        let config = self.add(serde_json::to_vec(&config).unwrap());
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.digest.to_string(), "size": config.size,
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
                "digest": layer.digest.to_string(), "size": layer.size,
            }],
        });
        let manifest = self.add(serde_json::to_vec(&manifest).unwrap());
        let repository = name.rsplit_once(':').unwrap().0;
        let digests = [manifest.digest, Digest::of(b"the index that it is from")];
        let by_digest = digests.map(|digest| format!("{repository}@{digest}")).to_vec();
        ImportedImage { name: name.to_owned(), by_digest, manifest, blobs: vec![config, layer] }
    }
}

/// Two images that share their layer.
fn two_images(blobs: &mut Blobs) -> Vec<ImportedImage> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(10);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, "bin/tool", b"#!/bin/sh\n".as_slice()).unwrap();
    let plain = tar.into_inner().unwrap();
    let layer = blobs.add(zstd::encode_all(plain.as_slice(), 3).unwrap());
    let diff = Digest::of(&plain);
    ["registry.k8s.io/pause:3.10", "qiji.dev/coredns/coredns:v1.15.0"]
        .map(|name| blobs.image(name, layer, diff))
        .into_iter()
        .collect()
}

async fn ctr(programs: &Path, socket: &Path, words: &[&str]) -> String {
    let mut command = Command::new(programs.join("ctr"));
    command.arg("--address").arg(socket).args(["--namespace", "k8s.io"]).args(words);
    String::from_utf8(command.output().await.unwrap().stdout).unwrap()
}

#[tokio::test]
#[ignore = "needs QIJI_TEST_CONTAINERD, a folder with containerd and ctr"]
async fn images_are_imported_pinned_and_unpacked() {
    let programs = std::env::var_os("QIJI_TEST_CONTAINERD").map(PathBuf::from).unwrap();
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("containerd.sock");
    let mut blobs = Blobs(Vec::new());
    let images = two_images(&mut blobs);
    let mut agent = Command::new(env!("CARGO_BIN_EXE_qiji-agent"))
        .arg("--root")
        .arg(root.path())
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = Client::connect(agent.stdout.take().unwrap(), agent.stdin.take().unwrap()).await.unwrap();
    client.lock("r1", "site").await.unwrap();
    for (blob, bytes) in &blobs.0 {
        client.put_blob(*blob, 0, bytes.as_slice(), |_| {}).await.unwrap();
    }
    // The agent looks for the socket below its root, `ctr` does not: both find it.
    fs_err::create_dir_all(root.path().join(socket.strip_prefix("/").unwrap().parent().unwrap())).unwrap();
    fs_err::os::unix::fs::symlink(&socket, root.path().join(socket.strip_prefix("/").unwrap())).unwrap();
    let step = Step {
        id: StepId("h1/images".to_owned()),
        host: "h1".to_owned(),
        title: "import images".to_owned(),
        needs: Vec::new(),
        only_if_pending: Vec::new(),
        action: Action::ImportImages {
            images: images.clone(),
            ctr: programs.join("ctr").display().to_string(),
            socket: socket.display().to_string(),
        },
        verify: Vec::new(),
        clean_first: Vec::new(),
        timeout_s: 60,
    };
    let before = client.check(std::slice::from_ref(&step)).await.unwrap();
    assert!(matches!(&before[0], Outcome::Pending { .. }), "{before:?}");
    let _containerd = containerd(&programs, root.path()).await;
    assert!(client.apply(&step, &BTreeMap::new(), |_| {}).await.unwrap().changed);
    assert_eq!(client.check(std::slice::from_ref(&step)).await.unwrap(), [Outcome::Done]);
    let listed = ctr(&programs, &socket, &["images", "ls"]).await;
    for image in &images {
        let line = listed.lines().find(|line| line.starts_with(&format!("{} ", image.name))).unwrap();
        assert!(
            line.contains(&image.manifest.digest.to_string()) && line.contains("pinned=pinned"),
            "{line}"
        );
    }
    assert_eq!(listed.lines().count(), 1 + images.len(), "{listed}");
    assert_eq!(ctr(&programs, &socket, &["images", "check", "-q"]).await.lines().count(), images.len());
    let snapshots = ctr(&programs, &socket, &["snapshots", "--snapshotter", "overlayfs", "ls"]).await;
    assert_eq!(snapshots.lines().count(), 2, "one shared layer is unpacked: {snapshots}");
}
