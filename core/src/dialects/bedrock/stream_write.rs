//! A stream for a caller, in frames. Blocks stand one after another, for that is how programs read them: calls that the
//! provider told at the same time wait for one another.

use super::answer::ending;
use super::error::stream_kind;
use super::finish_name;
use super::write_blocks::{citation_members, told_encrypted, told_seal};
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Maker, Signature};
use crate::contract::refusal::Refusal;
use crate::contract::usage::Usage;
use crate::contract::write::Writer as Json;
use crate::dialects::frames::{FRAME_BYTES_MAX, event_stream};
use crate::dialects::{StreamWriter, sealed};

#[derive(Default)]
pub struct Writer {
    started: bool,
    ended: bool,
    /// The next block's index.
    next: u64,
    /// Parts that have begun and not ended, in their order.
    open: Vec<Open>,
    usage: Usage,
    service_tier: Option<String>,
    /// Bytes of all pieces that wait.
    waiting: usize,
}

struct Open {
    part: u64,
    kind: Begins,
    /// Its block, once it has one.
    block: Option<u64>,
    /// Of a call: pieces of its arguments that wait for a seal, or for their turn. Of thoughts: what is sealed of them.
    waits: String,
    /// Of thoughts: whose seal that is.
    by: Option<Maker>,
    /// Of a call: more than one piece has come, so that no seal is waited for any more.
    pieces: u32,
    seal: Option<Signature<'static>>,
    ended: bool,
}

impl Writer {
    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            event("messageStart", out, |w| w.member("role", "assistant"));
        }
    }

    /// A new block's index.
    fn block(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn begin(&mut self, part: u64, kind: &Begins, out: &mut Vec<u8>) {
        self.start(out);
        self.open.push(Open {
            part,
            kind: kind.clone(),
            block: None,
            waits: String::new(),
            by: None,
            pieces: 0,
            seal: None,
            ended: false,
        });
    }

    fn delta(&mut self, part: u64, delta: &Delta, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().position(|open| open.part == part && !open.ended) else { return };
        match (delta, self.open[at].kind.clone()) {
            (Delta::Text(text), Begins::Text | Begins::Refusal) => self.piece(at, out, |w| w.member("text", text)),
            (Delta::Text(text), Begins::Reasoning { .. }) => {
                self.piece(at, out, |w| w.object_member("reasoningContent", |w| w.member("text", text)));
            }
            (Delta::Arguments(text), Begins::ToolCall { .. }) => {
                self.open[at].waits.push_str(text);
                self.open[at].pieces += 1;
                self.waiting += text.len();
                self.calls(out);
            }
            (Delta::Signature(signature), Begins::Reasoning { .. }) if !signature.data.is_empty() => {
                let seal = told_seal(signature);
                self.piece(at, out, |w| w.object_member("reasoningContent", |w| w.member("signature", &seal)));
            }
            // Names the maker of sealed thoughts.
            (Delta::Signature(signature), Begins::Reasoning { .. }) => self.open[at].by = Some(signature.by),
            // They are told whole, behind the words. What is larger than any frame is no thought.
            (Delta::Encrypted(data), Begins::Reasoning { .. })
                if self.open[at].waits.len() + data.len() <= FRAME_BYTES_MAX =>
            {
                self.open[at].waits.push_str(data);
            }
            (Delta::Encrypted(_), Begins::Reasoning { .. }) => {}
            (Delta::Signature(signature), Begins::ToolCall { .. } | Begins::Text | Begins::Refusal) => {
                self.open[at].seal = Some(signature.clone());
            }
            (Delta::Citation { url, title, cited, .. }, Begins::Text) => self.piece(at, out, |w| {
                w.object_member("citation", |w| {
                    citation_members(w, url.as_deref(), title.as_deref(), cited.as_deref());
                });
            }),
            // What this dialect has no words for.
            (Delta::Text(_), Begins::ToolCall { .. } | Begins::Native(_) | Begins::Media { .. })
            | (
                Delta::Arguments(_),
                Begins::Text | Begins::Refusal | Begins::Reasoning { .. } | Begins::Native(_) | Begins::Media { .. },
            )
            | (Delta::Signature(_), Begins::Native(_) | Begins::Media { .. })
            | (
                Delta::Encrypted(_),
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

    /// A piece of a part's block, which begins with it.
    fn piece(&mut self, at: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Json)) {
        let block = match self.open[at].block {
            Some(block) => block,
            None => self.block(),
        };
        self.open[at].block = Some(block);
        delta(block, out, write);
    }

    /// Sealed thoughts are a block of their own: one is either words or seal.
    fn encrypted(&mut self, at: usize, out: &mut Vec<u8>) {
        let open = &mut self.open[at];
        let (data, by, id) = (std::mem::take(&mut open.waits), open.by, reasoning_id(&open.kind));
        if data.is_empty() {
            return;
        }
        if let Some(words) = self.open[at].block.take() {
            stop(words, out);
        }
        let told = told_encrypted(&data, by, id.as_deref());
        self.piece(at, out, |w| w.object_member("reasoningContent", |w| w.member("redactedContent", &told)));
    }

    fn end(&mut self, part: u64, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().position(|open| open.part == part && !open.ended) else { return };
        self.open[at].ended = true;
        if matches!(self.open[at].kind, Begins::ToolCall { .. }) {
            return self.calls(out);
        }
        if matches!(self.open[at].kind, Begins::Reasoning { .. }) {
            self.encrypted(at, out);
        }
        let open = self.open.remove(at);
        if let Some(block) = open.block {
            stop(block, out);
        }
        self.trailing_seal(open.seal.as_ref(), out);
    }

    /// Calls in their order: the first that has not ended speaks, the others wait.
    fn calls(&mut self, out: &mut Vec<u8>) {
        let is_call = |open: &Open| matches!(open.kind, Begins::ToolCall { .. });
        while let Some(at) = self.open.iter().position(is_call) {
            self.call(at, out);
            if !self.open[at].ended {
                break;
            }
            let open = self.open.remove(at);
            if let Some(block) = open.block {
                stop(block, out);
            }
            self.trailing_seal(open.seal.as_ref(), out);
        }
        // Order is for simple programs; memory is for all. Beyond its bound pieces go out as they came, by their index.
        if self.waiting > FRAME_BYTES_MAX {
            for at in 0..self.open.len() {
                if is_call(&self.open[at]) {
                    self.call(at, out);
                }
            }
        }
    }

    /// Says what waits of a call. It begins with its second piece or its end: a seal rides in its id, and may come behind
    /// the first.
    fn call(&mut self, at: usize, out: &mut Vec<u8>) {
        let open = &mut self.open[at];
        if open.block.is_none() {
            let Begins::ToolCall { id, name } = &open.kind else { return };
            if open.pieces < 2 && !open.ended {
                return;
            }
            let id = sealed::seal_id(id, open.seal.take().as_ref()).into_owned();
            let name = name.clone();
            let block = self.block();
            self.open[at].block = Some(block);
            event("contentBlockStart", out, |w| {
                w.member("contentBlockIndex", &block);
                w.object_member("start", |w| {
                    w.object_member("toolUse", |w| {
                        w.member("toolUseId", &id);
                        w.member("name", &name);
                    });
                });
            });
        }
        let open = &mut self.open[at];
        let mut text = std::mem::take(&mut open.waits);
        self.waiting -= text.len();
        if text.is_empty() && open.ended && open.pieces == 0 {
            // A call without arguments has an empty object.
            text.push_str("{}");
        }
        if !text.is_empty() {
            self.piece(at, out, |w| w.object_member("toolUse", |w| w.member("input", &text)));
        }
    }

    /// A seal that came too late for its part's own members: a thought without words behind it.
    fn trailing_seal(&mut self, seal: Option<&Signature<'_>>, out: &mut Vec<u8>) {
        let Some(tagged) = seal.and_then(sealed::tag) else { return };
        let block = self.block();
        delta(block, out, |w| w.object_member("reasoningContent", |w| w.member("signature", &tagged)));
        stop(block, out);
    }

    fn finish(&mut self, reason: &str, sequence: Option<&str>, out: &mut Vec<u8>) {
        self.start(out);
        // What a reader left open would be open for ever.
        while let Some(part) = self.open.iter().find(|open| !open.ended).map(|open| open.part) {
            self.end(part, out);
        }
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        event("messageStop", out, |w| {
            w.member("stopReason", reason);
            if let Some(sequence) = sequence {
                w.object_member("additionalModelResponseFields", |w| w.member("stop_sequence", sequence));
            }
        });
    }
}

fn reasoning_id(kind: &Begins) -> Option<String> {
    match kind {
        Begins::Reasoning { id, .. } => id.clone(),
        Begins::Text | Begins::Refusal | Begins::ToolCall { .. } | Begins::Native(_) | Begins::Media { .. } => None,
    }
}

fn event(name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Json)) {
    let payload = Json::object_text(write);
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    event_stream::write(&headers, &payload, out);
}

fn delta(block: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Json)) {
    event("contentBlockDelta", out, |w| {
        w.member("contentBlockIndex", &block);
        w.object_member("delta", write);
    });
}

fn stop(block: u64, out: &mut Vec<u8>) {
    event("contentBlockStop", out, |w| w.member("contentBlockIndex", &block));
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => self.start(out),
            // One answer is all that the dialect has.
            Event::Begin { choice: 1.., .. }
            | Event::Delta { choice: 1.., .. }
            | Event::End { choice: 1.., .. }
            | Event::Finish { choice: 1.., .. }
            | Event::Logprobs { .. } => {}
            Event::Begin { part, kind, .. } => self.begin(*part, kind, out),
            Event::Delta { part, delta, .. } => self.delta(*part, delta, out),
            Event::End { part, .. } => self.end(*part, out),
            Event::Finish { reason, stop_sequence, .. } => {
                self.finish(finish_name(reason), stop_sequence.as_deref(), out);
            }
            Event::Usage(usage) => self.usage = *usage,
            Event::ServiceTier(tier) => self.service_tier = Some(tier.clone()),
            Event::Beside(_) => {}
            // Said by `refusal`: the pipeline makes one of it.
            Event::Error(_) => {}
            Event::Done => {
                self.finish("end_turn", None, out);
                self::event("metadata", out, |w| ending(w, &self.usage, self.service_tier.as_deref()));
            }
        }
    }

    fn refusal(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        let payload = serde_json::json!({
            "message": refusal.message(),
            "tollgate": refusal.tollgate_object(request_id),
        });
        let headers = [
            (":exception-type", stream_kind(refusal.category)),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ];
        event_stream::write(&headers, payload.to_string().as_bytes(), out);
    }
}
