//! libseccomp as a static library, from Debian's source package.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;

use super::{Arch, bin, folder, path, sysroot, trixie, zig};
use crate::run::quiet;

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

/// The source's archive.
fn source() -> Result<PathBuf> {
    let place = folder().join("libseccomp");
    if let Some(found) = archive(&place)? {
        return Ok(found);
    }
    trixie::fetch(&place, &["source", "--download-only", "libseccomp"])?;
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
