//! From a request to status, headers and the place of the body.

use std::ops::Range;

use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_NONE_MATCH, IF_RANGE, LINK, RANGE,
};
use hyper::http::response::Builder;
use hyper::{Method, Response, StatusCode, Uri};
use qiji_blueprint::Digest;
use serde_json::{Value, json};

use super::page::{Page, page};
use super::range::Wanted;
use super::registry::{Registry, Tags};
use super::request::{Ask, Query, Reference};
use crate::RAW_FILE;
use crate::oci::{self, INDEX, Index};

const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const JSON: &str = "application/json";

/// The body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes of a blob.
    Blob {
        /// The blob.
        digest: Digest,
        /// Its bytes that are wanted.
        range: Range<u64>,
    },
}

impl Content {
    const fn empty() -> Self {
        Self::Bytes(Vec::new())
    }

    const fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Blob { range, .. } => range.end - range.start,
        }
    }
}

/// A request that is refused, with the error code of the specification.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// A header that goes with the status.
    header: Option<(HeaderName, String)>,
}

type Answered = Result<Response<Content>, Refusal>;

impl Registry {
    /// Answers a request. Reads nothing: the body says which bytes are to be sent.
    pub fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Content> {
        let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
        let answered = match *method {
            Method::GET => self.read_only(uri, headers, range),
            // A range means nothing here (RFC 9110, 14.2).
            Method::HEAD => self.read_only(uri, headers, None),
            _ => Err(not_allowed()),
        };
        let mut response = answered.unwrap_or_else(Refusal::into_response);
        let size = response.body().size();
        response.headers_mut().insert(VERSION, HeaderValue::from_static("registry/2.0"));
        if response.status() != StatusCode::NOT_MODIFIED {
            response.headers_mut().insert(CONTENT_LENGTH, size.into());
        }
        if *method == Method::HEAD {
            *response.body_mut() = Content::empty();
        }
        response
    }

    fn read_only(&self, uri: &Uri, headers: &HeaderMap, range: Option<&str>) -> Answered {
        let query = Query::parse(uri.query().unwrap_or_default());
        let wanted = |content| given(content, headers, range);
        match Ask::parse(uri.path()) {
            Some(Ask::Base) => Ok(found(JSON, Content::Bytes(b"{}".to_vec()))),
            Some(Ask::Catalogue) => self.catalogue(&query),
            Some(Ask::Tags { name }) => self.list_tags(&name, &query),
            Some(Ask::Manifest { name, reference }) => {
                self.get_manifest(&name, &reference, &query).and_then(wanted)
            }
            Some(Ask::Blob { name, digest }) => self.get_blob(&name, &digest, &query).and_then(wanted),
            Some(Ask::Referrers { name, digest }) => self.get_referrers(&name, &digest, &query),
            None => Err(refuse(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                format!("`{}` is no path of a registry", uri.path()),
            )),
        }
    }

    fn repository(&self, name: &str, query: &Query) -> Result<&Tags, Refusal> {
        let host = query.ns.as_deref();
        let unknown = || {
            let of = host.map_or_else(String::new, |host| format!(" of {host}"));
            refuse(
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                format!("the bundle has no repository `{name}`{of}"),
            )
        };
        self.tags(name, host).ok_or_else(unknown)
    }

    fn catalogue(&self, query: &Query) -> Answered {
        paged(page(self.repositories(), query, "/v2/_catalog"), |entries| json!({ "repositories": entries }))
    }

    fn list_tags(&self, name: &str, query: &Query) -> Answered {
        let clear = self.repository(name, query)?.iter().filter(|(_, digest)| digest.is_some());
        let listed = page(clear.map(|(tag, _)| tag.as_str()), query, &format!("/v2/{name}/tags/list"));
        paged(listed, |entries| json!({ "name": name, "tags": entries }))
    }

    fn get_manifest(&self, name: &str, reference: &Reference, query: &Query) -> Result<Found<'_>, Refusal> {
        let unknown = |message| refuse(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message);
        let tags = self.repository(name, query)?;
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => match tags.get(tag) {
                Some(Some(digest)) => *digest,
                Some(None) => {
                    return Err(unknown(format!(
                        "`{name}:{tag}` is an image of several hosts: ask for it with its host in front"
                    )));
                }
                None => return Err(unknown(format!("`{name}` has no tag `{tag}`"))),
            },
        };
        let nowhere = || unknown(format!("there is no manifest {digest}"));
        let media_type = self.manifest(&digest).ok_or_else(nowhere)?;
        let size = self.bundle().blob_size(&digest).ok_or_else(nowhere)?;
        Ok(Found { digest, size, media_type })
    }

    fn get_blob(&self, name: &str, digest: &str, query: &Query) -> Result<Found<'_>, Refusal> {
        self.repository(name, query)?;
        let digest = parse_digest(digest)?;
        let size = self.bundle().blob_size(&digest);
        let nowhere = || refuse(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", format!("there is no blob {digest}"));
        Ok(Found { digest, size: size.ok_or_else(nowhere)?, media_type: RAW_FILE })
    }

    fn get_referrers(&self, name: &str, digest: &str, query: &Query) -> Answered {
        self.repository(name, query)?;
        let all = self.referrers(&parse_digest(digest)?).iter();
        let wanted = query.artifact_type.as_ref();
        let chosen =
            all.filter(|entry| wanted.is_none_or(|wanted| entry.artifact_type.as_ref() == Some(wanted)));
        let mut response =
            found(INDEX, Content::Bytes(oci::to_bytes(&Index::new(chosen.cloned().collect()))));
        if wanted.is_some() {
            response.headers_mut().insert(FILTERS, HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }
}

/// A blob that is there.
#[derive(Clone, Copy)]
struct Found<'a> {
    digest: Digest,
    size: u64,
    media_type: &'a str,
}

/// A blob as a whole or in part, or word that it is known already.
fn given(found: Found<'_>, headers: &HeaderMap, range: Option<&str>) -> Answered {
    let Found { digest, size, media_type } = found;
    let tag = format!("\"{digest}\"");
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let answer = Response::builder()
        .header(CONTENT_TYPE, media_type)
        .header(ETAG, &tag)
        .header(DIGEST, digest.to_string())
        .header(ACCEPT_RANGES, "bytes");
    if text(IF_NONE_MATCH).is_some_and(|known| known.split(',').any(|known| known.trim() == tag)) {
        return Ok(body(answer.status(StatusCode::NOT_MODIFIED), Content::empty()));
    }
    let range = range.filter(|_| text(IF_RANGE).is_none_or(|known| known == tag));
    match Wanted::parse(range, size) {
        Wanted::Whole => Ok(body(answer, Content::Blob { digest, range: 0..size })),
        Wanted::Part(range) => {
            let place = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            let answer = answer.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, place);
            Ok(body(answer, Content::Blob { digest, range }))
        }
        Wanted::Outside => Err(Refusal {
            header: Some((CONTENT_RANGE, format!("bytes */{size}"))),
            ..refuse(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", format!("{digest} has {size} bytes"))
        }),
    }
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: qiji_blueprint::digest::DigestError| {
        refuse(StatusCode::BAD_REQUEST, "DIGEST_INVALID", error.to_string())
    })
}

fn paged(page: Option<Page<'_>>, list: impl FnOnce(&[&str]) -> Value) -> Answered {
    let page = page
        .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "`n` is not a number"))?;
    let mut response = found(JSON, Content::Bytes(list(&page.entries).to_string().into_bytes()));
    let link = page.next.and_then(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).ok());
    response.headers_mut().extend(link.map(|link| (LINK, link)));
    Ok(response)
}

fn found(media_type: &'static str, content: Content) -> Response<Content> {
    body(Response::builder().header(CONTENT_TYPE, media_type), content)
}

/// Builds a response; a media type that no header can hold makes it a fault of ours.
fn body(builder: Builder, content: Content) -> Response<Content> {
    builder.body(content).unwrap_or_else(|error| {
        refuse(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", error.to_string()).into_response()
    })
}

fn refuse(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status, code, message: message.into(), header: None }
}

fn not_allowed() -> Refusal {
    Refusal {
        header: Some((ALLOW, "GET, HEAD".to_owned())),
        ..refuse(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry is read-only")
    }
}

impl Refusal {
    fn into_response(self) -> Response<Content> {
        let errors = json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let mut response = Response::new(Content::Bytes(errors.to_string().into_bytes()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        let header = self.header.and_then(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)));
        response.headers_mut().extend(header);
        response
    }
}
