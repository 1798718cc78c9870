//! What must not be installed is not, where it must not be installed neither, and the message says why.

use std::fs::Permissions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use fs_err as fs;
use qiji_hosts::{HostState, Kind, Testbed};
use qiji_scenarios::{Bundle, Field, Product, Run, quickstart_hosts};
use std::process::Command;

/// One byte of the bundle is another, at its start, in its middle, and at its end.
pub(crate) fn changed_bundle() -> Result<()> {
    let field = Field::start(&quickstart_hosts(Kind::Netns))?;
    let before = states(&field.testbed)?;
    let copies = tempfile::tempdir()?;
    let size = fs::metadata(&field.bundle.file)?.len();
    for at in [5, size / 3, size / 2, size - 700, size - 1] {
        let mut changed = field.bundle.clone();
        changed.file = copies.path().join("changed.qiji");
        fs::copy(&field.bundle.file, &changed.file)?;
        flip(&changed.file, at)?;
        for verb in ["verify", "install"] {
            let mut command = field.qiji(verb);
            command.arg(&changed.file).arg("--trust").arg(&changed.trust);
            if verb == "install" {
                command
                    .arg("--state")
                    .arg(field.state())
                    .arg("--identity")
                    .arg(field.testbed.ssh_key())
                    .arg("--accept-host-keys");
            }
            let run = Run::of(&mut command)?.expect(4)?;
            let named = ["blob", "index.json", "oci-layout", "image", "package", "member", "end of the file"];
            ensure!(
                named.iter().any(|name| run.stderr.contains(name)),
                "byte {at}: nothing is named in {run}"
            );
        }
    }
    for (host, before) in field.testbed.hosts().iter().zip(&before) {
        let differences = before.diff(&host.snapshot()?);
        ensure!(differences.is_empty(), "{} was touched: {differences:?}", host.name());
    }
    Ok(())
}

/// A passphrase that is wrong, a key that nobody trusts, a file that is no bundle.
pub(crate) fn keys() -> Result<()> {
    let product = Product::find()?;
    let bundle = Bundle::quickstart(&product)?;
    let folder = tempfile::tempdir()?;
    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "not the passphrase\n")?;
    fs::set_permissions(&wrong, Permissions::from_mode(0o600))?;

    let mut build = Command::new(product.qiji());
    build.arg("build").arg(&bundle.site).arg("--output").arg(folder.path().join("x.qiji"));
    build.arg("--key").arg(&bundle.key).arg("--passphrase-file").arg(&wrong);
    Run::of(&mut build)?.expect(2)?.says("passphrase")?;
    ensure!(!folder.path().join("x.qiji").exists(), "a bundle was written without a signature");

    let other = folder.path().join("other.key");
    let mut keygen = Command::new(product.qiji());
    Run::of(keygen.arg("keygen").arg("--output").arg(&other).arg("--passphrase-file").arg(&wrong))?
        .expect(0)?;
    ensure!(
        fs::metadata(&other)?.permissions().mode() & 0o777 == 0o600,
        "the private key can be read by others"
    );
    let mut verify = Command::new(product.qiji());
    verify.arg("verify").arg(&bundle.file).arg("--trust").arg(folder.path().join("other.key.pub"));
    Run::of(&mut verify)?.expect(4)?.says("key")?;

    let mut verify = Command::new(product.qiji());
    Run::of(verify.arg("verify").arg(&bundle.site).arg("--trust").arg(&bundle.trust))?.expect(2)?;
    Ok(())
}

/// One host is off, one has a full disk, one has a port in use: all three are told in one go, and nothing is installed.
pub(crate) fn bad_hosts() -> Result<()> {
    let mut spec = quickstart_hosts(Kind::Nspawn);
    spec.hosts[1].disk_mib = Some(900);
    let field = Field::start(&spec)?;
    // An SSH server is a listener that every host has: here it also takes the API server's port.
    let cp1 = field.testbed.host("cp1")?;
    cp1.run(&["systemd-run", "--unit=squatter", "/usr/sbin/sshd", "-D", "-p", "6443"])?;
    field.testbed.host("w2")?.power_cut()?;

    let run = field.run("install")?;
    let run = run.expect(1)?.says("6443")?.says("w2")?.says("disk")?;
    ensure!(
        run.stderr.contains("10.20.1.22") || run.stdout.contains("10.20.1.22"),
        "the dead host's address is missing in {run}"
    );
    for name in ["cp1", "w1"] {
        let found = field.testbed.host(name)?.exec(&["test", "-e", "/opt/qiji"])?;
        ensure!(!found.ok(), "{name} was installed on in spite of the findings");
    }

    duplicate_address(&field)
}

/// Two hosts with one address are a fault of the site file.
fn duplicate_address(field: &Field) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = folder.path().join("site.kdl");
    let text = fs::read_to_string(&field.bundle.site)?.replace("10.20.1.[21-22]", "10.20.1.[11-12]");
    fs::write(&site, text)?;
    Run::of(field.qiji("check").arg(&site))?.expect(2)?.says("10.20.1.11")?;
    Ok(())
}

/// A key that was never seen stops the host unless the caller says so; one that changed always does.
pub(crate) fn host_keys() -> Result<()> {
    let field = Field::start(&quickstart_hosts(Kind::Netns))?;
    let plan = |accept: bool| -> Result<Run> {
        let mut command = field.qiji("plan");
        command
            .arg(&field.bundle.file)
            .arg("--trust")
            .arg(&field.bundle.trust)
            .arg("--state")
            .arg(field.state());
        command.arg("--identity").arg(field.testbed.ssh_key());
        if accept {
            command.arg("--accept-host-keys");
        }
        Run::of(&mut command)
    };
    plan(false)?.expect(1)?.says("is not known")?.says("SHA256:")?;
    // Accepted once: the hosts are reached now, though these have no systemd and so cannot be installed on.
    plan(true)?.expect(1)?.says("systemd")?;
    let known = fs::read_to_string(field.state().join("known_hosts"))?;
    let other = known
        .lines()
        .find(|line| line.contains("10.20.1.22"))
        .map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned());
    let swapped: String =
        known.lines().map(|line| swap_key(line, "10.20.1.21", other.as_deref()) + "\n").collect();
    fs::write(field.state().join("known_hosts"), swapped)?;
    plan(true)?.expect(1)?.says("host w1 shows the key")?.says("known_hosts holds SHA256:")?;
    Ok(())
}

/// The line with its key replaced, where it is about `host`.
fn swap_key(line: &str, host: &str, key: Option<&str>) -> String {
    match (line.contains(host), line.rsplit_once(' '), key) {
        (true, Some((front, _)), Some(key)) => format!("{front} {key}"),
        _ => line.to_owned(),
    }
}

fn states(testbed: &Testbed) -> Result<Vec<HostState>> {
    testbed.hosts().iter().map(|host| Ok(host.snapshot()?)).collect()
}

fn flip(file: &Path, at: u64) -> Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(at))?;
    Ok(file.write_all(&byte)?)
}
