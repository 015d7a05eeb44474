//! Which dialect is spoken at which path, and what of the call the path says.

use std::borrow::Cow;
use std::sync::Arc;

use crate::contract::Dialect;

/// What a path says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub dialect: Dialect,
    /// The model, where it stands in the path.
    pub model: Option<Arc<str>>,
    /// Streamed or not, where the path says it.
    pub stream: Option<bool>,
    /// What stands behind the dialect's own path: `generations` of `/v1/images/generations`.
    pub rest: &'static str,
}

impl Address {
    /// Of a dialect whose calls all have one path.
    pub fn of(dialect: Dialect) -> Address {
        Address { dialect, model: None, stream: None, rest: "" }
    }
}

/// Paths that are written out; OpenAI's stand below `/v1`, and below `/openai/v1` for clients of Azure.
const FIXED: &[(&str, Dialect, &str)] = &[
    ("/v1/chat/completions", Dialect::OpenaiChat, ""),
    ("/v1/responses", Dialect::OpenaiResponses, ""),
    ("/v1/embeddings", Dialect::OpenaiEmbeddings, ""),
    ("/v1/messages", Dialect::AnthropicMessages, ""),
    ("/v1/messages/count_tokens", Dialect::AnthropicCountTokens, ""),
    ("/v1/completions", Dialect::OpenaiCompletions, ""),
    ("/v1/moderations", Dialect::OpenaiModerations, ""),
    ("/v1/images/generations", Dialect::OpenaiImages, "generations"),
    ("/v1/images/edits", Dialect::OpenaiImages, "edits"),
    ("/v1/images/variations", Dialect::OpenaiImages, "variations"),
    ("/v1/audio/speech", Dialect::OpenaiAudio, "speech"),
    ("/v1/audio/transcriptions", Dialect::OpenaiAudio, "transcriptions"),
    ("/v1/audio/translations", Dialect::OpenaiAudio, "translations"),
    ("/v2/chat", Dialect::CohereChat, ""),
    ("/v2/embed", Dialect::CohereEmbed, ""),
    ("/v2/rerank", Dialect::CohereRerank, ""),
    ("/api/chat", Dialect::OllamaChat, ""),
];

/// Behind `models/MODEL:`.
const GEMINI: &[(&str, Dialect, Option<bool>)] = &[
    ("generateContent", Dialect::Gemini, Some(false)),
    ("streamGenerateContent", Dialect::Gemini, Some(true)),
    ("countTokens", Dialect::GeminiCountTokens, None),
    ("embedContent", Dialect::GeminiEmbed, None),
    ("batchEmbedContents", Dialect::GeminiBatchEmbed, None),
];

/// Every path that calls are posted to, as templates (`{model}`), and what each says: for who describes them.
pub fn templates() -> impl Iterator<Item = (String, Address)> {
    let fixed = FIXED.iter().flat_map(|(path, ..)| {
        let below = path.strip_prefix("/v1/");
        let azure = below.map(|below| format!("/openai/v1/{below}"));
        let deployment = below.map(|below| format!("/openai/deployments/{{model}}/{below}"));
        [Some((*path).to_owned()), azure, deployment]
    });
    let bedrock = ["converse", "converse-stream"].map(|verb| Some(format!("/model/{{model}}/{verb}")));
    let gemini = GEMINI_BEFORE
        .iter()
        .flat_map(|before| GEMINI.iter().map(move |(verb, ..)| Some(format!("{before}/{{model}}:{verb}"))));
    let all = fixed.chain(bedrock).chain(gemini).flatten();
    all.filter_map(|path| address(&path).map(|told| (path, told)))
}

/// Where models stand in Google's paths; names below `tunedModels` and `publishers` are read as well.
const GEMINI_BEFORE: [&str; 3] =
    ["/v1beta/models", "/v1/models", "/v1/projects/{project}/locations/{location}/publishers/google/models"];

/// A path that calls are posted to; `None` = nothing is there.
pub fn address(path: &str) -> Option<Address> {
    if let Some(found) = fixed(path) {
        return Some(found);
    }
    if let Some(rest) = path.strip_prefix("/openai/v1") {
        return fixed(&format!("/v1{rest}"));
    }
    if let Some(rest) = path.strip_prefix("/openai/deployments/") {
        // Names of deployments have no slash.
        let (deployment, rest) = rest.split_once('/')?;
        let found = fixed(&format!("/v1/{rest}"))?;
        return Some(Address { model: Some(decoded(deployment)?), ..found });
    }
    if let Some(rest) = path.strip_prefix("/model/") {
        let (model, verb) = rest.rsplit_once('/')?;
        let stream = match verb {
            "converse" => false,
            "converse-stream" => true,
            _ => return None,
        };
        let model = Some(decoded(model)?);
        return Some(Address { model, stream: Some(stream), ..Address::of(Dialect::BedrockConverse) });
    }
    gemini(path)
}

fn fixed(path: &str) -> Option<Address> {
    let (_, dialect, rest) = FIXED.iter().find(|(known, ..)| *known == path)?;
    Some(Address { rest, ..Address::of(*dialect) })
}

/// `/v1beta/models/M:verb`, `/v1/models/M:verb`, and Vertex's `/v1/projects/P/locations/L/publishers/google/models/M:verb`.
fn gemini(path: &str) -> Option<Address> {
    let below = ["/v1beta/", "/v1/", "/v1beta1/"].into_iter().find_map(|version| path.strip_prefix(version))?;
    let named = match below.strip_prefix("projects/") {
        Some(project) => project.split_once("/publishers/google/models/")?.1,
        // Vertex with a key instead of a project.
        None => {
            ["models/", "tunedModels/", "publishers/google/models/"].iter().find_map(|at| below.strip_prefix(at))?
        }
    };
    let (model, verb) = named.rsplit_once(':')?;
    let (_, dialect, stream) = GEMINI.iter().find(|(known, ..)| *known == verb)?;
    Some(Address { model: Some(decoded(model)?), stream: *stream, ..Address::of(*dialect) })
}

/// Percent-decoded; a name that is empty or no text is no model.
fn decoded(text: &str) -> Option<Arc<str>> {
    if text.is_empty() {
        return None;
    }
    if !text.contains('%') {
        return Some(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &after[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok().map(Into::into)
}

/// For a path, percent-encoded: all but letters, digits and `-._~`, and a slash where `slash` says so.
pub fn encoded(text: &str, keep: &[u8]) -> Cow<'static, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b) || keep.contains(&b);
    let mut out = String::with_capacity(text.len() + 8);
    for b in text.bytes() {
        match plain(b) {
            true => out.push(char::from(b)),
            false => out.push_str(&format!("%{b:02X}")),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_dialect_model_and_stream() {
        for (path, dialect, model, stream, why) in [
            ("/v1/chat/completions", Some(Dialect::OpenaiChat), None, None, "OpenAI"),
            ("/openai/v1/responses", Some(Dialect::OpenaiResponses), None, None, "Azure's newer path"),
            ("/openai/deployments/d-1/chat/completions", Some(Dialect::OpenaiChat), Some("d-1"), None, "Azure's older"),
            ("/v1/messages", Some(Dialect::AnthropicMessages), None, None, "Anthropic"),
            ("/v1beta/models/g:generateContent", Some(Dialect::Gemini), Some("g"), Some(false), "Gemini"),
            (
                "/v1/models/sim/sim-1:streamGenerateContent",
                Some(Dialect::Gemini),
                Some("sim/sim-1"),
                Some(true),
                "pinned",
            ),
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
    fn every_dialect_has_a_template() {
        let listed: Vec<Dialect> = templates().map(|(_, told)| told.dialect).collect();
        let missing: Vec<&Dialect> = Dialect::ALL.iter().filter(|dialect| !listed.contains(dialect)).collect();
        assert_eq!(missing, [&Dialect::OpenaiFiles, &Dialect::OpenaiBatches], "these have no path yet");
        let model = |path: &str| templates().find(|(known, _)| known == path).and_then(|(_, told)| told.model);
        assert_eq!(model("/model/{model}/converse").as_deref(), Some("{model}"));
    }
}
