//! Where an artifact comes from and how it is built, in a sentence: from the lock and the recipes, so that it is the same wherever it is told.

use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Artifact, Chart, Pinned, Source};
use qiji_blueprint::part::{Part, PartKind};

use crate::recipe::Recipes;

/// The artifact's sources, each as a clause; all of them are held to the same digest. `how` is what the artifact says of its build.
pub(super) fn told(artifact: &Artifact<Pinned>, how: Option<&str>) -> String {
    joined(artifact.sources.iter().map(|source| clause(source, how)))
}

/// The same of a chart.
pub(super) fn told_of_chart(chart: &Chart<Pinned>) -> String {
    joined(chart.sources.iter().map(|source| match source {
        Source::Oci { reference } => format!("chart {reference}"),
        other => clause(other, None),
    }))
}

fn joined(clauses: impl Iterator<Item = String>) -> String {
    clauses.collect::<Vec<_>>().join("; or ")
}

fn clause(source: &Source, how: Option<&str>) -> String {
    match source {
        Source::Go { recipe, output } => {
            let digest = recipe_digest(recipe).map_or_else(String::new, |digest| format!(" ({digest})"));
            let how = how.map_or_else(String::new, |how| format!(" by {how}"));
            format!("built from recipe {recipe}{digest}, output {output}{how}")
        }
        Source::Debian { suite, package, version } => {
            let version = version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
            format!("package {package}{version} of Debian {suite}")
        }
        Source::Oci { reference } => format!("image {reference}"),
        Source::Repository { url, file } => {
            format!("file {} of the chart repository {url}", file.as_deref().unwrap_or("index.yaml"))
        }
        Source::Https { url } => format!("file {url}"),
        Source::Folder { path } => format!("file {path} at hand where the bundle was built"),
        Source::Archive { path, image } => {
            let image = image.as_ref().map_or_else(String::new, |image| format!(" {image}"));
            format!("image{image} of archive {path} at hand where the bundle was built")
        }
        Source::Containerd { image, namespace } => {
            format!("image {image} of containerd's namespace {namespace} where the bundle was built")
        }
    }
}

/// Digest of everything in a recipe that its build depends on.
fn recipe_digest(name: &str) -> Option<Digest> {
    let recipe = Recipes::new(None).get(name).ok()?;
    let mut bytes = Vec::new();
    for (path, content) in &recipe.files {
        for part in [path.as_bytes(), content] {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part);
        }
    }
    Some(Digest::of(&bytes))
}

/// What a recipe links into a program without the program's saying so: static C libraries of the machine that built it.
pub(super) fn linked(artifact: &Artifact<Pinned>) -> Vec<Part> {
    let recipes = artifact.sources.iter().filter_map(|source| match source {
        Source::Go { recipe, .. } => Recipes::new(None).get(recipe).ok(),
        _ => None,
    });
    let needs = recipes.filter(|recipe| recipe.cgo).flat_map(|recipe| {
        let mut needs = recipe.needs;
        needs.push("libc6-dev".to_owned());
        needs
    });
    needs.map(library).collect()
}

/// A library in the form of its Debian package; which version the building machine had is not recorded.
fn library(package: String) -> Part {
    let licence = match package.as_str() {
        "libc6-dev" => Some("LGPL-2.1-or-later".to_owned()),
        "libseccomp-dev" => Some("LGPL-2.1-only".to_owned()),
        _ => None,
    };
    Part { kind: PartKind::Debian, name: package, version: String::new(), licence }
}

#[cfg(test)]
mod tests {
    use qiji_blueprint::site::Arch;

    use super::*;

    fn artifact(sources: Vec<Source>) -> Artifact<Pinned> {
        let pin = Pinned { digest: Digest::of(b"x"), size: 1 };
        Artifact { name: "x".to_owned(), version: "1".to_owned(), arch: Arch::Amd64, pin, sources }
    }

    #[test]
    fn every_source_is_told() {
        let go = Source::Go { recipe: "runc".to_owned(), output: "runc".to_owned() };
        let url = Source::Https { url: "https://example.org/runc".to_owned() };
        let text = told(&artifact(vec![go.clone(), url]), Some("go1.26.3 GOARCH=amd64"));
        assert!(text.starts_with("built from recipe runc (sha256:"), "{text}");
        assert!(
            text.ends_with(", output runc by go1.26.3 GOARCH=amd64; or file https://example.org/runc"),
            "{text}"
        );
        let linked = linked(&artifact(vec![go]));
        assert_eq!(
            linked.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
            ["libseccomp-dev", "libc6-dev"]
        );
    }
}
