use crate::forge;
use crate::victim::Victim;

const ESCAPES: [&str; 4] = [
    r"\u001b[2J\u001b]0;all is well\u0007",
    r"demo: every byte and signature holds\r\n\n\n",
    r"\u202egnp.elif",
    r"\u009b31m",
];

#[test]
fn in_names() {
    let victim = Victim::new();
    for escape in ESCAPES {
        for key in
            ["dev.qiji.name", "dev.qiji.format", "dev.qiji.version", "org.opencontainers.image.ref.name"]
        {
            let members = forge::with_root(&victim.vendor, |root| {
                let at = root.rfind(&format!("\"{key}\":\"")).unwrap() + key.len() + 4;
                format!("{}{escape}{}", &root[..at], &root[at..])
            });
            let message = victim.refuses_members(&members).message();
            let safe = |c: char| !c.is_control() && c != '\u{202e}';
            assert!(message.chars().all(safe), "{message:?}");
            assert!(message.contains("\\u{") || message.contains("\\r\\n"), "{message}");
        }
    }
}

#[test]
fn in_the_names_of_members() {
    let victim = Victim::new();
    let mut members = forge::members(&victim.vendor);
    members.insert(0, ("\x1b[2J\x07".to_owned(), Vec::new()));
    victim.refuses_members(&members).untrustworthy(r"member `\u{1b}[2J\u{7}` at byte 0");
}

#[test]
fn without_end() {
    let victim = Victim::new();
    let format = format!(r#""dev.qiji.format":"{}""#, "9".repeat(900));
    let members = forge::with_root(&victim.vendor, |root| root.replace(r#""dev.qiji.format":"1""#, &format));
    victim.refuses_members(&members).malformed("is a bundle of format 999");
    let kind = "z".repeat(1_000_000);
    let members =
        forge::with_root(&victim.vendor, |root| root.replace("application/vnd.qiji.document.v1", &kind));
    let message = victim.refuses_members(&members).message();
    assert!(message.len() < 5_000 && message.ends_with(" ..."), "{} bytes", message.len());
}
