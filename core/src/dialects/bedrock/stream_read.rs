//! A stream of Bedrock's, read. Texts and thoughts begin without a word; the end is told before the usage.

use std::borrow::Cow;

use super::error::stream_status;
use super::model::Family;
use super::read_blocks::{citation, redacted};
use super::{finish_of, usage};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::canonical::part::{Kind, Maker, Part, Signature};
use crate::contract::read::{Members, Raw, as_text, as_whole, find, is_null, is_object, loose};
use crate::dialects::frames::Frame;
use crate::dialects::{Given, Notes, StreamReader, Unreadable, made_call_id};

/// Blocks open at once; a provider that opens more is not followed.
const OPEN_MAX: usize = 1_024;

pub struct Reader {
    call_id: String,
    maker: Maker,
    started: bool,
    /// Parts begun so far.
    parts: u64,
    open: Vec<Open>,
    calls: bool,
    finished: bool,
    /// Nothing is told any more: all was said, or the provider broke off.
    over: bool,
}

/// A block that has begun and not ended: its index there, and its part here.
struct Open {
    index: u64,
    part: u64,
    kind: Kinds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Text,
    Reasoning,
    Call,
    Native,
}

impl Reader {
    pub fn new(given: &Given<'_>) -> Self {
        Reader {
            call_id: given.call_id.to_owned(),
            maker: Family::of(given.model).maker(),
            started: false,
            parts: 0,
            open: Vec::new(),
            calls: false,
            finished: false,
            over: false,
        }
    }

    fn start(&mut self, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            out.push(Event::Start { id: String::new(), model: String::new(), created_s: None });
        }
    }

    /// Begins a part. What is open ends before it, but for calls: more of their arguments may come.
    fn begin(&mut self, index: u64, kind: Kinds, begins: Begins, out: &mut Vec<Event>) -> Result<u64, Unreadable> {
        self.start(out);
        self.close(|open| open.kind != Kinds::Call || open.index == index, out);
        if self.open.len() == OPEN_MAX {
            return Err(Unreadable(format!("more than {OPEN_MAX} blocks are open at once")));
        }
        let part = self.parts;
        self.parts += 1;
        self.open.push(Open { index, part, kind });
        out.push(Event::Begin { choice: 0, part, kind: begins });
        Ok(part)
    }

    fn close(&mut self, which: impl Fn(&Open) -> bool, out: &mut Vec<Event>) {
        self.open.retain(|open| {
            let closes = which(open);
            if closes {
                out.push(Event::End { choice: 0, part: open.part });
            }
            !closes
        });
    }

    /// The part that this piece belongs to; it begins with its first piece where nothing announced it.
    fn part(&mut self, index: u64, kind: Kinds, begins: Begins, out: &mut Vec<Event>) -> Result<u64, Unreadable> {
        match self.open.iter().find(|open| open.index == index && open.kind == kind) {
            Some(open) => Ok(open.part),
            None => self.begin(index, kind, begins, out),
        }
    }

    fn block_start(&mut self, event: &Members<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let index = index(event)?;
        let start = find(event, "start").map(loose).unwrap_or_default();
        let Some((kind, raw)) = start.into_iter().find(|(_, raw)| !is_null(raw)) else { return Ok(()) };
        let members = loose(raw);
        let text = |name: &str| find(&members, name).and_then(as_text).unwrap_or_default().into_owned();
        if self.open.iter().any(|open| open.index == index && matches!(open.kind, Kinds::Call | Kinds::Native)) {
            // Said twice.
            return Ok(());
        }
        match &*kind {
            "toolUse" if text("type") != "server_tool_use" => {
                let mut id = text("toolUseId");
                if id.is_empty() {
                    id = made_call_id(&self.call_id, usize::try_from(index).unwrap_or_default());
                }
                self.calls = true;
                self.begin(index, Kinds::Call, Begins::ToolCall { id, name: text("name") }, out)?;
            }
            "toolUse" => {
                self.begin(index, Kinds::Native, Begins::Native("server_tool_use".to_owned()), out)?;
            }
            // Begins with its first piece, as it does where nothing is said before.
            "text" | "reasoningContent" => {}
            other => {
                self.begin(index, Kinds::Native, Begins::Native(other.to_owned()), out)?;
            }
        }
        Ok(())
    }

    fn block_delta(&mut self, event: &Members<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let index = index(event)?;
        let delta = find(event, "delta").map(loose).unwrap_or_default();
        for (kind, raw) in delta.into_iter().filter(|(_, raw)| !is_null(raw)) {
            match &*kind {
                "text" => {
                    let Some(text) = as_text(raw).filter(|text| !text.is_empty()) else { continue };
                    let part = self.part(index, Kinds::Text, Begins::Text, out)?;
                    out.push(Event::Delta { choice: 0, part, delta: Delta::Text(text.into_owned()) });
                }
                "toolUse" => self.arguments(index, raw, out)?,
                "reasoningContent" => self.thought(index, raw, out)?,
                "citation" => {
                    let cited = citation(&loose(raw), None);
                    let part = self.part(index, Kinds::Text, Begins::Text, out)?;
                    let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
                    let (url, title, cited) = (owned(cited.url), owned(cited.title), owned(cited.cited));
                    let delta = Delta::Citation { url, title, cited, start: None, end: None };
                    out.push(Event::Delta { choice: 0, part, delta });
                }
                // What a tool of the provider gave, a picture: known to this dialect only.
                other => {
                    self.part(index, Kinds::Native, Begins::Native(other.to_owned()), out)?;
                }
            }
        }
        Ok(())
    }

    fn arguments(&mut self, index: u64, raw: Raw<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let Some(open) = self.open.iter().find(|open| open.index == index) else {
            return Err(Unreadable(format!("arguments came for block {index}, which has not begun")));
        };
        let text = find(&loose(raw), "input").and_then(as_text).unwrap_or_default();
        if open.kind == Kinds::Call && !text.is_empty() {
            out.push(Event::Delta { choice: 0, part: open.part, delta: Delta::Arguments(text.into_owned()) });
        }
        Ok(())
    }

    fn thought(&mut self, index: u64, raw: Raw<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        for (name, raw) in loose(raw) {
            let Some(text) = as_text(raw).filter(|text| !text.is_empty()) else { continue };
            let deltas = match &*name {
                "text" => vec![Delta::Text(text.into_owned())],
                "signature" => vec![Delta::Signature(Signature { by: self.maker, data: text.into_owned().into() })],
                "redactedContent" => encrypted(text, self.maker),
                _ => continue,
            };
            let part = self.part(index, Kinds::Reasoning, Begins::Reasoning { summary: false, id: None }, out)?;
            out.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, part, delta }));
        }
        Ok(())
    }

    fn stop(&mut self, event: &Members<'_>, out: &mut Vec<Event>) {
        self.start(out);
        self.close(|_| true, out);
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let reason = find(event, "stopReason").and_then(as_text).unwrap_or_default();
        let reason = match finish_of(&reason) {
            Finish::Stop if self.calls => Finish::ToolCalls,
            reason => reason,
        };
        let more = find(event, "additionalModelResponseFields").map(loose).unwrap_or_default();
        let stop_sequence = find(&more, "stop_sequence").and_then(as_text).map(Cow::into_owned);
        out.push(Event::Finish { choice: 0, reason, stop_sequence });
    }

    fn metadata(&mut self, event: &Members<'_>, out: &mut Vec<Event>) {
        self.start(out);
        if let Some(raw) = find(event, "usage").filter(|raw| is_object(raw)) {
            out.push(Event::Usage(usage::read(raw)));
        }
        let tier = find(event, "serviceTier").and_then(|raw| find(&loose(raw), "type")).and_then(as_text);
        out.extend(tier.map(|tier| Event::ServiceTier(tier.into_owned())));
        self.done(out);
    }

    fn done(&mut self, out: &mut Vec<Event>) {
        if self.finished && !self.over {
            self.over = true;
            out.push(Event::Done);
        }
    }
}

/// Whose the sealed thoughts are, and then the thoughts.
fn encrypted(data: Cow<'_, str>, maker: Maker) -> Vec<Delta> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    redacted(data, maker, &mut parts);
    let mut deltas = Vec::new();
    for part in parts {
        deltas.extend(part.signature.map(|seal| Delta::Signature(Signature { by: seal.by, data: "".into() })));
        if let Kind::Reasoning(reasoning) = part.kind {
            deltas.extend(reasoning.encrypted.map(|data| Delta::Encrypted(data.into_owned())));
        }
    }
    deltas
}

fn index(event: &Members<'_>) -> Result<u64, Unreadable> {
    let index = find(event, "contentBlockIndex").map_or(Some(0), as_whole);
    index.ok_or_else(|| Unreadable("a block has an index that is no number".to_owned()))
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        if self.over {
            return Ok(());
        }
        let payload = serde_json::from_slice::<Raw<'_>>(&frame.data).ok().filter(|raw| is_object(raw));
        if frame.is_error {
            self.over = true;
            out.push(Event::Error(error(&frame.name, payload)));
            return Ok(());
        }
        if !matches!(
            &*frame.name,
            "messageStart"
                | "contentBlockStart"
                | "contentBlockDelta"
                | "contentBlockStop"
                | "messageStop"
                | "metadata"
        ) {
            return Ok(());
        }
        let Some(payload) = payload else {
            return Err(Unreadable(format!("an event `{}` has no JSON object", frame.name)));
        };
        let event = loose(payload);
        match &*frame.name {
            "messageStart" => self.start(out),
            "contentBlockStart" => self.block_start(&event, out)?,
            "contentBlockDelta" => self.block_delta(&event, out)?,
            "contentBlockStop" => {
                let index = index(&event)?;
                self.close(|open| open.index == index, out);
            }
            "messageStop" => self.stop(&event, out),
            _ => self.metadata(&event, out),
        }
        Ok(())
    }

    /// All was said where the reason of the end was, though the usage may be missing.
    fn end(&mut self, out: &mut Vec<Event>) {
        self.done(out);
    }
}

fn error(kind: &str, payload: Option<Raw<'_>>) -> StreamError {
    let members = payload.map(loose).unwrap_or_default();
    let text = |name: &str| find(&members, name).and_then(as_text).filter(|text| !text.is_empty());
    let message = text("message").or_else(|| text("Message")).or_else(|| text("originalMessage"));
    let status = find(&members, "originalStatusCode").and_then(as_whole).and_then(|s| u16::try_from(s).ok());
    StreamError {
        message: message.map_or_else(|| kind.to_owned(), Cow::into_owned),
        code: Some(kind.to_owned()).filter(|kind| !kind.is_empty()),
        status: stream_status(kind).or(status),
    }
}

pub fn note(frame: &Frame<'_>, notes: &mut Notes) {
    if frame.is_error {
        let payload = serde_json::from_slice::<Raw<'_>>(&frame.data).ok();
        notes.error = Some(error(&frame.name, payload).message);
        return;
    }
    if !matches!(&*frame.name, "messageStop" | "metadata") {
        return;
    }
    let Ok(payload) = serde_json::from_slice::<Raw<'_>>(&frame.data) else { return };
    let event = loose(payload);
    match &*frame.name {
        "messageStop" => {
            notes.finish_reason = find(&event, "stopReason").and_then(as_text).map(Cow::into_owned);
            notes.done = true;
        }
        _ => {
            if let Some(raw) = find(&event, "usage").filter(|raw| is_object(raw)) {
                notes.usage = Some(usage::read(raw));
            }
        }
    }
}
