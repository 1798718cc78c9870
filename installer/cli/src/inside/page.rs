//! The tables as one page that needs nothing else: no address in it, its style and its script inside. It is XML as well as HTML.
//!
//! Everything from the bundle is escaped by the template; the page's own policy forbids it to load anything or to run any script but its own.

use handlebars::Handlebars;
use qiji_bundle::{Inspection, SignatureState};
use serde::Serialize;

use super::{Inside, UNKNOWN};
use crate::failure::{Classify, Failure};
use crate::screen::size;

const TEMPLATE: &str = include_str!("page.html.hbs");

/// What the template is given.
#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    version: &'a str,
    root: String,
    verified: bool,
    signatures: Vec<String>,
    sizes: String,
    counts: Vec<Vec<String>>,
    tables: Vec<Sheet>,
}

/// A table with its columns and rows.
#[derive(Serialize)]
struct Sheet {
    id: &'static str,
    title: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// The page.
pub(crate) fn page(inspection: &Inspection, inside: &Inside) -> Result<String, Failure> {
    let mut engine = Handlebars::new();
    engine.set_strict_mode(true);
    let sizes = [inspection.logical_bytes, inspection.stored_bytes, inspection.file_bytes].map(size);
    let page = Page {
        name: &inspection.name,
        version: &inspection.version,
        root: inspection.root.to_string(),
        verified: inspection.verified,
        signatures: inspection
            .signatures
            .iter()
            .map(|one| format!("{} ({})", one.key, state(one.state)))
            .collect(),
        sizes: format!("{} of artifacts, {} stored, {} in the file", sizes[0], sizes[1], sizes[2]),
        counts: inside
            .kinds()
            .into_iter()
            .map(|(kind, count)| vec![kind.to_string(), count.to_string()])
            .collect(),
        tables: vec![
            images(inspection),
            packages(inspection),
            charts(inspection),
            upstreams(inspection),
            artifacts(inside),
            parts(inside),
            licences(inside),
            documents(inspection),
        ],
    };
    engine.render_template(TEMPLATE, &page).failed()
}

const fn state(state: SignatureState) -> &'static str {
    match state {
        SignatureState::Trusted => "trusted",
        SignatureState::Bad => "names a trusted key but is false",
        SignatureState::Unknown => "not a trusted key",
    }
}

fn images(inspection: &Inspection) -> Sheet {
    let rows = inspection.images.iter().map(|image| {
        vec![image.name.clone(), image.arch.to_string(), size(image.bytes), image.digest.to_string()]
    });
    Sheet {
        id: "images",
        title: "Images",
        columns: vec!["Name", "Architecture", "Size", "Digest"],
        rows: rows.collect(),
    }
}

fn packages(inspection: &Inspection) -> Sheet {
    let rows = inspection.packages.iter().map(|package| {
        vec![package.name.clone(), package.version.clone(), package.arch.to_string(), size(package.bytes)]
    });
    Sheet {
        id: "packages",
        title: "Host packages",
        columns: vec!["Name", "Version", "Architecture", "Size"],
        rows: rows.collect(),
    }
}

fn charts(inspection: &Inspection) -> Sheet {
    let rows = inspection.charts.iter().map(|chart| {
        vec![chart.name.clone(), chart.version.clone(), size(chart.bytes), chart.digest.to_string()]
    });
    Sheet {
        id: "charts",
        title: "Helm charts",
        columns: vec!["Name", "Version", "Size", "Digest"],
        rows: rows.collect(),
    }
}

fn upstreams(inspection: &Inspection) -> Sheet {
    let rows = inspection.upstreams.iter().map(|upstream| {
        vec![upstream.name.clone(), upstream.kind.clone(), size(upstream.bytes), upstream.digest.to_string()]
    });
    Sheet {
        id: "upstreams",
        title: "Of images, by others",
        columns: vec!["Name", "Type", "Size", "Digest"],
        rows: rows.collect(),
    }
}

fn artifacts(inside: &Inside) -> Sheet {
    let rows = inside.artifacts.iter().map(|row| {
        let licence = row.licence.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let used_by = row.used_by.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (digest, parts) = (row.digest.to_string(), row.parts.to_string());
        vec![
            row.name.clone(),
            row.version.clone(),
            row.arch.map(|arch| arch.to_string()).unwrap_or_default(),
            licence,
            parts,
            row.origin.clone(),
            digest,
            used_by,
        ]
    });
    let columns = vec!["Name", "Version", "Architecture", "Licence", "Parts", "From", "Digest", "In"];
    Sheet { id: "artifacts", title: "Artifacts", columns, rows: rows.collect() }
}

fn parts(inside: &Inside) -> Sheet {
    let rows = inside.parts.iter().map(|row| {
        let licence = row.licence.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let arches = row.arches.iter().map(|arch| arch.as_str()).collect::<Vec<_>>().join(", ");
        let artifacts = row.artifacts.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        vec![row.name.clone(), row.version.clone(), row.kind.to_string(), licence, arches, artifacts]
    });
    let columns = vec!["Name", "Version", "Kind", "Licence", "Architectures", "In"];
    Sheet { id: "parts", title: "Parts", columns, rows: rows.collect() }
}

fn licences(inside: &Inside) -> Sheet {
    let rows = inside.licences.iter().map(|row| vec![row.licence.clone(), row.parts.to_string()]);
    Sheet { id: "licences", title: "Licences", columns: vec!["Licence", "Parts"], rows: rows.collect() }
}

fn documents(inspection: &Inspection) -> Sheet {
    let rows = inspection
        .documents
        .iter()
        .map(|one| vec![one.name.clone(), size(one.bytes), one.digest.to_string()]);
    Sheet {
        id: "documents",
        title: "Documents",
        columns: vec!["Name", "Size", "Digest"],
        rows: rows.collect(),
    }
}
