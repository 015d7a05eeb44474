//! Bodies, skimmed and changed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_fuzz::json::check_skim_and_splice(data));
