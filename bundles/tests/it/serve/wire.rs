//! Over TLS, byte by byte.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use qiji_blueprint::Digest;
use qiji_bundle::serve::Registry;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::{LARGE, PATIENCE, Server, Stock};

type Tls = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// What came back.
struct Reply {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    /// Whether the body is as long as was said.
    whole: bool,
}

impl Server {
    fn connect(&self) -> Tls {
        self.over(TcpStream::connect(self.address).unwrap())
    }

    fn over(&self, stream: TcpStream) -> Tls {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        BufReader::new(StreamOwned::new(client, stream))
    }

    fn get(&self, path: &str, headers: &str) -> Reply {
        let mut tls = self.connect();
        request(&mut tls, path, headers);
        reply(&mut tls)
    }
}

fn request(tls: &mut Tls, path: &str, headers: &str) {
    let text = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    tls.get_mut().write_all(text.as_bytes()).unwrap();
}

/// Status and headers.
fn head(tls: &mut Tls) -> (u16, BTreeMap<String, String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        tls.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    (status, headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect())
}

fn reply(tls: &mut Tls) -> Reply {
    let (status, headers) = head(tls);
    let size: u64 = headers["content-length"].parse().unwrap();
    let mut body = Vec::new();
    // A connection that breaks gives an error; what came before is what counts.
    let _ = tls.take(size).read_to_end(&mut body);
    let whole = body.len() as u64 == size;
    Reply { status, headers, body, whole }
}

#[test]
fn blobs_come_whole_and_in_part_over_one_connection() {
    let stock = Stock::new();
    let server = stock.serve();
    let path = format!("/v2/etcd/blobs/{}", stock.large());
    let mut tls = server.connect();
    request(&mut tls, &path, "");
    let whole = reply(&mut tls);
    assert_eq!((whole.status, Digest::of(&whole.body)), (200, stock.large()));
    for (range, expected) in [("0-0", 0..1), ("131072-1000000", 131_072..1_000_001), ("-7", LARGE - 7..LARGE)]
    {
        request(&mut tls, &path, &format!("Range: bytes={range}\r\n"));
        let part = reply(&mut tls);
        assert_eq!(part.status, 206);
        assert_eq!(
            part.headers["content-range"],
            format!("bytes {}-{}/{LARGE}", expected.start, expected.end - 1)
        );
        assert!(part.body == whole.body[expected]);
    }
    request(&mut tls, &path, &format!("Range: bytes={LARGE}-\r\n"));
    assert_eq!(reply(&mut tls).status, 416);
    request(&mut tls, "/v2/", "");
    assert_eq!(reply(&mut tls).body, b"{}");
}

#[test]
fn a_blob_that_changed_breaks_the_connection_before_its_end() {
    let stock = Stock::new();
    let mut server = stock.serve();
    let large = stock.large();
    let mut bytes = fs_err::read(&stock.path).unwrap();
    let member = format!("blobs/sha256/{}", large.hex());
    let header = bytes.windows(member.len()).position(|window| window == member.as_bytes()).unwrap();
    bytes[header + 512 + 100] ^= 1;
    fs_err::write(&stock.path, bytes).unwrap();
    let reply = server.get(&format!("/v2/etcd/blobs/{large}"), "");
    assert!(!reply.whole && reply.body.len() < LARGE, "{} bytes came", reply.body.len());
    assert_eq!(server.get("/v2/", "").status, 200);
    server.wait();
    let notes = server.notes.lock().unwrap().join("\n");
    assert!(notes.contains("of package large 1 (amd64) is damaged"), "{notes}");
}

#[test]
fn many_pull_at_once() {
    let stock = Stock::new();
    let server = stock.serve();
    let path = format!("/v2/etcd/blobs/{}", stock.large());
    std::thread::scope(|scope| {
        let pulls: Vec<_> =
            (0..80).map(|_| scope.spawn(|| Digest::of(&server.get(&path, "").body))).collect();
        assert!(pulls.into_iter().all(|pull| pull.join().unwrap() == stock.large()));
    });
}

#[test]
fn an_answer_that_has_begun_ends_when_the_server_stops() {
    let stock = Stock::new();
    let mut server = stock.serve();
    let mut tls = server.connect();
    request(&mut tls, &format!("/v2/etcd/blobs/{}", stock.large()), "");
    let (status, headers) = head(&mut tls);
    let mut first = [0; 1000];
    tls.read_exact(&mut first).unwrap();
    server.stop();
    let mut rest = vec![0; LARGE - first.len()];
    tls.read_exact(&mut rest).unwrap();
    assert_eq!(
        (status, headers["content-length"].parse(), Digest::of(&[&first[..], &rest].concat())),
        (200, Ok(LARGE), stock.large())
    );
    drop(tls);
    server.wait();
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn volumes_are_served_and_restored_on_the_way() {
    let stock = Stock::new();
    let division = qiji_bundle::Division { volume_size: 1 << 20, parity: qiji_bundle::Parity::Volumes(1) };
    qiji_bundle::split(&stock.path, &stock.bench.path("discs.qiji"), division, &mut |_| ()).unwrap();
    fs_err::remove_file(stock.bench.path("discs.qiji.002")).unwrap();
    let bundle = stock.bench.verify(&stock.bench.path("discs.qiji.001")).unwrap();
    let server = Server::start(Registry::new(bundle).unwrap(), PATIENCE);
    let reply = server.get(&format!("/v2/etcd/blobs/{}", stock.large()), "");
    assert_eq!(Digest::of(&reply.body), stock.large());
}

/// A client whose kernel takes no more than a few kilobytes that it has not read.
fn narrow(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    socket.into()
}

/// Requests that a client sends at once.
const PIPELINED: usize = 4;

#[test]
fn clients_that_take_nothing_make_room_for_others() {
    let stock = Stock::new();
    let server = Server::start(stock.registry(), Duration::from_secs(1));
    let path = format!("/v2/etcd/blobs/{}", stock.large());
    // As many as blobs are read at a time.
    let mut waiting: Vec<Tls> = (0..16).map(|_| server.over(narrow(&server))).collect();
    for tls in &mut waiting {
        // More than the server's kernel takes for a client.
        (0..PIPELINED).for_each(|_| request(tls, &path, ""));
        assert_eq!(head(tls).0, 200);
    }
    // Whoever asks gets a turn in the order of asking: by the last of these all the others take nothing, and one of them must be cut off for it.
    for _ in 0..2 * PIPELINED {
        assert_eq!(Digest::of(&server.get(&path, "").body), stock.large());
    }
    let is_cut = |tls: Tls| {
        let mut rest = Vec::new();
        // How a connection that is cut off ends is of no matter.
        let _ = tls.take((PIPELINED * LARGE) as u64).read_to_end(&mut rest);
        rest.len() < PIPELINED * LARGE
    };
    assert!(waiting.into_iter().any(is_cut));
}

#[test]
fn a_silent_client_does_not_keep_the_server_from_ending() {
    let mut server = Stock::new().serve();
    let mut idle = server.connect();
    request(&mut idle, "/v2/", "");
    assert_eq!(reply(&mut idle).status, 200);
    let silent = TcpStream::connect(server.address).unwrap();
    assert_eq!(server.get("/v2/", "").status, 200);
    server.wait();
    let mut rest = Vec::new();
    // Neither is cut off after ten seconds: both see the end of a connection that was closed well.
    assert_eq!(idle.read_to_end(&mut rest).unwrap(), 0);
    assert_eq!((&silent).read_to_end(&mut rest).unwrap(), 0);
}

#[test]
fn who_speaks_no_tls_or_waits_hinders_nobody() {
    let stock = Stock::new();
    let server = stock.serve();
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    assert_eq!(server.get("/v2/", "").status, 200);
    drop(silent);
}
