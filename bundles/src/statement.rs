//! The in-toto statement about a bundle (in-toto/attestation, `spec/v1/statement.md`): which root, by its SHA-256 and its SM3, and what it is
//! for.
//!
//! A statement has one form. What it says is compared with what the file holds; only the channel and the program that wrote it are said nowhere
//! else.

use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};
use sm3::{Digest as _, Sm3};

use crate::contents::{Contents, is_channel};
use crate::error::Fault;
use crate::oci;

/// Payload type of in-toto statements.
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://qiji.dev/bundle/v1";
const CREATED_BY: &str = concat!("qiji ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: [Subject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: Digests,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digests {
    sha256: String,
    sm3: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Predicate {
    created_by: String,
    name: String,
    version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    edition: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    channel: String,
}

/// What a statement is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) contents: &'a Contents,
    pub(crate) root: Digest,
    /// The bytes of the root index.
    pub(crate) root_bytes: &'a [u8],
}

impl About<'_> {
    /// The bytes of the statement.
    pub(crate) fn statement(&self, channel: &str) -> Vec<u8> {
        self.statement_by(CREATED_BY, channel)
    }

    fn statement_by(&self, created_by: &str, channel: &str) -> Vec<u8> {
        let Contents { name, version, edition, .. } = self.contents;
        oci::to_bytes(&Statement {
            kind: STATEMENT.to_owned(),
            subject: [Subject {
                name: name.clone(),
                digest: Digests { sha256: self.root.hex(), sm3: hex::encode(Sm3::digest(self.root_bytes)) },
            }],
            predicate_type: PREDICATE.to_owned(),
            predicate: Predicate {
                created_by: created_by.to_owned(),
                name: name.clone(),
                version: version.clone(),
                edition: edition.clone(),
                channel: channel.to_owned(),
            },
        })
    }

    /// Requires that `payload` is the statement about this, by whatever release of qiji, and gives the channel.
    pub(crate) fn check(&self, payload: &[u8]) -> Result<String, Fault> {
        let fault = |reason: String| Fault::OtherSubject { reason };
        let found: Statement = serde_json::from_slice(payload).map_err(|error| fault(error.to_string()))?;
        let [subject] = &found.subject;
        if subject.digest.sha256 != self.root.hex() {
            return Err(fault(format!(
                "it names root sha256:{}, and the file has {}",
                subject.digest.sha256.escape_debug(),
                self.root
            )));
        }
        let Predicate { created_by, name, version, edition, channel } = &found.predicate;
        if payload != self.statement_by(created_by, channel) || !is_channel(channel) {
            let Contents { name: own, version: own_version, edition: own_edition, .. } = self.contents;
            let found = format!("{name} {version} {edition}");
            return Err(fault(format!(
                "it is about {}, or not in canonical form; the file has {own} {own_version} {own_edition}",
                found.escape_debug()
            )));
        }
        Ok(found.predicate.channel)
    }
}
