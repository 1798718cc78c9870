//! A site with a Helm chart: its images are found, settled, locked, and travel with the chart and its values.
//!
//! The images are taken out of the quickstart's bundle, which is an archive of images like any other; so nothing is fetched from anywhere.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use qiji_scenarios::{Bundle, Product, Run};
use serde_json::Value;

const CHART: &str =
    "apiVersion: v2\nname: web\nversion: 1.0.0\nannotations:\n  artifacthub.io/license: Apache-2.0\n";

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  template:
    spec:
      containers:
      - name: web
        image: registry.example/team/web:{{ .Values.tag }}
        args: [\"--other=quay.io/team/other:v1\", \"--password={{ randAlphaNum 9 }}\"]
";

/// An image of the quickstart that stands for the chart's.
const PAUSE: &str = "qiji.local/pause:3.10";

/// Locks, builds, looks, and changes the values.
pub(crate) fn story() -> Result<()> {
    let bench = Bench::new(Product::find()?)?;
    bench.site("")?;
    bench
        .qiji(&LOCK)?
        .expect(2)?
        .says("`quay.io/team/other:v1` looks like an image")?
        .says("`exclude \"quay.io/team/other:v1\"`")?;
    bench.site("exclude \"quay.io/team/other:v1\"")?;
    bench.qiji(&LOCK)?.expect(0)?;
    bench.qiji(&LOCK)?.expect(0)?.says("as before")?;
    bench.build()?.expect(0)?;
    bench.qiji(&["verify", "site.qiji", "--trust", "signer.pub"])?.expect(0)?;
    let inspected = bench.qiji(&["inspect", "site.qiji", "--trust", "signer.pub", "--json"])?.expect(0)?;
    looks_right(&serde_json::from_str(&inspected.stdout)?)?;
    fs::write(bench.path("values.yaml"), "tag: \"2\"\n")?;
    bench.build()?.expect(2)?.says("has changed since the site was locked").map(drop)
}

const LOCK: [&str; 4] = ["lock", "site.kdl", "--artifacts", "."];

/// The chart, its values, its image and its licence are in the bundle.
fn looks_right(inside: &Value) -> Result<()> {
    let chart = &inside["charts"][0];
    ensure!(chart["name"] == "web" && chart["version"] == "1.0.0", "the bundle has another chart: {chart}");
    ensure!(
        chart["values"].as_array().is_some_and(|values| values.len() == 1),
        "it has other values: {chart}"
    );
    let images = inside["images"].as_array().context("the bundle has no images")?;
    let image = images.iter().find(|image| image["name"] == "registry.example/team/web:1");
    let roles = &image.context("the image of the chart is not in the bundle")?["roles"];
    ensure!(*roles == serde_json::json!(["control-plane", "worker"]), "its image is for {roles}");
    let artifacts = inside["artifacts"].as_array().context("the bundle names no artifacts")?;
    let described = artifacts.iter().any(|one| one["kind"] == "chart" && one["licence"] == "Apache-2.0");
    ensure!(described, "no bill of materials names the chart");
    Ok(())
}

/// A folder with the chart, its values, the bundle that has its image, and keys.
struct Bench {
    product: Product,
    keys: Bundle,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(product: Product) -> Result<Self> {
        let keys = Bundle::quickstart(&product)?;
        let bench = Self { product, keys, folder: tempfile::tempdir_in("/var/tmp")? };
        fs::create_dir_all(bench.path("web/templates"))?;
        fs::write(bench.path("web/Chart.yaml"), CHART)?;
        fs::write(bench.path("web/templates/deployment.yaml"), DEPLOYMENT)?;
        fs::write(bench.path("values.yaml"), "tag: \"1\"\n")?;
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(bench.path("web.tgz")).arg("-C").arg(bench.folder.path()).arg("web");
        Run::of(&mut tar)?.expect(0)?;
        fs::copy(&bench.keys.file, bench.path("images.tar"))?;
        fs::copy(&bench.keys.trust, bench.path("signer.pub"))?;
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The quickstart with the chart, and these words about its images.
    fn site(&self, images: &str) -> Result<()> {
        let platform = format!(
            "    chart \"web\" version=\"1.0.0\" {{
      file \"web.tgz\"
      values \"values.yaml\"
      images {{
        {images}
      }}
    }}
    image \"registry.example/team/web:1\" {{
      roles \"worker\"
      archive \"images.tar\" image=\"{PAUSE}\"
    }}
"
        );
        Ok(fs::write(self.path("site.kdl"), self.keys.site_with(&platform)?)?)
    }

    fn qiji(&self, arguments: &[&str]) -> Result<Run> {
        let mut command = Command::new(self.product.qiji());
        command.args(arguments).current_dir(self.folder.path());
        Run::of(command.env("QIJI_PASSPHRASE_FILE", &self.keys.passphrase))
    }

    fn build(&self) -> Result<Run> {
        let key = self.keys.key.display().to_string();
        self.qiji(&["build", "site.kdl", "--artifacts", ".", "--output", "site.qiji", "--key", &key])
    }
}
