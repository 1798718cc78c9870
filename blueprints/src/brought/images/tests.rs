use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn object(object: Value) -> ChartObject {
    ChartObject { template: "app/templates/x.yaml".to_owned(), object }
}

/// Certainty, path and text of each find.
fn found(value: Value) -> Vec<(Certainty, String, String)> {
    let finds = find(&[object(value)]);
    finds.into_iter().map(|find| (find.certainty, find.place.path, find.text)).collect()
}

fn sure(path: &str, text: &str) -> (Certainty, String, String) {
    (Certainty::Sure, path.to_owned(), text.to_owned())
}

fn likely(path: &str, text: &str) -> (Certainty, String, String) {
    (Certainty::Likely, path.to_owned(), text.to_owned())
}

#[test]
fn containers_of_every_kind_of_object_are_sure() {
    let pod = json!({
        "initContainers": [{ "name": "wait", "image": "busybox" }],
        "containers": [{ "name": "app", "image": "r.example/app:1", "imagePullPolicy": "IfNotPresent" }, { "name": "none" }],
        "ephemeralContainers": [{ "image": "r.example/debug:1" }],
        "volumes": [{ "name": "data", "image": { "reference": "r.example/data:1" } }, { "name": "x", "emptyDir": {} }],
    });
    let deployment = json!({ "kind": "Deployment", "metadata": { "name": "app" }, "spec": { "template": { "spec": pod } } });
    let expected = [
        sure("spec.template.spec.initContainers[0].image", "busybox"),
        sure("spec.template.spec.volumes[0].image.reference", "r.example/data:1"),
        sure("spec.template.spec.containers[0].image", "r.example/app:1"),
        sure("spec.template.spec.ephemeralContainers[0].image", "r.example/debug:1"),
    ];
    let mut expected = expected.to_vec();
    expected.sort_by(|a, b| a.2.cmp(&b.2));
    assert_eq!(found(deployment), expected);
    let own_kind = json!({ "kind": "Prometheus", "spec": { "containers": [{ "image": "auto" }], "image": "quay.io/p/p:v3" } });
    assert_eq!(
        found(own_kind),
        [sure("spec.containers[0].image", "auto"), likely("spec.image", "quay.io/p/p:v3")]
    );
}

#[test]
fn arguments_and_variables_are_likely() {
    let container = json!({ "containers": [{
        "image": "r.example/app:1",
        "args": ["--sidecar=quay.io/team/sidecar:v2", "--reloader-image", "reloader:3", "--listen=0.0.0.0:8080", "--log-level=info"],
        "command": ["sh", "-c", "run quay.io/team/job:v1 || exit 1"],
        "env": [{ "name": "HELPER_IMAGE", "value": "helper:2" }, { "name": "HOST", "value": "redis:6379" }],
    }] });
    let expected = [
        likely("containers[0].env[0].value", "helper:2"),
        likely("containers[0].command[2]", "quay.io/team/job:v1"),
        likely("containers[0].args[0]", "quay.io/team/sidecar:v2"),
        sure("containers[0].image", "r.example/app:1"),
        likely("containers[0].args[2]", "reloader:3"),
    ];
    assert_eq!(found(container), expected);
}

#[test]
fn texts_that_are_yaml_or_json_are_looked_into() {
    let config = json!({ "kind": "ConfigMap", "data": {
        "pod.yaml": "spec:\n  containers:\n  - name: x\n    image: busybox:1.36\n",
        "values.json": "{\"sidecar\": {\"repository\": \"team/sidecar\", \"registry\": \"r.example\", \"tag\": \"2\"}}",
        "template": "image: {{ .Image }}\nother: \"quay.io/team/other:v1\"\n",
        "plain": "apache/airflow:2.9",
    } });
    let expected = [
        likely("data.plain", "apache/airflow:2.9"),
        sure("data.pod.yaml.spec.containers[0].image", "busybox:1.36"),
        likely("data.template", "quay.io/team/other:v1"),
        likely("data.values.json.sidecar.repository", "r.example/team/sidecar:2"),
    ];
    assert_eq!(found(config), expected);
}

#[test]
fn secrets_are_decoded_and_prose_is_passed_over() {
    let encoded = STANDARD.encode("sidecar: quay.io/team/sidecar:v2");
    let secret = json!({ "kind": "Secret", "data": { "config": encoded, "noise": "!!" } });
    assert_eq!(found(secret), [likely("data.config", "quay.io/team/sidecar:v2")]);
    let definition = json!({ "kind": "CustomResourceDefinition", "spec": { "schema": {
        "description": "such as quay.io/team/app:v1", "default": "quay.io/team/real:v1",
    } } });
    assert_eq!(found(definition), [likely("spec.schema.default", "quay.io/team/real:v1")]);
    let labels = json!({ "kind": "Pod", "metadata": { "labels": { "image": "app:1" } } });
    assert_eq!(found(labels), []);
}

#[test]
fn what_is_no_image_is_not_found() {
    for text in [
        "apps/v1",
        "rbac.authorization.k8s.io/v1",
        "https://r.example/app:1",
        "redis:6379",
        "default/web:8080",
        "10.0.0.1:443",
        "12:30",
        "/var/run/x:ro",
        "a: b",
        "github.com/team/app",
        "IfNotPresent",
        "",
    ] {
        assert_eq!(found(json!({ "x": text, "y": [text] })), [], "{text}");
    }
}

#[test]
fn names_are_made_full() {
    let digest = Digest::of(b"x");
    let read = |text: &str| ImageName::read(text).map(|name| (name.name, name.digest, name.tagged));
    assert_eq!(read("nginx"), Some(("docker.io/library/nginx:latest".to_owned(), None, true)));
    assert_eq!(read("r.example/a:1"), Some(("r.example/a:1".to_owned(), None, true)));
    let both = read(&format!("team/a:1@{digest}"));
    assert_eq!(both, Some(("docker.io/team/a:1".to_owned(), Some(digest), true)));
    assert_eq!(read(&format!("r.example/a@{digest}")), Some(("r.example/a".to_owned(), Some(digest), false)));
    assert_eq!(read("Not A Name"), None);
}

/// Any JSON, with keys and texts that mean something here among them.
fn json_value() -> impl Strategy<Value = Value> {
    let text = || {
        prop_oneof![
            "\\PC{0,20}",
            "[a-z]{1,5}(\\.[a-z]{1,3})?(/[a-z]{1,4}){0,2}(:[a-z0-9.]{1,4})?",
            "(image|- a|b): [a-z:{\\[\"]{0,6}\n[ a-z:-]{0,12}",
        ]
    };
    let key = prop_oneof![
        "[a-z]{1,4}",
        Just("containers".to_owned()),
        Just("image".to_owned()),
        Just("volumes".to_owned()),
        Just("tag".to_owned()),
        Just("data".to_owned())
    ];
    let leaf =
        prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), text().prop_map(Value::String)];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((key.clone(), inner), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_panics_and_each_find_is_there_once(value in json_value()) {
        let finds = find(&[object(value.clone()), object(value)]);
        prop_assert!(finds.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn an_image_of_a_container_is_found_wherever_the_pod_is(
        image in "[a-z]{1,6}\\.example/[a-z]{1,6}:[a-z0-9]{1,6}",
        path in vec("[a-z]{1,6}", 0..5),
        kind in prop::sample::select(vec!["containers", "initContainers", "ephemeralContainers"]),
        as_text in any::<bool>(),
    ) {
        let mut pod = json!({ kind: [{ "name": "x", "image": image }] });
        for key in &path {
            pod = json!({ key: pod });
        }
        let pod = if as_text { json!({ "data": { "pod": pod.to_string() } }) } else { pod };
        let finds = find(&[object(pod)]);
        prop_assert_eq!(finds.len(), 1);
        prop_assert_eq!((&finds[0].text, finds[0].certainty), (&image, Certainty::Sure));
    }

    #[test]
    fn an_image_with_registry_and_tag_is_found_in_any_text(
        image in "[a-z]{1,6}\\.example/[a-z]{1,6}:v[0-9]{1,3}",
        before in "([A-Za-z-]{1,6}[ =,'\"])?",
        after in "([ ,'\"][A-Za-z-]{1,6})?",
    ) {
        let finds = find(&[object(json!({ "args": [format!("{before}{image}{after}")] }))]);
        prop_assert_eq!(finds.len(), 1, "{:?}", finds);
        prop_assert_eq!((&finds[0].text, finds[0].certainty), (&image, Certainty::Likely));
    }
}
