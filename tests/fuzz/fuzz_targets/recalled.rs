//! The entry `recalled` of src/foreign.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scopewatch::foreign::run("recalled", bytes));
