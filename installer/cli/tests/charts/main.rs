//! Whole commands on a site with a Helm chart: what is told before anything is locked. What is printed is held to snapshots.
//!
//! The chart is the one of the tests of `qiji-airgap`. Locking a site to its end takes a whole Kubernetes; a scenario does that.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

use std::path::Path;
use std::process::Command;

use fs_err as fs;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../airgap/tests/charts/app");

/// Where the program that renders charts is kept between runs.
const STORE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/charts-store");

/// A folder with the chart as an archive, and files of values.
fn bench() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (chart, archive) = (Path::new(CHART), folder.path().join("app.tgz"));
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(archive).arg("-C").arg(chart.parent().unwrap()).arg("app");
    assert!(tar.status().unwrap().success());
    fs::write(folder.path().join("values.yaml"), "sidecar: sidecar:v9\n").unwrap();
    fs::write(folder.path().join("broken.yaml"), "a: [\n").unwrap();
    folder
}

/// Runs `qiji` on a site with these words in its platform. Gives exit status and all that is printed but progress.
fn qiji(verb: &str, edition: &str, platform: &str) -> String {
    let bench = bench();
    let site = include_str!("../../../../blueprints/examples/quickstart.kdl").replace("community", edition);
    let site = site.trim_end().strip_suffix('}').unwrap().to_owned();
    fs::write(bench.path().join("site.kdl"), format!("{site}  platform {{\n{platform}\n  }}\n}}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_qiji"));
    command.args([verb, "site.kdl"]).current_dir(bench.path());
    if verb == "lock" {
        command.args(["--artifacts", ".", "--store", STORE]);
    }
    let output = command.output().unwrap();
    assert!(!bench.path().join("site.lock").exists());
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    // What has arrived is told with its size, which differs from run to run.
    let told: Vec<_> = stderr.lines().filter(|line| !line.ends_with('B')).collect();
    let text = format!("status {}\n{stdout}{}\n", output.status.code().unwrap(), told.join("\n"));
    let program = Path::new(env!("CARGO_BIN_EXE_qiji")).parent().unwrap();
    text.replace(program.to_str().unwrap(), "PROGRAM")
}

#[test]
fn likely_images_and_stale_lists_are_all_told() {
    let platform = r#"
    chart "app" version="1.2.3" {
      namespace "team"
      values "values.yaml"
      file "app.tgz"
      images {
        declare "quay.io/team/gone:v1"
        exclude "quay.io/team/runner:v3"
      }
    }
    chart "app" version="1.2.3" {
      release "again"
      file "app.tgz"
      images {
        declare "quay.io/team/sidecar:v2" "quay.io/team/runner:v3"
      }
    }"#;
    insta::assert_snapshot!(qiji("lock", "community", platform));
}

#[test]
fn charts_that_cannot_be_rendered_are_all_told() {
    let chart = |version: &str, release: &str, values: &str| {
        format!(
            "chart \"app\" version=\"{version}\" {{\n release \"{release}\"\n values \"{values}\"\n file \"app.tgz\"\n}}\n"
        )
    };
    let platform = chart("1.2.3", "broken", "broken.yaml") + &chart("2.0.0", "other", "values.yaml");
    insta::assert_snapshot!(qiji("lock", "community", &platform));
}

#[test]
fn what_is_not_there_is_told() {
    let file = "chart \"app\" version=\"1.2.3\" { file \"other.tgz\"; }";
    insta::assert_snapshot!("no_archive", qiji("lock", "community", file));
    let values = "chart \"app\" version=\"1.2.3\" { file \"app.tgz\"; values \"none.yaml\"; }";
    insta::assert_snapshot!("no_values", qiji("lock", "community", values));
}

#[test]
fn an_edition_that_lists_its_components_refuses_charts() {
    let chart = "    chart \"oci://r.example/charts/app\" version=\"1.2.3\"";
    insta::assert_snapshot!(qiji("check", "trusted", chart));
}
