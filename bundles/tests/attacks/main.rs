//! Attacks on bundles. Each has a folder named for it, with a page that says what is done and what must happen, and its tests.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

#[path = "../it/fixture.rs"]
#[allow(dead_code, reason = "attacks need a part of what the other tests need")]
mod fixture;
mod folders;
mod forge;
mod pen;
mod tree;
mod victim;

#[path = "amplification/attack.rs"]
mod amplification;
#[path = "appended-bytes/attack.rs"]
mod appended_bytes;
#[path = "borrowed-name/attack.rs"]
mod borrowed_name;
#[path = "broken-rules/attack.rs"]
mod broken_rules;
#[path = "changed-while-read/attack.rs"]
mod changed_while_read;
#[path = "damaged-delta/attack.rs"]
mod damaged_delta;
#[path = "deep-json/attack.rs"]
mod deep_json;
#[path = "device-nodes/attack.rs"]
mod device_nodes;
#[path = "duplicate-signature/attack.rs"]
mod duplicate_signature;
#[path = "extra-member/attack.rs"]
mod extra_member;
#[path = "extra-signature/attack.rs"]
mod extra_signature;
#[path = "flipped-bit/attack.rs"]
mod flipped_bit;
#[path = "flipped-bit-anywhere/attack.rs"]
mod flipped_bit_anywhere;
#[path = "forged-policy/attack.rs"]
mod forged_policy;
#[path = "forged-volumes/attack.rs"]
mod forged_volumes;
#[path = "greedy-key/attack.rs"]
mod greedy_key;
#[path = "key-not-in-policy/attack.rs"]
mod key_not_in_policy;
#[path = "links/attack.rs"]
mod links;
#[path = "missing-kind/attack.rs"]
mod missing_kind;
#[path = "missing-member/attack.rs"]
mod missing_member;
#[path = "missing-signature/attack.rs"]
mod missing_signature;
#[path = "mixed-statement/attack.rs"]
mod mixed_statement;
#[path = "not-a-bundle/attack.rs"]
mod not_a_bundle;
#[path = "other-document/attack.rs"]
mod other_document;
#[path = "oversized-members/attack.rs"]
mod oversized_members;
#[path = "path-traversal/attack.rs"]
mod path_traversal;
#[path = "replaced-blob/attack.rs"]
mod replaced_blob;
#[path = "replayed-old-version/attack.rs"]
mod replayed_old_version;
#[path = "sm2-signer-id/attack.rs"]
mod sm2_signer_id;
#[path = "sparse-members/attack.rs"]
mod sparse_members;
#[path = "swapped-members/attack.rs"]
mod swapped_members;
#[path = "terminal-escapes/attack.rs"]
mod terminal_escapes;
#[path = "threshold-not-met/attack.rs"]
mod threshold_not_met;
#[path = "truncation/attack.rs"]
mod truncation;

#[test]
fn every_attack_has_a_folder_a_page_and_a_test() {
    assert!(folders::bundles().len() >= 34);
}

#[test]
fn the_book_lists_every_attack() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md");
    let page = fs_err::read_to_string(path).unwrap();
    let (head, rest) = page.split_once("<!-- attacks -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- end of attacks -->").unwrap();
    let printed = format!("{head}<!-- attacks -->\n{}<!-- end of attacks -->{tail}", folders::table());
    if std::env::var_os("QIJI_BLESS").is_some() {
        fs_err::write(path, &printed).unwrap();
        return;
    }
    assert!(
        page == printed,
        "docs/security.md differs from the attacks' pages; run `QIJI_BLESS=1 cargo test -p qiji-bundle --test attacks book`"
    );
}
