//! Every way to log in that a site file can name leads to a cluster; one that does not hold is told in plain words; and no
//! password is ever found where it has no business.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use qiji_hosts::{Host, HostSpec, Kind, OpsUser, Sudo, Testbed};
use qiji_scenarios::{Field, Run, quickstart_hosts};
use tempfile::TempDir;

/// What the hosts know. No shell may ever see it, and this one would notice.
const PASSWORD: &str = "right'7 $(Kq)";
/// What they do not.
const WRONG: &str = "wrong\"4 `Zx`";
/// Where a password might be left on a host.
const PLACES: [&str; 8] =
    ["/var/lib/qiji", "/var/log", "/run/log", "/etc", "/opt/qiji", "/root", "/home", "/tmp"];

/// One installation: root by a key, one user by an SSH agent that becomes root without a password, another by a password
/// that `sudo` asks for again. The site file alone says so, host keys included.
pub(crate) fn ways_in() -> Result<()> {
    let mut spec = quickstart_hosts(Kind::Nspawn);
    works_as_ops(&mut spec.hosts[1], Sudo::NoPassword);
    works_as_ops(&mut spec.hosts[2], Sudo::Password);
    spec.hosts[2].password_login = true;

    let secrets = Folder::new()?;
    let password = secrets.keep("password", PASSWORD)?;
    let mut field = Field::start(&spec)?;
    let key = field.testbed.ssh_key();
    let site = site(
        &field.testbed,
        [
            &format!(r#"access user="root" {{ key "{}"; }}"#, key.display()),
            r#"access user="ops" { agent; sudo "no-password"; }"#,
            &format!(r#"access user="ops" {{ password file="{}"; sudo "password"; }}"#, password.display()),
        ],
    )?;
    field.carry(&site)?;
    let agent = Agent::with(&key)?;
    field.ssh_agent = Some(agent.socket());

    let watch = Watch::start();
    let installed = field.run("install")?.expect(0)?;
    watch.saw_nothing()?;
    is_untold(&field, &installed)?;

    // The same password, but by the other way in which a server may ask for it.
    let other = "PasswordAuthentication no\nKbdInteractiveAuthentication yes\n";
    let asking = field.testbed.host("w2")?;
    asking.write_file("/etc/ssh/sshd_config.d/05-asking.conf", other.as_bytes(), 0o644)?;
    asking.run(&["systemctl", "reload", "ssh"])?;
    field.cluster_works()
}

/// A wrong password to log in with, a wrong one for `sudo`, a key that the host does not know: all three hosts are told at
/// once, each with its user and what was tried. Then a user who may not use `sudo`, and a file that is not there.
pub(crate) fn refused() -> Result<()> {
    let mut spec = quickstart_hosts(Kind::Netns);
    spec.hosts[0].root_password = Some(PASSWORD.to_owned());
    spec.hosts[0].password_login = true;
    works_as_ops(&mut spec.hosts[1], Sudo::Password);
    let secrets = Folder::new()?;
    let (login, sudo) = (secrets.keep("login", WRONG)?, secrets.keep("sudo", WRONG)?);
    let stranger = secrets.key("stranger")?;
    let mut field = Field::start(&spec)?;
    let key = field.testbed.ssh_key();
    let site = site(
        &field.testbed,
        [
            &format!(r#"access user="root" {{ password file="{}"; }}"#, login.display()),
            &format!(
                r#"access user="ops" {{ key "{}"; sudo "password" file="{}"; }}"#,
                key.display(),
                sudo.display()
            ),
            &format!(r#"access user="root" {{ key "{}"; agent; }}"#, stranger.display()),
        ],
    )?;
    field.carry(&site)?;

    let watch = Watch::start();
    let run = field.run("install")?.expect(1)?;
    let run = run.says("host cp1 refused the login of user root (tried: password: refused)")?;
    let run = run.says("host w1 does not let user ops become root: the password is wrong")?;
    let tried = format!("(tried: key {}: refused, SSH agent: none runs", stranger.display());
    let run = run.says(&format!("host w2 refused the login of user root {tried}"))?;
    watch.saw_nothing()?;
    is_untold(&field, &run)?;
    is_untouched(&field)?;

    secrets.keep("sudo", PASSWORD)?;
    fs::remove_file(&login)?;
    field.testbed.host("w1")?.run(&["rm", "/etc/sudoers.d/ops"])?;
    let watch = Watch::start();
    let run = field.run("install")?.expect(1)?;
    let run = run.says("host w1 does not let user ops become root: ops is not in the sudoers file")?;
    let run = run.says(&format!("{}", login.display()))?.says("No such file")?;
    watch.saw_nothing()?;
    is_untold(&field, &run)?;
    is_untouched(&field)
}

/// Where the site pins another key than a host shows, both are told and nothing is sent; where it pins the right one, no word
/// about host keys is needed.
pub(crate) fn pinned() -> Result<()> {
    let mut field = Field::start(&quickstart_hosts(Kind::Netns))?;
    let way = format!(r#"access user="root" {{ key "{}"; }}"#, field.testbed.ssh_key().display());
    let right = site(&field.testbed, [&way, &way, &way])?;
    let [w1, w2] = ["w1", "w2"].map(|name| field.testbed.host(name).map(Host::ssh_host_key));
    let (shown, held) = (w1??, w2??);

    field.carry(&right.replace(&shown, &held))?;
    let run = Run::of(field.on_site("plan").arg("--accept-host-keys"))?.expect(1)?;
    let (of_shown, of_held) = (fingerprint(&shown)?, fingerprint(&held)?);
    run.says(&format!("host w1 shows the key {of_shown}, but the site holds {of_held}"))?;
    let touched = field.testbed.host("w1")?.exec(&["test", "-e", "/var/lib/qiji"])?;
    ensure!(!touched.ok(), "w1 was worked on under another key");

    field.carry(&right)?;
    all_are_reached(&field.run("plan")?.expect(1)?)?;
    ensure!(!field.state().join("known_hosts").exists(), "a pinned key was kept besides");
    Ok(())
}

/// Two hosts need a password that no file holds: it is asked for once, the person may take longer than a host may, and the
/// terminal does not show what is typed.
pub(crate) fn asked() -> Result<()> {
    let mut spec = quickstart_hosts(Kind::Netns);
    for host in &mut spec.hosts[1..] {
        works_as_ops(host, Sudo::Password);
        host.password_login = true;
    }
    let mut field = Field::start(&spec)?;
    let root = format!(r#"access user="root" {{ key "{}"; }}"#, field.testbed.ssh_key().display());
    let ops = r#"access user="ops" { password; sudo "password"; }"#;
    field.carry(&site(&field.testbed, [&root, ops, ops])?)?;

    let run = field.run("plan")?.expect(1)?;
    run.says("there is no terminal to ask for the password of ops at w1")?;

    let run = typed(&field.on_site("plan"), "password of ops at", PASSWORD)?.expect(1)?;
    all_are_reached(&run)?;
    let questions = run.stdout.matches("password of").count();
    ensure!(questions == 1, "{questions} questions in {run}");
    is_untold(&field, &run)
}

/// Where the site's own way to log in does not fit, the caller's user and password file do, for `sudo` as well.
pub(crate) fn overridden() -> Result<()> {
    let mut spec = quickstart_hosts(Kind::Netns);
    let ways = [Sudo::Password, Sudo::NoPassword, Sudo::Password];
    for (host, sudo) in spec.hosts.iter_mut().zip(ways) {
        works_as_ops(host, sudo);
        host.password_login = true;
    }
    let secrets = Folder::new()?;
    let (stranger, password) = (secrets.key("stranger")?, secrets.keep("password", PASSWORD)?);
    let mut field = Field::start(&spec)?;
    let way = format!(r#"access user="root" {{ key "{}"; }}"#, stranger.display());
    field.carry(&site(&field.testbed, [&way, &way, &way])?)?;
    let watch = Watch::start();
    let mut plan = field.on_site("plan");
    let run = Run::of(plan.args(["--user", "ops", "--password-file"]).arg(&password))?.expect(1)?;
    all_are_reached(&run)?;
    watch.saw_nothing()?;
    is_untold(&field, &run)
}

fn works_as_ops(host: &mut HostSpec, sudo: Sudo) {
    host.root_login = false;
    host.ops = Some(OpsUser { sudo, password: Some(PASSWORD.to_owned()) });
}

/// A site of `cp1`, `w1` and `w2` with these ways to log in, and with the keys of the hosts.
fn site(testbed: &Testbed, ways: [&str; 3]) -> Result<String> {
    let group = |name: &str, way: &str| -> Result<String> {
        let host = testbed.host(name)?;
        let (address, key) = (host.address(), host.ssh_host_key()?);
        Ok(format!(
            "chip \"generic-amd64\"\n {way}\n node \"{name}\" address=\"{address}\" {{ host-key \"{key}\"; }}"
        ))
    };
    let [cp1, w1, w2] =
        [("cp1", ways[0]), ("w1", ways[1]), ("w2", ways[2])].map(|(name, way)| group(name, way));
    Ok(format!(
        r#"site "access" version="1.0.0" {{
  edition "community"
  network {{
    hosts "10.20.1.0/24"
  }}
  cluster "main" kubernetes="1.36.3" {{
    control-plane {{
      {}
    }}
    group "one" {{
      {}
    }}
    group "two" {{
      {}
    }}
  }}
}}
"#,
        cp1?, w1?, w2?
    ))
}

/// Holds when the run saw all hosts from inside: these have no systemd, and only who was let in can tell.
fn all_are_reached(run: &Run) -> Result<()> {
    let said = format!("{}{}", run.stdout, run.stderr);
    for name in ["cp1", "w1", "w2"] {
        let told = said.lines().any(|line| line.contains(name) && line.contains("systemd"));
        ensure!(told, "{name} was not reached: {run}");
    }
    Ok(())
}

/// Holds when no password is in what the run said, in the installer's state, or in the hosts' files.
fn is_untold(field: &Field, run: &Run) -> Result<()> {
    for secret in [PASSWORD, WRONG] {
        ensure!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "a password is told in {run}");
        let left = holding(&field.state(), secret)?;
        ensure!(left.is_empty(), "a password was left in {left:?}");
        for host in field.testbed.hosts() {
            let search = [&["grep", "-rlF", "-f", "-", "--"], &PLACES[..]].concat();
            let found = host.exec_with_input(&search, secret.as_bytes())?;
            ensure!(found.stdout.is_empty(), "a password was left on {}: {}", host.name(), found.stdout);
        }
    }
    Ok(())
}

fn is_untouched(field: &Field) -> Result<()> {
    for host in field.testbed.hosts() {
        let found = host.exec(&["test", "-e", "/var/lib/qiji"])?;
        ensure!(!found.ok(), "{} was worked on", host.name());
    }
    Ok(())
}

/// The files below `folder` that hold `text`.
fn holding(folder: &Path, text: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(holding(&path, text)?);
        } else if path.is_file() && holds(&fs::read(&path)?, text) {
            found.push(path);
        }
    }
    Ok(found)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The fingerprint of a public key, as OpenSSH's own tool tells it.
fn fingerprint(key: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("key.pub");
    fs::write(&file, key)?;
    let told = Run::of(Command::new("ssh-keygen").arg("-lf").arg(&file))?.expect(0)?;
    told.stdout.split(' ').nth(1).map(str::to_owned).context("ssh-keygen tells no fingerprint")
}

/// Runs `command` on a terminal of its own and types `answer` once `question` stands there, after longer than a host may take
/// for an answer.
fn typed(command: &Command, question: &str, answer: &str) -> Result<Run> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let screen = tempfile::NamedTempFile::new()?;
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command"]).arg(line.join(" ")).arg("/dev/null");
    let mut child = script.stdin(Stdio::piped()).stdout(screen.reopen()?).spawn()?;
    let shown = || fs::read_to_string(screen.path()).unwrap_or_default();
    let asked = wait_until(|| shown().contains(question));
    sleep(Duration::from_secs(12));
    if let Some(keyboard) = &mut child.stdin {
        keyboard.write_all(format!("{answer}\n").as_bytes())?;
    }
    let ended = wait_until(|| matches!(child.try_wait(), Ok(Some(_))));
    if !ended {
        child.kill()?;
    }
    let status = child.wait()?.code();
    ensure!(asked && ended, "the question or the end did not come:\n{}", shown());
    Ok(Run { status, stdout: shown(), stderr: String::new() })
}

/// Whether `done` holds within a minute.
fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > Duration::from_mins(1) {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
    true
}

/// Files that only their owner may read.
struct Folder(TempDir);

impl Folder {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn keep(&self, name: &str, secret: &str) -> Result<PathBuf> {
        let path = self.0.path().join(name);
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        writeln!(file, "{secret}")?;
        Ok(path)
    }

    /// A private key that no host knows.
    fn key(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.path().join(name);
        let mut keygen = Command::new("ssh-keygen");
        Run::of(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path))?.expect(0)?;
        Ok(path)
    }
}

/// An SSH agent that ends with its owner.
struct Agent {
    child: Child,
    folder: TempDir,
}

impl Agent {
    /// An agent that holds one key.
    fn with(key: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(folder.path().join("socket"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let agent = Self { child, folder };
        ensure!(wait_until(|| agent.socket().exists()), "the SSH agent does not start");
        let mut add = Command::new("ssh-add");
        Run::of(add.arg("-q").arg(key).env("SSH_AUTH_SOCK", agent.socket()))?.expect(0)?;
        Ok(agent)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks over the shoulders of all processes of this machine, those of the hosts among them: at arguments and environment.
struct Watch {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Watch {
    /// A word that is shown on purpose, so that it is known that the watch sees.
    const SHOWN: &str = "shown on purpose";

    fn start() -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let thread = thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !told.load(Ordering::Relaxed) {
                look_around(&mut seen);
                sleep(Duration::from_millis(5));
            }
            seen
        });
        Self { enough, thread }
    }

    /// Ends the watch. Holds when no password was to be seen, and when what was shown on purpose was.
    fn saw_nothing(self) -> Result<()> {
        Run::of(Command::new("sh").args(["-c", "sleep 1", Self::SHOWN]))?.expect(0)?;
        self.enough.store(true, Ordering::Relaxed);
        let mut seen = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ensure!(seen.remove(Self::SHOWN), "the watch over processes does not see");
        ensure!(seen.is_empty(), "a password was in the arguments or environment of a process: {seen:?}");
        Ok(())
    }
}

fn look_around(seen: &mut BTreeSet<String>) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let numbers = processes
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()));
    for process in numbers {
        for file in ["cmdline", "environ"] {
            // A process that ends meanwhile has nothing to show.
            let bytes = fs::read(process.path().join(file)).unwrap_or_default();
            let secrets = [PASSWORD, WRONG, Watch::SHOWN];
            seen.extend(secrets.into_iter().filter(|secret| holds(&bytes, secret)).map(str::to_owned));
        }
    }
}
