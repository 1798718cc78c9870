#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qiji_fuzz::run("policy", data));
