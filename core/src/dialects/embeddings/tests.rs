//! Requests and answers between all dialects of embeddings, as tables.

use serde_json::{Value, json};

use super::*;
use crate::contract::canonical::embed::Input;
use crate::contract::skim::skim;
use crate::dialects::Quirks;

const GIVEN: Given<'_> = Given {
    call_id: "c1",
    now_s: 0,
    model: "asked",
    stream: false,
    include_usage: true,
    as_array: false,
    own_tools: &[],
    asked: &[],
};

fn codec(dialect: Dialect) -> &'static dyn EmbedCodec {
    embed_codec(dialect).unwrap()
}

/// What a request of one dialect becomes in another, and what is lost on the way.
fn said(from: Dialect, body: &Value, to: Dialect) -> (Value, Vec<String>) {
    let text = body.to_string();
    let skimmed = skim(text.as_bytes()).unwrap();
    let request = codec(from).read_request(text.as_bytes(), &skimmed, &GIVEN).unwrap();
    let quirks = Quirks::default();
    let written = codec(to).write_request(&request, &To { model: "m", output_tokens_max: None, quirks: &quirks });
    let lost = written.lost.iter().map(|l| format!("{}{}", l.what, if l.hint { "?" } else { "" }));
    let extra = request.extra.iter().map(|(path, _)| path.clone());
    (serde_json::from_slice(&written.body).unwrap(), lost.chain(extra).collect())
}

#[test]
fn requests_say_the_same_in_every_dialect() {
    use Dialect::{CohereEmbed, GeminiBatchEmbed, GeminiEmbed, OpenaiEmbeddings};
    let openai =
        json!({ "model": "x", "input": ["a", "b"], "dimensions": 8, "encoding_format": "base64", "user": "u" });
    let batch = json!({ "requests": [
        { "model": "models/x", "content": { "parts": [{ "text": "a" }] }, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8 },
    ] });
    let cohere = json!({ "model": "x", "texts": ["a"], "input_type": "search_query", "output_dimension": 8,
        "embedding_types": ["float"], "truncate": "NONE" });
    for (from, body, to, expected, lost, why) in [
        (
            OpenaiEmbeddings,
            &openai,
            GeminiBatchEmbed,
            json!({ "requests": [
                { "model": "models/m", "content": { "parts": [{ "text": "a" }] }, "outputDimensionality": 8 },
                { "model": "models/m", "content": { "parts": [{ "text": "b" }] }, "outputDimensionality": 8 },
            ] }),
            &["user?"][..],
            "each text is a request of its own",
        ),
        (
            OpenaiEmbeddings,
            &openai,
            CohereEmbed,
            json!({ "model": "m", "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"], "output_dimension": 8 }),
            &["user?"],
            "Cohere asks what texts are for",
        ),
        (
            OpenaiEmbeddings,
            &json!({ "input": [[1, 2], "a"] }),
            CohereEmbed,
            json!({ "model": "m", "texts": ["a"], "input_type": "search_document", "embedding_types": ["float"] }),
            &["input"],
            "tokens are known to their own model only",
        ),
        (
            GeminiBatchEmbed,
            &batch,
            OpenaiEmbeddings,
            json!({ "model": "m", "input": ["a"], "dimensions": 8 }),
            &["input_type?"],
            "Gemini to OpenAI",
        ),
        (
            GeminiBatchEmbed,
            &batch,
            CohereEmbed,
            json!({ "model": "m", "texts": ["a"], "input_type": "search_query", "embedding_types": ["float"], "output_dimension": 8 }),
            &[],
            "Gemini to Cohere",
        ),
        (
            CohereEmbed,
            &cohere,
            OpenaiEmbeddings,
            json!({ "model": "m", "input": ["a"], "dimensions": 8 }),
            &["input_type?", "truncate"],
            "Cohere to OpenAI",
        ),
        (
            OpenaiEmbeddings,
            &json!({ "input": ["a", "b"] }),
            GeminiEmbed,
            json!({ "model": "models/m", "content": { "parts": [{ "text": "a" }] } }),
            &["input"],
            "the one that takes one text says so",
        ),
    ] {
        assert_eq!(said(from, body, to), (expected, lost.iter().map(|l| (*l).to_owned()).collect()), "{why}");
    }
}

#[test]
fn inputs_are_texts_or_tokens() {
    for (input, expected) in [
        (json!("a"), "t"),
        (json!(["a", "b"]), "tt"),
        (json!([1, 2]), "n"),
        (json!([[1], [2, 3]]), "nn"),
        (json!([]), ""),
    ] {
        let text = json!({ "input": input }).to_string();
        let skimmed = skim(text.as_bytes()).unwrap();
        let request = codec(Dialect::OpenaiEmbeddings).read_request(text.as_bytes(), &skimmed, &GIVEN).unwrap();
        let kinds: String =
            request.inputs.iter().map(|i| if matches!(i, Input::Text(_)) { 't' } else { 'n' }).collect();
        assert_eq!(kinds, expected, "{input}");
    }
    for wrong in [json!(5), json!([{}]), json!(["a", 1])] {
        let text = json!({ "input": wrong }).to_string();
        let skimmed = skim(text.as_bytes()).unwrap();
        assert!(codec(Dialect::OpenaiEmbeddings).read_request(text.as_bytes(), &skimmed, &GIVEN).is_err(), "{wrong}");
    }
}

/// Each dialect's own answer, with the same two vectors.
const ANSWERS: [(Dialect, &str); 3] = [
    (
        Dialect::OpenaiEmbeddings,
        r#"{"object":"list","data":[{"object":"embedding","index":1,"embedding":[3]},{"object":"embedding","index":0,"embedding":[0.5,-1.25]}],"model":"p","usage":{"prompt_tokens":7,"total_tokens":7}}"#,
    ),
    (
        Dialect::GeminiBatchEmbed,
        r#"{"embeddings":[{"values":[0.5,-1.25]},{"values":[3]}],"usageMetadata":{"promptTokenCount":7}}"#,
    ),
    (
        Dialect::CohereEmbed,
        r#"{"id":"i","texts":["a","b"],"embeddings":{"float":[[0.5,-1.25],[3]]},"meta":{"billed_units":{"input_tokens":7,"image_tokens":0}},"response_type":"embeddings_by_type"}"#,
    ),
];

#[test]
fn answers_keep_their_numbers_order_and_usage_between_all_dialects() {
    for (from, body) in ANSWERS {
        let answer = codec(from).read_answer(body.as_bytes()).unwrap();
        assert_eq!(codec(from).usage(body.as_bytes()).unwrap().total(), 7, "{}", from.name());
        for (to, expected) in ANSWERS {
            for encoding in [Encoding::Float, Encoding::Base64] {
                let written = codec(to).write_answer(&answer, &Wanted { encoding, vectors: 2 }, &GIVEN);
                let again = codec(to).read_answer(&written).unwrap();
                let numbers = |v: &[crate::contract::canonical::embed::Vector<'_>]| -> Vec<Vec<f32>> {
                    v.iter().map(|v| serde_json::from_str(&v.numbers().unwrap()).unwrap()).collect()
                };
                assert_eq!(numbers(&again.vectors), [vec![0.5, -1.25], vec![3.0]], "{} to {}", from.name(), to.name());
                assert_eq!(again.usage.unwrap().total(), 7, "{} to {}", from.name(), to.name());
            }
            let written = codec(to).write_answer(&answer, &Wanted { encoding: Encoding::Float, vectors: 2 }, &GIVEN);
            let members = |text: &[u8]| -> Vec<String> {
                serde_json::from_slice::<serde_json::Map<String, Value>>(text).unwrap().keys().cloned().collect()
            };
            let mut expected = members(expected.as_bytes());
            // An echo of what the caller knows.
            expected.retain(|name| name != "texts");
            assert_eq!(members(&written), expected, "{} to {}", from.name(), to.name());
        }
    }
}

#[test]
fn base64_is_what_the_official_sdks_get_when_they_ask() {
    let answer = codec(Dialect::CohereEmbed).read_answer(ANSWERS[2].1.as_bytes()).unwrap();
    let wanted = Wanted { encoding: Encoding::Base64, vectors: 2 };
    let written: Value =
        serde_json::from_slice(&codec(Dialect::OpenaiEmbeddings).write_answer(&answer, &wanted, &GIVEN)).unwrap();
    assert_eq!(written["data"][0]["embedding"], "AAAAPwAAoL8=");
    assert_eq!(written["model"], "asked", "the provider named none");
}
