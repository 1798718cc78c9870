//! `docs/language.md` and `docs/lock-format.md` are what the parsers' tables print.

use qiji_blueprint::reference;

fn is_printed(page: &str, printed: &str) {
    let path = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("QIJI_BLESS").is_some() {
        fs_err::write(&path, printed).expect("the page can be written");
    }
    let written = fs_err::read_to_string(&path).unwrap_or_default();
    assert!(
        written == printed,
        "docs/{page} differs from the parser's table; run `QIJI_BLESS=1 cargo test -p qiji-blueprint --test reference`"
    );
}

#[test]
fn the_reference_is_up_to_date() {
    is_printed("language.md", &reference::reference());
}

#[test]
fn the_lock_s_reference_is_up_to_date() {
    is_printed("lock-format.md", &reference::lock());
}
