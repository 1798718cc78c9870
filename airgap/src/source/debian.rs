//! A Debian package, the `.deb` file itself.
//!
//! 1. `dists/SUITE/InRelease` is read and its `OpenPGP` signature checked with `gpgv` against the archive's keys. A wrong signature is
//!    refused. Where it cannot be checked (no `gpgv`, no keys), that is said in the result, and refused if the settings ask for it.
//! 2. It names the package index of the architecture by SHA-256; the index is fetched by that digest.
//! 3. The index names each `.deb` by SHA-256.
//!
//! While locking, the newest version of the suite is taken; nothing but the index has to be downloaded. While fetching, the
//! package is found by its locked digest, whatever its version. Each suite and architecture is read once a run.
//!
//! Limits: component `main` only. A suite keeps only its newest versions, so an old lock may name a `.deb` that has left it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead, BufReader, Read as _};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Pinned};
use qiji_blueprint::site::Arch;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{Found, Job, Source, Trust};
use crate::error::{SourceError, StoreError};
use crate::http::Download;
use crate::store::Store;

/// Bytes that no line of an index has: the whole of it would be in memory.
const LINE_LIMIT: u64 = 1 << 20;

/// See the module.
pub(super) struct DebianSource {
    pub(super) mirror: String,
    pub(super) suite: String,
    pub(super) package: String,
    pub(super) version: Option<String>,
}

/// A suite's packages for one architecture, those that the run asks for.
struct Index {
    packages: BTreeMap<String, Vec<Deb>>,
    trust: Trust,
}

/// One build of a package.
#[derive(Clone)]
struct Deb {
    version: String,
    filename: String,
    pin: Pinned,
}

type Slot = Arc<OnceCell<Result<Index, Arc<SourceError>>>>;

/// The indexes that a run has read.
pub(crate) struct Indexes {
    names: BTreeSet<String>,
    slots: Mutex<HashMap<(String, String, Arch), Slot>>,
}

impl Indexes {
    /// Will keep the packages of these names only: a whole index is 50 MB.
    pub(crate) fn new(names: BTreeSet<String>) -> Self {
        Self { names, slots: Mutex::default() }
    }

    fn slot(&self, mirror: &str, suite: &str, arch: Arch) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry((mirror.to_owned(), suite.to_owned(), arch)).or_default().clone()
    }
}

impl DebianSource {
    /// Picks a build out of the index.
    async fn find(&self, job: &Job<'_>, matches: impl Fn(&Deb) -> bool) -> Result<(Deb, Trust), SourceError> {
        let slot = job.context.indexes.slot(&self.mirror, &self.suite, job.arch);
        let index = slot.get_or_init(|| async { self.load(job).await.map_err(Arc::new) }).await;
        let index = index.as_ref().map_err(|error| SourceError::Shared(error.clone()))?;
        let builds = index.packages.get(&self.package).into_iter().flatten();
        let newest =
            builds.filter(|deb| matches(deb)).max_by(|a, b| compare_versions(&a.version, &b.version));
        match newest {
            Some(deb) => Ok((deb.clone(), index.trust.clone())),
            None => Err(SourceError::NoPackage {
                package: self.package.clone(),
                version: self.version.clone().unwrap_or_else(|| "(any version)".to_owned()),
                arch: job.arch,
                suite: self.suite.clone(),
            }),
        }
    }

    async fn load(&self, job: &Job<'_>) -> Result<Index, SourceError> {
        let dist = format!("{}/dists/{}", self.mirror, self.suite);
        let url = format!("{dist}/InRelease");
        let signed = job.context.http.document(&url, "*/*", None).await?.success(&url)?;
        let (text, trust) = verify(job, &url, &signed).await?;
        let malformed = |reason: String| SourceError::Malformed { what: url.clone(), reason };
        let name = format!("main/binary-{}/Packages.xz", job.arch);
        let release = Release::parse(&text);
        let known = release.field("Suite").into_iter().chain(release.field("Codename"));
        if !known.clone().any(|known| known == self.suite) {
            let known: Vec<_> = known.collect();
            return Err(malformed(format!("it describes {} and not {}", known.join(" or "), self.suite)));
        }
        let pin = release.file(&name).ok_or_else(|| malformed(format!("it does not name {name}")))?;
        let url = if release.field("Acquire-By-Hash") == Some("yes") {
            format!("{dist}/main/binary-{}/by-hash/SHA256/{}", job.arch, pin.digest.hex())
        } else {
            format!("{dist}/{name}")
        };
        let what = Download { url: &url, authorization: None, expect: Some(pin) };
        job.context.http.download(&job.context.store, &what, &job.meter).await?;
        let (store, names) = (job.context.store.clone(), job.context.indexes.names.clone());
        let packages = crate::blocking(move || read_packages(&store, &pin.digest, &names)).await;
        let packages = packages
            .map_err(|error| SourceError::Malformed { what: url.clone(), reason: error.to_string() })?;
        Ok(Index { packages, trust })
    }
}

#[async_trait]
impl Source for DebianSource {
    fn label(&self) -> String {
        format!("{} {} {}", self.mirror, self.suite, self.package)
    }

    async fn resolve(&self, job: &Job<'_>) -> Result<Found, SourceError> {
        let asked = self.version.as_deref();
        let (deb, trust) = self.find(job, |deb| asked.is_none_or(|version| version == deb.version)).await?;
        let source = lock::Source::Debian {
            suite: self.suite.clone(),
            package: self.package.clone(),
            version: Some(deb.version),
        };
        Ok(Found { pin: deb.pin, source, trust })
    }

    async fn fetch(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        let (deb, _) = self.find(job, |deb| deb.pin == *pin).await?;
        let url = format!("{}/{}", self.mirror, deb.filename);
        let what = Download { url: &url, authorization: None, expect: Some(*pin) };
        job.context.http.download(&job.context.store, &what, &job.meter).await.map(drop)
    }
}

/// What `InRelease` says, as text.
struct Release<'a> {
    text: &'a str,
}

impl<'a> Release<'a> {
    fn parse(text: &'a str) -> Self {
        Self { text }
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        let mut values = self.text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values.next().map(str::trim)
    }

    /// Digest and size of a file of the suite.
    fn file(&self, name: &str) -> Option<Pinned> {
        let lines = self.text.lines().skip_while(|line| line.trim_end() != "SHA256:").skip(1);
        for line in lines.take_while(|line| line.starts_with(' ')) {
            let mut words = line.split_whitespace();
            if let (Some(hex), Some(size), Some(path)) = (words.next(), words.next(), words.next())
                && path == name
            {
                let digest = format!("sha256:{hex}").parse().ok()?;
                return Some(Pinned { digest, size: size.parse().ok()? });
            }
        }
        None
    }
}

/// The text that the signature covers, and how far it is trusted.
async fn verify(job: &Job<'_>, url: &str, signed: &[u8]) -> Result<(String, Trust), SourceError> {
    let keyring = &job.context.settings.debian_keyring;
    let unverified = |reason: String| {
        if job.context.settings.require_signed_index {
            return Err(SourceError::BadSignature { url: url.to_owned(), reason });
        }
        let text = String::from_utf8_lossy(signed).into_owned();
        Ok((text, Trust::Unverified(format!("the signature of {url} was not checked: {reason}"))))
    };
    if !keyring.is_file() {
        return unverified(format!("{} is not there (package debian-archive-keyring)", keyring.display()));
    }
    let scratch = job.context.store.scratch()?;
    let (input, output) = (scratch.path().join("InRelease"), scratch.path().join("Release"));
    fs_err::write(&input, signed).map_err(StoreError::io("write a package index"))?;
    let mut command = Command::new("gpgv");
    command.args(["--status-fd", "1", "--keyring"]).arg(keyring).arg("--output").arg(&output).arg(&input);
    let run = match command.env("LC_ALL", "C").kill_on_drop(true).output().await {
        Ok(run) => run,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return unverified("gpgv is not installed".to_owned());
        }
        Err(source) => return Err(SourceError::Run { program: "gpgv".to_owned(), source }),
    };
    match read_status(&String::from_utf8_lossy(&run.stdout)) {
        Verdict::Good(key) => {
            let text = fs_err::read_to_string(&output).map_err(StoreError::io("read a package index"))?;
            Ok((text, Trust::Verified(format!("{url}, signed by {key}"))))
        }
        Verdict::Bad(reason) => Err(SourceError::BadSignature { url: url.to_owned(), reason }),
        Verdict::Unknown(reason) => unverified(reason),
    }
}

/// What `gpgv` says about a file's signatures.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good(String),
    Bad(String),
    Unknown(String),
}

/// Reads `gpgv --status-fd` lines (`doc/DETAILS` of `GnuPG`). Of several signatures a wrong one spoils all, and one by a key that is
/// known and neither expired nor revoked is enough. Each signature's `VALIDSIG` comes after its `GOODSIG`, or after the reason against it.
fn read_status(status: &str) -> Verdict {
    let (mut good, mut signer, mut reason) = (false, None, None);
    for line in status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "BADSIG" => return Verdict::Bad(rest.to_owned()),
            "GOODSIG" => good = true,
            "EXPSIG" | "EXPKEYSIG" | "REVKEYSIG" | "ERRSIG" => good = false,
            "VALIDSIG" if good && signer.is_none() => signer = rest.split(' ').next().map(str::to_owned),
            _ => {}
        }
        match word {
            "EXPSIG" | "EXPKEYSIG" => reason = Some(format!("signature or key has expired: {rest}")),
            "REVKEYSIG" => reason = Some(format!("the key was revoked: {rest}")),
            "NO_PUBKEY" => reason = Some(format!("the keyring lacks the key {rest}")),
            _ => {}
        }
    }
    match (signer, reason) {
        (Some(signer), _) => Verdict::Good(signer),
        (None, Some(reason)) => Verdict::Unknown(reason),
        (None, None) => Verdict::Bad("there is no signature".to_owned()),
    }
}

/// Reads an xz-compressed package index (`deb822`), keeping the packages named.
fn read_packages(
    store: &Store,
    digest: &Digest,
    names: &BTreeSet<String>,
) -> io::Result<BTreeMap<String, Vec<Deb>>> {
    let file = store.read(digest).map_err(io::Error::other)?;
    packages_in(BufReader::new(liblzma::read::XzDecoder::new(BufReader::new(file))), names)
}

fn packages_in(mut lines: impl BufRead, names: &BTreeSet<String>) -> io::Result<BTreeMap<String, Vec<Deb>>> {
    let mut packages: BTreeMap<String, Vec<Deb>> = BTreeMap::new();
    let mut stanza: BTreeMap<String, String> = BTreeMap::new();
    let mut line = String::new();
    loop {
        line.clear();
        let end = lines.by_ref().take(LINE_LIMIT).read_line(&mut line)? == 0;
        if line.len() as u64 == LINE_LIMIT {
            return Err(io::Error::other("a line has 1 MiB or more"));
        }
        if let Some((key, value)) = line.split_once(": ")
            && matches!(key, "Package" | "Version" | "Filename" | "Size" | "SHA256")
        {
            stanza.insert(key.to_owned(), value.trim().to_owned());
        }
        if end || line.trim().is_empty() {
            let whole = std::mem::take(&mut stanza);
            if let Some(name) = whole.get("Package").filter(|name| names.contains(*name)) {
                let deb = read_stanza(&whole)
                    .ok_or_else(|| io::Error::other(format!("the entry of {name} is not understood")))?;
                packages.entry(name.clone()).or_default().push(deb);
            }
        }
        if end {
            return Ok(packages);
        }
    }
}

fn read_stanza(stanza: &BTreeMap<String, String>) -> Option<Deb> {
    let digest = format!("sha256:{}", stanza.get("SHA256")?).parse().ok()?;
    let filename = stanza.get("Filename")?.clone();
    if filename.starts_with('/') || filename.split('/').any(|part| part == "..") {
        return None;
    }
    let size = stanza.get("Size")?.parse().ok()?;
    Some(Deb { version: stanza.get("Version")?.clone(), filename, pin: Pinned { digest, size } })
}

/// Orders two versions as Debian does (Debian policy, section 5.6.12): epoch, upstream version, revision.
fn compare_versions(a: &str, b: &str) -> Ordering {
    let split = |text: &str| {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.parse::<u64>().unwrap_or(0), upstream.to_owned(), revision.to_owned())
    };
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0).then_with(|| compare_part(&a.1, &b.1)).then_with(|| compare_part(&a.2, &b.2))
}

/// Compares text and numbers in turns: `~` before the end, the end before letters, letters before the rest.
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    let rank = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i64::from(u32::from(c)),
        Some(c) => i64::from(u32::from(c)) + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) = (take(&mut a, |c| !c.is_ascii_digit()), take(&mut b, |c| !c.is_ascii_digit()));
        let (mut left, mut right) = (text_a.chars(), text_b.chars());
        for _ in 0..text_a.len().max(text_b.len()) {
            match rank(left.next()).cmp(&rank(right.next())) {
                Ordering::Equal => {}
                other => return other,
            }
        }
        let (number_a, number_b) =
            (take(&mut a, |c| c.is_ascii_digit()), take(&mut b, |c| c.is_ascii_digit()));
        let (number_a, number_b) = (number_a.trim_start_matches('0'), number_b.trim_start_matches('0'));
        match number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b)) {
            Ordering::Equal => {}
            other => return other,
        }
    }
    Ordering::Equal
}

/// Cuts the longest beginning off whose characters are all `wanted`.
fn take<'a>(text: &mut &'a str, wanted: impl Fn(char) -> bool) -> &'a str {
    let end = text.find(|c| !wanted(c)).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    *text = rest;
    head
}

/// Reads a text as everything that a mirror has: `InRelease`, an index of packages, and versions, two a line.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(text: &str) {
    let release = Release::parse(text);
    let _ = (release.field("Suite"), release.file("main/binary-amd64/Packages.xz"), read_status(text));
    let _ = packages_in(text.as_bytes(), &BTreeSet::from(["libmnl0".to_owned()]));
    for (one, other) in text.lines().filter_map(|line| line.split_once(' ')) {
        let order = compare_versions(one, other);
        assert_eq!(order, compare_versions(other, one).reverse(), "{one} and {other}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_debian_orders_them() {
        let ascending = [
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.2-1",
            "1.10-1",
            "1:0.1-1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare_versions(pair[0], pair[1]), Ordering::Less, "{} < {}", pair[0], pair[1]);
            assert_eq!(compare_versions(pair[1], pair[0]), Ordering::Greater);
        }
        assert_eq!(compare_versions("1.01-1", "1.1-1"), Ordering::Equal);
        assert_eq!(compare_versions("0:1.1-1", "1.1-1"), Ordering::Equal);
    }

    #[test]
    fn one_wrong_signature_spoils_a_good_one() {
        let good = "[GNUPG:] GOODSIG A Debian\n[GNUPG:] VALIDSIG FEED 2026-01-01\n[GNUPG:] NO_PUBKEY B\n";
        assert_eq!(read_status(good), Verdict::Good("FEED".to_owned()));
        let spoiled = format!("{good}[GNUPG:] BADSIG B Debian\n");
        assert_eq!(read_status(&spoiled), Verdict::Bad("B Debian".to_owned()));
        assert!(matches!(read_status("[GNUPG:] NO_PUBKEY B\n"), Verdict::Unknown(_)));
        let expired = "[GNUPG:] EXPKEYSIG A Debian\n[GNUPG:] VALIDSIG FEED 2026-01-01\n";
        assert!(matches!(read_status(expired), Verdict::Unknown(_)));
        assert!(matches!(read_status("[GNUPG:] NODATA 1\n"), Verdict::Bad(_)));
    }

    #[test]
    fn a_release_names_its_files() {
        let hex = "ab".repeat(32);
        let text = format!(
            "Suite: stable\nCodename: trixie\nMD5Sum:\n 00 5 x/Packages.xz\nSHA256:\n {hex} 7 x/Packages.xz\nSHA512:\n"
        );
        let release = Release::parse(&text);
        assert_eq!(release.field("Codename"), Some("trixie"));
        assert_eq!(release.file("x/Packages.xz").unwrap().size, 7);
        assert!(release.file("y").is_none());
    }
}
