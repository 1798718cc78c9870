use crate::forge;
use crate::victim::Victim;

#[test]
fn of_names() {
    let victim = Victim::new();
    let refused = |from: &str, to: &str, expected: &str| {
        let members = forge::with_root(&victim.vendor, |root| root.replace(from, to));
        victim.refuses_members(&members).untrustworthy(expected);
    };
    refused(r#""dev.qiji.name":"demo""#, r#""dev.qiji.name":"../demo""#, "`../demo` is not a DNS name");
    refused(
        r#""dev.qiji.name":"agent""#,
        r#""dev.qiji.name":"--agent""#,
        "package --agent 0.1.0 (amd64): the name",
    );
    refused(
        r#""dev.qiji.name":"site.kdl""#,
        r#""dev.qiji.name":"/etc/site""#,
        "document /etc/site: the name is not safe",
    );
    refused(
        "qiji.local/etcd:3.7.3-0",
        "qiji.local/../etcd:3",
        "the name is not of the form registry/name:tag",
    );
    refused(r#""dev.qiji.version":"1.36.3""#, r#""dev.qiji.version":"1 2""#, "the version is not safe");
    refused(r#""dev.qiji.roles":"""#, r#""dev.qiji.roles":"root""#, "`root` is not a role");
    refused(r#""architecture":"amd64""#, r#""architecture":"amd46""#, "`amd46` is not a known architecture");
    refused("vnd.qiji.document.v1", "vnd.qiji.documint.v1", "is not a known type of artifact");
    let long = format!(r#""dev.qiji.name":"{}""#, "a".repeat(200));
    refused(r#""dev.qiji.name":"demo""#, &long, "is not a DNS name");
    let longer = format!(r#""dev.qiji.name":"{}""#, "a".repeat(2_000_000));
    refused(r#""dev.qiji.name":"demo""#, &longer, "annotation `dev.qiji.name` has more than 1024 bytes");
}

#[test]
fn of_form() {
    let victim = Victim::new();
    let changes: [fn(String) -> String; 5] = [
        |root| format!("{root} "),
        |root| root.replacen(r#"{"schemaVersion":2,"#, r#"{"schemaVersion":2,"x":1,"#, 1),
        |root| root.replacen(r#""schemaVersion":2"#, r#""schemaVersion":2.0"#, 1),
        |root| root.replacen(r#""os":"linux""#, r#""os":"plan9""#, 1),
        |root| root.replacen(r#""mediaType""#, r#""mediaTyp\u0065""#, 1),
    ];
    for change in changes {
        let members = forge::with_root(&victim.vendor, change);
        victim.refuses_members(&members).untrustworthy("the root index is wrong: it is ");
    }
}

#[test]
fn of_sizes() {
    let victim = Victim::new();
    let members = forge::with_root(&victim.vendor, |root| {
        let at = root.find("\"size\":").unwrap() + 7;
        format!("{}1{}", &root[..at], &root[at..])
    });
    victim.refuses_members(&members).untrustworthy("bytes instead of 1");
}

#[test]
fn of_the_version_of_the_format() {
    let victim = Victim::new();
    let members = forge::with_root(&victim.vendor, |root| {
        root.replace(r#""dev.qiji.format":"1""#, r#""dev.qiji.format":"2""#)
    });
    victim.refuses_members(&members).malformed("is a bundle of format 2, and this qiji reads format 1 only");
}
