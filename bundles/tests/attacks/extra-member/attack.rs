use crate::forge;
use crate::victim::Victim;

#[test]
fn a_stowaway() {
    let victim = Victim::new();
    for content in [b"stowaway".as_slice(), b"", b"#!/bin/sh\n"] {
        let mut members = forge::members(&victim.vendor);
        forge::insert(&mut members, content);
        let refusal = victim.refuses_members(&members);
        refusal.untrustworthy("belongs to nothing in the bundle");
        refusal.untrustworthy(&format!("{} at byte ", qiji_blueprint::Digest::of(content)));
    }
}

#[test]
fn a_second_file_beside_the_format_s_own() {
    let victim = Victim::new();
    for name in ["manifest.json", "repositories", "index.json.sig", "zz"] {
        let mut members = forge::members(&victim.vendor);
        members.push((name.to_owned(), b"{}".to_vec()));
        victim.refuses_members(&members).untrustworthy("the end of the file is damaged");
    }
}
