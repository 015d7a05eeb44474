//! Paths, models, seals, keys and the object `tollgate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_fuzz::names::check(data));
