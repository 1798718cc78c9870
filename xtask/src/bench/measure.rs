//! Runs a program and measures it: how long it took, and the most memory that this one process ever held.
//!
//! The kernel keeps a process's peak of resident memory (`VmHWM` in `/proc/PID/status`), so each reading covers all that
//! went before it. It is read every few milliseconds through one open file, which stays bound to this very process and says
//! nothing once that has ended; programs that it started are not in it. What is missed is a peak of the last few milliseconds.

use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;

/// Time between two looks at a process.
const PAUSE: Duration = Duration::from_millis(2);
/// Lines of a failed program's output that are shown.
const SHOWN: usize = 20;

/// What a program took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// Most resident memory of the process itself, in KiB.
    pub(crate) peak_kib: u64,
}

/// Runs `command`, which is or becomes `program`, to its end; its output goes to the file `log`. A failure is an error that
/// shows the end of it.
pub(crate) fn measure(command: &mut Command, program: &str, log: &Path) -> Result<Measured> {
    let file = fs::File::create(log)?.into_file();
    command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let pid = child.id();
    let ended = AtomicBool::new(false);
    let (status, wall, peak_kib) = thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(pid, program, &ended));
        let status = child.wait();
        let wall = begun.elapsed();
        ended.store(true, Ordering::Relaxed);
        (status, wall, watcher.join().unwrap_or(0))
    });
    let status = status?;
    if status.success() {
        return Ok(Measured { wall, peak_kib });
    }
    let text = fs::read_to_string(log)?;
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    bail!("{program} ended with {status}; its output is in {}:\n{end}", log.display())
}

/// Runs `command` to its end with nothing in its way, and says how long it took.
pub(crate) fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let name = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    let wall = begun.elapsed();
    if status.success() { Ok(wall) } else { bail!("{name} ended with {status}") }
}

/// The most resident memory that a running process has held so far, in KiB.
pub(crate) fn peak(pid: u32, program: &str) -> Option<u64> {
    peak_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, program)
}

fn watch(pid: u32, program: &str, ended: &AtomicBool) -> u64 {
    let Ok(mut status) = fs::File::open(format!("/proc/{pid}/status")) else { return 0 };
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        let mut text = String::new();
        let read = status.rewind().and_then(|()| status.read_to_string(&mut text));
        if read.is_ok() {
            peak = peak.max(peak_of(&text, program).unwrap_or(0));
        }
        thread::sleep(PAUSE);
    }
    peak
}

/// The peak in a process's status, where it is the program already (and not yet what becomes it).
fn peak_of(status: &str, program: &str) -> Option<u64> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("Name:")? != program {
        return None;
    }
    field("VmHWM:")?.strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_the_named_program_is_read() {
        let status = "Name:\tqiji\nVmPeak:\t  900 kB\nVmHWM:\t  123 kB\nVmRSS:\t  100 kB\n";
        assert_eq!(peak_of(status, "qiji"), Some(123));
        assert_eq!(peak_of(status, "nsenter"), None);
        assert_eq!(peak_of("Name:\tqiji\nState:\tZ (zombie)\n", "qiji"), None);
    }

    #[test]
    fn a_programs_own_memory_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        // 40 MB held by dd itself; the shell that starts it holds next to nothing.
        let dd = "dd if=/dev/zero of=/dev/null bs=40M count=3";
        let own = measure(Command::new("sh").args(["-c", &format!("exec {dd}")]), "dd", &log).unwrap();
        assert!((40_000..80_000).contains(&own.peak_kib), "{own:?}");
        let child = measure(Command::new("sh").args(["-c", &format!("{dd}; true")]), "sh", &log).unwrap();
        assert!((1..10_000).contains(&child.peak_kib), "{child:?}");
        let failed = measure(Command::new("sh").args(["-c", "echo why; exit 3"]), "sh", &log).unwrap_err();
        assert!(failed.to_string().contains("why"), "{failed}");
    }
}
