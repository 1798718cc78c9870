//! One running host: starting, entering, unplugging and cutting it.
//!
//! A host is one systemd-nspawn process and what it contains. Its first process is found by its being number 1 in its
//! own process namespace; entering a host means entering all of that process's namespaces. Killing it ends all of the
//! host at once, as pulling the power cord does: nothing in the host gets to run, write or say good-bye.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{failed, output, run};
use crate::net::{Network, path};
use crate::site::Site;
use crate::{HostSpec, HostState, HostsError, Kind, Output, TestbedSpec, cgroup, quirks};

/// How long a host may take to come up.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// How long a killed host may take to be gone.
const OFF_LIMIT: Duration = Duration::from_secs(10);
/// The last lines of the console that an error shows.
const CONSOLE_SHOWN: usize = 15;
/// A fresh environment for whatever runs in a host: nothing of the owner's own leaks in.
const ENVIRONMENT: [&str; 4] =
    ["-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"];
/// Puts itself into the given control groups, then becomes the command after `--`.
const IN_GROUPS: &str =
    r#"while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@""#;
/// What a netns host runs.
const NETNS_INIT: &str = "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e";

/// A host of a testbed. All methods may be called from several threads.
#[derive(Debug)]
pub struct Host {
    index: usize,
    spec: Arc<TestbedSpec>,
    site: Site,
    network: Network,
    root: PathBuf,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    nspawn: Child,
    /// The host's first process, as the machine numbers it.
    first: i32,
}

impl Running {
    /// Kills the first process, and with it all others of the host. Gone in the meantime is as good.
    fn end(&mut self) {
        if self.first > 1 {
            let _ = kill(Pid::from_raw(self.first), Signal::SIGKILL);
        } else {
            let _ = self.nspawn.kill();
        }
    }
}

impl Host {
    pub(crate) fn new(site: &Site, spec: &Arc<TestbedSpec>, index: usize, root: PathBuf) -> Self {
        let (spec, site, network) = (Arc::clone(spec), site.clone(), Network::new(&site.id));
        Self { index, spec, site, network, root, running: Mutex::new(None) }
    }

    /// What the host was asked to be.
    pub fn spec(&self) -> &HostSpec {
        &self.spec.hosts[self.index]
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec().name
    }

    /// Its first address.
    pub fn address(&self) -> Ipv4Addr {
        self.spec().addresses[0].addr()
    }

    /// The machine's process ID of the host's first process.
    pub fn pid(&self) -> Result<i32, HostsError> {
        self.running()
            .as_ref()
            .map(|running| running.first)
            .ok_or_else(|| HostsError::Off(self.name().to_owned()))
    }

    /// The folder on the machine that is the host's disk.
    pub fn disk(&self) -> &Path {
        &self.root
    }

    /// The host's SSH host key, as one line of a public-key file.
    pub fn ssh_host_key(&self) -> Result<String, HostsError> {
        let file = self.root.join("etc/ssh/ssh_host_ed25519_key.pub");
        Ok(fs::read_to_string(file)?.trim().to_owned())
    }

    /// A command that runs in the host as root, with a fresh environment.
    pub fn command(&self, arguments: &[&str]) -> Result<Command, HostsError> {
        let mut command = Command::new("nsenter");
        let target = self.pid()?.to_string();
        command.args([
            "--target", &target, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--", "env",
        ]);
        command.args(ENVIRONMENT).args(arguments);
        Ok(command)
    }

    /// Runs a command in the host and gives back what came of it, whatever its exit status.
    pub fn exec(&self, arguments: &[&str]) -> Result<Output, HostsError> {
        self.exec_with_input(arguments, b"")
    }

    /// Like [`Host::exec`], with `input` on the command's standard input.
    pub fn exec_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<Output, HostsError> {
        output(&mut self.command(arguments)?, input)
    }

    /// Runs a command in the host and gives back its standard output. An exit status other than 0 is an error.
    pub fn run(&self, arguments: &[&str]) -> Result<String, HostsError> {
        self.run_with_input(arguments, b"")
    }

    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<String, HostsError> {
        let mut command = self.command(arguments)?;
        let output = output(&mut command, input)?;
        if output.ok() { Ok(output.stdout) } else { Err(failed(&command, &output)) }
    }

    /// Writes a file in the host, folders and all, with the given mode.
    pub fn write_file(&self, path: &str, content: &[u8], mode: u32) -> Result<(), HostsError> {
        let script = r#"umask 077 && mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1""#;
        let mode = format!("{mode:o}");
        self.run_with_input(&["sh", "-c", script, "sh", path, &mode], content).map(drop)
    }

    /// Copies a file of the machine into the host, without reading it into memory.
    pub fn copy_in(&self, from: &Path, path: &str, mode: u32) -> Result<(), HostsError> {
        let script = r#"mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1""#;
        let mode = format!("{mode:o}");
        let mut command = self.command(&["sh", "-c", script, "sh", path, &mode])?;
        let file = fs::File::open(from)?.into_file();
        let status = command.stdin(Stdio::from(file)).status();
        let status = status.map_err(|source| HostsError::Spawn { command: "nsenter".to_owned(), source })?;
        let output = Output { status, stdout: String::new(), stderr: String::new() };
        if output.ok() { Ok(()) } else { Err(failed(&command, &output)) }
    }

    /// Reads a file of the host as text.
    pub fn read_file(&self, path: &str) -> Result<String, HostsError> {
        self.run(&["cat", "--", path])
    }

    /// What can be told of the host's state: see [`HostState`].
    pub fn snapshot(&self) -> Result<HostState, HostsError> {
        HostState::of(self)
    }

    /// Pulls the host's network cables.
    pub fn link_down(&self) -> Result<(), HostsError> {
        self.network.set_links(&self.spec, self.index, false)
    }

    /// Plugs the host's network cables in again.
    pub fn link_up(&self) -> Result<(), HostsError> {
        self.network.set_links(&self.spec, self.index, true)
    }

    /// Limits the host's network to `kbit` kilobits a second in each direction; `None` lifts the limit.
    pub fn shape(&self, kbit: Option<u64>) -> Result<(), HostsError> {
        self.network.shape(&self.spec, self.index, kbit)
    }

    /// Cuts the host's power: everything in it ends at once. Its disk stays. A host that is off stays off.
    pub fn power_cut(&self) -> Result<(), HostsError> {
        let Some(mut running) = self.running().take() else { return Ok(()) };
        running.end();
        let start = Instant::now();
        while running.nspawn.try_wait()?.is_none() {
            if start.elapsed() > OFF_LIMIT {
                running.nspawn.kill()?;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.network.detach(&self.spec, self.index)?;
        cgroup::remove(&self.groups()?);
        Ok(())
    }

    /// Switches the host on with the disk that it has, and waits until it is up. A host that is on stays on.
    pub fn power_on(&self) -> Result<(), HostsError> {
        if self.running().is_some() {
            return Ok(());
        }
        self.network.attach(&self.spec, self.index)?;
        let nspawn = self.spawn()?;
        self.come_up(nspawn).inspect_err(|_| {
            // The first error is the one to tell; what is left goes with the site.
            let _ = self.power_cut();
        })
    }

    fn come_up(&self, nspawn: Child) -> Result<(), HostsError> {
        self.wait_for_first(nspawn)?;
        if self.spec().kind == Kind::Nspawn {
            self.wait_for("systemd to settle", || self.systemd_is_up())?;
        }
        self.wait_for("sshd to answer", || self.sshd_answers())
    }

    /// The last lines that the host wrote to its console.
    pub fn console(&self) -> String {
        let text = fs::read_to_string(self.console_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(CONSOLE_SHOWN)..].join("\n")
    }

    fn console_file(&self) -> PathBuf {
        self.site.dir.join("hosts").join(self.name()).join("console.log")
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self) -> Result<Vec<PathBuf>, HostsError> {
        cgroup::folders(&format!("{}/{}", self.site.group(), self.name()))
    }

    /// Starts systemd-nspawn in the host's own control groups.
    fn spawn(&self) -> Result<Child, HostsError> {
        let groups = cgroup::create(&self.site.group(), self.spec())?;
        let log = fs::File::create(self.console_file())?.into_file();
        let mut command = Command::new("sh");
        command.args(["-c", IN_GROUPS, "sh"]).args(&groups).arg("--").args(self.nspawn_line());
        // Kernel parameters of the network are the host's own, and a real host's root may set them.
        command.env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network");
        // A signal meant for the owner's terminal group must not reach hosts behind the owner's back.
        command.process_group(0);
        command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        command.spawn().map_err(|source| HostsError::Spawn { command: "systemd-nspawn".to_owned(), source })
    }

    fn nspawn_line(&self) -> Vec<String> {
        let mut words = vec![
            "systemd-nspawn".to_owned(),
            format!("--directory={}", self.root.display()),
            format!("--machine=qiji-{}-{}", self.site.id, self.index),
            format!("--hostname={}", self.name()),
            format!("--network-namespace-path={}", path(&self.network.of_host(self.name()))),
        ];
        let fixed = "--quiet --register=no --keep-unit --capability=all --resolv-conf=off --timezone=off \
                     --link-journal=no --console=pipe --system-call-filter=@keyring --system-call-filter=bpf";
        words.extend(fixed.split_whitespace().map(str::to_owned));
        match self.spec().kind {
            Kind::Netns => {
                words.extend(["--bind-ro=/usr", "--as-pid2", "/bin/sh", "-c", NETNS_INIT].map(str::to_owned));
            }
            Kind::Nspawn => {
                if Path::new("/lib/modules").is_dir() {
                    words.push("--bind-ro=/lib/modules".to_owned());
                }
                words.extend(["--kill-signal=SIGRTMIN+3", "/bin/sh", "-c", quirks::SETUP].map(str::to_owned));
            }
        }
        words
    }

    /// Waits for the host's first process and takes note of it.
    fn wait_for_first(&self, nspawn: Child) -> Result<(), HostsError> {
        let pid = nspawn.id();
        *self.running() = Some(Running { nspawn, first: 0 });
        let mut found = 0;
        self.wait_for("its first process", || {
            found = first_process(pid).unwrap_or(0);
            found != 0
        })?;
        if let Some(running) = self.running().as_mut() {
            running.first = found;
        }
        Ok(())
    }

    /// Waits until `done`; fails when time is up or the host has ended.
    fn wait_for(&self, what: &str, mut done: impl FnMut() -> bool) -> Result<(), HostsError> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(5);
        while !done() {
            let ended =
                self.running().as_mut().is_none_or(|running| !matches!(running.nspawn.try_wait(), Ok(None)));
            if ended || start.elapsed() > BOOT_LIMIT {
                let what = if ended { format!("it ended before {what}") } else { what.to_owned() };
                return Err(HostsError::Boot { host: self.name().to_owned(), what, console: self.console() });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        Ok(())
    }

    /// `running`, or `degraded` where some unit has no use for this machine.
    fn systemd_is_up(&self) -> bool {
        let answer = self.exec(&["systemctl", "is-system-running"]);
        answer.is_ok_and(|answer| matches!(answer.stdout.trim(), "running" | "degraded"))
    }

    /// Asks from the site's namespace, over the host's network, as a controller would.
    fn sshd_answers(&self) -> bool {
        let script = format!(
            "exec 3<>/dev/tcp/{}/22 && read -r -t 2 -n 4 word <&3 && [ \"$word\" = SSH- ]",
            self.address()
        );
        let enter = format!("--net={}", path(&self.network.site()));
        run("nsenter", &[&enter, "--", "timeout", "3", "bash", "-c", &script]).is_ok()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The site's end kills whatever is left; here the child is waited for, so that no zombie stays.
        if let Some(mut running) = self.running().take() {
            running.end();
            let _ = running.nspawn.wait();
        }
    }
}

/// The child of `nspawn` that is number 1 in a process namespace of its own.
fn first_process(nspawn: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()).find(|child| {
        let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        numbers.split_whitespace().nth(1) == Some("1")
    })
}
