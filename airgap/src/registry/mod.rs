//! OCI registries, over the distribution protocol (OCI distribution specification 1.1).
//!
//! 1. A reference has places: its mirrors in order, then its own registry ([`Place`]). Each is a source of its own; all are held to the same digest.
//! 2. A place is reached over HTTPS. On loopback, where there is nobody in between, plain HTTP is used if the server does not speak TLS.
//! 3. Where a registry wants a login, its challenge is answered with what the file of logins has, or anonymously. A token is kept for the
//!    repository and got anew when it is refused.
//! 4. What a tag points to is asked once a run, so that all architectures of an image come from the same index.
//!
//! Logins are shown to the registry that they are for, and to the address that it names for tokens; never over plain HTTP to another machine.

mod challenge;
mod credentials;
mod places;
mod repository;

use std::sync::Arc;

use oci_spec::distribution::Reference;

#[cfg(feature = "fuzzing")]
pub(crate) use challenge::Challenge;
pub use credentials::CredentialsError;
pub(crate) use credentials::{Credentials, Secret};
pub use places::{Mirror, MirrorError};
pub(crate) use places::{Place, reference};
pub(crate) use repository::{COSIGN, Repository, tag_beside};

use crate::error::SourceError;
use crate::settings::Settings;
use crate::shared::Shared;

/// What all transfers of a run share about registries.
pub(crate) struct Registries {
    credentials: Arc<Credentials>,
    mirrors: Vec<Mirror>,
    schemes: Shared<String, &'static str>,
    sessions: Shared<Place, tokio::sync::Mutex<Option<Secret>>>,
    tops: Shared<(Place, String), Vec<u8>>,
}

impl Registries {
    pub(crate) fn new(settings: &Settings, credentials: Arc<Credentials>) -> Self {
        Self {
            credentials,
            mirrors: settings.mirrors.clone(),
            schemes: Shared::default(),
            sessions: Shared::default(),
            tops: Shared::default(),
        }
    }

    /// All places of what a reference names.
    pub(crate) fn places(&self, reference: &Reference) -> Vec<Place> {
        Place::all(reference, &self.mirrors)
    }
}

type Answer<T> = Result<T, SourceError>;
