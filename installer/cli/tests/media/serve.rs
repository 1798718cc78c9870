//! A bundle that is served, and what keeps it from being served.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::desk::Desk;

#[test]
fn what_keeps_a_bundle_from_being_served_is_told_at_once() {
    let desk = Desk::new();
    assert_snapshot!(desk.qiji("serve @nothing.qiji --trust @key.pub --listen 127.0.0.1:0"));
    assert_snapshot!(
        desk.qiji("serve @demo.qiji --trust @key.pub --tls-cert @key.pub --tls-key @demo.qiji.001")
    );
    assert_snapshot!(desk.qiji("serve @demo.qiji --trust @key.pub --tls-cert @key.pub"));
    assert_snapshot!(
        desk.qiji("serve @demo.qiji --trust @key.pub --listen 127.0.0.1:0 --name no=name/ --name two..dots")
    );
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let taken = desk.qiji(&format!("serve @demo.qiji --trust @key.pub --listen {address}"));
    assert_snapshot!(taken.replace(&address, "ADDRESS"));
}

#[test]
fn a_bundle_is_served_until_a_signal_comes() {
    let desk = Desk::new();
    for signal in ["-INT", "-TERM"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qiji"));
        command.arg("serve").arg(desk.path("demo.qiji")).arg("--trust").arg(desk.path("key.pub"));
        command.args(["--listen", "127.0.0.1:0", "--ca-output"]).arg(desk.path("ca.pem"));
        let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(server.stdout.take().unwrap());
        let mut said = String::new();
        output.read_line(&mut said).unwrap();
        let address = said.split(['/', ',']).find(|word| word.starts_with("127.0.0.1:")).unwrap().to_owned();
        let ca = desk.path("ca.pem");
        let get = |path: &str| {
            let url = format!("https://{address}{path}");
            Command::new("curl").args(["--silent", "--show-error", "--cacert"]).arg(&ca).arg(url).output()
        };
        let answer = get("/v2/_catalog").unwrap();
        assert_eq!(String::from_utf8(answer.stdout).unwrap(), r#"{"repositories":["bundles/demo"]}"#);
        assert!(Command::new("kill").arg(signal).arg(server.id().to_string()).status().unwrap().success());
        output.read_to_string(&mut said).unwrap();
        assert!(server.wait().unwrap().success());
        insta::with_settings!({ filters => vec![(r"[0-9A-F:]{95}", "FINGERPRINT")] }, {
            assert_snapshot!("served", said.replace(&address, "ADDRESS").replace(&ca.display().to_string(), "CA"));
        });
        assert!(!get("/v2/").unwrap().status.success());
    }
}
