//! The catalogue that is built in hangs together, and faults in a catalogue or a lock are told like those of a site.

use std::collections::BTreeSet;

use qiji_blueprint::lock::{Lock, Source};
use qiji_blueprint::site::Arch;
use qiji_blueprint::{Catalogue, check};

#[test]
fn cores_and_editions_name_what_is_there() {
    let catalogue = Catalogue::builtin();
    assert!(!catalogue.cores.is_empty());
    for (kubernetes, core) in &catalogue.cores {
        assert_eq!(core.components["kubernetes"], kubernetes.to_string());
        for (name, version) in &core.components {
            let component = &catalogue.components[name].versions[version];
            assert!(component.cores.matches(kubernetes), "{name} {version} does not fit {kubernetes}");
        }
    }
    for (name, edition) in &catalogue.editions {
        let unknown =
            edition.components.iter().flatten().find(|name| !catalogue.components.contains_key(*name));
        assert_eq!(unknown, None, "edition {name}");
    }
    assert_eq!(catalogue.editions["trusted"].signatures, ["ed25519", "sm2"]);
}

#[test]
fn chips_cover_every_architecture() {
    let catalogue = Catalogue::builtin();
    let covered: BTreeSet<_> = catalogue.chips.values().map(|chip| chip.arch).collect();
    assert_eq!(covered, BTreeSet::from(Arch::ALL));
    assert_eq!(catalogue.architectures.keys().copied().collect::<BTreeSet<_>>(), covered);
    for (name, chip) in &catalogue.chips {
        assert!(
            !chip.page_sizes.is_empty() && chip.page_sizes.iter().all(|size| size.is_power_of_two()),
            "{name}"
        );
        let parts: Vec<_> = chip.kernel.split('.').map(str::parse::<u32>).collect();
        assert!(parts.len() == 2 && parts.iter().all(Result::is_ok), "{name}: {}", chip.kernel);
    }
    for (name, accelerator) in &catalogue.accelerators {
        let digits =
            accelerator.pci.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
        assert!(digits && accelerator.pci.len() == 4, "{name}");
    }
}

/// Every component can be wanted on every architecture that it says it has, by itself and with all roles.
#[test]
fn every_core_can_be_wanted_on_every_chip() {
    let catalogue = Catalogue::builtin();
    for chip in catalogue.chips.keys() {
        for version in catalogue.cores.keys() {
            let text = format!(
                "site \"s\" version=\"1.0.0\" {{\n cluster \"c\" kubernetes=\"{version}\" {{\n control-plane {{\n \
                 chip \"{chip}\"\n node \"a\" address=\"192.168.1.1\"\n }}\n }}\n}}\n"
            );
            let site = check("s.kdl", &text, &catalogue)
                .unwrap_or_else(|faults| panic!("{}", faults.render(false, 100)));
            let wanted = catalogue.wanted(&site.site).unwrap_or_else(|error| panic!("{chip}: {error}"));
            let text = serde_json::to_string(&wanted).expect("it has a JSON form");
            for left in
                ["{arch}", "{triplet}", "{loader}", "{debian}", "{library-folder}", "{qiji}", "{machine}"]
            {
                assert!(!text.contains(left), "{left} is left in what {chip} wants");
            }
        }
    }
}

/// Outputs of the recipe in `airgap/sources/RECIPE/recipe.kdl`.
fn outputs(recipe: &str) -> BTreeSet<String> {
    let path = format!("{}/../airgap/sources/{recipe}/recipe.kdl", env!("CARGO_MANIFEST_DIR"));
    let text = fs_err::read_to_string(path).expect("the recipe is there");
    let document = kdl::KdlDocument::parse_v2(&text).expect("the recipe is KDL");
    let build = document.get("go-build").and_then(|node| node.children()).expect("it is a Go build");
    let outputs = build.nodes().iter().filter(|node| node.name().value() == "output");
    outputs.filter_map(|node| node.get(0)?.as_string().map(str::to_owned)).collect()
}

#[test]
fn recipes_have_the_outputs_that_the_catalogue_names() {
    let catalogue = Catalogue::builtin();
    let versions = catalogue.components.values().flat_map(|component| component.versions.values());
    let sources = versions.flat_map(|version| &version.artifacts).flat_map(|(_, sources)| sources);
    let mut seen = 0;
    for source in sources {
        if let Source::Go { recipe, output } = source {
            assert!(outputs(recipe).contains(output), "recipe {recipe} has no output {output}");
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} recipes");
}

#[test]
fn faults_in_a_catalogue() {
    let text = r#"chip "generic-amd64" about="again" architecture="amd64" kernel="5.13" {
  page-size 4096
}
chip "other" about="x" architecture="sparc" kernel="5.13" {
  page-size 1
}
core "1.99" {
}
component "broken" about="x" {
  version "1" cores="new" {
    architectures "amd64" "amd65"
    artifact "a" {
    }
    layer "l" {
      file "/etc/passwd" from="a"
      file "../x" from="a" mode="999"
      hardlink "x" to="y"
    }
    image "i" {
      roles "control-plane" "workers"
      layers "l"
      copy "a"
    }
    package "p" {
      roles "worker"
    }
  }
}
"#;
    let faults = Catalogue::builtin().add("broken.kdl", text).expect_err("it is broken");
    insta::assert_snapshot!(faults.render(false, 100));
}

#[test]
fn a_catalogue_with_faults_is_not_changed() {
    let mut catalogue = Catalogue::builtin();
    let before = format!("{catalogue:?}");
    assert!(
        catalogue
            .add(
                "x.kdl",
                "chip \"new\" about=\"x\" architecture=\"amd64\" kernel=\"6\" { page-size 4096; }\nchp"
            )
            .is_err()
    );
    assert_eq!(format!("{catalogue:?}"), before);
}

#[test]
fn components_that_do_not_hang_together_are_told_when_they_are_wanted() {
    let mut catalogue = Catalogue::builtin();
    let text = r#"component "loose" about="x" {
  version "1.0.0" {
    architectures "amd64"
    layer "etcd" {
      link "x" to="y"
    }
    image "qiji.local/loose:1" {
      roles "worker" "control-plane"
      layers "etcd" "nowhere"
    }
  }
}"#;
    catalogue.add("loose.kdl", text).unwrap();
    let site = include_str!("../examples/quickstart.kdl")
        .replace("\n  cluster", "\n  platform { component \"loose\" version=\"1.0.0\"; }\n  cluster");
    let checked =
        check("s.kdl", &site, &catalogue).unwrap_or_else(|faults| panic!("{}", faults.render(false, 100)));
    let error = catalogue.wanted(&checked.site).unwrap_err();
    assert_eq!(
        error.findings,
        [
            "two components have the layer etcd for amd64",
            "image qiji.local/loose:1 needs the layer nowhere for amd64, which is not there"
        ]
    );
}

#[test]
fn faults_in_a_lock() {
    let text = r#"lock "quickstart" version="1.0.0" site-digest="sha256:12"
artifact "a" arch="amd64" version="1" {
  digest "sha512:00" size="12"
  go "etcd" output="etcd"
}
artifact "a" arch="amd64" version="2" {
  digest "sha256:0000000000000000000000000000000000000000000000000000000000000000" size=-1
}
layer "l" arch="x86" {
  text "etc/motd"
}
package "p" arch="amd64" {
  roles "all"
  raw "b"
}
"#;
    let faults = Lock::parse("site.lock", text).expect_err("it is broken");
    insta::assert_snapshot!(faults.render(false, 100));
}
