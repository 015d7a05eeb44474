//! Amazon's event stream, cut, checked and read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_fuzz::framing::check_event_stream(data));
