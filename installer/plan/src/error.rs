//! Why no plan could be made.

use std::fmt;

use qiji_blueprint::site::Arch;

/// Something that keeps a plan from being made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The site has no control-plane host.
    #[error("the site has no control-plane host")]
    NoControlPlane,
    /// The site has several control-plane hosts.
    #[error(
        "the site has {count} control-plane hosts ({hosts}); installing more than one is not there yet, `qiji check` and `qiji build` work"
    )]
    SeveralControlPlanes {
        /// How many.
        count: usize,
        /// Their names.
        hosts: String,
    },
    /// The bundle holds nothing for an architecture.
    #[error("the bundle holds nothing for {arch}, the architecture of {host}")]
    NoOffer {
        /// Architecture.
        arch: Arch,
        /// A host of it.
        host: String,
    },
    /// The bundle lacks something.
    #[error("the bundle lacks the {kind} `{name}` for {arch}")]
    Lacks {
        /// `package` or `image`.
        kind: &'static str,
        /// Name.
        name: String,
        /// Architecture.
        arch: Arch,
    },
    /// The images of Kubernetes do not have the version that the site asks for.
    #[error("the bundle's image {image} is not of Kubernetes {wanted}")]
    WrongVersion {
        /// Image.
        image: String,
        /// Version of the site.
        wanted: String,
    },
    /// The range of Services has no tenth address.
    #[error("the range of services {range} is too small: it needs at least 16 addresses")]
    ServicesTooSmall {
        /// The range.
        range: String,
    },
    /// Nothing is known about a host.
    #[error("nothing is known about {host}: it was not reached")]
    NoFacts {
        /// Host.
        host: String,
    },
    /// A template lacks a value.
    #[error("cannot write a file for {host}")]
    Render {
        /// Host.
        host: String,
        /// What the template lacks.
        #[source]
        source: qiji_templates::RenderError,
    },
}

/// All that keeps a plan from being made.
#[derive(Debug)]
pub struct PlanErrors(pub Vec<PlanError>);

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for PlanErrors {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.iter().find_map(std::error::Error::source)
    }
}

impl From<PlanError> for PlanErrors {
    fn from(error: PlanError) -> Self {
        Self(vec![error])
    }
}
