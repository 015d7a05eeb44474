//! A provider's answer read whole, and is it one? What a client could only stumble over is turned away here, where it can be named.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::contract::Dialect;
use crate::contract::refusal::Category;
use crate::contract::skim::{Skim, SkimError, skim};
use crate::dialects::frames::Framing;
use crate::dialects::paths::Place;
use crate::dialects::{Codec, Given, Notes, unsaid};
use crate::ports::{Fault, ReplyBody};

/// A provider's own words are handed on up to this many characters: they end in receipts and logs too.
const WORDS_MAX: usize = 2_000;

/// Why an answer with a status of success is none.
#[derive(Debug, PartialEq)]
pub enum Unread {
    Why(String),
    /// It is an error, and would have had this status from an honest server.
    Error(StatusCode),
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Unread::Why(why)
    }
}

/// A body whole; above the bound, nothing but the body as it would have come.
pub async fn gather(mut body: ReplyBody, max: usize) -> Result<(Bytes, Option<ReplyBody>), Fault> {
    let Some(first) = body.next().await.transpose()? else { return Ok((Bytes::new(), None)) };
    let Some(second) = body.next().await.transpose()? else { return Ok((first, None)) };
    // In blocks: one room that grows would be there twice whenever it grows.
    let (mut blocks, mut bytes): (Vec<Bytes>, usize) = (Vec::new(), first.len() + second.len());
    let mut block = BytesMut::with_capacity((bytes * 2).min(BLOCK_BYTES));
    block.extend_from_slice(&first);
    block.extend_from_slice(&second);
    drop((first, second));
    while bytes <= max {
        let Some(piece) = body.next().await.transpose()? else {
            return Ok((joined(&blocks, block), None));
        };
        bytes += piece.len();
        if block.len() + piece.len() > BLOCK_BYTES {
            blocks.push(std::mem::replace(&mut block, BytesMut::with_capacity(BLOCK_BYTES)).freeze());
        }
        block.extend_from_slice(&piece);
    }
    blocks.push(block.freeze());
    Ok((Bytes::new(), Some(Box::pin(futures_util::stream::iter(blocks.into_iter().map(Ok)).chain(body)))))
}

/// Of a body that is read whole.
const BLOCK_BYTES: usize = 256 << 10;

fn joined(blocks: &[Bytes], last: BytesMut) -> Bytes {
    if blocks.is_empty() {
        return last.freeze();
    }
    let mut whole = BytesMut::with_capacity(blocks.iter().map(Bytes::len).sum::<usize>() + last.len());
    blocks.iter().for_each(|block| whole.extend_from_slice(block));
    whole.extend_from_slice(&last);
    whole.freeze()
}

/// Reads so much of a body as tells whether it is an answer: all of it must be JSON, and of a conversation the member must
/// be there that holds what was said. Gives where its members are.
pub fn check(body: &[u8], theirs: Dialect, place: &Place) -> Result<Skim, Unread> {
    let found = skim(body).map_err(|error| match error {
        SkimError::Empty => "its body is empty".to_owned(),
        SkimError::NotObject if body.trim_ascii_start().starts_with(b"<") => {
            "its body is a page of HTML or XML".to_owned()
        }
        SkimError::NotUtf8(_)
        | SkimError::NotObject
        | SkimError::Syntax { .. }
        | SkimError::TooDeep(_)
        | SkimError::Duplicate(_)
        | SkimError::TooManyMembers => format!("its body is no answer: {error}"),
    })?;
    let holds = if place.is_usual() { said_in(theirs) } else { &[] };
    if holds.iter().any(|name| found.raw(body, name).is_some()) {
        return Ok(found);
    }
    if let Some(status) = error_status(body, &found) {
        return Err(Unread::Error(status));
    }
    match holds {
        [] => Ok(found),
        [first, ..] => Err(format!("its body holds no answer: `{first}` is missing").into()),
    }
}

/// The members that hold what was said; one of them is there in every answer. None = the dialect is not looked into.
fn said_in(theirs: Dialect) -> &'static [&'static str] {
    match theirs {
        Dialect::OpenaiChat | Dialect::OpenaiCompletions => &["choices"],
        Dialect::OpenaiResponses => &["output"],
        Dialect::AnthropicMessages => &["content"],
        // A prompt that was blocked has no candidate.
        Dialect::Gemini => &["candidates", "promptFeedback", "usageMetadata"],
        Dialect::BedrockConverse => &["output"],
        Dialect::CohereChat => &["message"],
        Dialect::OllamaChat => &["message"],
        Dialect::OpenaiEmbeddings
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches
        | Dialect::AnthropicCountTokens
        | Dialect::GeminiCountTokens
        | Dialect::GeminiEmbed
        | Dialect::GeminiBatchEmbed
        | Dialect::CohereEmbed
        | Dialect::CohereRerank
        | Dialect::BedrockInvoke
        | Dialect::BedrockInvokeEmbed
        | Dialect::BedrockCountTokens
        | Dialect::CohereV1Chat
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank
        | Dialect::OllamaGenerate
        | Dialect::VertexPredict => &[],
    }
}

/// The status of an error that came with a success: the one that it names, else that of a server that failed.
fn error_status(body: &[u8], found: &Skim) -> Option<StatusCode> {
    let member = |name: &str| found.raw(body, name).and_then(|raw| serde_json::from_slice::<Value>(raw).ok());
    let error = member("error").filter(|error| match error {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(_) => false,
        Value::Object(members) => !members.is_empty(),
    });
    let named = member("type").is_some_and(|kind| kind == "error");
    if error.is_none() && !named {
        return None;
    }
    let inside =
        error.as_ref().into_iter().flat_map(|error| ["code", "status", "status_code"].map(|n| error[n].clone()));
    let codes = inside.chain(["code", "status"].into_iter().filter_map(member));
    let number = |code: Value| code.as_u64().or_else(|| code.as_str()?.parse().ok());
    let status = codes.filter_map(number).find(|code| (400..600).contains(code));
    Some(status.and_then(|code| StatusCode::from_u16(code as u16).ok()).unwrap_or(StatusCode::BAD_GATEWAY))
}

/// What a status means where nobody says more.
pub fn by_status(status: StatusCode) -> Category {
    match status.as_u16() {
        401 | 403 => Category::Auth,
        404 => Category::NoRoute,
        408 | 504 => Category::Timeout,
        413 => Category::TooLarge,
        429 => Category::RateLimited,
        503 | 529 => Category::Overloaded,
        400..=499 => Category::InvalidRequest,
        _ => Category::UpstreamOutage,
    }
}

/// An answer that came whole to a caller who asked for a stream, said as one.
pub fn as_stream(
    body: &[u8],
    (ours, theirs): (&dyn Codec, &dyn Codec),
    given: &Given<'_>,
) -> Result<(Vec<u8>, Notes, Framing), String> {
    let answer = theirs.read_answer(body, given).map_err(|wrong| wrong.to_string())?;
    let events = crate::contract::canonical::told::told(&answer)
        .ok_or("it came whole, and holds what cannot be said in the stream that was asked for")?;
    let (mut writer, mut out) = (ours.stream_writer(given), Vec::new());
    let mut notes = Notes { done: true, ..Notes::default() };
    for event in &events {
        unsaid::of_event(event, ours).into_iter().for_each(|lost| notes.lose(lost.name()));
        writer.event(event, &mut out);
    }
    notes.finish_reason = answer.choices.iter().find_map(|c| c.finish.as_ref()).map(|finish| finish.name().to_owned());
    (notes.usage, notes.beside) = (answer.usage, answer.beside.clone());
    let framing = if given.as_array { Framing::JsonArray } else { ours.framing() };
    Ok((out, notes, framing))
}

/// The type of content of a whole answer: some servers call their JSON a text, and clients believe them.
pub fn is_json(headers: &mut HeaderMap) {
    let said = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !said.to_ascii_lowercase().contains("json") {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

/// What a provider said, in bounds.
pub fn brief(words: &str) -> String {
    match words.char_indices().nth(WORDS_MAX) {
        None => words.to_owned(),
        Some((end, _)) => format!("{}... ({} bytes)", &words[..end], words.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_is_named() {
        let why = |text: &str| Err(Unread::Why(text.to_owned()));
        let error = |status: u16| Err(Unread::Error(StatusCode::from_u16(status).unwrap()));
        for (body, theirs, expected) in [
            (&b"{\"choices\":[]}"[..], Dialect::OpenaiChat, Ok(())),
            (b" {\"error\":null,\"output\":[]} ", Dialect::OpenaiResponses, Ok(())),
            (b"{\"message\":{},\"error\":\"x\"}", Dialect::OllamaChat, Ok(())),
            (b"{\"promptFeedback\":{}}", Dialect::Gemini, Ok(())),
            (b"{\"data\":[]}", Dialect::OpenaiEmbeddings, Ok(())),
            (b"", Dialect::OpenaiChat, why("its body is empty")),
            (b"<html>", Dialect::OpenaiChat, why("its body is a page of HTML or XML")),
            (b"{}", Dialect::OpenaiChat, why("its body holds no answer: `choices` is missing")),
            (
                b"{\"choices\":[{}",
                Dialect::OpenaiChat,
                why("its body is no answer: the body is no valid JSON: expected `,` or a closing bracket at byte 13"),
            ),
            (
                b"{\"choices\":[]}{}",
                Dialect::OpenaiChat,
                why("its body is no answer: the body is no valid JSON: something after the object at byte 14"),
            ),
            (
                b"{\"choices\":\"\xff\"}",
                Dialect::OpenaiChat,
                why("its body is no answer: the body is not UTF-8 (byte 12)"),
            ),
            (b"{\"error\":{\"code\":429}}", Dialect::OpenaiChat, error(429)),
            (b"{\"error\":{\"code\":\"503\"}}", Dialect::OpenaiChat, error(503)),
            (b"{\"error\":\"no\"}", Dialect::OllamaChat, error(502)),
            (b"{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}", Dialect::AnthropicMessages, error(502)),
        ] {
            assert_eq!(
                check(body, theirs, &Place::default()).map(|_| ()),
                expected,
                "{}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn words_are_cut_at_letters() {
        assert_eq!(brief("short"), "short");
        let long = brief(&"\u{e4}".repeat(WORDS_MAX + 1));
        assert!(
            long.ends_with("... (4002 bytes)") && long.chars().count() == WORDS_MAX + "... (4002 bytes)".len(),
            "{long}"
        );
    }
}
