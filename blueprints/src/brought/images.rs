//! Images that the objects of a rendered chart name: pure functions over JSON.
//!
//! A find is *sure* where Kubernetes itself would take the text for an image: `image` of anything in a list `containers`, `initContainers` or
//! `ephemeralContainers`, and `image.reference` of anything in a list `volumes`, in objects of any kind.
//!
//! A find is *likely* where a text elsewhere looks like the name of an image:
//!
//! - it has a digest, or it has a registry and a tag: `quay.io/team/app:1.2`;
//! - it has a path and a tag that is no port: `team/app:1.2`;
//! - it has a tag that is no port, and is a whole text: `app:1.2`;
//! - a word with `image` in it stands before it (`image:`, `--sidecar-image=`, the name of a variable), and it has a registry or a tag;
//! - `repository` or `image`, with `tag` beside it and perhaps `registry`, are an image in pieces.
//!
//! Texts that are YAML or JSON themselves, such as those of a `ConfigMap`, are looked into as objects, so that a pod in one is a sure find; all other texts are
//! taken apart at blanks, quotes, commas, brackets, `=` and `|`. Data of Secrets is decoded. Labels, and descriptions in definitions of resources, are passed
//! over: they are prose.
//!
//! Limits: a name that a program puts together, or has in itself, is not found.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::distribution::Reference;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::digest::Digest;

/// Texts inside texts that are looked into.
const DEPTH: usize = 4;

/// An object of a rendered chart.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChartObject {
    /// Path of the template that gave it, such as `app/templates/deployment.yaml`.
    pub template: String,
    /// The object, as the Kubernetes API has it.
    pub object: Value,
}

/// How sure it is that a text names an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Kubernetes itself takes it for one.
    Sure,
    /// It looks like one.
    Likely,
}

/// Where a text stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Path of the template.
    pub template: String,
    /// Kind and name of the object.
    pub object: String,
    /// Path in the object, such as `spec.template.spec.containers[0].image`.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.template, self.object, self.path)
    }
}

/// A text that names an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Find {
    /// The text as it stands there; an image in pieces is put together.
    pub text: String,
    /// Whether it is sure.
    pub certainty: Certainty,
    /// Where it stands.
    pub place: Place,
}

/// Full name and digest of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageName {
    /// Registry, path and tag: `docker.io/library/nginx:1.29`; `latest` where there is neither a tag nor a digest. Without a tag where there is only a digest.
    pub name: String,
    /// Digest, where one is written.
    pub digest: Option<Digest>,
    /// Whether it has a tag, be it `latest` by default.
    pub tagged: bool,
}

impl ImageName {
    /// Reads what a container names as its image; `None` where that is no name.
    pub fn read(text: &str) -> Option<Self> {
        let reference: Reference = text.parse().ok()?;
        let digest = reference.digest().map(str::parse).transpose().ok()?;
        let base = format!("{}/{}", reference.registry(), reference.repository());
        let tag = reference.tag().or(digest.is_none().then_some("latest"));
        let name = tag.map_or_else(|| base.clone(), |tag| format!("{base}:{tag}"));
        Some(Self { name, digest, tagged: tag.is_some() })
    }
}

/// All texts in these objects that name images, sorted, each once a place.
pub fn find(objects: &[ChartObject]) -> Vec<Find> {
    let mut all = Vec::new();
    for ChartObject { template, object } in objects {
        let kind = text_at(object, "kind").unwrap_or("object");
        let name =
            object.get("metadata").and_then(|metadata| text_at(metadata, "name")).unwrap_or("without a name");
        let mut finder = Finder {
            template,
            object: format!("{kind} {name}"),
            definition: kind == "CustomResourceDefinition",
            found: &mut all,
        };
        match object {
            Value::Object(fields) if kind == "Secret" => finder.secret(fields),
            other => finder.value(other, &Spot::default()),
        }
    }
    all.sort();
    all.dedup();
    all
}

fn text_at<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// Where the finder is.
#[derive(Debug, Clone, Default)]
struct Spot {
    path: String,
    /// A word before it speaks of an image.
    hinted: bool,
    /// How many texts it is inside of.
    depth: usize,
}

impl Spot {
    fn field(&self, key: &str, hinted: bool) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{key}", self.path), hinted, depth: self.depth }
    }

    fn item(&self, at: usize, hinted: bool) -> Self {
        Self { path: format!("{}[{at}]", self.path), hinted, depth: self.depth }
    }
}

struct Finder<'a> {
    template: &'a str,
    object: String,
    /// It is the definition of a resource, where descriptions are prose.
    definition: bool,
    found: &'a mut Vec<Find>,
}

impl Finder<'_> {
    fn add(&mut self, text: &str, certainty: Certainty, path: String) {
        let place = Place { template: self.template.to_owned(), object: self.object.clone(), path };
        self.found.push(Find { text: text.to_owned(), certainty, place });
    }

    fn value(&mut self, value: &Value, spot: &Spot) {
        match value {
            Value::Object(fields) => self.fields(fields, spot),
            Value::Array(items) => self.items(items, spot),
            Value::String(text) => self.text(text, spot),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A Secret: its data is looked into as the texts that it stands for.
    fn secret(&mut self, fields: &Map<String, Value>) {
        let mut fields = fields.clone();
        if let Some(Value::Object(data)) = fields.get_mut("data") {
            for value in data.values_mut() {
                let decoded = value.as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
                *value = decoded
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .map_or(Value::Null, Value::String);
            }
        }
        self.fields(&fields, &Spot::default());
    }

    fn fields(&mut self, fields: &Map<String, Value>, spot: &Spot) {
        let pieces = pieces(fields);
        for (key, text) in &pieces {
            self.add(text, Certainty::Likely, spot.field(key, false).path);
        }
        // A variable or an argument in the form of name and value.
        let named = fields.get("name").and_then(Value::as_str).is_some_and(speaks_of_image);
        for (key, value) in fields {
            if pieces.contains_key(key.as_str()) || (key == "tag" && !pieces.is_empty()) || self.is_prose(key)
            {
                continue;
            }
            let hinted =
                speaks_of_image(key) || (named && key == "value") || (spot.hinted && value.is_string());
            let inner = spot.field(key, hinted);
            match (key.as_str(), value) {
                ("containers" | "initContainers" | "ephemeralContainers", Value::Array(items)) => {
                    self.parts(items, &inner, &["image"]);
                }
                ("volumes", Value::Array(items)) => self.parts(items, &inner, &["image", "reference"]),
                _ => self.value(value, &inner),
            }
        }
    }

    /// The items of a list, in each of which `keys` lead to an image for sure.
    fn parts(&mut self, items: &[Value], spot: &Spot, keys: &[&str]) {
        for (at, item) in items.iter().enumerate() {
            let inner = spot.item(at, false);
            let mut rest = item.clone();
            let image = keys.iter().try_fold(&mut rest, |value, key| value.get_mut(*key));
            if let Some(Value::String(image)) = image
                && !image.is_empty()
            {
                let image = std::mem::take(image);
                self.add(&image, Certainty::Sure, inner.field(&keys.join("."), false).path);
            }
            self.value(&rest, &inner);
        }
    }

    fn is_prose(&self, key: &str) -> bool {
        matches!(key, "labels" | "matchLabels") || (self.definition && key == "description")
    }

    fn items(&mut self, items: &[Value], spot: &Spot) {
        let mut option = false;
        for (at, item) in items.iter().enumerate() {
            self.value(item, &spot.item(at, spot.hinted || option));
            // `--image` and what follows it may be two arguments.
            option = item.as_str().is_some_and(|text| {
                text.starts_with('-') && !text.contains(['=', ' ']) && speaks_of_image(text)
            });
        }
    }

    fn text(&mut self, text: &str, spot: &Spot) {
        if let Some(documents) = inner_documents(text, spot.depth) {
            for document in documents {
                self.value(&document, &Spot { depth: spot.depth + 1, ..spot.clone() });
            }
            return;
        }
        let mut hinted = spot.hinted;
        for word in words(text) {
            let whole = word == text.trim();
            if is_like_image(word, hinted, whole) {
                self.add(word, Certainty::Likely, spot.path.clone());
            }
            hinted = speaks_of_image(word) && word.ends_with(is_end_of_key);
            hinted |= spot.hinted && whole;
        }
    }
}

/// An image in pieces, by the key of its main piece: `repository` or `image` without a tag, beside `tag`.
fn pieces(fields: &Map<String, Value>) -> BTreeMap<&'static str, String> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut found = BTreeMap::new();
    let Some(tag) = text("tag") else { return found };
    for key in ["repository", "image"] {
        let Some(path) =
            text(key).filter(|path| !path.contains(['@', ' ']) && !last_part(path).contains(':'))
        else {
            continue;
        };
        let registry = text("registry").map_or_else(String::new, |registry| format!("{registry}/"));
        let whole = format!("{registry}{path}:{tag}");
        if ImageName::read(&whole).is_some() {
            found.insert(key, whole);
        }
    }
    found
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a key, an option or a variable is about an image by its name.
fn speaks_of_image(name: &str) -> bool {
    name.to_ascii_lowercase().contains("image")
}

/// The objects and lists in a text that is YAML or JSON; `None` where it is something else.
fn inner_documents(text: &str, depth: usize) -> Option<Vec<Value>> {
    let start = text.trim_start();
    let may_be = start.starts_with(['{', '[']) || (start.contains('\n') && start.contains(':'));
    if depth >= DEPTH || !may_be {
        return None;
    }
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).ok()?;
    let is_data = !documents.is_empty()
        && documents.iter().all(|one| one.is_object() || one.is_array() || one.is_null());
    is_data.then_some(documents)
}

/// The words of a text that may be names of images, or may announce one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let border = |c: char| c.is_whitespace() || "\"'`,;()[]{}<>|=\\".contains(c);
    text.split(border).filter(|word| !word.is_empty())
}

/// What ends a word that announces what comes next: `image:`, or `--image` whose `=` was cut off.
fn is_end_of_key(c: char) -> bool {
    c == ':' || c.is_ascii_alphanumeric()
}

/// Whether a word looks like the name of an image. See the module.
fn is_like_image(word: &str, hinted: bool, whole: bool) -> bool {
    if word.contains("://") || word.ends_with(':') {
        return false;
    }
    let Some(name) = ImageName::read(word) else { return false };
    if name.digest.is_some() {
        return true;
    }
    let (first, has_path) = word.split_once('/').map_or((word, false), |(first, _)| (first, true));
    let registry = has_path && (first.contains(['.', ':']) || first == "localhost");
    let Some((_, tag)) = last_part(word).split_once(':') else { return hinted && registry };
    if registry || hinted {
        return true;
    }
    let is_version =
        tag == "latest" || (tag.contains(|c: char| c.is_ascii_digit()) && tag.parse::<u64>().is_err());
    is_version && (has_path || whole)
}

#[cfg(test)]
mod tests;
