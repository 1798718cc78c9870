//! KDL 2 text to a KDL document, with the faults of the KDL parser in our words.
//!
//! The parser of the `kdl` crate recurses: once for each open block or comment, and once for each token at the top that it does not
//! expect. So blocks and comments may be nested [`MAX_DEPTH`] deep, texts may be [`MAX_BYTES`] long, and the parser runs on a stack
//! that is large enough for a text of its length that is nothing but faults (measured: under 600 bytes of stack a byte of text).
//! Only what is used of that stack takes memory.

use kdl::{KdlDiagnostic, KdlDocument};

use crate::fault::{Fault, Span};

/// Blocks and block comments may be nested this deep.
const MAX_DEPTH: usize = 24;

/// The longest text.
const MAX_BYTES: usize = 1 << 20;

/// More syntax faults than this are not shown: after the first few, they are echoes.
const MAX_FAULTS: usize = 50;

/// Stack that a text needs whatever its length, and for each of its bytes.
const STACK: (usize, usize) = (4 << 20, 1 << 10);

/// Parses `text`, or gives its syntax faults.
pub(super) fn parse(text: &str) -> Result<KdlDocument, Vec<Fault>> {
    if text.len() > MAX_BYTES {
        let span = Span { offset: MAX_BYTES, len: 0 };
        let message = format!("the text is longer than {MAX_BYTES} bytes");
        return Err(vec![Fault::new("too-long", span, message, "no further than here")]);
    }
    too_deep(text).map_or(Ok(()), |fault| Err(vec![fault]))?;
    let stack = STACK.0 + STACK.1 * text.len();
    let parsed = std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("kdl".to_owned()).stack_size(stack);
        let thread = builder.spawn_scoped(scope, || KdlDocument::parse_v2(text)).ok()?;
        thread.join().ok()
    });
    match parsed {
        Some(Ok(document)) => Ok(document),
        Some(Err(error)) => {
            Err(error.diagnostics.into_iter().take(MAX_FAULTS).map(|each| fault(each, text)).collect())
        }
        None => {
            let message = "the KDL parser gave up on this text";
            let fault = Fault::new("syntax", Span::default(), message, "the whole text");
            Err(vec![fault.fix("look for a slip in braces and quotes")])
        }
    }
}

/// A fault of the KDL parser, in our words.
fn fault(diagnostic: KdlDiagnostic, text: &str) -> Fault {
    let span = last_word(diagnostic.span.into(), text);
    let word = text.get(span.offset..span.offset + span.len).unwrap_or_default();
    if let Some(fix) = quoted(word) {
        let message = format!("not KDL 2: `{word}` is no value without quotes");
        return Fault::new("syntax", span, message, "not quoted").expected("text in quotes").fix(fix);
    }
    let message = sentence(diagnostic.message.as_deref().unwrap_or("this is not KDL"));
    let label = diagnostic.label.unwrap_or_else(|| "here".to_owned());
    let fault = Fault::new("syntax", span, format!("not KDL 2: {message}"), label);
    if word.starts_with('"') && !word[1..].contains('"') {
        return fault.fix(format!("close the quotes: `{}\"`", word.trim_end()));
    }
    match diagnostic.help {
        Some(help) => fault.fix(sentence(&help)),
        None => fault.expected("KDL 2, see https://kdl.dev/spec"),
    }
}

/// A sentence as our messages are written: it begins small and has no full stop.
fn sentence(text: &str) -> String {
    let mut text = text.trim_end_matches('.').to_owned();
    if let Some(first) = text.get(..1).map(str::to_lowercase) {
        text.replace_range(..1, &first);
    }
    text
}

/// The parser's spans often begin at the start of the node; the slip is at their end. The last word of the span, to its own end.
fn last_word(span: Span, text: &str) -> Span {
    let end = span.offset.saturating_add(span.len);
    let Some(words) = text
        .get(span.offset..end)
        .map(str::trim_end)
        .filter(|words| !words.contains('"') || words.contains('='))
    else {
        return span;
    };
    let start = words.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let offset = span.offset + start;
    let rest = text.get(offset..).unwrap_or_default();
    let stop = |c: char| c.is_whitespace() || "{};".contains(c);
    let len = rest.find(stop).unwrap_or(rest.len()).max(words.len() - start);
    Span { offset, len }
}

/// The fix for a version, an address, a path or a range that stands without quotes.
fn quoted(word: &str) -> Option<String> {
    let (key, value) = word.split_once('=').map_or(("", word), |(key, value)| (key, value));
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/[]~".contains(c);
    let key_is_plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if value.is_empty() || !value.chars().all(plain) || !key_is_plain {
        return None;
    }
    let key = if key.is_empty() { String::new() } else { format!("{key}=") };
    Some(format!("write `{key}\"{value}\"`"))
}

/// Refuses texts that nest too deep. It does not look for strings, so it may count more than there is.
fn too_deep(text: &str) -> Option<Fault> {
    let bytes = text.as_bytes();
    let (mut blocks, mut comments, mut at) = (0_usize, 0_usize, 0);
    while at < bytes.len() {
        let pair = bytes.get(at..at + 2).unwrap_or_default();
        match (pair, bytes[at]) {
            (b"/*", _) => comments += 1,
            (b"*/", _) => comments = comments.saturating_sub(1),
            (_, b'{') => blocks += 1,
            (_, b'}') => blocks = blocks.saturating_sub(1),
            _ => {}
        }
        if blocks > MAX_DEPTH || comments > MAX_DEPTH {
            let message = format!("blocks or comments are nested more than {MAX_DEPTH} deep");
            let fault = Fault::new("too-deep", Span { offset: at, len: 1 }, message, "one too many");
            return Some(fault.expected("a flat description"));
        }
        at += if matches!(pair, b"/*" | b"*/") { 2 } else { 1 };
    }
    None
}
