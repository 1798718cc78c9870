//! An image that was signed with the real cosign in a real registry: the signatures are found, held to keys, carried along, and hold where the bundle is served.
//!
//! Two people sign the image's index: one as cosign does now, with a referrer, one as it did before, under a tag. One of them attests to it as well.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use qiji_scenarios::{Bundle, Product, Run, workspace};
use serde_json::Value;

use crate::served::{Daemon, Server, build_oras};

/// Time that the registry may take to start.
const START: Duration = Duration::from_secs(30);
/// Time between two looks whether it has.
const PAUSE: Duration = Duration::from_millis(100);
/// An image of the quickstart that stands for the signed one.
const IMAGE: &str = "qiji.local/pause:3.10";
/// The name that it has on the site.
const NAME: &str = "registry.example/team/app:v1";
/// Options of cosign for a registry without TLS and for no transparency log.
const ALONE: [&str; 4] =
    ["--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", "--yes"];

pub(crate) fn story() -> Result<()> {
    let bench = Bench::new()?;
    bench.sign("new", &["sign", "--new-bundle-format=true"])?;
    bench.sign("old", &["sign", "--new-bundle-format=false"])?;
    fs::write(bench.path("built.json"), "{\"by\":\"hand\"}")?;
    bench.sign(
        "new",
        &["attest", "--new-bundle-format=true", "--type=https://example.org/built", "--predicate=built.json"],
    )?;

    let registry = format!("oci \"{}/team/app:v1\"", bench.registry);
    bench.site(&registry, &["other"])?;
    bench.qiji(&["lock", "site.kdl"])?.expect(4)?.says("for amd64 is not signed by other.pub")?;
    bench.layouts_have_them()?;
    bench.site(&registry, &["new", "old"])?;
    let said = |run: Run| -> Result<()> {
        run.says("signed by new.pub")?
            .says("signed by old.pub")?
            .says("https://example.org/built by new.pub")?;
        Ok(())
    };
    said(bench.qiji(&["lock", "site.kdl"])?.expect(0)?)?;
    let key = bench.keys.key.display().to_string();
    bench.qiji(&["build", "site.kdl", "--output", "site.qiji", "--key", &key])?.expect(0)?;
    let inspected = bench.qiji(&["inspect", "site.qiji", "--trust", "signer.pub", "--json"])?.expect(0)?;
    let inside: Value = serde_json::from_str(&inspected.stdout)?;
    let kept = inside["upstreams"].as_array().context("the bundle keeps nothing of what others say")?;
    ensure!(kept.len() == 4, "an index, two signatures and an attestation are not kept: {kept:?}");
    bench.holds_where_served()
}

/// A real registry with an index over an image, keys, and a folder for it all.
struct Bench {
    product: Product,
    keys: Bundle,
    folder: tempfile::TempDir,
    cosign: PathBuf,
    registry: String,
    _daemon: Daemon,
}

impl Bench {
    fn new() -> Result<Self> {
        let product = Product::find()?;
        let keys = Bundle::quickstart(&product)?;
        let folder = tempfile::tempdir_in("/var/tmp")?;
        let cosign = std::env::var_os("QIJI_COSIGN").context("QIJI_COSIGN names no cosign")?.into();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            folder.path().join("registry").display()
        );
        fs::write(folder.path().join("registry.yaml"), config)?;
        let log = fs::File::create(folder.path().join("registry.log"))?.into_file();
        let mut serve = Command::new(build_registry()?);
        serve.arg("serve").arg(folder.path().join("registry.yaml")).stdin(Stdio::null());
        let daemon = Daemon(serve.stdout(log.try_clone()?).stderr(log).spawn()?);
        let registry = format!("127.0.0.1:{port}");
        let bench = Self { product, keys, folder, cosign, registry, _daemon: daemon };
        bench.fill()?;
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts the image and its index into the registry, and makes three pairs of keys.
    fn fill(&self) -> Result<()> {
        let begun = Instant::now();
        while std::net::TcpStream::connect(&self.registry).is_err() {
            ensure!(begun.elapsed() < START, "{}", fs::read_to_string(self.path("registry.log"))?);
            std::thread::sleep(PAUSE);
        }
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "--preserve-digests", "--dest-tls-verify=false"]);
        copy.arg(format!("oci-archive:{}:{IMAGE}", self.keys.file.display()));
        Run::of(copy.arg(format!("docker://{}/team/app:amd64", self.registry)))?.expect(0)?;
        let mut index = Command::new(build_oras()?);
        index.args(["manifest", "index", "create", "--plain-http"]);
        Run::of(index.arg(format!("{}/team/app:v1", self.registry)).arg("amd64"))?.expect(0)?;
        for name in ["new", "old", "other"] {
            self.cosign(&["generate-key-pair", "--output-key-prefix", name])?;
        }
        fs::copy(&self.keys.trust, self.path("signer.pub"))?;
        Ok(())
    }

    fn cosign(&self, arguments: &[&str]) -> Result<Run> {
        let mut command = Command::new(&self.cosign);
        command.args(arguments).current_dir(self.folder.path()).env("COSIGN_PASSWORD", "");
        Run::of(&mut command)?.expect(0)
    }

    fn sign(&self, who: &str, arguments: &[&str]) -> Result<()> {
        let image = format!("{}/team/app:v1", self.registry);
        let key = format!("--key={who}.key");
        let rest = [key.as_str(), image.as_str()];
        self.cosign(&[arguments, &ALONE, &rest].concat()).map(drop)
    }

    /// The quickstart with the image, had from a source, which these people must have signed.
    fn site(&self, source: &str, signers: &[&str]) -> Result<()> {
        let signers: Vec<_> = signers.iter().map(|who| format!("      signed-by \"{who}.pub\"\n")).collect();
        let signers = signers.concat();
        let platform = format!("    image \"{NAME}\" {{\n      {source}\n{signers}    }}\n");
        Ok(fs::write(self.path("site.kdl"), self.keys.site_with(&platform)?)?)
    }

    fn qiji(&self, arguments: &[&str]) -> Result<Run> {
        let mut command = Command::new(self.product.qiji());
        command.args(arguments).current_dir(self.folder.path());
        Run::of(command.env("QIJI_PASSPHRASE_FILE", &self.keys.passphrase))
    }

    /// Layouts that oras and cosign write of the image have its signatures too, each those of its own form.
    fn layouts_have_them(&self) -> Result<()> {
        let mut copy = Command::new(build_oras()?);
        copy.args(["copy", "--recursive", "--from-plain-http", "--to-oci-layout"]);
        copy.arg(format!("{}/team/app:v1", self.registry)).arg("copied:v1");
        Run::of(copy.current_dir(self.folder.path()))?.expect(0)?;
        self.cosign(&[
            "save",
            "--allow-http-registry",
            "--dir=saved",
            &format!("{}/team/app:v1", self.registry),
        ])?;
        for (layout, who) in [("copied", "new"), ("saved", "old")] {
            self.site(&format!("archive \"{layout}\""), &[who])?;
            let locked = self.qiji(&["lock", "site.kdl", "--artifacts", "."])?.expect(0)?;
            locked.says(&format!("signed by {who}.pub"))?;
            self.site(&format!("archive \"{layout}\""), &["other"])?;
            self.qiji(&["lock", "site.kdl", "--artifacts", "."])?.expect(4)?;
        }
        Ok(())
    }

    /// cosign verifies the image where the bundle is served, with both keys and not with a third.
    fn holds_where_served(&self) -> Result<()> {
        let ca = self.path("ca.crt");
        let server = Server::start(&self.product, &self.path("site.qiji"), &self.path("signer.pub"), &ca)?;
        let image = format!("{}/{NAME}", server.address);
        let ca = format!("--registry-cacert={}", ca.display());
        let verify = |who: &str, format: &str| {
            let key = format!("--key={who}.pub");
            let mut command = Command::new(&self.cosign);
            command.args(["verify", &key, format, &ca, "--insecure-ignore-tlog=true", &image]);
            Run::of(command.current_dir(self.folder.path()))
        };
        verify("new", "--new-bundle-format=true")?.expect(0)?;
        verify("old", "--new-bundle-format=false")?.expect(0)?;
        let refused = verify("other", "--new-bundle-format=true")?;
        ensure!(refused.status != Some(0), "a third key verifies the image");
        server.stop()
    }
}

/// The registry, built from its module; Go's build cache makes the second time quick.
fn build_registry() -> Result<PathBuf> {
    let program = workspace().join("target/xtask/scenarios/registry");
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-trimpath", "-o"]).arg(&program);
    build.arg("github.com/distribution/distribution/v3/cmd/registry");
    build.current_dir(workspace().join("vm-tests/tools/registry")).env("CGO_ENABLED", "0");
    Run::of(&mut build)?.expect(0)?;
    Ok(program)
}
