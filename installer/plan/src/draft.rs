//! Short ways to write down a step. Nothing here decides.

use std::collections::BTreeMap;

use crate::action::{Action, Condition, Content, StepId};
use crate::paths;
use crate::plan::Step;

/// Seconds for a deed that only touches the host.
const SHORT: u32 = 60;

/// Name of a step.
pub(crate) fn id(host: &str, words: &str) -> StepId {
    StepId(format!("{host}/{words}"))
}

/// A step that needs nothing.
pub(crate) fn step(host: &str, words: &str, title: impl Into<String>, action: Action) -> Step {
    Step {
        id: id(host, words),
        host: host.to_owned(),
        title: title.into(),
        needs: Vec::new(),
        only_if_pending: Vec::new(),
        action,
        verify: Vec::new(),
        clean_first: Vec::new(),
        timeout_s: SHORT,
    }
}

impl Step {
    /// Adds steps that must be done first.
    pub(crate) fn after<'a>(mut self, steps: impl IntoIterator<Item = &'a StepId>) -> Self {
        for needed in steps {
            if !self.needs.contains(needed) {
                self.needs.push(needed.clone());
            }
        }
        self
    }

    /// Runs only if one of these is pending.
    pub(crate) fn only_for<'a>(mut self, steps: impl IntoIterator<Item = &'a StepId>) -> Self {
        self.only_if_pending.extend(steps.into_iter().cloned());
        self
    }

    /// Adds a condition.
    pub(crate) fn so_that(mut self, condition: Condition) -> Self {
        self.verify.push(condition);
        self
    }

    /// Adds conditions that paths exist.
    pub(crate) fn leaves(mut self, paths: &[&str]) -> Self {
        self.verify.extend(paths.iter().map(|path| exists(path)));
        self
    }

    /// Names what an unfinished try leaves behind.
    pub(crate) fn cleaning(mut self, paths: &[&str]) -> Self {
        self.clean_first.extend(paths.iter().map(|path| (*path).to_owned()));
        self
    }

    /// Sets the time that it may take.
    pub(crate) fn within(mut self, seconds: u32) -> Self {
        self.timeout_s = seconds;
        self
    }
}

pub(crate) fn exists(path: &str) -> Condition {
    Condition::Exists { path: path.to_owned() }
}

pub(crate) fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

/// Environment of kubectl and kubeadm with a kubeconfig. Both run for a moment: collecting garbage, which begins before they have so much as
/// started, costs a third of their time, so it waits until they are large.
pub(crate) fn kube_env(kubeconfig: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("GOGC".to_owned(), "off".to_owned()),
        ("GOMEMLIMIT".to_owned(), "256MiB".to_owned()),
        ("KUBECACHEDIR".to_owned(), paths::KUBE_CACHE.to_owned()),
        ("KUBECONFIG".to_owned(), kubeconfig.to_owned()),
    ])
}

/// kubectl's argument list.
pub(crate) fn kubectl(args: &[&str]) -> Vec<String> {
    let mut line = vec![paths::program("kubectl")];
    line.extend(words(args));
    line
}

/// A kubectl command ends with status 0.
pub(crate) fn kubectl_succeeds(kubeconfig: &str, args: &[&str]) -> Condition {
    Condition::Succeeds { argv: kubectl(args), env: kube_env(kubeconfig) }
}

/// A kubectl command prints this.
pub(crate) fn kubectl_prints(kubeconfig: &str, args: &[&str], text: &str) -> Condition {
    Condition::Prints { argv: kubectl(args), env: kube_env(kubeconfig), text: text.to_owned() }
}

/// A program is run without standard input.
pub(crate) fn run(argv: Vec<String>, env: BTreeMap<String, String>) -> Action {
    Action::Run { argv, env, stdin: None }
}

/// A file that may be shown.
pub(crate) fn file(path: &str, mode: u32, text: &str) -> Action {
    Action::File { path: path.to_owned(), mode, content: Content::plain(text) }
}
