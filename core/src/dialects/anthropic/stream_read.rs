//! A provider's stream, read: its blocks become parts, whatever it begins twice.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{answer, blocks, error, finish_of, tier_of, usage};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Maker, Signature};
use crate::contract::read::{Raw, as_text, find, is_object, loose};
use crate::contract::usage::Usage;
use crate::dialects::frames::Frame;
use crate::dialects::{Notes, StreamReader, Unreadable};

/// Blocks that are open at one time; the provider has one.
const OPEN_MAX: usize = 64;

#[derive(Debug, Default)]
pub struct Reader {
    started: bool,
    open: Vec<Open>,
    /// Parts begun so far.
    parts: u64,
    /// A text was begun: a refusal needs no words of its own.
    spoke: bool,
    usage: Usage,
    finished: bool,
    ended: bool,
}

#[derive(Debug)]
struct Open {
    index: u64,
    part: u64,
    kind: Block,
    /// Arguments that stood in the block's begin; what comes piece by piece counts instead.
    whole: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Call,
    /// It has no deltas in the canonical form.
    Native,
}

#[derive(Deserialize)]
struct Told<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(default)]
    usage: Option<usage::Told>,
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let data = frame.data.trim_ascii();
        // Some servers end as OpenAI's do; it says nothing here.
        if data.is_empty() || self.ended || data == b"[DONE]" {
            return Ok(());
        }
        if frame.is_error {
            self.fail(data, out);
            return Ok(());
        }
        let told: Told<'_> = serde_json::from_slice(data)
            .map_err(|why| Unreadable(format!("an event is no JSON of a message: {why}")))?;
        if matches!(&*told.kind, "content_block_start" | "content_block_delta" | "message_delta" | "message_stop") {
            self.started(String::new(), String::new(), out);
        }
        match &*told.kind {
            "message_start" => self.start(told.message, out)?,
            "content_block_start" => self.begin(told.index.unwrap_or(0), told.content_block, out)?,
            "content_block_delta" => self.delta(told.index.unwrap_or(0), told.delta, out)?,
            "content_block_stop" => self.stop(told.index.unwrap_or(0), out),
            "message_delta" => self.message_delta(&told, out),
            "message_stop" => {
                self.finish(Finish::Stop, None, None, out);
                self.ended = true;
                out.push(Event::Done);
            }
            "error" => self.fail(data, out),
            // `ping`, and whatever will be added.
            _ => {}
        }
        Ok(())
    }

    /// Without its last event a stream is not complete.
    fn end(&mut self, _out: &mut Vec<Event>) {}
}

impl Reader {
    /// A second one replaces what was said before, which cannot be taken back: what is open is closed, and it goes on.
    fn start(&mut self, message: Option<Raw<'_>>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.close_all(out);
        let members = message.map(loose).unwrap_or_default();
        let text = |name: &str| find(&members, name).and_then(as_text).unwrap_or_default().into_owned();
        self.started(text("id"), text("model"), out);
        if let Some(raw) = find(&members, "usage") {
            let told = serde_json::from_str(raw.get()).map_err(|why| Unreadable(format!("usage: {why}")))?;
            self.use_of(&told, out);
        }
        Ok(())
    }

    /// Told once, and before all parts, also where a server leaves its first event out.
    fn started(&mut self, id: String, model: String, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            out.push(Event::Start { id, model, created_s: None });
        }
    }

    fn use_of(&mut self, told: &usage::Told, out: &mut Vec<Event>) {
        told.over(&mut self.usage);
        out.push(Event::Usage(self.usage));
        let beside = told.beside();
        if !beside.is_empty() {
            out.push(Event::Beside(beside));
        }
        if let Some(tier) = &told.service_tier {
            out.push(Event::ServiceTier(tier_of(tier).to_owned()));
        }
    }

    fn begin(&mut self, index: u64, block: Option<Raw<'_>>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.stop(index, out);
        let members = block.map(loose).unwrap_or_default();
        let text = |name: &str| find(&members, name).and_then(as_text).unwrap_or_default().into_owned();
        match &*text("type") {
            "text" => {
                self.open(index, Block::Text, Begins::Text, out)?;
                self.say(index, Delta::Text(text("text")), out);
                let cited: Vec<Raw<'_>> = find(&members, "citations")
                    .and_then(|raw| serde_json::from_str(raw.get()).ok())
                    .unwrap_or_default();
                cited.into_iter().for_each(|raw| self.say(index, citation(raw), out));
            }
            "thinking" => {
                let begins = Begins::Reasoning { summary: false, id: None };
                self.open(index, Block::Thinking, begins, out)?;
                self.say(index, Delta::Text(text("thinking")), out);
                self.sign(index, text("signature"), out);
            }
            "redacted_thinking" => {
                let begins = Begins::Reasoning { summary: false, id: None };
                self.open(index, Block::Thinking, begins, out)?;
                let seal = blocks::unsealed(text("data").into());
                // Whose they are is told first: encrypted thoughts do not say it themselves.
                self.say(index, Delta::Signature(Signature { by: seal.by, data: "".into() }), out);
                self.say(index, Delta::Encrypted(seal.data.into_owned()), out);
            }
            "tool_use" => {
                let begins = Begins::ToolCall { id: text("id"), name: text("name") };
                self.open(index, Block::Call, begins, out)?;
                let whole = find(&members, "input").filter(|raw| is_object(raw) && !loose(raw).is_empty());
                if let Some(open) = self.open.last_mut() {
                    open.whole = whole.map(|raw| raw.get().to_owned());
                }
            }
            kind => self.open(index, Block::Native, Begins::Native(kind.to_owned()), out)?,
        }
        Ok(())
    }

    fn open(&mut self, index: u64, kind: Block, begins: Begins, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        if self.open.len() == OPEN_MAX {
            return Err(Unreadable(format!("more than {OPEN_MAX} blocks are open")));
        }
        let part = self.parts;
        self.parts += 1;
        self.spoke |= kind == Block::Text;
        out.push(Event::Begin { choice: 0, part, kind: begins });
        self.open.push(Open { index, part, kind, whole: None });
        Ok(())
    }

    /// Says something in an open block; nothing where there is nothing to say.
    fn say(&mut self, index: u64, delta: Delta, out: &mut Vec<Event>) {
        let empty = match &delta {
            Delta::Text(text) | Delta::Arguments(text) | Delta::Encrypted(text) => text.is_empty(),
            Delta::Signature(_) | Delta::Citation { .. } => false,
        };
        let Some(open) = self.open.iter_mut().find(|open| open.index == index).filter(|_| !empty) else { return };
        let fits = match (&delta, open.kind) {
            (Delta::Text(_), Block::Text | Block::Thinking)
            | (Delta::Arguments(_), Block::Call)
            | (Delta::Signature(_) | Delta::Encrypted(_), Block::Thinking)
            | (Delta::Citation { .. }, Block::Text) => true,
            (Delta::Text(_), Block::Call | Block::Native)
            | (Delta::Arguments(_), Block::Text | Block::Thinking | Block::Native)
            | (Delta::Signature(_) | Delta::Encrypted(_), Block::Text | Block::Call | Block::Native)
            | (Delta::Citation { .. }, Block::Thinking | Block::Call | Block::Native) => false,
        };
        if fits {
            if let Delta::Arguments(_) = &delta {
                open.whole = None;
            }
            out.push(Event::Delta { choice: 0, part: open.part, delta });
        }
    }

    fn sign(&mut self, index: u64, seal: String, out: &mut Vec<Event>) {
        if seal.is_empty() {
            return;
        }
        let seal = blocks::unsealed(seal.into());
        let by = seal.by;
        let (data, encrypted) = match by {
            Maker::Openai => (Cow::Borrowed(""), Some(seal.data)),
            Maker::Anthropic | Maker::Google | Maker::Other => (seal.data, None),
        };
        self.say(index, Delta::Signature(Signature { by, data: data.into_owned().into() }), out);
        if let Some(data) = encrypted {
            self.say(index, Delta::Encrypted(data.into_owned()), out);
        }
    }

    fn delta(&mut self, index: u64, delta: Option<Raw<'_>>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let members = delta.map(loose).unwrap_or_default();
        let text = |name: &str| find(&members, name).and_then(as_text).unwrap_or_default().into_owned();
        let kind = text("type");
        // A server that begins no blocks is understood all the same.
        if !self.open.iter().any(|open| open.index == index) {
            match &*kind {
                "text_delta" => self.open(index, Block::Text, Begins::Text, out)?,
                "thinking_delta" => {
                    self.open(index, Block::Thinking, Begins::Reasoning { summary: false, id: None }, out)?;
                }
                _ => return Ok(()),
            }
        }
        match &*kind {
            "text_delta" => self.say(index, Delta::Text(text("text")), out),
            "thinking_delta" => self.say(index, Delta::Text(text("thinking")), out),
            "signature_delta" => self.sign(index, text("signature"), out),
            "input_json_delta" => self.say(index, Delta::Arguments(text("partial_json")), out),
            "citations_delta" => {
                if let Some(raw) = find(&members, "citation") {
                    self.say(index, citation(raw), out);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn stop(&mut self, index: u64, out: &mut Vec<Event>) {
        if let Some(at) = self.open.iter().position(|open| open.index == index) {
            close(self.open.remove(at), out);
        }
    }

    fn close_all(&mut self, out: &mut Vec<Event>) {
        self.open.drain(..).for_each(|open| close(open, out));
    }

    fn message_delta(&mut self, told: &Told<'_>, out: &mut Vec<Event>) {
        if let Some(usage) = &told.usage {
            self.use_of(usage, out);
        }
        let members = told.delta.map(loose).unwrap_or_default();
        let Some(reason) = find(&members, "stop_reason").and_then(as_text) else { return };
        let sequence = find(&members, "stop_sequence").and_then(as_text).map(Cow::into_owned);
        self.finish(finish_of(&reason), sequence, find(&members, "stop_details"), out);
    }

    fn finish(
        &mut self,
        reason: Finish,
        stop_sequence: Option<String>,
        details: Option<Raw<'_>>,
        out: &mut Vec<Event>,
    ) {
        self.close_all(out);
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(why) = details.and_then(answer::explanation).filter(|_| !self.spoke) {
            let (choice, part) = (0, self.parts);
            self.parts += 1;
            out.push(Event::Begin { choice, part, kind: Begins::Refusal });
            out.push(Event::Delta { choice, part, delta: Delta::Text(why.into_owned()) });
            out.push(Event::End { choice, part });
        }
        out.push(Event::Finish { choice: 0, reason, stop_sequence });
    }

    fn fail(&mut self, data: &[u8], out: &mut Vec<Event>) {
        self.ended = true;
        out.push(Event::Error(error::in_stream(data)));
    }
}

fn close(open: Open, out: &mut Vec<Event>) {
    if let Some(whole) = open.whole {
        out.push(Event::Delta { choice: 0, part: open.part, delta: Delta::Arguments(whole) });
    }
    out.push(Event::End { choice: 0, part: open.part });
}

fn citation(raw: Raw<'_>) -> Delta {
    let said = blocks::citation(raw);
    let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    Delta::Citation {
        url: text(said.url),
        title: text(said.title),
        cited: text(said.cited),
        start: said.start,
        end: said.end,
    }
}

/// Read beside the bytes. Nearly every event is a piece of a block, which its name tells; where servers leave the names
/// out, a few searches do.
pub fn note(frame: &Frame<'_>, notes: &mut Notes) {
    #[derive(Deserialize)]
    struct Beside<'a> {
        #[serde(rename = "type", borrow, default)]
        kind: Cow<'a, str>,
        #[serde(default)]
        message: Option<Used>,
        #[serde(default)]
        usage: Option<usage::Told>,
        #[serde(default)]
        delta: Option<Ended>,
    }
    #[derive(Deserialize)]
    struct Used {
        #[serde(default)]
        usage: Option<usage::Told>,
    }
    #[derive(Deserialize)]
    struct Ended {
        #[serde(default)]
        stop_reason: Option<String>,
    }
    const TELLING: [&str; 4] = ["message_start", "message_delta", "message_stop", "error"];
    let tells = |name: &&str| match frame.name.is_empty() {
        false => frame.name == *name,
        true => memmem::find(&frame.data, name.as_bytes()).is_some(),
    };
    if frame.is_error {
        notes.error = Some(error::in_stream(frame.data.trim_ascii()).message);
        return;
    }
    if !TELLING.iter().any(tells) {
        return;
    }
    let Ok(told) = serde_json::from_slice::<Beside<'_>>(&frame.data) else { return };
    match &*told.kind {
        "error" => notes.error = Some(error::in_stream(frame.data.trim_ascii()).message),
        "message_stop" => notes.done = true,
        "message_start" | "message_delta" => {
            for usage in [told.message.and_then(|m| m.usage), told.usage].into_iter().flatten() {
                usage.over(notes.usage.get_or_insert_default());
                let beside = usage.beside();
                if !beside.is_empty() {
                    notes.beside = beside;
                }
            }
            if let Some(reason) = told.delta.and_then(|d| d.stop_reason) {
                notes.finish_reason = Some(reason);
            }
        }
        _ => {}
    }
}
