//! Values that steps hand to later steps. A secret one is wiped when it is dropped, never prints itself, and [`Redactor`] takes it out of
//! lines and reasons that programs wrote before they become events.

use std::fmt;
use std::sync::{Arc, RwLock};

use zeroize::Zeroizing;

/// Shorter lines of a secret are not looked for: they would hit ordinary words.
const SHORTEST_REDACTED: usize = 6;

/// What stands for a secret.
const REDACTED: &str = "[secret]";

/// A value that a step gave.
pub struct Value {
    text: Zeroizing<String>,
    secret: bool,
}

impl Value {
    /// Takes over the bytes of a step's output.
    ///
    /// # Errors
    /// They are not UTF-8 text and could not stand in a file's content. The bytes are wiped.
    pub fn new(bytes: Vec<u8>, secret: bool) -> Result<Self, NotText> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { text: Zeroizing::new(text), secret }),
            Err(fault) => {
                let at = fault.utf8_error().valid_up_to();
                drop(Zeroizing::new(fault.into_bytes()));
                Err(NotText { at })
            }
        }
    }

    /// The text itself. Whoever takes it must not show it when [`Self::is_secret`].
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether it must not be shown or kept.
    pub fn is_secret(&self) -> bool {
        self.secret
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes{})", self.text.len(), if self.secret { ", secret" } else { "" })
    }
}

/// A value that is not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value that was read is not text (byte {at})")]
pub struct NotText {
    at: usize,
}

/// Knows the secrets of a run and takes them out of text.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    secrets: RwLock<Vec<Arc<Value>>>,
}

impl Redactor {
    pub(crate) fn learn(&self, value: &Arc<Value>) {
        if value.is_secret() {
            self.secrets.write().expect("no writer panics").push(Arc::clone(value));
        }
    }

    /// `text` without any line of any secret.
    pub(crate) fn clean(&self, text: &str) -> String {
        let secrets = self.secrets.read().expect("no writer panics");
        let mut cleaned = text.to_owned();
        let lines = secrets.iter().flat_map(|value| value.expose().lines().map(str::trim));
        for line in lines.filter(|line| line.len() >= SHORTEST_REDACTED) {
            if cleaned.contains(line) {
                cleaned = cleaned.replace(line, REDACTED);
            }
        }
        cleaned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_secret_is_taken_out() {
        let redactor = Redactor::default();
        let secret = Value::new(b"abcdef.0123456789\nsecond-line\n".to_vec(), true).expect("text");
        redactor.learn(&Arc::new(secret));
        redactor.learn(&Arc::new(Value::new(b"public-text".to_vec(), false).expect("text")));
        let cleaned = redactor.clean("join --token abcdef.0123456789 with second-line, public-text");
        assert_eq!(cleaned, "join --token [secret] with [secret], public-text");
    }

    #[test]
    fn a_value_does_not_print_itself() {
        let value = Value::new(b"hunter22".to_vec(), true).expect("text");
        assert_eq!(format!("{value:?}"), "Value(8 bytes, secret)");
        assert_eq!(Value::new(vec![b'a', 0xff], true).expect_err("not text"), NotText { at: 1 });
    }
}
