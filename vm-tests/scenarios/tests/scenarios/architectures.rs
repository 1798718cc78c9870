//! One bundle for several chips: everything in it is there for each, is stored once where it can be, and every program of every architecture
//! really starts (under QEMU's user emulation).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use qiji_scenarios::{Bundle, Product, Run, blob};
use serde_json::Value;

/// Hosts of both roles for each architecture, so that nothing is left out for any.
const SITE: &str = r#"site "chips" version="1.0.0" {
  cluster "chips" kubernetes="1.36.3" {
    control-plane {
CONTROL
    }
WORKERS
  }
}
"#;

/// Name of an architecture, a chip of it, and the emulator's name for it.
const ARCHITECTURES: [(&str, &str, &str); 4] = [
    ("amd64", "generic-amd64", "x86_64"),
    ("arm64", "generic-arm64", "aarch64"),
    ("loong64", "generic-loong64", "loongarch64"),
    ("riscv64", "generic-riscv64", "riscv64"),
];

/// What nft says before it looks at its words: QEMU's user emulation has no sockets to the packet filter. It has come through its libraries by then.
const NFT: &str = "Unable to initialize Netlink socket";

/// Programs that ask for their version in another way than `--version`.
const WORDS: &[(&str, &[&str])] = &[
    ("kubeadm", &["version"]),
    ("kubectl", &["version", "--client"]),
    ("etcdctl", &["version"]),
    ("etcdutl", &["version"]),
    ("coredns", &["-version"]),
    ("containerd-shim-runc-v2", &["-v"]),
];

/// A bundle of all architectures is built, compared in size with one of amd64 alone, and all of its programs are started.
pub(crate) fn story() -> Result<()> {
    let product = Product::find()?;
    let keys = Bundle::quickstart(&product)?;
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let single = build(&product, &keys, folder.path(), &ARCHITECTURES[..1])?;
    let three = build(&product, &keys, folder.path(), &ARCHITECTURES[..3])?;
    let all = build(&product, &keys, folder.path(), &ARCHITECTURES)?;
    let size = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.len());
    let (one, three, four) = (size(&single)?, size(&three)?, size(&all)?);
    println!("amd64 alone {one} bytes; with arm64 and loong64 {three} bytes; with riscv64 too {four} bytes");
    println!("three architectures as a ratio to one, in hundredths: {}", three * 100 / one);

    let content = inspect(&product, &keys, &all)?;
    same_for_each(&content)?;
    let (mut started, mut wrong) = (BTreeMap::new(), Vec::new());
    for (arch, _, emulator) in ARCHITECTURES {
        let root = folder.path().join(arch);
        match start_all(&content, &all, arch, emulator, &root) {
            Ok(count) => drop(started.insert(arch, count)),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    println!("programs that started: {started:?}");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(
        started.values().collect::<BTreeSet<_>>().len() == 1,
        "not the same number for each: {started:?}"
    );
    Ok(())
}

fn build(product: &Product, keys: &Bundle, folder: &Path, chips: &[(&str, &str, &str)]) -> Result<PathBuf> {
    let name = format!("chips-{}", chips.len());
    let control = chips.iter().zip(11..).map(|((arch, chip, _), number)| {
        format!(r#"node "cp-{arch}" address="10.20.1.{number}" {{ chip "{chip}"; }}"#)
    });
    let workers = chips.iter().zip(21..).map(|((arch, chip, _), number)| {
        format!(r#"group "{arch}" {{ chip "{chip}"; node "w-{arch}" address="10.20.1.{number}"; }}"#)
    });
    let lines = |lines: &mut dyn Iterator<Item = String>| lines.collect::<Vec<_>>().join("\n");
    let text = SITE.replace("CONTROL", &lines(&mut { control })).replace("WORKERS", &lines(&mut { workers }));
    let site = folder.join(format!("{name}.kdl"));
    fs::write(&site, text)?;
    let artifacts = std::env::var_os("QIJI_ARTIFACTS")
        .context("QIJI_ARTIFACTS does not name the folder of the other architectures' programs: run `cargo xtask test --all`")?;
    let bundle = folder.join(format!("{name}.qiji"));
    for verb in ["lock", "build"] {
        let mut command = Command::new(product.qiji());
        command.arg(verb).arg(&site).arg("--artifacts").arg(&artifacts);
        if verb == "build" {
            command.arg("--output").arg(&bundle).arg("--key").arg(&keys.key);
            command.env("QIJI_PASSPHRASE_FILE", &keys.passphrase);
        }
        Run::of(&mut command)?.expect(0)?;
    }
    Ok(bundle)
}

fn inspect(product: &Product, keys: &Bundle, bundle: &Path) -> Result<Value> {
    let mut command = Command::new(product.qiji());
    command.arg("inspect").arg(bundle).arg("--trust").arg(&keys.trust).arg("--json");
    Ok(serde_json::from_str(&Run::of(&mut command)?.expect(0)?.stdout)?)
}

/// Every image and package is there for every architecture.
fn same_for_each(content: &Value) -> Result<()> {
    for kind in ["images", "packages"] {
        let mut by_arch: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for entry in content[kind].as_array().context("inspect lists nothing")? {
            let (name, arch) = (text(entry, "name")?, text(entry, "arch")?);
            by_arch.entry(arch).or_default().insert(name);
        }
        ensure!(by_arch.len() == ARCHITECTURES.len(), "{kind}: {:?}", by_arch.keys());
        ensure!(
            by_arch.values().collect::<BTreeSet<_>>().len() == 1,
            "not the same {kind} for each: {by_arch:?}"
        );
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("`{key}` is no text in {value}"))
}

/// Unpacks every layer of an architecture over one another and starts what can be executed. Gives how many programs that were.
fn start_all(content: &Value, bundle: &Path, arch: &str, emulator: &str, root: &Path) -> Result<usize> {
    let mut digests = BTreeSet::new();
    let mut files = BTreeMap::new();
    for kind in ["images", "packages"] {
        let entries = content[kind].as_array().into_iter().flatten();
        for entry in entries.filter(|entry| entry["arch"] == arch) {
            for layer in entry["layers"].as_array().into_iter().flatten() {
                let digest = text(layer, "digest")?;
                let raw = kind == "packages" && text(entry, "name")? == "agent";
                if raw {
                    files.insert(digest.to_owned(), text(entry, "name")?.to_owned());
                } else {
                    digests.insert(digest.to_owned());
                }
            }
        }
    }
    fs::create_dir_all(root)?;
    for digest in &digests {
        unpack(bundle, digest, root)?;
    }
    for (digest, name) in &files {
        let path = root.join(name);
        fs::write(&path, blob(bundle, digest)?)?;
        fs::set_permissions(&path, fs::metadata(root)?.permissions())?;
    }
    let mut programs = Vec::new();
    find_programs(root, &mut programs)?;
    let wrong = |program: &PathBuf| {
        let error = start(program, root, (arch, emulator)).err()?;
        Some(format!("{} does not start for {arch}: {error:#}", program.display()))
    };
    let wrong: Vec<_> = programs.iter().filter_map(wrong).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(programs.len())
}

/// Unpacks a layer. Several images have the same folders and links, which is no fault.
fn unpack(bundle: &Path, digest: &str, root: &Path) -> Result<()> {
    let layer = blob(bundle, digest)?;
    let mut tar = Command::new("tar")
        .args(["--zstd", "-xf", "-", "--keep-directory-symlink", "-C"])
        .arg(root)
        .stdin(Stdio::piped())
        .spawn()?;
    tar.stdin.take().context("tar takes nothing")?.write_all(&layer)?;
    ensure!(tar.wait()?.success(), "layer {digest} cannot be unpacked");
    Ok(())
}

/// Files that can be executed, and links to them with names of their own; not shared libraries.
fn find_programs(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let about = fs::symlink_metadata(&path)?;
        if about.is_dir() {
            find_programs(&path, found)?;
        } else if is_program(&path)? && !path.to_string_lossy().contains(".so") {
            found.push(path);
        }
    }
    Ok(())
}

fn is_program(path: &Path) -> Result<bool> {
    let Ok(about) = fs::metadata(path) else { return Ok(false) };
    if !about.is_file() || about.permissions().mode() & 0o111 == 0 {
        return Ok(false);
    }
    let mut start = Vec::new();
    fs::File::open(path)?.take(4).read_to_end(&mut start)?;
    Ok(start == b"\x7fELF")
}

/// Asks a program for its version under emulation; it must answer and end well.
fn start(program: &Path, root: &Path, (arch, emulator): (&str, &str)) -> Result<()> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = WORDS.iter().find(|(known, _)| *known == name).map(|(_, words)| *words);
    let mut command = Command::new(format!("qemu-{emulator}"));
    // Programs that look at the name they are started under get it, also where they are links.
    command.arg("-L").arg(root).arg("-0").arg(&name).arg(program);
    // As the cluster's own manifest tells it.
    command.env("ETCD_UNSUPPORTED_ARCH", arch);
    if program.components().any(|part| part.as_os_str() == "cni") {
        command.env("CNI_COMMAND", "VERSION");
    } else if name == "kube" {
        command.args(["kubelet", "--version"]);
    } else {
        command.args(own.unwrap_or(&["--version"]));
    }
    let run = Run::of(&mut command)?;
    let answered = run.status == Some(0) && !(run.stdout.trim().is_empty() && run.stderr.trim().is_empty());
    if answered || name == "nft" && run.stderr.contains(NFT) {
        return Ok(());
    }
    bail!("it was asked for its version: {run}")
}
