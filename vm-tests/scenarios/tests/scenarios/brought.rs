//! Images that a site brings along, from where they lie to the pods that name them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use qiji_hosts::Kind;
use qiji_scenarios::{Bundle, Field, Product, Run, quickstart_hosts};
use serde_json::{Value, json};

use crate::served::{Containerd, Serving, build_oras};

/// What an image of the quickstart is called on the site that brings it along.
const NAME: &str = "registry.example/team/app:v1";
/// The image.
const PAUSE: &str = "qiji.local/pause:3.10";

/// A platform with one image.
fn platform(source: &str) -> String {
    format!("    image \"{NAME}\" {{\n      {source}\n    }}\n")
}

/// The bundle's own containerd gives an image to a site, with what lies under a tag of cosign's.
pub(crate) fn from_containerd() -> Result<()> {
    let serving = Serving::start()?;
    let containerd = Containerd::start(&serving)?;
    let bundle = serving.bundle.file.to_string_lossy();
    containerd.ctr(&["images", "import", "--local", "--no-unpack", &bundle])?;
    let images = serving.content["images"].as_array().context("the bundle has no images")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("an image lacks a part");
    let (image, other) = (text(&images[0]["name"])?, text(&images[1]["name"])?);
    let digest = text(&images[0]["digest"])?;
    // Any image stands for a signature here: it is found by its name.
    let (repository, _) = image.rsplit_once(':').context("the image has no tag")?;
    let signature = format!("{repository}:{}.sig", digest.replace(':', "-"));
    containerd.ctr(&["images", "tag", "--local", &other, &signature])?;

    let platform = platform(&format!("containerd \"{image}\" namespace=\"default\""));
    let site = serving.folder.path().join("site.kdl");
    fs::write(&site, serving.bundle.site_with(&platform)?)?;
    let mut lock = Command::new(Product::find()?.qiji());
    lock.arg("lock").arg(&site).arg("--containerd").arg(containerd.folder.path().join("socket"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(containerd.folder.path().to_owned()).chain(std::env::split_paths(&path));
    Run::of(lock.env("PATH", std::env::join_paths(path)?))?.expect(0)?;
    let locked = fs::read_to_string(site.with_extension("lock"))?;
    for part in [digest.as_str(), &format!("registry.example/team/app:{}.sig", digest.replace(':', "-"))] {
        ensure!(locked.contains(part), "{part} is not in the lock:\n{locked}");
    }
    drop(containerd);
    serving.stop()
}

/// Pods name an image by the digest of its index, as charts do, and by that of its manifest. Nothing could be pulled.
pub(crate) fn by_digest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let product = Product::find()?;
    let quickstart = Bundle::quickstart(&product)?;
    let [index, manifest] = layout(&quickstart, folder.path())?;
    let site = quickstart.site_with(&platform("archive \"layout\" image=\"v1\""))?;
    let mut field = Field::start(&quickstart_hosts(Kind::Nspawn))?;
    field.bundle = Bundle::of_site(&product, folder.path(), &site)?;
    field.run("install")?.expect(0)?;

    let repository = NAME.split(':').next().unwrap_or(NAME);
    let images = [NAME.to_owned(), format!("{NAME}@{index}"), format!("{repository}@{manifest}")];
    let pods: Vec<_> = images.iter().enumerate().map(|(number, image)| pod(number, image)).collect();
    let pods = json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string();
    let host = field.testbed.host("cp1")?;
    let kubectl = ["/opt/qiji/bin/kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"];
    let applied = host.exec_with_input(&[&kubectl[..], &["apply", "-f", "-"]].concat(), pods.as_bytes())?;
    ensure!(applied.ok(), "the pods were not taken: {}", applied.stderr);
    let ready = ["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"];
    host.run(&[&kubectl[..], &ready].concat())?;
    field.run("install")?.expect(0)?.says("nothing to change").map(drop)
}

/// Makes a layout in `folder` with an index over an image of the quickstart. Gives the digests of index and manifest.
fn layout(quickstart: &Bundle, folder: &Path) -> Result<[String; 2]> {
    let path = folder.join("layout");
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--preserve-digests"]);
    copy.arg(format!("oci-archive:{}:{PAUSE}", quickstart.file.display()));
    Run::of(copy.arg(format!("oci:{}:amd64", path.display())))?.expect(0)?;
    let mut index = Command::new(build_oras()?);
    index.args(["manifest", "index", "create", "--oci-layout"]);
    Run::of(index.arg(format!("{}:v1", path.display())).arg("amd64"))?.expect(0)?;
    let list: Value = serde_json::from_slice(&fs::read(path.join("index.json"))?)?;
    let digest = |name: &str| {
        let entries = list["manifests"].as_array()?;
        let named = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == name;
        entries.iter().find(named)?["digest"].as_str().map(str::to_owned)
    };
    let both = digest("v1").zip(digest("amd64")).context("the layout lacks the index or the manifest")?;
    Ok(both.into())
}

/// A pod of one container on a worker.
fn pod(number: usize, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("pod-{number}") },
        "spec": { "automountServiceAccountToken": false, "containers": [{ "name": "main", "image": image }] },
    })
}
