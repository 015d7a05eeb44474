//! Paths of all dialects, as tables.

use super::*;

#[test]
fn a_path_says_dialect_model_and_stream() {
    for (path, dialect, model, stream, why) in [
        ("/v1/chat/completions", Some(Dialect::OpenaiChat), None, None, "OpenAI"),
        ("/openai/v1/responses", Some(Dialect::OpenaiResponses), None, None, "Azure's newer path"),
        ("/openai/deployments/d-1/chat/completions", Some(Dialect::OpenaiChat), Some("d-1"), None, "Azure's older"),
        ("/v1/messages", Some(Dialect::AnthropicMessages), None, None, "Anthropic"),
        ("/v1beta/models/g:generateContent", Some(Dialect::Gemini), Some("g"), Some(false), "Gemini"),
        ("/v1/models/sim/sim-1:streamGenerateContent", Some(Dialect::Gemini), Some("sim/sim-1"), Some(true), "pinned"),
        (
            "/v1/projects/p/locations/l/publishers/google/models/g:countTokens",
            Some(Dialect::GeminiCountTokens),
            Some("g"),
            None,
            "Vertex",
        ),
        (
            "/v1beta1/publishers/google/models/g:generateContent",
            Some(Dialect::Gemini),
            Some("g"),
            Some(false),
            "Vertex with a key",
        ),
        (
            "/model/eu.anthropic.claude%3A0/converse-stream",
            Some(Dialect::BedrockConverse),
            Some("eu.anthropic.claude:0"),
            Some(true),
            "Bedrock",
        ),
        ("/model/a%2/converse", None, None, None, "a broken escape"),
        (
            "/model/us.anthropic.claude/invoke-with-response-stream",
            Some(Dialect::BedrockInvoke),
            Some("us.anthropic.claude"),
            Some(true),
            "a vendor's own form",
        ),
        (
            "/model/amazon.titan-embed-text-v2%3A0/invoke",
            Some(Dialect::BedrockInvokeEmbed),
            Some("amazon.titan-embed-text-v2:0"),
            Some(false),
            "vectors",
        ),
        ("/model/a/count-tokens", Some(Dialect::BedrockCountTokens), Some("a"), None, "Bedrock counts"),
        (
            "/v1/projects/p/locations/l/publishers/google/models/e:predict",
            Some(Dialect::VertexPredict),
            Some("e"),
            None,
            "Vertex's prediction service",
        ),
        ("/v1/chat", Some(Dialect::CohereV1Chat), None, None, "Cohere's first version"),
        ("/api/generate", Some(Dialect::OllamaGenerate), None, None, "a text that goes on"),
        ("/v1/models/g", None, None, None, "no call"),
        ("/v1beta/models/:generateContent", None, None, None, "no model"),
        ("/api/chat", Some(Dialect::OllamaChat), None, None, "Ollama"),
    ] {
        let found = address(path);
        assert_eq!(found.as_ref().map(|a| a.dialect), dialect, "{why}");
        assert_eq!(found.as_ref().and_then(|a| a.model.as_deref()), model, "{why}");
        assert_eq!(found.and_then(|a| a.stream), stream, "{why}");
    }
    assert_eq!(encoded("a:b/c", b"/"), "a%3Ab/c");
}

#[test]
fn what_providers_hold_has_its_methods_and_its_ids() {
    for (method, path, expected, why) in [
        (Method::POST, "/v1/files", Some("/files"), "an upload"),
        (Method::GET, "/openai/v1/files", Some("/files"), "a list, where clients of Azure look"),
        (Method::GET, "/openai/files/file-1", Some("/files/file-1"), "and where older ones do"),
        (Method::DELETE, "/v1/files/file-1", Some("/files/file-1"), "taken away"),
        (Method::GET, "/v1/files/file-1/content", Some("/files/file-1/content"), "its content"),
        (Method::POST, "/v1/batches/batch_1/cancel", Some("/batches/batch_1/cancel"), "ended"),
        (Method::GET, "/v1/responses/resp_1/input_items", Some("/responses/resp_1/input_items"), "a response's"),
        (Method::POST, "/v1/responses", Some(""), "the dialect's usual place"),
        (Method::GET, "/v1/responses", None, "no list of responses"),
        (Method::DELETE, "/v1/files", None, "nobody takes all away"),
        (Method::GET, "/v1/files/..", None, "no id leads elsewhere"),
        (Method::GET, "/v1/files/a%2Fb", None, "nor does an escape"),
        (Method::GET, "/v1/files/", None, "no id"),
        (Method::PUT, "/v1/files/file-1", None, "no such verb"),
    ] {
        let found = call(&method, path).map(|address| address.place.filled());
        assert_eq!(found.as_deref(), expected, "{why}: {method} {path}");
    }
    assert_eq!(dialect("/v1/files/file-1"), Some(Dialect::OpenaiFiles));
    let long = format!("/v1/files/{}", "a".repeat(ID_MAX + 1));
    assert_eq!(call(&Method::GET, &long), None);
}

#[test]
fn every_dialect_has_a_template() {
    let listed: Vec<Dialect> = templates().map(|(_, told)| told.dialect).collect();
    // The same path as `bedrock.invoke`: the model's name tells them apart.
    let missing: Vec<&Dialect> = Dialect::ALL.iter().filter(|dialect| !listed.contains(dialect)).collect();
    assert_eq!(missing, [&Dialect::BedrockInvokeEmbed]);
    let model = |path: &str| templates().find(|(known, _)| known == path).and_then(|(_, told)| told.model);
    assert_eq!(model("/model/{model}/converse").as_deref(), Some("{model}"));
    let file = templates().find(|(path, told)| path == "/v1/files/{id}" && told.place.verb == Verb::Delete);
    assert!(file.is_some_and(|(_, told)| told.dialect == Dialect::OpenaiFiles));
}
