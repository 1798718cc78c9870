//! How artifacts, layers, images and packages are written in KDL: the words that the catalogue and the lock share.
//!
//! The readers give the types of [`crate::lock`]. In the catalogue their texts may hold placeholders such as `{arch}`, which
//! `wanted.rs` fills in; in a lock nothing is left to fill in.

use std::collections::BTreeMap;

use crate::fault::{Fault, Span, Spanned, any_of, nearest};
use crate::lock::{ImageConfig, ImageContent, LayerEntry, PackageContent, Source};
use crate::site::{Arch, Role};
use crate::typed::{Argument, Child, Entry, Kind, Property, Times, Word};

pub(crate) const ARCHITECTURES: &[&str] = &["amd64", "arm64", "loong64", "riscv64"];
const ROLES: &[&str] = &["control-plane", "worker"];

pub(crate) const fn word(name: &'static str, doc: &'static str) -> Word {
    Word { name, doc, default: "", arguments: &[], properties: &[], children: &[] }
}

pub(crate) const fn argument(name: &'static str, kind: Kind, doc: &'static str) -> Argument {
    Argument { name, kind, many: false, doc }
}

pub(crate) const fn arguments(name: &'static str, kind: Kind, doc: &'static str) -> Argument {
    Argument { name, kind, many: true, doc }
}

pub(crate) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Property {
    Property { name, kind, required: true, default: "", doc }
}

pub(crate) const fn optional(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Property {
    Property { name, kind, required: false, default, doc }
}

pub(crate) const fn child(word: &'static Word, times: Times) -> Child {
    Child { word, times }
}

pub(crate) static GO: Word = Word {
    arguments: &[argument("recipe", Kind::Text, "folder under `airgap/sources/`")],
    properties: &[required("output", Kind::Text, "name of the recipe's output")],
    ..word("go", "Source: built from one of our own Go mains.")
};

pub(crate) static DEBIAN: Word = Word {
    arguments: &[argument("package", Kind::Text, "name of the package")],
    properties: &[
        required("suite", Kind::Text, "release, such as `trixie`"),
        optional("version", Kind::Text, "the newest of the suite", "version"),
    ],
    ..word("debian", "Source: a Debian package, the `.deb` file itself.")
};

pub(crate) static OCI: Word = Word {
    arguments: &[argument(
        "reference",
        Kind::Text,
        "`registry/repository:tag`, with `@sha256:…` once locked",
    )],
    ..word("oci", "Source: an image in an OCI registry.")
};

pub(crate) static HTTPS: Word = Word {
    arguments: &[argument("url", Kind::Text, "address")],
    ..word("https", "Source: a file over HTTPS.")
};

pub(crate) static FOLDER_SOURCE: Word = Word {
    arguments: &[argument(
        "path",
        Kind::Text,
        "path below one of the artifact folders, or beside the `qiji` binary",
    )],
    ..word("folder", "Source: a local file.")
};

pub(crate) static ARCHIVE: Word = Word {
    arguments: &[argument(
        "path",
        Kind::Text,
        "path of a file or folder below one of the artifact folders: an OCI image layout, an archive of one, or an archive of `docker save`",
    )],
    properties: &[optional("image", Kind::Text, "the only one", "name that the image has in it")],
    ..word("archive", "Source: an image in a local file or folder.")
};

pub(crate) static CONTAINERD: Word = Word {
    arguments: &[argument("image", Kind::Text, "name that the image has there")],
    properties: &[optional("namespace", Kind::Text, "k8s.io", "containerd's namespace in which it lies")],
    ..word("containerd", "Source: an image in the store of the containerd of the machine where `qiji` runs.")
};

/// Namespace in which Kubernetes keeps its images.
const NAMESPACE: &str = "k8s.io";

/// Sources of an artifact.
const SOURCES: [Child; 7] = [
    child(&GO, Times::Any),
    child(&DEBIAN, Times::Any),
    child(&OCI, Times::Any),
    child(&HTTPS, Times::Any),
    child(&FOLDER_SOURCE, Times::Any),
    child(&ARCHIVE, Times::Any),
    child(&CONTAINERD, Times::Any),
];
pub(crate) static SOURCE_CHILDREN: &[Child] = &SOURCES;

/// What a lock has of an artifact: one word more, and the sources.
pub(crate) const fn with_sources(first: Child) -> [Child; SOURCES.len() + 1] {
    let mut children = [first; SOURCES.len() + 1];
    let mut at = 0;
    while at < SOURCES.len() {
        children[at + 1] = SOURCES[at];
        at += 1;
    }
    children
}

static FILE_ENTRY: Word = Word {
    arguments: &[argument("path", Kind::Text, "path in the layer")],
    properties: &[
        required("from", Kind::Text, "name of the artifact"),
        optional(
            "member",
            Kind::Text,
            "the artifact itself",
            "path inside the artifact, where that is a `.deb`",
        ),
        optional("mode", Kind::Text, "0755", "permission bits, in octal"),
    ],
    ..word("file", "A file.")
};

static LINK_ENTRY: Word = Word {
    arguments: &[argument("path", Kind::Text, "path in the layer")],
    properties: &[required("to", Kind::Text, "what it points to")],
    ..word("link", "A symbolic link.")
};

static FOLDER_ENTRY: Word = Word {
    arguments: &[argument("path", Kind::Text, "path in the layer")],
    properties: &[optional("mode", Kind::Text, "0755", "permission bits, in octal")],
    ..word("folder", "A folder.")
};

static TEXT_ENTRY: Word = Word {
    arguments: &[argument("path", Kind::Text, "path in the layer")],
    properties: &[
        required("content", Kind::Text, "the text"),
        optional("mode", Kind::Text, "0644", "permission bits, in octal"),
    ],
    ..word("text", "A small text file.")
};

pub(crate) static LAYER_CHILDREN: &[Child] = &[
    child(&FILE_ENTRY, Times::Any),
    child(&LINK_ENTRY, Times::Any),
    child(&FOLDER_ENTRY, Times::Any),
    child(&TEXT_ENTRY, Times::Any),
];

pub(crate) static ROLES_WORD: Word = Word {
    arguments: &[arguments("role", Kind::Choice(ROLES), "a role")],
    ..word("roles", "Hosts that get it.")
};

static LAYERS_WORD: Word = Word {
    arguments: &[arguments("layer", Kind::Text, "name of a layer")],
    ..word("layers", "What it is made of, lowest first.")
};

static COPY: Word = Word {
    arguments: &[argument("artifact", Kind::Text, "name of the artifact")],
    ..word("copy", "The image is this artifact as it is.")
};

static RAW: Word = Word {
    arguments: &[argument("artifact", Kind::Text, "name of the artifact")],
    ..word("raw", "The package is this artifact as it is, one file.")
};

static ENTRYPOINT: Word = Word {
    arguments: &[arguments("word", Kind::Text, "a word of the command")],
    ..word("entrypoint", "What the image runs.")
};

static ENV: Word = Word {
    arguments: &[argument("name", Kind::Text, "name"), argument("value", Kind::Text, "value")],
    ..word("env", "A variable of its environment.")
};

static USER: Word = Word {
    arguments: &[argument("user", Kind::Text, "`uid:gid`")],
    default: "root",
    ..word("user", "Who it runs as.")
};

static IMAGE_LABEL: Word = Word {
    arguments: &[argument("key", Kind::Text, "key"), argument("value", Kind::Text, "value")],
    ..word("label", "A label of the image.")
};

pub(crate) static IMAGE_CHILDREN: &[Child] = &[
    child(&ROLES_WORD, Times::Once),
    child(&LAYERS_WORD, Times::AtMostOnce),
    child(&COPY, Times::AtMostOnce),
    child(&ENTRYPOINT, Times::AtMostOnce),
    child(&ENV, Times::Any),
    child(&USER, Times::AtMostOnce),
    child(&IMAGE_LABEL, Times::Any),
];

pub(crate) static PACKAGE_CHILDREN: &[Child] = &[
    child(&ROLES_WORD, Times::Once),
    child(&LAYERS_WORD, Times::AtMostOnce),
    child(&RAW, Times::AtMostOnce),
];

/// A property that the table requires; empty where it was missing, which has been told.
pub(crate) fn property(entry: &Entry, name: &str) -> String {
    entry.property(name).map(|text| text.value.to_owned()).unwrap_or_default()
}

/// The first argument, which the table requires; empty where it was missing, which has been told.
pub(crate) fn first(entry: &Entry) -> String {
    entry.text().map(|text| text.value.to_owned()).unwrap_or_default()
}

fn pair(entry: &Entry) -> (String, String) {
    let mut texts = entry.texts().map(|text| text.value.to_owned());
    (texts.next().unwrap_or_default(), texts.next().unwrap_or_default())
}

/// The sources among the words in the block of an artifact.
pub(crate) fn sources(artifact: &Entry, faults: &mut Vec<Fault>) -> Vec<Source> {
    let sources: Vec<_> = artifact.children().iter().filter_map(source).collect();
    if sources.is_empty() {
        let fault = Fault::new("missing-word", artifact.name, "the artifact has no source", "no source");
        let known = any_of(SOURCE_CHILDREN.iter().map(|child| child.word.name));
        faults.push(fault.expected(format!("{known} in its block")));
    }
    sources
}

/// The source that an entry is; none where it is something else.
pub(crate) fn source(entry: &Entry) -> Option<Source> {
    Some(match entry.word.name {
        "go" => Source::Go { recipe: first(entry), output: property(entry, "output") },
        "debian" => Source::Debian {
            suite: property(entry, "suite"),
            package: first(entry),
            version: entry.property("version").map(|text| text.value.to_owned()),
        },
        "oci" => Source::Oci { reference: first(entry) },
        "repository" => Source::Repository {
            url: first(entry),
            file: entry.property("file").map(|text| text.value.to_owned()),
        },
        "https" => Source::Https { url: first(entry) },
        "folder" => Source::Folder { path: first(entry) },
        "archive" => Source::Archive {
            path: first(entry),
            image: entry.property("image").map(|text| text.value.to_owned()),
        },
        "containerd" => Source::Containerd {
            image: first(entry),
            namespace: entry
                .property("namespace")
                .map_or_else(|| NAMESPACE.to_owned(), |text| text.value.to_owned()),
        },
        _ => return None,
    })
}

/// The entries in the block of a layer.
pub(crate) fn layer_entries(layer: &Entry, faults: &mut Vec<Fault>) -> Vec<LayerEntry> {
    layer.children().iter().filter_map(|entry| layer_entry(entry, faults)).collect()
}

fn layer_entry(entry: &Entry, faults: &mut Vec<Fault>) -> Option<LayerEntry> {
    let path = entry.text()?;
    check_path(path, faults);
    let path = path.value.to_owned();
    Some(match entry.word.name {
        "file" => LayerEntry::File {
            path,
            artifact: property(entry, "from"),
            member: entry.property("member").map(|text| text.value.to_owned()),
            mode: mode(entry, 0o755, faults),
        },
        "link" => LayerEntry::Link { path, target: property(entry, "to") },
        "folder" => LayerEntry::Folder { path, mode: mode(entry, 0o755, faults) },
        "text" => {
            LayerEntry::Text { path, content: property(entry, "content"), mode: mode(entry, 0o644, faults) }
        }
        _ => return None,
    })
}

/// A path in a layer stays below its root.
fn check_path(path: Spanned<&str>, faults: &mut Vec<Fault>) {
    if path.value.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let message = format!("`{}` is not a path that stays inside the layer", path.value);
        let fault = Fault::new("bad-path", path.span, message, "not such a path");
        faults.push(fault.expected("a relative path without `.`, `..` and empty parts"));
    }
}

fn mode(entry: &Entry, default: u32, faults: &mut Vec<Fault>) -> u32 {
    let Some(typed) = entry.property("mode") else { return default };
    match u32::from_str_radix(typed.value, 8) {
        Ok(mode) if mode <= 0o7777 => mode,
        _ => {
            let message = format!("`{}` is not a file mode", typed.value);
            let fault = Fault::new("bad-mode", typed.span, message, "not a mode");
            faults.push(fault.expected("octal digits such as `0755`"));
            default
        }
    }
}

/// What the block of an image says it is made of.
pub(crate) fn image_content(image: &Entry, faults: &mut Vec<Fault>) -> ImageContent {
    let pairs = |name: &str| image.all(name).map(pair).collect::<BTreeMap<_, _>>();
    let config = ImageConfig {
        entrypoint: image.one("entrypoint").map(words).unwrap_or_default(),
        env: pairs("env"),
        user: image.one("user").map(first).unwrap_or_default(),
        labels: pairs("label"),
    };
    match (image.one("layers"), image.one("copy")) {
        (None, Some(copy)) => {
            if config != ImageConfig::default() {
                let message = "a copied image keeps the configuration that it has";
                faults.push(Fault::new("contradiction", copy.name, message, "copied"));
            }
            ImageContent::Copied { artifact: first(copy) }
        }
        (Some(layers), None) => ImageContent::Assembled { layers: words(layers), config },
        _ => {
            faults.push(one_of(image.name, "layers", "copy"));
            ImageContent::Copied { artifact: String::new() }
        }
    }
}

/// What the block of a package says it is made of.
pub(crate) fn package_content(package: &Entry, faults: &mut Vec<Fault>) -> PackageContent {
    match (package.one("layers"), package.one("raw")) {
        (None, Some(raw)) => PackageContent::File { artifact: first(raw) },
        (Some(layers), None) => PackageContent::Layers { layers: words(layers) },
        _ => {
            faults.push(one_of(package.name, "layers", "raw"));
            PackageContent::File { artifact: String::new() }
        }
    }
}

fn one_of(span: Span, one: &str, other: &str) -> Fault {
    let message = format!("exactly one of `{one}` and `{other}` belongs here");
    Fault::new("contradiction", span, message, "has none or both")
}

fn words(entry: &Entry) -> Vec<String> {
    entry.texts().map(|text| text.value.to_owned()).collect()
}

/// The roles that a block names, sorted.
pub(crate) fn roles(owner: &Entry, faults: &mut Vec<Fault>) -> Vec<Role> {
    let Some(entry) = owner.one("roles") else { return Vec::new() };
    let mut roles: Vec<_> = entry
        .texts()
        .filter_map(|text| match text.value {
            "control-plane" => Some(Role::ControlPlane),
            "worker" => Some(Role::Worker),
            _ => {
                faults.push(not_among(text, "a role", ROLES));
                None
            }
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

/// The role's word.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    }
}

/// An architecture by its name.
pub(crate) fn architecture(text: Spanned<&str>, faults: &mut Vec<Fault>) -> Option<Arch> {
    let found = Arch::ALL.into_iter().find(|arch| arch.as_str() == text.value);
    if found.is_none() {
        faults.push(not_among(text, "an architecture", ARCHITECTURES));
    }
    found
}

/// The fault that a text is none of the words that may stand there.
pub(crate) fn not_among(text: Spanned<&str>, what: &str, known: &[&str]) -> Fault {
    let message = format!("`{}` is not {what}", text.value);
    let fault =
        Fault::new("unknown-name", text.span, message, "not known").expected(any_of(known.iter().copied()));
    fault.maybe_fix(nearest(text.value, known.iter().copied()).map(|name| format!("did you mean `{name}`?")))
}
