//! `qiji serve` as the field's own clients see it: containerd, for which it is a mirror, skopeo and oras.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use qiji_scenarios::{Bundle, Product, Run, blob, workspace};
use serde_json::Value;
use tempfile::TempDir;

/// Time that a daemon may take to start.
const START: Duration = Duration::from_secs(30);
/// Time between two looks whether it has.
const PAUSE: Duration = Duration::from_millis(200);
/// Media type of the envelope with the bundle's signatures.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

/// A program in the background. It ends with its end.
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    /// Tells it to end, and holds when it does so well.
    pub(crate) fn stop(mut self) -> Result<()> {
        Run::of(Command::new("kill").arg(self.0.id().to_string()))?.expect(0)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, or nobody is there to be told that it cannot be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `qiji serve` over a bundle, on a free port of this machine.
pub(crate) struct Server {
    daemon: Daemon,
    /// What it says is not read any more, but it can say it.
    _output: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl Server {
    /// Starts it, and has its certificate written to `ca`.
    pub(crate) fn start(product: &Product, bundle: &Path, trust: &Path, ca: &Path) -> Result<Self> {
        let mut serve = Command::new(product.qiji());
        serve.arg("serve").arg(bundle).arg("--trust").arg(trust);
        serve.args(["--listen", "127.0.0.1:0"]).arg("--ca-output").arg(ca);
        let mut daemon = Daemon(serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let mut output = BufReader::new(daemon.0.stdout.take().context("the server has no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.split(['/', ',']).find(|word| word.starts_with("127.0.0.1:"));
        let address = address.with_context(|| format!("no address is in `{line}`"))?.to_owned();
        Ok(Self { daemon, _output: output, address })
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.daemon.stop()
    }
}

/// A server over the quickstart's bundle.
pub(crate) struct Serving {
    server: Server,
    pub(crate) folder: TempDir,
    pub(crate) bundle: Bundle,
    pub(crate) content: Value,
}

impl Serving {
    pub(crate) fn start() -> Result<Self> {
        let product = Product::find()?;
        let bundle = Bundle::quickstart(&product)?;
        let folder = tempfile::tempdir()?;
        let mut inspect = Command::new(product.qiji());
        inspect.arg("inspect").arg(&bundle.file).arg("--trust").arg(&bundle.trust).arg("--json");
        let content = serde_json::from_str(&Run::of(&mut inspect)?.expect(0)?.stdout)?;
        let server = Server::start(&product, &bundle.file, &bundle.trust, &folder.path().join("ca.crt"))?;
        Ok(Self { server, folder, bundle, content })
    }

    /// The certificate that clients must trust. Its folder holds no other file that ends so.
    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Full name of an image of the bundle.
    fn image(&self) -> Result<&str> {
        self.content["images"][0]["name"].as_str().context("the bundle has no image")
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.server.stop()
    }
}

/// The bundle's own containerd pulls an image by its own name from a mirror that it is told of in `hosts.toml`.
pub(crate) fn containerd() -> Result<()> {
    let serving = Serving::start()?;
    let containerd = Containerd::start(&serving)?;
    let image = serving.image()?;
    let (host, _) = image.split_once('/').context("the image has no host")?;
    let hosts = serving.folder.path().join("hosts");
    fs::create_dir_all(hosts.join(host))?;
    let toml = format!(
        "server = \"https://{host}\"\n[host.\"https://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"{}\"\n",
        serving.server.address,
        serving.ca().display()
    );
    fs::write(hosts.join(host).join("hosts.toml"), toml)?;
    let hosts = hosts.to_string_lossy();
    containerd.ctr(&[
        "images",
        "pull",
        "--local",
        "--snapshotter",
        "native",
        "--hosts-dir",
        &hosts,
        image,
    ])?;
    containerd.ctr(&["images", "ls"])?.says(image)?;
    containerd.ctr(&["images", "check", "--snapshotter", "native"])?.says("complete")?;
    drop(containerd);
    serving.stop()
}

/// containerd from the bundle, in namespaces and a folder of its own.
pub(crate) struct Containerd {
    daemon: Daemon,
    pub(crate) folder: TempDir,
}

impl Containerd {
    pub(crate) fn start(serving: &Serving) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        unpack(serving, "containerd", folder.path())?;
        let program = find(folder.path(), "containerd").context("the package holds no containerd")?;
        std::os::unix::fs::symlink(&program, at("ctr"))?;
        let config = format!(
            "version = 3\nroot = \"{root}/root\"\nstate = \"{root}/state\"\n\
             disabled_plugins = [\"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\", \"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{root}/socket\"\n[ttrpc]\naddress = \"{root}/ttrpc\"\n",
            root = folder.path().display()
        );
        fs::write(at("config.toml"), config)?;
        let log = fs::File::create(at("log"))?.into_file();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]).arg(&program);
        command.arg("--config").arg(at("config.toml"));
        command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        let started = Self { daemon: Daemon(command.spawn()?), folder };
        started.wait()?;
        Ok(started)
    }

    fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.ctr(&["version"]) {
            if begun.elapsed() > START {
                let log = fs::read_to_string(self.folder.path().join("log"))?;
                bail!("containerd (process {}) does not answer: {error:#}\n{log}", self.daemon.0.id());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    pub(crate) fn ctr(&self, arguments: &[&str]) -> Result<Run> {
        let mut command = Command::new(self.folder.path().join("ctr"));
        command.arg("--address").arg(self.folder.path().join("socket")).args(arguments);
        Run::of(&mut command)?.expect(0)
    }
}

/// Unpacks a package of the bundle with tar alone.
fn unpack(serving: &Serving, name: &str, into: &Path) -> Result<()> {
    let packages = serving.content["packages"].as_array().context("the bundle has no packages")?;
    let package = packages.iter().find(|package| package["name"] == name);
    let package = package.with_context(|| format!("the bundle has no package {name}"))?;
    for layer in package["layers"].as_array().into_iter().flatten() {
        let digest = layer["digest"].as_str().context("a layer has no digest")?;
        let file = into.join("layer");
        fs::write(&file, blob(&serving.bundle.file, digest)?)?;
        let mut tar = Command::new("tar");
        tar.args(["--zstd", "-xf"]).arg(&file).arg("-C").arg(into);
        Run::of(&mut tar)?.expect(0)?;
    }
    Ok(())
}

/// A file of that name, wherever below `folder`.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && entry.file_name() == name {
                return Some(entry.path());
            }
        }
    }
    None
}

/// skopeo copies every image of the bundle into a layout, byte for byte.
pub(crate) fn skopeo() -> Result<()> {
    let serving = Serving::start()?;
    let layout = serving.folder.path().join("layout");
    let images = serving.content["images"].as_array().context("the bundle has no images")?;
    for (number, image) in images.iter().enumerate() {
        let name = image["name"].as_str().context("an image has no name")?;
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "--all", "--preserve-digests", "--src-cert-dir"]).arg(serving.folder.path());
        copy.arg(format!("docker://{}/{name}", serving.server.address));
        copy.arg(format!("oci:{}:{number}", layout.display()));
        Run::of(&mut copy)?.expect(0)?;
        for layer in image["layers"].as_array().into_iter().flatten() {
            let digest = layer["digest"].as_str().context("a layer has no digest")?;
            let pulled = layout.join("blobs").join(digest.replace(':', "/"));
            ensure!(fs::read(pulled)? == blob(&serving.bundle.file, digest)?, "{name}: {digest} is another");
        }
    }
    serving.stop()
}

/// oras finds the signature of the bundle and takes a document out of it.
pub(crate) fn oras() -> Result<()> {
    let serving = Serving::start()?;
    let program = build_oras()?;
    let ca = serving.ca();
    let oras = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).arg("--ca-file").arg(&ca).current_dir(serving.folder.path());
        Run::of(&mut command)?.expect(0)
    };
    let text = |key: &str| serving.content[key].as_str().with_context(|| format!("the bundle has no {key}"));
    let own = format!("{}/bundles/{}", serving.server.address, text("name")?);
    let whole = format!("{own}:{}", text("version")?);
    oras(&["repo", "ls", &serving.server.address])?.says("bundles/")?;
    oras(&["discover", &whole])?.says(ENVELOPE)?;
    let root: Value = serde_json::from_str(&oras(&["manifest", "fetch", &whole])?.stdout)?;
    let entries = root["manifests"].as_array().context("the root lists nothing")?;
    let site = entries.iter().find(|entry| entry["annotations"]["dev.qiji.name"] == "site.kdl");
    let site = site.and_then(|site| site["digest"].as_str()).context("the bundle has no site")?;
    oras(&["pull", &format!("{own}@{site}")])?;
    let pulled = fs::read_to_string(serving.folder.path().join("site.kdl"))?;
    ensure!(
        pulled == fs::read_to_string(&serving.bundle.site)?,
        "oras pulled another site than the bundle's"
    );
    serving.stop()
}

/// oras, built from its modules; Go's build cache makes the second time quick.
pub(crate) fn build_oras() -> Result<PathBuf> {
    let program = workspace().join("target/xtask/scenarios/oras");
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-trimpath", "-o"]).arg(&program).arg("oras.land/oras/cmd/oras");
    build.current_dir(workspace().join("vm-tests/tools/oras")).env("CGO_ENABLED", "0");
    Run::of(&mut build)?.expect(0)?;
    Ok(program)
}
