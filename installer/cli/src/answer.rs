//! Answers on standard output. A reader that has seen enough (`qiji inspect … | head`) is no fault.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use crate::failure::{Classify, Failure};

/// Writes an answer and ends its last line.
pub(crate) fn answer(text: impl Display) -> Result<(), Failure> {
    let mut text = text.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.failed().map_err(|failure| failure.while_doing("cannot write the answer")),
    }
}
