//! The one error of the agent's deeds: a chain of plain sentences, with a hint and the last lines of a program where there are any.
//! It ends in a [`Failure`] on the wire; nothing branches on it, so it is not an enum.

use std::io;

use crate::wire::Failure;

/// Why a deed could not be done. Holds the chain of causes, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.reasons.join(": "))]
pub struct Fault(pub Failure);

impl Fault {
    /// A fault with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Failure { reasons: vec![message.into()], ..Failure::default() })
    }

    /// The same with the next step for the reader.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same with the last lines of a program.
    #[must_use]
    pub fn output(mut self, output: &str) -> Self {
        self.0.output = output.lines().map(str::to_owned).collect();
        self
    }

    /// The same as the cause of a wider message.
    #[must_use]
    pub fn within(mut self, message: impl Into<String>) -> Self {
        self.0.reasons.insert(0, message.into());
        self
    }
}

impl From<io::Error> for Fault {
    fn from(fault: io::Error) -> Self {
        let full = fault.raw_os_error() == Some(28) || fault.kind() == io::ErrorKind::StorageFull;
        let mut result = Self::new(fault.to_string());
        let mut cause = std::error::Error::source(&fault);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if result.0.reasons.last().is_none_or(|last| !last.ends_with(&text)) {
                result.0.reasons.push(text);
            }
            cause = inner.source();
        }
        if full {
            result.0.hint = Some("the disk is full: make room and run the same command again".to_owned());
        }
        result
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<serde_json::Error> for Fault {
    fn from(fault: serde_json::Error) -> Self {
        Self::new(format!("unreadable step: {fault}"))
    }
}
