//! Blocks of content, written: for a model, which refuses what it does not know, and for a caller, who sends them back.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::media::{self, Names};
use super::model::Family;
use crate::contract::base64;
use crate::contract::canonical::CacheMark;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{
    Citation, Kind, Maker, Media, Part, Reasoning, Signature, Source, ToolCall, ToolResult,
};
use crate::contract::read::{Raw, as_text, find, is_object, loose};
use crate::contract::write::Writer;
use crate::dialects::{Quirks, sealed};

/// The longest id of a call.
const ID_CHARS_MAX: usize = 64;
/// What a tool gave that gave nothing: a text without words is refused.
const NOTHING_GIVEN: &str = "(empty)";

/// One block, as it will stand there.
pub enum Block<'p> {
    Text(&'p str),
    Cited { text: &'p str, citations: &'p [Citation<'p>] },
    Media(media::Block<'p>),
    Call { id: Cow<'p, str>, name: &'p str, input: Cow<'p, str> },
    Result { id: Cow<'p, str>, blocks: Vec<Block<'p>>, error: bool },
    Thought { text: &'p str, signature: Option<Cow<'p, str>> },
    Redacted(Cow<'p, str>),
    Cache(CacheMark),
}

impl Block<'_> {
    pub fn write(&self, w: &mut Writer) {
        w.object(|w| match self {
            Block::Text(text) => w.member("text", *text),
            Block::Cited { text, citations } => w.object_member("citationsContent", |w| {
                w.list_member("content", |w| w.object(|w| w.member("text", *text)));
                w.list_member("citations", |w| citations.iter().for_each(|c| write_citation(w, c)));
            }),
            Block::Media(media) => media.write(w),
            Block::Call { id, name, input } => w.object_member("toolUse", |w| {
                w.member("toolUseId", id);
                w.member("name", *name);
                w.json_member("input", input);
            }),
            Block::Result { id, blocks, error } => w.object_member("toolResult", |w| {
                w.member("toolUseId", id);
                w.list_member("content", |w| blocks.iter().for_each(|block| block.write(w)));
                if *error {
                    w.member("status", "error");
                }
            }),
            Block::Thought { text, signature } => w.object_member("reasoningContent", |w| {
                w.object_member("reasoningText", |w| {
                    w.member("text", *text);
                    w.member_some("signature", signature);
                });
            }),
            Block::Redacted(data) => w.object_member("reasoningContent", |w| w.member("redactedContent", data)),
            Block::Cache(mark) => write_mark(w, *mark),
        });
    }
}

pub fn write_mark(w: &mut Writer, mark: CacheMark) {
    w.object_member("cachePoint", |w| {
        w.member("type", "default");
        match mark {
            CacheMark::Minutes5 => {}
            CacheMark::Hour => w.member("ttl", "1h"),
        }
    });
}

/// As it was said here, or made of what another dialect said.
fn write_citation(w: &mut Writer, citation: &Citation<'_>) {
    match citation.json.filter(|json| is_own(json)) {
        Some(json) => w.value(json),
        None => w.object(|w| {
            let cited = citation.cited.as_deref();
            citation_members(w, citation.url.as_deref(), citation.title.as_deref(), cited);
        }),
    }
}

pub fn citation_members(w: &mut Writer, url: Option<&str>, title: Option<&str>, cited: Option<&str>) {
    w.member_some("title", &title);
    if let Some(cited) = cited {
        w.list_member("sourceContent", |w| w.object(|w| w.member("text", cited)));
    }
    if let Some(url) = url {
        w.object_member("location", |w| w.object_member("web", |w| w.member("url", url)));
    }
}

fn is_own(json: Raw<'_>) -> bool {
    let members = loose(json);
    find(&members, "type").is_none()
        && (find(&members, "location").is_some_and(is_object) || find(&members, "sourceContent").is_some())
}

/// The id as it is taken here: a pure function of the id, so that a call and its result still match.
pub fn call_id(id: &str) -> Cow<'_, str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !id.is_empty() && id.len() <= ID_CHARS_MAX && id.bytes().all(legal) {
        return Cow::Borrowed(id);
    }
    Cow::Owned(format!("tooluse_{}", &blake3::hash(id.as_bytes()).to_hex()[..32]))
}

/// Is this the text of a JSON object?
pub fn is_json_object(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Says parts to a model.
pub struct ToModel<'q> {
    pub family: Family,
    pub quirks: &'q Quirks,
    pub names: Names,
    pub lost: Vec<Loss>,
}

impl ToModel<'_> {
    /// Not where the provider was said to lack it.
    pub fn says(&self, element: Element) -> bool {
        !self.quirks.lacks.contains(&element)
    }

    /// Each loss is told once.
    pub fn lose(&mut self, loss: Loss) {
        if !self.lost.contains(&loss) {
            self.lost.push(loss);
        }
    }

    pub fn say<'p>(&mut self, part: &'p Part<'_>, out: &mut Vec<Block<'p>>) {
        match &part.kind {
            // A text without a word is refused.
            Kind::Text { text, .. } if text.is_empty() => {}
            Kind::Text { text, citations } if citations.iter().any(|c| c.json.is_some_and(is_own)) => {
                out.push(Block::Cited { text, citations });
            }
            Kind::Text { text, .. } => out.push(Block::Text(text)),
            Kind::Refusal(text) => out.push(Block::Text(text)),
            Kind::Media(media) => self.media(media, out),
            Kind::ToolCall(call) => self.call(call, part.signature.as_ref(), out),
            Kind::ToolResult(result) => self.result(result, out),
            Kind::Reasoning(reasoning) => self.thought(reasoning, part.signature.as_ref(), out),
            // Told as lost before.
            Kind::Native { .. } => {}
        }
        if let Some(mark) = part.cache.filter(|_| !out.is_empty()) {
            if self.family.caches() && self.says(Element::CacheMarks) {
                out.push(Block::Cache(mark));
            } else {
                self.lose(Loss::value(Element::CacheMarks, "this model keeps no cache of prompts"));
            }
        }
    }

    fn media<'p>(&mut self, media: &'p Media<'_>, out: &mut Vec<Block<'p>>) {
        match media::Block::of(media, &mut self.names) {
            Ok(block) => out.push(Block::Media(block)),
            // Told as lost before.
            Err(_) if matches!(media.source, Source::Url(_)) => {}
            Err(loss) => self.lose(loss),
        }
    }

    fn call<'p>(&mut self, call: &'p ToolCall<'_>, seal: Option<&Signature<'_>>, out: &mut Vec<Block<'p>>) {
        if seal.is_some() {
            self.lose(Loss::value(Element::ReasoningSigned, "a seal of another maker on a call"));
        }
        let mut input = call.arguments_json();
        if !is_json_object(input) {
            self.lose(Loss::value(Element::ToolCalls, format!("the arguments of `{}` are no JSON object", call.name)));
            input = "{}";
        }
        out.push(Block::Call { id: call_id(&call.id), name: &call.name, input: input.into() });
    }

    fn result<'p>(&mut self, result: &'p ToolResult<'_>, out: &mut Vec<Block<'p>>) {
        let mut blocks = Vec::new();
        for part in &result.parts {
            match &part.kind {
                Kind::Text { text, .. } | Kind::Refusal(text) if !text.is_empty() => blocks.push(Block::Text(text)),
                Kind::Media(media) => self.media(media, &mut blocks),
                Kind::Text { .. }
                | Kind::Refusal(_)
                | Kind::ToolCall(_)
                | Kind::ToolResult(_)
                | Kind::Reasoning(_)
                | Kind::Native { .. } => {}
            }
        }
        if blocks.is_empty() {
            blocks.push(Block::Text(NOTHING_GIVEN));
        }
        let knows = self.family.is_claude() || self.family.is_nova();
        let error = result.error && knows && self.says(Element::ToolResultError);
        if result.error && !error {
            self.lose(Loss::value(Element::ToolResultError, "this model knows no failed results"));
        }
        out.push(Block::Result { id: call_id(&result.call_id), blocks, error });
    }

    /// Thoughts go back to whose they are, with their seal; all others would be refused.
    fn thought<'p>(&mut self, reasoning: &'p Reasoning<'_>, seal: Option<&'p Signature<'_>>, out: &mut Vec<Block<'p>>) {
        let own = seal.is_some_and(|s| s.by == self.family.maker());
        match (&reasoning.encrypted, seal) {
            (Some(data), Some(seal)) if own => out.push(Block::Redacted(match seal.by {
                Maker::Anthropic => base64::encode(data.as_bytes()).into(),
                Maker::Google | Maker::Openai | Maker::Other => Cow::Borrowed(data),
            })),
            (Some(_), _) => self.lose(Loss::value(Element::ReasoningEncrypted, "sealed by another maker")),
            (None, Some(seal)) if own && !seal.data.is_empty() => {
                out.push(Block::Thought { text: &reasoning.text, signature: Some(Cow::Borrowed(&seal.data)) });
            }
            (None, Some(_)) => self.lose(Loss::value(Element::ReasoningSigned, "sealed by another maker")),
            (None, None) if reasoning.text.is_empty() => {}
            (None, None) => {
                self.lose(Loss::value(Element::ReasoningText, "thoughts without a seal are not taken back"));
            }
        }
    }
}

/// Says a part of an answer to a caller. Seals of other makers ride in members that callers send back as they came.
pub fn tell<'p>(part: &'p Part<'_>, names: &mut Names, lost: &mut Vec<Loss>, out: &mut Vec<Block<'p>>) {
    match &part.kind {
        Kind::Text { text, citations } if citations.is_empty() => out.push(Block::Text(text)),
        Kind::Text { text, citations } => out.push(Block::Cited { text, citations }),
        Kind::Refusal(text) => out.push(Block::Text(text)),
        Kind::Media(media) => match media::Block::of(media, names) {
            Ok(block) => out.push(Block::Media(block)),
            Err(loss) => lost.push(loss),
        },
        Kind::ToolCall(call) => {
            let input = call.arguments_told();
            if !is_json_object(call.arguments_json()) {
                lost.push(Loss::value(
                    Element::ToolCalls,
                    format!("the arguments of `{}` are no JSON object", call.name),
                ));
            }
            let id = sealed::seal_id(&call.id, part.signature.as_ref());
            return out.push(Block::Call { id, name: &call.name, input });
        }
        Kind::Reasoning(reasoning) => return thought(reasoning, part.signature.as_ref(), out),
        Kind::ToolResult(_) => lost.push(Loss::of(Element::ToolResults)),
        Kind::Native { .. } => lost.push(Loss::of(Element::NativePart)),
    }
    // A seal on what has no member for it: a thought without words behind it.
    if let Some(seal) = part.signature.as_ref().and_then(sealed::tag) {
        out.push(Block::Thought { text: "", signature: Some(seal.into()) });
    }
}

fn thought<'p>(reasoning: &'p Reasoning<'_>, seal: Option<&'p Signature<'_>>, out: &mut Vec<Block<'p>>) {
    let signature = seal.filter(|s| !s.data.is_empty()).map(told_seal);
    if !reasoning.text.is_empty() || (signature.is_some() && reasoning.encrypted.is_none()) {
        out.push(Block::Thought { text: &reasoning.text, signature });
    }
    if let Some(data) = &reasoning.encrypted {
        out.push(Block::Redacted(told_encrypted(data, seal.map(|s| s.by), reasoning.id.as_deref())));
    }
}

/// A seal as a caller is told it: Anthropic's as it is, others with their maker's name.
pub fn told_seal<'p>(seal: &'p Signature<'_>) -> Cow<'p, str> {
    match seal.by {
        Maker::Anthropic | Maker::Other => Cow::Borrowed(&seal.data),
        Maker::Google | Maker::Openai => sealed::tag(seal).map_or(Cow::Borrowed(&*seal.data), Cow::Owned),
    }
}

/// Sealed thoughts as a caller is told them, in base64: SDKs decode it, and encode it again when they send it back.
pub fn told_encrypted<'p>(data: &'p str, by: Option<Maker>, id: Option<&str>) -> Cow<'p, str> {
    match by {
        Some(Maker::Anthropic) => base64::encode(data.as_bytes()).into(),
        Some(by @ (Maker::Google | Maker::Openai)) => {
            let named = Signature { by, data: format!("{}.{data}", id.unwrap_or_default()).into() };
            base64::encode(sealed::tag(&named).unwrap_or_default().as_bytes()).into()
        }
        // What came in base64 goes so; what nobody can give back is at least whole.
        Some(Maker::Other) | None if base64::decode(data).is_some() => Cow::Borrowed(data),
        Some(Maker::Other) | None => base64::encode(data.as_bytes()).into(),
    }
}

/// Labels of the caller within the bounds that the dialect has for them.
pub fn labels_fit(raw: Raw<'_>) -> bool {
    let legal = |text: &str| {
        text.chars().count() <= 256
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c))
    };
    let labels = loose(raw);
    (1..=16).contains(&labels.len())
        && labels
            .iter()
            .all(|(name, raw)| !name.is_empty() && legal(name) && as_text(raw).as_deref().is_some_and(legal))
}
