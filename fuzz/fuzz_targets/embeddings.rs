//! The dialects of embeddings, and the words of calls that are no conversations.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_fuzz::dialect::check_embeddings(data));
