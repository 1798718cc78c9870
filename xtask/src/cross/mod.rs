//! The product, and what `qiji lock` needs, for other architectures than the machine's.
//!
//! 1. Zig from the Python registry: one C compiler and static C library for every architecture.
//! 2. Programs with the names of Debian's cross compilers (`aarch64-linux-gnu-gcc`) that call it; `qiji` looks for those.
//! 3. libseccomp for each, from Debian's source: Debian's own archive is for another C library.
//! 4. Rust's standard library: as it comes, or built from its source where nobody ships it.
//! 5. `qiji`, the agent and pause, in the folder that `--artifacts` is given.
//!
//! Everything lies under `target/xtask/cross`; what is there is not made again.

mod seccomp;
mod trixie;
mod zig;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;

use crate::run::{quiet, run as run_program};
use crate::{places, setup};

/// An architecture by its many names.
pub(crate) struct Arch {
    /// Go's and qiji's name.
    pub(crate) name: &'static str,
    /// The kernel's name, which starts Debian's triplet.
    machine: &'static str,
    /// Rust's target.
    rust: &'static str,
    /// Zig's name for the least processor that the architecture has, where its own choice is a newer one.
    processor: Option<&'static str>,
    /// What Rust's target takes for granted and the least processor lacks.
    features: &'static str,
}

/// The architectures that are built beside amd64.
pub(crate) const ARCHITECTURES: [Arch; 3] = [
    Arch {
        name: "arm64",
        machine: "aarch64",
        rust: "aarch64-unknown-linux-musl",
        processor: None,
        features: "+crt-static",
    },
    Arch {
        name: "loong64",
        machine: "loongarch64",
        rust: "loongarch64-unknown-linux-musl",
        processor: Some("generic_la64-lsx+d+f"),
        features: "+crt-static,-lsx",
    },
    Arch {
        name: "riscv64",
        machine: "riscv64",
        rust: "riscv64gc-unknown-linux-musl",
        processor: None,
        features: "+crt-static",
    },
];

/// The folder for `--artifacts`: the product's binaries, by architecture.
pub(crate) fn artifacts() -> PathBuf {
    folder().join("artifacts")
}

/// The search path with the cross compilers in it.
pub(crate) fn path() -> Result<OsString> {
    before_others(&[bin()])
}

/// The search path with the cross compilers and QEMU's user emulation in it.
pub(crate) fn path_with_emulators() -> Result<OsString> {
    before_others(&[bin(), trixie::qemu()?])
}

fn before_others(folders: &[PathBuf]) -> Result<OsString> {
    let given = setup::path();
    Ok(std::env::join_paths(folders.iter().cloned().chain(std::env::split_paths(&given)))?)
}

/// Programs beside those of every set-up, and their packages.
const PACKAGES: &[(&str, &str)] =
    &[("gperf", "gperf"), ("pkg-config", "pkg-config"), ("python3", "python3-venv"), ("zstd", "zstd")];

/// Makes everything, and says how to use it.
pub(crate) fn run() -> Result<()> {
    ready()?;
    println!("\nfor `qiji lock` and `qiji build`:  --artifacts {}", artifacts().display());
    println!("and on the search path, for runc:   {}", bin().display());
    Ok(())
}

/// Makes everything for all architectures, the machine's own product among it.
pub(crate) fn ready() -> Result<()> {
    setup::packages(PACKAGES, &[])?;
    let zig = zig::ready()?;
    for arch in &ARCHITECTURES {
        zig::compiler(&zig, arch)?;
        seccomp::ready(arch).with_context(|| format!("cannot make libseccomp for {}", arch.name))?;
        product(arch).with_context(|| format!("cannot build the product for {}", arch.name))?;
    }
    copy(&places::product(), "amd64")
}

fn folder() -> PathBuf {
    places::scratch("cross")
}

fn bin() -> PathBuf {
    folder().join("bin")
}

/// Headers and libraries of an architecture that do not come with Zig.
fn sysroot(arch: &Arch) -> PathBuf {
    folder().join("sysroot").join(arch.name)
}

/// Builds the product's binaries.
fn product(arch: &Arch) -> Result<()> {
    let shipped = quiet(Command::new("rustup").args(["target", "add", arch.rust])).is_ok();
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(places::workspace()).env("PATH", path()?);
    build.args(["build", "--quiet", "--release", "--target", arch.rust]);
    build.args(["--package", "qiji", "--package", "qiji-agent", "--package", "qiji-pause"]);
    if !shipped {
        quiet(Command::new("rustup").args(["component", "add", "rust-src"]))?;
        // Building the standard library is unstable in cargo; this names the one release that it is done with.
        build.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
    }
    let variable = |name: &str| format!("{name}_{}", arch.rust.replace('-', "_"));
    build.env(variable("CC"), zig::name(arch)).env(variable("AR"), bin().join("zig-ar"));
    let target = arch.rust.replace('-', "_").to_uppercase();
    build.env(format!("CARGO_TARGET_{target}_LINKER"), bin().join(zig::name(arch)));
    build.env(
        format!("CARGO_TARGET_{target}_RUSTFLAGS"),
        format!("-Clink-self-contained=no -Crelocation-model=static -Ctarget-feature={}", arch.features),
    );
    run_program(&mut build)?;
    copy(&places::target().join(arch.rust).join("release"), arch.name)
}

fn copy(from: &std::path::Path, arch: &str) -> Result<()> {
    let to = artifacts().join(arch);
    fs::create_dir_all(&to)?;
    for name in ["qiji", "qiji-agent", "qiji-pause"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    Ok(())
}
