//! `cargo xtask demo`: the main job, for real, on this machine.
//!
//! 1. Builds the product: static `qiji`, agent and pause.
//! 2. Makes a throw-away signing key, locks the quickstart site, builds and signs its bundle.
//! 3. Rehearses it: three whole hosts with no way out are started, the bundle is installed on them over SSH, the cluster is
//!    tested from pods on each worker, and the hosts are removed.
//!
//! Everything lies under `target/xtask/demo`; artifacts are kept in the user's cache, so that the second run is quick.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::bench::table::megabytes;
use crate::run::run as run_program;
use crate::{places, setup};

/// A bundle with the keys that it was signed with.
pub(crate) struct Made {
    /// The bundle.
    pub(crate) bundle: PathBuf,
    /// The site file.
    pub(crate) site: PathBuf,
    /// The private key.
    pub(crate) key: PathBuf,
    /// The public key.
    pub(crate) trust: PathBuf,
    /// The file with the key's passphrase.
    pub(crate) passphrase: PathBuf,
}

/// Runs the demonstration.
pub(crate) fn run() -> Result<()> {
    need_root()?;
    let begun = Instant::now();
    build_product()?;
    let built = begun.elapsed();
    let made = make_bundle(&places::scratch("demo"))?;
    let bundled = begun.elapsed();
    run_program(
        qiji(&made)
            .arg("rehearse")
            .arg(&made.site)
            .arg("--key")
            .arg(&made.key)
            .arg("--bundle")
            .arg(&made.bundle)
            .arg("--trust")
            .arg(&made.trust)
            .arg("--report")
            .arg(places::scratch("demo").join("report.json")),
    )?;
    let whole = begun.elapsed();
    println!();
    println!(
        "where the time went: product {:.1} s, bundle {:.1} s, rehearsal {:.1} s, in all {:.1} s",
        built.as_secs_f64(),
        bundled.saturating_sub(built).as_secs_f64(),
        whole.saturating_sub(bundled).as_secs_f64(),
        whole.as_secs_f64()
    );
    println!("the bundle: {} ({})", made.bundle.display(), megabytes(fs::metadata(&made.bundle)?.len()));
    Ok(())
}

/// Builds the product's static binaries.
pub(crate) fn build_product() -> Result<()> {
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(places::workspace()).args([
        "build",
        "--quiet",
        "--release",
        "--target",
        places::PRODUCT_TARGET,
    ]);
    build.args(["--package", "qiji", "--package", "qiji-agent", "--package", "qiji-pause"]);
    run_program(&mut build)
}

/// Keys, lock and bundle of the quickstart site, in `folder`, made by the product itself.
pub(crate) fn make_bundle(folder: &Path) -> Result<Made> {
    fs::create_dir_all(folder)?;
    let made = Made {
        bundle: folder.join("quickstart-1.0.0.qiji"),
        site: folder.join("quickstart.kdl"),
        key: folder.join("demo.key"),
        trust: folder.join("demo.key.pub"),
        passphrase: folder.join("passphrase"),
    };
    fs::copy(places::workspace().join("blueprints/examples/quickstart.kdl"), &made.site)?;
    if !made.key.exists() {
        write_private(&made.passphrase, &random_words()?)?;
        run_program(qiji(&made).arg("keygen").arg("--output").arg(&made.key))?;
    }
    run_program(qiji(&made).arg("check").arg(&made.site))?;
    run_program(qiji(&made).arg("lock").arg(&made.site))?;
    run_program(
        qiji(&made)
            .arg("build")
            .arg(&made.site)
            .arg("--output")
            .arg(&made.bundle)
            .arg("--key")
            .arg(&made.key),
    )?;
    run_program(qiji(&made).arg("verify").arg(&made.bundle).arg("--trust").arg(&made.trust))?;
    Ok(made)
}

/// The product, with the passphrase at hand and setup's Go on the path.
pub(crate) fn qiji(made: &Made) -> Command {
    let mut command = Command::new(places::qiji());
    command.env("QIJI_PASSPHRASE_FILE", &made.passphrase).env("PATH", setup::path());
    command
}

fn need_root() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    if uid == Some("0") { Ok(()) } else { bail!("starting hosts needs root: run `sudo cargo xtask demo`") }
}

/// A passphrase nobody has to remember: 32 hexadecimal digits of the system's random source.
fn random_words() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
