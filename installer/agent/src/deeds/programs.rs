//! Programs of a step: run to their end, or read.

use std::collections::BTreeMap;

use qiji_plan::{Content, Step};

use super::{Checked, Deed, fill};
use crate::fault::Fault;
use crate::host::Task;
use crate::journal;
use crate::program::{Feed, OUTPUT_LIMIT, Program};
use crate::root::crash_point;

pub(super) fn check_run(task: Task<'_>, step: &Step) -> Checked {
    let mark = journal::done_mark(&task.host.root, &step.id)?;
    let fingerprint = journal::fingerprint(&step.action)?;
    Ok(match mark {
        None => Some("was not run yet".to_owned()),
        Some(mark) if mark.fingerprint != fingerprint => Some("was run with something else".to_owned()),
        Some(_) => None,
    })
}

pub(super) fn run(
    task: Task<'_>,
    argv: &[String],
    env: &BTreeMap<String, String>,
    stdin: Option<&Content>,
    values: &BTreeMap<String, String>,
) -> Result<bool, Fault> {
    let text = stdin.map(|content| fill(content, values)).transpose()?;
    let feed = text.map(|text| -> Feed<'_> { Box::new(move |to| to.write_all(text.as_bytes())) });
    crash_point();
    let program = Program {
        argv,
        env,
        stdin: feed,
        deadline: task.deadline,
        cancelled: task.cancelled,
        log: Some(task.log),
    };
    program.run(&task.host.running)?.succeeded(argv)?;
    crash_point();
    Ok(true)
}

pub(super) fn read(
    task: Task<'_>,
    argv: &[String],
    env: &BTreeMap<String, String>,
    secret: bool,
) -> Result<Deed, Fault> {
    let quiet: &(dyn Fn(&str) + Sync) = &|_| {};
    let program = Program {
        argv,
        env,
        stdin: None,
        deadline: task.deadline,
        cancelled: task.cancelled,
        log: (!secret).then_some(quiet),
    };
    let ended = program.run(&task.host.running)?.succeeded(argv)?;
    if ended.stdout.len() > OUTPUT_LIMIT {
        return Err(Fault::new(format!("`{}` printed more than {OUTPUT_LIMIT} bytes", argv.join(" "))));
    }
    Ok(Deed { output: Some(ended.stdout), ..Deed::default() })
}
