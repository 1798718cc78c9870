//! An image in the store of a containerd on this machine, read with containerd's own client.
//!
//! 1. `ctr images ls name==IMAGE` gives the digest that the name has there.
//! 2. `ctr content get DIGEST` gives each manifest and blob, which is compared with its digest while it is written to our store.
//! 3. What cosign put under a tag of its own is an image there like any other, if it was pulled.
//!
//! So nothing is known here of containerd's database or protocol, and nothing in its store is changed. Limits: a containerd that throws layers away once they
//! are unpacked (`discard_unpacked_layers`) does not have them, and of an image of several architectures it has those that were pulled.

use std::path::Path;
use std::process::Stdio;

use async_trait::async_trait;
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{self, Pinned};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::{DOCUMENT_LIMIT, Said, Shelf};
use crate::error::{SourceError, StoreError};
use crate::registry::{COSIGN, tag_beside};
use crate::source::Job;
use crate::store::CHUNK;

/// The most that is kept of what the client says when it fails.
const WORDS_LIMIT: u64 = 4 << 10;

/// See the module.
pub(in crate::source) struct ContainerdShelf {
    /// Name that the image has there.
    pub(in crate::source) image: String,
    /// Namespace in which it lies.
    pub(in crate::source) namespace: String,
}

impl ContainerdShelf {
    /// Starts the client.
    fn client(&self, job: &Job<'_>, arguments: &[&str]) -> Result<Child, SourceError> {
        let settings = &job.context.settings.containerd;
        let mut command = Command::new(&settings.client);
        if let Some(socket) = &settings.socket {
            command.arg("--address").arg(socket);
        }
        command.args(["--namespace", &self.namespace]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn().map_err(|source| run_fault(&settings.client, source))
    }

    /// What the client prints, up to a limit; an error with its own words where it fails.
    async fn output(&self, job: &Job<'_>, arguments: &[&str]) -> Result<Vec<u8>, SourceError> {
        let program = &job.context.settings.containerd.client;
        let mut child = self.client(job, arguments)?;
        let mut bytes = Vec::new();
        if let Some(output) = child.stdout.take() {
            let read = output.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes).await;
            read.map_err(|source| run_fault(program, source))?;
        }
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(self.malformed(format!("ctr {} gives more than it may", arguments.join(" "))));
        }
        self.finish(program, child).await.map(|()| bytes)
    }

    async fn finish(&self, program: &Path, mut child: Child) -> Result<(), SourceError> {
        let mut words = Vec::new();
        if let Some(errors) = child.stderr.take() {
            let read = errors.take(WORDS_LIMIT).read_to_end(&mut words).await;
            read.map_err(|source| run_fault(program, source))?;
        }
        let status = child.wait().await.map_err(|source| run_fault(program, source))?;
        if status.success() {
            return Ok(());
        }
        Err(self.malformed(String::from_utf8_lossy(&words).trim().to_owned()))
    }

    fn malformed(&self, reason: String) -> SourceError {
        SourceError::Malformed { what: self.label(), reason }
    }

    fn compare(&self, expected: &Digest, found: Digest) -> Result<(), SourceError> {
        if found == *expected {
            return Ok(());
        }
        Err(SourceError::WrongDigest { what: self.label(), expected: *expected, found, hint: None })
    }

    /// The digest that the image's name has there.
    async fn digest(&self, job: &Job<'_>) -> Result<Digest, SourceError> {
        let filter = format!("name=={}", self.image);
        let table = self.output(job, &["images", "ls", &filter]).await?;
        let found = digest_of(&String::from_utf8_lossy(&table), &self.image);
        found.ok_or_else(|| {
            let namespace = &self.namespace;
            self.malformed(format!(
                "there is none of that name in namespace {namespace}: see `ctr -n {namespace} images ls`"
            ))
        })
    }
}

fn run_fault(program: &Path, source: std::io::Error) -> SourceError {
    SourceError::Run { program: program.display().to_string(), source }
}

/// The digest of an image in the table of `ctr images ls`: its columns are name, type, digest and others.
fn digest_of(table: &str, image: &str) -> Option<Digest> {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.into_iter().find(|row| row.first() == Some(&image)).and_then(|row| row.get(2)?.parse().ok())
}

/// The name of another tag in an image's repository.
fn beside(image: &str, tag: &str) -> String {
    let slash = image.rfind('/').map_or(0, |at| at + 1);
    let end = image[slash..].find([':', '@']).map_or(image.len(), |at| slash + at);
    format!("{}:{tag}", &image[..end])
}

#[async_trait]
impl Shelf for ContainerdShelf {
    fn label(&self) -> String {
        format!("containerd's image {}", self.image)
    }

    fn voucher(&self) -> String {
        format!("as containerd on this machine has it in namespace {}", self.namespace)
    }

    async fn top(&self, job: &Job<'_>) -> Result<Vec<u8>, SourceError> {
        let digest = self.digest(job).await?;
        self.manifest(job, &digest).await
    }

    async fn manifest(&self, job: &Job<'_>, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        let bytes = self.output(job, &["content", "get", &digest.to_string()]).await?;
        self.compare(digest, Digest::of(&bytes)).map(|()| bytes)
    }

    async fn blob(&self, job: &Job<'_>, pin: &Pinned) -> Result<(), SourceError> {
        let store = &job.context.store;
        if store.holds(pin)? {
            return Ok(());
        }
        let mut child = self.client(job, &["content", "get", &pin.digest.to_string()])?;
        let mut writer = store.writer()?;
        let (mut buffer, mut size) = (vec![0; CHUNK], 0);
        if let Some(mut output) = child.stdout.take() {
            let program = &job.context.settings.containerd.client;
            loop {
                let count = output.read(&mut buffer).await.map_err(|source| run_fault(program, source))?;
                if count == 0 {
                    break;
                }
                std::io::Write::write_all(&mut writer, &buffer[..count])
                    .map_err(StoreError::io("write a blob"))?;
                job.meter.moved(size, size + count as u64, Some(pin.size));
                size += count as u64;
            }
        }
        self.finish(&job.context.settings.containerd.client, child).await?;
        let found = writer.finish()?;
        if found != *pin {
            store.discard(&found.digest)?;
        }
        self.compare(&pin.digest, found.digest)
    }

    async fn said_of(&self, job: &Job<'_>, subject: &Digest) -> Result<Option<Vec<Said>>, SourceError> {
        let tags = COSIGN.map(|ending| tag_beside(subject, ending));
        let names = tags.each_ref().map(|tag| beside(&self.image, tag));
        let filters = names.each_ref().map(|name| format!("name=={name}"));
        let arguments: Vec<_> =
            ["images", "ls"].into_iter().chain(filters.iter().map(String::as_str)).collect();
        let table = self.output(job, &arguments).await?;
        let mut said = Vec::new();
        for (tag, name) in tags.into_iter().zip(&names) {
            if let Some(digest) = digest_of(&String::from_utf8_lossy(&table), name) {
                said.push(Said { tag, bytes: self.manifest(job, &digest).await? });
            }
        }
        Ok(Some(said))
    }

    async fn has(&self, job: &Job<'_>, manifest: &Digest) -> Result<bool, SourceError> {
        let list = self.output(job, &["content", "ls", "--quiet"]).await?;
        let digest = manifest.to_string();
        Ok(String::from_utf8_lossy(&list).lines().any(|line| line.trim() == digest))
    }

    fn pinned(&self, _manifest: &Digest) -> lock::Source {
        lock::Source::Containerd { image: self.image.clone(), namespace: self.namespace.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_tag_is_in_the_same_repository() {
        for image in ["r.example:5000/x", "r.example:5000/x:1", "r.example:5000/x@sha256:00"] {
            assert_eq!(beside(image, "sig"), "r.example:5000/x:sig");
        }
        assert_eq!(beside("x:1", "sig"), "x:sig");
    }

    #[test]
    fn the_digest_is_read_from_the_table() {
        let digest = Digest::of(b"x");
        let table = format!(
            "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
             a.example/x:1 application/vnd.oci.image.index.v1+json {digest} 1.0 MiB linux/amd64,linux/arm64 -\n"
        );
        assert_eq!(digest_of(&table, "a.example/x:1"), Some(digest));
        assert_eq!(digest_of(&table, "a.example/x:2"), None);
        assert_eq!(digest_of("REF TYPE DIGEST\nx y z\n", "x"), None);
        assert_eq!(digest_of("", "x"), None);
    }
}
