//! A stream of Ollama: an object a line, the last with `done: true`.

use memchr::memmem;

use super::answer::{finish, logprobs, seconds, usage};
use super::error::words;
use super::message;
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::canonical::part::{Kind, ToolCall};
use crate::contract::read::{Members, Raw, Reading, as_text, as_whole, find, loose};
use crate::dialects::frames::Frame;
use crate::dialects::{Given, Notes, StreamReader, Unreadable, made_call_id};

#[derive(Debug)]
pub struct Reader {
    call_id: String,
    started: bool,
    over: bool,
    parts: u64,
    /// The open part, and whether it holds thoughts.
    open: Option<(u64, bool)>,
    calls: usize,
}

impl Reader {
    pub fn new(given: &Given<'_>) -> Self {
        let call_id = given.call_id.to_owned();
        Reader { call_id, started: false, over: false, parts: 0, open: None, calls: 0 }
    }

    fn start(&mut self, root: &Members<'_>, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            let text = |name| find(root, name).and_then(as_text).unwrap_or_default();
            let (model, created_s) = (text("model").into_owned(), seconds(&text("created_at")));
            out.push(Event::Start { id: String::new(), model, created_s });
        }
    }

    fn begin(&mut self, kind: Begins, out: &mut Vec<Event>) -> u64 {
        let part = self.parts;
        self.parts += 1;
        out.push(Event::Begin { choice: 0, part, kind });
        part
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if let Some((part, _)) = self.open.take() {
            out.push(Event::End { choice: 0, part });
        }
    }

    fn say(&mut self, text: &str, thoughts: bool, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let part = match self.open.filter(|(_, open)| *open == thoughts) {
            Some((part, _)) => part,
            None => {
                self.close(out);
                let kind = match thoughts {
                    true => Begins::Reasoning { summary: false, id: None },
                    false => Begins::Text,
                };
                let part = self.begin(kind, out);
                self.open = Some((part, thoughts));
                part
            }
        };
        out.push(Event::Delta { choice: 0, part, delta: Delta::Text(text.to_owned()) });
    }

    /// A call comes whole.
    fn call(&mut self, call: &ToolCall<'_>, out: &mut Vec<Event>) {
        self.close(out);
        let id = if call.id.is_empty() { made_call_id(&self.call_id, self.calls) } else { call.id.to_string() };
        self.calls += 1;
        let part = self.begin(Begins::ToolCall { id, name: call.name.to_string() }, out);
        let delta = Delta::Arguments(call.arguments_json().to_owned());
        out.push(Event::Delta { choice: 0, part, delta });
        out.push(Event::End { choice: 0, part });
    }

    fn message(&mut self, raw: Raw<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let mut reading = Reading::default();
        let read = reading.object(raw).and_then(|members| message::read(&mut reading, members));
        let said = read.map_err(|wrong| Unreadable(format!("a line is no message: {wrong}")))?;
        self.say(said.thinking.as_deref().unwrap_or_default(), true, out);
        self.say(said.content.as_deref().unwrap_or_default(), false, out);
        for part in &said.calls {
            if let Kind::ToolCall(call) = &part.kind {
                self.call(call, out);
            }
        }
        Ok(())
    }
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let data = frame.data.trim_ascii();
        if self.over || data.is_empty() {
            return Ok(());
        }
        let json: Raw<'_> =
            serde_json::from_slice(data).map_err(|why| Unreadable(format!("a line is no JSON: {why}")))?;
        let root = loose(json);
        if let Some(error) = failure(json, &root) {
            self.over = true;
            out.push(Event::Error(error));
            return Ok(());
        }
        self.start(&root, out);
        if let Some(raw) = find(&root, "message") {
            self.message(raw, out)?;
        }
        if let Some(json) = find(&root, "logprobs").and_then(logprobs) {
            out.push(Event::Logprobs { choice: 0, json });
        }
        if find(&root, "done").is_some_and(|done| done.get() == "true") {
            self.over = true;
            self.close(out);
            let reason = find(&root, "done_reason").and_then(as_text);
            let reason = finish(reason.as_deref(), self.calls > 0);
            out.push(Event::Finish { choice: 0, reason, stop_sequence: None });
            out.extend(usage(&root).map(Event::Usage));
            out.push(Event::Done);
        }
        Ok(())
    }

    /// The end is told by `done`; without it the stream was cut.
    fn end(&mut self, _: &mut Vec<Event>) {}
}

fn failure(json: Raw<'_>, root: &Members<'_>) -> Option<StreamError> {
    find(root, "error")?;
    let status = find(root, "status_code").or_else(|| find(root, "status")).and_then(as_whole);
    Some(StreamError {
        message: words(json).unwrap_or_else(|| "an error without words".to_owned()),
        code: None,
        status: status.and_then(|s| u16::try_from(s).ok()),
    })
}

/// Only the last line and errors tell anything, and only they are parsed.
pub fn note(frame: &Frame<'_>, notes: &mut Notes) {
    let data = &*frame.data;
    let done = memmem::find(data, b"\"done\"").is_some_and(|at| {
        let value = data[at + 6..].trim_ascii_start();
        value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
    });
    if !done && memmem::find(data, b"\"error\"").is_none() {
        return;
    }
    let Ok(json) = serde_json::from_slice::<Raw<'_>>(data) else { return };
    let root = loose(json);
    if let Some(error) = failure(json, &root) {
        notes.error = Some(error.message);
        return;
    }
    if find(&root, "done").is_some_and(|done| done.get() == "true") {
        notes.done = true;
        notes.finish_reason = find(&root, "done_reason").and_then(as_text).map(String::from);
        if let Some(usage) = usage(&root) {
            notes.usage = Some(usage);
        }
    }
}
