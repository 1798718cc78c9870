//! Listens, speaks TLS and HTTP/1.1, and answers.
//!
//! Each limit is there so that neither many clients nor slow ones cost more than a known amount of memory, and none can wait for ever.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use qiji_blueprint::Digest;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::answer::Content;
use super::body::{Sending, Streams};
use super::registry::Registry;
use super::tls::Identity;
use crate::error::VerifyError;
use crate::read::{BlobRange, Verified};

/// Connections at a time; others wait until one of them ends.
const CONNECTIONS: usize = 256;
/// Time for a TLS handshake, and for a request's headers: also the time that a connection may be idle.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// Time that answers get to end when the server is told to.
const GRACE: Duration = Duration::from_secs(10);
/// Time between a connection that could not be accepted and the next try.
const PAUSE: Duration = Duration::from_millis(200);
/// Most bytes that a request's headers may take.
const HEADERS: usize = 32 << 10;

/// How to serve.
pub struct Settings {
    /// Who the server is.
    pub identity: Identity,
    /// Time after which a client that takes nothing is cut off.
    pub patience: Duration,
    /// Is told what goes wrong, a line at a time. Clients that go away are not worth one.
    pub note: Box<dyn Fn(String) + Send + Sync>,
}

/// Serves until `stop` comes, and then lets answers that have begun end.
pub async fn serve(
    registry: Registry,
    listener: TcpListener,
    settings: Settings,
    stop: impl Future<Output = ()>,
) {
    let server = Arc::new(Server::new(registry, settings));
    let stopping = CancellationToken::new();
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((client, address)) => {
                    connections.spawn(Arc::clone(&server).attend(client, address, stopping.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must end first.
                    (server.note)(format!("cannot accept a connection: {error}"));
                    sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stopping.cancel();
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        connections.shutdown().await;
    }
    server.streams.end().await;
}

/// What all connections share.
struct Server {
    registry: Registry,
    streams: Streams,
    patience: Duration,
    tls: TlsAcceptor,
    note: Box<dyn Fn(String) + Send + Sync>,
}

impl Server {
    fn new(registry: Registry, settings: Settings) -> Self {
        let Settings { identity, patience, note } = settings;
        Self { registry, streams: Streams::new(patience), patience, tls: identity.acceptor(), note }
    }

    /// One connection, to its end.
    async fn attend(self: Arc<Self>, client: TcpStream, address: SocketAddr, stopping: CancellationToken) {
        self.tune(&client);
        let greeted = tokio::select! {
            greeted = timeout(HANDSHAKE, self.tls.accept(client)) => greeted,
            () = stopping.cancelled() => return,
        };
        // Who speaks no TLS, or does not trust the certificate, is told by TLS itself.
        let Ok(Ok(stream)) = greeted else { return };
        let served = self.talk(stream, &stopping).await;
        if let Err(error) = served
            && let Some(fault) = fault_of(&error)
        {
            (self.note)(format!("broke the connection of {address}: {fault}"));
        }
    }

    /// A small answer does not wait for the client's acknowledgement, and the kernel gives up a client that acknowledges nothing. A kernel that
    /// knows neither serves as well, but slower or longer.
    fn tune(&self, client: &TcpStream) {
        let _ = client.set_nodelay(true);
        let _ = SockRef::from(client).set_tcp_user_timeout(Some(self.patience));
    }

    async fn talk(
        &self,
        stream: TlsStream<TcpStream>,
        stopping: &CancellationToken,
    ) -> Result<(), hyper::Error> {
        let service = service_fn(|request| async move { Ok::<_, Infallible>(self.respond(&request).await) });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE).max_buf_size(HEADERS);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return served,
            () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    async fn respond(&self, request: &Request<Incoming>) -> Response<Sending> {
        let response = self.registry.answer(request.method(), request.uri(), request.headers());
        let (parts, content) = response.into_parts();
        let body = match content {
            Content::Bytes(bytes) => Sending::Bytes(Bytes::from(bytes)),
            Content::Blob { digest, range } => self.send(&digest, range).await,
        };
        Response::from_parts(parts, body)
    }

    /// A blob that is sent whole is held to its digest on the way, if the bundle has been written to since every byte of it was.
    async fn send(&self, digest: &Digest, range: Range<u64>) -> Sending {
        let bundle = self.registry.bundle();
        let size = range.end - range.start;
        if bundle.blob_size(digest) == Some(size) {
            if bundle.is_unchanged()
                && let Ok(part) = bundle.open_blob_at(digest, 0)
            {
                let watched = Watched { part, digest: *digest, bundle: bundle.clone() };
                return self.streams.send(watched, size).await;
            }
            if let Ok(whole) = bundle.blob(digest) {
                return self.streams.send(whole, size).await;
            }
        }
        match bundle.open_blob_at(digest, range.start) {
            Ok(part) => self.streams.send(part.take(size), size).await,
            Err(_) => Sending::broken(size),
        }
    }
}

/// Reads a blob of a bundle to which nothing had been written when it began. If that is no longer so at its end, the blob is read once more and held to
/// its digest before the end is told.
struct Watched {
    part: BlobRange,
    digest: Digest,
    bundle: Verified,
}

impl io::Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.part.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !self.bundle.is_unchanged() {
            let mut again = self.bundle.blob(&self.digest).map_err(io::Error::other)?;
            io::copy(&mut again, &mut io::sink())?;
        }
        Ok(count)
    }
}

/// The bundle's fault in an error of a connection, where there is one.
fn fault_of(error: &hyper::Error) -> Option<&VerifyError> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && let Some(fault) = error.get_ref()?.downcast_ref()
        {
            return Some(fault);
        }
        next = cause.source();
    }
    None
}
