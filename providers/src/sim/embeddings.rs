//! Vectors from a digest of the text: the same for the same text, of length one.

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tollgate_core::contract::Dialect;
use tollgate_core::contract::canonical::embed::{EmbedAnswer, Input, Vector};
use tollgate_core::contract::read::Wrong;
use tollgate_core::contract::skim::Skim;
use tollgate_core::contract::usage::Usage;
use tollgate_core::dialects::{Given, gemini};

use super::answer::tokens_of;
use super::errors::wrong;
use super::script::Told;
use super::{Asked, text};

/// Dimensions where nobody says how many.
const DIMENSIONS: u64 = 64;
const DIMENSIONS_MAX: u64 = 4_096;

pub fn openai(asked: &Asked) -> Response {
    let body = &asked.body;
    let inputs: Vec<String> = match &body["input"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) if many.first().is_some_and(Value::is_number) => vec![body["input"].to_string()],
        Value::Array(many) if !many.is_empty() => {
            many.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect()
        }
        _ => return refuse(asked, "'input' must be a text or a list that is not empty"),
    };
    let dimensions = dimensions(body["dimensions"].as_u64());
    let packed = body["encoding_format"] == "base64";
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(input, dimensions);
            let embedding = match packed {
                true => base64(&vector).into(),
                false => json!(vector),
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let mut answer = json!({ "object": "list", "data": data, "model": asked.model });
    if let Some(n) = told_tokens(asked, &inputs) {
        answer["usage"] = json!({ "prompt_tokens": n, "total_tokens": n });
    }
    text(StatusCode::OK, "application/json", answer.to_string())
}

/// Cohere's, version 2: texts, or inputs of text parts; a list of vectors for each type that is asked for.
pub fn cohere(asked: &Asked) -> Response {
    let body = &asked.body;
    let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
    let of_input = |input: &Value| {
        let parts = input["content"].as_array().cloned().unwrap_or_default();
        parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
    };
    let texts = list("texts").into_iter().map(|text| text.as_str().unwrap_or_default().to_owned());
    let inputs: Vec<String> = texts.chain(list("inputs").iter().map(of_input)).collect();
    if inputs.is_empty() {
        return refuse(asked, "invalid request: at least one of texts, images or inputs must be specified");
    }
    let dimensions = dimensions(body["output_dimension"].as_u64());
    let vectors: Vec<Vec<f32>> = inputs.iter().map(|input| vector(input, dimensions)).collect();
    let types = list("embedding_types");
    let types: Vec<&str> =
        if types.is_empty() { vec!["float"] } else { types.iter().filter_map(Value::as_str).collect() };
    let mut by_type = Map::new();
    for kind in types {
        let list: Vec<Value> = match kind {
            "float" => vectors.iter().map(|vector| json!(vector)).collect(),
            "base64" => vectors.iter().map(|vector| base64(vector).into()).collect(),
            "int8" => vectors.iter().map(|v| v.iter().map(|f| (f * 127.0).round() as i8).collect()).collect(),
            _ => return refuse(asked, "embedding_types: sim knows float, base64 and int8"),
        };
        by_type.insert(kind.to_owned(), list.into());
    }
    let mut answer = json!({
        "id": format!("00000000-0000-4000-8000-{:012}", asked.number), "embeddings": by_type, "texts": inputs,
        "response_type": "embeddings_by_type", "meta": { "api_version": { "version": "2" } },
    });
    if let Some(n) = told_tokens(asked, &inputs) {
        answer["meta"]["billed_units"] = json!({ "input_tokens": n });
    }
    text(StatusCode::OK, "application/json", answer.to_string())
}

/// Google's, one text or many.
pub fn gemini(asked: &Asked, skim: &Skim, given: &Given<'_>) -> Result<Response, Wrong> {
    let request = gemini::embed::read_request(&asked.bytes, skim, given)?;
    let dimensions = dimensions(request.dimensions);
    let inputs: Vec<String> = request
        .inputs
        .iter()
        .map(|input| match input {
            Input::Text(text) => text.to_string(),
            Input::Tokens(raw) => raw.get().to_owned(),
        })
        .collect();
    let answer = EmbedAnswer {
        vectors: inputs.iter().map(|input| Vector::Base64(base64(&vector(input, dimensions)).into())).collect(),
        usage: told_tokens(asked, &inputs).map(|input| Usage { input, ..Usage::default() }),
        ..EmbedAnswer::default()
    };
    let body = gemini::embed::write_answer(&answer, asked.dialect == Dialect::GeminiBatchEmbed);
    Ok(text(StatusCode::OK, "application/json", String::from_utf8_lossy(&body).into_owned()))
}

fn refuse(asked: &Asked, why: &str) -> Response {
    wrong(asked.dialect, StatusCode::BAD_REQUEST, "invalid_value", why)
}

fn dimensions(asked: Option<u64>) -> usize {
    asked.unwrap_or(DIMENSIONS).clamp(1, DIMENSIONS_MAX) as usize
}

/// What is told of the tokens; `None` = nothing.
fn told_tokens(asked: &Asked, inputs: &[String]) -> Option<u64> {
    let tokens: u64 = inputs.iter().map(|input| tokens_of(input.len())).sum();
    match asked.script.usage {
        Told::Truth => Some(tokens),
        Told::Wrong => Some(tokens + 100),
        Told::Zero => Some(0),
        Told::Absent | Told::Null => None,
    }
}

fn base64(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|f| f.to_le_bytes()).collect::<Vec<u8>>())
}

fn vector(input: &str, dimensions: usize) -> Vec<f32> {
    // SplitMix64, seeded by the text: even, quick, and the same everywhere.
    let mut state =
        input.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z >> 40) as f32 / (1u32 << 24) as f32) - 0.5
    };
    let raw: Vec<f32> = (0..dimensions).map(|_| next()).collect();
    let length = raw.iter().map(|f| f * f).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|f| f / length).collect()
}
