//! systemd units, through `systemctl`.
//!
//! A unit is restarted when the fingerprint of what it reads is another than at its last start; the fingerprint is kept under
//! `/var/lib/qiji/units`, taken away before a restart and written after it, so that a crash between the two leads to one restart more.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Checked;
use crate::fault::Fault;
use crate::host::Task;
use crate::record::Change;
use crate::root::{self, crash_point};

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnitState {
    loaded: bool,
    active: String,
    file: String,
}

impl UnitState {
    fn parse(text: &str) -> Self {
        let fields: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let field = |name| (*fields.get(name).unwrap_or(&"")).to_owned();
        Self {
            loaded: field("LoadState") == "loaded",
            active: field("ActiveState"),
            file: field("UnitFileState"),
        }
    }

    fn runs(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "activating")
    }

    fn starts_at_boot(&self) -> bool {
        matches!(self.file.as_str(), "enabled" | "enabled-runtime")
    }

    /// Whether `enable` has nothing more to do: static, generated and the like have no say in it.
    fn enabled_as_can_be(&self) -> bool {
        !matches!(
            self.file.as_str(),
            "disabled" | "" | "masked" | "masked-runtime" | "bad" | "linked" | "linked-runtime"
        )
    }
}

fn state(task: Task<'_>, name: &str) -> Result<UnitState, Fault> {
    let argv = ["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", "--", name];
    let shown = task.ask(&argv)?.succeeded(&argv.map(str::to_owned))?;
    Ok(UnitState::parse(&String::from_utf8_lossy(&shown.stdout)))
}

fn kept(task: Task<'_>, name: &str) -> PathBuf {
    task.host.root.state("units").join(name)
}

fn valid(name: &str) -> Result<(), Fault> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@:\\".contains(&b));
    if name.is_empty() || !plain || name.starts_with(['-', '.']) {
        return Err(Fault::new(format!("`{name}` is not the name of a unit")));
    }
    Ok(())
}

pub(super) fn check(task: Task<'_>, name: &str, fingerprint: &str) -> Checked {
    valid(name)?;
    if root::read_text(&kept(task, name))?.is_none_or(|text| text != fingerprint) {
        return Ok(Some(format!("{name} does not run with this configuration")));
    }
    let now = state(task, name)?;
    if now.active != "active" {
        return Ok(Some(format!("{name} is {}", now.active)));
    }
    Ok((!now.enabled_as_can_be()).then(|| format!("{name} is {}", now.file)))
}

pub(super) fn unit(task: Task<'_>, name: &str, fingerprint: &str) -> Result<bool, Fault> {
    if check(task, name, fingerprint)?.is_none() {
        return Ok(false);
    }
    task.must(&["systemctl", "daemon-reload"])?;
    let former = state(task, name)?;
    if !former.loaded {
        return Err(Fault::new(format!("systemd has no unit {name}")));
    }
    note_former(task, name, &former)?;
    if !former.enabled_as_can_be() {
        task.must(&["systemctl", "enable", "--quiet", "--", name])?;
    }
    crash_point();
    let path = kept(task, name);
    root::make_state_folder(&task.host.root.state("units"), 0o700)?;
    let same = root::read_text(&path)?.is_some_and(|text| text == fingerprint);
    if !same && root::look(&path)?.is_some() {
        fs_err::remove_file(&path)?;
    }
    start(task, name, same && former.runs())?;
    root::write_whole(&path, 0o600, fingerprint.as_bytes())?;
    Ok(true)
}

fn start(task: Task<'_>, name: &str, keep_running: bool) -> Result<(), Fault> {
    if keep_running {
        return task.must(&["systemctl", "start", "--", name]).map(drop);
    }
    let _ = task.ask(&["systemctl", "reset-failed", "--", name]);
    match task.must(&["systemctl", "restart", "--", name]) {
        Ok(_) => Ok(()),
        Err(fault) => Err(fault
            .output(&last_lines(task, name))
            .hint(format!("`journalctl -u {name}` on the host tells more"))),
    }
}

fn last_lines(task: Task<'_>, name: &str) -> String {
    let status = task.ask(&["systemctl", "status", "--no-pager", "--lines=20", "--full", "--", name]);
    status.map_or_else(|_| String::new(), |ended| ended.tail)
}

fn note_former(task: Task<'_>, name: &str, former: &UnitState) -> Result<(), Fault> {
    let change =
        Change::Unit { name: name.to_owned(), enabled: former.starts_at_boot(), active: former.runs() };
    task.host.record.note(&change)
}

pub(super) fn check_stopped(task: Task<'_>, name: &str) -> Checked {
    valid(name)?;
    let now = state(task, name)?;
    Ok((now.loaded && (now.active != "inactive" || now.starts_at_boot()))
        .then(|| format!("{name} is {}, {}", now.active, now.file)))
}

pub(super) fn stop(task: Task<'_>, name: &str) -> Result<bool, Fault> {
    if check_stopped(task, name)?.is_none() {
        return Ok(false);
    }
    let former = state(task, name)?;
    note_former(task, name, &former)?;
    stop_now(task, name, &former)?;
    Ok(true)
}

fn stop_now(task: Task<'_>, name: &str, former: &UnitState) -> Result<(), Fault> {
    if former.starts_at_boot() {
        task.must(&["systemctl", "disable", "--quiet", "--", name])?;
    }
    task.must(&["systemctl", "stop", "--", name])?;
    let _ = task.ask(&["systemctl", "reset-failed", "--", name]);
    let path = kept(task, name);
    if root::look(&path)?.is_some() {
        fs_err::remove_file(path)?;
    }
    Ok(())
}

/// Stops a unit if systemd knows it; for undoing.
pub(super) fn stop_if_there(task: Task<'_>, name: &str) -> Result<(), Fault> {
    let now = state(task, name)?;
    if now.loaded { stop_now(task, name, &now) } else { Ok(()) }
}

/// Makes a unit what it was before; for undoing. One that is gone is left.
pub(super) fn restore(task: Task<'_>, name: &str, enabled: bool, active: bool) -> Result<(), Fault> {
    if !state(task, name)?.loaded {
        (task.log)(&format!("{name} is no longer there to be started"));
        return Ok(());
    }
    if enabled {
        task.must(&["systemctl", "enable", "--quiet", "--", name])?;
    }
    if active {
        task.must(&["systemctl", "start", "--", name])?;
    }
    Ok(())
}

/// Reads unit files anew.
pub(super) fn reload(task: Task<'_>) -> Result<(), Fault> {
    task.must(&["systemctl", "daemon-reload"]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_unit_needs_no_enabling() {
        let state = UnitState::parse("LoadState=loaded\nActiveState=active\nUnitFileState=static\n");
        assert!(state.loaded && state.runs() && state.enabled_as_can_be() && !state.starts_at_boot());
        let state = UnitState::parse("LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n");
        assert!(!state.enabled_as_can_be() && !state.runs());
    }

    #[test]
    fn a_name_cannot_be_an_option() {
        assert!(valid("--root=/x").is_err());
        assert!(valid("kubelet.service").is_ok());
    }
}
