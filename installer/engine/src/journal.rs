//! What the controller remembers of a site: one journal a run, and a lock that keeps a second installer away.
//!
//! ```text
//! STATE/sites/NAME/lock            who works on the site
//!                  journal.jsonl   lifecycle events of the present or last run
//!                  runs/RUN.jsonl  those of earlier runs, the last 20
//!                  trust.json      policy and accepted bundles; the caller's
//! ```
//!
//! - A line is one event, written and synced before what it announces is done; several that wait are synced together.
//! - A line that was torn by a crash can only be the last one and is left out when read.
//! - The lock is the kernel's (`flock`), so it ends with its holder, however that ends; the text in the file only says who it was.
//! - Folders are 0700. No event holds a secret, so no journal does.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{self as fs, File, OpenOptions};
use qiji_events::{Event, Lifecycle, Stamped};
use serde::{Deserialize, Serialize};

/// Journals of earlier runs that are kept.
const KEPT_RUNS: usize = 20;

/// The controller's memory of a site cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The site's name would lead out of the state folder.
    #[error("`{0}` cannot name a folder")]
    Name(String),
    /// Another installer works on the site.
    #[error("another qiji works on site {site}: {holder}")]
    Locked {
        /// Site.
        site: String,
        /// Who, in words.
        holder: String,
    },
    /// A file or folder could not be used; the cause names it.
    #[error("the state of site {site} cannot be used")]
    Io {
        /// Site.
        site: String,
        /// Cause.
        source: io::Error,
    },
    /// A journal holds something else than events.
    #[error("line {line} of {} is not an event", path.display())]
    Line {
        /// The journal.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Cause.
        source: serde_json::Error,
    },
}

/// A site's folder.
#[derive(Debug, Clone)]
pub struct SiteState {
    site: String,
    folder: PathBuf,
}

impl SiteState {
    /// Where the folder of `site` is below a state folder, whether or not it is there.
    pub fn folder_of(state_dir: &Path, site: &str) -> Result<PathBuf, StateError> {
        if site.is_empty() || site.starts_with('.') || site.contains(['/', '\0']) {
            return Err(StateError::Name(site.to_owned()));
        }
        Ok(state_dir.join("sites").join(site))
    }

    /// The folder of `site` below a state folder; made, mode 0700, if it is not there.
    pub fn open(state_dir: &Path, site: &str) -> Result<Self, StateError> {
        let state = Self { site: site.to_owned(), folder: Self::folder_of(state_dir, site)? };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state.folder.join("runs"));
        made.map_err(|source| {
            let named = format!("cannot make {}: {source}", state.folder.display());
            state.io(io::Error::new(source.kind(), named))
        })?;
        Ok(state)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes the site for this process until the lock is dropped.
    ///
    /// # Errors
    /// [`StateError::Locked`] when another holds it.
    pub fn lock(&self) -> Result<SiteLock, StateError> {
        let path = self.folder.join("lock");
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.map_err(|source| self.io(source))?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                return Err(StateError::Locked { site: self.site.clone(), holder: Holder::words(&holder) });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(self.io(source)),
        }
        let holder = serde_json::to_string(&Holder::me()).map_err(|fault| self.io(fault.into()))?;
        let written =
            file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).and_then(|()| file.sync_data());
        written.map_err(|source| self.io(source))?;
        Ok(SiteLock { state: self.clone(), _file: file })
    }

    /// Events of the last run, or of the present one so far; none before the first.
    pub fn last_run(&self) -> Result<Vec<Stamped>, StateError> {
        let path = self.folder.join("journal.jsonl");
        if path.exists() { self.read(&path) } else { Ok(Vec::new()) }
    }

    /// Journals of earlier runs, oldest first.
    pub fn earlier_runs(&self) -> Result<Vec<PathBuf>, StateError> {
        let list = || -> io::Result<Vec<PathBuf>> {
            let mut paths = Vec::new();
            for entry in fs::read_dir(self.folder.join("runs"))? {
                paths.push(entry?.path());
            }
            paths.sort();
            Ok(paths)
        };
        list().map_err(|source| self.io(source))
    }

    /// Events of a journal. A torn last line is left out.
    pub fn read(&self, path: &Path) -> Result<Vec<Stamped>, StateError> {
        let file = File::open(path).map_err(|source| self.io(source))?;
        let mut reader = BufReader::new(file);
        let (mut events, mut line, mut number) = (Vec::new(), String::new(), 0);
        loop {
            line.clear();
            let read = reader.read_line(&mut line);
            match read {
                Ok(0) => return Ok(events),
                Err(fault) if fault.kind() == io::ErrorKind::InvalidData && !line.ends_with('\n') => {
                    return Ok(events);
                }
                Err(fault) => return Err(self.io(fault)),
                Ok(_) if !line.ends_with('\n') => return Ok(events),
                Ok(_) => number += 1,
            }
            match serde_json::from_str::<Line>(&line) {
                Ok(line) => events.push(Stamped { at_ms: line.at_ms, event: Event::Lifecycle(line.event) }),
                Err(source) => return Err(StateError::Line { path: path.to_owned(), line: number, source }),
            }
        }
    }

    fn io(&self, source: io::Error) -> StateError {
        StateError::Io { site: self.site.clone(), source }
    }
}

/// Who holds a lock.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    host: String,
    unix_ms: u64,
}

impl Holder {
    fn me() -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Self { pid: std::process::id(), host, unix_ms: unix_ms() }
    }

    fn words(text: &str) -> String {
        let Ok(holder) = serde_json::from_str::<Self>(text) else {
            return "it has not said who it is".into();
        };
        let unix_ms = i64::try_from(holder.unix_ms).unwrap_or(0);
        let since = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
        let since = since.format("%Y-%m-%d %H:%M:%S UTC");
        format!("process {} on {}, since {since}", holder.pid, holder.host)
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The right to work on a site; given back when dropped.
#[derive(Debug)]
pub struct SiteLock {
    state: SiteState,
    _file: File,
}

impl SiteLock {
    /// The site's folder.
    pub fn state(&self) -> &SiteState {
        &self.state
    }

    /// Lays the last run's journal aside and begins one for a new run.
    pub(crate) fn begin(&self) -> Result<Journal, StateError> {
        let started = || -> io::Result<Journal> {
            let path = self.state.folder.join("journal.jsonl");
            if path.exists() {
                let name = first_run(&path)?.unwrap_or_else(|| format!("{}-torn", unix_ms()));
                fs::rename(&path, self.state.folder.join("runs").join(format!("{name}.jsonl")))?;
            }
            let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
            File::open(&self.state.folder)?.sync_all()?;
            Ok(Journal { run: format!("{:013}-{}", unix_ms(), std::process::id()), file })
        };
        let journal = started().map_err(|source| self.state.io(source))?;
        let runs = self.state.earlier_runs()?;
        for old in &runs[..runs.len().saturating_sub(KEPT_RUNS)] {
            fs::remove_file(old).map_err(|source| self.state.io(source))?;
        }
        Ok(journal)
    }
}

fn first_run(path: &Path) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    BufReader::new(File::open(path)?).read_until(b'\n', &mut line)?;
    let run = serde_json::from_slice::<Line>(&line).ok().map(|line| line.run);
    Ok(run.filter(|run| run.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')))
}

#[derive(Serialize, Deserialize)]
struct Line {
    run: String,
    at_ms: u64,
    event: Lifecycle,
}

#[derive(Serialize)]
struct LineRef<'a> {
    run: &'a str,
    at_ms: u64,
    event: &'a Lifecycle,
}

/// The journal of one run, being written.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) run: String,
    file: File,
}

impl Journal {
    /// Writes lines and waits until they are on the disk.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.file.sync_data()
    }
}

/// One event as a line with its end.
pub(crate) fn line(run: &str, at_ms: u64, event: &Lifecycle) -> Vec<u8> {
    let mut line = serde_json::to_vec(&LineRef { run, at_ms, event }).expect("an event is plain data");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(lock: &SiteLock) -> Journal {
        std::thread::sleep(Duration::from_millis(2));
        lock.begin().expect("a journal")
    }

    fn write(journal: &mut Journal, step: &str) {
        let event = Lifecycle::StepStarted { step: step.into() };
        journal.append(&line(&journal.run.clone(), 1, &event)).expect("room");
    }

    #[test]
    fn a_second_installer_is_told_who_holds_the_site() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = SiteState::open(folder.path(), "lab").expect("a state");
        let lock = state.lock().expect("free");
        let words = state.lock().expect_err("held").to_string();
        assert!(words.contains(&format!("process {} on ", std::process::id())), "{words}");
        assert!(words.contains("since 20") && words.ends_with("UTC"), "{words}");
        SiteState::open(folder.path(), "other").expect("a state").lock().expect("another site is free");
        drop(lock);
        state.lock().expect("free again");
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_a_bad_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = SiteState::open(folder.path(), "lab").expect("a state");
        let lock = state.lock().expect("free");
        let mut journal = begin(&lock);
        write(&mut journal, "a/one");
        let torn = line(&journal.run.clone(), 2, &Lifecycle::StepStarted { step: "a/größe".into() });
        for cut in 1..torn.len() {
            let path = folder.path().join("cut.jsonl");
            let whole = fs::read(state.folder().join("journal.jsonl")).expect("a journal");
            fs::write(&path, [&whole[..], &torn[..cut]].concat()).expect("room");
            assert_eq!(state.read(&path).expect("readable").len(), 1, "cut at {cut}");
        }
        journal.append(b"{}\n").expect("room");
        assert!(matches!(state.last_run(), Err(StateError::Line { line: 2, .. })));
    }

    #[test]
    fn the_last_twenty_runs_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = SiteState::open(folder.path(), "lab").expect("a state");
        let lock = state.lock().expect("free");
        for number in 0..25 {
            write(&mut begin(&lock), &format!("a/{number}"));
        }
        let runs = state.earlier_runs().expect("listed");
        assert_eq!(runs.len(), KEPT_RUNS);
        let last = state.read(runs.last().expect("some")).expect("readable");
        assert_eq!(last[0].event, Event::Lifecycle(Lifecycle::StepStarted { step: "a/23".into() }));
    }

    #[test]
    fn names_do_not_lead_out_of_the_folder() {
        for name in ["", "..", "../x", "a/b", ".hidden"] {
            assert!(
                matches!(SiteState::open(Path::new("/nowhere"), name), Err(StateError::Name(_))),
                "{name}"
            );
        }
    }
}
