//! How a verb ends badly: a kind, which sets the exit status, a chain of causes that is printed once, and hints apart from it.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// The kind of a failure; its number is the exit status that scripts count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The work failed.
    Failed = 1,
    /// The input is wrong; nothing was changed.
    Input = 2,
    /// There is a difference, and the verb was asked whether there is.
    Difference = 3,
    /// A signature or digest does not hold; nothing was changed.
    Untrusted = 4,
}

/// A verb's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    /// Outermost first.
    chain: Vec<String>,
    hints: Vec<String>,
    /// Text that is printed as it stands instead of the chain: rendered faults, or nothing when all has been said.
    rendered: Option<String>,
}

impl Failure {
    /// A failure with one sentence.
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, chain: vec![message.to_string()], hints: Vec::new(), rendered: None }
    }

    /// A failure whose words have been put into form already.
    pub(crate) fn rendered(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, chain: Vec::new(), hints: Vec::new(), rendered: Some(text.into()) }
    }

    /// A failure whose words are on the screen already.
    pub(crate) fn said(kind: Kind) -> Self {
        Self::rendered(kind, "")
    }

    /// From an error and its chain of causes.
    pub(crate) fn from_error(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        let mut chain: Vec<String> = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Some libraries repeat their cause in their own message.
            if !chain.last().is_some_and(|last| last.contains(&text)) {
                chain.push(text);
            }
            next = error.source();
        }
        Self { kind, chain, hints: Vec::new(), rendered: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Puts the deed in front of the causes.
    #[must_use]
    pub(crate) fn while_doing(mut self, deed: impl Into<String>) -> Self {
        self.chain.insert(0, deed.into());
        self
    }

    /// The causes in one line, without hints: for words that go on around them.
    pub(crate) fn reasons(&self) -> String {
        self.chain.join(": ")
    }

    /// The exit status.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.rendered {
            return f.write_str(text.trim_end());
        }
        for (depth, text) in self.chain.iter().enumerate() {
            match depth {
                0 => write!(f, "error: {text}")?,
                _ => write!(f, "\n  because: {text}")?,
            }
        }
        for hint in &self.hints {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Gives an error its kind.
pub(crate) trait Classify<T> {
    /// The work failed.
    fn failed(self) -> Result<T, Failure>;
    /// The input is wrong.
    fn input(self) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> Classify<T> for Result<T, E> {
    fn failed(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::from_error(Kind::Failed, &error))
    }

    fn input(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::from_error(Kind::Input, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_printed_once_with_its_hints() {
        let cause = std::io::Error::other("disk on fire");
        let failure =
            Failure::from_error(Kind::Failed, &cause).while_doing("cannot write x").hint("put it out");
        assert_eq!(failure.to_string(), "error: cannot write x\n  because: disk on fire\n  hint: put it out");
    }
}
