//! libseccomp as a static library, from Debian's source package.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use super::{Arch, bin, folder, path, sysroot, zig};
use crate::run::quiet;

/// The Debian release whose source is taken: the first with `LoongArch` in its libseccomp.
const SUITE: &str = "trixie";

/// Makes it for one architecture.
pub(super) fn ready(arch: &Arch) -> Result<()> {
    let root = sysroot(arch);
    if root.join("lib/libseccomp.a").exists() {
        return Ok(());
    }
    let source = source()?;
    let work = tempfile::tempdir_in(folder())?;
    println!("building libseccomp for {}", arch.name);
    quiet(Command::new("tar").arg("-xf").arg(&source).args(["--strip-components=1", "-C"]).arg(work.path()))?;
    let mut configure = Command::new(work.path().join("configure"));
    configure.current_dir(work.path()).env("PATH", path()?);
    configure.args(["--enable-static", "--disable-shared", "--disable-python"]);
    configure.arg(format!("--host={}-linux-musl", arch.machine)).arg(format!("--prefix={}", root.display()));
    configure
        .env("CC", zig::name(arch))
        .env("AR", bin().join("zig-ar"))
        .env("RANLIB", bin().join("zig-ranlib"));
    quiet(&mut configure)?;
    for folder in ["include", "src"] {
        let mut make = Command::new("make");
        make.arg("-C").arg(work.path().join(folder)).args(["-j2", "install"]).env("PATH", path()?);
        quiet(&mut make)?;
    }
    let pkgconfig = root.join("lib/pkgconfig");
    fs::create_dir_all(&pkgconfig)?;
    fs::copy(work.path().join("libseccomp.pc"), pkgconfig.join("libseccomp.pc"))?;
    Ok(())
}

/// The source's archive, fetched with `apt-get`, which checks it against Debian's signed lists.
fn source() -> Result<PathBuf> {
    let place = folder().join("libseccomp");
    if let Some(found) = archive(&place)? {
        return Ok(found);
    }
    fs::create_dir_all(place.join("lists/partial"))?;
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let list = format!("deb-src [signed-by={keyring}] {} {SUITE} main\n", mirror()?);
    fs::write(place.join("sources.list"), list)?;
    let apt = |words: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.current_dir(&place).arg("-q");
        for (key, value) in
            [("Dir::Etc::SourceList", place.join("sources.list")), ("Dir::State::Lists", place.join("lists"))]
        {
            apt.arg("-o").arg(format!("{key}={}", value.display()));
        }
        apt.args(["-o", "Dir::Etc::SourceParts=-", "-o", "APT::Sandbox::User=root"]).args(words);
        quiet(&mut apt)
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", "libseccomp"])?;
    archive(&place)?.context("apt-get brought no source of libseccomp")
}

fn archive(place: &Path) -> Result<Option<PathBuf>> {
    if !place.exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        if path.to_string_lossy().contains(".orig.tar.") && !path.to_string_lossy().ends_with(".asc") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The mirror that this machine's own `apt-get` uses for Debian.
fn mirror() -> Result<String> {
    let text = quiet(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
    let found = text.lines().find(|line| line.trim_end_matches('/').ends_with("/debian"));
    ensure!(found.is_some(), "apt-get knows no Debian mirror");
    Ok(found.unwrap_or_default().to_owned())
}
