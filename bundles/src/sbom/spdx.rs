//! The part of SPDX 2.3 (`spdx-schema.json`) that our documents use, with fields in one fixed order: the bytes matter.

#![allow(clippy::struct_field_names, reason = "SPDX has these names")]

use serde::{Deserialize, Serialize};

pub(super) const NO_ASSERTION: &str = "NOASSERTION";
pub(super) const DOCUMENT_ID: &str = "SPDXRef-DOCUMENT";
pub(super) const CONTAINS: &str = "CONTAINS";
pub(super) const DESCRIBES: &str = "DESCRIBES";
pub(super) const PURL: &str = "purl";

/// A document.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) spdx_version: String,
    pub(super) data_license: String,
    #[serde(rename = "SPDXID")]
    pub(super) id: String,
    pub(super) name: String,
    pub(super) document_namespace: String,
    pub(super) creation_info: CreationInfo,
    pub(super) packages: Vec<Package>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) has_extracted_licensing_infos: Vec<ExtractedLicence>,
    pub(super) relationships: Vec<Relationship>,
}

/// Who made the document, and when.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CreationInfo {
    pub(super) created: String,
    pub(super) creators: Vec<String>,
}

/// Anything that has a name and a licence.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Package {
    #[serde(rename = "SPDXID")]
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) version_info: String,
    pub(super) download_location: String,
    pub(super) files_analyzed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) checksums: Vec<Checksum>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) source_info: String,
    pub(super) license_declared: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) primary_package_purpose: Option<String>,
    pub(super) external_refs: Vec<ExternalRef>,
}

/// A digest of a package's bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checksum {
    pub(super) algorithm: String,
    pub(super) checksum_value: String,
}

/// The name of a package elsewhere.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExternalRef {
    pub(super) reference_category: String,
    pub(super) reference_type: String,
    pub(super) reference_locator: String,
}

/// The text of a licence that SPDX does not list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExtractedLicence {
    pub(super) license_id: String,
    pub(super) extracted_text: String,
    pub(super) name: String,
}

/// What one element is to another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Relationship {
    pub(super) spdx_element_id: String,
    pub(super) relationship_type: String,
    pub(super) related_spdx_element: String,
}

impl Relationship {
    pub(super) fn new(from: &str, kind: &str, to: &str) -> Self {
        Self {
            spdx_element_id: from.to_owned(),
            relationship_type: kind.to_owned(),
            related_spdx_element: to.to_owned(),
        }
    }
}

impl Package {
    /// The package URL.
    pub(super) fn purl(&self) -> Option<&str> {
        let found = self.external_refs.iter().find(|reference| reference.reference_type == PURL)?;
        Some(&found.reference_locator)
    }
}
