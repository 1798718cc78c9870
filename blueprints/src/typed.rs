//! The first layer: KDL text held to a table of words.
//!
//! A table ([`Word`]) says which nodes may stand where, with which arguments, properties and children. [`read`] parses the text and
//! gives a tree of [`Entry`]s in which every word is known, every value is of the right sort (text, number) and keeps its span. The
//! same tables print the reference of the language (`reference.rs`), so that the two cannot drift apart.
//!
//! Guarantees: never panics; gives every entry that could be read, together with all
//! faults, so that later layers can look for more.

mod syntax;

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};

use crate::fault::{Fault, Span, Spanned, any_of, nearest};

/// What a value means; says what was expected where one is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A whole number in a range.
    Number(u64, u64),
    /// A DNS label.
    Label,
    /// DNS labels, as a range.
    Labels,
    /// A semantic version.
    Version,
    /// An IP address.
    Address,
    /// IP addresses, as a range.
    Addresses,
    /// An address range in CIDR notation.
    Subnet,
    /// Host and port.
    Endpoint,
    /// A DNS domain.
    Domain,
    /// A path of a file on the machine where `qiji` runs.
    Path,
    /// A public SSH key.
    HostKey,
    /// The key of a Kubernetes label or taint.
    LabelKey,
    /// The value of a Kubernetes label or taint.
    LabelValue,
    /// The full name of an image.
    Image,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A name in the catalogue: of an edition, chip, and so on.
    Catalogue(&'static str),
}

impl Kind {
    /// What may stand there, for people.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Text => "text in quotes".to_owned(),
            Self::Number(least, most) => format!("a whole number from {least} to {most}"),
            Self::Label => "a DNS label: up to 63 of a-z, 0-9 and `-`, not `-` first or last".to_owned(),
            Self::Labels => "a DNS label, or a range of them such as `w[01-40]`".to_owned(),
            Self::Version => "a version with three numbers such as `1.2.3`".to_owned(),
            Self::Address => "an IP address such as `10.20.1.11`".to_owned(),
            Self::Addresses => "an IP address, or a range of them such as `10.20.1.[21-60]`".to_owned(),
            Self::Subnet => "an address range such as `10.20.1.0/24`".to_owned(),
            Self::Endpoint => "a host and a port such as `10.20.1.11:6443`".to_owned(),
            Self::Domain => "a DNS domain such as `cluster.local`".to_owned(),
            Self::Path => "the path of a file; a leading `~/` is the home of who runs qiji".to_owned(),
            Self::HostKey => "a public key such as `ssh-ed25519 AAAA…`".to_owned(),
            Self::LabelKey => "a Kubernetes label key such as `zone` or `example.com/zone`".to_owned(),
            Self::LabelValue => "a label value: up to 63 of a-z, A-Z, 0-9, `-`, `_` and `.`".to_owned(),
            Self::Image => "an image with registry and tag such as `docker.io/library/nginx:1.29`".to_owned(),
            Self::Choice(words) => any_of(words.iter().copied()),
            Self::Catalogue(what) => format!("{what} that the catalogue knows"),
        }
    }
}

/// A positional argument of a word.
#[derive(Debug)]
pub(crate) struct Argument {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// How often it stands there: once, or one time or more.
    pub(crate) many: bool,
    pub(crate) doc: &'static str,
}

/// A property of a word.
#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    /// What holds where it is not written.
    pub(crate) default: &'static str,
    pub(crate) doc: &'static str,
}

/// How often a word may stand in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    Once,
    AtMostOnce,
    AtLeastOnce,
    Any,
}

/// A word that may stand in the block of another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Child {
    pub(crate) word: &'static Word,
    pub(crate) times: Times,
}

/// One word of a language.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    /// What holds where it is not written.
    pub(crate) default: &'static str,
    pub(crate) arguments: &'static [Argument],
    pub(crate) properties: &'static [Property],
    pub(crate) children: &'static [Child],
}

/// A value as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
}

/// A node that the table knows.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) word: &'static Word,
    /// Span of the word itself.
    pub(crate) name: Span,
    arguments: Vec<Spanned<Value>>,
    properties: Vec<(&'static str, Spanned<Value>)>,
    children: Vec<Entry>,
}

impl Entry {
    /// The texts among its arguments.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Spanned<&str>> {
        self.arguments.iter().filter_map(|argument| match &argument.value {
            Value::Text(text) => Some(Spanned::new(text.as_str(), argument.span)),
            Value::Number(_) => None,
        })
    }

    /// Its first argument, a text.
    pub(crate) fn text(&self) -> Option<Spanned<&str>> {
        self.texts().next()
    }

    /// The numbers among its arguments.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.arguments.iter().filter_map(|argument| match argument.value {
            Value::Number(number) => Some(number),
            Value::Text(_) => None,
        })
    }

    /// A property that is a text.
    pub(crate) fn property(&self, name: &str) -> Option<Spanned<&str>> {
        self.find(name).and_then(|value| match &value.value {
            Value::Text(text) => Some(Spanned::new(text.as_str(), value.span)),
            Value::Number(_) => None,
        })
    }

    /// A property that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<Spanned<u64>> {
        self.find(name).and_then(|value| match value.value {
            Value::Number(number) => Some(Spanned::new(number, value.span)),
            Value::Text(_) => None,
        })
    }

    fn find(&self, name: &str) -> Option<&Spanned<Value>> {
        self.properties.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What stands in its block.
    pub(crate) fn children(&self) -> &[Self] {
        &self.children
    }

    /// What stands in its block under this name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.word.name == name)
    }

    /// The one that stands in its block under this name.
    pub(crate) fn one(&self, name: &str) -> Option<&Self> {
        self.all(name).next()
    }
}

/// Reads a text whose top-level words are the children of `root`. The entry given stands for the whole file.
pub(crate) fn read(text: &str, root: &'static Word) -> (Entry, Vec<Fault>) {
    let mut reader = Reader { root, faults: Vec::new() };
    let mut whole =
        Entry { word: root, name: Span::default(), arguments: vec![], properties: vec![], children: vec![] };
    match syntax::parse(text) {
        Ok(document) => whole.children = reader.block(document.nodes(), root, Span::default()),
        Err(faults) => reader.faults = faults,
    }
    (whole, reader.faults)
}

struct Reader {
    root: &'static Word,
    faults: Vec<Fault>,
}

impl Reader {
    fn block(&mut self, nodes: &[KdlNode], parent: &'static Word, place: Span) -> Vec<Entry> {
        let mut entries = Vec::new();
        for node in nodes {
            let name = node.name().value();
            match parent.children.iter().find(|child| child.word.name == name) {
                Some(child) => entries.push(self.entry(node, child.word)),
                None => self.unknown_word(node, parent),
            }
        }
        for child in parent.children {
            self.count(&entries, child, parent, place);
        }
        entries
    }

    fn entry(&mut self, node: &KdlNode, word: &'static Word) -> Entry {
        let name: Span = node.name().span().into();
        if let Some(ty) = node.ty() {
            self.annotation(ty);
        }
        let (mut arguments, mut properties) = (Vec::new(), Vec::new());
        let mut position = 0;
        for entry in node.entries() {
            if let Some(ty) = entry.ty() {
                self.annotation(ty);
            }
            if entry.name().is_some() {
                self.property(entry, word, &mut properties);
            } else {
                self.argument(entry, word, position, &mut arguments);
                position += 1;
            }
        }
        self.missing(word, position, &properties, name);
        let children = match node.children() {
            Some(block) if word.children.is_empty() && !block.nodes().is_empty() => {
                let message = format!("`{}` has no block of its own", word.name);
                self.faults.push(Fault::new("unexpected-block", name, message, "has a block after it"));
                Vec::new()
            }
            block => self.block(block.map_or(&[], KdlDocument::nodes), word, name),
        };
        let properties = properties.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Entry { word, name, arguments, properties, children }
    }

    fn argument(
        &mut self,
        entry: &KdlEntry,
        word: &'static Word,
        position: usize,
        arguments: &mut Vec<Spanned<Value>>,
    ) {
        let spec = match word.arguments.get(position) {
            Some(spec) => Some(spec),
            None => word.arguments.last().filter(|last| last.many),
        };
        let Some(spec) = spec else {
            let takes = match word.arguments.len() {
                0 => "no argument".to_owned(),
                1 => "one argument".to_owned(),
                count => format!("{count} arguments"),
            };
            let message = format!("`{}` takes {takes}", word.name);
            let fault = Fault::new("unexpected-argument", entry.span().into(), message, "one too many");
            self.faults.push(fault.expected(usage(word)));
            return;
        };
        let what = format!("the {} of `{}`", spec.name, word.name);
        let value = self.value(entry, spec.kind, &what);
        arguments.extend(value);
    }

    fn property(
        &mut self,
        entry: &KdlEntry,
        word: &'static Word,
        properties: &mut Vec<(&'static str, Option<Spanned<Value>>)>,
    ) {
        let Some(key) = entry.name() else { return };
        let span: Span = entry.span().into();
        let Some(spec) = word.properties.iter().find(|spec| spec.name == key.value()) else {
            let message = format!("`{}` has no property `{}`", word.name, key.value());
            let fault = Fault::new("unknown-property", key.span().into(), message, "not known here")
                .expected(usage(word));
            let known = word.properties.iter().map(|spec| spec.name);
            let fix = nearest(key.value(), known).map(|name| format!("did you mean `{name}=`?"));
            let as_child = word.children.iter().any(|child| child.word.name == key.value());
            let fix =
                fix.or_else(|| as_child.then(|| format!("write it inside the block: `{} …`", key.value())));
            self.faults.push(fault.maybe_fix(fix));
            return;
        };
        if properties.iter().any(|(name, _)| *name == spec.name) {
            let message = format!("`{}=` is written twice", spec.name);
            self.faults.push(
                Fault::new("duplicate-property", span, message, "the second").fix("take one of them away"),
            );
            return;
        }
        let what = format!("`{}=` of `{}`", spec.name, word.name);
        properties.push((spec.name, self.value(entry, spec.kind, &what)));
    }

    /// A value of the right sort, or a fault. What it says is left to the next layer.
    fn value(&mut self, entry: &KdlEntry, kind: Kind, what: &str) -> Option<Spanned<Value>> {
        let span: Span = entry.span().into();
        let number = matches!(kind, Kind::Number(..));
        match entry.value() {
            KdlValue::String(text) if !number => return Some(Spanned::new(Value::Text(text.clone()), span)),
            KdlValue::Integer(value) if number => {
                if let (Kind::Number(least, most), Ok(value)) = (kind, u64::try_from(*value))
                    && (least..=most).contains(&value)
                {
                    return Some(Spanned::new(Value::Number(value), span));
                }
                let message = format!("{what} is out of range");
                self.faults.push(
                    Fault::new("out-of-range", span, message, "out of range").expected(kind.describe()),
                );
                return None;
            }
            _ => {}
        }
        let (is, fix) = match entry.value() {
            KdlValue::String(text) => (
                "text",
                text.parse::<u32>().is_ok().then(|| format!("write the number without quotes: {text}")),
            ),
            KdlValue::Integer(value) => ("a number", Some(format!("write it in quotes: \"{value}\""))),
            KdlValue::Float(value) => ("a number", Some(format!("write it in quotes: \"{value:?}\""))),
            KdlValue::Bool(_) => ("true or false", None),
            KdlValue::Null => ("nothing", None),
        };
        let message = format!("{what} must be {}", if number { "a number" } else { "text" });
        let fault = Fault::new("wrong-type", span, message, format!("this is {is}"));
        self.faults.push(fault.expected(kind.describe()).maybe_fix(fix));
        None
    }

    fn annotation(&mut self, ty: &kdl::KdlIdentifier) {
        let message = format!("the type annotation `({})` has no meaning here", ty.value());
        let fault = Fault::new("type-annotation", ty.span().into(), message, "no types are written here");
        self.faults.push(fault.fix("take it away"));
    }

    fn missing(
        &mut self,
        word: &'static Word,
        arguments: usize,
        properties: &[(&'static str, Option<Spanned<Value>>)],
        name: Span,
    ) {
        for spec in word.arguments.iter().skip(arguments) {
            let message = format!("`{}` lacks its {}", word.name, spec.name);
            let fault = Fault::new("missing-argument", name, message, format!("{} missing", spec.name));
            self.faults.push(fault.expected(spec.kind.describe()).fix(format!("write {}", usage(word))));
        }
        let written = |spec: &Property| properties.iter().any(|(name, _)| *name == spec.name);
        for spec in word.properties.iter().filter(|spec| spec.required && !written(spec)) {
            let message = format!("`{}` lacks `{}=`", word.name, spec.name);
            let fault = Fault::new("missing-property", name, message, format!("`{}=` missing", spec.name));
            self.faults.push(fault.expected(spec.kind.describe()).fix(format!("write {}", usage(word))));
        }
    }

    fn unknown_word(&mut self, node: &KdlNode, parent: &'static Word) {
        let typed = node.name().value();
        let here =
            if parent.name.is_empty() { "at the top".to_owned() } else { format!("in `{}`", parent.name) };
        let message = format!("`{typed}` is not a word that can stand {here}");
        let known: Vec<_> = parent.children.iter().map(|child| child.word.name).collect();
        let homes = homes(self.root, typed);
        let fix = if homes.is_empty() {
            nearest(typed, known.iter().copied()).map(|name| format!("did you mean `{name}`?"))
        } else {
            Some(format!("move it into {}", any_of(homes)))
        };
        let fault = Fault::new("unknown-word", node.name().span().into(), message, "not known here");
        self.faults.push(fault.expected(any_of(known)).maybe_fix(fix));
    }

    fn count(&mut self, entries: &[Entry], child: &Child, parent: &'static Word, place: Span) {
        let name = child.word.name;
        let mut found = entries.iter().filter(|entry| entry.word.name == name);
        let first = found.next();
        if first.is_none() && matches!(child.times, Times::Once | Times::AtLeastOnce) {
            let owner =
                if parent.name.is_empty() { "the file".to_owned() } else { format!("`{}`", parent.name) };
            let message = format!("{owner} lacks `{name}`");
            let fault = Fault::new("missing-word", place, message, format!("`{name}` missing"));
            self.faults.push(fault.expected(usage(child.word)));
        }
        if let Some(first) = first
            && matches!(child.times, Times::Once | Times::AtMostOnce)
        {
            for again in found {
                let message = format!("`{name}` may be written only once");
                let fault = Fault::new("duplicate-word", again.name, message, "the second");
                self.faults.push(fault.related(first.name, "the first").fix("put both into one"));
            }
        }
    }
}

/// How a word is written: ``node NAME address="…" { … }``.
pub(crate) fn usage(word: &Word) -> String {
    let mut parts = vec![word.name.to_owned()];
    for argument in word.arguments {
        parts.push(format!("\"{}\"", argument.name.to_uppercase()));
        if argument.many {
            parts.push("…".to_owned());
        }
    }
    for property in word.properties {
        let value = if matches!(property.kind, Kind::Number(..)) { "N" } else { "\"…\"" };
        let written = format!("{}={value}", property.name);
        parts.push(if property.required { written } else { format!("[{written}]") });
    }
    if !word.children.is_empty() {
        parts.push("{ … }".to_owned());
    }
    format!("`{}`", parts.join(" "))
}

/// The words in whose blocks `name` may stand.
fn homes(word: &'static Word, name: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    if word.children.iter().any(|child| child.word.name == name) && !word.name.is_empty() {
        found.push(word.name);
    }
    for child in word.children {
        for home in homes(child.word, name) {
            if !found.contains(&home) {
                found.push(home);
            }
        }
    }
    found
}
