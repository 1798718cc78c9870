//! The same site gives the same file, whoever builds it where.
//!
//! Two whole builds, from the sources, with nothing in common but what they fetch: folder, file system (and so the order in which folders are
//! listed), user, home, umask, time zone, locale, clock, count of processors, Go's build cache, and the build of `qiji` itself: the second
//! is done by one that is linked dynamically, which is how its clock can be set another (libfaketime).

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use qiji_scenarios::{Bundle, Product, Run, difference};

/// A user that owns nothing.
const USER: u32 = 54_321;
/// A locale with another upper case of `i` than most.
const LOCALE: &str = "tr_TR.UTF-8";
/// Debian's libfaketime.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Builds twice and compares.
pub(crate) fn story() -> Result<()> {
    let product = Product::find()?;
    let keys = Bundle::quickstart(&product)?;
    let (one, other) = (Place::plain()?, Place::strange()?);
    let left = one.build(&product, &keys, &product.qiji(), &[])?;
    let dynamic = std::env::var_os("QIJI_DYNAMIC").map(PathBuf::from);
    let dynamic =
        dynamic.context("QIJI_DYNAMIC does not name a dynamic qiji: run `cargo xtask test --all`")?;
    let right = other.build(&product, &keys, &dynamic, OTHERWISE)?;
    let size = fs::metadata(&left)?.len();
    if let Some(cause) = difference(&product, &keys.trust, &left, &right)? {
        anyhow::bail!("two builds of one site are not the same bytes: {cause}");
    }
    println!("two builds of {size} bytes that have nothing in common are the same");
    proves_itself(&product, &keys.trust, &left)
}

/// A comparison that cannot fail would be none: with one byte changed, it names the place.
fn proves_itself(product: &Product, trust: &Path, bundle: &Path) -> Result<()> {
    let changed = bundle.with_extension("changed");
    let mut bytes = fs::read(bundle)?;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&changed, &bytes)?;
    let compared = Run::of(Command::new("cmp").arg(bundle).arg(&changed))?;
    ensure!(compared.status == Some(1), "cmp sees no difference: {compared}");
    let found = qiji_scenarios::first_byte(bundle, &changed)?;
    ensure!(found == Some(last as u64), "the changed byte {last} was not found, but {found:?}");
    ensure!(difference(product, trust, bundle, bundle)?.is_none(), "a file differs from itself");
    Ok(())
}

/// What the second build has otherwise in its environment.
const OTHERWISE: &[(&str, &str)] = &[
    ("TZ", "Asia/Shanghai"),
    ("LANG", LOCALE),
    ("LC_ALL", LOCALE),
    ("LD_PRELOAD", FAKETIME),
    ("FAKETIME", "+2d"),
    ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ("USER", "somebody"),
    ("HOSTNAME", "elsewhere"),
    ("GOMAXPROCS", "1"),
];

/// Where a build is done, and by whom.
struct Place {
    folder: tempfile::TempDir,
    user: Option<u32>,
}

impl Place {
    /// A folder on disk, as this user.
    fn plain() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir_in("/var/tmp")?, user: None })
    }

    /// A file system in memory with a long name, as another user.
    fn strange() -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("a rather long name, with blanks ").tempdir_in("/var/tmp")?;
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=14g,mode=0755"))?;
        chown(folder.path(), Some(USER), Some(USER))?;
        let mut define = Command::new("localedef");
        define.args(["-i", "tr_TR", "-f", "UTF-8"]).arg(folder.path().join(LOCALE));
        Run::of(&mut define)?.expect(0)?;
        Ok(Self { folder, user: Some(USER) })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Locks and builds with nothing but what lies in the folder.
    fn build(
        &self,
        product: &Product,
        keys: &Bundle,
        qiji: &Path,
        otherwise: &[(&str, &str)],
    ) -> Result<PathBuf> {
        let programs = self.path().join("programs");
        self.own_folder(&programs)?;
        for name in ["qiji", "qiji-agent", "qiji-pause"] {
            self.own_copy(&product.folder().join(name), &programs.join(name), 0o755)?;
        }
        let (runs, site) = (self.path().join("builder"), self.path().join("site.kdl"));
        self.own_copy(qiji, &runs, 0o755)?;
        self.own_copy(&keys.site, &site, 0o644)?;
        let (key, passphrase) = (self.path().join("key"), self.path().join("passphrase"));
        self.own_copy(&keys.key, &key, 0o600)?;
        self.own_copy(&keys.passphrase, &passphrase, 0o600)?;
        let bundle = self.path().join("out.qiji");
        for verb in ["lock", "build"] {
            let mut command = self.command(&runs, otherwise);
            command.env("QIJI_PASSPHRASE_FILE", &passphrase);
            command.arg(verb).arg(&site).arg("--artifacts").arg(&programs);
            command.arg("--store").arg(self.path().join("store"));
            if verb == "build" {
                command.arg("--output").arg(&bundle).arg("--key").arg(&key);
            }
            Run::of(&mut command)?.expect(0)?;
        }
        Ok(bundle)
    }

    /// A command in the folder; for another user with caches of its own, on one processor, with another umask and what else is otherwise there. That is
    /// set by the last of the programs that prepare all this: the clock would not let itself be shared by two users.
    fn command(&self, program: &Path, otherwise: &[(&str, &str)]) -> Command {
        let mut command = match self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([
                    format!("--reuid={user}"),
                    format!("--regid={user}"),
                    "--clear-groups".to_owned(),
                ]);
                command.args(["taskset", "-c", "0", "sh", "-c", "umask 077; exec \"$@\"", "sh", "env"]);
                command.args(otherwise.iter().map(|(name, value)| format!("{name}={value}"))).arg(program);
                command
            }
        };
        command.current_dir(self.path());
        if self.user.is_some() {
            command
                .env("HOME", self.path())
                .env("LOCPATH", self.path())
                .env("XDG_CACHE_HOME", self.path().join("cache"));
            command
                .env("GOCACHE", self.path().join("go-build"))
                .env("GOMODCACHE", self.path().join("go-modules"));
        }
        command.env("TMPDIR", self.path());
        command
    }

    fn own_folder(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path)?;
        Ok(chown(path, self.user, self.user)?)
    }

    fn own_copy(&self, from: &Path, to: &Path, mode: u32) -> Result<()> {
        fs::copy(from, to)?;
        fs::set_permissions(to, Permissions::from_mode(mode))?;
        Ok(chown(to, self.user, self.user)?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.user.is_some() {
            // What cannot be removed here is reported by the folder's own removal.
            let _left = umount2(self.folder.path(), MntFlags::MNT_DETACH);
        }
    }
}
