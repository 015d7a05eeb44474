//! The kinds of API that providers have: which dialects, at which paths, and in which header the key goes. Data, not code.

use http::{HeaderName, HeaderValue};
use tollgate_core::contract::Dialect;
use tollgate_core::contract::canonical::element::Element;
use tollgate_core::dialects::paths::{Address, encoded};
use tollgate_core::dialects::{Quirks, Refused};

/// What one kind of API is like.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// As `api` in `tollgate.yaml` names it.
    pub name: &'static str,
    /// What it is asked in, the preferred one first.
    pub speaks: &'static [Dialect],
    pub key: Key,
    /// Headers that every request must have, where the caller sent none.
    pub always: &'static [(&'static str, &'static str)],
    pub quirks: Quirks,
}

/// How the key is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Bearer,
    Header(&'static str),
}

const ALL_OF_OPENAI: &[Dialect] = &[
    Dialect::OpenaiChat,
    Dialect::OpenaiResponses,
    Dialect::OpenaiEmbeddings,
    Dialect::OpenaiCompletions,
    Dialect::OpenaiModerations,
    Dialect::OpenaiImages,
    Dialect::OpenaiAudio,
    Dialect::OpenaiFiles,
    Dialect::OpenaiBatches,
];

/// What nearly every compatible server has.
const COMPATIBLE: &[Dialect] = &[Dialect::OpenaiChat, Dialect::OpenaiEmbeddings, Dialect::OpenaiCompletions];

const COMPATIBLE_AND_RESPONSES: &[Dialect] =
    &[Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::OpenaiEmbeddings, Dialect::OpenaiCompletions];

const PLAIN: Quirks = Quirks::NONE;

const OPENAI: Quirks = Quirks { call_id_chars_max: Some(40), ..PLAIN };

/// Servers that follow OpenAI know its older members; what only OpenAI has they refuse or pass over.
const FOLLOWS: Quirks = Quirks {
    max_tokens: Some("max_tokens"),
    no_developer: true,
    lacks: &[
        Element::Stored,
        Element::NotStored,
        Element::Metadata,
        Element::Verbosity,
        Element::CacheKey,
        Element::ToolChoiceAmong,
    ],
    ..PLAIN
};

const fn api(name: &'static str, speaks: &'static [Dialect], key: Key, quirks: Quirks) -> Api {
    Api { name, speaks, key, always: &[], quirks }
}

static APIS: [Api; 16] = [
    api("openai", ALL_OF_OPENAI, Key::Bearer, OPENAI),
    // Some of OpenAI's models are only there.
    api("responses", &[Dialect::OpenaiResponses], Key::Bearer, PLAIN),
    api("compatible", COMPATIBLE, Key::Bearer, FOLLOWS),
    api("azure", ALL_OF_OPENAI, Key::Header("api-key"), Quirks { deployments: true, ..OPENAI }),
    Api {
        always: &[("anthropic-version", "2023-06-01")],
        ..api(
            "anthropic",
            &[Dialect::AnthropicMessages, Dialect::AnthropicCountTokens],
            Key::Header("x-api-key"),
            PLAIN,
        )
    },
    api(
        "gemini",
        &[Dialect::Gemini, Dialect::GeminiCountTokens, Dialect::GeminiBatchEmbed, Dialect::GeminiEmbed],
        Key::Header("x-goog-api-key"),
        PLAIN,
    ),
    api("vertex", &[Dialect::Gemini, Dialect::GeminiCountTokens, Dialect::VertexPredict], Key::Bearer, PLAIN),
    api(
        "bedrock",
        &[Dialect::BedrockConverse, Dialect::BedrockInvoke, Dialect::BedrockInvokeEmbed, Dialect::BedrockCountTokens],
        Key::Bearer,
        PLAIN,
    ),
    api(
        "cohere",
        &[
            Dialect::CohereChat,
            Dialect::CohereEmbed,
            Dialect::CohereRerank,
            Dialect::CohereV1Chat,
            Dialect::CohereV1Embed,
            Dialect::CohereV1Rerank,
        ],
        Key::Bearer,
        PLAIN,
    ),
    api(
        "ollama",
        &[Dialect::OllamaChat, Dialect::OllamaGenerate, Dialect::OpenaiChat, Dialect::OpenaiEmbeddings],
        Key::Bearer,
        FOLLOWS,
    ),
    api(
        "mistral",
        COMPATIBLE,
        Key::Bearer,
        Quirks {
            renamed: &[("seed", "random_seed")],
            tool_required: Some("any"),
            call_id_chars: Some(9),
            no_stream_options: true,
            refuses: &[Refused::Developer, Refused::NewerBound, Refused::Thoughts],
            lacks: &[
                Element::Stored,
                Element::NotStored,
                Element::Metadata,
                Element::Verbosity,
                Element::CacheKey,
                Element::User,
                Element::ServiceTier,
                Element::Logprobs,
                Element::LogitBias,
                Element::ToolChoiceAmong,
                Element::ReasoningAsked,
                Element::MessageName,
            ],
            ..FOLLOWS
        },
    ),
    api(
        "groq",
        &[Dialect::OpenaiChat, Dialect::OpenaiResponses],
        Key::Bearer,
        Quirks {
            refuses: &[Refused::Thoughts],
            lacks: &[
                Element::Logprobs,
                Element::LogitBias,
                Element::SeveralAnswers,
                Element::Stored,
                Element::NotStored,
                Element::Metadata,
                Element::Verbosity,
                Element::CacheKey,
                Element::ToolChoiceAmong,
            ],
            ..FOLLOWS
        },
    ),
    api("deepseek", COMPATIBLE_AND_RESPONSES, Key::Bearer, Quirks { has: &[Element::ReasoningText], ..FOLLOWS }),
    api(
        "openrouter",
        &[Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::OpenaiEmbeddings],
        Key::Bearer,
        Quirks { has: &[Element::TopK, Element::ReasoningText, Element::DocumentUrl], ..FOLLOWS },
    ),
    api("xai", &[Dialect::OpenaiChat, Dialect::OpenaiResponses], Key::Bearer, FOLLOWS),
    api(
        "sim",
        &[
            Dialect::OpenaiChat,
            Dialect::OpenaiResponses,
            Dialect::AnthropicMessages,
            Dialect::Gemini,
            Dialect::BedrockConverse,
            Dialect::BedrockInvoke,
            Dialect::CohereChat,
            Dialect::OllamaChat,
            Dialect::AnthropicCountTokens,
            Dialect::GeminiCountTokens,
            Dialect::OpenaiEmbeddings,
            Dialect::GeminiEmbed,
            Dialect::GeminiBatchEmbed,
            Dialect::CohereEmbed,
            Dialect::OpenaiModerations,
            Dialect::OpenaiImages,
            Dialect::OpenaiAudio,
            Dialect::OpenaiFiles,
            Dialect::OpenaiBatches,
        ],
        Key::Bearer,
        PLAIN,
    ),
];

/// The kind of this name.
pub fn named(name: &str) -> Option<&'static Api> {
    APIS.iter().find(|api| api.name == name)
}

/// What a server is taken for of which nothing is known but its address.
pub fn compatible() -> &'static Api {
    named("compatible").expect("it stands in the table above")
}

/// What the scripted provider has: every dialect of conversations.
pub fn sim() -> &'static Api {
    named("sim").expect("it stands in the table above")
}

pub fn names() -> impl Iterator<Item = &'static str> {
    APIS.iter().map(|api| api.name)
}

impl Api {
    /// Where a call goes, below a base URL.
    pub fn path(&self, base: &str, to: &Address, query: Option<&str>) -> String {
        let model = to.model.as_deref().unwrap_or_default();
        let stream = to.stream == Some(true);
        let root = self.root(base);
        let openai = |rest: &str| match self.name {
            "azure" => azure(root, model, rest, query),
            // Its own dialect is at the root, OpenAI's beside it, wherever the base URL ends.
            "ollama" => format!("{root}/v1{rest}"),
            _ => format!("{base}{rest}"),
        };
        let bedrock = |verb: &str| format!("{root}/model/{}/{verb}", encoded(model, b""));
        if !to.place.is_usual() {
            return openai(&to.place.filled());
        }
        match to.dialect {
            Dialect::OpenaiChat => openai("/chat/completions"),
            Dialect::OpenaiResponses => openai("/responses"),
            Dialect::OpenaiCompletions => openai("/completions"),
            Dialect::OpenaiEmbeddings => openai("/embeddings"),
            Dialect::OpenaiModerations => openai("/moderations"),
            // These have several, all of them named: their common root is no place of its own.
            Dialect::OpenaiImages => openai("/images"),
            Dialect::OpenaiAudio => openai("/audio"),
            Dialect::OpenaiFiles => openai("/files"),
            Dialect::OpenaiBatches => openai("/batches"),
            Dialect::AnthropicMessages => format!("{root}/v1/messages"),
            Dialect::AnthropicCountTokens => format!("{root}/v1/messages/count_tokens"),
            Dialect::Gemini if stream => self.google(root, base, model, "streamGenerateContent"),
            Dialect::Gemini => self.google(root, base, model, "generateContent"),
            Dialect::GeminiCountTokens => self.google(root, base, model, "countTokens"),
            Dialect::GeminiEmbed => self.google(root, base, model, "embedContent"),
            Dialect::GeminiBatchEmbed => self.google(root, base, model, "batchEmbedContents"),
            Dialect::VertexPredict => self.google(root, base, model, "predict"),
            Dialect::BedrockConverse if stream => bedrock("converse-stream"),
            Dialect::BedrockConverse => bedrock("converse"),
            Dialect::BedrockInvoke if stream => bedrock("invoke-with-response-stream"),
            Dialect::BedrockInvoke | Dialect::BedrockInvokeEmbed => bedrock("invoke"),
            Dialect::BedrockCountTokens => bedrock("count-tokens"),
            Dialect::CohereChat => format!("{root}/v2/chat"),
            Dialect::CohereEmbed => format!("{root}/v2/embed"),
            Dialect::CohereRerank => format!("{root}/v2/rerank"),
            Dialect::CohereV1Chat => format!("{root}/v1/chat"),
            Dialect::CohereV1Embed => format!("{root}/v1/embed"),
            Dialect::CohereV1Rerank => format!("{root}/v1/rerank"),
            Dialect::OllamaChat => format!("{root}/api/chat"),
            Dialect::OllamaGenerate => format!("{root}/api/generate"),
        }
    }

    /// A base URL may end in a version's path, as its maker writes it; dialects that have paths of their own lie beside it.
    fn root<'b>(&self, base: &'b str) -> &'b str {
        let ends: &[&str] = match self.name {
            "azure" => &["/openai/v1", "/openai", "/v1"],
            "gemini" => &["/v1beta", "/v1"],
            "cohere" => &["/v2", "/v1"],
            "ollama" => &["/api", "/v1"],
            _ => &["/v1"],
        };
        ends.iter().find_map(|end| base.strip_suffix(end)).unwrap_or(base)
    }

    /// Do all its usual calls in this dialect go to one address?
    pub fn has_one_path(&self, dialect: Dialect) -> bool {
        let one = Address { model: Some("a".into()), stream: Some(true), ..Address::of(dialect) };
        self.path("", &one, Some("api-version=1")) == self.path("", &Address::of(dialect), None)
    }

    fn google(&self, root: &str, base: &str, model: &str, verb: &str) -> String {
        let model = encoded(model, b"/@");
        match self.name {
            "vertex" => format!("{base}/publishers/google/models/{model}:{verb}"),
            _ => format!("{root}/v1beta/models/{model}:{verb}"),
        }
    }

    /// The query of a call: what goes on of the caller's own, and the version that is configured here.
    pub fn query(&self, query: Option<String>, api_version: Option<&str>) -> Option<String> {
        match (query, api_version) {
            // A version that the caller names is the one that its SDK was made for.
            (Some(query), Some(_)) if names_version(&query) => Some(query),
            (Some(query), Some(version)) => Some(format!("{query}&api-version={version}")),
            (None, Some(version)) => Some(format!("api-version={version}")),
            (query, None) => query,
        }
    }

    pub fn key_header(&self) -> HeaderName {
        match self.key {
            Key::Bearer => http::header::AUTHORIZATION,
            Key::Header(name) => HeaderName::from_static(name),
        }
    }

    pub fn key_prefix(&self) -> &'static str {
        if self.key == Key::Bearer { "Bearer " } else { "" }
    }

    /// Adds what every request must have and this one has not.
    pub fn complete(&self, headers: &mut http::HeaderMap) {
        for (name, value) in self.always {
            headers.entry(*name).or_insert(HeaderValue::from_static(value));
        }
    }
}

/// Azure's newer path needs no version; whoever names one means the path with deployments.
fn azure(root: &str, model: &str, rest: &str, query: Option<&str>) -> String {
    let of_deployment = !["/responses", "/files", "/batches", "/uploads"].iter().any(|held| rest.starts_with(held));
    match query.is_some_and(names_version) {
        true if of_deployment => format!("{root}/openai/deployments/{}{rest}", encoded(model, b"")),
        true => format!("{root}/openai{rest}"),
        false => format!("{root}/openai/v1{rest}"),
    }
}

fn names_version(query: &str) -> bool {
    // The newer paths have a version too, which is a word: `preview`, `v1`.
    let version = query.split('&').find_map(|pair| pair.strip_prefix("api-version="));
    version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use tollgate_core::dialects::paths::{Place, Verb};

    use super::*;

    #[test]
    fn every_dialect_has_its_path_at_every_api() {
        for (api, base, dialect, model, stream, expected) in [
            ("openai", "http://h/v1", Dialect::OpenaiChat, "m", false, "http://h/v1/chat/completions"),
            ("azure", "http://h", Dialect::OpenaiChat, "d", false, "http://h/openai/v1/chat/completions"),
            ("anthropic", "http://h", Dialect::AnthropicMessages, "m", true, "http://h/v1/messages"),
            ("gemini", "http://h", Dialect::Gemini, "m", true, "http://h/v1beta/models/m:streamGenerateContent"),
            (
                "vertex",
                "http://h/v1/projects/p/locations/l",
                Dialect::Gemini,
                "m",
                false,
                "http://h/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
            ),
            ("bedrock", "http://h", Dialect::BedrockConverse, "a:0", false, "http://h/model/a%3A0/converse"),
            (
                "bedrock",
                "http://h",
                Dialect::BedrockInvoke,
                "a:0",
                true,
                "http://h/model/a%3A0/invoke-with-response-stream",
            ),
            ("bedrock", "http://h", Dialect::BedrockCountTokens, "a", false, "http://h/model/a/count-tokens"),
            ("cohere", "http://h", Dialect::CohereV1Embed, "m", false, "http://h/v1/embed"),
            ("azure", "http://h/openai/v1", Dialect::OpenaiChat, "d", false, "http://h/openai/v1/chat/completions"),
            ("gemini", "http://h/v1beta", Dialect::Gemini, "m", false, "http://h/v1beta/models/m:generateContent"),
            ("ollama", "http://h/api", Dialect::OllamaChat, "m", false, "http://h/api/chat"),
            ("cohere", "http://h/v2", Dialect::CohereChat, "m", false, "http://h/v2/chat"),
            ("ollama", "http://h/v1", Dialect::OllamaChat, "m", true, "http://h/api/chat"),
            ("ollama", "http://h", Dialect::OllamaChat, "m", true, "http://h/api/chat"),
            ("ollama", "http://h", Dialect::OpenaiChat, "m", true, "http://h/v1/chat/completions"),
            ("ollama", "http://h/v1", Dialect::OpenaiEmbeddings, "m", false, "http://h/v1/embeddings"),
        ] {
            let to = Address { model: Some(model.into()), stream: Some(stream), ..Address::of(dialect) };
            assert_eq!(named(api).unwrap().path(base, &to, None), expected, "{api}");
        }
        let to = Address { model: Some("d".into()), ..Address::of(Dialect::OpenaiChat) };
        let older = named("azure").unwrap().path("http://h", &to, Some("api-version=2024-10-21"));
        assert_eq!(older, "http://h/openai/deployments/d/chat/completions");
        let place = Place { path: "/files/{}/content", id: Some("file-1".into()), verb: Verb::Get };
        let held = Address { place, ..Address::of(Dialect::OpenaiFiles) };
        for (api, base, query, expected) in [
            ("openai", "http://h/v1", None, "http://h/v1/files/file-1/content"),
            ("azure", "http://h", None, "http://h/openai/v1/files/file-1/content"),
            ("azure", "http://h", Some("api-version=2024-10-21"), "http://h/openai/files/file-1/content"),
        ] {
            assert_eq!(named(api).unwrap().path(base, &held, query), expected, "{api}");
        }
    }
}
