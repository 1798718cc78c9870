//! The host as the agent holds it: its file tree, the records kept there, the programs that run, and the lock of the run.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::journal::{Journal, now_ms};
use crate::program::{Ended, Program, Running};
use crate::record::Record;
use crate::root::{self, Root};
use crate::store::Store;

/// Who holds a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Run.
    pub run: String,
    /// Site.
    pub site: String,
    /// Process id of the agent.
    pub pid: u32,
    /// Milliseconds since 1970.
    pub since_ms: u64,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    /// Its file tree.
    pub root: Root,
    /// Former states.
    pub record: Record,
    /// Journal.
    pub journal: Journal,
    /// Staging store.
    pub store: Store,
    /// Programs that run.
    pub running: Running,
    lock: Mutex<Option<(fs_err::File, Holder)>>,
}

impl Host {
    /// The host with this file tree.
    pub fn new(root: Root) -> Self {
        Self {
            record: Record::new(root.clone()),
            journal: Journal::new(root.clone()),
            store: Store::new(root.clone()),
            running: Running::default(),
            lock: Mutex::new(None),
            root,
        }
    }

    /// Takes the host for a run, until this process ends.
    ///
    /// # Errors
    /// Another agent holds it; the message names its run, site and process.
    pub fn lock(&self, run: &str, site: &str) -> Result<(), Fault> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = Holder {
            run: run.to_owned(),
            site: site.to_owned(),
            pid: std::process::id(),
            since_ms: now_ms(),
        };
        root::make_state_folder(&self.root.state(""), 0o700)?;
        if let Some((file, current)) = held.as_mut() {
            *current = holder;
            return say_holder(file, current);
        }
        let mut options = fs_err::OpenOptions::new();
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let path = self.root.state("lock");
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(held_by_another(&mut file));
        }
        say_holder(&mut file, &holder)?;
        *held = Some((file, holder));
        Ok(())
    }

    /// Who holds the host through this agent.
    ///
    /// # Errors
    /// Nobody does.
    pub fn holder(&self) -> Result<Holder, Fault> {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = held.as_ref().map(|(_, holder)| holder.clone());
        holder.ok_or_else(|| Fault::new("the host was not locked for this run"))
    }

    /// Name of the site that was installed here, if any.
    pub fn installed_site(&self) -> Result<Option<String>, Fault> {
        Ok(root::read_text(&self.root.state("site"))?.map(|text| text.trim().to_owned()))
    }

    /// Remembers the site, before the first change for it. Steps run side by side, and one of them does it.
    pub fn remember_site(&self, site: &str) -> Result<(), Fault> {
        let _turn = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.installed_site()?.as_deref() == Some(site) {
            return Ok(());
        }
        Ok(root::write_whole(&self.root.state("site"), 0o600, format!("{site}\n").as_bytes())?)
    }
}

fn say_holder(file: &mut fs_err::File, holder: &Holder) -> Result<(), Fault> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.write_all(&serde_json::to_vec(holder)?)?)
}

fn held_by_another(file: &mut fs_err::File) -> Fault {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let who = serde_json::from_str::<Holder>(&text).map_or_else(
        |_| "another installer works on this host".to_owned(),
        |other| {
            let seconds = now_ms().saturating_sub(other.since_ms) / 1000;
            format!(
                "run {} of site {} holds this host since {seconds} s (agent process {})",
                other.run, other.site, other.pid
            )
        },
    );
    Fault::new(who).hint("wait for it to end, or end it, and run the same command again")
}

/// One request being carried out.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The host.
    pub host: &'a Host,
    /// Told what programs print.
    pub log: &'a (dyn Fn(&str) + Sync),
    /// Set when nobody waits for it any more.
    pub cancelled: &'a AtomicBool,
    /// When it must be over.
    pub deadline: Instant,
}

impl Task<'_> {
    /// Runs a short program of the host's own and gives back how it ended.
    pub fn ask(&self, argv: &[&str]) -> Result<Ended, Fault> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        self.ask_with(&argv, &BTreeMap::new(), Duration::from_secs(30))
    }

    /// The same with an environment and a limit.
    pub fn ask_with(
        &self,
        argv: &[String],
        env: &BTreeMap<String, String>,
        limit: Duration,
    ) -> Result<Ended, Fault> {
        let deadline = self.deadline.min(Instant::now() + limit);
        let quiet: &(dyn Fn(&str) + Sync) = &|_| {};
        let program =
            Program { argv, env, stdin: None, deadline, cancelled: self.cancelled, log: Some(quiet) };
        program.run(&self.host.running)
    }

    /// Runs a program that must end well, its lines logged.
    pub fn must(&self, argv: &[&str]) -> Result<Ended, Fault> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let program = Program {
            argv: &argv,
            env: &BTreeMap::new(),
            stdin: None,
            deadline: self.deadline,
            cancelled: self.cancelled,
            log: Some(self.log),
        };
        program.run(&self.host.running)?.succeeded(&argv)
    }
}
