//! The control: a reader with a defect, which must be found.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scopewatch::foreign::planted(bytes));
