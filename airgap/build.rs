//! The recipes under `sources/` are embedded; this makes cargo build again when a file there comes or goes.

fn main() {
    println!("cargo::rerun-if-changed=sources");
}
