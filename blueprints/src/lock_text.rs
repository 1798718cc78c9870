//! The lock as KDL: sorted, one artifact a node, a line for each source, so that a change of version is a change of a few lines.
//!
//! [`Lock::to_kdl`] of equal locks gives equal text. [`Lock::parse`] reads it back and tells all faults at once; names must be unique
//! and what layers, images and packages refer to must be there, so that nothing that reads a lock has to look again.

use std::collections::BTreeSet;

use crate::brought::LOCKED_SOURCES;
use crate::digest::Digest;
use crate::fault::{Fault, Faults, Span, Spanned, any_of};
use crate::kdl_text::Text;
use crate::lock::{
    Artifact, Chart, ChartValues, Image, ImageContent, Layer, LayerEntry, Lock, Package, PackageContent,
    Pinned, Source, Upstream,
};
use crate::recipe::{
    self, ARCHITECTURES, IMAGE_CHILDREN, LAYER_CHILDREN, PACKAGE_CHILDREN, argument, child, first, property,
    required, role_name, with_sources, word,
};
use crate::site::{Arch, Role};
use crate::typed::{self, Entry, Kind, Times, Word};

pub(crate) static FILE: Word = Word {
    children: &[
        child(&LOCK, Times::Once),
        child(&ARTIFACT, Times::Any),
        child(&LAYER, Times::Any),
        child(&IMAGE, Times::Any),
        child(&PACKAGE, Times::Any),
        child(&CHART, Times::Any),
        child(&UPSTREAM, Times::Any),
    ],
    ..word("", "")
};

static LOCK: Word = Word {
    arguments: &[argument("site", Kind::Label, "name of the site")],
    properties: &[
        required("version", Kind::Version, "version of the site"),
        required("site-digest", Kind::Text, "digest of the resolved site"),
    ],
    ..word("lock", "What the lock is for.")
};

static ARTIFACT: Word = Word {
    arguments: &[argument("name", Kind::Text, "its name")],
    properties: &[
        required("arch", Kind::Choice(ARCHITECTURES), "its architecture"),
        required("version", Kind::Text, "upstream version"),
    ],
    children: &with_sources(child(&PIN, Times::Once)),
    ..word("artifact", "One file, its digest and its sources.")
};

static PIN: Word = Word {
    arguments: &[argument("digest", Kind::Text, "`sha256:…`")],
    properties: &[required("size", Kind::Number(0, u64::MAX), "bytes")],
    ..word("digest", "What the file must be.")
};

static LAYER: Word = Word {
    arguments: &[argument("name", Kind::Text, "its name")],
    properties: &[required("arch", Kind::Choice(ARCHITECTURES), "its architecture")],
    children: LAYER_CHILDREN,
    ..word("layer", "A file system layer.")
};

static IMAGE: Word = Word {
    arguments: &[argument("name", Kind::Text, "its full name with tag")],
    properties: &[required("arch", Kind::Choice(ARCHITECTURES), "its architecture")],
    children: IMAGE_CHILDREN,
    ..word("image", "A container image.")
};

static PACKAGE: Word = Word {
    arguments: &[argument("name", Kind::Text, "its name")],
    properties: &[
        required("arch", Kind::Choice(ARCHITECTURES), "its architecture"),
        required("version", Kind::Text, "its version"),
    ],
    children: PACKAGE_CHILDREN,
    ..word("package", "What is unpacked on hosts.")
};

static CHART: Word = Word {
    arguments: &[argument("release", Kind::Text, "name of its release")],
    properties: &[
        required("chart", Kind::Text, "its own name"),
        required("version", Kind::Text, "its version"),
    ],
    children: &[
        child(&PIN, Times::Once),
        LOCKED_SOURCES[0],
        LOCKED_SOURCES[1],
        LOCKED_SOURCES[2],
        child(&VALUES, Times::Any),
    ],
    ..word("chart", "A Helm chart: its archive, and the values that it is installed with.")
};

static UPSTREAM: Word = Word {
    arguments: &[argument("name", Kind::Text, "where it stands: the image's repository and a tag")],
    children: &with_sources(child(&PIN, Times::Once)),
    ..word("upstream", "What others say of an image: a signature, an attestation; or the image's own index.")
};

static VALUES: Word = Word {
    arguments: &[argument("path", Kind::Text, "path from the folder of the site file")],
    properties: &[
        required("digest", Kind::Text, "`sha256:…`"),
        required("size", Kind::Number(0, u64::MAX), "bytes"),
    ],
    ..word("values", "A file of values; later ones count over earlier ones.")
};

impl Lock {
    /// The lock as KDL.
    pub fn to_kdl(&self) -> String {
        let mut text = Text::default();
        text.node("lock")
            .arg(&self.site)
            .prop("version", &self.version)
            .prop("site-digest", &self.site_digest.to_string())
            .end();
        for one in sorted(&self.artifacts, |one| (one.name.as_str(), one.arch)) {
            text.gap();
            artifact(&mut text, one);
        }
        for one in sorted(&self.layers, |one| (one.name.as_str(), one.arch)) {
            text.gap();
            layer(&mut text, one);
        }
        for one in sorted(&self.images, |one| (one.name.as_str(), one.arch)) {
            text.gap();
            image(&mut text, one);
        }
        for one in sorted(&self.packages, |one| (one.name.as_str(), one.arch)) {
            text.gap();
            package(&mut text, one);
        }
        for one in sorted(&self.charts, |one| one.name.as_str()) {
            text.gap();
            chart(&mut text, one);
        }
        for one in sorted(&self.upstreams, |one| one.name.as_str()) {
            text.gap();
            upstream(&mut text, one);
        }
        text.finish()
    }

    /// Reads what [`Lock::to_kdl`] wrote. `name` is what faults call the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, Faults> {
        let (file, faults) = typed::read(text, &FILE);
        let mut reader = Reader { faults, names: BTreeSet::new(), single: BTreeSet::new() };
        let lock = reader.lock(&file);
        if reader.faults.is_empty() {
            let span = file.one("lock").map_or(Span::default(), |entry| entry.name);
            reader.faults.extend(lock.broken_references().into_iter().map(|message| {
                Fault::new("broken-reference", span, message, "in this lock").fix("make the lock again")
            }));
        }
        if reader.faults.is_empty() { Ok(lock) } else { Err(Faults::new(name, text, reader.faults)) }
    }

    /// What layers, images, packages and upstreams refer to although the lock does not have it, one message each.
    pub fn broken_references(&self) -> Vec<String> {
        let mut broken = broken_references(&self.artifacts, &self.layers, &self.images, &self.packages);
        let repositories: BTreeSet<&str> = self.images.iter().map(|image| repository(&image.name)).collect();
        let lost = self.upstreams.iter().filter(|one| !repositories.contains(repository(&one.name)));
        broken.extend(lost.map(|one| format!("upstream {} is about no image that is there", one.name)));
        broken
    }
}

/// A full name without its tag.
fn repository(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(repository, _)| repository)
}

/// See [`Lock::broken_references`].
pub(crate) fn broken_references<P>(
    artifacts: &[Artifact<P>],
    layers: &[Layer],
    images: &[Image],
    packages: &[Package],
) -> Vec<String> {
    let artifacts: BTreeSet<_> = artifacts.iter().map(|one| (one.name.as_str(), one.arch)).collect();
    let known: BTreeSet<_> = layers.iter().map(|one| (one.name.as_str(), one.arch)).collect();
    let mut broken = Vec::new();
    let mut need = |owner: &str, what: &str, name: &str, arch: Arch| {
        let all = if what == "layer" { &known } else { &artifacts };
        if !all.contains(&(name, arch)) {
            broken.push(format!("{owner} needs the {what} {name} for {arch}, which is not there"));
        }
    };
    for layer in layers {
        let owner = format!("layer {}", layer.name);
        layer.artifacts().for_each(|name| need(&owner, "artifact", name, layer.arch));
    }
    for image in images {
        let owner = format!("image {}", image.name);
        image.content.layers().iter().for_each(|name| need(&owner, "layer", name, image.arch));
        image.content.artifact().into_iter().for_each(|name| need(&owner, "artifact", name, image.arch));
    }
    for package in packages {
        let owner = format!("package {}", package.name);
        package.content.layers().iter().for_each(|name| need(&owner, "layer", name, package.arch));
        package.content.artifact().into_iter().for_each(|name| need(&owner, "artifact", name, package.arch));
    }
    broken
}

fn sorted<'a, T, K: Ord>(all: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<&'a T> {
    let mut all: Vec<_> = all.iter().collect();
    all.sort_by_key(|one| key(one));
    all
}

fn artifact(text: &mut Text, one: &Artifact<Pinned>) {
    let line =
        text.node("artifact").arg(&one.name).prop("arch", one.arch.as_str()).prop("version", &one.version);
    line.block(|text| pinned(text, &one.pin, &one.sources));
}

fn upstream(text: &mut Text, one: &Upstream) {
    text.node("upstream").arg(&one.name).block(|text| pinned(text, &one.pin, &one.sources));
}

/// What something must be, and where it is had.
fn pinned(text: &mut Text, pin: &Pinned, sources: &[Source]) {
    text.node("digest").arg(&pin.digest.to_string()).number("size", pin.size).end();
    for one in sources {
        source(text, one);
    }
}

/// A source as a line.
pub(crate) fn source(text: &mut Text, source: &Source) {
    match source {
        Source::Go { recipe, output } => text.node("go").arg(recipe).prop("output", output).end(),
        Source::Debian { suite, package, version } => {
            let line = text.node("debian").arg(package).prop("suite", suite);
            line.maybe_prop("version", version.as_deref()).end();
        }
        Source::Oci { reference } => text.node("oci").arg(reference).end(),
        Source::Repository { url, file } => {
            text.node("repository").arg(url).maybe_prop("file", file.as_deref()).end();
        }
        Source::Https { url } => text.node("https").arg(url).end(),
        Source::Folder { path } => text.node("folder").arg(path).end(),
        Source::Archive { path, image } => {
            text.node("archive").arg(path).maybe_prop("image", image.as_deref()).end();
        }
        Source::Containerd { image, namespace } => {
            text.node("containerd").arg(image).prop("namespace", namespace).end();
        }
    }
}

fn layer(text: &mut Text, one: &Layer) {
    text.node("layer").arg(&one.name).prop("arch", one.arch.as_str()).block(|text| {
        for entry in &one.entries {
            match entry {
                LayerEntry::File { path, artifact, member, mode } => {
                    let line = text.node("file").arg(path).prop("from", artifact);
                    line.maybe_prop("member", member.as_deref()).prop("mode", &octal(*mode)).end();
                }
                LayerEntry::Link { path, target } => text.node("link").arg(path).prop("to", target).end(),
                LayerEntry::Folder { path, mode } => {
                    text.node("folder").arg(path).prop("mode", &octal(*mode)).end();
                }
                LayerEntry::Text { path, content, mode } => {
                    text.node("text").arg(path).prop("content", content).prop("mode", &octal(*mode)).end();
                }
            }
        }
    });
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

fn roles(text: &mut Text, roles: &[Role]) {
    text.node("roles").args(roles.iter().map(|role| role_name(*role))).end();
}

fn image(text: &mut Text, one: &Image) {
    text.node("image").arg(&one.name).prop("arch", one.arch.as_str()).block(|text| {
        roles(text, &one.roles);
        match &one.content {
            ImageContent::Copied { artifact } => text.node("copy").arg(artifact).end(),
            ImageContent::Assembled { layers, config } => {
                text.node("layers").args(layers.iter().map(String::as_str)).end();
                if !config.entrypoint.is_empty() {
                    text.node("entrypoint").args(config.entrypoint.iter().map(String::as_str)).end();
                }
                for (name, value) in &config.env {
                    text.node("env").arg(name).arg(value).end();
                }
                if !config.user.is_empty() {
                    text.node("user").arg(&config.user).end();
                }
                for (key, value) in &config.labels {
                    text.node("label").arg(key).arg(value).end();
                }
            }
        }
    });
}

fn package(text: &mut Text, one: &Package) {
    let line =
        text.node("package").arg(&one.name).prop("arch", one.arch.as_str()).prop("version", &one.version);
    line.block(|text| {
        roles(text, &one.roles);
        match &one.content {
            PackageContent::Layers { layers } => {
                text.node("layers").args(layers.iter().map(String::as_str)).end();
            }
            PackageContent::File { artifact } => text.node("raw").arg(artifact).end(),
        }
    });
}

fn chart(text: &mut Text, one: &Chart<Pinned>) {
    let line = text.node("chart").arg(&one.name).prop("chart", &one.chart).prop("version", &one.version);
    line.block(|text| {
        pinned(text, &one.pin, &one.sources);
        for ChartValues { path, pin } in &one.values {
            let line = text.node("values").arg(path).prop("digest", &pin.digest.to_string());
            line.number("size", pin.size).end();
        }
    });
}

struct Reader {
    faults: Vec<Fault>,
    names: BTreeSet<(&'static str, String, Arch)>,
    /// Words and names of what is the same for all architectures.
    single: BTreeSet<(&'static str, String)>,
}

impl Reader {
    fn lock(&mut self, file: &Entry) -> Lock {
        let head = file.one("lock");
        let digest = head.and_then(|head| head.property("site-digest")).and_then(|text| self.digest(text));
        let mut lock = Lock {
            site: head.map(first).unwrap_or_default(),
            version: head.map(|head| property(head, "version")).unwrap_or_default(),
            site_digest: digest.unwrap_or(Digest::from_bytes([0; 32])),
            artifacts: file.all("artifact").filter_map(|entry| self.artifact(entry)).collect(),
            layers: file.all("layer").filter_map(|entry| self.layer(entry)).collect(),
            images: file.all("image").filter_map(|entry| self.image(entry)).collect(),
            packages: file.all("package").filter_map(|entry| self.package(entry)).collect(),
            charts: file.all("chart").filter_map(|entry| self.chart(entry)).collect(),
            upstreams: file.all("upstream").filter_map(|entry| self.upstream(entry)).collect(),
        };
        lock.artifacts.sort_by(|a, b| (&a.name, a.arch).cmp(&(&b.name, b.arch)));
        lock.layers.sort_by(|a, b| (&a.name, a.arch).cmp(&(&b.name, b.arch)));
        lock.images.sort_by(|a, b| (&a.name, a.arch).cmp(&(&b.name, b.arch)));
        lock.packages.sort_by(|a, b| (&a.name, a.arch).cmp(&(&b.name, b.arch)));
        lock.charts.sort_by(|a, b| a.name.cmp(&b.name));
        lock.upstreams.sort_by(|a, b| a.name.cmp(&b.name));
        lock
    }

    fn digest(&mut self, text: Spanned<&str>) -> Option<Digest> {
        let digest = text.value.parse().ok();
        if digest.is_none() {
            let message = format!("`{}` is not a digest", text.value);
            let fault = Fault::new("bad-digest", text.span, message, "not a digest");
            self.faults.push(fault.expected("`sha256:` and 64 lower-case hexadecimal digits"));
        }
        digest
    }

    /// Name and architecture, which no two of a kind share.
    fn key(&mut self, entry: &Entry) -> Option<(String, Arch)> {
        let name = entry.text()?;
        let arch = recipe::architecture(entry.property("arch")?, &mut self.faults)?;
        if !self.names.insert((entry.word.name, name.value.to_owned(), arch)) {
            let message = format!("{} `{}` for {arch} is written twice", entry.word.name, name.value);
            self.faults.push(Fault::new("duplicate-name", name.span, message, "the second"));
        }
        Some((name.value.to_owned(), arch))
    }

    /// The name of what is the same for all architectures, which no two of a kind share.
    fn single(&mut self, entry: &Entry) -> Option<String> {
        let name = entry.text()?;
        let word = entry.word.name;
        if !self.single.insert((word, name.value.to_owned())) {
            let message = format!("{word} `{}` is written twice", name.value);
            self.faults.push(Fault::new("duplicate-name", name.span, message, "the second"));
        }
        Some(name.value.to_owned())
    }

    fn pin(&mut self, entry: &Entry) -> Option<Pinned> {
        let pin = entry.one("digest")?;
        let digest = self.digest(pin.text()?)?;
        Some(Pinned { digest, size: pin.number("size")?.value })
    }

    fn upstream(&mut self, entry: &Entry) -> Option<Upstream> {
        let name = self.single(entry)?;
        let sources = recipe::sources(entry, &mut self.faults);
        Some(Upstream { name, pin: self.pin(entry)?, sources })
    }

    fn artifact(&mut self, entry: &Entry) -> Option<Artifact<Pinned>> {
        let (name, arch) = self.key(entry)?;
        let sources = recipe::sources(entry, &mut self.faults);
        let pin = self.pin(entry)?;
        Some(Artifact { name, version: property(entry, "version"), arch, pin, sources })
    }

    fn layer(&mut self, entry: &Entry) -> Option<Layer> {
        let (name, arch) = self.key(entry)?;
        Some(Layer { name, arch, entries: recipe::layer_entries(entry, &mut self.faults) })
    }

    fn image(&mut self, entry: &Entry) -> Option<Image> {
        let (name, arch) = self.key(entry)?;
        let roles = recipe::roles(entry, &mut self.faults);
        Some(Image { name, arch, roles, content: recipe::image_content(entry, &mut self.faults) })
    }

    fn package(&mut self, entry: &Entry) -> Option<Package> {
        let (name, arch) = self.key(entry)?;
        let roles = recipe::roles(entry, &mut self.faults);
        let content = recipe::package_content(entry, &mut self.faults);
        Some(Package { name, version: property(entry, "version"), arch, roles, content })
    }

    fn chart(&mut self, entry: &Entry) -> Option<Chart<Pinned>> {
        let name = self.single(entry)?;
        let sources: Vec<_> = entry.children().iter().filter_map(recipe::source).collect();
        if sources.is_empty() {
            let fault = Fault::new("missing-word", entry.name, "the chart has no source", "no source");
            let known = any_of(LOCKED_SOURCES.iter().map(|child| child.word.name));
            self.faults.push(fault.expected(format!("{known} in its block")));
        }
        let pin = self.pin(entry)?;
        let values = entry.all("values").filter_map(|values| {
            let digest = self.digest(values.property("digest")?)?;
            let pin = Pinned { digest, size: values.number("size")?.value };
            Some(ChartValues { path: first(values), pin })
        });
        Some(Chart {
            name,
            chart: property(entry, "chart"),
            version: property(entry, "version"),
            pin,
            sources,
            values: values.collect(),
        })
    }
}
