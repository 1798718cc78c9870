//! A binary built from one of our own Go mains.
//!
//! The recipe's files are written to a scratch folder and one output is built with `go build -trimpath -buildvcs=false`, static,
//! for the architecture asked, with the user's own module and build caches. All that could change the result and is not part of the recipe is
//! set here: Go's flags, micro-architecture levels, work spaces, toolchain switching, C flags. What remains outside is the Go version and, with cgo,
//! the C compiler and libraries; they are part of the key under which the result is remembered. An unchanged key is not built again.
//!
//! The network is used only by Go itself, for modules that its cache lacks, held to the recipe's `go.sum`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Pinned};
use qiji_blueprint::site::Arch;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{Found, Job, Lane, Source, Trust};
use crate::error::{SourceError, StoreError};
use crate::recipe::Recipe;

/// Raised when the way of building changes, so that what was remembered is built again.
const METHOD: &str = "go-build 1";

/// Lines of a failed build that are shown.
const LOG_LINES: usize = 30;

/// What Go must not take over from the caller.
const CLEARED: [&str; 9] = [
    "GOEXPERIMENT",
    "GODEBUG",
    "GOROOT_FINAL",
    "CGO_CPPFLAGS",
    "CGO_CXXFLAGS",
    "CGO_FFLAGS",
    "CGO_LDFLAGS",
    "GOPATH_MODE",
    "GOGCCFLAGS",
];

/// See the module.
pub(super) struct GoSource {
    pub(super) recipe: String,
    pub(super) output: String,
}

/// The Go toolchain, asked once a run.
#[derive(Default)]
pub(crate) struct Toolchain {
    version: OnceCell<String>,
}

impl Toolchain {
    /// What `go env GOVERSION` says.
    async fn version(&self, recipe: &str) -> Result<&str, SourceError> {
        let ask = || async {
            let mut command = Command::new("go");
            let answer = command.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output().await;
            let answer = answer.map_err(|_| SourceError::MissingTool {
                tool: "go".to_owned(),
                recipe: recipe.to_owned(),
                hint: "install Go 1.26 or later and put it on the PATH".to_owned(),
            })?;
            Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
        };
        self.version.get_or_try_init(ask).await.map(String::as_str)
    }
}

/// A C compiler for an architecture.
struct Compiler {
    path: PathBuf,
    /// What tells it from others: its version and the libraries it links.
    identity: String,
    /// Where `pkg-config` finds its libraries, where that is not the machine's own folder.
    pkgconfig: Option<PathBuf>,
}

impl GoSource {
    /// Builds, or takes what an equal build gave.
    async fn build(&self, job: &Job<'_>) -> Result<(Pinned, String), SourceError> {
        let context = job.context;
        let recipe = context.recipes.get(&self.recipe)?;
        let Some(package) = recipe.outputs.get(&self.output) else {
            let reason = format!("it has no output {}", self.output);
            return Err(SourceError::Malformed { what: format!("recipe {}", self.recipe), reason });
        };
        let version = context.toolchain.version(&self.recipe).await?;
        let compiler = if recipe.cgo { Some(compiler(&recipe, job.arch).await?) } else { None };
        let identity = compiler.as_ref().map_or("no cgo", |compiler| &compiler.identity);
        let key = key(&recipe, &self.output, job.arch, version, identity);
        let store = context.store.clone();
        let _building = crate::blocking(move || store.lock(&key)).await?;
        if let Some(pin) = context.store.recall::<Pinned>(&key)
            && context.store.holds(&pin)?
        {
            return Ok((pin, version.to_owned()));
        }
        let pin = self.run(job, &recipe, package, compiler.as_ref()).await?;
        context.store.remember(&key, &pin)?;
        Ok((pin, version.to_owned()))
    }

    async fn run(
        &self,
        job: &Job<'_>,
        recipe: &Recipe,
        package: &str,
        compiler: Option<&Compiler>,
    ) -> Result<Pinned, SourceError> {
        let scratch = job.context.store.scratch()?;
        let (source, binary) = (scratch.path().join("source"), scratch.path().join("binary"));
        write_files(recipe, &source).map_err(StoreError::io("write a recipe"))?;
        let mut command = Command::new("go");
        command.args(arguments(recipe)).arg("-o").arg(&binary).arg(package).current_dir(&source);
        environment(&mut command, job.arch, compiler);
        let run = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let run = run.map_err(|source| SourceError::Run { program: "go".to_owned(), source })?;
        if !run.status.success() {
            let log = tail(&String::from_utf8_lossy(&run.stderr));
            return Err(SourceError::Build { output: self.output.clone(), arch: job.arch, log });
        }
        let store = job.context.store.clone();
        let take = move || -> Result<Pinned, SourceError> {
            let mut file = fs_err::File::open(&binary)
                .map_err(|source| SourceError::Local { path: binary.clone(), source })?;
            Ok(store.put_reader(&mut file)?)
        };
        crate::blocking(take).await
    }
}

#[async_trait]
impl Source for GoSource {
    fn label(&self) -> String {
        format!("go build of {}/{}", self.recipe, self.output)
    }

    fn lane(&self) -> Lane {
        Lane::Build
    }

    async fn resolve(&self, job: &Job<'_>) -> Result<Found, SourceError> {
        let (pin, version) = self.build(job).await?;
        job.meter.moved(0, pin.size, Some(pin.size));
        let source = lock::Source::Go { recipe: self.recipe.clone(), output: self.output.clone() };
        let trust =
            Trust::Verified(format!("built here with {version}, modules held to the recipe's go.sum"));
        Ok(Found { pin, source, trust })
    }

    async fn fetch(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        let (found, version) = self.build(job).await?;
        job.meter.moved(0, found.size, Some(found.size));
        if found == *pin {
            return Ok(());
        }
        let hint = format!(
            "it was locked with another Go, recipe or C library than {version} here has: use that one, or run `qiji lock` again"
        );
        let (expected, found) = (pin.digest, found.digest);
        Err(SourceError::WrongDigest { what: self.label(), expected, found, hint: Some(hint) })
    }
}

/// Digest of everything that the result depends on. Each part is preceded by its length, so that parts cannot run together.
fn key(recipe: &Recipe, output: &str, arch: Arch, version: &str, compiler: &str) -> Digest {
    let mut bytes = Vec::new();
    let mut add = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    };
    for part in [METHOD, output, arch.as_str(), version, compiler] {
        add(part.as_bytes());
    }
    for (path, content) in &recipe.files {
        add(path.as_bytes());
        add(content);
    }
    Digest::of(&bytes)
}

fn arguments(recipe: &Recipe) -> Vec<String> {
    let mut arguments: Vec<_> = ["build", "-trimpath", "-buildvcs=false"].map(str::to_owned).into();
    if !recipe.tags.is_empty() {
        arguments.push(format!("-tags={}", recipe.tags.join(",")));
    }
    if !recipe.ldflags.is_empty() {
        let quote = |flag: &String| if flag.contains(' ') { format!("'{flag}'") } else { flag.clone() };
        let flags: Vec<_> = recipe.ldflags.iter().map(quote).collect();
        arguments.push(format!("-ldflags={}", flags.join(" ")));
    }
    arguments
}

/// Sets all that changes the result, whatever the caller or `go env -w` has.
fn environment(command: &mut Command, arch: Arch, compiler: Option<&Compiler>) {
    for name in CLEARED {
        command.env_remove(name);
    }
    let fixed = [
        ("GOOS", "linux"),
        ("GOARCH", arch.as_str()),
        ("GOAMD64", "v1"),
        ("GOARM64", "v8.0"),
        ("GORISCV64", "rva20u64"),
        ("GOFLAGS", "-mod=readonly"),
        ("GOTOOLCHAIN", "local"),
        ("GOWORK", "off"),
        ("GO111MODULE", "on"),
        ("GOFIPS140", "off"),
        ("CGO_CFLAGS", "-O2 -g"),
        ("CGO_ENABLED", if compiler.is_some() { "1" } else { "0" }),
        ("LC_ALL", "C"),
    ];
    command.envs(fixed);
    if let Some(compiler) = compiler {
        command.env("CC", &compiler.path);
        if let Some(folder) = &compiler.pkgconfig {
            command.env("PKG_CONFIG_LIBDIR", folder).env("PKG_CONFIG_PATH", "");
        }
    }
}

/// Debian's name for the architecture's files.
fn triplet(arch: Arch) -> String {
    format!("{}-linux-gnu", arch.machine())
}

/// Finds the C compiler for the architecture, and checks that it has the headers and static libraries needed.
async fn compiler(recipe: &Recipe, arch: Arch) -> Result<Compiler, SourceError> {
    let native = arch.machine() == std::env::consts::ARCH;
    let triplet = triplet(arch);
    let (name, package) = if native {
        ("gcc".to_owned(), "gcc".to_owned())
    } else {
        (format!("{triplet}-gcc"), format!("gcc-{}", triplet.replace('_', "-")))
    };
    let missing = |tool: &str, package: &str| SourceError::MissingTool {
        tool: tool.to_owned(),
        recipe: recipe.name.clone(),
        hint: format!("install it: on Debian, apt install {package}"),
    };
    let path = which(&name).ok_or_else(|| missing(&name, &package))?;
    which("pkg-config").ok_or_else(|| missing("pkg-config", "pkg-config"))?;
    let mut identity = ask(&path, &["--version"], "").await.unwrap_or_default();
    let mut pkgconfig = (!native).then(|| PathBuf::from(format!("/usr/lib/{triplet}/pkgconfig")));
    let libraries = [("libc6-dev", "stdio.h", "libc.a"), ("libseccomp-dev", "seccomp.h", "libseccomp.a")];
    for (package, header, library) in libraries {
        if package != "libc6-dev" && !recipe.needs.iter().any(|need| need == package) {
            continue;
        }
        let package = if native { package.to_owned() } else { format!("{package}:{arch}") };
        let include = format!("#include <{header}>\n");
        ask(&path, &["-E", "-x", "c", "-"], &include).await.ok_or_else(|| missing(header, &package))?;
        let found = ask(&path, &[&format!("-print-file-name={library}")], "").await.unwrap_or_default();
        let found = Path::new(found.trim());
        let digest = digest_of(found).ok_or_else(|| missing(library, &package))?;
        identity.push_str(&digest.to_string());
        // A library that is not the C compiler's own says where the others of its kind are.
        if !native && package != "libc6-dev" {
            pkgconfig = found.parent().map(|folder| folder.join("pkgconfig"));
        }
    }
    Ok(Compiler { path, identity, pkgconfig })
}

fn digest_of(path: &Path) -> Option<Digest> {
    let mut file = fs_err::File::open(path).ok().filter(|_| path.is_absolute())?;
    crate::store::hash(&mut file).ok().map(|pin| pin.digest)
}

/// What a program prints, if it succeeds.
async fn ask(program: &Path, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).kill_on_drop(true).spawn().ok()?;
    child.stdin.take()?.write_all(input.as_bytes()).await.ok();
    let output = child.wait_with_output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn write_files(recipe: &Recipe, folder: &Path) -> std::io::Result<()> {
    for (path, content) in &recipe.files {
        let path = folder.join(path);
        fs_err::create_dir_all(path.parent().unwrap_or(folder))?;
        fs_err::write(path, content)?;
    }
    Ok(())
}

/// The last lines of a log, each indented.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().filter(|line| !line.starts_with("go: downloading")).collect();
    let start = lines.len().saturating_sub(LOG_LINES);
    lines[start..].iter().map(|line| format!("      {line}")).collect::<Vec<_>>().join("\n")
}
