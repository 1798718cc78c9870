use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::Mutex;

use qiji_blueprint::site::Arch;
use qiji_bundle::{Medium, Untrusted};

use crate::victim::Victim;

/// A medium whose owner changes it at will.
#[derive(Debug)]
struct Shared(Mutex<Vec<u8>>);

impl Shared {
    /// Changes one bit in the only place where these bytes stand.
    fn change(&self, needle: &[u8]) {
        let mut bytes = self.0.lock().unwrap();
        let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
        bytes[at] ^= 1;
    }
}

impl Medium for Shared {
    fn size(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.lock().unwrap();
        let mut rest = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
        rest.read(buffer)
    }
}

#[test]
fn between_opening_and_verifying() {
    let victim = Victim::new();
    for (needle, expected) in [
        (b"etcd for amd64".as_slice(), "of image qiji.local/etcd:3.7.3-0 (amd64) is damaged"),
        (br#""dev.qiji.format""#, "of the root index is damaged"),
        (b"oci-layout", "member `oci-layout`"),
    ] {
        let shared = Arc::new(Shared(Mutex::new(victim.vendor.sample())));
        let opened = Untrusted::over(Arc::clone(&shared) as _, "given.qiji".as_ref()).unwrap();
        shared.change(needle);
        let error = opened.verify(&victim.vendor.trusted(), &mut |_| ()).unwrap_err();
        assert_eq!(error.class().exit_status(), 4, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn after_verifying() {
    let victim = Victim::new();
    let shared = Arc::new(Shared(Mutex::new(victim.vendor.sample())));
    let opened = Untrusted::over(Arc::clone(&shared) as _, "given.qiji".as_ref()).unwrap();
    let bundle = opened.verify(&victim.vendor.trusted(), &mut |_| ()).unwrap();
    shared.change(b"\x7fELF agent");
    let agent = bundle.package("agent", Arch::Amd64).unwrap().blobs[0].digest;
    let error = bundle.blob(&agent).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("of package agent 0.1.0 (amd64) is damaged"), "{error}");
}
