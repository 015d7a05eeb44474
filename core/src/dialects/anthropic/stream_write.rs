//! A stream for a caller, written: block after block, as this dialect has it, though parts of other dialects may come
//! between one another.
//!
//! Only the first of the open parts is spoken; what is said of the others waits until it has ended. Many providers end
//! their calls of tools only when all is said: a call whose arguments are whole has ended too, if another waits.

use std::collections::VecDeque;

use super::write_blocks::seal;
use super::{answer, blocks, error, finish_name, fitting, made_id, tier_name, usage};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Maker, Signature};
use crate::contract::refusal::Refusal;
use crate::contract::usage::Usage;
use crate::contract::write::{self, Null};
use crate::dialects::frames::sse;
use crate::dialects::{Given, StreamWriter};

/// What may wait. Beyond it blocks come between one another: clients that go by their index bear that.
const WAITING_BYTES_MAX: usize = 4 << 20;

pub struct Writer {
    id: String,
    model: String,
    started: bool,
    open: VecDeque<Part>,
    waiting_bytes: usize,
    /// Blocks begun so far.
    blocks: u64,
    refuses: bool,
    calls: bool,
    finish: Option<(Finish, Option<String>)>,
    usage: Usage,
    service_tier: Option<String>,
}

struct Part {
    part: u64,
    kind: Begins,
    /// Its block, once it has begun.
    index: Option<u64>,
    waiting: Vec<Delta>,
    ended: bool,
    json: Json,
    /// Whose encrypted thoughts these are.
    by: Maker,
    /// Seals of others, to stand behind it.
    seals: Vec<String>,
}

impl Writer {
    pub fn new(given: &Given<'_>) -> Self {
        Writer {
            id: made_id(given.call_id),
            model: given.model.to_owned(),
            started: false,
            open: VecDeque::new(),
            waiting_bytes: 0,
            blocks: 0,
            refuses: false,
            calls: false,
            finish: None,
            usage: Usage::default(),
            service_tier: None,
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        event("message_start", out, |w| {
            w.object_member("message", |w| {
                w.member("id", &self.id);
                w.member("type", "message");
                w.member("role", "assistant");
                w.member("model", &self.model);
                w.list_member("content", |_| {});
                w.member("stop_reason", &Null);
                w.member("stop_sequence", &Null);
                w.object_member("usage", |w| usage::write(w, &self.usage));
            });
        });
    }

    fn take(&mut self, part: u64, delta: &Delta, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().rposition(|open| open.part == part) else { return };
        let open = &mut self.open[at];
        if let Delta::Arguments(piece) = delta {
            open.json.feed(piece);
        }
        match at == 0 || self.waiting_bytes > WAITING_BYTES_MAX {
            true => {
                let waited = std::mem::take(&mut open.waiting);
                waited.iter().chain([delta]).for_each(|delta| speak(open, delta, &mut self.blocks, out));
            }
            false => {
                self.waiting_bytes += bytes(delta);
                open.waiting.push(delta.clone());
            }
        }
        self.go_on(out);
    }

    /// Ends what has ended, and lets the next one speak.
    fn go_on(&mut self, out: &mut Vec<u8>) {
        while let Some(first) = self.open.front_mut() {
            for delta in std::mem::take(&mut first.waiting) {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes(&delta));
                speak(first, &delta, &mut self.blocks, out);
            }
            // Texts begin at once. Thoughts may be another block, and a seal may stand before a call: their first piece tells.
            if matches!(first.kind, Begins::Text | Begins::Refusal) {
                begin(first, &mut self.blocks, out);
            }
            let whole = first.json.is_whole() && self.open.len() > 1;
            let Some(first) = self.open.front_mut().filter(|first| first.ended || whole) else { return };
            if matches!(first.kind, Begins::ToolCall { .. }) {
                begin(first, &mut self.blocks, out);
            }
            if let Some(index) = first.index {
                event("content_block_stop", out, |w| w.member("index", &index));
            }
            for data in std::mem::take(&mut first.seals) {
                redacted(&data, &mut self.blocks, out);
            }
            self.open.pop_front();
        }
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        self.open.iter_mut().for_each(|open| open.ended = true);
        self.go_on(out);
        let (reason, sequence) = self.finish.take().unwrap_or((Finish::Stop, None));
        let reason = fitting(reason, self.calls, self.refuses);
        event("message_delta", out, |w| {
            w.object_member("delta", |w| {
                w.member("stop_reason", finish_name(&reason));
                match &sequence {
                    Some(sequence) => w.member("stop_sequence", sequence),
                    None => w.member("stop_sequence", &Null),
                }
            });
            w.object_member("usage", |w| {
                usage::write(w, &self.usage);
                w.member_some("service_tier", &self.service_tier.as_deref().map(tier_name));
            });
        });
        event("message_stop", out, |_| {});
    }
}

impl StreamWriter for Writer {
    /// Only the first answer is said: this dialect has one.
    fn event(&mut self, told: &Event, out: &mut Vec<u8>) {
        match told {
            Event::Start { id, model, .. } => {
                if !id.is_empty() {
                    self.id.clone_from(id);
                }
                if !model.is_empty() {
                    self.model.clone_from(model);
                }
                self.start(out);
            }
            Event::Begin { choice: 0, part, kind } => {
                self.start(out);
                self.refuses |= *kind == Begins::Refusal;
                self.calls |= matches!(kind, Begins::ToolCall { .. });
                self.open.push_back(Part {
                    part: *part,
                    kind: kind.clone(),
                    index: None,
                    waiting: Vec::new(),
                    ended: false,
                    json: Json::default(),
                    by: Maker::Other,
                    seals: Vec::new(),
                });
                self.go_on(out);
            }
            Event::Delta { choice: 0, part, delta } => self.take(*part, delta, out),
            Event::End { choice: 0, part } => {
                if let Some(open) = self.open.iter_mut().rfind(|open| open.part == *part) {
                    open.ended = true;
                }
                self.go_on(out);
            }
            // Told with the usage, which may come later.
            Event::Finish { choice: 0, reason, stop_sequence } => {
                self.finish = Some((reason.clone(), stop_sequence.clone()));
            }
            Event::Usage(usage) => self.usage = *usage,
            Event::ServiceTier(tier) => self.service_tier = Some(tier.clone()),
            Event::Beside(_) => {}
            Event::Done => {
                self.start(out);
                self.done(out);
            }
            // An error is said by `refusal`: the pipeline makes one of it.
            Event::Begin { .. }
            | Event::Delta { .. }
            | Event::End { .. }
            | Event::Finish { .. }
            | Event::Logprobs { .. }
            | Event::Error(_) => {}
        }
    }

    fn refusal(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        sse::write(Some("error"), error::write(refusal, request_id).as_bytes(), out);
    }
}

fn event(name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut write::Writer)) {
    let json = write::Writer::object_text(|w| {
        w.member("type", name);
        write(w);
    });
    sse::write(Some(name), &json, out);
}

fn start_block(blocks: &mut u64, out: &mut Vec<u8>, write: impl FnOnce(&mut write::Writer)) -> u64 {
    let index = *blocks;
    *blocks += 1;
    event("content_block_start", out, |w| {
        w.member("index", &index);
        w.object_member("content_block", write);
    });
    index
}

fn redacted(data: &str, blocks: &mut u64, out: &mut Vec<u8>) {
    let index = start_block(blocks, out, |w| {
        w.member("type", "redacted_thinking");
        w.member("data", data);
    });
    event("content_block_stop", out, |w| w.member("index", &index));
}

fn begin(part: &mut Part, blocks: &mut u64, out: &mut Vec<u8>) {
    if part.index.is_some() {
        return;
    }
    let index = match &part.kind {
        Begins::Text | Begins::Refusal => start_block(blocks, out, |w| {
            w.member("type", "text");
            w.member("text", "");
        }),
        Begins::Reasoning { .. } => start_block(blocks, out, |w| {
            w.member("type", "thinking");
            w.member("thinking", "");
            w.member("signature", "");
        }),
        Begins::ToolCall { id, name } => start_block(blocks, out, |w| {
            w.member("type", "tool_use");
            w.member("id", id);
            w.member("name", name);
            w.object_member("input", |_| {});
        }),
        // Known to its own dialect only.
        Begins::Native(_) | Begins::Media { .. } => return,
    };
    part.index = Some(index);
}

fn speak(part: &mut Part, delta: &Delta, blocks: &mut u64, out: &mut Vec<u8>) {
    match (delta, &part.kind) {
        (Delta::Text(text), Begins::Text | Begins::Refusal) => piece(part, blocks, out, "text_delta", "text", text),
        (Delta::Text(text), Begins::Reasoning { .. }) => piece(part, blocks, out, "thinking_delta", "thinking", text),
        (Delta::Arguments(text), Begins::ToolCall { .. }) => {
            piece(part, blocks, out, "input_json_delta", "partial_json", text);
        }
        (Delta::Signature(signature), Begins::Reasoning { .. }) => {
            part.by = signature.by;
            let sealed = seal(signature.by, &signature.data).filter(|_| !signature.data.is_empty());
            if let Some(data) = sealed {
                piece(part, blocks, out, "signature_delta", "signature", &data);
            }
        }
        (Delta::Encrypted(data), Begins::Reasoning { .. }) => match (seal(part.by, data), part.index) {
            (Some(data), None) => redacted(&data, blocks, out),
            (Some(data), Some(_)) => piece(part, blocks, out, "signature_delta", "signature", &data),
            (None, _) => {}
        },
        (Delta::Signature(signature), Begins::ToolCall { .. } | Begins::Text) if signature.by == Maker::Google => {
            match (part.index, seal(signature.by, &signature.data)) {
                (None, Some(data)) => redacted(&data, blocks, out),
                // The block has begun: the seal stands behind it, and says so.
                (Some(_), _) => {
                    let data = format!("{}{}", blocks::BEHIND, signature.data);
                    part.seals.extend(seal(signature.by, &data).map(Into::into));
                }
                (None, None) => {}
            }
        }
        (Delta::Citation { url, title, cited, .. }, Begins::Text) => {
            begin(part, blocks, out);
            let [url, title, cited] = [url, title, cited].map(|text| text.as_deref().unwrap_or_default());
            block_delta(part, out, |w| {
                w.member("type", "citations_delta");
                w.object_member("citation", |w| answer::citation_members(w, url, title, cited));
            });
        }
        // What this dialect has no words for.
        (Delta::Text(_), Begins::ToolCall { .. } | Begins::Native(_) | Begins::Media { .. })
        | (
            Delta::Arguments(_),
            Begins::Text | Begins::Refusal | Begins::Reasoning { .. } | Begins::Native(_) | Begins::Media { .. },
        )
        | (
            Delta::Signature(_) | Delta::Encrypted(_),
            Begins::Text | Begins::Refusal | Begins::ToolCall { .. } | Begins::Native(_) | Begins::Media { .. },
        )
        | (
            Delta::Citation { .. },
            Begins::Refusal
            | Begins::Reasoning { .. }
            | Begins::ToolCall { .. }
            | Begins::Native(_)
            | Begins::Media { .. },
        ) => {}
    }
}

fn piece(part: &mut Part, blocks: &mut u64, out: &mut Vec<u8>, kind: &str, member: &str, text: &str) {
    begin(part, blocks, out);
    block_delta(part, out, |w| {
        w.member("type", kind);
        w.member(member, text);
    });
}

fn block_delta(part: &Part, out: &mut Vec<u8>, write: impl FnOnce(&mut write::Writer)) {
    let Some(index) = part.index else { return };
    event("content_block_delta", out, |w| {
        w.member("index", &index);
        w.object_member("delta", write);
    });
}

fn bytes(delta: &Delta) -> usize {
    /// An event itself.
    const EACH: usize = 64;
    EACH + match delta {
        Delta::Text(text) | Delta::Arguments(text) | Delta::Encrypted(text) => text.len(),
        Delta::Signature(Signature { data, .. }) => data.len(),
        Delta::Citation { cited, .. } => cited.as_ref().map_or(0, String::len),
    }
}

/// Tells when a JSON object that comes in pieces is whole.
#[derive(Debug, Default)]
struct Json {
    depth: usize,
    begun: bool,
    in_text: bool,
    escaped: bool,
}

impl Json {
    fn feed(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match (self.in_text, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_text = !self.in_text,
                (false, b'{' | b'[') => {
                    self.begun = true;
                    self.depth += 1;
                }
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.begun && self.depth == 0
    }
}
