//! What people see when a site file is wrong: each file under `faults/` is checked and shown as it would be on a terminal.

use qiji_blueprint::{Catalogue, check};

fn shown(name: &str, text: &str, catalogue: &Catalogue) -> String {
    match check(name, text, catalogue) {
        Ok(checked) => checked.warnings.render(false, 100),
        Err(faults) => faults.render(false, 100),
    }
}

#[test]
fn every_bad_file() {
    let catalogue = Catalogue::builtin();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults");
    let mut files: Vec<_> = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "kdl"));
    files.sort();
    assert!(files.len() > 15, "only {} files in {folder}", files.len());
    for path in files {
        let text = fs_err::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let shown = shown(&format!("{name}.kdl"), &text, &catalogue);
        assert!(!shown.starts_with("no fault"), "{name} has no fault");
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, snapshot_path => "faults" }, {
            insta::assert_snapshot!(name, shown);
        });
    }
}

/// A catalogue with one component that not every edition, architecture and version of Kubernetes can have.
const EXTRA: &str = r#"
component "meters" about="a component for tests" {
  version "2.0.0" cores=">=1.37" {
    architectures "amd64"
  }
  version "1.0.0" {
    architectures "amd64" "arm64"
  }
}
"#;

#[test]
fn components_of_the_platform() {
    let mut catalogue = Catalogue::builtin();
    catalogue.add("extra.kdl", EXTRA).unwrap();
    let text = r#"site "platform" version="1.0.0" {
  edition "trusted"
  cluster "main" kubernetes="1.36.3" {
    control-plane {
      chip "loongson-3c6000"
      node "cp1" address="10.20.1.11"
    }
    group "workers" {
      chip "loongson-3c6000"
      node "w[1-9]" address="10.20.1.[21-29]"
    }
  }
  platform {
    component "meters" version="2.0.0"
  }
}
"#;
    insta::assert_snapshot!(shown("platform.kdl", text, &catalogue));
    let unknown = text.replace("2.0.0", "1.0.1").replace("trusted", "community");
    insta::assert_snapshot!(shown("platform.kdl", &unknown, &catalogue));
    let good = unknown.replace("1.0.1", "1.0.0").replace("loongson-3c6000", "kunpeng-920");
    let site = check("platform.kdl", &good, &catalogue).unwrap().site;
    assert_eq!(site.components[0].version, "1.0.0");
    assert!(catalogue.wanted(&site).is_ok());
}

#[test]
fn faults_for_programs() {
    let text =
        fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/unicode.kdl")).unwrap();
    let faults = check("unicode.kdl", &text, &Catalogue::builtin()).unwrap_err();
    insta::assert_json_snapshot!(faults.to_json());
}

#[test]
fn faults_are_sorted_by_place() {
    let text =
        fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/several.kdl")).unwrap();
    let faults = check("several.kdl", &text, &Catalogue::builtin()).unwrap_err();
    assert!(faults.faults.len() >= 10, "only {} faults", faults.faults.len());
    assert!(faults.faults.is_sorted_by_key(|fault| fault.span));
}
