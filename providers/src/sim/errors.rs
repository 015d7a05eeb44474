//! Errors, in the words and the shape of each dialect's own provider.

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tollgate_core::contract::Dialect;
use tollgate_core::dialects::frames::{Framing, event_stream, ndjson, sse};

use super::script::{Failure, Script};
use super::text;

/// Whose words are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Openai,
    Anthropic,
    Google,
    Bedrock,
    Cohere,
    Ollama,
}

pub fn family(dialect: Dialect) -> Family {
    match dialect {
        Dialect::OpenaiChat
        | Dialect::OpenaiResponses
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiEmbeddings
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches => Family::Openai,
        Dialect::AnthropicMessages | Dialect::AnthropicCountTokens => Family::Anthropic,
        Dialect::Gemini | Dialect::GeminiCountTokens | Dialect::GeminiEmbed | Dialect::GeminiBatchEmbed => {
            Family::Google
        }
        Dialect::VertexPredict => Family::Google,
        Dialect::BedrockConverse
        | Dialect::BedrockInvoke
        | Dialect::BedrockInvokeEmbed
        | Dialect::BedrockCountTokens => Family::Bedrock,
        Dialect::CohereChat
        | Dialect::CohereEmbed
        | Dialect::CohereRerank
        | Dialect::CohereV1Chat
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank => Family::Cohere,
        Dialect::OllamaChat | Dialect::OllamaGenerate => Family::Ollama,
    }
}

/// The error that a script asks for.
pub fn scripted(dialect: Dialect, script: &Script, status: Option<u16>) -> Option<Response> {
    let family = family(dialect);
    let usual = script.failure.map(|failure| usual_status(family, failure));
    let status = StatusCode::from_u16(status.or(usual)?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match script.failure {
        Some(Failure::Html) => {
            text(status, "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>".to_owned())
        }
        Some(Failure::Empty) => text(status, "text/plain", String::new()),
        Some(failure @ (Failure::Quota | Failure::Context | Failure::Filter)) => {
            let (code, message) = words(family, failure);
            let kind = if failure == Failure::Quota { "insufficient_quota" } else { "invalid_request_error" };
            shaped(dialect, status, kind, code, message, script.retry_after)
        }
        None => {
            let (kind, code) = match status.as_u16() {
                401 => ("invalid_request_error", "invalid_api_key"),
                429 => ("rate_limit_error", "rate_limit_exceeded"),
                404 => ("invalid_request_error", "model_not_found"),
                400..=499 => ("invalid_request_error", "invalid_value"),
                _ => ("server_error", "server_error"),
            };
            let told = format!("sim was told to answer {}", status.as_u16());
            shaped(dialect, status, kind, code, &told, script.retry_after)
        }
    };
    if let Some(seconds) = script.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Some(response)
}

fn usual_status(family: Family, failure: Failure) -> u16 {
    match (failure, family) {
        (Failure::Quota, Family::Anthropic | Family::Bedrock) => 400,
        (Failure::Quota, Family::Openai | Family::Google | Family::Cohere | Family::Ollama) => 429,
        (Failure::Filter, Family::Cohere) => 498,
        (Failure::Context | Failure::Filter, _) => 400,
        (Failure::Html, _) => 502,
        (Failure::Empty, _) => 503,
    }
}

/// OpenAI's code or Bedrock's kind, and the words by which the provider is known to say it.
fn words(family: Family, failure: Failure) -> (&'static str, &'static str) {
    match (failure, family) {
        (Failure::Quota, Family::Openai) => ("insufficient_quota", "You exceeded your current quota."),
        (Failure::Quota, Family::Anthropic) => ("", "Your credit balance is too low to access the Anthropic API."),
        (Failure::Quota, Family::Google) => ("", "Your prepayment credits are depleted."),
        (Failure::Quota, Family::Bedrock) => ("ServiceQuotaExceededException", "You have reached a service quota."),
        (Failure::Quota, Family::Cohere) => {
            ("", "You are using a Trial key, which is limited to 1000 API calls / month.")
        }
        (Failure::Quota, Family::Ollama) => ("", "you've reached your weekly usage limit, please upgrade to continue"),
        (Failure::Context, Family::Openai) => {
            ("context_length_exceeded", "This model's maximum context length is 8192 tokens.")
        }
        (Failure::Context, Family::Anthropic) => ("", "prompt is too long: 9000 tokens > 8192 maximum"),
        (Failure::Context, Family::Google) => {
            ("", "The input token count (9000) exceeds the maximum number of tokens allowed (8192).")
        }
        (Failure::Context, Family::Bedrock) => ("ValidationException", "Input is too long for requested model."),
        (Failure::Context, Family::Cohere) => ("", "too many tokens: the prompt cannot exceed 8192 tokens"),
        (Failure::Context, Family::Ollama) => ("", "the prompt exceeds the context length of 8192"),
        (Failure::Filter, Family::Openai) => ("content_filter", "The response was filtered."),
        (Failure::Filter, Family::Anthropic) => ("", "Output blocked by content filtering policy"),
        (Failure::Filter, Family::Bedrock) => ("ValidationException", "The request was blocked by content moderation."),
        (Failure::Filter, Family::Google | Family::Cohere | Family::Ollama) => ("", "The content was blocked."),
        // Neither has words.
        (Failure::Html | Failure::Empty, _) => ("", ""),
    }
}

/// A request that is wrong.
pub fn wrong(dialect: Dialect, status: StatusCode, code: &str, message: &str) -> Response {
    shaped(dialect, status, "invalid_request_error", code, message, None)
}

fn shaped(
    dialect: Dialect,
    status: StatusCode,
    kind: &str,
    code: &str,
    message: &str,
    retry_after: Option<u64>,
) -> Response {
    let family = family(dialect);
    let body = match family {
        Family::Openai => json!({ "error": { "message": message, "type": kind, "param": null, "code": code } }),
        Family::Anthropic => anthropic(status, message),
        Family::Google => google(status, message, retry_after),
        Family::Bedrock | Family::Cohere => json!({ "message": message }),
        Family::Ollama => json!({ "error": message }),
    };
    let mut response = text(status, "application/json", body.to_string());
    if family == Family::Bedrock {
        let kind = if code.ends_with("Exception") { code } else { exception(status) };
        if let Ok(kind) = HeaderValue::from_str(kind) {
            response.headers_mut().insert("x-amzn-errortype", kind);
        }
    }
    response
}

fn anthropic(status: StatusCode, message: &str) -> Value {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": null })
}

fn google(status: StatusCode, message: &str, retry_after: Option<u64>) -> Value {
    let name = match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        400..=499 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    };
    let mut error = json!({ "code": status.as_u16(), "message": message, "status": name });
    if let Some(seconds) = retry_after {
        let delay = json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s") });
        error["details"] = json!([delay]);
    }
    json!({ "error": error })
}

fn exception(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        400..=499 => "ValidationException",
        _ => "InternalServerException",
    }
}

/// An error inside a stream of which so many events were written.
pub fn in_stream(dialect: Dialect, framing: Framing, written: usize) -> Bytes {
    let message = "sim was told to fail here";
    let mut out = Vec::new();
    match family(dialect) {
        Family::Openai => {
            let error = json!({ "type": "error", "code": "server_error", "message": message, "param": null, "sequence_number": written });
            sse::write(Some("error"), error.to_string().as_bytes(), &mut out);
        }
        Family::Anthropic => {
            let error = anthropic(StatusCode::INTERNAL_SERVER_ERROR, message);
            sse::write(Some("error"), error.to_string().as_bytes(), &mut out);
        }
        Family::Google => {
            let error = google(StatusCode::INTERNAL_SERVER_ERROR, message, None).to_string();
            match framing {
                Framing::JsonArray => {
                    let before = if written == 0 { "[" } else { ",\r\n" };
                    out.extend_from_slice(format!("{before}{error}\r\n]").as_bytes());
                }
                Framing::Sse | Framing::Ndjson | Framing::EventStream => sse::write(None, error.as_bytes(), &mut out),
            }
        }
        Family::Bedrock => {
            let headers = [
                (":exception-type", "internalServerException"),
                (":content-type", "application/json"),
                (":message-type", "exception"),
            ];
            event_stream::write(&headers, json!({ "message": message }).to_string().as_bytes(), &mut out);
        }
        Family::Cohere => {
            let end = json!({ "type": "message-end", "delta": { "finish_reason": "ERROR", "error": message } });
            sse::write(Some("message-end"), end.to_string().as_bytes(), &mut out);
            sse::write(None, b"[DONE]", &mut out);
        }
        Family::Ollama => ndjson::write(json!({ "error": message }).to_string().as_bytes(), &mut out),
    }
    out.into()
}
