//! A provider's stream, read: chunks of many makes into one order of events.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{made_id, pictures, thoughts};
use super::details::{self, Detail};
use super::finish_of;
use super::note::error_of;
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Kind, Maker, Media, Signature, Source};
use crate::contract::read::{as_text, find, is_list, loose};
use crate::contract::usage::OpenaiUsage;
use crate::dialects::frames::Frame;
use crate::dialects::{Given, StreamReader, Unreadable};

/// Choices and calls of one stream; a provider that counts higher is not followed.
const CHOICES_MAX: usize = 128;
const CALLS_MAX: usize = 1_024;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    created: Option<f64>,
    #[serde(borrow, default)]
    choices: Option<Vec<Piece<'a>>>,
    #[serde(default)]
    usage: Option<OpenaiUsage>,
    #[serde(default)]
    x_groq: Option<Groq>,
    #[serde(default)]
    service_tier: Option<String>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Groq {
    #[serde(default)]
    usage: Option<OpenaiUsage>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow, default)]
    delta: Option<Said<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(default)]
    usage: Option<OpenaiUsage>,
}

#[derive(Deserialize, Default)]
struct Said<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    images: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallPiece<'a>>>,
    #[serde(borrow, default)]
    function_call: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct CallPiece<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
    #[serde(borrow, default)]
    extra_content: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Function<'a> {
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// One answer of the stream, and which of its parts is open.
#[derive(Default)]
struct Choice {
    parts: u64,
    open: Option<(u64, Begins)>,
    /// Which of the entries of thoughts was told last.
    detail: Option<u64>,
    calls: Vec<Call>,
    refuses: bool,
    finished: bool,
}

struct Call {
    part: u64,
    index: Option<u64>,
    id: String,
}

pub struct Reader {
    call_id: String,
    started: bool,
    done: bool,
    failed: bool,
    choices: Vec<Choice>,
}

impl Reader {
    pub fn new(given: &Given<'_>) -> Self {
        Reader { call_id: given.call_id.to_owned(), started: false, done: false, failed: false, choices: Vec::new() }
    }

    fn chunk(&mut self, chunk: Chunk<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        // Azure's first chunk tells of its filter only, without an id.
        let tells = chunk.usage.is_some() || chunk.choices.as_ref().is_some_and(|c| !c.is_empty());
        if !self.started && tells && chunk.error.is_none() {
            self.started = true;
            out.push(Event::Start {
                id: chunk.id.unwrap_or_default(),
                model: chunk.model.unwrap_or_default(),
                created_s: chunk.created.map(|s| s as i64),
            });
        }
        if let Some(error) = chunk.error.filter(|e| e.get() != "null") {
            self.failed = true;
            out.push(Event::Error(error_of(error.get().as_bytes())));
            return Ok(());
        }
        if let Some(tier) = chunk.service_tier {
            out.push(Event::ServiceTier(tier));
        }
        let mut usage = chunk.usage.or(chunk.x_groq.and_then(|g| g.usage));
        for piece in chunk.choices.into_iter().flatten() {
            let at = usize::try_from(piece.index).unwrap_or(usize::MAX);
            if at >= CHOICES_MAX {
                return Err(Unreadable(format!("choice {} is beyond the {CHOICES_MAX} that are read", piece.index)));
            }
            if self.choices.len() <= at {
                self.choices.resize_with(at + 1, Choice::default);
            }
            usage = usage.or(piece.usage);
            let choice = &mut self.choices[at];
            if let Some(said) = piece.delta {
                choice.said(piece.index, said, &self.call_id, out)?;
            }
            if let Some(raw) = piece.logprobs.filter(|raw| raw.get() != "null") {
                out.push(Event::Logprobs { choice: piece.index, json: raw.get().to_owned() });
            }
            if let Some(reason) = piece.finish_reason.filter(|reason| !reason.is_empty() && !choice.finished) {
                choice.finish(piece.index, &reason, out);
            }
        }
        if let Some(usage) = usage {
            out.extend(usage.disjoint().map(Event::Usage));
        }
        Ok(())
    }
}

impl Choice {
    fn said(&mut self, at: u64, said: Said<'_>, call_id: &str, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let details = said.reasoning_details.filter(|raw| is_list(raw));
        if let Some(raw) = details {
            self.details(at, raw, out);
        }
        let plain = said.reasoning_content.or(said.reasoning).and_then(as_text);
        if let Some(text) = plain.filter(|text| !text.is_empty() && details.is_none()) {
            let kind = Begins::Reasoning { summary: false, id: None };
            self.delta(at, kind, Delta::Text(text.into_owned()), out);
        }
        match said.content {
            Some(raw) if is_list(raw) => self.listed(at, raw, out),
            Some(raw) => {
                if let Some(text) = as_text(raw).filter(|text| !text.is_empty()) {
                    self.delta(at, Begins::Text, Delta::Text(text.into_owned()), out);
                }
            }
            None => {}
        }
        for part in said.images.into_iter().flat_map(pictures) {
            if let Kind::Media(Media { what, mime, source: Source::Base64(data), .. }) = part.kind {
                let kind = Begins::Media { what, mime: mime.into_owned(), data: data.into_owned() };
                self.close(at, out);
                let part = self.next();
                out.extend([Event::Begin { choice: at, part, kind }, Event::End { choice: at, part }]);
            }
        }
        if let Some(text) = said.refusal.and_then(as_text).filter(|text| !text.is_empty()) {
            self.refuses = true;
            self.delta(at, Begins::Refusal, Delta::Text(text.into_owned()), out);
        }
        for piece in said.tool_calls.into_iter().flatten() {
            self.call(at, piece, call_id, out)?;
        }
        let is_empty = |f: &Function<'_>| {
            f.name.as_deref().unwrap_or_default().is_empty()
                && f.arguments.is_none_or(|raw| as_text(raw).is_some_and(|text| text.is_empty()))
        };
        if let Some(function) = said.function_call.filter(|function| !is_empty(function)) {
            let piece = CallPiece { index: Some(0), id: None, function: Some(function), extra_content: None };
            self.call(at, piece, call_id, out)?;
        }
        Ok(())
    }

    /// Says something in a part of this kind: the open one, or a new one.
    fn delta(&mut self, choice: u64, kind: Begins, delta: Delta, out: &mut Vec<Event>) {
        let same = |open: &Begins| std::mem::discriminant(open) == std::mem::discriminant(&kind);
        let part = match &self.open {
            Some((part, open)) if same(open) => *part,
            Some(_) | None => {
                self.close(choice, out);
                let part = self.next();
                out.push(Event::Begin { choice, part, kind: kind.clone() });
                self.open = Some((part, kind));
                part
            }
        };
        out.push(Event::Delta { choice, part, delta });
    }

    fn next(&mut self) -> u64 {
        self.parts += 1;
        self.parts - 1
    }

    fn close(&mut self, choice: u64, out: &mut Vec<Event>) {
        if let Some((part, _)) = self.open.take() {
            out.push(Event::End { choice, part });
        }
    }

    fn details(&mut self, at: u64, raw: &RawValue, out: &mut Vec<Event>) {
        let items: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        for Detail { index, reasoning, signature } in items.into_iter().map(details::told) {
            let id = reasoning.id.map(Cow::into_owned);
            let kind = Begins::Reasoning { summary: reasoning.summary, id };
            let before = std::mem::replace(&mut self.detail, index);
            let is_other = before.is_some() && index.is_some() && before != index;
            if is_other && matches!(self.open, Some((_, Begins::Reasoning { .. }))) {
                self.close(at, out);
            }
            let signature = signature.map(|s| Signature { by: s.by, data: s.data.into_owned().into() });
            let encrypted = reasoning.encrypted.map(|data| Delta::Encrypted(data.into_owned()));
            let text = Some(reasoning.text).filter(|text| !text.is_empty()).map(|t| Delta::Text(t.into_owned()));
            // Whose encrypted thoughts are is told before them.
            for delta in [text, signature.map(Delta::Signature), encrypted].into_iter().flatten() {
                self.delta(at, kind.clone(), delta, out);
            }
        }
    }

    /// A list of parts in a delta: texts and thoughts.
    fn listed(&mut self, at: u64, raw: &RawValue, out: &mut Vec<Event>) {
        let items: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        for item in items {
            let members = loose(item);
            let (kind, text) = match find(&members, "thinking") {
                Some(raw) => {
                    let text = as_text(raw).map_or_else(|| thoughts(raw), Into::into);
                    (Begins::Reasoning { summary: false, id: None }, text)
                }
                None => (Begins::Text, find(&members, "text").and_then(as_text).unwrap_or_default().into_owned()),
            };
            if !text.is_empty() {
                self.delta(at, kind, Delta::Text(text), out);
            }
        }
    }

    fn call(&mut self, at: u64, piece: CallPiece<'_>, call_id: &str, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let function = piece.function.unwrap_or_default();
        let id = piece.id.filter(|id| !id.is_empty());
        let known = self.calls.iter().position(|call| match (&id, piece.index, call.index) {
            // An id that is new begins a call, whatever the index says: some servers count all as 0.
            (Some(id), _, _) if *id == call.id => true,
            (Some(_), _, _) => false,
            (None, Some(index), Some(known)) => index == known,
            (None, _, _) => false,
        });
        let unnamed = function.name.as_deref().unwrap_or_default().is_empty();
        let known = known.or_else(|| (id.is_none() && unnamed).then(|| self.calls.len().checked_sub(1)).flatten());
        let part = match known {
            Some(known) => self.calls[known].part,
            None => {
                if self.calls.len() == CALLS_MAX {
                    return Err(Unreadable(format!("more than {CALLS_MAX} calls of tools in one answer")));
                }
                self.close(at, out);
                let part = self.next();
                let given = Given {
                    call_id,
                    now_s: 0,
                    model: "",
                    stream: true,
                    include_usage: false,
                    as_array: false,
                    own_tools: &[],
                    asked: &[],
                };
                let id = id.unwrap_or_else(|| made_id(&given, self.calls.len()));
                let kind = Begins::ToolCall { id: id.clone(), name: function.name.unwrap_or_default() };
                out.push(Event::Begin { choice: at, part, kind });
                self.calls.push(Call { part, index: piece.index, id });
                part
            }
        };
        if let Some(data) = piece
            .extra_content
            .and_then(|raw| as_text(find(&loose(find(&loose(raw), "google")?), "thought_signature")?))
        {
            let signature = Signature { by: Maker::Google, data: data.into_owned().into() };
            out.push(Event::Delta { choice: at, part, delta: Delta::Signature(signature) });
        }
        if let Some(raw) = function.arguments {
            // A whole object instead of its text, from servers that do not know pieces.
            let text = as_text(raw).map_or_else(|| raw.get().to_owned(), Into::into);
            if !text.is_empty() && text != "null" {
                out.push(Event::Delta { choice: at, part, delta: Delta::Arguments(text) });
            }
        }
        Ok(())
    }

    fn finish(&mut self, at: u64, reason: &str, out: &mut Vec<Event>) {
        self.close(at, out);
        out.extend(self.calls.iter().map(|call| Event::End { choice: at, part: call.part }));
        self.finished = true;
        let reason = match finish_of(reason) {
            Finish::Stop if !self.calls.is_empty() => Finish::ToolCalls,
            other => other.refusing(self.refuses),
        };
        out.push(Event::Finish { choice: at, reason, stop_sequence: None });
    }
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        if frame.data.is_empty() || self.done || self.failed {
            return Ok(());
        }
        if frame.data.trim_ascii() == b"[DONE]" {
            self.done = true;
            out.push(Event::Done);
            return Ok(());
        }
        if frame.is_error {
            self.failed = true;
            out.push(Event::Error(error_of(&frame.data)));
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(&frame.data)
            .map_err(|why| Unreadable(format!("a chunk is no JSON of a chat completion: {why}")))?;
        self.chunk(chunk, out)
    }

    /// Servers that send no `[DONE]` are complete when they gave a reason to finish.
    fn end(&mut self, out: &mut Vec<Event>) {
        let finished = !self.choices.is_empty() && self.choices.iter().all(|c| c.finished);
        if finished && !self.done && !self.failed {
            self.done = true;
            out.push(Event::Done);
        }
    }
}
