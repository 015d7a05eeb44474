//! A provider's stream, read. Items are told by their place in the output: ids of some servers change on the way.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::usage;
use super::output::finish_of;
use super::own::{SHELL, wrap};
use super::parts::citation;
use super::seal::{self, Place};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::canonical::part::{Maker, Signature};
use crate::contract::read::{Members, Raw, as_text, find, is_list, is_object, loose};
use crate::contract::write::quoted;
use crate::dialects::frames::Frame;
use crate::dialects::{StreamReader, Unreadable};

/// Items of one answer; a provider that counts higher is not followed.
const ITEMS_MAX: usize = 4_096;

/// The members of events that are read.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    part: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    output_index: u64,
    #[serde(default)]
    content_index: u64,
    #[serde(default)]
    summary_index: u64,
}

/// Which piece of an item is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Piece {
    Text(u64),
    Refusal(u64),
    Summary(u64),
    Thought(u64),
    Sealed,
}

impl Piece {
    fn begins(self, id: Option<String>) -> Begins {
        match self {
            Piece::Text(_) => Begins::Text,
            Piece::Refusal(_) => Begins::Refusal,
            Piece::Summary(_) => Begins::Reasoning { summary: true, id },
            Piece::Thought(_) | Piece::Sealed => Begins::Reasoning { summary: false, id },
        }
    }
}

#[derive(Default)]
struct Item {
    id: Option<String>,
    /// Pieces of which something was said.
    said: HashSet<Piece>,
    citations: usize,
    call: Option<Call>,
    native: bool,
}

struct Call {
    part: u64,
    free_text: bool,
    said: bool,
    ended: bool,
}

#[derive(Default)]
pub struct Reader {
    started: bool,
    over: bool,
    calls: bool,
    parts: u64,
    /// The part that takes more; calls are open beside it.
    open: Option<(u64, Piece, u64)>,
    items: BTreeMap<u64, Item>,
}

fn string(raw: Option<Raw<'_>>) -> Option<String> {
    raw.and_then(as_text).map(Into::into)
}

impl Reader {
    fn start(&mut self, response: Option<Raw<'_>>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let members = response.map(loose).unwrap_or_default();
        let text = |name: &str| string(find(&members, name)).unwrap_or_default();
        let created_s = find(&members, "created_at").and_then(|raw| raw.get().parse::<f64>().ok()).map(|s| s as i64);
        out.push(Event::Start { id: text("id"), model: text("model"), created_s });
    }

    fn begin(&mut self, kind: Begins, out: &mut Vec<Event>) -> u64 {
        self.parts += 1;
        out.push(Event::Begin { choice: 0, part: self.parts - 1, kind });
        self.parts - 1
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if let Some((.., part)) = self.open.take() {
            out.push(Event::End { choice: 0, part });
        }
    }

    fn item(&mut self, at: u64) -> Result<&mut Item, Unreadable> {
        if self.items.len() >= ITEMS_MAX && !self.items.contains_key(&at) {
            return Err(Unreadable(format!("more than {ITEMS_MAX} items in one answer")));
        }
        Ok(self.items.entry(at).or_default())
    }

    /// Says something of a piece: in the open part if it is the piece's own, else in a new one, for parts do not overlap.
    fn say(&mut self, at: u64, piece: Piece, delta: Delta, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let item = self.item(at)?;
        item.said.insert(piece);
        let id = item.id.clone();
        let part = match self.open {
            Some((open, its, part)) if open == at && its == piece => part,
            Some(_) | None => {
                self.close(out);
                let part = self.begin(piece.begins(id), out);
                self.open = Some((at, piece, part));
                part
            }
        };
        out.push(Event::Delta { choice: 0, part, delta });
        Ok(())
    }

    /// What is said as a whole, where no piece of it came before.
    fn whole(&mut self, at: u64, piece: Piece, text: Option<String>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        match text.filter(|text| !text.is_empty()) {
            Some(text) if !self.item(at)?.said.contains(&piece) => self.say(at, piece, Delta::Text(text), out),
            Some(_) | None => Ok(()),
        }
    }

    fn delta(&mut self, piece: Piece, payload: &Payload<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        if let Some(text) = string(payload.delta).filter(|text| !text.is_empty()) {
            self.say(payload.output_index, piece, Delta::Text(text), out)?;
        }
        if let Some(list) = payload.logprobs.filter(|raw| is_list(raw) && raw.get().len() > 2) {
            out.push(Event::Logprobs { choice: 0, json: format!("{{\"content\":{}}}", list.get()) });
        }
        Ok(())
    }

    /// Citations beyond those that were told, while the text is open that they belong to.
    fn cite(
        &mut self,
        at: u64,
        piece: Piece,
        list: &[Raw<'_>],
        whole: bool,
        out: &mut Vec<Event>,
    ) -> Result<(), Unreadable> {
        let Some((_, _, part)) = self.open.filter(|(open, its, _)| *open == at && *its == piece) else { return Ok(()) };
        let item = self.item(at)?;
        let from = if whole { item.citations.min(list.len()) } else { 0 };
        item.citations += list.len() - from;
        for citation in list[from..].iter().map(|raw| citation(raw)) {
            let owned = |text: Option<std::borrow::Cow<'_, str>>| text.map(Into::into);
            let (url, title, cited) = (owned(citation.url), owned(citation.title), owned(citation.cited));
            let delta = Delta::Citation { url, title, cited, start: citation.start, end: citation.end };
            out.push(Event::Delta { choice: 0, part, delta });
        }
        Ok(())
    }

    fn added(&mut self, at: u64, raw: Raw<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let members = loose(raw);
        let text = |name: &str| string(find(&members, name));
        let kind = text("type").unwrap_or_default();
        let item = self.item(at)?;
        item.id = item.id.take().or_else(|| text("id"));
        if matches!(kind.as_str(), "message" | "reasoning") || item.native || item.call.is_some() {
            return Ok(());
        }
        let name = match kind.as_str() {
            "function_call" | "custom_tool_call" => text("name").unwrap_or_default(),
            "local_shell_call" => SHELL.to_owned(),
            _ => {
                item.native = true;
                self.close(out);
                let part = self.begin(Begins::Native(kind), out);
                out.push(Event::End { choice: 0, part });
                return Ok(());
            }
        };
        self.close(out);
        self.calls = true;
        let id = text("call_id").or_else(|| text("id")).unwrap_or_default();
        let part = self.begin(Begins::ToolCall { id, name }, out);
        let call = Call { part, free_text: kind == "custom_tool_call", said: false, ended: false };
        self.item(at)?.call = Some(call);
        Ok(())
    }

    /// A piece of a call's arguments. Free text is the one argument of a function.
    fn arguments(&mut self, at: u64, piece: Option<String>, out: &mut Vec<Event>) {
        let Some(call) = self.items.get_mut(&at).and_then(|item| item.call.as_mut()) else { return };
        let Some(piece) = piece.filter(|piece| !piece.is_empty() && !call.ended) else { return };
        let text = match (call.free_text, call.said) {
            (false, _) => piece,
            (true, said) => {
                // The text stands between the quotes of one JSON text, which the end of the call closes.
                let quoted = quoted(&piece);
                let inside = &quoted[1..quoted.len() - 1];
                if said { inside.to_owned() } else { format!("{{\"input\":\"{inside}") }
            }
        };
        call.said = true;
        out.push(Event::Delta { choice: 0, part: call.part, delta: Delta::Arguments(text) });
    }

    /// All of a call's arguments: told if no piece was.
    fn all_arguments(&mut self, at: u64, all: Option<String>, out: &mut Vec<Event>) {
        if !self.items.get(&at).and_then(|item| item.call.as_ref()).is_some_and(|call| call.said) {
            self.arguments(at, all, out);
        }
    }

    fn end_call(&mut self, at: u64, out: &mut Vec<Event>) {
        let Some(call) = self.items.get_mut(&at).and_then(|item| item.call.as_mut()) else { return };
        if std::mem::replace(&mut call.ended, true) {
            return;
        }
        if call.free_text {
            let text = if call.said { "\"}".to_owned() } else { wrap("") };
            out.push(Event::Delta { choice: 0, part: call.part, delta: Delta::Arguments(text) });
        }
        out.push(Event::End { choice: 0, part: call.part });
    }

    fn done(&mut self, at: u64, raw: Raw<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.added(at, raw, out)?;
        let members = loose(raw);
        match find(&members, "type").and_then(as_text).as_deref() {
            Some("message") => {
                for (index, part) in (0..).zip(list(&members, "content")) {
                    self.content(at, index, part, out)?;
                }
            }
            Some("reasoning") => self.thoughts(at, &members, out)?,
            Some("function_call") => {
                let arguments = find(&members, "arguments");
                let object = arguments.filter(|raw| is_object(raw)).map(|raw| raw.get().to_owned());
                self.all_arguments(at, object.or_else(|| string(arguments)), out);
            }
            Some("custom_tool_call") => self.all_arguments(at, string(find(&members, "input")), out),
            Some("local_shell_call") => {
                self.all_arguments(at, find(&members, "action").map(|raw| raw.get().to_owned()), out);
            }
            Some(_) | None => {}
        }
        if self.open.is_some_and(|(open, ..)| open == at) {
            self.close(out);
        }
        self.end_call(at, out);
        Ok(())
    }

    /// A part of a message as a whole.
    fn content(&mut self, at: u64, index: u64, raw: Raw<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let part = loose(raw);
        let text = |name: &str| string(find(&part, name));
        match text("type").as_deref() {
            Some("refusal") => self.whole(at, Piece::Refusal(index), text("refusal"), out),
            Some("output_text" | "text") => {
                self.whole(at, Piece::Text(index), text("text"), out)?;
                self.cite(at, Piece::Text(index), &list(&part, "annotations"), true, out)
            }
            Some("reasoning_text") => self.whole(at, Piece::Thought(index), text("text"), out),
            Some(_) | None => Ok(()),
        }
    }

    fn thoughts(&mut self, at: u64, members: &Members<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        type Of = fn(u64) -> Piece;
        for (name, piece) in [("summary", Piece::Summary as Of), ("content", Piece::Thought as Of)] {
            for (index, part) in (0..).zip(list(members, name)) {
                self.whole(at, piece(index), string(find(&loose(part), "text")), out)?;
            }
        }
        let Some(sealed) = find(members, "encrypted_content").and_then(as_text).filter(|sealed| !sealed.is_empty())
        else {
            return Ok(());
        };
        if self.item(at)?.said.contains(&Piece::Sealed) {
            return Ok(());
        }
        let (place, signature) =
            seal::read(&sealed).unwrap_or((Place::Thoughts, Signature { by: Maker::Openai, data: sealed }));
        let (by, data) = (signature.by, signature.data.into_owned());
        // It belongs to the open part of this item; where that is closed, to one of its own.
        let piece = self.open.filter(|(open, ..)| *open == at).map_or(Piece::Sealed, |(_, piece, _)| piece);
        self.item(at)?.said.insert(Piece::Sealed);
        if place == Place::Own {
            return self.say(at, piece, Delta::Signature(Signature { by, data: data.into() }), out);
        }
        // Whose they are is told first: encrypted thoughts do not say it themselves.
        self.say(at, piece, Delta::Signature(Signature { by, data: "".into() }), out)?;
        self.say(at, piece, Delta::Encrypted(data), out)
    }

    /// The last event: the response as a whole.
    fn finish(&mut self, response: Option<Raw<'_>>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.start(response, out);
        let members = response.map(loose).unwrap_or_default();
        if self.items.is_empty() {
            // Some servers tell nothing before.
            for (at, item) in (0..).zip(list(&members, "output")) {
                self.done(at, item, out)?;
            }
        }
        self.close(out);
        for at in self.items.keys().copied().collect::<Vec<_>>() {
            self.end_call(at, out);
        }
        if let Some(tier) = string(find(&members, "service_tier")) {
            out.push(Event::ServiceTier(tier));
        }
        if let Some(usage) = find(&members, "usage").and_then(usage) {
            out.push(Event::Usage(usage));
        }
        let status = string(find(&members, "status")).unwrap_or_else(|| "completed".to_owned());
        let reason = find(&members, "incomplete_details").and_then(|raw| string(find(&loose(raw), "reason")));
        self.over = true;
        match finish_of(&status, reason.as_deref(), self.calls) {
            Some(Finish::Error) => out.push(Event::Error(match find(&members, "error") {
                Some(error) => error_of(error.get().as_bytes()),
                None => StreamError { message: "the response failed".to_owned(), ..StreamError::default() },
            })),
            reason => {
                let reason = reason.unwrap_or(Finish::Stop);
                out.push(Event::Finish { choice: 0, reason, stop_sequence: None });
                out.push(Event::Done);
            }
        }
        Ok(())
    }

    fn fail(&mut self, data: &[u8], out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Error(error_of(data)));
    }

    fn event(
        &mut self,
        name: &str,
        payload: &Payload<'_>,
        data: &[u8],
        out: &mut Vec<Event>,
    ) -> Result<(), Unreadable> {
        let (at, content, summary) = (payload.output_index, payload.content_index, payload.summary_index);
        match name {
            "response.output_item.added" => return payload.item.map_or(Ok(()), |item| self.added(at, item, out)),
            "response.output_item.done" => return payload.item.map_or(Ok(()), |item| self.done(at, item, out)),
            "response.output_text.delta" => return self.delta(Piece::Text(content), payload, out),
            "response.output_text.done" => return self.whole(at, Piece::Text(content), string(payload.text), out),
            "response.output_text.annotation.added" => {
                let list: Vec<Raw<'_>> = payload.annotation.into_iter().collect();
                return self.cite(at, Piece::Text(content), &list, false, out);
            }
            "response.content_part.done" => {
                return payload.part.map_or(Ok(()), |part| self.content(at, content, part, out));
            }
            "response.refusal.delta" => return self.delta(Piece::Refusal(content), payload, out),
            "response.refusal.done" => return self.whole(at, Piece::Refusal(content), string(payload.refusal), out),
            "response.reasoning_summary_text.delta" => return self.delta(Piece::Summary(summary), payload, out),
            "response.reasoning_summary_text.done" => {
                return self.whole(at, Piece::Summary(summary), string(payload.text), out);
            }
            "response.reasoning_text.delta" => return self.delta(Piece::Thought(content), payload, out),
            "response.reasoning_text.done" => {
                return self.whole(at, Piece::Thought(content), string(payload.text), out);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.arguments(at, string(payload.delta), out);
            }
            "response.function_call_arguments.done" => self.all_arguments(at, string(payload.arguments), out),
            "response.custom_tool_call_input.done" => self.all_arguments(at, string(payload.input), out),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                return self.finish(payload.response, out);
            }
            "error" => self.fail(data, out),
            "" if payload.error.is_some_and(|error| error.get() != "null") => self.fail(data, out),
            // Progress of the provider's own tools, and what was not known when this was written.
            _ => {}
        }
        Ok(())
    }
}

fn list<'a>(members: &Members<'a>, name: &str) -> Vec<Raw<'a>> {
    find(members, name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || self.over {
            return Ok(());
        }
        if data == b"[DONE]" {
            // Servers that know no other end.
            return if self.started { self.finish(None, out) } else { Ok(()) };
        }
        if frame.is_error {
            self.fail(data, out);
            return Ok(());
        }
        let payload: Payload<'_> = serde_json::from_slice(data)
            .map_err(|why| Unreadable(format!("an event is no JSON of a response's stream: {why}")))?;
        let kind = string(payload.kind).unwrap_or_else(|| frame.name.to_string());
        if kind.starts_with("response.") {
            self.start(payload.response, out);
        }
        self.event(&kind, &payload, data, out)
    }

    /// A stream that ends without its last event was cut.
    fn end(&mut self, _out: &mut Vec<Event>) {}
}

/// `{type: error, code, message}`, `{type: error, error: {...}}`, `{code, message}`.
pub fn error_of(data: &[u8]) -> StreamError {
    let Ok(root) = serde_json::from_slice::<&RawValue>(data) else {
        return StreamError { message: String::from_utf8_lossy(data).into_owned(), ..StreamError::default() };
    };
    let outer = loose(root);
    let inner = find(&outer, "error").filter(|raw| is_object(raw)).map_or_else(Vec::new, loose);
    let plain = |raw: Raw<'_>| as_text(raw).map_or_else(|| raw.get().to_owned(), Into::into);
    let told = |name: &str| find(&inner, name).or_else(|| find(&outer, name)).map(plain);
    let code = told("code").or_else(|| find(&inner, "type").map(plain));
    let message = told("message").or_else(|| find(&outer, "error").map(plain));
    StreamError {
        message: message.unwrap_or_else(|| root.get().to_owned()),
        status: told("status").or_else(|| code.clone()).and_then(|code| code.parse().ok()),
        code,
    }
}
