use std::collections::BTreeMap;

use clap::Parser;
use qiji_blueprint::part::PartKind;
use qiji_bundle::sbom::Subject;
use qiji_bundle::{ChartSummary, DocumentSummary, ImageSummary, Inspection, PackageSummary};

use super::*;

fn part(kind: PartKind, name: &str, licence: Option<&str>) -> Part {
    let (name, licence) = (name.to_owned(), licence.map(str::to_owned));
    Part { kind, name, version: "1.0".to_owned(), licence }
}

fn ingredient(part: Part, parts: Vec<Part>) -> Ingredient {
    let origin = format!("built from {}", part.name);
    Ingredient {
        digest: Digest::of(part.name.as_bytes()),
        part,
        origin,
        parts,
        licence_texts: BTreeMap::new(),
    }
}

/// Two images and a package: a program in both images, a Debian package, a crate of a licence with a choice.
fn descriptions() -> Vec<Description> {
    let module = part(PartKind::GoModule, "k8s.io/<api>", Some("Apache-2.0"));
    let unknown = part(PartKind::GoModule, "a.b/\"c\"", None);
    let kube = ingredient(part(PartKind::File, "kube", None), vec![module.clone(), unknown]);
    let libc =
        ingredient(part(PartKind::Debian, "libc6", Some("LGPL-2.1-or-later AND LicenseRef-x")), vec![]);
    let agent = ingredient(
        part(PartKind::File, "agent", Some("MIT OR Apache-2.0")),
        vec![part(PartKind::Crate, "serde", Some("MIT OR Apache-2.0"))],
    );
    let describe = |subject, ingredients| Description {
        subject,
        version: "1".to_owned(),
        digest: Digest::of(b"m"),
        ingredients,
    };
    let image = |name: &str, arch| Subject::Image { name: format!("qiji.local/{name}:v1"), arch };
    vec![
        describe(image("apiserver", Arch::Amd64), vec![kube.clone()]),
        describe(image("proxy", Arch::Arm64), vec![kube, libc]),
        describe(Subject::Package { name: "agent".to_owned(), arch: Arch::Amd64 }, vec![agent]),
    ]
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    filter: Filter,
}

fn filter(words: &[&str]) -> Filter {
    Line::try_parse_from([&["inspect"], words].concat()).unwrap().filter
}

fn names(words: &[&str]) -> Vec<String> {
    Inside::of(&descriptions(), &filter(words)).parts.into_iter().map(|part| part.name).collect()
}

#[test]
fn filters_narrow_alone_and_together() {
    assert_eq!(names(&[]), ["libc6", "a.b/\"c\"", "k8s.io/<api>", "serde"]);
    assert_eq!(names(&["--component", "PROXY"]), ["libc6", "a.b/\"c\"", "k8s.io/<api>"]);
    assert_eq!(names(&["--component", "kube", "--license", "apache-2.0"]), ["k8s.io/<api>"]);
    assert_eq!(names(&["--license", "mit"]), ["serde"]);
    assert_eq!(names(&["--licence", "unknown"]), ["a.b/\"c\""]);
    assert_eq!(names(&["--kind", "debian"]), ["libc6"]);
    assert_eq!(names(&["--arch", "amd64", "--kind", "crate"]), ["serde"]);
    assert_eq!(names(&["--arch", "riscv64"]), [""; 0]);
    assert!(Line::try_parse_from(["inspect", "--kind", "jar"]).is_err());
}

#[test]
fn what_two_images_share_is_told_once() {
    let inside = Inside::of(&descriptions(), &Filter::default());
    let kube: Vec<_> = inside.artifacts.iter().filter(|row| row.name == "kube").collect();
    assert_eq!(kube.len(), 2, "one for each architecture");
    let module = inside.parts.iter().find(|row| row.name == "k8s.io/<api>").unwrap();
    assert_eq!(module.arches, [Arch::Amd64, Arch::Arm64].into());
    assert_eq!(module.artifacts, ["kube".to_owned()].into());
    let licences: Vec<_> = inside.licences.iter().map(|row| (row.licence.as_str(), row.parts)).collect();
    let expected = [
        ("Apache-2.0", 1),
        ("LGPL-2.1-or-later AND LicenseRef-x", 1),
        ("MIT OR Apache-2.0", 1),
        ("unknown", 1),
    ];
    assert_eq!(licences, expected);
}

#[test]
fn the_text_counts_everything_or_shows_what_was_asked_for() {
    let all = text(&Inside::of(&descriptions(), &Filter::default()), &Filter::default());
    assert!(all.contains("go-module  2") && all.contains("no licence is known of 1: a.b/\"c\""), "{all}");
    let asked = filter(&["--kind", "crate"]);
    let shown = text(&Inside::of(&descriptions(), &asked), &asked);
    for words in ["serde  1.0      crate  MIT OR Apache-2.0  agent", "built from agent"] {
        assert!(shown.contains(words), "{shown}");
    }
    let nothing = filter(&["--component", "none"]);
    assert!(text(&Inside::of(&descriptions(), &nothing), &nothing).contains("nothing inside"));
    assert!(text(&Inside::of(&[], &Filter::default()), &Filter::default()).contains("no bills of materials"));
}

fn inspection() -> Inspection {
    let digest = Digest::of(b"x");
    Inspection {
        name: "demo".to_owned(),
        version: "1.0.0".to_owned(),
        edition: String::new(),
        channel: String::new(),
        format: "1".to_owned(),
        root: digest,
        verified: true,
        signatures: vec![],
        images: vec![ImageSummary {
            name: "qiji.local/apiserver:v1".to_owned(),
            arch: Arch::Amd64,
            roles: vec![],
            digest,
            bytes: 5,
            layers: vec![],
        }],
        packages: vec![PackageSummary {
            name: "agent".to_owned(),
            version: "<1>".to_owned(),
            arch: Arch::Amd64,
            roles: vec![],
            bytes: 5,
            layers: vec![],
        }],
        upstreams: Vec::new(),
        charts: vec![ChartSummary {
            name: "app".to_owned(),
            version: "1.2.3".to_owned(),
            digest,
            values: vec![],
            bytes: 5,
        }],
        documents: vec![DocumentSummary { name: "site.kdl".to_owned(), digest, bytes: 5 }],
        logical_bytes: 10,
        stored_bytes: 10,
        file_bytes: 20,
    }
}

#[test]
fn the_page_is_whole_well_formed_and_asks_for_nothing_from_outside() {
    let inside = Inside::of(&descriptions(), &Filter::default());
    let page = page(&inspection(), &inside).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
    let cells: BTreeSet<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", "td")))
        .filter_map(|node| node.text())
        .collect();
    for name in [
        "qiji.local/apiserver:v1",
        "agent",
        "<1>",
        "site.kdl",
        "app",
        "1.2.3",
        "kube",
        "libc6",
        "k8s.io/<api>",
        "a.b/\"c\"",
        "serde",
        "unknown",
    ] {
        assert!(cells.contains(name), "{name} is missing");
    }
    for node in document.descendants() {
        for attribute in node.attributes() {
            let loads =
                ["src", "srcset", "data", "action", "background", "poster"].contains(&attribute.name());
            let leads_out = attribute.name() == "href" && !attribute.value().starts_with('#');
            assert!(!loads && !leads_out, "{attribute:?}");
        }
    }
    assert!(page.contains("default-src 'none'"));
    assert!(!page.replace("http://www.w3.org/1999/xhtml", "").contains("://"));
}

#[test]
fn a_page_of_a_bundle_that_was_not_verified_says_so() {
    let claimed = Inspection { verified: false, ..inspection() };
    assert!(page(&claimed, &Inside::default()).unwrap().contains("Not verified"));
}
