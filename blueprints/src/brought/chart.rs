//! Helm charts from elsewhere as KDL: the words, reading, and printing.

use super::text::{image_name, roles};
use super::{BroughtChart, ChartImages};
use crate::fault::{Fault, Spanned, any_of};
use crate::kdl_text::Text;
use crate::lock::Source;
use crate::recipe::{self, ROLES_WORD, argument, arguments, child, optional, required, role_name, word};
use crate::typed::{Child, Entry, Kind, Times, Word};
use crate::value;

/// Longest name of a release (Helm, `validateReleaseName`).
const RELEASE_LIMIT: usize = 53;

/// Namespace of a chart that does not say which.
const NAMESPACE: &str = "default";

/// How the name of a chart in a registry begins.
const REGISTRY: &str = "oci://";

pub(crate) static CHART: Word = Word {
    arguments: &[argument(
        "name",
        Kind::Text,
        "its name, or `oci://registry/path/name` where it lies in a registry of images",
    )],
    properties: &[
        required("version", Kind::Text, "its version, exactly"),
        optional(
            "repository",
            Kind::Text,
            "none",
            "address of a repository of charts, the folder of its `index.yaml`",
        ),
    ],
    children: &[
        child(&RELEASE, Times::AtMostOnce),
        child(&NAMESPACE_WORD, Times::AtMostOnce),
        child(&ROLES_WORD, Times::AtMostOnce),
        child(&VALUES, Times::Any),
        child(&OCI, Times::Any),
        child(&REPOSITORY_SOURCE, Times::Any),
        child(&FILE, Times::Any),
        child(&IMAGES, Times::AtMostOnce),
    ],
    ..word(
        "chart",
        "A Helm chart that is brought along, with all images that it names. `oci`, `repository` and `file` say where else it is had; sources are tried \
         in the order written, those of the first line first.",
    )
};

static RELEASE: Word = Word {
    arguments: &[argument("name", Kind::Label, "a DNS label of at most 53 characters, used once in a site")],
    default: "the chart's name",
    ..word("release", "Name under which the chart is installed.")
};

static NAMESPACE_WORD: Word = Word {
    arguments: &[argument("name", Kind::Label, "name of the namespace")],
    default: NAMESPACE,
    ..word("namespace", "Namespace that the chart is installed into.")
};

static VALUES: Word = Word {
    arguments: &[argument("path", Kind::Text, "path of a YAML file, from the folder of the site file")],
    ..word(
        "values",
        "Values for the chart. Later files count over earlier ones. They are pinned by the lock and travel with the chart.",
    )
};

static OCI: Word = Word {
    arguments: &[argument(
        "reference",
        Kind::Image,
        "`registry/path/name:version`, a `+` of the version written as `_`",
    )],
    ..word("oci", "Source: a chart in an OCI registry.")
};

static REPOSITORY_SOURCE: Word = Word {
    arguments: &[argument("url", Kind::Text, "address, the folder of its `index.yaml`")],
    ..word("repository", "Source: a repository of charts over HTTPS.")
};

static FILE: Word = Word {
    arguments: &[argument("path", Kind::Text, "path of an archive below one of the artifact folders")],
    ..word("file", "Source: a chart in a local file, as `helm package` makes it.")
};

static IMAGES: Word = Word {
    children: &[child(&DECLARE, Times::Any), child(&ADD, Times::Any), child(&EXCLUDE, Times::Any)],
    ..word("images", "What is said of the chart's images beyond what its containers show.")
};

static DECLARE: Word = Word {
    arguments: &[arguments(
        "name",
        Kind::Image,
        "an image that an argument, a variable or a text of the chart names",
    )],
    ..word(
        "declare",
        "Images: what looks like the name of an image is one, and is brought along. The chart must name it.",
    )
};

static ADD: Word = Word {
    arguments: &[arguments("name", Kind::Image, "an image")],
    ..word(
        "add",
        "Images: brought along although nothing in the chart names them, such as what an operator starts by itself.",
    )
};

static EXCLUDE: Word = Word {
    arguments: &[arguments("text", Kind::Text, "the text as the chart has it")],
    ..word(
        "exclude",
        "Images: what looks like the name of an image is none, or is not needed. The chart must name it.",
    )
};

/// Sources of a chart in a lock.
pub(crate) static LOCKED_SOURCES: [Child; 3] = [
    child(&OCI, Times::Any),
    child(&LOCKED_REPOSITORY, Times::Any),
    child(&recipe::FOLDER_SOURCE, Times::Any),
];

static LOCKED_REPOSITORY: Word = Word {
    arguments: &[argument("url", Kind::Text, "address, the folder of its `index.yaml`")],
    properties: &[optional("file", Kind::Text, "what the index says", "address of the archive")],
    ..word("repository", "Source: a repository of charts over HTTPS.")
};

/// Reads a chart, and tells what is wrong with it.
pub(crate) struct Reader<'a> {
    pub(crate) faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    /// A chart; `None` where its name or version could not be read, which was told.
    pub(crate) fn chart(&mut self, entry: &Entry) -> Option<BroughtChart> {
        let (written, version) = (entry.text()?, entry.property("version")?);
        if !value::is_chart_version(version.value) {
            let message = format!("`{}` is not the version of a chart", version.value);
            let fault = Fault::new("bad-version", version.span, message, "not a version");
            self.faults.push(fault.expected(Kind::Version.describe()));
        }
        let (chart, first) = self.first_line(written, version.value, entry)?;
        let roles = roles(entry, self.faults);
        let mut sources: Vec<_> = first.into_iter().collect();
        sources.extend(entry.children().iter().filter_map(|child| self.source(child)));
        if sources.is_empty() {
            let fault = Fault::new("missing-word", entry.name, "the chart has no source", "no source");
            let known = any_of(["repository=", "oci", "repository", "file"]);
            self.faults.push(fault.expected(format!("`oci://…` as its name, or {known}")));
        }
        Some(BroughtChart {
            name: self.release(entry, written, &chart),
            chart,
            version: version.value.to_owned(),
            namespace: self.namespace(entry),
            values: entry.all("values").filter_map(|values| self.path(values)).collect(),
            roles,
            sources,
            images: entry.one("images").map(|images| self.images(images)).unwrap_or_default(),
        })
    }

    /// The chart's name, and the source that its first line names.
    fn first_line(
        &mut self,
        written: Spanned<&str>,
        version: &str,
        entry: &Entry,
    ) -> Option<(String, Option<Source>)> {
        let repository = entry.property("repository");
        let Some(path) = written.value.strip_prefix(REGISTRY) else {
            if !value::is_chart_name(written.value) {
                let message = format!("`{}` is not the name of a chart", written.value);
                let fault = Fault::new("bad-name", written.span, message, "not such a name");
                self.faults
                    .push(fault.expected("letters, digits, `-`, `_` and `.`, or `oci://registry/path/name`"));
                return None;
            }
            let source = repository.and_then(|url| self.repository(url));
            return Some((written.value.to_owned(), source));
        };
        if let Some(repository) = repository {
            let message = "a chart in a registry is in no repository of charts";
            let fault = Fault::new("contradiction", repository.span, message, "another source");
            self.faults.push(fault.fix("write `repository` in its block, to try it after the registry"));
        }
        let reference = format!("{path}:{}", version.replace('+', "_"));
        let reference = self.image(Spanned::new(reference.as_str(), written.span))?;
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        Some((name, Some(Source::Oci { reference })))
    }

    fn source(&mut self, entry: &Entry) -> Option<Source> {
        match entry.word.name {
            "oci" => self.image(entry.text()?).map(|reference| Source::Oci { reference }),
            "repository" => self.repository(entry.text()?),
            "file" => self.path(entry).map(|path| Source::Folder { path }),
            _ => None,
        }
    }

    fn repository(&mut self, url: Spanned<&str>) -> Option<Source> {
        if ["https://", "http://"]
            .iter()
            .any(|scheme| url.value.len() > scheme.len() && url.value.starts_with(scheme))
        {
            return Some(Source::Repository { url: url.value.trim_end_matches('/').to_owned(), file: None });
        }
        let message = format!("`{}` is not the address of a repository of charts", url.value);
        let fault = Fault::new("bad-address", url.span, message, "not such an address");
        self.faults.push(fault.expected("an address such as `https://charts.example/stable`"));
        None
    }

    /// Full name of an image, with a digest where there is one.
    fn image(&mut self, text: Spanned<&str>) -> Option<String> {
        image_name(text, self.faults).map(|_| text.value.to_owned())
    }

    fn path(&mut self, entry: &Entry) -> Option<String> {
        let text = entry.text()?;
        if text.value.trim().is_empty() || text.value.contains('\0') {
            let message = format!("`{}` is not a path", text.value);
            self.faults.push(Fault::new("bad-path", text.span, message, "not a path"));
            return None;
        }
        Some(text.value.to_owned())
    }

    fn release(&mut self, entry: &Entry, written: Spanned<&str>, chart: &str) -> String {
        let typed = entry.one("release").and_then(Entry::text);
        let name = typed.unwrap_or(Spanned::new(chart, written.span));
        if !value::is_label(name.value) || name.value.len() > RELEASE_LIMIT {
            let message = format!("`{}` is not the name of a release", name.value);
            let fault = Fault::new("bad-name", name.span, message, "not such a name");
            let fix = typed.is_none().then(|| "write `release` in its block".to_owned());
            let expected = format!("a DNS label of at most {RELEASE_LIMIT} characters");
            self.faults.push(fault.expected(expected).maybe_fix(fix));
        }
        name.value.to_owned()
    }

    fn namespace(&mut self, entry: &Entry) -> String {
        let Some(name) = entry.one("namespace").and_then(Entry::text) else { return NAMESPACE.to_owned() };
        if !value::is_label(name.value) {
            let message = format!("`{}` is not the name of a namespace", name.value);
            let fault = Fault::new("bad-name", name.span, message, "not such a name");
            self.faults.push(fault.expected(Kind::Label.describe()));
        }
        name.value.to_owned()
    }

    fn images(&mut self, entry: &Entry) -> ChartImages {
        let mut found = ChartImages::default();
        for child in entry.children() {
            for text in child.texts() {
                match child.word.name {
                    "declare" => found.declared.extend(self.image(text)),
                    "add" => found.added.extend(self.image(text)),
                    _ => self.exclude(text, &mut found.excluded),
                }
            }
        }
        found
    }

    fn exclude(&mut self, text: Spanned<&str>, excluded: &mut Vec<String>) {
        if text.value.trim().is_empty() {
            let fault = Fault::new("bad-image", text.span, "there is nothing to exclude", "empty");
            self.faults.push(fault.expected("the text as the chart has it"));
            return;
        }
        excluded.push(text.value.to_owned());
    }
}

/// Writes a chart as the site language has it.
pub(crate) fn print_chart(text: &mut Text, chart: &BroughtChart) {
    text.node("chart").arg(&chart.chart).prop("version", &chart.version).block(|text| {
        text.node("release").arg(&chart.name).end();
        text.node("namespace").arg(&chart.namespace).end();
        text.node("roles").args(chart.roles.iter().map(|role| role_name(*role))).end();
        for path in &chart.values {
            text.node("values").arg(path).end();
        }
        for source in &chart.sources {
            match source {
                Source::Oci { reference } => text.node("oci").arg(reference).end(),
                Source::Repository { url, .. } => text.node("repository").arg(url).end(),
                Source::Folder { path } => text.node("file").arg(path).end(),
                // No chart comes from elsewhere.
                _ => {}
            }
        }
        text.node("images").block(|text| images(text, &chart.images));
    });
}

fn images(text: &mut Text, images: &ChartImages) {
    let lists = [("declare", &images.declared), ("add", &images.added), ("exclude", &images.excluded)];
    for (word, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        text.node(word).args(list.iter().map(String::as_str)).end();
    }
}
