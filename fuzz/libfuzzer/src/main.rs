//! libFuzzer over one of the targets, which `QIJI_FUZZ_TARGET` names. One program for all of them, as each would be linked for a minute.

#![no_main]

use std::sync::LazyLock;

use qiji_fuzz::Target;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("QIJI_FUZZ_TARGET").unwrap_or_default();
    qiji_fuzz::target(&name).unwrap_or_else(|| panic!("QIJI_FUZZ_TARGET names no target: `{name}`"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
