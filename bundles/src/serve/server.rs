//! Listens, speaks TLS and HTTP/1.1, and answers.
//!
//! Each limit below is there so that neither many clients nor slow ones cost more than a known amount of memory, and none can wait for ever.

use std::convert::Infallible;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::answer::Content;
use super::body::{Pieces, Sending};
use super::registry::Registry;
use super::tls::{Identity, TlsError};
use crate::error::VerifyError;

/// Blobs that are read at a time.
const STREAMS: usize = 32;
/// Connections at a time.
const CONNECTIONS: usize = 256;
/// Time for a TLS handshake, and for a request's headers.
const GREETING: Duration = Duration::from_secs(20);
/// Time that answers get to end when the server is told to.
const FAREWELL: Duration = Duration::from_secs(10);
/// Most bytes that a request's headers may take.
const HEADERS: usize = 32 << 10;

/// How to serve.
pub struct Settings {
    /// Who the server is.
    pub identity: Identity,
    /// Is told what goes wrong, a line at a time. Clients that go away are not worth one.
    pub note: Box<dyn Fn(String) + Send + Sync>,
}

/// Serves until `stop` comes, and then lets answers that have begun end.
pub async fn serve(
    registry: Registry,
    listener: TcpListener,
    settings: Settings,
    stop: impl Future<Output = ()>,
) -> Result<(), TlsError> {
    let config = settings.identity.into_config()?;
    let shop = Arc::new(Shop {
        registry,
        streams: Arc::new(Semaphore::new(STREAMS)),
        pieces: Pieces::default(),
        tls: TlsAcceptor::from(Arc::new(config)),
        note: settings.note,
    });
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &connections) => match accepted {
                Ok((client, address, permit)) => {
                    let (shop, watcher) = (Arc::clone(&shop), graceful.watcher());
                    tokio::spawn(async move {
                        shop.attend(client, address, watcher).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must end first.
                    (shop.note)(format!("cannot accept a connection: {error}"));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
        }
    }
    drop(listener);
    // Whoever has not ended by then is cut off.
    drop(tokio::time::timeout(FAREWELL, graceful.shutdown()).await);
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?;
    let (client, address) = listener.accept().await?;
    Ok((client, address, permit))
}

/// What all connections share.
struct Shop {
    registry: Registry,
    streams: Arc<Semaphore>,
    pieces: Pieces,
    tls: TlsAcceptor,
    note: Box<dyn Fn(String) + Send + Sync>,
}

impl Shop {
    /// One connection, to its end.
    async fn attend(&self, client: TcpStream, address: SocketAddr, watcher: Watcher) {
        // Without it a small answer waits for the client's acknowledgement; if it cannot be set, it does.
        let _ = client.set_nodelay(true);
        let greeted = tokio::time::timeout(GREETING, self.tls.accept(client)).await;
        let Ok(Ok(stream)) = greeted else { return };
        let service = service_fn(|request| async move { Ok::<_, Infallible>(self.respond(&request).await) });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(GREETING).max_buf_size(HEADERS);
        let served = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
        if let Err(error) = served
            && let Some(fault) = verify_error(&error)
        {
            (self.note)(format!("broke the connection of {address}: {fault}"));
        }
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

    async fn send(&self, digest: &qiji_blueprint::Digest, range: std::ops::Range<u64>) -> Sending {
        let bundle = self.registry.bundle();
        let size = range.end - range.start;
        let opened =
            bundle.open_blob_at(digest, range.start).and_then(|part| Ok((part, bundle.blob(digest)?)));
        let permit = Arc::clone(&self.streams).acquire_owned().await;
        match (opened, permit) {
            (Ok((_, whole)), Ok(permit)) if whole.size() == size => {
                Sending::start(whole, size, self.pieces.clone(), permit)
            }
            (Ok((part, _)), Ok(permit)) => Sending::start(part.take(size), size, self.pieces.clone(), permit),
            // The answer was that the blob is there; a body that is too short breaks the connection.
            _ => Sending::Blob(tokio::sync::mpsc::channel(1).1, size),
        }
    }
}

/// The bundle's fault in an error of a connection, where there is one.
fn verify_error(error: &hyper::Error) -> Option<&VerifyError> {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(fault) =
            cause.downcast_ref::<io::Error>().and_then(|error| error.get_ref()?.downcast_ref())
        {
            return Some(fault);
        }
        next = cause.source();
    }
    None
}
