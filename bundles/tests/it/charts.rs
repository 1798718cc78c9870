//! Helm charts in a bundle: kept byte for byte, shown, described, compared.

use qiji_blueprint::Digest;
use qiji_blueprint::part::{Ingredient, Part, PartKind};
use qiji_bundle::diff::compare;
use qiji_bundle::sbom::{Description, Subject};
use qiji_bundle::{BundleSpec, CHART_ARCHIVE, CHART_VALUES, ChartEntry, RAW_FILE, WriteError};

use crate::fixture::{Bench, Store, sample};
use crate::reader::read;

/// The sample with a chart, its values and its bill of materials.
fn with_chart(values: &[u8]) -> (BundleSpec, Store) {
    let (mut spec, mut store) = sample();
    let blobs = vec![store.add(CHART_ARCHIVE, b"a chart"), store.add(CHART_VALUES, values)];
    let chart = ChartEntry { name: "app".to_owned(), version: "1.2.3".to_owned(), blobs };
    let part = |name: &str, licence: Option<&str>| Part {
        kind: PartKind::Chart,
        name: name.to_owned(),
        version: "1.2.3".to_owned(),
        licence: licence.map(str::to_owned),
    };
    let ingredient = Ingredient {
        part: part("application", Some("Apache-2.0")),
        digest: Digest::of(b"a chart"),
        origin: "chart r.example/charts/application:1.2.3".to_owned(),
        parts: vec![part("database", None)],
        licence_texts: std::collections::BTreeMap::new(),
    };
    let description = Description::of_chart(&chart, vec![ingredient]);
    spec.sboms.push((description.subject.clone(), description.to_spdx()));
    spec.charts.push(chart);
    (spec, store)
}

#[test]
fn a_chart_is_kept_shown_and_described() {
    let bench = Bench::new();
    let (spec, store) = with_chart(b"replicas: 2\n");
    let (path, _) = bench.write("one.qiji", &spec, &store);
    let bundle = bench.verify(&path).unwrap();
    assert_eq!(bundle.charts().cloned().collect::<Vec<_>>(), spec.charts);
    let inspection = bundle.inspect(&bench.trusted());
    let chart = &inspection.charts[0];
    assert_eq!((chart.name.as_str(), chart.digest), ("app", Digest::of(b"a chart")));
    let text = inspection.to_string();
    assert!(text.contains("\ncharts\n  app 1.2.3") && text.contains("1 file of values"), "{text}");
    let sboms = bundle.sboms().unwrap();
    let found = sboms.last().unwrap().description.as_ref().unwrap();
    assert_eq!(found.subject, Subject::Chart { name: "app".to_owned() });
    assert_eq!(found.ingredients[0].parts[0].name, "database");
    assert_eq!(found.licence().as_deref(), Some("Apache-2.0"));
}

#[test]
fn a_reader_made_from_the_page_alone_takes_it() {
    let bench = Bench::new();
    let (spec, store) = with_chart(b"replicas: 2\n");
    let (path, _) = bench.write("one.qiji", &spec, &store);
    let key = bench.path("key.pub");
    fs_err::write(&key, bench.key.public().to_pem()).unwrap();
    let (status, text) = read(&path, &[&key]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("application/vnd.qiji.chart.v1 app"), "{text}");
}

#[test]
fn other_values_are_a_difference_of_the_chart() {
    let bench = Bench::new();
    let sides = [&b"replicas: 2\n"[..], b"replicas: 3\n"].map(|values| {
        let (spec, store) = with_chart(values);
        let (path, _) = bench.write("side.qiji", &spec, &store);
        bench.verify(&path).unwrap().side().holdings().unwrap()
    });
    let changes: Vec<_> = compare(&sides[0], &sides[1]).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["~ app  other content of the same size"]);
}

#[test]
fn what_is_no_chart_is_not_written() {
    let bench = Bench::new();
    let (mut spec, mut store) = with_chart(b"x");
    let twice = spec.charts[0].clone();
    let raw = store.add(RAW_FILE, b"raw");
    spec.charts.push(twice);
    let odd = |name: &str, blobs| ChartEntry { name: name.to_owned(), version: "1/2".to_owned(), blobs };
    spec.charts.push(odd("B", vec![]));
    spec.charts.push(odd("c", vec![spec.charts[0].blobs[0].clone(), raw]));
    let error = qiji_bundle::write(&spec, &store, &[], &bench.path("no.qiji"), &mut |_| ()).unwrap_err();
    let WriteError::Spec(faults) = error else { panic!("{error}") };
    assert_eq!(faults.len(), 6, "{faults:#?}");
}
