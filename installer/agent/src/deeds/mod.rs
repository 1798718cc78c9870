//! Carrying out steps: asking whether one is done (`check`), doing it and seeing that its conditions hold (`apply`).
//!
//! Flow of `apply`: journal "begun" → remove half-made things of an earlier try, if there was one → the deed → its conditions,
//! asked again until they hold → done-mark → journal "done". Every deed can be done again after a crash at any point of this.

mod clean;
mod files;
pub(crate) mod images;
mod kernel;
mod programs;
mod units;
mod unpack;

use std::collections::BTreeMap;
use std::time::Duration;

use qiji_blueprint::Digest;
use qiji_plan::{Action, Content, Step};

use crate::condition;
use crate::fault::Fault;
use crate::host::Task;
use crate::journal::{self, DoneMark};
use crate::wire::{Mark, Outcome};

pub use clean::remove;
pub(crate) use kernel::{module_is_at_hand, module_is_in};

/// Whether a deed is done: nothing, or what is left in a few words.
type Checked = Result<Option<String>, Fault>;

/// What a deed did.
#[derive(Debug, Default)]
pub struct Deed {
    /// Whether it changed anything.
    pub changed: bool,
    /// The value it read.
    pub output: Option<Vec<u8>>,
    /// Digests of files that depend on values of the run.
    files: BTreeMap<String, Digest>,
}

impl Deed {
    fn changed(changed: bool) -> Self {
        Self { changed, ..Self::default() }
    }
}

/// Is this step done? Its conditions are asked once.
pub fn check(task: Task<'_>, step: &Step) -> Outcome {
    let found = check_action(task, step).and_then(|pending| match pending {
        Some(why) => Ok(Some(why)),
        None => condition::first_unmet(task, &step.verify),
    });
    match found {
        Ok(None) => Outcome::Done,
        Ok(Some(why)) => Outcome::Pending { why },
        Err(fault) => Outcome::Broken(fault.0),
    }
}

fn check_action(task: Task<'_>, step: &Step) -> Checked {
    match &step.action {
        Action::Receive { blobs } => {
            let missing =
                blobs.iter().map(|blob| task.host.store.has(blob)).filter(|has| !matches!(has, Ok(true)));
            let missing = missing.collect::<Result<Vec<_>, _>>()?.len();
            Ok((missing > 0).then(|| format!("{missing} of {} blobs are missing", blobs.len())))
        }
        Action::Unpack { layers, into } => unpack::check(task, layers, into),
        Action::Folder { path, mode } => files::check_folder(task, path, *mode),
        Action::File { path, mode, content } => files::check_file(task, step, path, *mode, content),
        Action::Link { path, target } => files::check_link(task, path, target),
        Action::Module { name, shown_by } => kernel::check_module(task, name, shown_by),
        Action::Sysctl { key, value, at_least } => kernel::check_sysctl(task, key, value, *at_least),
        Action::Unit { name, fingerprint } => units::check(task, name, fingerprint),
        Action::ImportImages { images, ctr, socket } => images::check(task, images, ctr, socket),
        Action::Run { .. } => programs::check_run(task, step),
        Action::Read { .. } => Ok(Some("is read anew in each run".to_owned())),
        Action::Wait => Ok(None),
        Action::StopUnit { name } => units::check_stopped(task, name),
        Action::KillCgroups { holding } => Ok(clean::check_cgroups(task, holding)),
        Action::Unmount { below } => clean::check_mounts(task, below),
        Action::Remove { paths } => clean::check_removed(task, paths),
        Action::DeleteLinks { names } => clean::check_links(names),
        Action::Undo => {
            let changes = task.host.record.changes()?.len();
            Ok((changes > 0).then(|| format!("{changes} changes are recorded")))
        }
    }
}

/// Carries out a step. `values` fill the placeholders of its content.
///
/// # Errors
/// What went wrong; the journal then holds "failed", and a later try cleans up first.
pub fn apply(task: Task<'_>, step: &Step, values: &BTreeMap<String, String>) -> Result<Deed, Fault> {
    let host = task.host;
    if matches!(step.action, Action::Read { .. }) {
        // A question changes nothing: it needs no lock, and leaves no mark.
        let deed = act(task, step, values)?;
        return condition::wait(task, &step.verify).map(|()| deed);
    }
    let holder = host.holder()?;
    let fingerprint = journal::fingerprint(&step.action)?;
    if matches!(step.action, Action::Undo) {
        return clean::undo(task).map(Deed::changed);
    }
    if !step.clean_first.is_empty() && host.journal.left_half_made(&step.id)? {
        (task.log)("removing what an earlier try left half-made");
        remove(task, &step.clean_first)?;
    }
    host.journal.write(&holder.run, &step.id, fingerprint, Mark::Begun)?;
    host.remember_site(&holder.site)?;
    journal::unmark(&host.root, &step.id)?;
    let result = act(task, step, values).and_then(|deed| {
        condition::wait(task, &step.verify)?;
        Ok(deed)
    });
    match result {
        Ok(mut deed) => {
            let mark = DoneMark { fingerprint, files: std::mem::take(&mut deed.files) };
            journal::mark_done(&host.root, &step.id, &mark)?;
            host.journal.write(&holder.run, &step.id, fingerprint, Mark::Done)?;
            Ok(deed)
        }
        Err(fault) => {
            host.journal.write(&holder.run, &step.id, fingerprint, Mark::Failed)?;
            Err(fault)
        }
    }
}

fn act(task: Task<'_>, step: &Step, values: &BTreeMap<String, String>) -> Result<Deed, Fault> {
    let changed = match &step.action {
        Action::Receive { .. } => match check_action(task, step)? {
            Some(missing) => return Err(Fault::new(missing)),
            None => false,
        },
        Action::Unpack { layers, into } => unpack::unpack(task, layers, into)?,
        Action::Folder { path, mode } => files::folder(task, path, *mode)?,
        Action::File { path, mode, content } => return files::file(task, path, *mode, content, values),
        Action::Link { path, target } => files::link(task, path, target)?,
        Action::Module { name, shown_by } => kernel::module(task, name, shown_by)?,
        Action::Sysctl { key, value, at_least } => kernel::sysctl(task, key, value, *at_least)?,
        Action::Unit { name, fingerprint } => units::unit(task, name, fingerprint)?,
        Action::ImportImages { images, ctr, socket } => images::import(task, images, ctr, socket)?,
        Action::Run { argv, env, stdin } => programs::run(task, argv, env, stdin.as_ref(), values)?,
        Action::Read { argv, env, secret } => return programs::read(task, argv, env, *secret),
        Action::Wait | Action::Undo => false,
        Action::StopUnit { name } => units::stop(task, name)?,
        Action::KillCgroups { holding } => clean::kill_cgroups(task, holding)?,
        Action::Unmount { below } => clean::unmount(task, below)?,
        Action::Remove { paths } => remove(task, paths)?,
        Action::DeleteLinks { names } => clean::delete_links(names)?,
    };
    Ok(Deed::changed(changed))
}

/// The text of a content with its placeholders filled.
///
/// # Errors
/// A placeholder has no value.
pub fn fill(content: &Content, values: &BTreeMap<String, String>) -> Result<String, Fault> {
    let mut text = content.text.clone();
    for name in content.inputs.keys() {
        let value =
            values.get(name).ok_or_else(|| Fault::new(format!("no value was given for `@{{{name}}}`")))?;
        text = text.replace(&format!("@{{{name}}}"), value);
    }
    Ok(text)
}

/// Time that a step may take.
pub fn limit(step: &Step) -> Duration {
    Duration::from_secs(u64::from(step.timeout_s.max(1)))
}
