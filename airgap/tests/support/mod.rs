//! A small web server on loopback, over TLS with a private authority or plain, that does to each request what the test says,
//! and remembers what was asked.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod chart;
pub(crate) mod layout;
pub(crate) mod registry;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use qiji_airgap::{Fetcher, Settings, Store};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Artifact, Lock, Pinned, Source, Wanted};
use qiji_blueprint::site::Arch;
use tokio::net::TcpListener;

/// What the server remembers of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Cut the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    pub(crate) delay: Duration,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None, delay: Duration::ZERO }
    }

    pub(crate) fn bytes(body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::status(200) }
    }

    /// A file with ranges and an entity tag, as `asked`.
    pub(crate) fn file(body: &[u8], asked: &Asked) -> Self {
        let tag = format!("\"{}\"", Digest::of(body).short());
        let whole = Self::bytes(body).header(ETAG.as_str(), &tag);
        let start = asked
            .range
            .as_ref()
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match start {
            Some(start)
                if asked.if_range.as_ref().is_none_or(|wanted| *wanted == tag) && start < body.len() =>
            {
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                Self { status: 206, body: body[start..].to_vec(), ..whole }
                    .header(CONTENT_RANGE.as_str(), &range)
            }
            _ => whole,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn cut_after(self, bytes: usize) -> Self {
        Self { cut: Some(bytes), ..self }
    }
}

type Handler = Arc<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

/// A running server; it ends with the test's runtime.
pub(crate) struct Server {
    /// `https://localhost:PORT` or `http://127.0.0.1:PORT`.
    pub(crate) base: String,
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Serves plain HTTP. The handler is told how often its path was asked before.
    pub(crate) async fn plain(handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, |_| Arc::new(handler)).await
    }

    /// Serves plain HTTP, with a handler that is told the server's own address.
    pub(crate) async fn plain_at<H: Fn(&Asked, usize) -> Reply + Send + Sync + 'static>(
        handler: impl FnOnce(&str) -> H,
    ) -> Self {
        Self::start(None, |base| Arc::new(handler(base))).await
    }

    /// Serves HTTPS with the authority's certificate.
    pub(crate) async fn tls(
        authority: &Authority,
        handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(authority.acceptor.clone()), |_| Arc::new(handler)).await
    }

    async fn start(tls: Option<tokio_rustls::TlsAcceptor>, handler: impl FnOnce(&str) -> Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let base = if tls.is_some() {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        };
        let (asked, handler) = (Arc::new(Mutex::new(Vec::new())), handler(&base));
        let memory = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, memory, tls) = (handler.clone(), memory.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, handler, memory).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, handler, memory).await;
                            }
                        }
                    }
                });
            }
        });
        Self { base, port, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

async fn serve<S>(stream: S, handler: Handler, memory: Arc<Mutex<Vec<Asked>>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, memory) = (handler.clone(), memory.clone());
        async move {
            let reply = remember(request, &handler, &memory).await;
            tokio::time::sleep(reply.delay).await;
            Ok::<_, Infallible>(respond(&reply))
        }
    });
    // A cut connection is an error here, and meant.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn remember(request: Request<Incoming>, handler: &Handler, memory: &Mutex<Vec<Asked>>) -> Reply {
    let (parts, body) = request.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = body.collect().await.unwrap().to_bytes();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().unwrap().to_string(),
        range: header(RANGE),
        if_range: header(IF_RANGE),
        authorization: header(AUTHORIZATION),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let mut memory = memory.lock().unwrap();
    let before = memory.iter().filter(|it| it.path == asked.path).count();
    memory.push(asked.clone());
    drop(memory);
    handler(&asked, before)
}

type Body = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>;

fn respond(reply: &Reply) -> Response<Body> {
    let mut response = Response::builder().status(StatusCode::from_u16(reply.status).unwrap());
    response = response.header(CONTENT_LENGTH, reply.body.len());
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let mut frames = Vec::new();
    let end = reply.cut.unwrap_or(reply.body.len());
    frames.push(Ok(Frame::data(Bytes::copy_from_slice(&reply.body[..end]))));
    if reply.cut.is_some() {
        frames.push(Err(std::io::Error::other("cut")));
    }
    // The pause lets the bytes before a cut reach the client.
    let frames = futures::stream::iter(frames).then(|frame| async {
        if frame.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        frame
    });
    response.body(StreamBody::new(frames.boxed())).unwrap()
}

/// A certificate authority of the test's own, with a server certificate for `localhost`.
pub(crate) struct Authority {
    pub(crate) pem: PathBuf,
    acceptor: tokio_rustls::TlsAcceptor,
    _folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pem = folder.path().join("ca.pem");
        fs_err::write(&pem, certificate.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        Self { pem, acceptor: Arc::new(config).into(), _folder: folder }
    }

    /// Settings that trust it.
    pub(crate) fn settings(&self) -> Settings {
        Settings { extra_roots: vec![self.pem.clone()], ..Settings::default() }
    }
}

/// A store of the test's own and a fetcher into it.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) fetcher: Fetcher,
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let fetcher = Fetcher::new(store.clone(), settings).unwrap();
        Self { store, fetcher, folder }
    }

    pub(crate) fn read(&self, digest: &Digest) -> Vec<u8> {
        fs_err::read(self.store.blob_path(digest)).unwrap()
    }
}

pub(crate) fn pin(bytes: &[u8]) -> Pinned {
    Pinned { digest: Digest::of(bytes), size: bytes.len() as u64 }
}

pub(crate) fn artifact<P>(name: &str, pin: P, sources: Vec<Source>) -> Artifact<P> {
    Artifact { name: name.to_owned(), version: "1.0".to_owned(), arch: Arch::Amd64, pin, sources }
}

pub(crate) fn https(url: String) -> Source {
    Source::Https { url }
}

pub(crate) fn lock(artifacts: Vec<Artifact<Pinned>>) -> Lock {
    Lock {
        site: "test".to_owned(),
        version: "1.0.0".to_owned(),
        site_digest: Digest::of(b"site"),
        artifacts,
        layers: Vec::new(),
        images: Vec::new(),
        packages: Vec::new(),
        charts: Vec::new(),
        upstreams: Vec::new(),
    }
}

pub(crate) fn wanted(artifacts: Vec<Artifact<()>>) -> Wanted {
    Wanted {
        site: "test".to_owned(),
        version: "1.0.0".to_owned(),
        site_digest: Digest::of(b"site"),
        artifacts,
        layers: Vec::new(),
        images: Vec::new(),
        packages: Vec::new(),
        charts: Vec::new(),
    }
}

/// Bytes that do not repeat soon.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| Digest::of(&(at / 32).to_le_bytes()).as_bytes()[(at % 32) as usize]).collect()
}

/// Serves a fixed set of paths as files, everything else as 404.
pub(crate) fn files(
    all: HashMap<String, Vec<u8>>,
) -> impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static {
    move |asked, _| all.get(&asked.path).map_or(Reply::status(404), |body| Reply::file(body, asked))
}

/// Writes a Debian package with data files and links.
pub(crate) fn deb(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    packed(&[("data.tar.xz", &xz(&tar(files, links)))])
}

/// Writes a Debian package with a control file.
pub(crate) fn deb_with_control(control: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let control = xz(&tar(&[("./control", control.as_bytes())], &[]));
    packed(&[("control.tar.xz", &control), ("data.tar.xz", &xz(&tar(files, &[])))])
}

/// A tar with regular files and symbolic links.
pub(crate) fn tar(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    for (path, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, path, target).unwrap();
    }
    tar.into_inner().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ar::Builder::new(Vec::new());
    for (name, bytes) in [("debian-binary", &b"2.0\n"[..])].iter().chain(members) {
        archive.append(&ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64), *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

pub(crate) fn partial(store: &Store, digest: &Digest) -> PathBuf {
    Path::new(store.root()).join("partial").join(digest.hex())
}
