//! What can go wrong with test hosts, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::Missing;

/// One fault of a [`TestbedSpec`](crate::TestbedSpec): which part of it, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The part at fault, for instance `host n1`.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostsError {
    /// The specification contradicts itself; all faults are listed.
    #[error("the testbed specification is wrong:{}", list(.0.iter().map(|f| format!("{}: {}", f.place, f.what))))]
    Spec(Vec<Fault>),
    /// The machine lacks something; everything it lacks is listed.
    #[error("this machine cannot start test hosts:{}", list(.0.iter().map(ToString::to_string)))]
    Missing(Vec<Missing>),
    /// A command of the machine could not be run at all.
    #[error("cannot run {command}")]
    Spawn {
        /// The command line.
        command: String,
        /// Why it did not start.
        source: io::Error,
    },
    /// A command ran and failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status in words.
        status: String,
        /// What it wrote to its standard error, shortened to its end.
        stderr: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A tool's answer was not understood.
    #[error("cannot read the answer of {tool}")]
    Answer {
        /// The tool.
        tool: &'static str,
        /// What is wrong with its JSON.
        source: serde_json::Error,
    },
    /// A host did not come up.
    #[error("host {host} did not come up: {what}; its console ends with:\n{console}")]
    Boot {
        /// The host.
        host: String,
        /// What was waited for.
        what: String,
        /// The last lines of its console.
        console: String,
    },
    /// The host is switched off.
    #[error("host {0} is switched off")]
    Off(String),
    /// The site has no host of that name.
    #[error("this testbed has no host {0}")]
    NoHost(String),
    /// Something of a site could not be removed.
    #[error("could not remove everything of the site in {}:{}", .dir.display(), list(.left.iter().cloned()))]
    Left {
        /// The site's folder.
        dir: PathBuf,
        /// What is still there.
        left: Vec<String>,
    },
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.fold(String::new(), |text, item| text + "\n  - " + &item)
}
