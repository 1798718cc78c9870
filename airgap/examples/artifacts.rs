//! Locks, fetches and assembles a set of real artifacts and prints what it took: one Go build, one Debian package, and every file of a folder as a
//! layer of its own. This is how the compression level was chosen.
//!
//! `cargo run --release -p qiji-airgap --example artifacts -- STORE FOLDER`

use std::path::{Path, PathBuf};
use std::time::Instant;

use qiji_airgap::{Fetcher, Settings, Store, assemble};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Artifact, Layer, LayerEntry, Package, PackageContent, Source, Wanted};
use qiji_blueprint::site::{Arch, Role};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let (Some(store), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: artifacts STORE FOLDER".into());
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(Store::open(store)?, PathBuf::from(folder)))
}

async fn run(store: Store, folder: PathBuf) -> Outcome {
    let wanted = wanted(&folder)?;
    let settings = Settings { folders: vec![folder], ..Settings::default() };
    let fetcher = Fetcher::new(store.clone(), settings)?;
    let start = Instant::now();
    let resolved = fetcher.resolve(&wanted).await?;
    println!("resolve {:.1?}", start.elapsed());
    for it in &resolved.provenance {
        println!("  {} {}: {:?}", it.artifact.name, it.source, it.trust);
    }
    let start = Instant::now();
    let done = fetcher.fetch(&resolved.lock).await?;
    println!("fetch {:.1?}", start.elapsed());
    for it in &done.artifacts {
        println!("  {} {} {} {:?}", it.artifact.name, it.pin.digest.short(), it.pin.size, it.source);
    }
    let start = Instant::now();
    let assembled = tokio::task::spawn_blocking(move || assemble(&store, &resolved.lock)).await??;
    println!("assemble {:.1?}", start.elapsed());
    for package in &assembled.packages {
        println!("  {} {}", package.name, package.blobs[0].size);
    }
    println!("layers {} bytes", assembled.packages.iter().map(|it| it.blobs[0].size).sum::<u64>());
    let status = fs_err::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

fn wanted(folder: &Path) -> Result<Wanted, Box<dyn std::error::Error>> {
    let go = Source::Go { recipe: "cni-plugins".to_owned(), output: "loopback".to_owned() };
    let debian = Source::Debian { suite: "trixie".to_owned(), package: "libmnl0".to_owned(), version: None };
    let mut sources = vec![
        ("go-loopback".to_owned(), go, None),
        ("libmnl0".to_owned(), debian, Some("usr/lib/*/libmnl.so.0")),
    ];
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let path = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() {
            sources.push((path.clone(), Source::Folder { path }, None));
        }
    }
    sources.sort_by(|a, b| a.0.cmp(&b.0));
    let arch = Arch::Amd64;
    let layer = |(name, _, member): &(String, Source, Option<&str>)| {
        let member = member.map(str::to_owned);
        let entry =
            LayerEntry::File { path: format!("usr/bin/{name}"), artifact: name.clone(), member, mode: 0o755 };
        Layer { name: name.clone(), arch, entries: vec![entry] }
    };
    let package = |(name, ..): &(String, Source, Option<&str>)| Package {
        name: name.clone(),
        version: "1".to_owned(),
        arch,
        roles: vec![Role::Worker],
        content: PackageContent::Layers { layers: vec![name.clone()] },
    };
    Ok(Wanted {
        site: "measure".to_owned(),
        version: "1.0.0".to_owned(),
        site_digest: Digest::of(b"measure"),
        layers: sources.iter().map(layer).collect(),
        images: Vec::new(),
        packages: sources.iter().map(package).collect(),
        charts: Vec::new(),
        artifacts: sources
            .into_iter()
            .map(|(name, source, _)| Artifact {
                name,
                version: "1".to_owned(),
                arch,
                pin: (),
                sources: vec![source],
            })
            .collect(),
    })
}
