//! One JSON array that comes piecemeal, cut and read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_fuzz::framing::check(
    tollgate_core::dialects::frames::Framing::JsonArray,
    data
));
