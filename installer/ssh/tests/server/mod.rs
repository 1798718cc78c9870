//! A real `sshd` on loopback, with keys of its own, as a child of the test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qiji_ssh::{Auth, KnownHosts, Session, SshError, Target};
use tempfile::TempDir;

/// Behaves as sudo(8) does towards its caller: `-n` is allowed where a file says so, `-S` asks on standard error up to twice, and
/// who is in no sudoers file is told so in a line that does not name `sudo` as its source.
const SUDO: &str = r#"#!/bin/sh
if [ "$1" = -n ]; then
    [ -e /var/lib/free ] || { echo "sudo: a password is required" >&2; exit 1; }
    shift; exec "$@"
fi
[ "$1" = -S ] && [ "$2" = -p ] || exit 2
prompt=$3; shift 3
[ -e /var/lib/free ] && exec "$@"
for try in 1 2; do
    printf %s "$prompt" >&2
    read -r given || break
    [ "$given" = opensesame ] && [ -e /var/lib/barred ] && { echo "root is not in the sudoers file." >&2; exit 1; }
    [ "$given" = opensesame ] && exec "$@"
    echo "Sorry, try again." >&2
done
echo "sudo: no password was provided" >&2
exit 1
"#;

pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
    pub(crate) known: Arc<KnownHosts>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keygen(path: &Path, kind: &str, passphrase: &str) {
    let done = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", passphrase, "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(done.success());
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        keygen(&at("host"), "ed25519", "");
        keygen(&at("user"), "ed25519", "");
        keygen(&at("stranger"), "ed25519", "");
        keygen(&at("locked"), "ed25519", "open sesame");
        let keys = ["user.pub", "locked.pub"].map(|name| fs_err::read_to_string(at(name)).unwrap()).concat();
        fs_err::write(at("authorized"), keys).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nSubsystem sftp internal-sftp\nPasswordAuthentication no\nPermitRootLogin yes\nPrintMotd no\nSetEnv PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
            at("host").display(),
            at("authorized").display(),
        );
        fs_err::write(at("config"), text).unwrap();
        fs_err::write(at("sudo"), SUDO).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(at("sudo"), mode).unwrap();
        let known = Arc::new(KnownHosts::at(at("known_hosts")));
        let child = Self::spawn(folder.path());
        let server = Self { child, port, folder, known };
        server.wait();
        server
    }

    fn spawn(folder: &Path) -> Child {
        // sshd wants its separation folder even where it is run by hand.
        fs_err::create_dir_all("/run/sshd").unwrap();
        // In a mount namespace of its own, so that what a test puts below /var/lib is nobody else's; /tmp runs no programs there.
        let script = "mount -t tmpfs none /var/lib && mount --bind /tmp /tmp && mount -o remount,bind,noexec /tmp && \
            mount -t tmpfs none /usr/local/bin && { cp \"$0\"/sudo /usr/local/bin/ 2>/dev/null; true; } && \
            exec /usr/sbin/sshd -D -e -f \"$0\"/config";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(folder);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("sshd is needed: apt install openssh-server")
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < until, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The same server with another host key.
    #[allow(dead_code, reason = "not every test file changes keys")]
    pub(crate) fn change_host_key(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for name in ["host", "host.pub"] {
            fs_err::remove_file(self.folder.path().join(name)).unwrap();
        }
        keygen(&self.folder.path().join("host"), "ed25519", "");
        self.child = Self::spawn(self.folder.path());
        self.wait();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn key(&self, name: &str) -> Auth {
        Auth::Key { path: self.path(name), passphrases: None }
    }

    pub(crate) async fn connect_with(
        &self,
        methods: &[Auth],
        host_key: Option<&str>,
        accept_new: bool,
    ) -> Result<Session, SshError> {
        let target = Target {
            host: "w2",
            address: "127.0.0.1",
            port: self.port,
            user: "root",
            methods,
            host_key,
            known: &self.known,
            accept_new,
            timeout: Duration::from_secs(10),
        };
        Session::connect(target).await
    }

    pub(crate) async fn connect(&self) -> Session {
        self.connect_with(&[self.key("user")], None, true).await.unwrap()
    }
}
