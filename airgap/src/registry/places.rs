//! Where a repository can be had: its mirrors in the order given, then its own registry.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;

use crate::error::SourceError;

/// A registry, or a part of one, that another has copies of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// `registry` or `registry/path`: what it has copies of.
    from: String,
    /// `registry` or `registry/path`: what takes its place.
    to: String,
}

/// A mirror is not written as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mirror: write REGISTRY=MIRROR, such as `docker.io=mirror.example:5000/hub`")]
pub struct MirrorError(String);

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let fault = || MirrorError(text.to_owned());
        let (from, to) = text.split_once('=').ok_or_else(fault)?;
        // A path of a registry is one exactly if an image in it has a reference.
        let fits = |path: &str| {
            let image = format!("{path}/x/y");
            let reference = image.parse::<Reference>();
            reference.is_ok_and(|it| format!("{}/{}", it.registry(), it.repository()) == image)
        };
        if !fits(from) || !fits(to) {
            return Err(fault());
        }
        Ok(Self { from: from.to_owned(), to: to.to_owned() })
    }
}

/// A repository in one registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Host, and port where it is not the usual one.
    pub(crate) registry: String,
    /// Path of the repository.
    pub(crate) repository: String,
    /// Whether it stands in for the registry that was named.
    pub(crate) mirror: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

impl Place {
    /// The repository that a reference names, in its own registry.
    pub(crate) fn of(reference: &Reference) -> Self {
        let (registry, repository) = (reference.registry().to_owned(), reference.repository().to_owned());
        Self { registry, repository, mirror: false }
    }

    /// All places of it, mirrors first.
    pub(crate) fn all(reference: &Reference, mirrors: &[Mirror]) -> Vec<Self> {
        let own = Self::of(reference);
        let path = own.to_string();
        let stand_ins = mirrors.iter().filter_map(|mirror| {
            let rest = path.strip_prefix(&mirror.from)?;
            let rest = rest.strip_prefix('/')?;
            let whole = format!("{}/{rest}", mirror.to);
            let (registry, repository) = whole.split_once('/')?;
            let (registry, repository) = (registry.to_owned(), repository.to_owned());
            Some(Self { registry, repository, mirror: true })
        });
        let mut all: Vec<_> = stand_ins.collect();
        all.push(own);
        all
    }

    /// The host that answers for it.
    pub(crate) fn host(&self) -> &str {
        if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry }
    }
}

/// Reads a reference.
pub(crate) fn reference(text: &str) -> Result<Reference, SourceError> {
    text.parse().map_err(|error| SourceError::Malformed { what: text.to_owned(), reason: format!("{error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(image: &str, mirrors: &[&str]) -> Vec<String> {
        let mirrors: Vec<Mirror> = mirrors.iter().map(|text| text.parse().unwrap()).collect();
        Place::all(&image.parse().unwrap(), &mirrors).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mirrors_come_first_and_only_where_they_fit() {
        let mirrors = ["docker.io=m.example/hub", "docker.io/library=l.example:5000", "quay.io=q.example"];
        assert_eq!(
            places("nginx:1", &mirrors),
            ["m.example/hub/library/nginx", "l.example:5000/nginx", "docker.io/library/nginx"]
        );
        assert_eq!(
            places("docker.io/libraryx/a", &mirrors),
            ["m.example/hub/libraryx/a", "docker.io/libraryx/a"]
        );
        assert_eq!(places("quay.io.example/a", &mirrors), ["quay.io.example/a"]);
    }

    #[test]
    fn what_is_no_mirror_is_refused() {
        for text in [
            "",
            "docker.io",
            "=",
            "docker.io=",
            "a b=c.example",
            "docker.io=https://m.example",
            "hub=m.example",
        ] {
            assert!(text.parse::<Mirror>().is_err(), "{text}");
        }
        assert!("localhost:5000=127.0.0.1:6000/x".parse::<Mirror>().is_ok());
    }
}
