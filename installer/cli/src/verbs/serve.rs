//! `qiji serve BUNDLE --listen ADDR:PORT`: a read-only registry with TLS over the bundle, until it is told to stop.
//!
//! 1. The bundle is verified, byte by byte.
//! 2. A certificate is read, or made for this run with an authority of its own; clients are told which.
//! 3. Images are served from where they lie in the bundle. On SIGTERM or ctrl-c, answers that have begun get ten seconds to end.

use std::net::SocketAddr;
use std::path::PathBuf;

use fs_err as fs;
use qiji_bundle::Verified;
use qiji_bundle::serve::{Authority, Identity, Registry, Settings, TlsError, own_names, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::artifacts::runtime;
use crate::failure::{Classify, Failure, Kind};
use crate::inputs::BundleArgs;

/// Arguments of `qiji serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Address to listen on; port 0 takes one that is free
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Certificate to serve with, followed by those that lead to its authority, in PEM; without it, one is made for this run
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// DNS name or address by which clients call this server, for the certificate that is made. May be given more than once
    #[arg(long = "name", value_name = "NAME", conflicts_with = "cert")]
    names: Vec<String>,
    /// File for the certificate of the authority that is made: what clients must trust
    #[arg(long, value_name = "FILE", conflicts_with = "cert")]
    ca_output: Option<PathBuf>,
}

/// Serves the bundle.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let bundle = args.bundle.verify()?;
    let (identity, authority) = args.identity()?;
    if let (Some(file), Some(authority)) = (&args.ca_output, &authority) {
        fs::write(file, &authority.pem).failed()?;
    }
    let registry = Registry::new(bundle.clone()).failed()?;
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await;
        let listener = listener
            .failed()
            .map_err(|failure| failure.while_doing(format!("cannot listen on {}", args.listen)))?;
        let stop = Stop::catch()?;
        args.tell(&bundle, &registry, listener.local_addr().failed()?, authority.as_ref());
        let settings = Settings { identity, note: Box::new(|line| eprintln!("{line}")) };
        serve(registry, listener, settings, stop.wait()).await.map_err(|error| unusable(&error))
    });
    runtime.shutdown_background();
    served
}

impl Args {
    fn identity(&self) -> Result<(Identity, Option<Authority>), Failure> {
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            return Ok((Identity::load(cert, key).map_err(|error| unusable(&error))?, None));
        }
        let mut names = self.names.clone();
        names.extend(own_names(self.listen.ip()));
        let (identity, authority) = Identity::make(&names).map_err(|error| unusable(&error))?;
        Ok((identity, Some(authority)))
    }

    fn tell(
        &self,
        bundle: &Verified,
        registry: &Registry,
        address: SocketAddr,
        authority: Option<&Authority>,
    ) {
        println!(
            "serving {} {} at https://{address}, read-only, until it is stopped",
            bundle.name(),
            bundle.version()
        );
        println!("{} repositories", registry.repositories().count());
        let Some(authority) = authority else { return };
        println!("certificate authority of this run: SHA-256 {}", authority.fingerprint);
        match &self.ca_output {
            Some(file) => println!("its certificate, which clients must trust: {}", file.display()),
            None => println!("give --ca-output FILE to get its certificate, which clients must trust"),
        }
    }
}

fn unusable(error: &TlsError) -> Failure {
    Failure::from_error(Kind::Input, error)
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
