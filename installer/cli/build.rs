//! Puts the list of its crates into the program.

fn main() {
    qiji_crates::embed();
}
