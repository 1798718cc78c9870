use qiji_bundle::seal;

use crate::fixture::{sample, split};
use crate::forge::{self, Members};
use crate::pen;
use crate::victim::Victim;

/// The vendor's release of another version.
fn other_release(victim: &Victim) -> Members {
    let (mut spec, store) = sample();
    "1.2.4".clone_into(&mut spec.version);
    split(&fs_err::read(victim.vendor.write("other.qiji", &spec, &store).0).unwrap())
}

#[test]
fn of_another_release() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let (manifest, envelope) = pen::signature(&other_release(&victim));
    victim.refuses_members(&pen::resign(&members, &envelope)).untrustworthy("it names root sha256:");

    let mut whole = members;
    let (own, old) = pen::signature(&whole);
    forge::remove(&mut whole, &old);
    forge::insert(&mut whole, &envelope);
    forge::replace(&mut whole, &own, &manifest);
    victim.refuses_members(&whole).untrustworthy("its manifest is not the one for this root");
}

#[test]
fn that_says_something_else() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let right = pen::statement(&members);
    let sealed = |text: &str| pen::resign(&members, pen::sealed(text, &[&victim.vendor.key]).as_bytes());
    victim.verify(&crate::fixture::join(&sealed(&right))).unwrap();
    let sm3_at = right.find(r#""sm3":""#).unwrap() + 7;
    let other_sm3 = format!("{}{}{}", &right[..sm3_at], "0".repeat(64), &right[sm3_at + 64..]);
    for (text, expected) in [
        (right.replace("demo", "other"), "it is about other 1.2.3 enterprise"),
        (right.replace("1.2.3", "1.2.4"), "it is about demo 1.2.4 enterprise"),
        (right.replace("enterprise", "community"), "it is about demo 1.2.3 community"),
        (right.replace("stable", "../x"), "or not in canonical form"),
        (other_sm3, "or not in canonical form"),
        (right.replace("Statement/v1", "Statement/v2"), "or not in canonical form"),
        (right.replace("bundle/v1", "bundle/v2"), "or not in canonical form"),
        (format!("{right} "), "or not in canonical form"),
        (right.replacen('{', r#"{"x":1,"#, 1), "unknown field `x`"),
        (right.replace(r#","sm3":"#, r#","sha256":"00","sm3":"#), "duplicate field `sha256`"),
        (
            format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
            "the signed statement is not about this bundle",
        ),
    ] {
        victim.refuses_members(&sealed(&text)).untrustworthy(expected);
    }
}

#[test]
fn of_another_type() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let envelope = seal("text/plain", pen::statement(&members).as_bytes(), &[&victim.vendor.key]);
    victim.refuses_members(&pen::resign(&members, &envelope)).untrustworthy("its type is `text/plain`");
}
