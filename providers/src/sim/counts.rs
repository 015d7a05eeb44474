//! How many tokens a prompt has, as Anthropic and Google tell it beforehand.

use axum::http::StatusCode;
use axum::response::Response;
use tollgate_core::contract::Dialect;
use tollgate_core::contract::read::Wrong;
use tollgate_core::contract::skim::Skim;
use tollgate_core::dialects::anthropic::{Anthropic, count};
use tollgate_core::dialects::{Codec, Given, gemini};

use super::answer::tokens_of;
use super::question::Question;
use super::{Asked, text};

pub fn answer(asked: &Asked, skim: &Skim, given: &Given<'_>) -> Result<Response, Wrong> {
    let google = asked.dialect == Dialect::GeminiCountTokens;
    let request = match google {
        true => gemini::count_tokens::read_request(&asked.bytes, skim, given)?,
        false => Anthropic.read_request(&asked.bytes, skim, given)?,
    };
    let tokens = tokens_of(Question::of(&request).prompt_bytes);
    let body = match google {
        true => gemini::count_tokens::write_answer(tokens),
        false => count::write_count_answer(tokens),
    };
    Ok(text(StatusCode::OK, "application/json", String::from_utf8_lossy(&body).into_owned()))
}
