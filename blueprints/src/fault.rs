//! Faults in a text that a person wrote: what is wrong, where, what was expected, and a likely fix.
//!
//! Every parser of this crate gathers all faults of its text before it answers. [`Faults`] carries them with the text, so that they
//! can be shown with the offending lines ([`Faults::render`]) or given to a program ([`Faults::to_json`]). They are sorted by place.
//! A fault's span always lies inside the text and on character borders.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};

/// A stretch of a text, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
}

impl From<miette::SourceSpan> for Span {
    fn from(span: miette::SourceSpan) -> Self {
        Self { offset: span.offset(), len: span.len() }
    }
}

/// A value together with the place where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Puts `value` at `span`.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// The same place with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }
}

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The text cannot be used.
    Error,
    /// The text can be used; a person should look at this.
    Warning,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Stable name of the kind of fault, such as `unknown-word`, for programs.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The offending words.
    pub span: Span,
    /// What is wrong right there, a few words.
    pub label: String,
    /// What could stand there instead.
    pub expected: Option<String>,
    /// A likely fix.
    pub fix: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<(Span, String)>,
}

impl Fault {
    /// An error of kind `code` at `span`.
    pub fn new(code: &'static str, span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            span,
            label: label.into(),
            expected: None,
            fix: None,
            related: Vec::new(),
        }
    }

    /// Makes it a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Says what could stand there.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Says how it is likely mended.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Says how it is likely mended, where that is known.
    #[must_use]
    pub fn maybe_fix(mut self, fix: Option<String>) -> Self {
        self.fix = fix.or(self.fix);
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    fn help_text(&self) -> Option<String> {
        let lines = [
            self.expected.as_ref().map(|text| format!("expected {text}")),
            self.fix.as_ref().map(|text| format!("fix: {text}")),
        ];
        let lines: Vec<_> = lines.into_iter().flatten().collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help_text().map(|text| Box::new(text) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let own =
            LabeledSpan::new_primary_with_span(Some(self.label.clone()), (self.span.offset, self.span.len));
        let others = self
            .related
            .iter()
            .map(|(span, label)| LabeledSpan::new_with_span(Some(label.clone()), (span.offset, span.len)));
        Some(Box::new(std::iter::once(own).chain(others)))
    }
}

/// All faults of one text, sorted by place.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Name of the text, most often a path.
    pub source_name: String,
    /// The text.
    pub source_text: String,
    /// The faults.
    pub faults: Vec<Fault>,
}

impl Faults {
    /// Gathers `faults` of the text, sorts them, and moves spans that reach over its end back into it.
    pub fn new(source_name: &str, source_text: &str, mut faults: Vec<Fault>) -> Self {
        for fault in &mut faults {
            clamp(&mut fault.span, source_text);
            for (span, _) in &mut fault.related {
                clamp(span, source_text);
            }
        }
        faults.sort_by(|a, b| (a.span, a.code, &a.message).cmp(&(b.span, b.code, &b.message)));
        faults.dedup();
        Self { source_name: source_name.to_owned(), source_text: source_text.to_owned(), faults }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.faults.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// The faults for people: each with its lines, label, what was expected and the fix. `width` is that of the terminal.
    pub fn render(&self, colour: bool, width: usize) -> String {
        let width = width.max(40);
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width)
            .with_wrap_lines(false)
            .with_links(false);
        let source = NamedSource::new(&self.source_name, self.source_text.clone());
        let mut out = String::new();
        for fault in &self.faults {
            let placed = Placed { fault, source: &source, width };
            if self.has_long_line(fault) || handler.render_report(&mut out, &placed).is_err() {
                out.push_str(&self.plain(fault));
            }
            out.push('\n');
        }
        out.push_str(&self.to_string());
        out.push('\n');
        out
    }

    /// Whether one of the fault's lines is too long to be drawn: miette cannot point at columns above 65535.
    fn has_long_line(&self, fault: &Fault) -> bool {
        const DRAWN: usize = 4096;
        let spans = std::iter::once(fault.span).chain(fault.related.iter().map(|(span, _)| *span));
        let ends =
            |at: usize| self.source_text[at..].find('\n').map_or(self.source_text.len(), |end| at + end);
        let starts = |at: usize| self.source_text[..at].rfind('\n').map_or(0, |start| start + 1);
        spans.into_iter().any(|span| ends(span.offset + span.len) - starts(span.offset) > DRAWN)
    }

    /// The fault without its lines.
    fn plain(&self, fault: &Fault) -> String {
        let (line, column) = self.place(fault.span.offset);
        let help = fault.help_text().map(|text| format!("  help: {text}\n")).unwrap_or_default();
        let place = format!("{}:{line}:{column}", self.source_name);
        format!("{}\n\n  {} ({})\n  at {place}\n{help}", fault.code, fault.message, fault.label)
    }

    /// The faults for programs: an array of objects with `file`, `line`, `column` (both from 1; columns count characters), `end`
    /// (`line` and `column` after the last character), `code`, `severity`, `message`, `label`, `expected`, `fix` and `related`.
    pub fn to_json(&self) -> Value {
        self.faults.iter().map(|fault| self.fault_json(fault)).collect()
    }

    fn fault_json(&self, fault: &Fault) -> Value {
        let (line, column) = self.place(fault.span.offset);
        let (end_line, end_column) = self.place(fault.span.offset + fault.span.len);
        let related = fault.related.iter().map(|(span, label)| {
            let (line, column) = self.place(span.offset);
            json!({ "line": line, "column": column, "label": label })
        });
        json!({
            "file": self.source_name,
            "line": line,
            "column": column,
            "end": { "line": end_line, "column": end_column },
            "code": fault.code,
            "severity": match fault.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "message": fault.message,
            "label": fault.label,
            "expected": fault.expected,
            "fix": fault.fix,
            "related": related.collect::<Vec<_>>(),
        })
    }

    /// Line and column, from 1, of the byte at `offset`.
    fn place(&self, offset: usize) -> (usize, usize) {
        let before = &self.source_text[..offset];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warnings = self.faults.iter().filter(|fault| fault.severity == Severity::Warning).count();
        let errors = self.faults.len() - warnings;
        let counted = |count: usize, what: &str| {
            (count > 0).then(|| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
        };
        let parts: Vec<_> =
            [counted(errors, "fault"), counted(warnings, "warning")].into_iter().flatten().collect();
        let parts = if parts.is_empty() { "no fault".to_owned() } else { parts.join(" and ") };
        write!(f, "{parts} in {}", self.source_name)
    }
}

impl std::error::Error for Faults {}

impl Diagnostic for Faults {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source_text)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.faults.iter().map(|fault| fault as &dyn Diagnostic)))
    }
}

/// A fault together with the text that it is about, which is what miette can draw.
#[derive(Debug)]
struct Placed<'a> {
    fault: &'a Fault,
    source: &'a NamedSource<String>,
    width: usize,
}

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.fault, f)
    }
}

impl std::error::Error for Placed<'_> {}

impl Diagnostic for Placed<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.fault.code()
    }

    fn severity(&self) -> Option<miette::Severity> {
        self.fault.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        // Indented by miette as far as `  help: `; broken at blanks only, so that names stay whole.
        let text = self.fault.help_text()?;
        let lines: Vec<_> = text.lines().map(|line| wrap(line, self.width.saturating_sub(8))).collect();
        Some(Box::new(lines.join("\n")))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.fault.labels()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }
}

/// Breaks a line at blanks.
fn wrap(line: &str, width: usize) -> String {
    let (mut out, mut used) = (String::new(), 0);
    for word in line.split(' ') {
        let len = word.chars().count();
        if used > 0 && used + 1 + len > width {
            out.push_str("\n  ");
            used = 2;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += len;
    }
    out
}

/// Moves a span into the text and onto character borders.
fn clamp(span: &mut Span, text: &str) {
    let mut start = span.offset.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.offset.saturating_add(span.len).clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    *span = Span { offset: start, len: end - start };
}

/// The name among `known` that `typed` was most likely meant to be.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = typed.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&lower, name), name))
        .filter(|(likeness, name)| *likeness >= 0.5 || (lower.len() >= 3 && name.starts_with(&lower)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Names for people: `a`, `b` or `c`, each in backquotes.
pub(crate) fn any_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}
