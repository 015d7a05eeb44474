//! Which dialect is spoken at which path, and what of the call the path says.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;

use crate::contract::{Dialect, Operation};

/// What a path says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub dialect: Dialect,
    /// The model, where it stands in the path.
    pub model: Option<Arc<str>>,
    /// Streamed or not, where the path says it.
    pub stream: Option<bool>,
    pub place: Place,
}

/// Where in its dialect a call goes, where that is not its one usual path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    pub verb: Verb,
    /// Below the version's path, with `{}` for the id: `/images/edits`, `/files/{}/content`. Empty = the dialect's usual one.
    pub path: &'static str,
    /// Of what the provider holds.
    pub id: Option<Arc<str>>,
}

/// What is done there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verb {
    #[default]
    Post,
    Get,
    Delete,
}

impl Verb {
    pub fn of(method: &Method) -> Option<Verb> {
        [Verb::Post, Verb::Get, Verb::Delete].into_iter().find(|verb| verb.method() == *method)
    }

    pub fn method(self) -> Method {
        match self {
            Verb::Post => Method::POST,
            Verb::Get => Method::GET,
            Verb::Delete => Method::DELETE,
        }
    }
}

impl Place {
    /// The dialect's usual place: most calls go there.
    pub fn is_usual(&self) -> bool {
        self.path.is_empty()
    }

    /// The path, with its id.
    pub fn filled(&self) -> Cow<'static, str> {
        match &self.id {
            Some(id) => self.path.replace("{}", id).into(),
            None => self.path.into(),
        }
    }

    /// For people; `None` = the usual one.
    pub fn told(&self) -> Option<Box<str>> {
        (!self.is_usual()).then(|| format!("{} {}", self.verb.method(), self.filled()).into())
    }

    /// Nothing is computed here: what the provider holds is looked up, kept, ended or taken away.
    pub fn computes_nothing(&self, dialect: Dialect) -> bool {
        self.verb != Verb::Post || self.id.is_some() || dialect.operation() == Operation::Files
    }

    /// Lists what the provider holds for everybody who calls through its one account.
    pub fn lists_all(&self) -> bool {
        self.verb == Verb::Get && self.id.is_none()
    }
}

impl Address {
    /// Of a dialect whose calls all have one path.
    pub fn of(dialect: Dialect) -> Address {
        Address { dialect, model: None, stream: None, place: Place::default() }
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
    ("/v1/images/generations", Dialect::OpenaiImages, "/images/generations"),
    ("/v1/images/edits", Dialect::OpenaiImages, "/images/edits"),
    ("/v1/images/variations", Dialect::OpenaiImages, "/images/variations"),
    ("/v1/audio/speech", Dialect::OpenaiAudio, "/audio/speech"),
    ("/v1/audio/transcriptions", Dialect::OpenaiAudio, "/audio/transcriptions"),
    ("/v1/audio/translations", Dialect::OpenaiAudio, "/audio/translations"),
    ("/v2/chat", Dialect::CohereChat, ""),
    ("/v2/embed", Dialect::CohereEmbed, ""),
    ("/v2/rerank", Dialect::CohereRerank, ""),
    ("/v1/chat", Dialect::CohereV1Chat, ""),
    ("/v1/embed", Dialect::CohereV1Embed, ""),
    ("/v1/rerank", Dialect::CohereV1Rerank, ""),
    ("/api/chat", Dialect::OllamaChat, ""),
    ("/api/generate", Dialect::OllamaGenerate, ""),
];

/// What providers hold, below `/v1`, `/openai/v1` and `/openai`: what can be done with it, and where.
const HELD: &[(&[Verb], &str, Dialect)] = &[
    (&[Verb::Post, Verb::Get], "/files", Dialect::OpenaiFiles),
    (&[Verb::Get, Verb::Delete], "/files/{}", Dialect::OpenaiFiles),
    (&[Verb::Get], "/files/{}/content", Dialect::OpenaiFiles),
    (&[Verb::Post], "/uploads", Dialect::OpenaiFiles),
    (&[Verb::Post], "/uploads/{}/parts", Dialect::OpenaiFiles),
    (&[Verb::Post], "/uploads/{}/complete", Dialect::OpenaiFiles),
    (&[Verb::Post], "/uploads/{}/cancel", Dialect::OpenaiFiles),
    (&[Verb::Post, Verb::Get], "/batches", Dialect::OpenaiBatches),
    (&[Verb::Get], "/batches/{}", Dialect::OpenaiBatches),
    (&[Verb::Post], "/batches/{}/cancel", Dialect::OpenaiBatches),
    (&[Verb::Get, Verb::Delete], "/responses/{}", Dialect::OpenaiResponses),
    (&[Verb::Get], "/responses/{}/input_items", Dialect::OpenaiResponses),
    (&[Verb::Post], "/responses/{}/cancel", Dialect::OpenaiResponses),
];

/// An id is this long at most, of letters, digits, `-` and `_`: nothing of it can lead to another path.
pub const ID_MAX: usize = 128;

/// Behind `models/MODEL:`.
const GEMINI: &[(&str, Dialect, Option<bool>)] = &[
    ("generateContent", Dialect::Gemini, Some(false)),
    ("streamGenerateContent", Dialect::Gemini, Some(true)),
    ("countTokens", Dialect::GeminiCountTokens, None),
    ("embedContent", Dialect::GeminiEmbed, None),
    ("batchEmbedContents", Dialect::GeminiBatchEmbed, None),
    ("predict", Dialect::VertexPredict, None),
];

/// Behind `/model/MODEL/`.
const BEDROCK: &[(&str, Dialect, Option<bool>)] = &[
    ("converse", Dialect::BedrockConverse, Some(false)),
    ("converse-stream", Dialect::BedrockConverse, Some(true)),
    ("invoke", Dialect::BedrockInvoke, Some(false)),
    ("invoke-with-response-stream", Dialect::BedrockInvoke, Some(true)),
    ("count-tokens", Dialect::BedrockCountTokens, None),
];

/// A call, by how and where it comes; `None` = nothing is there.
pub fn call(method: &Method, path: &str) -> Option<Address> {
    let verb = Verb::of(method)?;
    let posted = if verb == Verb::Post { address(path) } else { None };
    posted.or_else(|| held(path).find(|(verbs, _)| verbs.contains(&verb)).map(|(_, found)| with_verb(found, verb)))
}

/// Whose path it is, whatever is done there.
pub fn dialect(path: &str) -> Option<Dialect> {
    address(path).or_else(|| held(path).next().map(|(_, found)| found)).map(|found| found.dialect)
}

fn with_verb(found: Address, verb: Verb) -> Address {
    Address { place: Place { verb, ..found.place }, ..found }
}

fn held(path: &str) -> impl Iterator<Item = (&'static [Verb], Address)> + '_ {
    let below = ["/v1", "/openai/v1", "/openai"].into_iter().find_map(|version| path.strip_prefix(version));
    let below = below.filter(|below| below.starts_with('/')).unwrap_or_default();
    HELD.iter().filter_map(move |(verbs, template, dialect)| {
        let id = match template.split_once("{}") {
            None if *template == below => None,
            Some((before, after)) => {
                Some(below.strip_prefix(before)?.strip_suffix(after).filter(|id| is_id(id))?.into())
            }
            None => return None,
        };
        let place = Place { path: template, id, ..Place::default() };
        Some((*verbs, Address { place, ..Address::of(*dialect) }))
    })
}

/// Can this be the id of something that a provider holds?
pub fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    !text.is_empty() && text.len() <= ID_MAX && text.bytes().all(plain)
}

/// Every path of a call, as templates (`{model}`, `{id}`), and what each says: for who describes them.
pub fn templates() -> impl Iterator<Item = (String, Address)> {
    let fixed = FIXED.iter().flat_map(|(path, ..)| {
        let below = path.strip_prefix("/v1/");
        let azure = below.map(|below| format!("/openai/v1/{below}"));
        let deployment = below.map(|below| format!("/openai/deployments/{{model}}/{below}"));
        [Some((*path).to_owned()), azure, deployment]
    });
    let bedrock = BEDROCK.iter().map(|(verb, ..)| Some(format!("/model/{{model}}/{verb}")));
    let gemini = GEMINI_BEFORE
        .iter()
        .flat_map(|before| GEMINI.iter().map(move |(verb, ..)| Some(format!("{before}/{{model}}:{verb}"))));
    let posted = fixed.chain(bedrock).chain(gemini).flatten();
    posted.filter_map(|path| address(&path).map(|told| (path, told))).chain(held_templates())
}

fn held_templates() -> impl Iterator<Item = (String, Address)> {
    let each =
        HELD.iter().flat_map(|(verbs, template, dialect)| verbs.iter().map(move |verb| (*verb, *template, *dialect)));
    each.flat_map(|(verb, template, dialect)| {
        let id = template.contains("{}").then(|| "{id}".into());
        let told = Address { place: Place { verb, path: template, id }, ..Address::of(dialect) };
        ["/v1", "/openai/v1"].map(|below| (format!("{below}{}", told.place.filled()), told.clone()))
    })
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
    if path == "/openai/responses" {
        return fixed("/v1/responses");
    }
    if let Some(rest) = path.strip_prefix("/openai/deployments/") {
        // Names of deployments have no slash.
        let (deployment, rest) = rest.split_once('/')?;
        let found = fixed(&format!("/v1/{rest}"))?;
        return Some(Address { model: Some(decoded(deployment)?), ..found });
    }
    if let Some(rest) = path.strip_prefix("/model/") {
        let (model, verb) = rest.rsplit_once('/')?;
        let (_, dialect, stream) = BEDROCK.iter().find(|(known, ..)| *known == verb)?;
        let model = decoded(model)?;
        // The path is the same whatever a model does; those that make vectors say so in their names.
        let dialect = if verb == "invoke" && model.contains("embed") { &Dialect::BedrockInvokeEmbed } else { dialect };
        return Some(Address { model: Some(model), stream: *stream, ..Address::of(*dialect) });
    }
    gemini(path)
}

fn fixed(path: &str) -> Option<Address> {
    let (_, dialect, below) = FIXED.iter().find(|(known, ..)| *known == path)?;
    Some(Address { place: Place { path: below, ..Place::default() }, ..Address::of(*dialect) })
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
#[path = "paths_tests.rs"]
mod tests;
