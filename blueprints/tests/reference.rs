//! `docs/language.md` is what the parser's table prints.

#[test]
fn the_reference_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/language.md");
    let printed = qiji_blueprint::reference::reference();
    if std::env::var_os("QIJI_BLESS").is_some() {
        fs_err::write(path, &printed).unwrap();
    }
    let written = fs_err::read_to_string(path).unwrap_or_default();
    assert!(
        written == printed,
        "docs/language.md differs from the parser's table; run `QIJI_BLESS=1 cargo test -p qiji-blueprint --test reference`"
    );
}
