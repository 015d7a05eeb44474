//! Tables of what is easily got wrong, pairs of bodies, and properties. Recorded traffic is replayed next door.

use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Bedrock;
use super::replayed::{round, to};
use crate::contract::canonical::answer::Finish;
use crate::contract::refusal::Category;
use crate::contract::skim::skim;
use crate::dialects::frames::Frame;
use crate::dialects::openai_chat::OpenaiChat;
use crate::dialects::recorded::given;
use crate::dialects::{Codec, Notes};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

/// Each file: a request of some dialect, what is written of it for a model here, and what is lost.
#[test]
fn golden() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dialects/bedrock/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6);
    let mut wrong = Vec::new();
    for file in files {
        let pair: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let codec: &dyn Codec = if pair["from"] == "openai.chat" { &OpenaiChat } else { &Bedrock };
        let (text, model) = (pair["request"].to_string(), pair["model"].as_str().unwrap());
        let skim = skim(text.as_bytes()).unwrap();
        let request = codec.read_request(text.as_bytes(), &skim, &given(model)).unwrap();
        let written = Bedrock.write_request(&request, &to(model));
        let lost = request.losses(|e| Bedrock.carries(e)).into_iter().chain(written.lost);
        let lost: Vec<String> =
            lost.map(|l| format!("{}{}", l.what, l.why.map(|why| format!(": {why}")).unwrap_or_default())).collect();
        let told = json!({
            "written": serde_json::from_slice::<Value>(&written.body).unwrap(),
            "lost": lost,
        });
        let expected = json!({ "written": pair["written"], "lost": pair["lost"] });
        if told != expected {
            wrong.push(format!("{}: {told:#}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (body, told) in [
        (json!({"messages": {}}), "`messages` must be a list"),
        (json!({"messages": [{"content": []}]}), "`messages[0].role` is missing"),
        (json!({"messages": [{"role": "tool", "content": []}]}), "`messages[0].role` is `tool`: known are"),
        (json!({"messages": [{"role": "user"}]}), "`messages[0].content` is missing"),
        (json!({"messages": [{"role": "user", "content": "hi"}]}), "`messages[0].content` must be a list"),
        (
            json!({"messages": [{"role": "user", "content": [{"text": 1}]}]}),
            "`messages[0].content[0].text` must be a text",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]}),
            "`messages[0].content[0]` has the members `image` and `text`",
        ),
        (json!({"messages": [{"role": "user", "content": [{}]}]}), "`messages[0].content[0]` has no member"),
        (
            json!({"messages": [{"role": "user", "content": [{"image": {"source": {}}}]}]}),
            "`messages[0].content[0].image.source` has none of",
        ),
        (json!({"inferenceConfig": {"maxTokens": "5"}}), "`inferenceConfig.maxTokens` must be a whole number"),
        (json!({"toolConfig": {"toolChoice": {"some": {}}}}), "`toolConfig.toolChoice` is `some`"),
        (
            json!({"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "{"}}}}}),
            "`outputConfig.textFormat.structure.jsonSchema` has a `schema` that is no JSON",
        ),
        (
            json!({"additionalModelRequestFields": {"thinking": {"budget_tokens": -1}}}),
            "`additionalModelRequestFields.thinking.budget_tokens` must be",
        ),
    ] {
        let why = round(&body, CLAUDE).unwrap_err();
        assert!(why.starts_with(told), "{body}: {why}");
    }
}

#[test]
fn what_has_no_place_is_told_by_its_path() {
    let body = json!({
        "messages": [{"role": "user", "content": [{"text": "a"}], "x": 1}],
        "inferenceConfig": {"seed": 3, "topP": null},
        "toolConfig": {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {}}, "y": 1}}]},
        "additionalModelRequestFields": {"anthropic_beta": ["b"], "thinking": {"type": "adaptive", "z": 1}},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "performanceConfig": {"latency": "optimized"},
        "promptVariables": {"v": {"text": "w"}},
        "guardrailConfig": null,
    });
    let (_, lost) = round(&body, CLAUDE).unwrap();
    assert_eq!(
        lost,
        [
            "additionalModelRequestFields.anthropic_beta",
            "additionalModelRequestFields.thinking.z",
            "additionalModelResponseFieldPaths",
            "inferenceConfig.seed",
            "messages[0].x",
            "performanceConfig",
            "promptVariables",
            "toolConfig.tools[0].toolSpec.y",
        ]
    );
}

#[test]
fn numbers_and_schemas_keep_their_text() {
    let schema = r#"{"type":"object","properties":{"b":{"minimum":0.10},"a":{}}}"#;
    let text = format!(
        r#"{{"messages":[{{"role":"assistant","content":[{{"toolUse":{{"toolUseId":"a","name":"f","input":{{"z":1.50,"a":1e3}}}}}}]}}],"inferenceConfig":{{"temperature":0.30}},"toolConfig":{{"tools":[{{"toolSpec":{{"name":"f","inputSchema":{{"json":{schema}}}}}}}]}}}}"#
    );
    let skim = skim(text.as_bytes()).unwrap();
    let request = Bedrock.read_request(text.as_bytes(), &skim, &given(CLAUDE)).unwrap();
    let written = String::from_utf8(Bedrock.write_request(&request, &to(CLAUDE)).body).unwrap();
    for kept in [schema, r#"{"z":1.50,"a":1e3}"#, r#""temperature":0.30"#] {
        assert!(written.contains(kept), "{kept} in {written}");
    }
}

#[test]
fn errors_are_told_apart() {
    for (status, kind, body, category, retryable, why) in [
        (
            429,
            Some("ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"),
            r#"{"message":"Too many requests"}"#,
            Category::RateLimited,
            true,
            "the kind is cut at the colon",
        ),
        (
            429,
            Some("ThrottlingException"),
            r#"{"message":"Too many tokens per day, please wait"}"#,
            Category::RateLimited,
            false,
            "a day is too long to wait for",
        ),
        (
            400,
            Some("ValidationException"),
            r#"{"message":"Input is too long for requested model."}"#,
            Category::ContextLength,
            false,
            "too long",
        ),
        (
            400,
            Some("ValidationException"),
            r#"{"message":"This request has been blocked by our content filters."}"#,
            Category::ContentFiltered,
            false,
            "filtered",
        ),
        (
            400,
            None,
            r#"{"message":"The provided model identifier is invalid."}"#,
            Category::NoRoute,
            false,
            "no such model, and no kind",
        ),
        (
            400,
            None,
            r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"no"}"#,
            Category::InvalidRequest,
            false,
            "the kind in the body",
        ),
        (
            403,
            None,
            r#"{"Message":"User: x is not authorized to perform: bedrock:InvokeModel"}"#,
            Category::Permission,
            false,
            "a capital letter",
        ),
        (
            403,
            Some("UnrecognizedClientException"),
            r#"{"message":"The security token included in the request is invalid."}"#,
            Category::Auth,
            false,
            "whose key it is, nobody knows",
        ),
        (
            403,
            None,
            r#"{"message":"The security token included in the request is expired"}"#,
            Category::Auth,
            false,
            "the same without a kind",
        ),
        (404, Some("ResourceNotFoundException"), r#"{"message":"x"}"#, Category::NoRoute, false, "end of life"),
        (408, Some("ModelTimeoutException"), r#"{"message":"x"}"#, Category::Timeout, true, "the model's time"),
        (
            424,
            Some("ModelErrorException"),
            r#"{"message":"x","originalStatusCode":500}"#,
            Category::UpstreamOutage,
            true,
            "the model failed",
        ),
        (429, Some("ModelNotReadyException"), r#"{"message":"x"}"#, Category::Overloaded, true, "being loaded"),
        (400, Some("ServiceQuotaExceededException"), r#"{"message":"x"}"#, Category::BudgetExceeded, false, "a quota"),
        (500, Some("InternalServerException"), r#"{"message":"x"}"#, Category::UpstreamOutage, true, "theirs"),
        (503, Some("ServiceUnavailableException"), "", Category::Overloaded, true, "a kind without a body"),
        (500, None, r#"{"message":null,"__type":"InternalFailure"}"#, Category::UpstreamOutage, true, "no message"),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert("x-amzn-errortype", kind.parse().unwrap());
        }
        let said = Bedrock.read_error(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes()).expect(why);
        assert_eq!(said.category, category, "{why}");
        assert_eq!(said.retryable.unwrap_or(said.category.retryable()), retryable, "{why}");
        if let Some(kind) = kind {
            assert_eq!(said.code.as_deref(), kind.split(':').next(), "{why}");
        }
    }
    for page in ["<html>502</html>", "", "[]", "{}", "\u{fffd}"] {
        assert_eq!(Bedrock.read_error(StatusCode::BAD_GATEWAY, &HeaderMap::new(), page.as_bytes()), None, "{page}");
    }
}

#[test]
fn errors_that_nobody_recorded_are_understood() {
    let root = std::env::var_os("TOLLGATE_CORPUS").map_or_else(
        || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        std::path::PathBuf::from,
    );
    let Ok(lines) = std::fs::read_to_string(root.join("error-shapes.jsonl")) else {
        return eprintln!("SKIPPED: no error-shapes.jsonl in {} (TOLLGATE_CORPUS)", root.display());
    };
    let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut seen = 0;
    for row in rows.filter(|row| row["provider"] == "bedrock" && row["where"] == "http") {
        let mut headers = HeaderMap::new();
        for (name, value) in row["headers"].as_object().into_iter().flatten() {
            headers.insert(name.parse::<http::HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap());
        }
        let status = StatusCode::from_u16(row["status"].as_u64().unwrap() as u16).unwrap();
        let said = Bedrock.read_error(status, &headers, row["body"].to_string().as_bytes()).unwrap();
        assert_eq!(said.retryable.unwrap_or(said.category.retryable()), row["retry"] == true, "{row}");
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn finish_reasons_are_the_dialects_own() {
    for (reason, told) in [
        (Finish::Stop, "end_turn"),
        (Finish::StopSequence, "stop_sequence"),
        (Finish::Length, "max_tokens"),
        (Finish::ToolCalls, "tool_use"),
        (Finish::ContentFilter, "content_filtered"),
        (Finish::Refusal, "content_filtered"),
        (Finish::ContextLength, "model_context_window_exceeded"),
        (Finish::Other("malformed_tool_use".into()), "malformed_tool_use"),
        (Finish::Other("novelty".into()), "end_turn"),
    ] {
        assert_eq!(super::finish_name(&reason), told);
    }
}

proptest! {
    #[test]
    fn bodies_never_panic(body in "(\\{|\\}|\\[|\\]|:|,|\"|messages|content|text|toolUse|output|1|null){0,24}", junk in prop::collection::vec(any::<u8>(), 0..40)) {
        for bytes in [body.as_bytes(), &junk] {
            let _ = Bedrock.read_answer(bytes, &given("m"));
            let _ = Bedrock.glance(bytes);
            let _ = Bedrock.read_error(StatusCode::BAD_REQUEST, &HeaderMap::new(), bytes);
            Bedrock.note(&Frame::named("metadata", bytes), &mut Notes::default());
        }
        let _ = round(&json!({ "messages": body }), "m");
    }
}
