//! The dialect `openai_chat`: requests, answers, errors and streams, read and written in every dialect.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_fuzz::dialect::check(
    tollgate_core::contract::Dialect::OpenaiChat,
    data
));
