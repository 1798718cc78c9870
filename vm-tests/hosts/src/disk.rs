//! What lies on a host's disk before it starts: the system, its users, its keys.
//!
//! A host's disk is the folder `hosts/NAME/root` of its site, on the machine's own disk or, where its size is limited, on
//! an ext4 image of its own. containerd's overlay snapshotter needs such a plain file system below it.

use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;

use crate::command::{run, run_with_input};
use crate::{HostSpec, HostsError, Kind, OpsUser, Sudo, base, quirks};

/// Files of the machine's `/etc` that programs of its `/usr` need; a netns host gets copies.
const BORROWED: [&str; 9] = [
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "nsswitch.conf",
    "login.defs",
    "pam.d",
    "pam.conf",
    "security",
];
/// User and group number of the `ops` user.
const OPS_ID: u32 = 1000;

/// Makes the disk of `host` in `dir`: `dir/root`, and the host key beside it in the root.
pub(crate) fn create(dir: &Path, host: &HostSpec, authorized_key: &str) -> Result<PathBuf, HostsError> {
    let root = dir.join("root");
    fs::create_dir_all(&root)?;
    if let Some(mib) = host.disk_mib {
        mount_limited(&dir.join("disk.ext4"), &root, mib)?;
    }
    match host.kind {
        Kind::Netns => fill_netns(&root)?,
        Kind::Nspawn => fill_nspawn(&root, &host.extra_packages)?,
    }
    fs::set_permissions(&root, PermissionsExt::from_mode(0o755))?;
    put(&root, "etc/hostname", 0o644, &format!("{}\n", host.name))?;
    put(&root, "etc/hosts", 0o644, &hosts_file(host))?;
    put(&root, "etc/resolv.conf", 0o644, "# This site has no name server.\n")?;
    create_users(&root, host, authorized_key)?;
    create_sshd(&root, host)?;
    Ok(root)
}

fn mount_limited(image: &Path, root: &Path, mib: u64) -> Result<(), HostsError> {
    fs::File::create(image)?.set_len(mib * 1024 * 1024)?;
    let image = image.display().to_string();
    run("mkfs.ext4", &["-q", "-m", "0", &image])?;
    run("mount", &["-o", "loop", &image, &root.display().to_string()])?;
    Ok(())
}

/// A root of empty folders and a few files; `/usr` is bound over it when the host starts.
fn fill_netns(root: &Path) -> Result<(), HostsError> {
    for dir in [
        "usr",
        "etc/ssh",
        "dev",
        "home",
        "mnt",
        "opt",
        "proc",
        "root",
        "run",
        "srv",
        "sys",
        "tmp",
        "var/cache",
        "var/lib",
        "var/log",
        "var/spool",
        "var/tmp",
    ] {
        fs::create_dir_all(root.join(dir))?;
    }
    for dir in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(dir), PermissionsExt::from_mode(0o1777))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    symlink("/run", root.join("var/run"))?;
    for name in BORROWED.map(|name| Path::new("/etc").join(name)).iter().filter(|path| path.exists()) {
        run("cp", &["-a", &name.display().to_string(), &root.join("etc").display().to_string()])?;
    }
    put(
        root,
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n\
        nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    )?;
    put(root, "etc/group", 0o644, "root:x:0:\ntty:x:5:\nshadow:x:42:\nnogroup:x:65534:\n")?;
    put(
        root,
        "etc/shadow",
        0o640,
        "root:*:20000:0:99999:7:::\nsshd:!:20000::::::\nnobody:*:20000:0:99999:7:::\n",
    )?;
    put(
        root,
        "etc/sudoers",
        0o440,
        "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
    )
}

fn fill_nspawn(root: &Path, extra_packages: &[String]) -> Result<(), HostsError> {
    let base = base::base(extra_packages)?;
    run("cp", &["-a", "--reflink=auto", &format!("{}/.", base.display()), &root.display().to_string()])?;
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
    put(root, "etc/machine-id", 0o444, &id)?;
    put(root, quirks::KUBELET_DROP_IN_PATH, 0o644, quirks::KUBELET_DROP_IN)?;
    put(root, quirks::CONTAINERD_DROP_IN_PATH, 0o644, quirks::CONTAINERD_DROP_IN)
}

fn hosts_file(host: &HostSpec) -> String {
    let own = host.addresses.iter().map(|address| format!("{} {}\n", address.addr(), host.name));
    "127.0.0.1 localhost\n".to_owned() + &own.collect::<String>()
}

fn create_users(root: &Path, host: &HostSpec, authorized_key: &str) -> Result<(), HostsError> {
    if host.root_login {
        put_private(root, "root/.ssh/authorized_keys", authorized_key, 0)?;
    }
    if let Some(password) = &host.root_password {
        let shadow = fs::read_to_string(root.join("etc/shadow"))?;
        let rest = shadow.lines().filter(|line| !line.starts_with("root:")).collect::<Vec<_>>().join("\n");
        put(root, "etc/shadow", 0o640, &format!("root:{}:20000:0:99999:7:::\n{rest}\n", hash(password)?))?;
    }
    match &host.ops {
        Some(ops) => create_ops(root, ops, authorized_key),
        None => Ok(()),
    }
}

fn create_ops(root: &Path, ops: &OpsUser, authorized_key: &str) -> Result<(), HostsError> {
    let hashed = ops.password.as_deref().map(hash).transpose()?.unwrap_or_else(|| "*".to_owned());
    append(root, "etc/passwd", &format!("ops:x:{OPS_ID}:{OPS_ID}:operator:/home/ops:/bin/bash\n"))?;
    append(root, "etc/group", &format!("ops:x:{OPS_ID}:\n"))?;
    append(root, "etc/shadow", &format!("ops:{hashed}:20000:0:99999:7:::\n"))?;
    let tag = if ops.sudo == Sudo::NoPassword { "NOPASSWD: " } else { "" };
    put(root, "etc/sudoers.d/ops", 0o440, &format!("ops ALL=(ALL:ALL) {tag}ALL\n"))?;
    put_private(root, "home/ops/.ssh/authorized_keys", authorized_key, OPS_ID)?;
    std::os::unix::fs::chown(root.join("home/ops"), Some(OPS_ID), Some(OPS_ID))?;
    Ok(())
}

fn create_sshd(root: &Path, host: &HostSpec) -> Result<(), HostsError> {
    let yes = |on: bool| if on { "yes" } else { "no" };
    let root_may = match (host.root_login, host.root_password.is_some() && host.password_login) {
        (false, _) => "no",
        (true, false) => "prohibit-password",
        (true, true) => "yes",
    };
    let mut config = String::new();
    let _ = writeln!(config, "PermitRootLogin {root_may}");
    let _ = writeln!(config, "PasswordAuthentication {}", yes(host.password_login));
    config += "KbdInteractiveAuthentication no\nUseDNS no\nMaxStartups 100\nHostKey /etc/ssh/ssh_host_ed25519_key\n";
    match host.kind {
        Kind::Nspawn => put(root, "etc/ssh/sshd_config.d/10-test-host.conf", 0o644, &config)?,
        Kind::Netns => {
            config += "UsePAM no\nSubsystem sftp /usr/lib/openssh/sftp-server\n";
            put(root, "etc/ssh/sshd_config", 0o644, &config)?;
        }
    }
    make_key(&root.join("etc/ssh/ssh_host_ed25519_key"), &host.name)
}

/// Makes an Ed25519 key pair: `file` (0600) and `file.pub`.
pub(crate) fn make_key(file: &Path, comment: &str) -> Result<(), HostsError> {
    let file = file.display().to_string();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", &file]).map(drop)
}

/// The SHA-512 crypt hash of a password. It goes in by standard input, never by an argument.
fn hash(password: &str) -> Result<String, HostsError> {
    let hashed = run_with_input("openssl", &["passwd", "-6", "-stdin"], format!("{password}\n").as_bytes())?;
    Ok(hashed.trim().to_owned())
}

/// Writes a file of the host, folders and all.
fn put(root: &Path, path: &str, mode: u32, text: &str) -> Result<(), HostsError> {
    let file = root.join(path.trim_start_matches('/'));
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    std::io::Write::write_all(&mut options.open(&file)?, text.as_bytes())?;
    Ok(fs::set_permissions(&file, PermissionsExt::from_mode(mode))?)
}

/// Writes a file that only its owner may read, in a folder that only its owner may enter.
fn put_private(root: &Path, path: &str, text: &str, owner: u32) -> Result<(), HostsError> {
    put(root, path, 0o600, text)?;
    let file = root.join(path);
    let dir = file.parent().unwrap_or(root);
    fs::set_permissions(dir, PermissionsExt::from_mode(0o700))?;
    for path in [dir, &file] {
        std::os::unix::fs::chown(path, Some(owner), Some(owner))?;
    }
    Ok(())
}

fn append(root: &Path, path: &str, line: &str) -> Result<(), HostsError> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.append(true).open(root.join(path))?;
    Ok(std::io::Write::write_all(&mut file, line.as_bytes())?)
}
