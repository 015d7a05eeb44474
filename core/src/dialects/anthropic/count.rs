//! How many tokens a conversation has: the provider's own count, and its answer.

use serde::Deserialize;

use super::write_request;
use crate::contract::canonical::Request;
use crate::contract::read::{Reading, Wrong};
use crate::contract::write::Writer;
use crate::dialects::{To, Written};

/// A request to count. Callers' are read like those to be answered: `max_tokens` is missing in them.
pub fn write_count_request(request: &Request<'_>, to: &To<'_>) -> Written {
    write_request::write_count(request, to)
}

/// `{"input_tokens": n}`
pub fn read_count_answer(body: &[u8]) -> Result<u64, Wrong> {
    #[derive(Deserialize)]
    struct Counted {
        input_tokens: u64,
    }
    match serde_json::from_slice::<Counted>(body) {
        Ok(counted) => Ok(counted.input_tokens),
        Err(why) => Reading::default().within("input_tokens", |r| Err(r.wrong(format!("is not told: {why}")))),
    }
}

pub fn write_count_answer(tokens: u64) -> Vec<u8> {
    Writer::object_text(|w| w.member("input_tokens", &tokens))
}
