//! Blocks of content, read: each is an object with one member, which names its kind.

use std::borrow::Cow;

use super::media;
use crate::contract::base64;
use crate::contract::canonical::CacheMark;
use crate::contract::canonical::part::{
    Citation, Kind, Maker, Part, Reasoning, Role, Signature, ToolCall, ToolResult, only_text,
};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, find, is_list, is_null, loose};
use crate::dialects::sealed;

/// The blocks of one message or of the system, and whose they are.
pub struct Blocks {
    pub role: Role,
    /// Whose seals stand on its thoughts.
    pub maker: Maker,
}

/// What was read, and a mark that stands before all of it: it belongs to what was said before.
#[derive(Default)]
pub struct Content<'a> {
    pub parts: Vec<Part<'a>>,
    pub mark_before: Option<CacheMark>,
}

impl Blocks {
    pub fn read<'a>(&self, r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Content<'a>, Wrong> {
        let mut content = Content::default();
        r.each(raw, |r, item| self.block(r, item, &mut content))?;
        Ok(content)
    }

    fn block<'a>(&self, r: &mut Reading<'a>, block: Raw<'a>, content: &mut Content<'a>) -> Result<(), Wrong> {
        let (kind, raw) = only_member(r, block)?;
        r.within(kind.clone(), |r| {
            let part = match &*kind {
                "text" => Part::text(r.text(raw)?),
                "cachePoint" => {
                    let mark = cache_mark(r, raw)?;
                    match content.parts.last_mut() {
                        Some(part) => part.cache = Some(mark),
                        None => content.mark_before = Some(mark),
                    }
                    return Ok(());
                }
                "toolUse" => tool_use(r, raw, block)?,
                "toolResult" => self.tool_result(r, raw, block)?,
                "reasoningContent" => return self.thought(r, raw, &mut content.parts),
                "citationsContent" => cited(r, raw)?,
                other => match media::kind_of(other) {
                    Some(kind) => media::read(r, kind, raw, block)?,
                    None => Kind::Native { kind: kind.clone(), json: block }.into(),
                },
            };
            content.parts.push(part);
            Ok(())
        })
    }

    /// A result in an answer is one of a tool that the provider ran itself.
    fn tool_result<'a>(&self, r: &mut Reading<'a>, raw: Raw<'a>, block: Raw<'a>) -> Result<Part<'a>, Wrong> {
        let members = r.object(raw)?;
        if self.role == Role::Assistant || find(&members, "type").is_some() {
            return Ok(Kind::Native { kind: "toolResult".into(), json: block }.into());
        }
        let mut result = ToolResult { call_id: "".into(), name: None, parts: Vec::new(), error: false };
        for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
            match &*name {
                "toolUseId" => result.call_id = sealed::unseal_id(r.within("toolUseId", |r| r.text(raw))?).0,
                "status" => result.error = as_text(raw).as_deref() == Some("error"),
                "content" => {
                    let parts = &mut result.parts;
                    r.within("content", |r| r.each(raw, |r, item| result_block(r, item, parts)))?;
                }
                other => r.extra(other, raw),
            }
        }
        Ok(Kind::ToolResult(result).into())
    }

    fn thought<'a>(&self, r: &mut Reading<'a>, raw: Raw<'a>, parts: &mut Vec<Part<'a>>) -> Result<(), Wrong> {
        let members = r.object(raw)?;
        if let Some(raw) = find(&members, "redactedContent") {
            let data = r.within("redactedContent", |r| r.text(raw))?;
            redacted(data, self.maker, parts);
        }
        let Some(raw) = find(&members, "reasoningText") else { return Ok(()) };
        let members = r.within("reasoningText", |r| r.object(raw))?;
        let text = |r: &mut Reading<'a>, name: &'static str| {
            find(&members, name).map(|raw| r.within("reasoningText", |r| r.within(name, |r| r.text(raw)))).transpose()
        };
        let (text, signature) = (text(r, "text")?.unwrap_or_default(), text(r, "signature")?);
        let sealed = signature.filter(|s| !s.is_empty()).map(|data| match sealed::untag(&data) {
            Some(foreign) => (foreign, true),
            None => (Signature { by: self.maker, data }, false),
        });
        // A seal of ours alone belongs to the part before it: the dialect has no member for it there.
        if let (Some((signature, true)), true, Some(last)) = (&sealed, text.is_empty(), parts.last_mut()) {
            last.signature = Some(signature.clone());
            return Ok(());
        }
        let signature = sealed.map(|(signature, _)| signature);
        parts.push(Part { signature, ..Kind::Reasoning(Reasoning { text, ..Reasoning::default() }).into() });
        Ok(())
    }
}

/// The one member of a block. Some programs name its kind a second time, as other dialects do.
fn only_member<'a>(r: &Reading<'a>, block: Raw<'a>) -> Result<(Cow<'a, str>, Raw<'a>), Wrong> {
    let says_nothing = |name: &str, raw| is_null(raw) || (name == "type" && as_text(raw).is_some());
    let mut said = r.object(block)?.into_iter().filter(|(name, raw)| !says_nothing(name, raw));
    match (said.next(), said.next()) {
        (Some(member), None) => Ok(member),
        (None, _) => Err(r.wrong("has no member: it must have the one that names its kind")),
        (Some((one, _)), Some((two, _))) => {
            Err(r.wrong(format!("has the members `{one}` and `{two}`: a block is of one kind")))
        }
    }
}

pub fn cache_mark<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<CacheMark, Wrong> {
    let members = r.object(raw)?;
    let ttl = find(&members, "ttl").map(|raw| r.within("ttl", |r| r.text(raw))).transpose()?;
    Ok(if ttl.as_deref() == Some("1h") { CacheMark::Hour } else { CacheMark::Minutes5 })
}

fn tool_use<'a>(r: &mut Reading<'a>, raw: Raw<'a>, block: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let mut call = ToolCall { id: "".into(), name: "".into(), arguments: "".into() };
    let mut signature = None;
    for (name, raw) in r.object(raw)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "toolUseId" => (call.id, signature) = sealed::unseal_id(r.within("toolUseId", |r| r.text(raw))?),
            "name" => call.name = r.within("name", |r| r.text(raw))?,
            "input" => call.arguments = raw.get().into(),
            // Models say `tool_use` where they mean the usual kind.
            "type" if raw.get() == "\"server_tool_use\"" => {
                return Ok(Kind::Native { kind: "server_tool_use".into(), json: block }.into());
            }
            "type" => {}
            other => r.extra(other, raw),
        }
    }
    Ok(Part { signature, ..Kind::ToolCall(call).into() })
}

/// JSON that a tool gave goes as its text: most dialects know no other result.
fn result_block<'a>(r: &mut Reading<'a>, block: Raw<'a>, parts: &mut Vec<Part<'a>>) -> Result<(), Wrong> {
    let (kind, raw) = only_member(r, block)?;
    r.within(kind.clone(), |r| {
        parts.push(match &*kind {
            "text" => Part::text(r.text(raw)?),
            "json" => Part::text(raw.get()),
            other => match media::kind_of(other) {
                Some(kind) => media::read(r, kind, raw, block)?,
                None => Kind::Native { kind: kind.clone(), json: block }.into(),
            },
        });
        Ok(())
    })
}

/// Thoughts that only their provider can read. Anthropic's are a text inside the base64; ours bear their maker's name there.
pub fn redacted<'a>(data: Cow<'a, str>, maker: Maker, parts: &mut Vec<Part<'a>>) {
    let plain = base64::decode(&data).and_then(|bytes| String::from_utf8(bytes).ok());
    let foreign = plain.as_deref().and_then(sealed::untag);
    let (encrypted, by, id): (Cow<'a, str>, _, _) = match (foreign, plain, maker) {
        (Some(seal), _, _) => match seal.data.split_once('.') {
            Some((id, data)) => {
                (data.to_owned().into(), seal.by, Some(id.to_owned().into()).filter(|id: &Cow<'_, str>| !id.is_empty()))
            }
            None => (seal.data, seal.by, None),
        },
        (None, Some(plain), Maker::Anthropic) => (plain.into(), maker, None),
        (None, _, _) => (data, Maker::Other, None),
    };
    let signature = Some(Signature { by, data: "".into() });
    // A summary that stood before it is of the same thoughts.
    if let (Some(Part { kind: Kind::Reasoning(before), signature: none @ None, .. }), true) =
        (parts.last_mut(), by == Maker::Openai)
    {
        (before.encrypted, before.id, before.summary, *none) = (Some(encrypted), id, true, signature);
        return;
    }
    let reasoning = Reasoning { encrypted: Some(encrypted), id, ..Reasoning::default() };
    parts.push(Part { signature, ..Kind::Reasoning(reasoning).into() });
}

/// A text and what it rests on.
fn cited<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let members = r.object(raw)?;
    let texts = match find(&members, "content") {
        Some(raw) => {
            r.within("content", |r| r.each(raw, |_, item| Ok(find(&loose(item), "text").and_then(as_text))))?
        }
        None => Vec::new(),
    };
    let mut texts: Vec<Cow<'a, str>> = texts.into_iter().flatten().collect();
    let text = if texts.len() == 1 { texts.remove(0) } else { texts.concat().into() };
    let citations = match find(&members, "citations") {
        Some(raw) => r.within("citations", |r| r.each(raw, |r, item| Ok(citation(&r.object(item)?, Some(item)))))?,
        None => Vec::new(),
    };
    Ok(Kind::Text { text, citations }.into())
}

/// A citation, of a whole answer or in a stream.
pub fn citation<'a>(members: &Members<'a>, json: Option<Raw<'a>>) -> Citation<'a> {
    let location = find(members, "location").map(loose).unwrap_or_default();
    let url = find(&location, "web").and_then(|web| find(&loose(web), "url")).and_then(as_text);
    // The words that are cited are parts of texts, in a list.
    let pieces: Vec<Raw<'a>> = find(members, "sourceContent")
        .filter(|raw| is_list(raw))
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    let texts: Vec<Part<'a>> =
        pieces.into_iter().filter_map(|raw| find(&loose(raw), "text").and_then(as_text)).map(Part::text).collect();
    Citation {
        url,
        title: find(members, "title").and_then(as_text),
        cited: only_text(&texts).filter(|text| !text.is_empty()),
        start: None,
        end: None,
        json,
    }
}
