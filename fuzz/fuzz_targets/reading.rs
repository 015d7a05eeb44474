//! JSON, read a level at a time.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_fuzz::json::check_reading(data));
