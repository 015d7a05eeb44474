//! What providers of this dialect say when they fail: as in OpenAI's chat, with what differs here.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::contract::refusal::Category;
use crate::dialects::openai_chat::OpenaiChat;
use crate::dialects::{Codec, Said};

pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Said> {
    let mut said = OpenaiChat.read_error(status, headers, body)?;
    match (status.as_u16(), said.code.as_deref()) {
        // An unknown model is a 400 here.
        (400, Some("model_not_found")) => said.category = Category::NoRoute,
        (429, _) if said.category == Category::RateLimited => said.retry_after = said.retry_after.or(reset(headers)),
        (_, _) => {}
    }
    Some(said)
}

/// When what is used up is there again: `x-ratelimit-reset-tokens: 1m30s` beside `x-ratelimit-remaining-tokens: 0`.
fn reset(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: String| headers.get(name)?.to_str().ok();
    let reset = |what: &&str| {
        text(format!("x-ratelimit-remaining-{what}")).filter(|left| *left == "0")?;
        duration(text(format!("x-ratelimit-reset-{what}"))?)
    };
    ["requests", "tokens"].iter().filter_map(reset).max()
}

/// `6ms`, `1m30s`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut ms) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + digits);
        let number: f64 = rest[..digits].parse().ok()?;
        ms += number
            * match &rest[digits..unit] {
                "ms" => 1.0,
                "s" => 1_000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                "d" => 86_400_000.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    // An hour at most, as with the other headers.
    Some(Duration::from_millis(ms.min(3_600_000.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_their_category_code_and_delay() {
        let headers = |list: &[(&'static str, &'static str)]| {
            list.iter().map(|(k, v)| (http::HeaderName::from_static(k), http::HeaderValue::from_static(v))).collect()
        };
        let error = |code: &str| format!(r#"{{"error":{{"message":"m","type":"t","param":null,"code":"{code}"}}}}"#);
        for (status, told, body, category, code, delay_ms) in [
            (401, vec![], error("invalid_api_key"), Category::Auth, Some("invalid_api_key"), None),
            (400, vec![], error("model_not_found"), Category::NoRoute, Some("model_not_found"), None),
            (
                400,
                vec![],
                error("context_length_exceeded"),
                Category::ContextLength,
                Some("context_length_exceeded"),
                None,
            ),
            (400, vec![], error("unsupported_file"), Category::InvalidRequest, Some("unsupported_file"), None),
            (429, vec![], error("insufficient_quota"), Category::BudgetExceeded, Some("insufficient_quota"), None),
            (
                429,
                vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1m0.5s")],
                error("rate_limit_exceeded"),
                Category::RateLimited,
                Some("rate_limit_exceeded"),
                Some(60_500),
            ),
            (
                429,
                vec![
                    ("retry-after-ms", "250"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "6m"),
                ],
                error("rate_limit_exceeded"),
                Category::RateLimited,
                Some("rate_limit_exceeded"),
                Some(250),
            ),
            (500, vec![], error("server_error"), Category::UpstreamOutage, Some("server_error"), None),
            (503, vec![], error("server_error"), Category::Overloaded, Some("server_error"), None),
            (
                400,
                vec![],
                r#"{"code":"invalid-argument","error":"Incorrect API key provided."}"#.to_owned(),
                Category::Auth,
                Some("invalid-argument"),
                None,
            ),
        ] {
            let headers: HeaderMap = headers(&told);
            let said = read(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes()).unwrap();
            let delay = said.retry_after.map(|d| d.as_millis());
            assert_eq!((said.category, said.code.as_deref(), delay), (category, code, delay_ms), "{status} {body}");
        }
        let page = read(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>502</html>");
        assert_eq!(page, None, "a proxy's page is no error of this dialect");
    }

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, ms) in
            [("6ms", Some(6)), ("1m30s", Some(90_000)), ("0.5s", Some(500)), ("", Some(0)), ("5", None), ("x", None)]
        {
            assert_eq!(duration(text).map(|d| d.as_millis()), ms, "{text}");
        }
    }
}
