//! Serving a bundle: what pulling every blob of it over TLS on loopback takes, as against reading its file.
//!
//! `curl` pulls all blobs over one connection; before each pull and each reading the file is put out of the page cache, so both begin at the disk.
//! A second pair has the file in memory. Client and server share the machine's cores.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::measure::{peak, time};
use super::table::{Row, megabytes, ratio, row, seconds};
use crate::places;
use crate::run::quiet;

/// Runs of each way.
const RUNS: usize = 3;

/// Pulls a bundle whose packages are single blobs, by turns with reading its file.
pub(crate) fn serve(bundle: &Path, trust: &Path) -> Result<Vec<Row>> {
    println!("serve it, {RUNS} times by turns with reading the file");
    let server = Server::start(bundle, trust)?;
    let blobs = blobs(bundle, trust)?;
    let pull = || server.pull(&blobs);
    let read = || {
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", bundle.display())).args(["of=/dev/null", "bs=1M"]);
        dd
    };
    let (mut pulled, mut read_from_disk, mut pulled_warm) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        forget(bundle)?;
        read_from_disk.push(time(&mut read())?);
        forget(bundle)?;
        pulled.push(time(&mut pull())?);
        pulled_warm.push(time(&mut pull())?);
    }
    let peak = peak(server.process.id(), "qiji").context("the server has ended")?;
    server.stop()?;
    Ok(vec![
        row("read the file of 4 GiB from the disk (`dd`)", seconds(&read_from_disk), ""),
        row("pull its blobs from `qiji serve` with `curl`, from the disk", seconds(&pulled), ""),
        row("the same with the file in memory", seconds(&pulled_warm), ""),
        row("pull, speed as a ratio to reading", ratio(&read_from_disk, &pulled), "≥ 0.8"),
        row("peak memory of qiji, serving 4 GiB", megabytes(peak * 1024), "< 64 MB"),
    ])
}

/// Digests of what the bundle's packages are.
fn blobs(bundle: &Path, trust: &Path) -> Result<Vec<String>> {
    let mut inspect = Command::new(places::qiji());
    inspect.arg("inspect").arg(bundle).arg("--trust").arg(trust).arg("--json");
    let content: Value = serde_json::from_str(&quiet(&mut inspect)?)?;
    let packages = content["packages"].as_array().into_iter().flatten();
    let layers = packages.flat_map(|package| package["layers"].as_array().into_iter().flatten());
    let digests: Vec<_> = layers.filter_map(|layer| layer["digest"].as_str().map(str::to_owned)).collect();
    ensure!(!digests.is_empty(), "qiji inspect names no blob in {content}");
    Ok(digests)
}

/// Puts a file out of the page cache.
fn forget(file: &Path) -> Result<()> {
    let mut dd = Command::new("dd");
    dd.arg(format!("of={}", file.display())).args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0"]);
    quiet(&mut dd).map(drop)
}

/// A server on a free port of this machine. It ends with its end.
struct Server {
    process: Child,
    _output: BufReader<ChildStdout>,
    address: String,
    ca: PathBuf,
}

impl Server {
    fn start(bundle: &Path, trust: &Path) -> Result<Self> {
        let ca = bundle.with_extension("ca.pem");
        let mut serve = Command::new(places::qiji());
        serve.arg("serve").arg(bundle).arg("--trust").arg(trust);
        serve.args(["--listen", "127.0.0.1:0"]).arg("--ca-output").arg(&ca);
        let mut process = serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(process.stdout.take().context("the server has no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.split(['/', ',']).find(|word| word.starts_with("127.0.0.1:"));
        let address = address.with_context(|| format!("no address is in `{line}`"))?.to_owned();
        Ok(Self { process, _output: output, address, ca })
    }

    fn pull(&self, blobs: &[String]) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--fail", "--silent", "--cacert"]).arg(&self.ca);
        for digest in blobs {
            curl.arg("--output").arg("/dev/null");
            curl.arg(format!("https://{}/v2/bundles/large/blobs/{digest}", self.address));
        }
        curl
    }

    fn stop(mut self) -> Result<()> {
        quiet(Command::new("kill").arg(self.process.id().to_string()))?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or nobody is there to be told that it cannot be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
