use serde_json::{Value, json};

use super::*;
use crate::{Catalogue, check};

/// A site with a chart `app` whose `images` block and whose platform hold these words.
fn site(images: &str, platform: &str) -> Site {
    let text =
        include_str!("../../../examples/quickstart.kdl").trim_end().strip_suffix('}').unwrap().to_owned();
    let chart = format!(
        "  platform {{\n chart \"app\" version=\"1.0.0\" {{\n file \"app.tgz\"\n roles \"worker\"\n images {{\n{images}\n}}\n}}\n{platform}\n}}\n}}\n"
    );
    check("s.kdl", &(text + &chart), &Catalogue::builtin())
        .unwrap_or_else(|faults| panic!("{}", faults.render(false, 100)))
        .site
}

fn objects(values: &[Value]) -> Vec<ChartObject> {
    let object =
        |value: &Value| ChartObject { template: "app/templates/x.yaml".to_owned(), object: value.clone() };
    values.iter().map(object).collect()
}

fn settled(site: &Site, values: &[Value]) -> Result<Settled, ChartFaults> {
    settle(site, &[(&site.charts[0], objects(values))])
}

fn pod(image: &str) -> Value {
    json!({ "kind": "Pod", "metadata": { "name": "p" }, "spec": { "containers": [{ "image": image }] } })
}

fn config(text: &str) -> Value {
    json!({ "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "x": text } })
}

fn names(settled: &Settled) -> Vec<&str> {
    settled.images.iter().map(|image| image.name.as_str()).collect()
}

#[test]
fn sure_declared_and_added_images_are_brought_along_with_the_charts_roles() {
    let site = site("declare \"quay.io/a/b:1\"\nadd \"quay.io/c/d:1\"\nexclude \"auto\"", "");
    let digest = Digest::of(b"x");
    let text = format!("r.example/e:1@{digest}");
    let settled = settled(&site, &[pod("nginx"), pod("auto"), pod(&text), config("quay.io/a/b:1")]).unwrap();
    assert_eq!(
        names(&settled),
        ["docker.io/library/nginx:latest", "quay.io/a/b:1", "quay.io/c/d:1", "r.example/e:1"]
    );
    assert!(settled.images.iter().all(|image| image.roles == [Role::Worker]));
    assert_eq!(settled.images[3].digest, Some(digest));
    assert_eq!(settled.by_digest, [("app".to_owned(), text)]);
}

#[test]
fn an_image_of_the_site_keeps_its_sources_and_gets_roles() {
    let site = site("", "image \"r.example/a:1\" { roles \"control-plane\"; archive \"a.tar\"; }");
    let settled = settled(&site, &[config("r.example/a:1")]).unwrap();
    assert_eq!(settled.images.len(), 1);
    assert_eq!(settled.images[0].roles, [Role::ControlPlane, Role::Worker]);
    assert_eq!(settled.images[0].sources, site.images[0].sources);
}

#[test]
fn all_faults_are_told_with_places_and_words() {
    let site = site("declare \"quay.io/old:1\"\nexclude \"gone\"", "");
    let bare = format!("r.example/e@{}", Digest::of(b"x"));
    let error =
        settled(&site, &[config("quay.io/a/b"), config("quay.io/a/b:1"), pod("No Image"), pod(&bare)])
            .unwrap_err();
    assert_eq!(error.faults.len(), 5, "{error}");
    let text = error.to_string();
    for told in [
        "5 faults in the images of charts",
        "chart app: `No Image` is used as an image, but is not the name of one",
        "in app/templates/x.yaml, Pod p, spec.containers[0].image",
        "chart app: `quay.io/a/b:1` looks like an image, and the site does not say whether it is one",
        "write `declare \"quay.io/a/b:1\"`, or if it is none or not needed `exclude \"quay.io/a/b:1\"`",
        "has no tag, by which it is found on the site",
        "nothing in it names `quay.io/old:1`, which the site lists under `declare`",
        "take `exclude \"gone\"` out of `images`",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
}

#[test]
fn one_name_has_one_digest() {
    let site = site("", "");
    let image = |seed: &[u8]| pod(&format!("r.example/a:1@{}", Digest::of(seed)));
    let error = settled(&site, &[image(b"x"), image(b"y"), pod("r.example/a:1")]).unwrap_err();
    assert_eq!(error.faults.len(), 1, "{error}");
    assert!(error.to_string().contains("has another digest than"), "{error}");
}
