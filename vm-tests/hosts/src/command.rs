//! Running the machine's own tools: `ip`, `nft`, `tc`, `nsenter` and friends.
//!
//! A tool that fails becomes an error that holds its command line and the end of what it said.

use std::fmt;
use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use crate::HostsError;

/// The most of a tool's standard error that an error message repeats, in bytes.
const STDERR_SHOWN: usize = 2000;

/// What a command in a host answered.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output, as text (bytes that are not UTF-8 are replaced).
    pub stdout: String,
    /// Its standard error, as text.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn ok(&self) -> bool {
        self.status.success()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nstdout: {}\nstderr: {}", self.status, self.stdout.trim_end(), self.stderr.trim_end())
    }
}

/// Runs `program` with `args` and gives back its standard output. An exit status other than 0 is an error.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String, HostsError> {
    run_with_input(program, args, b"")
}

/// Like [`run`], with `input` on its standard input.
pub(crate) fn run_with_input(program: &str, args: &[&str], input: &[u8]) -> Result<String, HostsError> {
    let mut command = Command::new(program);
    command.args(args);
    let output = output(&mut command, input)?;
    if output.ok() { Ok(output.stdout) } else { Err(failed(&command, &output)) }
}

/// Runs `command` with `input` on its standard input and gives back whatever came of it.
pub(crate) fn output(command: &mut Command, input: &[u8]) -> Result<Output, HostsError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| HostsError::Spawn { command: line(command), source })?;
    let stdin = child.stdin.take();
    let answer = thread::scope(|scope| {
        scope.spawn(move || {
            // A command that ends without reading its input closes the pipe; its status says whether that was right.
            let _ = stdin.map(|mut pipe| pipe.write_all(input));
        });
        child.wait_with_output()
    });
    let answer = answer.map_err(|source| HostsError::Spawn { command: line(command), source })?;
    Ok(Output {
        status: answer.status,
        stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
    })
}

/// The error for a command that answered `output`.
pub(crate) fn failed(command: &Command, output: &Output) -> HostsError {
    let stderr = output.stderr.trim();
    let start = stderr.len().saturating_sub(STDERR_SHOWN);
    let start = (start..stderr.len()).find(|&at| stderr.is_char_boundary(at)).unwrap_or(0);
    HostsError::Failed {
        command: line(command),
        status: output.status.to_string(),
        stderr: stderr[start..].to_owned(),
    }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
