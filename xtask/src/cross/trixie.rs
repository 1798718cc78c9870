//! What is taken from Debian 13, whatever release the machine has: it is the first with `LoongArch` in its libseccomp, and its QEMU knows that architecture's
//! vector instructions, which Debian's programs use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use super::folder;
use crate::run::quiet;

const SUITE: &str = "trixie";

/// Has `apt-get` fetch something into a folder. It checks it against Debian's signed lists, which lie there too; the machine's own are not touched.
pub(super) fn fetch(place: &Path, words: &[&str]) -> Result<()> {
    fs::create_dir_all(place.join("lists/partial"))?;
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let mirror = mirror()?;
    let list = ["deb", "deb-src"].map(|kind| format!("{kind} [signed-by={keyring}] {mirror} {SUITE} main\n"));
    fs::write(place.join("sources.list"), list.concat())?;
    let apt = |words: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.current_dir(place).arg("-q");
        for (key, value) in
            [("Dir::Etc::SourceList", place.join("sources.list")), ("Dir::State::Lists", place.join("lists"))]
        {
            apt.arg("-o").arg(format!("{key}={}", value.display()));
        }
        apt.args(["-o", "Dir::Etc::SourceParts=-", "-o", "APT::Sandbox::User=root"]).args(words);
        quiet(&mut apt)
    };
    apt(&["update"])?;
    apt(words).map(drop)
}

/// QEMU's user emulation: programs that need no library. Gives their folder.
pub(super) fn qemu() -> Result<PathBuf> {
    let place = folder().join("qemu");
    let programs = place.join("usr/bin");
    if programs.join("qemu-loongarch64").exists() {
        return Ok(programs);
    }
    println!("fetching QEMU's user emulation");
    fetch(&place, &["download", "qemu-user"])?;
    let files = fs::read_dir(&place)?.map(|entry| entry.map(|entry| entry.path()));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let package = files.iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = package.context("apt-get brought no QEMU")?;
    quiet(Command::new("dpkg-deb").arg("-x").arg(package).arg(&place))?;
    ensure!(programs.join("qemu-loongarch64").exists(), "{} has no emulator of LoongArch", package.display());
    Ok(programs)
}

/// The mirror that this machine's own `apt-get` uses for Debian.
fn mirror() -> Result<String> {
    let text = quiet(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
    let found = text.lines().find(|line| line.trim_end_matches('/').ends_with("/debian"));
    ensure!(found.is_some(), "apt-get knows no Debian mirror");
    Ok(found.unwrap_or_default().to_owned())
}
