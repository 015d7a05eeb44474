//! A stream of Cohere: named events from `message-start` to `message-end`, then `[DONE]`.

use memchr::memmem;

use super::answer::finish;
use super::{TOOL_PLAN, citations, logprobs, usage, v1};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::read::{Members, Raw, as_text, as_whole, find, loose};
use crate::dialects::frames::Frame;
use crate::dialects::{Given, Notes, StreamReader, Unreadable, made_call_id};

/// Calls that are open at once; real streams have them one after the other.
const CALLS_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Text,
    Thinking,
    Plan,
}

/// The one part that is open besides calls.
#[derive(Debug, Clone, Copy)]
struct Open {
    part: u64,
    said: Said,
    index: u64,
    /// Its end was told, but citations may still follow: it ends before whatever else comes.
    ending: bool,
}

#[derive(Debug)]
pub struct Reader {
    call_id: String,
    started: bool,
    over: bool,
    parts: u64,
    open: Option<Open>,
    /// Index and part of each open call.
    calls: Vec<(u64, u64)>,
}

impl Reader {
    pub fn new(given: &Given<'_>) -> Self {
        let call_id = given.call_id.to_owned();
        Reader { call_id, started: false, over: false, parts: 0, open: None, calls: Vec::new() }
    }

    fn start(&mut self, id: Option<Raw<'_>>, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            let id = id.and_then(as_text).unwrap_or_default().into_owned();
            out.push(Event::Start { id, model: String::new(), created_s: None });
        }
    }

    fn begin(&mut self, kind: Begins, out: &mut Vec<Event>) -> u64 {
        self.start(None, out);
        let part = self.parts;
        self.parts += 1;
        out.push(Event::Begin { choice: 0, part, kind });
        part
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if let Some(open) = self.open.take() {
            out.push(Event::End { choice: 0, part: open.part });
        }
    }

    fn close_calls(&mut self, out: &mut Vec<Event>) {
        out.extend(self.calls.drain(..).map(|(_, part)| Event::End { choice: 0, part }));
    }

    /// The part that takes this delta; what was open of another kind ends.
    fn part_for(&mut self, said: Said, index: u64, out: &mut Vec<Event>) -> u64 {
        if let Some(open) = self.open.filter(|o| o.said == said && o.index == index && !o.ending) {
            return open.part;
        }
        self.close(out);
        // Only calls are open beside each other.
        self.close_calls(out);
        let reasoning = |id: Option<&str>| Begins::Reasoning { summary: false, id: id.map(str::to_owned) };
        let kind = match said {
            Said::Text => Begins::Text,
            Said::Thinking => reasoning(None),
            Said::Plan => reasoning(Some(TOOL_PLAN)),
        };
        let part = self.begin(kind, out);
        self.open = Some(Open { part, said, index, ending: false });
        part
    }

    fn content(&mut self, index: u64, message: &Members<'_>, starts: bool, out: &mut Vec<Event>) {
        let content = find(message, "content").map(loose).unwrap_or_default();
        let kind = find(&content, "type").and_then(as_text);
        for (name, said) in [("thinking", Said::Thinking), ("text", Said::Text)] {
            let text = find(&content, name).and_then(as_text).unwrap_or_default();
            let begins = starts && kind.as_deref() == Some(name);
            if text.is_empty() && !begins {
                continue;
            }
            let part = self.part_for(said, index, out);
            if !text.is_empty() {
                out.push(Event::Delta { choice: 0, part, delta: Delta::Text(text.into_owned()) });
            }
        }
    }

    fn call_start(&mut self, index: u64, message: &Members<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.close(out);
        if let Some((_, part)) = self.call(index) {
            self.arguments(part, message, out);
            return Ok(());
        }
        if self.calls.len() == CALLS_MAX {
            return Err(Unreadable(format!("more than {CALLS_MAX} calls of tools are open at once")));
        }
        let call = find(message, "tool_calls").map(loose).unwrap_or_default();
        let function = find(&call, "function").map(loose).unwrap_or_default();
        let id = find(&call, "id").and_then(as_text).filter(|id| !id.is_empty());
        let id = id.map_or_else(|| made_call_id(&self.call_id, self.parts as usize), |id| id.into_owned());
        let name = find(&function, "name").and_then(as_text).unwrap_or_default().into_owned();
        let part = self.begin(Begins::ToolCall { id, name }, out);
        self.calls.push((index, part));
        self.arguments(part, message, out);
        Ok(())
    }

    fn call(&self, index: u64) -> Option<(u64, u64)> {
        self.calls.iter().rfind(|(at, _)| *at == index).copied()
    }

    fn arguments(&mut self, part: u64, message: &Members<'_>, out: &mut Vec<Event>) {
        let call = find(message, "tool_calls").map(loose).unwrap_or_default();
        let function = find(&call, "function").map(loose).unwrap_or_default();
        if let Some(piece) = find(&function, "arguments").and_then(as_text).filter(|piece| !piece.is_empty()) {
            out.push(Event::Delta { choice: 0, part, delta: Delta::Arguments(piece.into_owned()) });
        }
    }

    /// A citation of a text that has ended before cannot be told any more.
    fn cite(&mut self, message: &Members<'_>, out: &mut Vec<Event>) {
        let Some(raw) = find(message, "citations") else { return };
        let cited = citations::read(raw);
        let Some(open) = self.open.filter(|open| open.said == Said::Text && cited.of_text) else { return };
        if cited.content_index.is_some_and(|index| index != open.index) {
            return;
        }
        let citation = cited.citation;
        let delta = Delta::Citation {
            url: citation.url.map(|t| t.into_owned()),
            title: citation.title.map(|t| t.into_owned()),
            cited: citation.cited.map(|t| t.into_owned()),
            start: citation.start,
            end: citation.end,
        };
        out.push(Event::Delta { choice: 0, part: open.part, delta });
    }

    fn finish(&mut self, root: &Members<'_>, delta: &Members<'_>, out: &mut Vec<Event>) {
        self.over = true;
        if let Some(error) = failure(root, delta) {
            out.push(Event::Error(error));
            return;
        }
        self.start(None, out);
        self.close(out);
        self.close_calls(out);
        let reason = find(delta, "finish_reason").and_then(as_text).map_or(Finish::Stop, |reason| finish(&reason));
        out.push(Event::Finish { choice: 0, reason, stop_sequence: None });
        out.extend(find(delta, "usage").and_then(usage::read).map(Event::Usage));
        out.push(Event::Done);
    }
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let data = frame.data.trim_ascii();
        if self.over || data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let root: Raw<'_> =
            serde_json::from_slice(data).map_err(|why| Unreadable(format!("an event is no JSON: {why}")))?;
        let root = loose(root);
        let kind = find(&root, "type").and_then(as_text);
        let kind = kind.as_deref().unwrap_or(&frame.name);
        if frame.is_error || (kind.is_empty() && find(&root, "message").is_some()) {
            self.over = true;
            out.push(Event::Error(told(&root)));
            return Ok(());
        }
        let index = find(&root, "index").and_then(as_whole).unwrap_or(0);
        let delta = find(&root, "delta").map(loose).unwrap_or_default();
        let message = find(&delta, "message").map(loose).unwrap_or_default();
        match kind {
            "message-start" => self.start(find(&root, "id"), out),
            "content-start" => self.content(index, &message, true, out),
            "content-delta" => {
                self.content(index, &message, false, out);
                if let Some(piece) = find(&root, "logprobs") {
                    out.push(Event::Logprobs { choice: 0, json: logprobs::from_items(&[piece]) });
                }
            }
            "content-end" => {
                // A plan is no content: nothing but what comes next ends it.
                let ends = |open: &&mut Open| open.index == index && !matches!(open.said, Said::Plan);
                self.open.iter_mut().filter(ends).for_each(|open| open.ending = true)
            }
            "tool-plan-delta" => {
                let text = find(&message, "tool_plan").and_then(as_text).unwrap_or_default();
                if !text.is_empty() {
                    let part = self.part_for(Said::Plan, 0, out);
                    out.push(Event::Delta { choice: 0, part, delta: Delta::Text(text.into_owned()) });
                }
            }
            "tool-call-start" => self.call_start(index, &message, out)?,
            "tool-call-delta" => {
                if let Some((_, part)) = self.call(index) {
                    self.arguments(part, &message, out);
                }
            }
            "tool-call-end" => {
                if let Some((_, part)) = self.call(index) {
                    self.calls.retain(|(_, own)| *own != part);
                    out.push(Event::End { choice: 0, part });
                }
            }
            "citation-start" => self.cite(&message, out),
            "message-end" => self.finish(&root, &delta, out),
            // `citation-end`, `debug`, and whatever comes one day.
            _ => {}
        }
        Ok(())
    }

    /// The end is told by `message-end`; without it the stream was cut.
    fn end(&mut self, _: &mut Vec<Event>) {}
}

/// A failure at the end of a stream that began well: `message-end` with a reason that is none.
fn failure(root: &Members<'_>, delta: &Members<'_>) -> Option<StreamError> {
    let text = |name| find(delta, name).or_else(|| find(root, name)).and_then(as_text).map(String::from);
    let message = text("error");
    let failed = message.is_some() || text("finish_reason").as_deref() == Some("ERROR");
    failed.then(|| StreamError {
        message: message.unwrap_or_else(|| "the answer ended with `ERROR`, and nothing more was said".to_owned()),
        code: text("error_type"),
        status: None,
    })
}

/// An error in its usual form, where an event should be.
fn told(root: &Members<'_>) -> StreamError {
    let text = |name| find(root, name).and_then(as_text).map(String::from);
    let status = find(root, "status_code").or_else(|| find(root, "status")).and_then(as_whole);
    StreamError {
        message: text("message").or_else(|| text("error")).unwrap_or_else(|| "an error without words".to_owned()),
        code: text("error_type"),
        status: status.and_then(|s| u16::try_from(s).ok()),
    }
}

/// Only the end tells anything, and only it is parsed.
pub fn note(frame: &Frame<'_>, notes: &mut Notes) {
    if frame.name.is_empty() {
        v1::note(&frame.data, notes);
    }
    if !frame.is_error && frame.name != "message-end" && memmem::find(&frame.data, b"\"message-end\"").is_none() {
        return;
    }
    let Ok(root) = serde_json::from_slice::<Raw<'_>>(&frame.data) else { return };
    let root = loose(root);
    if frame.is_error {
        notes.error = Some(told(&root).message);
        return;
    }
    if find(&root, "type").and_then(as_text).is_some_and(|kind| kind != "message-end") {
        return;
    }
    let delta = find(&root, "delta").map(loose).unwrap_or_default();
    if let Some(usage) = find(&delta, "usage").and_then(usage::read) {
        notes.usage = Some(usage);
    }
    notes.finish_reason = find(&delta, "finish_reason").and_then(as_text).map(String::from);
    match failure(&root, &delta) {
        Some(error) => notes.error = Some(error.message),
        None => notes.done = true,
    }
}
