use crate::forge;
use crate::victim::Victim;

fn deep() -> String {
    format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))
}

fn deep_objects() -> String {
    format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000))
}

#[test]
fn in_the_root() {
    let victim = Victim::new();
    for deep in [deep(), deep_objects()] {
        let unknown =
            forge::with_root(&victim.vendor, |root| root.replacen('{', &format!(r#"{{"x":{deep},"#), 1));
        victim
            .refuses_members(&unknown)
            .untrustworthy("the root index is wrong: it is not in canonical form");
        let known = forge::with_root(&victim.vendor, |root| {
            root.replacen("\"annotations\":{", &format!("\"annotations\":{{\"x\":{deep},"), 1)
        });
        victim.refuses_members(&known).untrustworthy("the root index is wrong: it is unreadable");
    }
}

#[test]
fn in_index_json() {
    let victim = Victim::new();
    for (content, expected) in [
        (deep(), "index.json is wrong: it is unreadable"),
        (
            format!(r#"{{"schemaVersion":2,"manifests":{}}}"#, deep_objects()),
            "index.json is wrong: it is unreadable",
        ),
    ] {
        let mut members = forge::members(&victim.vendor);
        let at = members.len() - 2;
        members[at].1 = content.into_bytes();
        victim.refuses_members(&members).untrustworthy(expected);
    }
}

#[test]
fn in_the_manifest_of_an_image() {
    let victim = Victim::new();
    let mut members = forge::members(&victim.vendor);
    let manifest = forge::manifest(&members, "qiji.local/kube-proxy:v1.36.3");
    let text = String::from_utf8(manifest.clone()).unwrap();
    let deeper = text.replacen("\"layers\":[", &format!("\"layers\":[{},", deep()), 1);
    forge::replace(&mut members, &manifest, deeper.as_bytes());
    victim
        .refuses_members(&members)
        .untrustworthy("image qiji.local/kube-proxy:v1.36.3 (amd64) is wrong: it is unreadable");
}
