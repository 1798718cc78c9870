//! Helm charts: from registries, repositories and files, rendered by Helm's own libraries, looked into.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod support;

use qiji_airgap::{
    FetchErrors, Fetcher, HelmError, Release, ResolvedChart, Settings, SourceError, Store, ingredients,
};
use qiji_blueprint::Digest;
use qiji_blueprint::brought::images::{Certainty, ChartObject, find};
use qiji_blueprint::lock::{Chart, Pinned, Source};
use qiji_blueprint::part::PartKind;
use support::chart::{archive, chart, hex, registry, repository};
use support::registry::{Content, Login};
use support::{Bench, Server, files, lock, pin};

async fn resolve(bench: &Bench, chart: Chart<()>) -> Result<ResolvedChart, FetchErrors> {
    Ok(bench.fetcher.resolve_charts(&[chart]).await?.remove(0))
}

fn locked(found: &ResolvedChart) -> Chart<Pinned> {
    let Chart { name, chart, version, .. } = chart("1.2.3", vec![]);
    Chart { name, chart, version, pin: found.pin, sources: found.sources.clone(), values: vec![] }
}

fn cause(error: &FetchErrors) -> &SourceError {
    &error.failures[0].attempts[0].cause
}

/// Fetches a locked chart into another store.
async fn fetch(found: &ResolvedChart, settings: Settings) -> Vec<u8> {
    let other = Bench::new(settings);
    let mut lock = lock(vec![]);
    lock.charts.push(locked(found));
    other.fetcher.fetch(&lock).await.unwrap();
    other.read(&found.pin.digest)
}

#[tokio::test]
async fn a_chart_in_a_registry_is_pinned_and_fetched_by_digest() {
    let archive = archive(&[]);
    let content = Content { login: Login::Anonymous, cut_blobs: true, ..registry(&archive, "1.2.3_x") };
    let server = Server::plain_at(|base| content.serve(base)).await;
    let bench = Bench::new(Settings::default());
    let reference = format!("127.0.0.1:{}/charts/app:1.2.3_x", server.port);
    let found =
        resolve(&bench, chart("1.2.3+x", vec![Source::Oci { reference: reference.clone() }])).await.unwrap();
    assert_eq!(found.pin, pin(&archive));
    let [Source::Oci { reference: pinned }] = found.sources.as_slice() else { panic!("{found:?}") };
    assert!(pinned.starts_with(&format!("{reference}@sha256:")), "{pinned}");
    assert_eq!(bench.read(&found.pin.digest), archive, "it is there to be rendered");
    assert_eq!(fetch(&found, Settings::default()).await, archive);
}

#[tokio::test]
async fn what_is_no_chart_in_a_registry_is_refused() {
    let mut content = registry(b"x", "1.2.3");
    content.image("charts/app", "amd64", &["image"]);
    let server = Server::plain_at(|base| content.serve(base)).await;
    let bench = Bench::new(Settings { tries: 1, ..Settings::default() });
    let reference = format!("127.0.0.1:{}/charts/app:image", server.port);
    let error = resolve(&bench, chart("1.2.3", vec![Source::Oci { reference }])).await.unwrap_err();
    assert!(error.to_string().contains("it is no Helm chart"), "{error}");
}

fn in_repository(server: &Server, version: &str) -> Chart<()> {
    chart(version, vec![Source::Repository { url: server.url("/stable"), file: None }])
}

#[tokio::test]
async fn a_chart_in_a_repository_is_found_by_its_index() {
    let archive = archive(&[]);
    let server = Server::plain(files(repository(&archive, &hex(&archive)))).await;
    let bench = Bench::new(Settings::default());
    let both = [in_repository(&server, "1.2.3"), in_repository(&server, "v1.2.3")];
    let found = bench.fetcher.resolve_charts(&both).await.unwrap();
    assert_eq!(found[0].pin, pin(&archive));
    let (url, file) = (server.url("/stable"), Some(server.url("/stable/files/app-1.2.3.tgz")));
    assert_eq!(found[0].sources, [Source::Repository { url, file }]);
    let indexes = server.asked().iter().filter(|asked| asked.path.ends_with("index.yaml")).count();
    assert_eq!(indexes, 1, "an index is asked once a run");
    assert_eq!(fetch(&found[0], Settings::default()).await, archive);
}

#[tokio::test]
async fn what_a_repository_does_not_have_is_told() {
    let archive = archive(&[]);
    let server = Server::plain(files(repository(&archive, &hex(b"another")))).await;
    let bench = Bench::new(Settings { tries: 1, ..Settings::default() });
    for (version, told) in [
        ("1.2.3", "the index says that its digest is"),
        ("2.0.0", "it has no app 2.0.0, only 1.2.3, 1.2.2"),
        ("1.2.2", "it gives no address"),
    ] {
        let error = resolve(&bench, in_repository(&server, version)).await.unwrap_err();
        assert!(matches!(cause(&error), SourceError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    let plain =
        chart("1.2.3", vec![Source::Repository { url: "http://charts.example".to_owned(), file: None }]);
    assert!(matches!(cause(&resolve(&bench, plain).await.unwrap_err()), SourceError::Refused { .. }));
}

#[tokio::test]
async fn the_next_source_is_asked_where_one_does_not_answer() {
    let archive = archive(&[]);
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("app.tgz"), &archive).unwrap();
    let settings = || Settings { folders: vec![folder.path().to_owned()], tries: 1, ..Settings::default() };
    let bench = Bench::new(settings());
    let sources = vec![
        Source::Oci { reference: "127.0.0.1:1/charts/app:1.2.3".to_owned() },
        Source::Folder { path: "app.tgz".to_owned() },
    ];
    let found = resolve(&bench, chart("1.2.3", sources.clone())).await.unwrap();
    assert_eq!((found.pin, &found.sources), (pin(&archive), &sources));
    assert_eq!(fetch(&found, settings()).await, archive);
}

#[test]
fn a_chart_tells_itself_and_the_charts_inside_it() {
    let archive = archive(&[]);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.put(&archive).unwrap();
    let mut lock = lock(vec![]);
    let reference = "r.example/charts/app:1.2.3".to_owned();
    let found = Chart { pin: pin(&archive), sources: vec![Source::Oci { reference }], ..locked_of(&archive) };
    lock.charts.push(found);
    let (name, ingredient) = ingredients(&store, &lock).unwrap().remove(0);
    assert_eq!((name.name.as_str(), name.arch), ("chart app", None));
    assert_eq!((ingredient.part.kind, ingredient.part.name.as_str()), (PartKind::Chart, "app"));
    assert_eq!(ingredient.part.licence.as_deref(), Some("Apache-2.0"));
    assert_eq!(ingredient.origin, "chart r.example/charts/app:1.2.3");
    let parts: Vec<_> =
        ingredient.parts.iter().map(|part| (part.name.as_str(), part.version.as_str())).collect();
    assert_eq!(parts, [("database", "0.1.0")]);
}

fn locked_of(archive: &[u8]) -> Chart<Pinned> {
    let Chart { name, chart, version, .. } = chart("1.2.3", vec![]);
    Chart { name, chart, version, pin: pin(archive), sources: vec![], values: vec![] }
}

/// A fetcher whose store outlives the test, so that the program that renders is built once.
fn lasting() -> Fetcher {
    let store = Store::open(concat!(env!("CARGO_TARGET_TMPDIR"), "/charts-store")).unwrap();
    Fetcher::new(store, Settings::default()).unwrap()
}

/// Renders an archive as release `web` in namespace `team`.
async fn render(archive: &[u8], values: &[&str], version: &str) -> Result<Vec<ChartObject>, HelmError> {
    let fetcher = lasting();
    let helm = fetcher.helm().await?;
    let values: Vec<Digest> =
        values.iter().map(|text| fetcher.store().put(text.as_bytes()).unwrap().digest).collect();
    let release = Release {
        name: "web",
        namespace: "team",
        kubernetes: "1.36.3",
        chart: ("app", version),
        archive: fetcher.store().put(archive).unwrap().digest,
        values: &values,
    };
    helm.render(&release).await
}

#[tokio::test]
async fn all_images_of_a_real_chart_are_found() {
    let values = ["image: { tag: \"2.4\" }\nreplicas: 2\n", "replicas: 3\n"];
    let objects = render(&archive(&[]), &values, "1.2.3").await.unwrap();
    let deployment = &objects.iter().find(|one| one.object["kind"] == "Deployment").unwrap().object;
    assert_eq!(deployment["spec"]["replicas"], 3, "later values count");
    assert_eq!(deployment["metadata"]["namespace"], "team");
    assert_eq!(deployment["metadata"]["annotations"]["kubernetes"], "v1.36.3");
    assert_eq!(deployment["metadata"]["annotations"]["cluster"], "0", "there is no cluster to look into");

    let finds = find(&objects);
    let of = |certainty: Certainty| -> Vec<_> {
        finds.iter().filter(|find| find.certainty == certainty).map(|find| find.text.as_str()).collect()
    };
    let sure = [
        "busybox:1.36",
        "registry.example/team/app:2.4",
        "registry.example/team/database:17",
        "registry.example/team/jobs:2.4",
        "registry.example/team/migrate:2.4",
        "registry.example/team/widget:1",
        "registry.example/team/worker:2.4",
    ];
    assert_eq!(of(Certainty::Sure), sure);
    let likely = ["quay.io/team/runner:v3", "quay.io/team/sidecar:v2", "registry.example/team/helper:1"];
    assert_eq!(of(Certainty::Likely), likely);
    let runner = finds.iter().find(|find| find.text.contains("runner")).unwrap();
    assert!(
        runner
            .place
            .to_string()
            .starts_with("app/crds/widget.yaml, CustomResourceDefinition widgets.app.example, ")
    );
    let again = render(&archive(&[]), &values, "1.2.3").await.unwrap();
    assert_ne!(objects, again, "its password is made by chance");
    assert_eq!(finds, find(&again), "its images are not");
}

#[tokio::test]
async fn values_choose_what_is_rendered() {
    let objects = render(&archive(&[]), &["database: { enabled: false }\n"], "1.2.3").await.unwrap();
    assert!(objects.iter().all(|one| one.object["kind"] != "StatefulSet"));
}

#[tokio::test]
async fn what_cannot_be_installed_is_told() {
    let chart = fs_err::read_to_string(support::chart::folder().join("Chart.yaml")).unwrap();
    let newer = chart.replace(">= 1.30.0-0", ">= 1.99.0");
    let library = format!("{chart}type: library\n");
    let cases: [(&str, Option<&str>, &str); 6] = [
        ("Chart.yaml", Some(&newer), "the chart wants Kubernetes >= 1.99.0, and the site has 1.36.3"),
        ("Chart.yaml", Some(&library), "it is a library for other charts"),
        ("Chart.yaml", None, "Chart.yaml"),
        ("charts/database/Chart.yaml", None, "sub-charts are not in the archive: database"),
        ("templates/x.yaml", Some("{{ fail \"give a name\" }}"), "give a name"),
        ("templates/x.yaml", Some("a: [\n"), "app/templates/x.yaml"),
    ];
    for (file, text, told) in cases {
        let without = |name: &str| name.starts_with("charts/") && text.is_none();
        let mut changes = vec![(file, text)];
        if without(file) {
            changes.push(("charts/database/templates/statefulset.yaml", None));
        }
        let error = render(&archive(&changes), &[], "1.2.3").await.unwrap_err();
        assert!(matches!(&error, HelmError::Chart { release, .. } if release == "web"), "{error}");
        assert!(error.to_string().contains(told), "{told}: {error}");
    }
    let error = render(&archive(&[]), &["a: [\n"], "1.2.3").await.unwrap_err();
    assert!(error.to_string().contains("values file 1"), "{error}");
    let error = render(&archive(&[]), &[], "1.2.4").await.unwrap_err();
    assert!(error.to_string().contains("it is app 1.2.3 and not app 1.2.4"), "{error}");
}
