use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qiji_bundle::{KeyError, Passphrase, SigningKey};

const LABELS: [&str; 2] =
    ["-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "-----END ENCRYPTED PRIVATE KEY-----\n"];

/// A key file whose parameters `from` are exchanged for others of the same length.
fn with_parameters(pem: &str, from: &[u8], to: &[u8]) -> String {
    let body = pem.strip_prefix(LABELS[0]).unwrap().strip_suffix(LABELS[1]).unwrap().replace('\n', "");
    let mut der = STANDARD.decode(body).unwrap();
    let at = der.windows(from.len()).position(|window| window == from).unwrap();
    der[at..at + to.len()].copy_from_slice(to);
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("{}{}\n{}", LABELS[0], lines.join("\n"), LABELS[1])
}

#[test]
fn is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let (path, greedy) = (folder.path().join("key"), folder.path().join("greedy"));
    let passphrase = Passphrase::new("only for tests".to_owned()).unwrap();
    SigningKey::generate().unwrap().save(&path, &passphrase).unwrap();
    let pem = fs_err::read_to_string(&path).unwrap();
    // RFC 7914, section 7: cost parameter, block size, parallelization.
    let own = [0x02, 0x02, 0x40, 0x00, 0x02, 0x01, 0x08, 0x02, 0x01, 0x01];
    for (at, value) in [(6, 0x7f), (9, 0x7f)] {
        let mut parameters = own;
        parameters[at] = value;
        fs_err::write(&greedy, with_parameters(&pem, &own, &parameters)).unwrap();
        let error = SigningKey::load(&greedy, &passphrase).unwrap_err();
        assert!(matches!(error, KeyError::NotAKey { .. }), "{error}");
    }
    fs_err::write(&greedy, with_parameters(&pem, &own, &own)).unwrap();
    SigningKey::load(&greedy, &passphrase).unwrap();
}
