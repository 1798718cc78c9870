//! `qiji serve` as the field's own clients see it: containerd, for which it is a mirror, and oras.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use qiji_scenarios::{Bundle, Product, Run, workspace};
use serde_json::Value;
use tempfile::TempDir;

/// A server over the quickstart's bundle, on a free port of this machine.
struct Serving {
    process: Child,
    address: String,
    folder: TempDir,
    bundle: Bundle,
    content: Value,
}

impl Serving {
    fn start() -> Result<Self> {
        let product = Product::find()?;
        let bundle = Bundle::quickstart(&product)?;
        let folder = tempfile::tempdir()?;
        let mut inspect = Command::new(product.qiji());
        inspect.arg("inspect").arg(&bundle.file).arg("--trust").arg(&bundle.trust).arg("--json");
        let content = serde_json::from_str(&Run::of(&mut inspect)?.expect(0)?.stdout)?;
        let mut serve = Command::new(product.qiji());
        serve.arg("serve").arg(&bundle.file).arg("--trust").arg(&bundle.trust);
        serve.args(["--listen", "127.0.0.1:0"]).arg("--ca-output").arg(folder.path().join("ca.crt"));
        let mut process = serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.split(['/', ',']).find(|word| word.starts_with("127.0.0.1:"));
        let address = address.with_context(|| format!("no address is in `{line}`"))?.to_owned();
        Ok(Self { process, address, folder, bundle, content })
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Full name of an image of the bundle.
    fn image(&self) -> Result<&str> {
        self.content["images"][0]["name"].as_str().context("the bundle has no image")
    }

    /// Tells the server to end, and holds when it does so well.
    fn stop(mut self) -> Result<()> {
        Run::of(Command::new("kill").arg(self.process.id().to_string()))?.expect(0)?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended already, or nobody is there to be told that it cannot be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The bundle's own containerd pulls an image by its own name from a mirror that it is told of in `hosts.toml`.
pub(crate) fn containerd() -> Result<()> {
    let serving = Serving::start()?;
    let daemon = Daemon::start(&serving)?;
    let image = serving.image()?;
    let (host, _) = image.split_once('/').context("the image has no host")?;
    let hosts = serving.folder.path().join("hosts");
    fs::create_dir_all(hosts.join(host))?;
    let toml = format!(
        "server = \"https://{host}\"\n[host.\"https://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"{}\"\n",
        serving.address,
        serving.ca().display()
    );
    fs::write(hosts.join(host).join("hosts.toml"), toml)?;
    daemon.ctr(&["images", "pull", "--snapshotter", "native", "--hosts-dir", &hosts.to_string_lossy(), image])?;
    let digest = serving.content["images"][0]["manifest"].as_str().map(str::to_owned);
    let listed = daemon.ctr(&["images", "ls"])?;
    listed.says(image)?.says(&digest.unwrap_or_default())?;
    daemon.ctr(&["images", "check", "--snapshotter", "native"])?.says("complete")?;
    drop(daemon);
    serving.stop()
}

/// containerd from the bundle, in a mount namespace and a folder of its own.
struct Daemon {
    process: Child,
    folder: TempDir,
}

impl Daemon {
    fn start(serving: &Serving) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        unpack(serving, "containerd", folder.path())?;
        let program = find(folder.path(), "containerd").context("the package holds no containerd")?;
        std::os::unix::fs::symlink(&program, at("ctr"))?;
        let config = format!(
            "version = 3\nroot = \"{root}/root\"\nstate = \"{root}/state\"\ndisabled_plugins = [\"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\", \"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{root}/socket\"\n[ttrpc]\naddress = \"{root}/ttrpc\"\n",
            root = folder.path().display()
        );
        fs::write(at("config.toml"), config)?;
        let log = fs::File::create(at("log"))?.into_file();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]).arg(&program);
        command.arg("--config").arg(at("config.toml")).stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        let daemon = Self { process: command.spawn()?, folder };
        daemon.wait()?;
        Ok(daemon)
    }

    fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        while self.ctr(&["version"]).is_err() {
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("containerd does not answer:\n{}", fs::read_to_string(self.folder.path().join("log"))?);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn ctr(&self, arguments: &[&str]) -> Result<Run> {
        let mut command = Command::new(self.folder.path().join("ctr"));
        command.arg("--address").arg(self.folder.path().join("socket")).args(arguments);
        Run::of(&mut command)?.expect(0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, or nobody is there to be told that it cannot be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Unpacks a package of the bundle with tar alone.
fn unpack(serving: &Serving, name: &str, into: &Path) -> Result<()> {
    let packages = serving.content["packages"].as_array().context("the bundle has no packages")?;
    let package = packages.iter().find(|package| package["name"] == name);
    let package = package.with_context(|| format!("the bundle has no package {name}"))?;
    for layer in package["layers"].as_array().into_iter().flatten() {
        let digest = layer["digest"].as_str().unwrap_or_default().replace("sha256:", "blobs/sha256/");
        let layer = into.join("layer");
        let mut take = Command::new("tar");
        take.arg("-xOf").arg(&serving.bundle.file).arg(digest).stdout(fs::File::create(&layer)?.into_file());
        ensure!(take.status()?.success(), "tar cannot take {name} out of the bundle");
        Run::of(Command::new("tar").arg("--auto-compress").arg("-xf").arg(&layer).arg("-C").arg(into))?.expect(0)?;
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
    let (name, version) = (&serving.content["name"], &serving.content["version"]);
    let own = format!("{}/bundles/{}", serving.address, name.as_str().unwrap_or_default());
    let whole = format!("{own}:{}", version.as_str().unwrap_or_default());
    oras(&["repo", "ls", &serving.address])?.says("bundles/")?;
    oras(&["discover", &whole])?.says("application/vnd.dsse.envelope.v1+json")?;
    let root: Value = serde_json::from_str(&oras(&["manifest", "fetch", &whole])?.stdout)?;
    let entries = root["manifests"].as_array().context("the root lists nothing")?;
    let site = entries.iter().find(|entry| entry["annotations"]["dev.qiji.name"] == "site.kdl");
    let site = site.and_then(|site| site["digest"].as_str()).context("the bundle has no site")?;
    oras(&["pull", &format!("{own}@{site}")])?;
    let pulled = fs::read_to_string(serving.folder.path().join("site.kdl"))?;
    ensure!(pulled == fs::read_to_string(&serving.bundle.site)?, "oras pulled another site than the bundle's");
    serving.stop()
}

/// oras, built from its modules; Go's build cache makes the second time quick.
fn build_oras() -> Result<PathBuf> {
    let program = workspace().join("target/xtask/scenarios/oras");
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-trimpath", "-o"]).arg(&program).arg("oras.land/oras/cmd/oras");
    build.current_dir(workspace().join("vm-tests/tools/oras")).env("CGO_ENABLED", "0");
    Run::of(&mut build)?.expect(0)?;
    Ok(program)
}
