//! Small network probes for the check of a finished cluster, as a container image that needs nothing else:
//! an HTTP server that says its host's name, a DNS question, an HTTP question.
//!
//! Limits: plain HTTP, addresses of type A and AAAA, answers over UDP.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a page that are printed.
const PAGE_LIMIT: u64 = 64 << 10;

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// Answers every HTTP request on this port with 200 and the host's name, for ever.
pub fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let _ = std::thread::Builder::new().spawn(move || answer(stream));
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|part| part == b"\r\n\r\n") && head.len() < 16 << 10 {
        match stream.read(&mut piece)? {
            0 => break,
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let length = name.len() + 1;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}\n"
    )
}

/// Prints the addresses of a name, one a line. Asks `server`, or else the first one in `/etc/resolv.conf`; a name without a final
/// dot is tried in the search domains first where it has fewer dots than `ndots` asks for.
pub fn print_addresses(name: &str, server: Option<&str>) -> io::Result<()> {
    let conf = fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = match server {
        Some(text) => text.parse().map_err(|_| bad(format!("{text} is not an address")))?,
        None => name_server(&conf).ok_or_else(|| bad("no name server in /etc/resolv.conf"))?,
    };
    for candidate in candidates(name, &conf) {
        let found = resolve(&candidate, server)?;
        if !found.is_empty() {
            for address in found {
                println!("{address}");
            }
            return Ok(());
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("{server} knows no address of {name}")))
}

fn name_server(conf: &str) -> Option<IpAddr> {
    conf.lines().filter_map(|line| line.strip_prefix("nameserver")).find_map(|rest| rest.trim().parse().ok())
}

fn candidates(name: &str, conf: &str) -> Vec<String> {
    if let Some(full) = name.strip_suffix('.') {
        return vec![full.to_owned()];
    }
    let search = conf.lines().rev().find_map(|line| line.strip_prefix("search ")).unwrap_or_default();
    let option = |line: &str| {
        line.split_whitespace().find_map(|word| word.strip_prefix("ndots:")?.parse::<usize>().ok())
    };
    let ndots = conf.lines().filter(|line| line.starts_with("options")).find_map(option).unwrap_or(1);
    let mut all: Vec<String> = search.split_whitespace().map(|domain| format!("{name}.{domain}")).collect();
    let at = if name.matches('.').count() >= ndots { 0 } else { all.len() };
    all.insert(at, name.to_owned());
    all
}

/// Addresses of a full name, by one DNS server (RFC 1035; A first, then AAAA). Nothing when the name has none.
pub fn resolve(name: &str, server: IpAddr) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for kind in [1_u16, 28] {
        found.extend(ask(name, kind, SocketAddr::new(server, 53))?);
    }
    Ok(found)
}

fn ask(name: &str, kind: u16, server: SocketAddr) -> io::Result<Vec<IpAddr>> {
    let local: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let id = u16::from_be_bytes(std::process::id().to_le_bytes()[..2].try_into().unwrap_or_default());
    let question = question(id, name, kind)?;
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..3 {
        socket.send(&question)?;
        let mut answer = [0; 4096];
        match socket.recv(&mut answer) {
            Ok(length) if answer[..2] == id.to_be_bytes() => return parse_answer(&answer[..length], kind),
            Ok(_) => {}
            Err(fault) => last = fault,
        }
    }
    Err(io::Error::new(last.kind(), format!("{server} does not answer: {last}")))
}

fn question(id: u16, name: &str, kind: u16) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        bytes.push(length.ok_or_else(|| bad(format!("`{name}` is not a name")))?);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&1_u16.to_be_bytes());
    Ok(bytes)
}

fn parse_answer(bytes: &[u8], kind: u16) -> io::Result<Vec<IpAddr>> {
    let word = |at: usize| bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let cut = || bad("the answer is cut off");
    let (flags, questions, answers) =
        (word(2).ok_or_else(cut)?, word(4).ok_or_else(cut)?, word(6).ok_or_else(cut)?);
    match flags & 0xf {
        0 | 3 => {}
        code => return Err(bad(format!("the name server answers with code {code}"))),
    }
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(bytes, at).ok_or_else(cut)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = skip_name(bytes, at).ok_or_else(cut)?;
        let (of, length) = (word(at).ok_or_else(cut)?, usize::from(word(at + 8).ok_or_else(cut)?));
        let data = bytes.get(at + 10..at + 10 + length).ok_or_else(cut)?;
        if of == kind {
            found.extend(<[u8; 4]>::try_from(data).map(IpAddr::from));
            found.extend(<[u8; 16]>::try_from(data).map(IpAddr::from));
        }
        at += 10 + length;
    }
    Ok(found)
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

/// Prints what an `http://` address answers.
///
/// # Errors
/// No answer in 5 s, or a status other than 200.
pub fn print_page(url: &str) -> io::Result<()> {
    let page = get(url)?;
    io::stdout().write_all(&page)
}

/// The body that an `http://` address answers with.
pub fn get(url: &str) -> io::Result<Vec<u8>> {
    let rest =
        url.strip_prefix("http://").ok_or_else(|| bad(format!("{url} does not begin with http://")))?;
    let (place, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let with_port = if place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        place.to_owned()
    } else {
        format!("{place}:80")
    };
    let address = match with_port.parse() {
        Ok(address) => address,
        Err(_) => {
            with_port.to_socket_addrs()?.next().ok_or_else(|| bad(format!("{place} has no address")))?
        }
    };
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {place}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(PAGE_LIMIT).read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .ok_or_else(|| bad("this is no HTTP answer"))?;
    let status =
        String::from_utf8_lossy(&answer[..end]).split_whitespace().nth(1).unwrap_or_default().to_owned();
    if status != "200" {
        return Err(bad(format!("{url} answers {status}")));
    }
    Ok(answer.split_off(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_compressed_name_is_read() {
        let mut bytes = question(7, "web.default", 1).unwrap();
        bytes[2..4].copy_from_slice(&0x8180_u16.to_be_bytes());
        bytes[7] = 1;
        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 9]);
        assert_eq!(parse_answer(&bytes, 1).unwrap(), [IpAddr::from([10, 0, 0, 9])]);
        assert!(parse_answer(&bytes[..bytes.len() - 1], 1).is_err());
    }

    #[test]
    fn short_names_go_through_the_search_domains_first() {
        let conf = "nameserver 10.96.0.10\nsearch a.svc svc\noptions ndots:5\n";
        assert_eq!(candidates("web", conf), ["web.a.svc", "web.svc", "web"]);
        assert_eq!(candidates("web.", conf), ["web"]);
        assert_eq!(name_server(conf), Some(IpAddr::from([10, 96, 0, 10])));
    }
}
