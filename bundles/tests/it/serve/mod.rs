//! The registry, asked as clients ask: by pure requests, over TLS by hand, and by tools of the field.

mod pure;
mod tools;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use qiji_blueprint::site::Arch;
use qiji_bundle::serve::{Authority, Identity, Registry, Settings, own_names, serve};
use qiji_bundle::{BundleSpec, PackageEntry, RAW_FILE, Verified};
use tokio::sync::oneshot;

use crate::fixture::{Bench, Store, layer, sample};

/// Bytes of the large blob: more than the server holds of one at a time.
const LARGE: usize = 3_000_001;
/// Time that a client may take nothing, where a test is not about that.
const PATIENCE: Duration = Duration::from_mins(1);

/// The sample, an image of a second host with the same path, and a large blob.
fn contents() -> (BundleSpec, Store) {
    let (mut spec, mut store) = sample();
    let other = layer("etcd", b"from elsewhere");
    spec.images.push(store.image(
        "other.example:5000/etcd:3.7.3-0",
        Arch::Amd64,
        &[],
        std::slice::from_ref(&other),
    ));
    spec.images.push(store.image("other.example:5000/etcd:only-there", Arch::Amd64, &[], &[other]));
    let large: Vec<u8> = (0..LARGE).map(|at| u8::try_from(at * 7 % 253).unwrap()).collect();
    spec.packages.push(PackageEntry {
        name: "large".to_owned(),
        version: "1".to_owned(),
        arch: Arch::Amd64,
        roles: vec![],
        blobs: vec![store.add(RAW_FILE, &large)],
    });
    (spec, store)
}

/// A verified bundle, in a folder of its own.
struct Stock {
    bench: Bench,
    path: PathBuf,
    bundle: Verified,
}

impl Stock {
    fn new() -> Self {
        let bench = Bench::new();
        let (spec, store) = contents();
        let (path, _) = bench.write("stock.qiji", &spec, &store);
        let bundle = bench.verify(&path).unwrap();
        Self { bench, path, bundle }
    }

    fn registry(&self) -> Registry {
        Registry::new(self.bundle.clone()).unwrap()
    }

    fn large(&self) -> qiji_blueprint::Digest {
        self.bundle.package("large", Arch::Amd64).unwrap().blobs[0].digest
    }

    /// Serves on a free port of this machine.
    fn serve(&self) -> Server {
        Server::start(self.registry(), PATIENCE)
    }
}

/// A server on a thread of its own. It ends with its end.
struct Server {
    address: SocketAddr,
    authority: Authority,
    notes: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(registry: Registry, patience: Duration) -> Self {
        let (identity, authority) = Identity::make(&own_names(Ipv4Addr::LOCALHOST.into())).unwrap();
        let notes = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&notes);
        let note = Box::new(move |line| told.lock().unwrap().push(line));
        let settings = Settings { identity, patience, note };
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                serve(registry, listener, settings, async { drop(stopped.await) }).await;
            });
        });
        let address = address.recv().unwrap();
        Self { address, authority, notes, stop: Some(stop), thread: Some(thread) }
    }

    /// Tells the server to stop, and does not wait.
    fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has ended.
    fn wait(&mut self) {
        self.stop();
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
