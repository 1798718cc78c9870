//! Fresh hosts, and an installer that stands in their network: what `qiji install` and `qiji reset` take, and what they send.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use fs_err as fs;
use qiji_hosts::{HostSpec, Kind, Testbed, TestbedSpec};
use serde_json::Value;
use tempfile::TempDir;

use super::measure::{Measured, measure};
use crate::demo::Made;
use crate::places;

/// Names and addresses of the quickstart's hosts; the first is the control plane.
pub(crate) const HOSTS: [(&str, &str); 3] =
    [("cp1", "10.20.1.11"), ("w1", "10.20.1.21"), ("w2", "10.20.1.22")];
/// Length of the hosts' prefix.
const PREFIX: u8 = 24;

/// Running hosts. Dropping it removes them and the installer's state.
pub(crate) struct Field<'a> {
    /// The hosts.
    pub(crate) testbed: Testbed,
    made: &'a Made,
    state: TempDir,
    logs: &'a Path,
}

impl<'a> Field<'a> {
    /// Starts the hosts and waits until they are up.
    pub(crate) fn start(made: &'a Made, logs: &'a Path) -> Result<Self> {
        println!("starting {} hosts", HOSTS.len());
        let mut spec = TestbedSpec::new("bench", format!("{}/{PREFIX}", HOSTS[0].1).parse()?);
        for (name, address) in HOSTS {
            spec = spec.host(HostSpec::new(name, format!("{address}/{PREFIX}").parse()?, Kind::Nspawn));
        }
        let state = tempfile::tempdir_in(logs)?;
        Ok(Self { testbed: Testbed::start(&spec)?, made, state, logs })
    }

    /// Runs `qiji VERB` on the site to its end; its output goes to the log of this name.
    pub(crate) fn qiji(&self, verb: &str, log: &str) -> Result<Measured> {
        println!("{log}");
        let mut command = self.testbed.command(&places::qiji().to_string_lossy());
        command.arg(verb).arg(&self.made.bundle).arg("--trust").arg(&self.made.trust);
        command.arg("--state").arg(self.state.path()).arg("--identity").arg(self.testbed.ssh_key());
        command.args(["--user", "root", "--accept-host-keys"]);
        if verb == "reset" {
            command.arg("--yes");
        }
        measure(&mut command, "qiji", &self.logs.join(format!("{log}.log")))
    }

    /// Bytes sent to each host, by the journal of the last run.
    pub(crate) fn sent(&self) -> Result<BTreeMap<String, u64>> {
        let journal = self.state.path().join("sites/quickstart/journal.jsonl");
        sent(&fs::read_to_string(journal)?)
    }
}

/// Adds up the bytes of the steps that a journal tells of. A step's name begins with its host's.
fn sent(journal: &str) -> Result<BTreeMap<String, u64>> {
    let mut hosts = BTreeMap::new();
    for line in journal.lines() {
        let entry: Value = serde_json::from_str(line).context("the journal holds a line that is no JSON")?;
        let event = &entry["event"];
        if event["event"] == "step-done" {
            let step = event["step"].as_str().context("a step of the journal has no name")?;
            let host = step.split('/').next().unwrap_or(step);
            *hosts.entry(host.to_owned()).or_insert(0) += event["bytes"].as_u64().unwrap_or(0);
        }
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::sent;

    #[test]
    fn bytes_are_added_up_by_host() {
        let line = |step: &str, bytes: u64| {
            format!(
                r#"{{"at_ms":1,"event":{{"event":"step-done","step":"{step}","took_ms":1,"changed":true,"bytes":{bytes}}}}}"#
            )
        };
        let other = r#"{"at_ms":0,"event":{"event":"run-ended","ok":true,"bytes":99}}"#;
        let journal = [line("cp1/a", 5), line("w1/a", 7), line("cp1/b", 6), other.to_owned()].join("\n");
        let found = sent(&journal).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("cp1".to_owned(), 11), ("w1".to_owned(), 7)]);
        assert!(sent("torn").is_err());
    }
}
