//! The words of calls that are no conversations: texts to be embedded, ranked, continued, judged, drawn or spoken.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::embeddings::embed_codec;
use super::words::Words;
use super::{Codec, Given, gemini};
use crate::contract::Dialect;
use crate::contract::canonical::Request;
use crate::contract::canonical::embed::Input;
use crate::contract::read::{Wrong, as_text, find, is_list, loose};
use crate::contract::skim::Skim;
use crate::contract::words::{PromptFacts, TextPart};

/// Members whose texts are words of the caller, in these dialects.
const MEMBERS: [&str; 13] = [
    "system",
    "preamble",
    "chat_history",
    "prompt",
    "suffix",
    "input",
    "instructions",
    "query",
    "documents",
    "message",
    "texts",
    "instances",
    "template",
];
/// Members whose texts name what stands beside them.
const NAMES: [&str; 2] = ["type", "role"];
/// Tools beyond this many are not listed.
const TOOLS_MAX: usize = 1_000;
/// How deep a text may lie in one of them: a list of documents, each an object, each with a list of parts.
const DEPTH_MAX: usize = 6;

/// Reads a call to count tokens as the conversation that it counts.
pub fn counted<'a>(dialect: Dialect, body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<Request<'a>, Wrong> {
    match dialect == Dialect::GeminiCountTokens {
        true => gemini::count_tokens::read_request(body, skim, given),
        false => super::anthropic::Anthropic.read_request(body, skim, given),
    }
}

/// Each text, in the order in which they stand.
pub fn texts(words: &Words, skim: &Skim) -> Result<Vec<TextPart>, Wrong> {
    let part = |text: &str| TextPart { role: "input".to_owned(), text: text.to_owned() };
    let body = &words.body;
    if let Some(codec) = embed_codec(words.dialect) {
        let given = Given {
            call_id: "",
            now_s: 0,
            model: "",
            stream: false,
            include_usage: false,
            as_array: false,
            own_tools: &[],
            asked: &[],
        };
        let request = codec.read_request(body, skim, &given)?;
        let texts = request.inputs.iter().filter_map(|input| match input {
            Input::Text(text) => Some(part(text)),
            Input::Tokens(_) => None,
        });
        return Ok(texts.collect());
    }
    let mut found = Vec::new();
    // In a form that nobody here knows, words may stand anywhere.
    let anywhere = words.dialect == Dialect::BedrockInvokeEmbed;
    let all = skim.members.iter().map(|member| member.name(body)).filter(|name| anywhere && *name != "tollgate");
    for name in MEMBERS.into_iter().filter(|_| !anywhere).chain(all) {
        if let Some(raw) = skim.raw(body, name).and_then(|raw| serde_json::from_slice(raw).ok()) {
            gather(raw, DEPTH_MAX, &mut |text| found.push(part(text)));
        }
    }
    Ok(found)
}

/// How many tokens are given as such, in lists of numbers.
pub fn tokens<'a>(dialect: Dialect, body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<u64, Wrong> {
    let Some(codec) = embed_codec(dialect) else { return Ok(0) };
    let request = codec.read_request(body, skim, given)?;
    let lists = request.inputs.iter().filter_map(|input| match input {
        Input::Tokens(raw) => Some(raw.get().split(',').count() as u64),
        Input::Text(_) => None,
    });
    Ok(lists.sum())
}

/// Such a prompt, described without its words.
pub fn prompt(words: &Words, skim: &Skim) -> Result<PromptFacts, Wrong> {
    let tools = tools(&words.body, skim);
    let features = if tools.is_empty() { Vec::new() } else { vec!["tools".to_owned()] };
    Ok(PromptFacts { messages: texts(words, skim)?.len() as u64, tools, features, ..PromptFacts::default() })
}

/// Names of tools: Cohere's first version has them, and bodies in a vendor's own form.
fn tools(body: &[u8], skim: &Skim) -> Vec<String> {
    let list = skim.raw(body, "tools").and_then(|raw| serde_json::from_slice::<Vec<&RawValue>>(raw).ok());
    let name = |tool: &RawValue| {
        let members = loose(tool);
        let inside = find(&members, "function").map(loose).unwrap_or_default();
        find(&members, "name").or_else(|| find(&inside, "name")).and_then(as_text).map(Cow::into_owned)
    };
    list.unwrap_or_default().into_iter().filter_map(name).take(TOOLS_MAX).collect()
}

fn gather(raw: &RawValue, depth: usize, tell: &mut dyn FnMut(&str)) {
    if let Some(text) = as_text(raw) {
        return tell(&text);
    }
    if depth == 0 {
        return;
    }
    match is_list(raw) {
        true => {
            let items: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
            items.into_iter().for_each(|item| gather(item, depth - 1, tell));
        }
        // Names of members, and of kinds, are the dialect's; the rest is the caller's.
        false => {
            let members = loose(raw).into_iter().filter(|(name, _)| !NAMES.contains(&&**name));
            members.for_each(|(_, value)| gather(value, depth - 1, tell));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn policies_read_the_words_of_every_operation() {
        for (dialect, body, expected) in [
            (Dialect::OpenaiCompletions, r#"{"model":"m","prompt":["a","b"],"suffix":"c"}"#, &["a", "b", "c"][..]),
            (Dialect::CohereRerank, r#"{"query":"q","documents":["d",{"text":"e"}]}"#, &["q", "d", "e"]),
            (
                Dialect::CohereEmbed,
                r#"{"texts":["t"],"inputs":[{"content":[{"type":"text","text":"u"}]}]}"#,
                &["t", "u"],
            ),
            (Dialect::GeminiEmbed, r#"{"content":{"parts":[{"text":"g"}]}}"#, &["g"]),
            (Dialect::GeminiBatchEmbed, r#"{"requests":[{"content":{"parts":[{"text":"h"}]}}]}"#, &["h"]),
            (Dialect::OpenaiModerations, r#"{"input":[{"type":"text","text":"bad\n"}]}"#, &["bad\n"]),
            (Dialect::OpenaiImages, r#"{"prompt":"a cat"}"#, &["a cat"]),
            (Dialect::AnthropicCountTokens, r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#, &["hi"]),
            (Dialect::GeminiCountTokens, r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#, &["hi"]),
            (Dialect::OllamaGenerate, r#"{"model":"m","system":"s","prompt":"p"}"#, &["s", "p"]),
            (
                Dialect::CohereV1Chat,
                r#"{"message":"m","chat_history":[{"role":"USER","message":"h"}],"preamble":"p"}"#,
                &["p", "h", "m"],
            ),
            (Dialect::CohereV1Embed, r#"{"texts":["t"]}"#, &["t"]),
            (Dialect::CohereV1Rerank, r#"{"query":"q","documents":["d"]}"#, &["q", "d"]),
            (Dialect::VertexPredict, r#"{"instances":[{"content":"c","title":"t"}]}"#, &["c", "t"]),
            (Dialect::BedrockInvoke, r#"{"prompt":"p","max_gen_len":1}"#, &["p"]),
            (Dialect::BedrockInvoke, r#"{"inputText":"i"}"#, &["i"]),
            (
                Dialect::BedrockInvoke,
                r#"{"anthropic_version":"v","max_tokens":1,"system":"s","messages":[{"role":"user","content":"m"}]}"#,
                &["s", "m"],
            ),
            (
                Dialect::BedrockInvoke,
                r#"{"schemaVersion":"messages-v1","messages":[{"role":"user","content":[{"text":"n"}]}]}"#,
                &["n"],
            ),
            (Dialect::BedrockInvokeEmbed, r#"{"texts":["t"],"tollgate":{"user":"u"}}"#, &["t"]),
            (
                Dialect::BedrockCountTokens,
                r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hi"}]}]}}}"#,
                &["hi"],
            ),
            (
                Dialect::BedrockCountTokens,
                // {"prompt":"p"}
                r#"{"input":{"invokeModel":{"body":"eyJwcm9tcHQiOiJwIn0="}}}"#,
                &["p"],
            ),
        ] {
            let words = Words::of(Bytes::from_static(body.as_bytes()), dialect);
            let texts: Vec<String> = words.text().unwrap().into_iter().map(|part| part.text).collect();
            assert_eq!(texts, expected, "{body}");
            assert!(words.prompt().unwrap().tokens > 0);
        }
    }
}
