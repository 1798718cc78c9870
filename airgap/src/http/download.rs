//! A blob into the store: resumed, and compared with what it must be. See the module above for the rules.

use qiji_blueprint::Digest;
use qiji_blueprint::lock::Pinned;
use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode};

use super::{Http, challenge, retry, with_authorization};
use crate::error::SourceError;
use crate::progress::Meter;
use crate::store::{Origin, Partial, Store};

/// One thing to download.
pub(crate) struct Download<'a> {
    pub(crate) url: &'a str,
    /// Value of the `Authorization` header.
    pub(crate) authorization: Option<&'a str>,
    /// What it must be.
    pub(crate) expect: Option<Pinned>,
}

impl Http {
    /// Downloads a blob into the store. An `expect`ed one that is there already costs no request.
    pub(crate) async fn download(
        &self,
        store: &Store,
        what: &Download<'_>,
        meter: &Meter,
    ) -> Result<Pinned, SourceError> {
        let key = what.expect.map_or_else(|| Digest::of(what.url.as_bytes()), |pin| pin.digest);
        let mut partial = open_partial(store, key).await?;
        if let Some(pin) = what.expect
            && store.holds(&pin)?
        {
            partial.discard()?;
            return Ok(pin);
        }
        let mut resumed = partial.size() > 0;
        loop {
            self.complete(&mut partial, what, meter).await?;
            match what.expect {
                Some(pin) if pin != partial.pin() && resumed => partial.restart()?,
                Some(pin) if pin != partial.pin() => {
                    let found = partial.pin().digest;
                    partial.discard()?;
                    let what = what.url.to_owned();
                    return Err(SourceError::WrongDigest { what, expected: pin.digest, found, hint: None });
                }
                _ => return Ok(partial.finish()?),
            }
            resumed = false;
        }
    }

    /// Transfers until the end, beginning again where it broke off.
    async fn complete(
        &self,
        partial: &mut Partial,
        what: &Download<'_>,
        meter: &Meter,
    ) -> Result<(), SourceError> {
        let (mut failures, mut best) = (0, partial.size());
        loop {
            let (error, pause) = match self.transfer(partial, what, meter).await {
                Ok(()) => return Ok(()),
                Err(Broken::Final(error)) => return Err(*error),
                Err(Broken::Again(error, pause)) => (error, pause),
            };
            if partial.size() > best {
                (failures, best) = (0, partial.size());
            }
            failures += 1;
            if failures >= self.tries {
                return Err(*error);
            }
            retry::pause(failures, pause).await;
        }
    }

    /// One request and as much of its answer as comes.
    async fn transfer(
        &self,
        partial: &mut Partial,
        what: &Download<'_>,
        meter: &Meter,
    ) -> Result<(), Broken> {
        if what.expect.is_some_and(|pin| pin.size == partial.size() && pin.size > 0) {
            return Ok(());
        }
        let mut request = with_authorization(self.get(what.url), what.authorization);
        if let Beginning::Kept { tag } = beginning(partial, what)? {
            request = request.header(RANGE, format!("bytes={}-", partial.size()));
            if let Some(tag) = tag {
                request = request.header(IF_RANGE, tag);
            }
        }
        let response = request.send().await.map_err(|error| broken(what.url, error))?;
        accept(&response, partial, what)?;
        receive(response, partial, what, meter).await
    }
}

/// A transfer that ended early.
enum Broken {
    /// May be tried again, after a pause that the server asks for.
    Again(Box<SourceError>, Option<std::time::Duration>),
    /// Trying again would not help.
    Final(Box<SourceError>),
}

impl<E: Into<SourceError>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::Final(Box::new(error.into()))
    }
}

fn broken(url: &str, error: reqwest::Error) -> Broken {
    let again = !error.is_redirect() && !error.is_builder();
    let error = Box::new(SourceError::Transfer { url: url.to_owned(), source: error.without_url().into() });
    if again { Broken::Again(error, None) } else { Broken::Final(error) }
}

async fn open_partial(store: &Store, key: Digest) -> Result<Partial, SourceError> {
    let store = store.clone();
    Ok(crate::blocking(move || store.partial(&key)).await?)
}

/// What is done with the beginning that an earlier transfer left.
enum Beginning {
    /// There is none, or none that may be continued.
    None,
    /// It is continued, if the server still has what carries this entity tag.
    Kept { tag: Option<String> },
}

/// Whether the partial may be continued; if not, it is emptied.
fn beginning(partial: &mut Partial, what: &Download<'_>) -> Result<Beginning, SourceError> {
    if partial.size() == 0 {
        return Ok(Beginning::None);
    }
    let tag = partial.origin().filter(|origin| origin.url == what.url).and_then(|origin| origin.etag.clone());
    let too_long = what.expect.is_some_and(|pin| partial.size() >= pin.size);
    if too_long || (tag.is_none() && what.expect.is_none()) {
        partial.restart()?;
        return Ok(Beginning::None);
    }
    Ok(Beginning::Kept { tag })
}

/// Compares the answer's kind with what was asked.
fn accept(response: &Response, partial: &mut Partial, what: &Download<'_>) -> Result<(), Broken> {
    let status = response.status();
    let url = || what.url.to_owned();
    match status {
        StatusCode::PARTIAL_CONTENT if continues_at(response, partial.size()) => return Ok(()),
        StatusCode::OK => {
            let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
            let etag = etag.filter(|tag| !tag.starts_with("W/")).map(str::to_owned);
            partial.restart()?;
            partial.set_origin(Origin { url: url(), etag })?;
            return Ok(());
        }
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => partial.restart()?,
        _ => {}
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(SourceError::Login { url: url(), challenge: challenge(response.headers()) }.into());
    }
    let error = Box::new(SourceError::Status { url: url(), status: status.as_u16() });
    let again = retry::put_off(status)
        || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE);
    Err(if again { Broken::Again(error, retry::asked(response.headers())) } else { Broken::Final(error) })
}

/// Whether a 206 begins at `offset`: `Content-Range: bytes OFFSET-…`.
fn continues_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.and_then(|range| range.strip_prefix(&format!("bytes {offset}-"))).is_some()
}

async fn receive(
    mut response: Response,
    partial: &mut Partial,
    what: &Download<'_>,
    meter: &Meter,
) -> Result<(), Broken> {
    let total = response.content_length().map(|rest| partial.size() + rest);
    let total = what.expect.map(|pin| pin.size).or(total);
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(what.url, error))? {
        let before = partial.size();
        partial.append(&chunk)?;
        meter.moved(before, partial.size(), total);
        if let Some(pin) = what.expect
            && partial.size() > pin.size
        {
            partial.restart()?;
            let reason = format!("it is longer than the {} bytes that are locked", pin.size);
            return Err(SourceError::Malformed { what: what.url.to_owned(), reason }.into());
        }
    }
    match what.expect {
        Some(pin) if partial.size() < pin.size => {
            partial.restart()?;
            let reason = format!("it is shorter than the {} bytes that are locked", pin.size);
            Err(SourceError::Malformed { what: what.url.to_owned(), reason }.into())
        }
        _ => Ok(()),
    }
}
