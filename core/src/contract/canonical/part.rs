//! The parts of a conversation: who says what. The same parts make up requests and answers.

use std::borrow::Cow;

use super::CacheMark;
use crate::contract::read::{Raw, is_object};
use crate::contract::write::Writer;

#[derive(Debug, Clone)]
pub struct Message<'a> {
    pub role: Role,
    /// Of one participant among several in the same role.
    pub name: Option<Cow<'a, str>>,
    pub parts: Vec<Part<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    System,
    /// Instructions that rank below the system's and above the user's; most dialects know only the system.
    Developer,
    User,
    Assistant,
    /// Holds results of tools only. Dialects that have no such role carry them in a message of the user.
    Tool,
}

impl Role {
    /// Does it instruct rather than converse?
    pub fn instructs(self) -> bool {
        match self {
            Role::System | Role::Developer => true,
            Role::User | Role::Assistant | Role::Tool => false,
        }
    }
}

/// One part, with the marks that may stand on any.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    pub kind: Kind<'a>,
    /// Behind this part the provider may cache what stands before.
    pub cache: Option<CacheMark>,
    /// The provider's seal on what the model thought; it must come back on the same part.
    pub signature: Option<Signature<'a>>,
}

#[derive(Debug, Clone)]
pub enum Kind<'a> {
    Text {
        text: Cow<'a, str>,
        citations: Vec<Citation<'a>>,
    },
    /// The model says that it will not answer.
    Refusal(Cow<'a, str>),
    Media(Media<'a>),
    ToolCall(ToolCall<'a>),
    ToolResult(ToolResult<'a>),
    Reasoning(Reasoning<'a>),
    /// A part that only its own dialect knows, as it stands there: a server tool's result, a compaction, ...
    Native {
        kind: Cow<'a, str>,
        json: Raw<'a>,
    },
}

#[derive(Debug, Clone)]
pub struct Media<'a> {
    pub what: MediaKind,
    pub source: Source<'a>,
    /// `image/png`; where the dialect tells a format only, as its usual type. Empty = not told.
    pub mime: Cow<'a, str>,
    /// File name or title.
    pub name: Option<Cow<'a, str>>,
    /// `low`, `high`, `auto`: how closely a picture shall be looked at.
    pub detail: Option<Cow<'a, str>>,
    /// About a document, for the model.
    pub context: Option<Cow<'a, str>>,
    /// The answer shall cite this document.
    pub cite: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Image,
    Audio,
    Video,
    Document,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source<'a> {
    /// Standard base64.
    Base64(Cow<'a, str>),
    Url(Cow<'a, str>),
    /// Uploaded before: known to one provider only.
    File(Cow<'a, str>),
    /// Plain text, of a document.
    Text(Cow<'a, str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall<'a> {
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    /// JSON as text. In answers it is what the model wrote, which need not be valid; empty reads as `{}`.
    pub arguments: Cow<'a, str>,
}

#[derive(Debug, Clone)]
pub struct ToolResult<'a> {
    pub call_id: Cow<'a, str>,
    /// Of the tool, where the dialect repeats it.
    pub name: Option<Cow<'a, str>>,
    /// Texts and media.
    pub parts: Vec<Part<'a>>,
    pub error: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Reasoning<'a> {
    /// Thoughts, or a summary of them. Empty where all is sealed.
    pub text: Cow<'a, str>,
    /// Thoughts that only their provider can read.
    pub encrypted: Option<Cow<'a, str>>,
    pub id: Option<Cow<'a, str>>,
    /// It is a summary, not the thoughts themselves.
    pub summary: bool,
}

/// A provider's seal, and whose: nobody else can read it, and a foreign one is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature<'a> {
    pub by: Maker,
    pub data: Cow<'a, str>,
}

/// Whose models sealed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Maker {
    Anthropic,
    Google,
    Openai,
    Other,
}

/// What a piece of text rests on.
#[derive(Debug, Clone, Default)]
pub struct Citation<'a> {
    pub url: Option<Cow<'a, str>>,
    pub title: Option<Cow<'a, str>>,
    /// The words that are cited.
    pub cited: Option<Cow<'a, str>>,
    /// Where in the answer's text it belongs, in code points.
    pub start: Option<u64>,
    pub end: Option<u64>,
    /// As its own dialect says it.
    pub json: Option<Raw<'a>>,
}

impl<'a> From<Kind<'a>> for Part<'a> {
    fn from(kind: Kind<'a>) -> Self {
        Part { kind, cache: None, signature: None }
    }
}

impl<'a> Part<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Kind::Text { text: text.into(), citations: Vec::new() }.into()
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text { text, .. } => Some(text),
            Kind::Refusal(_)
            | Kind::Media(_)
            | Kind::ToolCall(_)
            | Kind::ToolResult(_)
            | Kind::Reasoning(_)
            | Kind::Native { .. } => None,
        }
    }
}

impl ToolCall<'_> {
    /// The arguments as a JSON object: what models leave empty is `{}`.
    pub fn arguments_json(&self) -> &str {
        let text = self.arguments.trim();
        if text.is_empty() { "{}" } else { text }
    }

    /// The arguments for callers whose dialect has objects only. What is none stands in one as it was written, under a name
    /// that no schema has: a tool that is called with nothing instead does something else than the model meant.
    pub fn arguments_told(&self) -> Cow<'_, str> {
        match self.arguments_json() {
            "null" => Cow::Borrowed("{}"),
            text if serde_json::from_str::<Raw<'_>>(text).is_ok_and(is_object) => Cow::Borrowed(text),
            _ => {
                let json = Writer::object_text(|w| w.member("_invalid_json", &self.arguments));
                Cow::Owned(String::from_utf8_lossy(&json).into_owned())
            }
        }
    }
}

impl ToolResult<'_> {
    /// Documents that are texts become words in their place, for dialects whose results hold none: with what else stood in
    /// them as an object, bare where there was nothing else.
    pub fn documents_as_words(&mut self) {
        for part in &mut self.parts {
            let Kind::Media(Media { what: MediaKind::Document, source: Source::Text(text), name, context, .. }) =
                &mut part.kind
            else {
                continue;
            };
            let words = match (&name, &context) {
                (None, None) => std::mem::take(text),
                (name, context) => {
                    let json = Writer::object_text(|w| {
                        w.member_some("title", name);
                        w.member("text", text);
                        match context.as_deref().map(|c| (c, serde_json::from_str::<Raw<'_>>(c).is_ok())) {
                            Some((context, true)) => w.json_member("context", context),
                            Some((context, false)) => w.member("context", context),
                            None => {}
                        }
                    });
                    Cow::Owned(String::from_utf8_lossy(&json).into_owned())
                }
            };
            part.kind = Part::text(words).kind;
        }
    }
}

/// The texts of these parts, joined by line ends; `None` where there is something else among them.
pub fn only_text<'a>(parts: &[Part<'a>]) -> Option<Cow<'a, str>> {
    if let [Part { kind: Kind::Text { text, .. }, .. }] = parts {
        return Some(text.clone());
    }
    let texts: Option<Vec<&str>> = parts.iter().map(Part::as_text).collect();
    texts.map(|texts| Cow::Owned(texts.join("\n")))
}

impl Media<'_> {
    /// The words of a document that is a text, its title before them: for dialects that have no place for a title.
    pub fn words(&self) -> Option<Cow<'_, str>> {
        let Source::Text(text) = &self.source else { return None };
        match self.name.as_deref().filter(|title| !title.is_empty()) {
            Some(title) => Some(Cow::Owned(format!("{title}\n\n{text}"))),
            None => Some(Cow::Borrowed(text)),
        }
    }

    pub fn of<'a>(what: MediaKind, source: Source<'a>, mime: impl Into<Cow<'a, str>>) -> Media<'a> {
        Media { what, source, mime: mime.into(), name: None, detail: None, context: None, cite: false }
    }
}

/// `data:image/png;base64,iVBOR...` to type and data.
pub fn data_url(url: &str) -> Option<(&str, &str)> {
    let (mime, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((mime.strip_suffix(";base64")?, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_in_results_become_words_where_they_must() {
        let document = |name: Option<&'static str>, context: Option<&'static str>| {
            let media = Media::of(MediaKind::Document, Source::Text("w".into()), "text/plain");
            Kind::Media(Media { name: name.map(Into::into), context: context.map(Into::into), ..media }).into()
        };
        let picture = Kind::Media(Media::of(MediaKind::Image, Source::Url("http://h/a".into()), "")).into();
        let parts =
            vec![document(None, None), picture, document(Some("t"), Some("{\"a\":1}")), document(None, Some("of old"))];
        let mut result = ToolResult { call_id: "c".into(), name: None, parts, error: false };
        result.documents_as_words();
        let words: Vec<Option<&str>> = result.parts.iter().map(Part::as_text).collect();
        let with_title = r#"{"title":"t","text":"w","context":{"a":1}}"#;
        assert_eq!(words, [Some("w"), None, Some(with_title), Some(r#"{"text":"w","context":"of old"}"#)]);
    }

    #[test]
    fn the_title_of_a_document_stands_before_its_words() {
        for (name, expected) in [(None, "w"), (Some(""), "w"), (Some("Boats"), "Boats\n\nw")] {
            let media = Media::of(MediaKind::Document, Source::Text("w".into()), "text/plain");
            let media = Media { name: name.map(Into::into), ..media };
            assert_eq!(media.words().as_deref(), Some(expected));
        }
    }

    #[test]
    fn arguments_that_are_no_object_are_told_as_they_were_written() {
        for (arguments, told) in [
            ("", "{}"),
            ("null", "{}"),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            (r#"{"path": "/tmp/x",}"#, r#"{"_invalid_json":"{\"path\": \"/tmp/x\",}"}"#),
            (r#"{"a":"#, r#"{"_invalid_json":"{\"a\":"}"#),
            ("[1]", r#"{"_invalid_json":"[1]"}"#),
        ] {
            let call = ToolCall { id: "c".into(), name: "f".into(), arguments: arguments.into() };
            assert_eq!(call.arguments_told(), told, "{arguments}");
        }
    }

    #[test]
    fn data_urls_are_taken_apart() {
        for (url, expected) in [
            ("data:image/png;base64,AA==", Some(("image/png", "AA=="))),
            ("data:text/plain,hi", None),
            ("https://example.com/a.png", None),
        ] {
            assert_eq!(data_url(url), expected, "{url}");
        }
    }
}
