//! `qiji serve BUNDLE --listen ADDR:PORT`: a read-only registry with TLS over the bundle, until it is told to stop.
//!
//! 1. A certificate is read, or made for this run with an authority of its own, and the address is taken: what is wrong with either is told at once.
//! 2. The bundle is verified, byte by byte. Nothing is answered before.
//! 3. Images are served from where they lie in the bundle. On SIGTERM or ctrl-c, answers that have begun get ten seconds to end.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fs_err as fs;
use qiji_bundle::serve::{Authority, Identity, Registry, Settings, TlsError, own_names, serve};
use qiji_bundle::{Delta, Verified};
use tokio::net::TcpSocket;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::artifacts::runtime;
use crate::failure::{Classify, Failure, Kind};
use crate::inputs::{self, BundleArgs};

/// Connections that may wait for their turn.
const BACKLOG: u32 = 1024;
/// Time after which a client that takes nothing is cut off.
const PATIENCE: Duration = Duration::from_mins(1);

/// Arguments of `qiji serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Address to listen on; port 0 takes one that is free
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Certificate to serve with, followed by those that lead to its authority, in PEM; without it, one is made for this run
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// DNS name or address by which clients call this server, for the certificate that is made. May be given more than once
    #[arg(long = "name", value_name = "NAME", conflicts_with = "tls_cert")]
    names: Vec<String>,
    /// File for the certificate of the authority that is made: what clients must trust
    #[arg(long, value_name = "FILE", conflicts_with = "tls_cert")]
    ca_output: Option<PathBuf>,
}

/// Serves the bundle.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (identity, authority) = args.identity()?;
    let socket = bind(args.listen)?;
    let bundle = whole(args.bundle.verify()?)?;
    let registry = Registry::new(bundle.clone()).map_err(inputs::refused)?;
    if let (Some(file), Some(authority)) = (&args.ca_output, &authority) {
        fs::write(file, &authority.pem).failed()?;
    }
    runtime()?.block_on(async {
        let stop = Stop::catch()?;
        let listener = socket.listen(BACKLOG).failed()?;
        args.tell(&bundle, &registry, listener.local_addr().failed()?, authority.as_ref());
        let settings =
            Settings { identity, patience: PATIENCE, note: Box::new(|line| say(io::stderr(), &line)) };
        serve(registry, listener, settings, stop.wait()).await;
        Ok(())
    })
}

impl Args {
    fn identity(&self) -> Result<(Identity, Option<Authority>), Failure> {
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            return Ok((Identity::load(cert, key).map_err(|errors| unusable(&errors))?, None));
        }
        let mut names = self.names.clone();
        names.extend(own_names(self.listen.ip()));
        let (identity, authority) = Identity::make(&names).map_err(|errors| unusable(&errors))?;
        Ok((identity, Some(authority)))
    }

    fn tell(
        &self,
        bundle: &Verified,
        registry: &Registry,
        address: SocketAddr,
        authority: Option<&Authority>,
    ) {
        let (name, version) = (bundle.name(), bundle.version());
        let mut lines = vec![
            format!("serving {name} {version} at https://{address}, read-only, until it is stopped"),
            format!("repositories: {}", registry.repositories().count()),
        ];
        if let Some(authority) = authority {
            lines.push(format!("certificate authority of this run: SHA-256 {}", authority.fingerprint));
            lines.push(match &self.ca_output {
                Some(file) => format!("its certificate, which clients must trust: {}", file.display()),
                None => "give --ca-output FILE to get its certificate, which clients must trust".to_owned(),
            });
            if address.ip().is_unspecified() && self.names.is_empty() {
                let hint = "the certificate holds for this machine only: say with --name by which names and addresses others call it";
                lines.push(hint.to_owned());
            }
        }
        say(io::stdout(), &lines.join("\n"));
    }
}

/// Takes the address. Clients are not let in yet.
fn bind(address: SocketAddr) -> Result<TcpSocket, Failure> {
    let take = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A server that was stopped a moment ago leaves closed connections behind, which are in nobody's way.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok::<_, io::Error>(socket)
    };
    take().failed().map_err(|failure| {
        failure
            .while_doing(format!("cannot listen on {address}"))
            .hint("choose another address with --listen")
    })
}

/// The bundle, unless it is a delta, which holds only a part of one.
fn whole(bundle: Verified) -> Result<Verified, Failure> {
    if !Delta::is(&bundle) {
        return Ok(bundle);
    }
    let path = bundle.path().display();
    Err(Failure::new(
        Kind::Input,
        format!("{path} is a delta: it holds only what a site lacks of its bundle"),
    )
    .hint("rebuild the whole bundle with `qiji rebuild`, and serve that"))
}

fn unusable(errors: &[TlsError]) -> Failure {
    let each = errors.iter().map(|error| Failure::from_error(Kind::Input, error).to_string());
    Failure::rendered(Kind::Input, each.collect::<Vec<_>>().join("\n"))
}

/// Whoever started the server may have gone away: what cannot be told to anybody is no reason to stop.
fn say(mut to: impl Write, text: &str) {
    let _ = writeln!(to, "{text}");
}

/// Signals that end the server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).failed();
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
