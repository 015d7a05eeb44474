//! Vectors from a digest of the text: the same for the same text, of length one.

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::script::Told;
use super::{Asked, error, text};

/// Dimensions where nobody says how many.
const DIMENSIONS: u64 = 64;

pub fn answer(asked: &Asked) -> Response {
    let body = &asked.body;
    let inputs: Vec<String> = match &body["input"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) if many.first().is_some_and(Value::is_number) => vec![body["input"].to_string()],
        Value::Array(many) if !many.is_empty() => {
            many.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect()
        }
        _ => {
            return error(
                StatusCode::BAD_REQUEST,
                "invalid_value",
                "'input' must be a text or a list that is not empty",
            );
        }
    };
    let dimensions = body["dimensions"].as_u64().unwrap_or(DIMENSIONS).clamp(1, 4_096) as usize;
    let packed = body["encoding_format"] == "base64";
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(input, dimensions);
            let embedding = match packed {
                true => STANDARD.encode(vector.iter().flat_map(|f| f.to_le_bytes()).collect::<Vec<u8>>()).into(),
                false => json!(vector),
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let tokens: u64 = inputs.iter().map(|i| (i.len() as u64).div_ceil(4).max(1)).sum();
    let mut answer = json!({ "object": "list", "data": data, "model": asked.model });
    let count = match asked.script.usage {
        Told::Truth => Some(tokens),
        Told::Wrong => Some(tokens + 100),
        Told::Zero => Some(0),
        Told::Absent | Told::Null => None,
    };
    if let Some(n) = count {
        answer["usage"] = json!({ "prompt_tokens": n, "total_tokens": n });
    }
    text(StatusCode::OK, "application/json", answer.to_string())
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
