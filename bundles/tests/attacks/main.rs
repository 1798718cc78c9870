//! Attacks on bundles. Each has a folder named for it, with a page that says what is done and what must happen, and its tests.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

#[path = "../it/fixture.rs"]
#[allow(dead_code, reason = "attacks need a part of what the other tests need")]
mod fixture;
mod folders;
mod forge;
mod tree;
mod victim;

#[path = "amplification/attack.rs"]
mod amplification;
#[path = "appended-bytes/attack.rs"]
mod appended_bytes;
#[path = "broken-rules/attack.rs"]
mod broken_rules;
#[path = "changed-while-read/attack.rs"]
mod changed_while_read;
#[path = "deep-json/attack.rs"]
mod deep_json;
#[path = "device-nodes/attack.rs"]
mod device_nodes;
#[path = "extra-member/attack.rs"]
mod extra_member;
#[path = "flipped-bit/attack.rs"]
mod flipped_bit;
#[path = "flipped-bit-anywhere/attack.rs"]
mod flipped_bit_anywhere;
#[path = "links/attack.rs"]
mod links;
#[path = "missing-member/attack.rs"]
mod missing_member;
#[path = "not-a-bundle/attack.rs"]
mod not_a_bundle;
#[path = "oversized-members/attack.rs"]
mod oversized_members;
#[path = "path-traversal/attack.rs"]
mod path_traversal;
#[path = "replaced-blob/attack.rs"]
mod replaced_blob;
#[path = "sparse-members/attack.rs"]
mod sparse_members;
#[path = "swapped-members/attack.rs"]
mod swapped_members;
#[path = "terminal-escapes/attack.rs"]
mod terminal_escapes;
#[path = "truncation/attack.rs"]
mod truncation;

#[test]
fn every_attack_has_a_folder_a_page_and_a_test() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attacks");
    let attacks = folders::read(here.as_ref(), include_str!("main.rs"));
    assert!(attacks.len() >= 19, "{}", attacks.len());
}
