//! For build scripts: puts the list of its crates into a program, so that the program says itself what it is made of.
//!
//! 1. `cargo tree` names what is compiled into the program for the target, with the licence of each crate; without build scripts, procedural
//!    macros and tests.
//! 2. The list is written as `cargo auditable` writes it: JSON, compressed with zlib, in the section `.dep-v0`. `cargo audit bin`, Syft, Trivy
//!    and our own bills of materials read it there. Each crate carries its `license` besides; others pass over the field.
//! 3. An object file with that section is handed to the linker.
//!
//! Guarantees: the same lock file and target give the same bytes; no path of the building machine is in them; no network is used.
//!
//! Limits: ELF only, for the architectures of qiji; elsewhere nothing is put in. Features are those of the whole workspace where cargo unifies them,
//! so that a crate may be listed that another program of the workspace asked for.

mod list;
mod object_file;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

/// The list could not be made or put in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable that cargo sets for build scripts is missing.
    #[error("{0} is not set: this is for build scripts")]
    NotABuildScript(&'static str),
    /// `cargo tree` could not be started.
    #[error("cannot run cargo tree")]
    Run(#[source] io::Error),
    /// `cargo tree` failed.
    #[error("cargo tree failed: {0}")]
    Tree(String),
    /// `cargo tree` said something else than asked.
    #[error("`{0}` of cargo tree is not understood")]
    Line(String),
    /// The object file could not be made.
    #[error("cannot make the object file")]
    Object(#[source] object::write::Error),
    /// The object file could not be written.
    #[error("cannot write the object file")]
    Write(#[source] io::Error),
}

/// Puts the list of the package that is being built into its programs. What keeps it from doing so is told as a warning of the build: a program
/// without a list works, and is told to say nothing of itself.
pub fn embed() {
    if let Err(error) = try_embed() {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        println!("cargo::warning=the program will not say what it is made of: {error}{cause}");
    }
}

fn try_embed() -> Result<(), Error> {
    let (package, target) = (variable("CARGO_PKG_NAME")?, variable("TARGET")?);
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let lock = folder.ancestors().map(|folder| folder.join("Cargo.lock")).find(|file| file.is_file());
    for file in lock.into_iter().chain([folder.join("Cargo.toml")]) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let Some(kind) = object_file::Kind::of(&target) else { return Ok(()) };
    let list = list::read(&tree(&folder, &package, &target)?)?;
    let object = object_file::write(&kind, &list::packed(&list)).map_err(Error::Object)?;
    let path = Path::new(&variable("OUT_DIR")?).join("crates.o");
    fs_err::write(&path, object).map_err(Error::Write)?;
    println!("cargo::rustc-link-arg-bins={}", path.display());
    // Without a use of it the linker would leave it out. Both compilers that link and linkers themselves know this form.
    println!("cargo::rustc-link-arg-bins=-u{}", object_file::SYMBOL);
    Ok(())
}

fn variable(name: &'static str) -> Result<String, Error> {
    env::var(name).map_err(|_| Error::NotABuildScript(name))
}

/// What is compiled into the programs of `package`: a line each, with its depth.
fn tree(folder: &Path, package: &str, target: &str) -> Result<String, Error> {
    let mut command = Command::new(variable("CARGO")?);
    command.current_dir(folder).args([
        "tree",
        "--locked",
        "--offline",
        "--package",
        package,
        "--target",
        target,
    ]);
    command.args([
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "depth",
        "--charset",
        "ascii",
        "--format",
        list::FORMAT,
    ]);
    // Features in common for a whole workspace: with that, the tree would be of all programs.
    command.env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION");
    let output = command.output().map_err(Error::Run)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Tree(text.lines().next().unwrap_or_default().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
