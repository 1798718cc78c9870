//! Values of the site language: what each kind of text must look like. Pure functions from text to a value or what was expected.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use oci_spec::distribution::Reference;

use crate::digest::Digest;

/// A DNS label (RFC 1123, section 2.1; the rule that Kubernetes holds names to).
pub(crate) fn is_label(text: &str) -> bool {
    let body = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(body) && !text.starts_with('-') && !text.ends_with('-')
}

/// Labels with dots between them, 253 characters at most.
pub(crate) fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The value of a Kubernetes label (`k8s.io/apimachinery`, `validation.IsValidLabelValue`).
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_qualified_name(text)
}

/// The key of a Kubernetes label (`k8s.io/apimachinery`, `validation.IsQualifiedName`).
pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_domain(prefix) && is_qualified_name(name),
        None => is_qualified_name(text),
    }
}

fn is_qualified_name(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let body = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= 63 && text.bytes().all(body) && edge(text.bytes().next()) && edge(text.bytes().last())
}

/// A Linux user name, as `useradd` takes it, and a little more: no blanks, no `:`, `/` or `@`, not `-` first.
pub(crate) fn is_user(text: &str) -> bool {
    let body = |c: char| c.is_ascii_alphanumeric() || "-_.$".contains(c);
    (1..=32).contains(&text.len()) && text.chars().all(body) && !text.starts_with('-')
}

/// The name of an image in full: registry, path and tag, with a digest where there is one.
pub(crate) fn image(text: &str) -> Result<(String, Option<Digest>), Slip> {
    let Ok(reference) = text.parse::<Reference>() else {
        return Err((format!("`{text}` is not the name of an image"), None));
    };
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let digest = digest.map(str::parse).transpose();
    let digest = digest.map_err(|_| (format!("`{text}` has a digest that is not SHA-256"), None))?;
    let end = name.rsplit('/').next().unwrap_or_default();
    if !end.contains(':') {
        return Err((format!("`{text}` has no tag, by which it is found on the site"), None));
    }
    let full = reference.whole();
    if full != text {
        return Err((format!("`{text}` does not name its registry"), Some(format!("write `{full}`"))));
    }
    Ok((name.to_owned(), digest))
}

/// The version of a Helm chart: a semantic version, before which a `v` may stand.
pub(crate) fn is_chart_version(text: &str) -> bool {
    semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).is_ok()
}

/// The name of a Helm chart (Helm, `pkg/chart/v2/util`, `ValidateChartName`), which is also a part of a file name.
pub(crate) fn is_chart_name(text: &str) -> bool {
    let body = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=128).contains(&text.len())
        && text.chars().all(body)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// What is wrong with a value: message, and a likely fix.
pub(crate) type Slip = (String, Option<String>);

/// An address range whose address has no bits outside its prefix.
pub(crate) fn subnet(text: &str) -> Result<IpNet, Slip> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let fix =
            if address.is_ipv4() { format!("write `{text}/24`?") } else { format!("write `{text}/64`?") };
        return Err((format!("`{text}` has no prefix length"), Some(fix)));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        return Err((format!("`{text}` is not an address range"), None));
    };
    if net.trunc() != net {
        let message = format!("`{text}` has address bits after its prefix of /{}", net.prefix_len());
        return Err((message, Some(format!("write `{}`", net.trunc()))));
    }
    Ok(net)
}

/// `HOST:PORT`, with brackets around an IPv6 address.
pub(crate) fn endpoint(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        None if host.parse::<std::net::Ipv4Addr>().is_ok() => host.to_owned(),
        None if is_domain(host) && !looks_like_ipv4(host) => host.to_owned(),
        None => return None,
    };
    Some((host, port))
}

fn looks_like_ipv4(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// A public SSH key, `TYPE BASE64` (RFC 4253, section 6.6: the blob begins with the type as a string). A comment is dropped.
pub(crate) fn host_key(text: &str) -> Result<String, String> {
    const TYPES: [&str; 5] =
        ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];
    let mut words = text.split_whitespace();
    let (Some(kind), Some(body)) = (words.next(), words.next()) else {
        return Err("a public key has two words, its type and its base64".to_owned());
    };
    if !TYPES.contains(&kind) {
        return Err(format!("`{kind}` is not a type of public key"));
    }
    let Ok(blob) = STANDARD.decode(body) else {
        return Err("the second word is not base64".to_owned());
    };
    let length = u32::try_from(kind.len()).unwrap_or_default().to_be_bytes();
    match blob.strip_prefix(&length).and_then(|rest| rest.strip_prefix(kind.as_bytes())) {
        Some(key) if key.len() > 4 && fits(key) => Ok(format!("{kind} {body}")),
        Some(_) => Err("the key is cut short".to_owned()),
        None => Err(format!("the key inside is not of type {kind}")),
    }
}

/// Whether bytes are a row of strings, each led by its length.
fn fits(mut bytes: &[u8]) -> bool {
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        match rest.get(u32::from_be_bytes(*length) as usize..) {
            Some(after) => bytes = after,
            None => return false,
        }
    }
    bytes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn host_keys() {
        assert_eq!(host_key(KEY).unwrap(), KEY);
        assert_eq!(host_key(&format!("{KEY} root@cp1")).unwrap(), KEY);
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-dss AAAA",
            "ssh-ed25519 !!!!",
            &KEY[..40],
            &KEY.replace("ed25519", "rsa"),
        ] {
            assert!(host_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints() {
        assert_eq!(endpoint("10.0.0.1:6443"), Some(("10.0.0.1".to_owned(), 6443)));
        assert_eq!(endpoint("[fd00::1]:6443"), Some(("fd00::1".to_owned(), 6443)));
        assert_eq!(endpoint("api.example:443"), Some(("api.example".to_owned(), 443)));
        for bad in ["10.0.0.1", "10.0.0.1:0", "10.0.0.1:99999", "fd00::1:6443", "300.0.0.1:1", ":1", "a b:1"]
        {
            assert_eq!(endpoint(bad), None, "{bad}");
        }
    }

    #[test]
    fn names() {
        assert!(is_label("w01") && is_label("1") && !is_label("") && !is_label("-a") && !is_label("A"));
        assert!(
            is_label_key("a.b/c_D") && is_label_key("x") && !is_label_key("/x") && !is_label_key("a/b/c")
        );
        assert!(
            is_label_value("") && is_label_value("A.b-c") && !is_label_value("-a") && !is_label_value("é")
        );
    }

    #[test]
    fn images() {
        assert_eq!(image("r.example:5000/a/b:v1").unwrap(), ("r.example:5000/a/b:v1".to_owned(), None));
        let digest = Digest::of(b"x");
        let pinned = image(&format!("docker.io/library/nginx:1@{digest}")).unwrap();
        assert_eq!(pinned, ("docker.io/library/nginx:1".to_owned(), Some(digest)));
        assert_eq!(image("nginx:1").unwrap_err().1.unwrap(), "write `docker.io/library/nginx:1`");
        for bad in [
            "",
            "r.example/A:1",
            "r.example/a",
            "r.example:5000/a",
            "r.example/a:1@sha256:00",
            "a b",
            "oci://r.example/a:1",
        ] {
            assert!(image(bad).is_err(), "{bad}");
        }
        assert!(image(&format!("r.example/a@{digest}")).unwrap_err().0.contains("no tag"));
    }

    #[test]
    fn subnets() {
        assert!(subnet("10.0.0.0/8").is_ok() && subnet("fd00::/48").is_ok());
        assert_eq!(subnet("10.0.0.1/8").unwrap_err().1.unwrap(), "write `10.0.0.0/8`");
        assert!(subnet("10.0.0.1").is_err() && subnet("10.0.0.0/33").is_err());
    }
}
