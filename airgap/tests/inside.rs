//! What artifacts are made of, from their bytes alone.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod support;

use std::io::Write;

use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use qiji_airgap::{Store, ingredients};
use qiji_blueprint::lock::{Lock, Source};
use qiji_blueprint::part::{Ingredient, PartKind};
use support::{artifact, deb_with_control, lock, pin, tar};

/// An ELF file with one section.
fn elf(section: &str, content: &[u8]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let id = object.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::ReadOnlyData);
    object.append_section_data(id, content, 16);
    object.write().unwrap()
}

fn go_program(lines: &str) -> Vec<u8> {
    let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
    section.resize(32, 0);
    let lines = format!("{0}{lines}{0}", "-".repeat(16));
    for text in ["go1.26.8", &lines] {
        section.push(u8::try_from(text.len()).unwrap());
        section.extend(text.as_bytes());
    }
    elf(".go.buildinfo", &section)
}

fn rust_program(list: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(list.as_bytes()).unwrap();
    elf(".dep-v0", &encoder.finish().unwrap())
}

fn folder(path: &str) -> Vec<Source> {
    vec![Source::Folder { path: path.to_owned() }]
}

struct Bench {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: Store::open(folder.path()).unwrap(), _folder: folder }
    }

    fn inside(&self, lock: &Lock) -> Vec<Ingredient> {
        ingredients(&self.store, lock).unwrap().into_iter().map(|(_, found)| found).collect()
    }

    /// What one artifact with these bytes is made of.
    fn one(&self, bytes: &[u8], sources: Vec<Source>) -> Ingredient {
        self.store.put(bytes).unwrap();
        self.inside(&lock(vec![artifact("thing", pin(bytes), sources)])).remove(0)
    }
}

fn told(ingredient: &Ingredient) -> Vec<String> {
    let parts = ingredient.parts.iter();
    parts
        .map(|part| {
            let licence = part.licence.as_deref().unwrap_or("-");
            format!("{} {} {} {licence}", part.kind, part.name, part.version)
        })
        .collect()
}

#[test]
fn a_go_program_tells_its_modules_and_its_build() {
    let program = go_program("mod\tqiji.dev/x\t(devel)\t\ndep\ta.b/c\tv1.2.3\th1:=\nbuild\tGOARCH=amd64\n");
    let found = Bench::new().one(&program, folder("x"));
    let expected = [
        "go-module a.b/c v1.2.3 -",
        "go-module qiji.dev/x  Apache-2.0",
        "go-module stdlib 1.26.8 BSD-3-Clause",
    ];
    assert_eq!(told(&found), expected);
    assert_eq!((found.part.kind, found.part.licence.as_deref()), (PartKind::File, None));
    assert_eq!(found.digest, pin(&program).digest);
}

#[test]
fn a_rust_program_tells_its_crates_and_the_licence_of_the_whole() {
    let list = r#"{"packages":[{"name":"a","version":"1.0.0","license":"MIT"},{"name":"b","version":"2.0.0","license":"MIT OR ISC"}]}"#;
    let found = Bench::new().one(&rust_program(list), folder("x"));
    assert_eq!(told(&found), ["crate a 1.0.0 MIT", "crate b 2.0.0 MIT OR ISC"]);
    assert_eq!(found.part.licence.as_deref(), Some("(MIT OR ISC) AND MIT"));
    assert!(found.origin.contains("file x"), "{}", found.origin);
}

#[test]
fn a_debian_package_tells_itself_and_the_programs_in_it() {
    let copyright = "Format: x\n\nFiles: *\nLicense: GPL-2+\n\nFiles: a\nLicense: odd\n Take it.\n";
    let program = go_program("dep\ta.b/c\tv1.2.3\th1:=\n");
    let files: [(&str, &[u8]); 2] =
        [("./usr/share/doc/libx/copyright", copyright.as_bytes()), ("./usr/bin/x", &program)];
    let package = deb_with_control("Package: libx\nVersion: 1:2-3\nDescription: a\n b\n", &files);
    let source = Source::Debian { suite: "trixie".to_owned(), package: "libx".to_owned(), version: None };
    let found = Bench::new().one(&package, vec![source]);
    assert_eq!((found.part.name.as_str(), found.part.version.as_str()), ("libx", "1:2-3"));
    assert_eq!(found.part.licence.as_deref(), Some("GPL-2.0-or-later AND LicenseRef-libx-odd"));
    assert_eq!(found.licence_texts["LicenseRef-libx-odd"], "Take it.");
    assert_eq!(told(&found), ["go-module a.b/c v1.2.3 -", "go-module stdlib 1.26.8 BSD-3-Clause"]);
}

#[test]
fn an_image_is_looked_through_layer_by_layer() {
    let bench = Bench::new();
    let database = "Package: base\nVersion: 12\n";
    let program = go_program("dep\ta.b/c\tv1.2.3\th1:=\n");
    let first = tar(&[("var/lib/dpkg/status.d/base", database.as_bytes())], &[]);
    let mut second = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    second.write_all(&tar(&[("app", &program)], &[])).unwrap();
    let second = second.finish().unwrap();
    let blobs = [
        ("application/vnd.oci.image.config.v1+json", b"{}".to_vec()),
        ("application/vnd.oci.image.layer.v1.tar", first),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", second),
    ];
    let descriptors = blobs.map(|(media_type, bytes)| {
        let pin = bench.store.put(&bytes).unwrap();
        serde_json::json!({ "mediaType": media_type, "digest": pin.digest, "size": pin.size })
    });
    let manifest =
        serde_json::json!({ "schemaVersion": 2, "config": descriptors[0], "layers": descriptors[1..] })
            .to_string();
    let sources = [
        Source::Oci { reference: "example.org/app:1".to_owned() },
        Source::Archive { path: "app.tar".to_owned(), image: None },
        Source::Containerd { image: "example.org/app:1".to_owned(), namespace: "k8s.io".to_owned() },
    ];
    for source in sources {
        let found = bench.one(manifest.as_bytes(), vec![source]);
        assert_eq!(found.part.kind, PartKind::Image);
        assert_eq!(
            told(&found),
            ["debian base 12 -", "go-module a.b/c v1.2.3 -", "go-module stdlib 1.26.8 BSD-3-Clause"]
        );
    }
}

#[test]
fn a_file_that_says_nothing_of_itself_has_no_parts_and_no_licence() {
    for bytes in [&b"#!/bin/sh"[..], &elf(".text", b"x"), b"\x7fELF", b"!<arch"] {
        let found = Bench::new().one(bytes, folder("x"));
        assert_eq!((found.part.kind, found.part.licence, found.parts.len()), (PartKind::File, None, 0));
    }
}

#[test]
fn a_broken_package_is_told_with_its_name() {
    let bench = Bench::new();
    let (broken, missing) = (b"!<arch>\nbroken", pin(b"not there"));
    bench.store.put(broken).unwrap();
    let lock = lock(vec![artifact("liba", pin(broken), vec![]), artifact("libb", missing, vec![])]);
    let text = ingredients(&bench.store, &lock).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("liba for amd64") && text.contains("libb for amd64"), "{text}");
}

#[test]
fn what_was_found_is_remembered_and_the_same() {
    let bench = Bench::new();
    let program = go_program("dep\ta.b/c\tv1.2.3\th1:=\n");
    let first = bench.one(&program, folder("x"));
    bench.store.discard(&pin(&program).digest).unwrap();
    let again = bench.inside(&lock(vec![artifact("thing", pin(&program), folder("x"))]));
    assert_eq!(again, [first]);
}
