//! What a request asks for, from its path and query alone.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use qiji_blueprint::Digest;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Whether this is a registry at all.
    Base,
    /// All repositories.
    Catalogue,
    /// The tags of a repository.
    Tags { name: String },
    /// A manifest by tag or digest.
    Manifest { name: String, reference: Reference },
    /// A blob.
    Blob { name: String, digest: String },
    /// What refers to a manifest.
    Referrers { name: String, digest: String },
}

/// How a manifest is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// By a tag.
    Tag(String),
    /// By its digest.
    Digest(Digest),
}

/// The known words of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// The registry that is meant, where this one is its mirror.
    pub(crate) ns: Option<String>,
    /// Most entries of a list.
    pub(crate) n: Option<String>,
    /// The entry after which a list goes on.
    pub(crate) last: Option<String>,
    /// The only type of referrers that is wanted.
    pub(crate) artifact_type: Option<String>,
}

impl Ask {
    /// What a path asks for, if it is one of a registry.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v2")?;
        if rest.is_empty() || rest == "/" {
            return Some(Self::Base);
        }
        let rest = percent_decode_str(rest.strip_prefix('/')?).decode_utf8().ok()?;
        if rest == "_catalog" {
            return Some(Self::Catalogue);
        }
        let (rest, last) = rest.rsplit_once('/')?;
        let (name, kind) = rest.rsplit_once('/')?;
        let (name, last) = (name.to_owned(), last.to_owned());
        match kind {
            "tags" if last == "list" => Some(Self::Tags { name }),
            "manifests" => Some(Self::Manifest { name, reference: Reference::parse(last) }),
            "blobs" => Some(Self::Blob { name, digest: last }),
            "referrers" => Some(Self::Referrers { name, digest: last }),
            _ => None,
        }
    }
}

impl Reference {
    fn parse(text: String) -> Self {
        text.parse().map_or(Self::Tag(text), Self::Digest)
    }
}

impl Query {
    /// Reads a query; of a word that is there twice the last counts.
    pub(crate) fn parse(query: &str) -> Self {
        let mut known = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*key {
                "ns" => &mut known.ns,
                "n" => &mut known.n,
                "last" => &mut known.last,
                "artifactType" => &mut known.artifact_type,
                _ => continue,
            };
            *place = Some(Cow::into_owned(value));
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        let (name, digest) = ("a/b".to_owned(), format!("sha256:{}", "0".repeat(64)));
        let manifest = |reference| Some(Ask::Manifest { name: name.clone(), reference });
        assert_eq!(Ask::parse("/v2"), Some(Ask::Base));
        assert_eq!(Ask::parse("/v2/"), Some(Ask::Base));
        assert_eq!(Ask::parse("/v2/_catalog"), Some(Ask::Catalogue));
        assert_eq!(Ask::parse("/v2/a/b/tags/list"), Some(Ask::Tags { name: name.clone() }));
        assert_eq!(Ask::parse("/v2/a/b/manifests/v1"), manifest(Reference::Tag("v1".to_owned())));
        let by_digest = manifest(Reference::Digest(digest.parse().unwrap()));
        assert_eq!(Ask::parse(&format!("/v2/a/b/manifests/{digest}")), by_digest);
        assert_eq!(Ask::parse(&format!("/v2/a/b/manifests/{}", digest.replace(':', "%3A"))), by_digest);
        assert_eq!(
            Ask::parse("/v2/a/b/blobs/x"),
            Some(Ask::Blob { name: name.clone(), digest: "x".to_owned() })
        );
        assert_eq!(Ask::parse("/v2/a/b/referrers/x"), Some(Ask::Referrers { name, digest: "x".to_owned() }));
        let manifests = Ask::Blob { name: "manifests".to_owned(), digest: "x".to_owned() };
        assert_eq!(Ask::parse("/v2/manifests/blobs/x"), Some(manifests));
        for other in [
            "",
            "/",
            "/v1/",
            "/v2x",
            "/v2/a",
            "/v2/a/b",
            "/v2/blobs/x",
            "/v2/a/b/tags/x",
            "/v2/a/blobs/uploads/x",
            "/v2/%ff/tags/list",
        ] {
            assert_eq!(Ask::parse(other), None, "{other}");
        }
    }

    #[test]
    fn queries_are_read() {
        let query = Query::parse("ns=docker.io&n=3&last=a%2Fb&artifactType=application%2Fx&other=1&n=4");
        assert_eq!(query.ns.as_deref(), Some("docker.io"));
        assert_eq!(query.n.as_deref(), Some("4"));
        assert_eq!(query.last.as_deref(), Some("a/b"));
        assert_eq!(query.artifact_type.as_deref(), Some("application/x"));
        assert_eq!(Query::parse(""), Query::default());
    }
}
