//! Judging the hosts before anything is done to them: every finding of every host at once.
//!
//! Flow: each host that answered is judged by itself ([`host`]), then the hosts are compared ([`across`]); a host that did not
//! answer is a finding too. Findings come in the site's order of hosts, those on the site as a whole last.
//!
//! Guarantees: facts are only read, nothing is asked again; the same facts give the same findings. A host on which this same site is
//! installed already is not blamed for what qiji put there.
//!
//! Limits: other hosts in the same network that are not of the site are not looked for.

mod across;
mod host;

use std::collections::BTreeMap;
use std::fmt;

use qiji_blueprint::site::Site;
use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::inventory::Inventory;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is installed while it is there.
    Blocker,
    /// Worth knowing.
    Warning,
}

/// Something that was found wrong or odd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The host; nothing where it is about the site.
    pub host: Option<String>,
    /// Its weight.
    pub severity: Severity,
    /// A name for scripts, such as `port-in-use`.
    pub code: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.severity {
            Severity::Blocker => "blocker",
            Severity::Warning => "warning",
        };
        let host = self.host.as_deref().unwrap_or("site");
        write!(f, "{host}: {weight}: {} ({})", self.message, self.hint)
    }
}

/// What a chip asks of a host; from the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChipNeeds {
    /// Oldest kernel, major and minor.
    pub kernel: (u32, u32),
    /// Sizes of a memory page that programs are built for.
    pub page_sizes: Vec<u64>,
}

/// What a host answered when it was asked for its facts, and when, by the clock of the one who asked.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its facts, or why there are none.
    pub facts: Result<Facts, String>,
    /// Milliseconds since 1970 just before it was asked.
    pub asked_ms: i64,
    /// Milliseconds since 1970 just after it had answered.
    pub answered_ms: i64,
}

/// What hosts are judged against.
#[derive(Debug, Clone, Copy)]
pub struct Measure<'a> {
    /// The site.
    pub site: &'a Site,
    /// What the bundle would put on hosts.
    pub inventory: &'a Inventory,
    /// What chips ask for, by the chip's name; a chip that is not there asks for nothing of its own.
    pub chips: &'a BTreeMap<String, ChipNeeds>,
}

/// Judges all hosts. `answers` has one for each host of the site.
pub fn preflight(measure: Measure<'_>, answers: &BTreeMap<String, Answer>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for node in &measure.site.nodes {
        match answers.get(&node.name).map(|answer| (answer, &answer.facts)) {
            Some((answer, Ok(facts))) => host::judge(measure, node, facts, answer, &mut findings),
            Some((_, Err(why))) => findings.push(unreached(&node.name, why)),
            None => findings.push(unreached(&node.name, "it was not asked")),
        }
    }
    across::judge(measure.site, answers, &mut findings);
    findings
}

fn unreached(host: &str, why: &str) -> Finding {
    let hint = "check that it is up, its address and how to log in";
    finding(Some(host), Severity::Blocker, "unreachable", format!("cannot look at the host: {why}"), hint)
}

fn finding(
    host: Option<&str>,
    severity: Severity,
    code: &str,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Finding {
    Finding {
        host: host.map(str::to_owned),
        severity,
        code: code.to_owned(),
        message: message.into(),
        hint: hint.into(),
    }
}

/// Major and minor of a kernel release such as `5.10.0-136.el8.aarch64`.
pub(crate) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
