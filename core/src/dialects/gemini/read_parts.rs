//! Contents and their parts, of requests and of answers alike. A part has no tag: the member that it has says what it is.

use std::borrow::Cow;

use super::names::each;
use super::{results, seal};
use crate::contract::canonical::part::{
    Kind, Media, MediaKind, Message, Part, Reasoning, Role, Signature, Source, ToolCall, ToolResult,
};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_object};

/// The kind of a part that is a piece of a call (see `partial`).
pub const CALL_PIECE: &str = "functionCall";

/// One content. Results of tools become messages of their own, in the order in which they stand.
pub fn content<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Message<'a>>, Wrong> {
    let (mut role, mut parts) = (Role::User, Vec::new());
    each(r, raw, |r, name, raw| {
        match name {
            "role" => {
                role = match &*r.text(raw)? {
                    "user" | "function" | "" => Role::User,
                    "model" => Role::Assistant,
                    other => return Err(r.unsupported(format!("is `{other}`: known are user and model"))),
                }
            }
            "parts" => parts = r.each(raw, part)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let mut messages: Vec<Message<'a>> = Vec::new();
    for part in parts.into_iter().flatten() {
        let role = match (&part.kind, role) {
            (Kind::ToolResult(_), _) => Role::Tool,
            (_, role) => role,
        };
        match messages.last_mut() {
            Some(last) if last.role == role => last.parts.push(part),
            Some(_) | None => messages.push(Message { role, name: None, parts: vec![part] }),
        }
    }
    Ok(messages)
}

/// `systemInstruction`: a content whose role says nothing, or a text.
pub fn instruction<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Part<'a>>, Wrong> {
    if let Some(text) = as_text(raw) {
        return Ok(vec![Part::text(text)]);
    }
    let mut parts = Vec::new();
    each(r, raw, |r, name, raw| {
        match name {
            "role" => {}
            "parts" => parts = r.each(raw, part)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(parts.into_iter().flatten().collect())
}

/// What is gathered of one part.
#[derive(Default)]
struct Draft<'a> {
    kind: Option<Kind<'a>>,
    text: Option<Cow<'a, str>>,
    thought: bool,
    seal: Option<Cow<'a, str>>,
}

/// `None` = it says nothing.
pub fn part<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<Part<'a>>, Wrong> {
    let mut draft = Draft::default();
    each(r, raw, |r, name, inner| {
        let kind = match name {
            "text" => {
                draft.text = Some(r.text(inner)?);
                return Ok(true);
            }
            "thought" => {
                draft.thought = r.bool(inner)?;
                return Ok(true);
            }
            "thoughtSignature" => {
                draft.seal = Some(r.text(inner)?);
                return Ok(true);
            }
            "inlineData" | "fileData" => Kind::Media(media(r, inner)?),
            "functionCall" => match call(r, inner)? {
                Some(call) => Kind::ToolCall(call),
                None => Kind::Native { kind: CALL_PIECE.into(), json: inner },
            },
            "functionResponse" => Kind::ToolResult(result(r, inner)?),
            "executableCode" | "codeExecutionResult" | "toolCall" | "toolResponse" => {
                Kind::Native { kind: name.to_owned().into(), json: raw }
            }
            _ => return Ok(false),
        };
        match draft.kind.replace(kind) {
            None => Ok(true),
            Some(_) => Err(r.wrong("stands beside another kind of data: a part is one thing")),
        }
    })?;
    Ok(draft.finish())
}

impl<'a> Draft<'a> {
    fn finish(self) -> Option<Part<'a>> {
        let seal = self.seal.filter(|seal| !seal.is_empty()).map(seal::read);
        let text = self.text.unwrap_or_default();
        let kind = match self.kind {
            Some(kind) => kind,
            None if self.thought => Kind::Reasoning(Reasoning { text, summary: true, ..Reasoning::default() }),
            None if !text.is_empty() => Kind::Text { text, citations: Vec::new() },
            // An empty text that bears a seal: of a stream, or of a turn that was only thought about.
            None => Kind::Reasoning(Reasoning::default()),
        };
        let mut part = Part::from(kind);
        match seal {
            Some(seal::Seal::Signature(signature)) => part.signature = Some(signature),
            Some(seal::Seal::Encrypted { by, id, data }) => {
                part.signature = Some(Signature { by, data: "".into() });
                if let Kind::Reasoning(reasoning) = &mut part.kind {
                    reasoning.encrypted = Some(data.into());
                    reasoning.id = id.map(Cow::Owned);
                }
            }
            None => {}
        }
        match &part.kind {
            Kind::Reasoning(reasoning) if reasoning.text.is_empty() && part.signature.is_none() => None,
            _ => Some(part),
        }
    }
}

/// `inlineData` and `fileData`.
fn media<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Media<'a>, Wrong> {
    let (mut mime, mut name_of, mut source) = (Cow::Borrowed(""), None, None);
    each(r, raw, |r, name, raw| {
        match name {
            "mimeType" => mime = r.text(raw)?,
            "displayName" => name_of = Some(r.text(raw)?),
            "data" => source = Some(Source::Base64(r.text(raw)?)),
            "fileUri" => source = Some(by_uri(r.text(raw)?)),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let Some(source) = source else { return Err(r.wrong("has neither `data` nor `fileUri`")) };
    let what = media_kind(&mime, &source);
    Ok(Media { name: name_of, ..Media::of(what, source, mime) })
}

/// Files that only Google knows have addresses of Google's.
pub fn is_googles(uri: &str) -> bool {
    ["gs://", "files/", "https://generativelanguage.googleapis.com/"].iter().any(|begin| uri.starts_with(begin))
}

fn by_uri(uri: Cow<'_, str>) -> Source<'_> {
    if is_googles(&uri) { Source::File(uri) } else { Source::Url(uri) }
}

fn media_kind(mime: &str, source: &Source<'_>) -> MediaKind {
    let of_mime = |mime: &str| match mime.split('/').next() {
        Some("image") => MediaKind::Image,
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        Some(_) | None => MediaKind::Document,
    };
    match source {
        Source::Url(uri) | Source::File(uri) if mime.is_empty() => {
            if ["youtube.com/", "youtu.be/"].iter().any(|host| uri.contains(host)) {
                return MediaKind::Video;
            }
            mime_of_uri(uri).map_or(MediaKind::Document, of_mime)
        }
        Source::Url(_) | Source::File(_) | Source::Base64(_) | Source::Text(_) => of_mime(mime),
    }
}

/// The type that the end of an address tells.
pub fn mime_of_uri(uri: &str) -> Option<&'static str> {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    Some(match path.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "html" => "text/html",
        "csv" => "text/csv",
        "md" => "text/markdown",
        _ => return None,
    })
}

/// Ids are rare: an empty one is filled by `link`, or by who reads an answer. `None` = it is a piece of a call in a stream.
fn call<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<ToolCall<'a>>, Wrong> {
    let mut call = ToolCall { id: "".into(), name: "".into(), arguments: "{}".into() };
    let mut is_piece = false;
    each(r, raw, |r, name, raw| {
        match name {
            "id" => call.id = r.text(raw)?,
            "name" => call.name = r.text(raw)?,
            "args" if is_object(raw) => call.arguments = compact(raw.get()),
            "args" => return Err(r.wrong("must be an object")),
            "partialArgs" => is_piece = true,
            "willContinue" => is_piece |= r.bool(raw)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((!is_piece && !call.name.is_empty()).then_some(call))
}

/// The service indents its JSON by lines; as the text of a call's arguments that would cost tokens for nothing.
fn compact(json: &str) -> Cow<'_, str> {
    if !json.contains('\n') {
        return Cow::Borrowed(json);
    }
    let (mut out, mut in_text, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_text = c == '"';
        }
        out.push(c);
    }
    Cow::Owned(out)
}

fn result<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<ToolResult<'a>, Wrong> {
    let mut result = ToolResult { call_id: "".into(), name: None, parts: Vec::new(), error: false };
    let mut media = Vec::new();
    each(r, raw, |r, name, raw| {
        match name {
            "id" => result.call_id = r.text(raw)?,
            "name" => result.name = Some(r.text(raw)?),
            "response" if is_object(raw) => {
                let (text, error) = results::read(raw);
                result.error = error;
                if !text.is_empty() {
                    result.parts.push(Part::text(text));
                }
            }
            "response" => return Err(r.wrong("must be an object")),
            "parts" => media = r.each(raw, part)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    result.parts.extend(media.into_iter().flatten());
    Ok(result)
}

/// The parts of an answer's `content`, which may lack them.
pub fn said<'a>(r: &mut Reading<'a>, content: Raw<'a>) -> Result<Vec<Part<'a>>, Wrong> {
    match find(&r.object(content)?, "parts") {
        Some(raw) => Ok(r.within("parts", |r| r.each(raw, part))?.into_iter().flatten().collect()),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_lose_the_space_between_their_members_only() {
        for (json, expected) in [
            ("{\"a\": 1}", "{\"a\": 1}"),
            ("{\n  \"a b\": \"\\\" \\\\\",\n  \"c\": [ 1.50 ]\n}", "{\"a b\":\"\\\" \\\\\",\"c\":[1.50]}"),
        ] {
            assert_eq!(compact(json), expected);
        }
    }
}
