//! A stream for a caller: every chunk is an answer that says a little more.
//!
//! Calls come whole, so their pieces are gathered. Reasons to finish and usage stand in one last chunk that has candidates, as
//! the service itself has it: SDKs take a chunk without candidates for a broken answer.

use std::borrow::Cow;

use super::answer::tail;
use super::grounding::{self, Kept, Offsets};
use super::names::finish_name;
use super::write_parts::write_call;
use super::{error, logprobs, seal, usage};
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Maker, Signature, ToolCall};
use crate::contract::refusal::Refusal;
use crate::contract::usage::Usage;
use crate::contract::write;
use crate::dialects::frames::FRAME_BYTES_MAX;
use crate::dialects::frames::json_array::ArrayWriter;
use crate::dialects::{Given, StreamWriter};

/// Sources of one answer that are told.
const CITATIONS_MAX: usize = 4_096;

pub struct Writer {
    /// `None` = server-sent events.
    array: Option<ArrayWriter>,
    id: String,
    model: String,
    created_s: Option<i64>,
    call_id: String,
    usage: Option<Usage>,
    tier: Option<String>,
    open: Vec<Part>,
    choices: Vec<Choice>,
    /// Bytes of arguments that are gathered.
    gathered: usize,
}

struct Part {
    choice: u64,
    part: u64,
    kind: Begins,
    arguments: String,
    seal: Option<Signature<'static>>,
    encrypted: Option<String>,
}

#[derive(Default)]
struct Choice {
    index: u64,
    finish: Option<String>,
    citations: Vec<Kept>,
    offsets: Offsets,
}

impl Writer {
    pub fn new(given: &Given<'_>) -> Self {
        Writer {
            array: given.as_array.then(ArrayWriter::default),
            id: String::new(),
            model: given.model.to_owned(),
            created_s: None,
            call_id: given.call_id.to_owned(),
            usage: None,
            tier: None,
            open: Vec::new(),
            choices: Vec::new(),
            gathered: 0,
        }
    }

    fn element(&mut self, json: &[u8], out: &mut Vec<u8>) {
        match &mut self.array {
            Some(array) => array.element(json, out),
            None => {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(json);
                out.extend_from_slice(b"\r\n\r\n");
            }
        }
    }

    /// A chunk with these candidates.
    fn chunk(&mut self, out: &mut Vec<u8>, candidates: impl FnOnce(&mut write::Writer), with_usage: bool) {
        let given = Given {
            call_id: &self.call_id,
            now_s: 0,
            model: &self.model,
            stream: true,
            include_usage: true,
            as_array: false,
            own_tools: &[],
            asked: &[],
        };
        let json = write::Writer::object_text(|w| {
            w.list_member("candidates", candidates);
            if let Some(usage) = self.usage.filter(|_| with_usage) {
                w.object_member("usageMetadata", |w| usage::write(w, &usage, self.tier.as_deref()));
            }
            tail(w, &self.model, &self.id, self.created_s, &given);
        });
        self.element(&json, out);
    }

    /// A chunk with one part of one choice.
    fn part(&mut self, choice: u64, out: &mut Vec<u8>, part: impl FnOnce(&mut write::Writer)) {
        let candidates = |w: &mut write::Writer| w.object(|w| candidate(w, choice, part));
        self.chunk(out, candidates, false);
    }

    fn choice(&mut self, index: u64) -> &mut Choice {
        let at = self.choices.iter().position(|c| c.index == index).unwrap_or_else(|| {
            self.choices.push(Choice { index, ..Choice::default() });
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }

    fn delta(&mut self, choice: u64, part: u64, delta: &Delta, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().rposition(|p| p.choice == choice && p.part == part) else { return };
        match (delta, &self.open[at].kind) {
            (Delta::Text(text), Begins::Text | Begins::Refusal) => {
                self.choice(choice).offsets.said(text);
                self.part(choice, out, |w| w.member("text", text));
            }
            (Delta::Text(text), Begins::Reasoning { .. }) => self.part(choice, out, |w| {
                w.member("text", text);
                w.member("thought", &true);
            }),
            (Delta::Arguments(text), Begins::ToolCall { .. }) => {
                self.gathered = self.gathered.saturating_add(text.len());
                match self.gathered > FRAME_BYTES_MAX {
                    // More than a frame can hold: it can never be said.
                    true => self.open[at].arguments = "(too long)".to_owned(),
                    false => self.open[at].arguments.push_str(text),
                }
            }
            (Delta::Signature(signature), _) => self.open[at].seal = Some(signature.clone()),
            (Delta::Encrypted(data), Begins::Reasoning { .. }) => {
                self.gathered = self.gathered.saturating_add(data.len());
                if self.gathered <= FRAME_BYTES_MAX {
                    self.open[at].encrypted.get_or_insert_default().push_str(data);
                }
            }
            (Delta::Citation { url, title, cited, start, end }, _) => {
                let kept =
                    Kept { url: url.clone(), title: title.clone(), cited: cited.clone(), start: *start, end: *end };
                let citations = &mut self.choice(choice).citations;
                if citations.len() < CITATIONS_MAX {
                    citations.push(kept);
                }
            }
            // What this dialect has no words for.
            (Delta::Text(_), Begins::ToolCall { .. } | Begins::Native(_) | Begins::Media { .. })
            | (
                Delta::Arguments(_),
                Begins::Text | Begins::Refusal | Begins::Reasoning { .. } | Begins::Native(_) | Begins::Media { .. },
            )
            | (
                Delta::Encrypted(_),
                Begins::Text | Begins::Refusal | Begins::ToolCall { .. } | Begins::Native(_) | Begins::Media { .. },
            ) => {}
        }
    }

    /// What only the end of a part can tell: a call as a whole, and the seal.
    fn end(&mut self, part: Part, out: &mut Vec<u8>) {
        let seal = match (&part.encrypted, &part.seal) {
            (Some(data), seal) => {
                let id = if let Begins::Reasoning { id, .. } = &part.kind { id.as_deref() } else { None };
                seal::encrypted(seal.as_ref().map_or(Maker::Other, |s| s.by), id, data)
            }
            (None, Some(signature)) => seal::signed(signature).map(Cow::into_owned),
            (None, None) => None,
        };
        let seal = seal.filter(|seal| !seal.is_empty());
        match &part.kind {
            Begins::ToolCall { id, name } => {
                self.gathered = self.gathered.saturating_sub(part.arguments.len());
                let (id, name) = (Cow::Borrowed(&**id), Cow::Borrowed(&**name));
                let call = ToolCall { id, name, arguments: Cow::Borrowed(&part.arguments) };
                self.part(part.choice, out, |w| {
                    w.object_member("functionCall", |w| {
                        write_call(w, &call);
                    });
                    w.member_some("thoughtSignature", &seal);
                });
            }
            Begins::Text | Begins::Refusal | Begins::Reasoning { .. } if seal.is_some() => {
                let thought = matches!(part.kind, Begins::Reasoning { .. });
                self.part(part.choice, out, |w| {
                    w.member("text", "");
                    if thought {
                        w.member("thought", &true);
                    }
                    w.member_some("thoughtSignature", &seal);
                });
            }
            Begins::Text | Begins::Refusal | Begins::Reasoning { .. } | Begins::Native(_) | Begins::Media { .. } => {}
        }
    }

    /// The last chunk: why each choice ended, what they rest on, and what all of it used.
    fn done(&mut self, out: &mut Vec<u8>) {
        // Of providers that give no reason to finish.
        for part in std::mem::take(&mut self.open) {
            self.end(part, out);
        }
        let mut choices = std::mem::take(&mut self.choices);
        if choices.is_empty() {
            choices.push(Choice::default());
        }
        let candidates = |w: &mut write::Writer| {
            for choice in &choices {
                w.object(|w| {
                    candidate(w, choice.index, |w| w.member("text", ""));
                    w.member("finishReason", choice.finish.as_deref().unwrap_or("STOP"));
                    grounding::write(w, &choice.citations, &choice.offsets);
                });
            }
        };
        self.chunk(out, candidates, true);
        self.close(out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(array) = &mut self.array {
            array.end(out);
        }
    }
}

fn candidate(w: &mut write::Writer, index: u64, part: impl FnOnce(&mut write::Writer)) {
    w.object_member("content", |w| {
        w.list_member("parts", |w| w.object(part));
        w.member("role", "model");
    });
    w.member("index", &index);
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created_s } => {
                self.id.clone_from(id);
                if !model.is_empty() {
                    self.model.clone_from(model);
                }
                self.created_s = *created_s;
            }
            Event::Begin { choice, kind: Begins::Media { mime, data, .. }, .. } => self.part(*choice, out, |w| {
                w.object_member("inlineData", |w| {
                    w.member("mimeType", mime);
                    w.member("data", data);
                });
            }),
            Event::Begin { choice, part, kind } => self.open.push(Part {
                choice: *choice,
                part: *part,
                kind: kind.clone(),
                arguments: String::new(),
                seal: None,
                encrypted: None,
            }),
            Event::Delta { choice, part, delta } => self.delta(*choice, *part, delta, out),
            Event::End { choice, part } => {
                if let Some(at) = self.open.iter().rposition(|p| p.choice == *choice && p.part == *part) {
                    let part = self.open.remove(at);
                    self.end(part, out);
                }
            }
            Event::Logprobs { choice, json } => {
                let candidates = |w: &mut write::Writer| {
                    w.object(|w| {
                        candidate(w, *choice, |w| w.member("text", ""));
                        if let Ok(openai) = serde_json::from_str(json) {
                            logprobs::write(w, openai);
                        }
                    });
                };
                self.chunk(out, candidates, false);
            }
            Event::Finish { choice, reason, .. } => {
                while let Some(at) = self.open.iter().position(|p| p.choice == *choice) {
                    let part = self.open.remove(at);
                    self.end(part, out);
                }
                self.choice(*choice).finish = Some(finish_name(reason).to_owned());
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::ServiceTier(tier) => self.tier = Some(tier.clone()),
            Event::Beside(_) => {}
            // Said by `refusal`: the pipeline makes one of it.
            Event::Error(_) => {}
            Event::Done => self.done(out),
        }
    }

    fn refusal(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        let json = error::write(refusal, request_id);
        self.element(json.as_bytes(), out);
        self.close(out);
    }
}
