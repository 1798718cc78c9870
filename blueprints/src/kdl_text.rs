//! Writing KDL 2 the way this project lays it out: two blanks a level, strings always in quotes, one node a line.

use std::fmt::Write as _;

/// A KDL text that grows line by line.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
    depth: usize,
}

/// One node on its line, before the end of the line.
pub(crate) struct Line<'a> {
    text: &'a mut Text,
}

impl Text {
    /// Starts a node.
    pub(crate) fn node(&mut self, name: &str) -> Line<'_> {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
        self.out.push_str(name);
        Line { text: self }
    }

    /// An empty line.
    pub(crate) fn gap(&mut self) {
        self.out.push('\n');
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }
}

impl Line<'_> {
    /// An argument.
    pub(crate) fn arg(self, value: &str) -> Self {
        self.text.out.push(' ');
        quote(&mut self.text.out, value);
        self
    }

    /// Arguments.
    pub(crate) fn args<'v>(self, values: impl IntoIterator<Item = &'v str>) -> Self {
        values.into_iter().fold(self, Line::arg)
    }

    /// A property.
    pub(crate) fn prop(self, name: &str, value: &str) -> Self {
        let _ = write!(self.text.out, " {name}=");
        quote(&mut self.text.out, value);
        self
    }

    /// A property that is left out where it has no value.
    pub(crate) fn maybe_prop(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.prop(name, value),
            None => self,
        }
    }

    /// A property that is a number.
    pub(crate) fn number(self, name: &str, value: u64) -> Self {
        let _ = write!(self.text.out, " {name}={value}");
        self
    }

    /// Ends the line.
    pub(crate) fn end(self) {
        self.text.out.push('\n');
    }

    /// Ends the line with a block; none where `body` writes nothing.
    pub(crate) fn block(self, body: impl FnOnce(&mut Text)) {
        let before = self.text.out.len();
        self.text.out.push_str(" {\n");
        let open = self.text.out.len();
        self.text.depth += 1;
        body(self.text);
        self.text.depth -= 1;
        if self.text.out.len() == open {
            self.text.out.truncate(before);
            self.text.out.push('\n');
            return;
        }
        for _ in 0..self.text.depth {
            self.text.out.push_str("  ");
        }
        self.text.out.push_str("}\n");
    }
}

/// A quoted string (KDL 2.0.0, section 3.11): what may not or should not stand there as it is becomes an escape.
fn quote(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{85}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
