//! Somebody who is given a bundle: trusts one key, keeps other files beside the bundle, and has one scratch folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qiji_bundle::{Class, Medium, TrustedKeys, Untrusted, Verified, VerifyError};
use tempfile::TempDir;

use crate::fixture::{Bench, join};
use crate::forge::Members;
use crate::tree::{Tree, tree};

/// See the module. The vendor's key is at hand too: attackers are those who do not use it.
pub(crate) struct Victim {
    /// The vendor's workshop.
    pub(crate) vendor: Bench,
    world: TempDir,
    before: Tree,
}

/// A bundle was refused, and nothing was touched.
pub(crate) struct Refusal(VerifyError);

/// Verifies what a medium holds, with the vendor's key trusted.
pub(crate) fn verify_medium(vendor: &Bench, medium: Arc<dyn Medium>) -> Result<Verified, VerifyError> {
    Untrusted::over(medium, Path::new("given.qiji"))?.verify(&vendor.trusted(), &mut |_| ())
}

impl Victim {
    pub(crate) fn new() -> Self {
        let world = tempfile::tempdir().unwrap();
        for folder in ["scratch", "media", "home/keys", "etc"] {
            fs_err::create_dir_all(world.path().join(folder)).unwrap();
        }
        fs_err::write(world.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        fs_err::write(world.path().join("home/keys/own.key"), "secret").unwrap();
        let mut victim = Self { vendor: Bench::new(), world, before: Tree::new() };
        victim.before = victim.look();
        victim
    }

    fn look(&self) -> Tree {
        let mut seen = tree(self.world.path(), &self.world.path().join("scratch"));
        seen.remove(&self.bundle());
        seen
    }

    fn bundle(&self) -> PathBuf {
        self.world.path().join("media/given.qiji")
    }

    /// Opens and verifies these bytes as a file.
    pub(crate) fn verify(&self, bytes: &[u8]) -> Result<Verified, VerifyError> {
        self.verify_by(bytes, &self.vendor.trusted())
    }

    /// The same with other keys trusted than the vendor's.
    pub(crate) fn verify_by(&self, bytes: &[u8], trusted: &TrustedKeys) -> Result<Verified, VerifyError> {
        fs_err::write(self.bundle(), bytes).unwrap();
        Untrusted::open(&self.bundle())?.verify(trusted, &mut |_| ())
    }

    /// Requires that these bytes are refused and that nothing is touched by it.
    pub(crate) fn refuses(&self, bytes: &[u8]) -> Refusal {
        self.refuses_by(bytes, &self.vendor.trusted())
    }

    /// The same with other keys trusted than the vendor's.
    pub(crate) fn refuses_by(&self, bytes: &[u8], trusted: &TrustedKeys) -> Refusal {
        let Err(error) = self.verify_by(bytes, trusted) else { panic!("the bundle was accepted") };
        assert_eq!(self.look(), self.before, "files were touched");
        Refusal(error)
    }

    /// The same for members that are put together as the format says.
    pub(crate) fn refuses_members(&self, members: &Members) -> Refusal {
        self.refuses(&join(members))
    }

    /// Opens and verifies volumes, by the ends of their names.
    pub(crate) fn verify_volumes(
        &self,
        volumes: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Verified, VerifyError> {
        let folder = tempfile::tempdir_in(self.world.path().join("scratch")).unwrap();
        for (end, bytes) in volumes {
            fs_err::write(folder.path().join(format!("given.qiji.{end}")), bytes).unwrap();
        }
        Untrusted::open(&folder.path().join("given.qiji"))?.verify(&self.vendor.trusted(), &mut |_| ())
    }

    /// The same as for bytes, for volumes.
    pub(crate) fn refuses_volumes(&self, volumes: &BTreeMap<String, Vec<u8>>) -> Refusal {
        let Err(error) = self.verify_volumes(volumes) else { panic!("the volumes were accepted") };
        assert_eq!(self.look(), self.before, "files were touched");
        Refusal(error)
    }

    /// The same for what is read from a medium.
    pub(crate) fn refuses_medium(&self, medium: Arc<dyn Medium>) -> Refusal {
        let Err(error) = verify_medium(&self.vendor, medium) else { panic!("the bundle was accepted") };
        assert_eq!(self.look(), self.before, "files were touched");
        Refusal(error)
    }
}

impl Refusal {
    /// It is not to be trusted: exit status 4, and the message says `expected`.
    pub(crate) fn untrustworthy(&self, expected: &str) {
        assert_eq!(self.0.class(), Class::Untrustworthy, "{}", self.0);
        assert_eq!(self.0.class().exit_status(), 4);
        self.says(expected);
    }

    /// It is no bundle that this release reads: exit status 2, and the message says `expected`.
    pub(crate) fn malformed(&self, expected: &str) {
        assert_eq!(self.0.class(), Class::Malformed, "{}", self.0);
        assert_eq!(self.0.class().exit_status(), 2);
        self.says(expected);
    }

    /// How bad it is.
    pub(crate) fn class(&self) -> Class {
        self.0.class()
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> &'static str {
        self.0.hint()
    }

    fn says(&self, expected: &str) {
        let message = self.message();
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
        assert!(names_something(&message), "`{message}` names nothing");
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(!self.0.hint().is_empty());
    }

    /// The message after the path.
    pub(crate) fn message(&self) -> String {
        self.0.to_string().split_once(".qiji: ").expect("the message starts with the path").1.to_owned()
    }
}

/// A message names an artifact, a member, a key or a place in the file, or says that it is no bundle at all.
pub(crate) fn names_something(message: &str) -> bool {
    let words = [
        "image ",
        "package ",
        "document ",
        "the root index",
        "signature",
        "signed",
        "of channel ",
        "the empty configuration",
        "index.json",
        "oci-layout",
        "blobs/sha256/",
        "member ",
        "volume",
        "at byte ",
        "blob sha256:",
        "is not a qiji bundle",
        "is a bundle of format",
    ];
    words.iter().any(|word| message.contains(word))
}
