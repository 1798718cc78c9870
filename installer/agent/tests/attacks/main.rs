//! Attacks inside layers, which the agent unpacks on hosts as root. Each has a folder named for it, with a page that says what is done and what
//! must happen, and its tests.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

#[path = "../../../../bundles/tests/attacks/folders.rs"]
#[allow(dead_code, reason = "what the pages say is for the book")]
mod folders;
#[path = "../../../../bundles/tests/attacks/tree.rs"]
mod tree;
mod victim;

#[path = "decompression-bomb/attack.rs"]
mod decompression_bomb;
#[path = "device-nodes/attack.rs"]
mod device_nodes;
#[path = "links/attack.rs"]
mod links;
#[path = "long-names/attack.rs"]
mod long_names;
#[path = "many-entries/attack.rs"]
mod many_entries;
#[path = "path-traversal/attack.rs"]
mod path_traversal;
#[path = "sparse-files/attack.rs"]
mod sparse_files;
#[path = "swapped-layer/attack.rs"]
mod swapped_layer;
#[path = "whiteouts/attack.rs"]
mod whiteouts;

#[test]
fn every_attack_has_a_folder_a_page_and_a_test() {
    assert!(folders::layers().len() >= 9);
}
