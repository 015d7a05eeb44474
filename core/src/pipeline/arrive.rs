//! The first stage's result: a head that was read, a revision that is pinned, and a body that was not touched yet.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderName, header};

use crate::contract::meta::{Declared, Field};
use crate::contract::packed::{Coding, PackedError, Unpacked};
use crate::contract::refusal::{Category, Refusal};
use crate::contract::{Dialect, VERSION, VERSIONS, nearest};
use crate::dialects::paths::Place;
use crate::evidence::receipt::Opening;
use crate::identity::certificate::Certified;
use crate::identity::key;
use crate::identity::ticket::Ticket;
use crate::policy::revision::Revision;
use crate::ports::Beside;

/// The caller's request id may be this long; a longer one is replaced.
const REQUEST_ID_MAX: usize = 128;

/// The headers that may carry a credential, in the order in which they are named to people.
pub static CREDENTIAL_HEADERS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request body as it comes in.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<Bytes, BodyFault>> + Send>>;

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyFault {
    /// The caller went away or broke the framing.
    Broken(String),
    /// Nothing came for this many milliseconds.
    Slow(u64),
    Packed(PackedError),
}

impl From<PackedError> for BodyFault {
    fn from(error: PackedError) -> Self {
        BodyFault::Packed(error)
    }
}

/// A call whose head was read.
pub struct Arrival {
    pub call_id: Arc<str>,
    /// The call id as a number: the id of its hold.
    pub hold_id: u128,
    pub request_id: Arc<str>,
    pub time_ms: i64,
    /// On the steady clock.
    pub started_ms: u64,
    pub dialect: Dialect,
    /// The model and the stream, where the path says them.
    pub asked: Option<Arc<str>>,
    pub stream: Option<bool>,
    /// Where in its dialect it goes.
    pub place: Place,
    pub revision: Arc<Revision>,
    /// A second revision that is live beside it.
    pub beside: Option<Arc<dyn Beside>>,
    /// What is wrong with the head: told by the first stage, so that a receipt is written for it too.
    pub wrong: Option<Refusal>,
    pub head: Head,
    pub declared: Declared,
    pub credential: Option<Credential>,
    /// Whom the connection's client certificate speaks of, where it shows one that is read.
    pub certificate: Option<Arc<Certified>>,
    /// Of the body, where the caller told it.
    pub content_length: Option<u64>,
    pub body: Incoming,
}

/// What of the head later stages read.
pub struct Head {
    pub headers: HeaderMap,
    pub query: Option<String>,
    /// The peer's address, without port.
    pub address: Arc<str>,
    /// Its keyed digest; made once per connection.
    pub address_sealed: Arc<str>,
}

/// A credential as it was sent. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub header: &'static str,
    text: String,
}

impl Credential {
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({}: ***)", self.header)
    }
}

impl Arrival {
    pub fn opening(&self) -> Opening {
        Opening {
            call_id: self.call_id.clone(),
            request_id: self.request_id.clone(),
            time_ms: self.time_ms,
            contract: contract(&self.declared),
            revision: self.revision.id.0.clone(),
            dialect: self.dialect,
        }
    }
}

/// The one credential of a call. Two different ones are refused, naming both headers; one in the URL too.
pub fn credential(headers: &HeaderMap, query: Option<&str>) -> Result<Option<Credential>, Refusal> {
    let auth = |code, reason: String| Err(Refusal::new(Category::Auth, code, reason));
    let mut found: Option<Credential> = None;
    for header in &CREDENTIAL_HEADERS {
        let name = header.as_str();
        for value in headers.get_all(header) {
            let Ok(text) = value.to_str() else {
                return auth("wrong_credential", format!("header `{name}` is no plain text"));
            };
            // Clients that have no key and cannot leave its header out.
            if text.trim().is_empty() || name == "authorization" && text.trim().eq_ignore_ascii_case("bearer") {
                continue;
            }
            let text = match (name, text.split_once(' ')) {
                ("authorization", Some((scheme, token))) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
                ("authorization", _) => {
                    return auth("wrong_credential", "header `authorization` must read `Bearer KEY`".to_owned());
                }
                _ => text.trim(),
            };
            match &found {
                Some(known) if known.text != text => {
                    let first = known.header;
                    return auth(
                        "two_credentials",
                        format!("headers `{first}` and `{name}` carry different credentials: send one"),
                    );
                }
                Some(_) => {}
                None => found = Some(Credential { header: name, text: text.to_owned() }),
            }
        }
    }
    // By the usual names, and by what a key looks like: the query goes on to the provider as it is.
    let in_url = query.into_iter().flat_map(|q| q.split('&')).find(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let named = ["key", "api_key", "api-key", "apikey", "access_token", "x-api-key", "x-goog-api-key"];
        named.iter().any(|known| name.eq_ignore_ascii_case(known)) || looks_like_a_key(value)
    });
    match in_url {
        Some(pair) => auth(
            "credential_in_url",
            format!(
                "the URL carries a credential (`{}`), where logs can see it: send it in the header `authorization: Bearer KEY`",
                pair.split('=').next().unwrap_or_default()
            ),
        ),
        None => Ok(found),
    }
}

/// A body as later stages read it, and its length where that is known: unpacked, where the caller packed it.
pub fn unpacked(headers: &HeaderMap, body: Incoming, length: Option<u64>) -> Result<(Incoming, Option<u64>), Refusal> {
    match Coding::of(headers) {
        Ok(None) => Ok((body, length)),
        Ok(Some(coding)) => Ok((Box::pin(Unpacked::new(body, coding)), None)),
        Err(error) => {
            let told = format!("the body cannot be read: {error}");
            Err(Refusal::invalid("unknown_encoding", "content-encoding", told))
        }
    }
}

fn looks_like_a_key(text: &str) -> bool {
    key::Presented::parse(text).is_some() || Ticket::looks_like(text)
}

/// The caller's request id, if it is one; else ours.
pub fn request_id(headers: &HeaderMap, ours: &Arc<str>) -> Arc<str> {
    sent_request_id(headers).map_or_else(|| ours.clone(), Into::into)
}

/// The caller's request id, where it sent one that can be echoed.
pub fn sent_request_id(headers: &HeaderMap) -> Option<&str> {
    let sent = headers.get(&REQUEST_ID)?.to_str().ok()?;
    let fits = !sent.is_empty() && sent.len() <= REQUEST_ID_MAX && sent.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(sent)
}

/// The contract version of a call: that which was asked for, else the newest.
pub fn contract(declared: &Declared) -> Cow<'static, str> {
    declared.get(Field::Version).map_or(Cow::Borrowed(VERSION), |v| Cow::Owned(v.to_owned()))
}

/// The contract version that was asked for must be one that is served.
pub fn version(declared: &Declared) -> Result<(), Refusal> {
    match declared.get(Field::Version) {
        Some(asked) if !VERSIONS.contains(&asked) => Err(Refusal::invalid(
            "unknown_version",
            Field::Version.header(),
            format!("`{asked}` is no version of the contract{}", {
                let hint = nearest::hint(asked, VERSIONS);
                if hint.is_empty() { format!(": served are `{}`", VERSIONS.join("`, `")) } else { hint }
            }),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Headers of the caller that go on to the provider: by allow-list, so that nothing new leaks by default.
pub fn forwarded(dialect: Dialect, headers: &HeaderMap, besides: &[http::HeaderName]) -> HeaderMap {
    let family = family(dialect);
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        let goes = match name.as_str() {
            "user-agent" | "x-client-request-id" | "idempotency-key" => true,
            other => other.starts_with(family) || other.starts_with("x-stainless-") || besides.contains(name),
        };
        if goes {
            out.append(name.clone(), value.clone());
        }
    }
    if let Some(accept) = headers.get(header::ACCEPT) {
        out.insert(header::ACCEPT, accept.clone());
    }
    out
}

/// How the headers begin that mean something to the providers of a dialect, in both directions. Credentials begin with none.
pub fn family(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenaiChat
        | Dialect::OpenaiResponses
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiEmbeddings
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches => "openai-",
        Dialect::AnthropicMessages | Dialect::AnthropicCountTokens => "anthropic-",
        Dialect::Gemini | Dialect::GeminiCountTokens | Dialect::GeminiEmbed | Dialect::GeminiBatchEmbed => {
            "x-goog-api-client"
        }
        Dialect::VertexPredict => "x-goog-api-client",
        Dialect::BedrockConverse
        | Dialect::BedrockInvoke
        | Dialect::BedrockInvokeEmbed
        | Dialect::BedrockCountTokens => "x-amzn-bedrock-",
        Dialect::CohereChat
        | Dialect::CohereEmbed
        | Dialect::CohereRerank
        | Dialect::CohereV1Chat
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank => "x-client-name",
        Dialect::OllamaChat | Dialect::OllamaGenerate => "ollama-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_credential_comes_in_one_of_four_headers_and_only_once() {
        for (list, query, expected, why) in [
            (vec![("authorization", "Bearer k")], None, Ok(Some("k")), "bearer"),
            (vec![("authorization", "bearer  k")], None, Ok(Some("k")), "any case"),
            (vec![("x-api-key", "k")], None, Ok(Some("k")), "anthropic's header"),
            (vec![("api-key", "k")], None, Ok(Some("k")), "azure's"),
            (vec![("x-goog-api-key", "k")], Some("alt=sse"), Ok(Some("k")), "google's"),
            (vec![("x-api-key", "k"), ("authorization", "Bearer k")], None, Ok(Some("k")), "the same twice is one"),
            (vec![("x-api-key", "k"), ("api-key", "other")], None, Err("`x-api-key` and `api-key`"), "two different"),
            (vec![("authorization", "Basic k")], None, Err("Bearer KEY"), "another scheme"),
            (vec![("authorization", ""), ("api-key", " ")], None, Ok(None), "headers with nothing in them"),
            (vec![("authorization", "Bearer")], None, Ok(None), "a scheme with nothing behind it"),
            (vec![("authorization", "Bearer "), ("x-api-key", "k")], None, Ok(Some("k")), "the one that is there"),
            (vec![], Some("key=k"), Err("URL carries"), "in the URL"),
            (vec![], None, Ok(None), "none"),
        ] {
            let got = credential(&headers(&list), query);
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got.as_ref().map(Credential::reveal), expected, "{why}"),
                (Err(got), Err(told)) => assert!(got.reason.contains(told), "{why}: {}", got.reason),
                (got, _) => panic!("{why}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_wild_request_id_is_replaced() {
        let ours: Arc<str> = "ours".into();
        let long = "x".repeat(129);
        for (sent, expected) in [("abc-1", "abc-1"), ("with space", "ours"), (&*long, "ours")] {
            assert_eq!(&*request_id(&headers(&[("x-request-id", sent)]), &ours), expected);
        }
    }
}
