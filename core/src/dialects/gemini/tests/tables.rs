//! What is easily got wrong in requests.

use serde_json::{Value, json};

use super::{Gemini, again, quirks, through, to, wrong};
use crate::contract::canonical::part::{Kind, Maker, Signature};
use crate::contract::canonical::{ToolChoice, element::Element};
use crate::contract::skim::skim;
use crate::dialects::openai_chat::OpenaiChat;
use crate::dialects::recorded::given;
use crate::dialects::{Codec, Quirks};

fn asking(member: Value) -> Value {
    let mut body = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
    body
}

#[test]
fn what_is_lost_is_named() {
    for (member, lost, why) in [
        (json!({"safetySettings": [{}]}), vec!["safetySettings"], "Google's own"),
        (json!({"cachedContent": "cachedContents/1"}), vec!["cachedContent"], "known to Google only"),
        (
            json!({"generation_config": {"media_resolution": "X"}}),
            vec!["generation_config.media_resolution"],
            "in the caller's spelling",
        ),
        (json!({"tools": [{"googleSearch": {}}]}), vec!["tools.native"], "a tool that Google runs"),
        (
            json!({"generationConfig": {"responseMimeType": "text/x.enum"}}),
            vec!["generationConfig.responseMimeType"],
            "a format of its own",
        ),
        (
            json!({"contents": [{"parts": [{"text": "a", "partMetadata": {}}]}]}),
            vec!["contents[0].parts[0].partMetadata"],
            "below a part",
        ),
        (
            json!({"safetySettings": null, "tools": [], "generationConfig": {"responseModalities": ["text"], "topP": null}}),
            vec![],
            "what says nothing",
        ),
        (json!({"labels": {"a": "b"}}), vec!["metadata"], "Vertex only"),
        (json!({"generationConfig": {"seed": 4_294_967_296u64}}), vec!["seed"], "more than 32 bits"),
    ] {
        assert_eq!(again(&asking(member)).1, lost, "{why}");
    }
}

#[test]
fn wrong_requests_are_told_by_their_place() {
    for (member, told) in [
        (json!({"contents": "x"}), "`contents` must be a list"),
        (json!({"contents": [{"role": "system", "parts": []}]}), "`contents[0].role` is `system`"),
        (json!({"contents": [{"parts": [{"text": 5}]}]}), "`contents[0].parts[0].text`"),
        (
            json!({"contents": [{"parts": [{"functionCall": {"name": "f", "args": "{}"}}]}]}),
            "functionCall.args` must be an object",
        ),
        (
            json!({"contents": [{"parts": [{"inline_data": {"mime_type": "image/png"}}]}]}),
            "`contents[0].parts[0].inline_data` has neither",
        ),
        (
            json!({"contents": [{"parts": [{"inlineData": {"data": ""}, "fileData": {"fileUri": "x"}}]}]}),
            "a part is one thing",
        ),
        (json!({"generationConfig": {"topK": -1}}), "`generationConfig.topK`"),
        (json!({"generationConfig": {"top_k": 1, "topK": 1}}), "twice, in two spellings"),
        (json!({"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}}), "functionCallingConfig.mode` is `MAYBE`"),
        (json!({"tools": [{"functionDeclarations": [{}]}]}), "has no `name`"),
        (json!({"generationConfig": {"responseSchema": {}, "responseJsonSchema": {}}}), "only one of the two"),
    ] {
        let wrong = wrong(&asking(member));
        assert!(wrong.contains(told), "{wrong}");
    }
}

#[test]
fn choices_of_tools_come_back() {
    let declared = json!([{"functionDeclarations": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}]);
    for (config, choice, written) in [
        (json!({"mode": "AUTO"}), Some(ToolChoice::Auto), json!({"mode": "AUTO"})),
        (json!({"mode": "NONE"}), Some(ToolChoice::None), json!({"mode": "NONE"})),
        (json!({"mode": "any"}), Some(ToolChoice::Required), json!({"mode": "ANY"})),
        (json!({"mode": 2}), Some(ToolChoice::Required), json!({"mode": "ANY"})),
        (
            json!({"mode": "ANY", "allowedFunctionNames": ["a"]}),
            Some(ToolChoice::Named("a".into())),
            json!({"mode": "ANY", "allowedFunctionNames": ["a"]}),
        ),
        (
            json!({"mode": "ANY", "allowed_function_names": ["a", "b"]}),
            Some(ToolChoice::Among { names: vec!["a".into(), "b".into()], required: true }),
            json!({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}),
        ),
        (json!({}), None, Value::Null),
        // The others are not declared then.
        (
            json!({"mode": "VALIDATED", "allowedFunctionNames": ["b"]}),
            Some(ToolChoice::Among { names: vec!["b".into()], required: false }),
            json!({"mode": "AUTO"}),
        ),
    ] {
        let body = asking(json!({"tools": declared, "toolConfig": {"functionCallingConfig": config}}));
        let text = body.to_string();
        let skim = skim(text.as_bytes()).unwrap();
        let request = Gemini.read_request(text.as_bytes(), &skim, &given("m")).unwrap();
        assert_eq!(request.tool_choice, choice, "{config}");
        let after = again(&body).0;
        assert_eq!(after["toolConfig"]["functionCallingConfig"], written, "{config}");
        let among = matches!(choice, Some(ToolChoice::Among { required: false, .. }));
        let names = if among { json!([{"name": "b"}]) } else { declared[0]["functionDeclarations"].clone() };
        assert_eq!(after["tools"][0]["functionDeclarations"], names, "{config}");
    }
}

#[test]
fn calls_and_results_find_each_other_without_ids() {
    let call = |name: &str, id: Option<&str>| json!({"functionCall": {"name": name, "id": id}});
    let result = |name: &str, id: Option<&str>| json!({"functionResponse": {"name": name, "id": id, "response": {}}});
    for (calls, results, order, why) in [
        (vec![call("a", None), call("b", None)], vec![result("b", None), result("a", None)], [1, 0], "by name"),
        (vec![call("a", None), call("a", None)], vec![result("a", None), result("a", None)], [0, 1], "by order"),
        (
            vec![call("a", Some("1")), call("a", Some("2"))],
            vec![result("a", Some("2")), result("a", Some("1"))],
            [1, 0],
            "by id",
        ),
        (
            vec![call("a", Some("1")), call("b", Some("2"))],
            vec![result("b", None), result("a", None)],
            [1, 0],
            "ids of calls only",
        ),
        (
            vec![call("a", None), call("b", None)],
            vec![result("b", Some("x")), result("a", Some("y"))],
            [1, 0],
            "ids of results only",
        ),
    ] {
        let body = json!({"contents": [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]});
        let after = again(&body).0;
        let id = |turn: usize, at: usize, kind: &str| {
            after["contents"][turn]["parts"][at][kind]["id"].as_str().unwrap().to_owned()
        };
        for (at, of) in order.into_iter().enumerate() {
            assert_eq!(id(1, at, "functionResponse"), id(0, of, "functionCall"), "{why}");
        }
        assert_ne!(id(0, 0, "functionCall"), id(0, 1, "functionCall"), "{why}");
    }
}

/// What a caller of this dialect keeps of a stream of another provider comes back to that provider as it was.
#[test]
fn foreign_seals_come_back_on_their_parts() {
    let sealed = |data: &str| {
        let signature = Signature { by: Maker::Anthropic, data: data.into() };
        super::super::seal::signed(&signature).unwrap().into_owned()
    };
    let encrypted = super::super::seal::encrypted(Maker::Openai, Some("rs_1"), "gAAA").unwrap();
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"text": "Let me ", "thought": true}]},
        {"role": "model", "parts": [{"text": "see.", "thought": true}]},
        {"role": "model", "parts": [{"text": "", "thought": true, "thoughtSignature": sealed("Eq+/=")}]},
        {"role": "model", "parts": [{"text": "", "thought": true, "thought_signature": encrypted}]},
        {"role": "model", "parts": [{"text": "I look "}]},
        {"role": "model", "parts": [{"text": "it up."}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "AbC="}]},
    ]});
    let text = body.to_string();
    let skim = skim(text.as_bytes()).unwrap();
    let request = Gemini.read_request(text.as_bytes(), &skim, &given("m")).unwrap();
    let parts = &request.messages[1].parts;
    assert_eq!((request.messages.len(), parts.len()), (2, 4));
    let Kind::Reasoning(thought) = &parts[0].kind else { panic!("{parts:?}") };
    assert_eq!(thought.text, "Let me see.");
    assert_eq!(parts[0].signature, Some(Signature { by: Maker::Anthropic, data: "Eq+/=".into() }));
    let Kind::Reasoning(thought) = &parts[1].kind else { panic!("{parts:?}") };
    assert_eq!((thought.encrypted.as_deref(), thought.id.as_deref()), (Some("gAAA"), Some("rs_1")));
    assert_eq!(parts[1].signature.as_ref().map(|s| s.by), Some(Maker::Openai));
    assert_eq!(parts[2].as_text(), Some("I look it up."));
    assert_eq!(parts[3].signature, Some(Signature { by: Maker::Google, data: "AbC=".into() }));

    // For Google itself they are left out, and told.
    let (written, lost) = again(&body);
    assert_eq!(lost, ["messages.reasoning_encrypted", "messages.reasoning_signature"]);
    let parts = written["contents"][1]["parts"].as_array().unwrap();
    assert_eq!(parts[0], json!({"text": "Let me see.", "thought": true}));
    assert_eq!(parts[2]["thoughtSignature"], "AbC=");
}

#[test]
fn newer_models_are_given_a_seal_for_calls_of_others() {
    let body = json!({"model": "x", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": ""}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "[1]"}},
        ]},
        {"role": "tool", "tool_call_id": "2", "content": "two"},
        {"role": "tool", "tool_call_id": "1", "content": "{\"one\": 1}"},
        {"role": "user", "content": "so?"},
    ]});
    for (model, seal) in
        [("gemini-2.5-pro", false), ("gemini-3.1-pro", true), ("models/gemini-3-flash", true), ("gemma-3", false)]
    {
        let (written, lost) = through(&OpenaiChat, &Gemini, &body, model, &quirks());
        assert_eq!(lost, ["messages.tool_calls"], "the arguments of the second are no object");
        let calls = &written["contents"][1]["parts"];
        assert_eq!(calls[0]["thoughtSignature"].is_string(), seal, "{model}");
        assert_eq!(calls[1].get("thoughtSignature"), None, "only the first of a turn needs it");
        assert_eq!(calls[0]["functionCall"], json!({"id": "1", "name": "f", "args": {}}));
        let results = json!([
            {"functionResponse": {"id": "2", "name": "g", "response": {"output": "two"}}},
            {"functionResponse": {"id": "1", "name": "f", "response": {"one": 1}}},
            {"text": "so?"},
        ]);
        assert_eq!(written["contents"][2]["parts"], results, "all that is the user's is one turn");
    }
}

#[test]
fn what_tools_give_stands_beside_or_inside_their_result() {
    let body = json!({"contents": [
        {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "see"}, "parts": [
            {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}}]},
    ]});
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}});
    let beside = again(&body).0;
    assert_eq!(beside["contents"][1]["parts"][1], picture);
    let has = Quirks { has: &[Element::ToolResultMedia], ..quirks() };
    let inside = through(&Gemini, &Gemini, &body, "gemini-3-flash", &has).0;
    assert_eq!(inside["contents"][1]["parts"][0]["functionResponse"]["parts"][0], picture);
    assert_eq!(inside["contents"][1]["parts"].as_array().unwrap().len(), 1);
}

#[test]
fn the_most_that_a_model_answers_bounds_what_is_asked_for() {
    let text = r#"{"contents":[],"generationConfig":{"maxOutputTokens":100000}}"#;
    let skim = skim(text.as_bytes()).unwrap();
    let request = Gemini.read_request(text.as_bytes(), &skim, &given("m")).unwrap();
    let quirks = quirks();
    let to = crate::dialects::To { output_tokens_max: Some(65_536), ..to("m", &quirks) };
    let written: Value = serde_json::from_slice(&Gemini.write_request(&request, &to).body).unwrap();
    assert_eq!(written["generationConfig"]["maxOutputTokens"], 65_536);
}
