//! The bare Debian that `Nspawn` hosts are copied from.
//!
//! It is built once for each recipe, under a file lock, into `$XDG_CACHE_HOME/qiji-hosts/` (or `~/.cache/qiji-hosts/`), and
//! copied for each host. It holds what a bare host has and no more: systemd, dbus, sshd, ip, kmod, ps, sudo. What a site
//! needs beyond that its bundle must bring, and a test shall notice when it does not.

use std::path::{Path, PathBuf};
use std::{env, io};

use fs_err as fs;
use sha2::{Digest, Sha256};

use crate::HostsError;
use crate::command::run;

const SUITE: &str = "trixie";
const PACKAGES: [&str; 8] =
    ["systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "kmod", "procps", "sudo"];
/// Files that no host needs, left out to make copies small.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];
/// What each host must have of its own, so that no copy may bring it along.
const PERSONAL: [&str; 4] = ["etc/machine-id", "etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id"];

/// The base with these packages on top, built if it is not there yet.
pub(crate) fn base(extra_packages: &[String]) -> Result<PathBuf, HostsError> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache)?;
    let arguments = arguments(extra_packages);
    let key = &hex::encode(Sha256::digest(arguments.join("\n")))[..16];
    let done = cache.join(format!("base-{key}"));
    let lock = fs::File::create(cache.join(format!("base-{key}.lock")))?;
    lock.file().lock()?;
    if !done.exists() {
        build(&arguments, &cache.join(format!("base-{key}.partial")), &done)?;
    }
    Ok(done)
}

fn build(arguments: &[String], partial: &Path, done: &Path) -> Result<(), HostsError> {
    if partial.exists() {
        fs::remove_dir_all(partial)?;
    }
    let target = partial.display().to_string();
    let words: Vec<&str> = arguments.iter().map(String::as_str).chain([SUITE, &target]).collect();
    run("mmdebstrap", &words)?;
    for name in PERSONAL {
        if fs::symlink_metadata(partial.join(name)).is_ok() {
            fs::remove_file(partial.join(name))?;
        }
    }
    for entry in fs::read_dir(partial.join("etc/ssh"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_")) {
            fs::remove_file(path)?;
        }
    }
    Ok(fs::rename(partial, done)?)
}

fn arguments(extra_packages: &[String]) -> Vec<String> {
    let mut packages: Vec<&str> =
        PACKAGES.into_iter().chain(extra_packages.iter().map(String::as_str)).collect();
    packages.sort_unstable();
    packages.dedup();
    let fixed =
        ["--quiet".to_owned(), "--variant=minbase".to_owned(), format!("--include={}", packages.join(","))];
    let left_out = LEFT_OUT.iter().map(|path| format!("--dpkgopt=path-exclude={path}"));
    fixed.into_iter().chain(left_out).collect()
}

fn cache_dir() -> Result<PathBuf, HostsError> {
    let base = env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")));
    let base = base.ok_or_else(|| io::Error::other("neither XDG_CACHE_HOME nor HOME is set"))?;
    Ok(base.join("qiji-hosts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_does_not_depend_on_the_order_of_extras() {
        let (a, b) = (vec!["socat".to_owned(), "dbus".to_owned()], vec!["socat".to_owned()]);
        assert_eq!(arguments(&a), arguments(&b));
        assert_ne!(arguments(&a), arguments(&[]));
        assert!(arguments(&b)[2].contains("procps,socat,sudo"));
    }
}
