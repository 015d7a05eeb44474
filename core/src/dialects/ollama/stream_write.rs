//! A stream as callers of Ollama read it.

use serde_json::value::RawValue;

use super::answer::{time, write_end, write_logprobs};
use super::error::refusal_json;
use super::message::write_call;
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{MediaKind, Signature, ToolCall};
use crate::contract::refusal::Refusal;
use crate::contract::usage::Usage;
use crate::contract::write::Writer as Json;
use crate::dialects::frames::{FRAME_BYTES_MAX, ndjson};
use crate::dialects::{Given, StreamWriter, sealed};

/// Parts that are open at once; beyond it a part is not told.
const OPEN_MAX: usize = 1_024;

#[derive(Debug)]
enum Open {
    Text,
    Thoughts,
    /// Calls are told whole: their pieces wait for each other.
    Call {
        call: ToolCall<'static>,
        signature: Option<Signature<'static>>,
    },
}

#[derive(Debug)]
pub struct Writer {
    model: String,
    created_s: i64,
    over: bool,
    open: Vec<(u64, Open)>,
    /// Bytes of arguments that wait.
    waiting: usize,
    calls: u64,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

impl Writer {
    pub fn new(given: &Given<'_>) -> Self {
        Writer {
            model: given.model.to_owned(),
            created_s: given.now_s,
            over: false,
            open: Vec::new(),
            waiting: 0,
            calls: 0,
            finish: None,
            usage: None,
        }
    }

    /// A line: the members of its message, and what stands behind the message.
    fn line(&self, out: &mut Vec<u8>, message: impl FnOnce(&mut Json), behind: impl FnOnce(&mut Json)) {
        let json = Json::object_text(|w| {
            w.member("model", &self.model);
            w.member("created_at", &time(self.created_s));
            w.object_member("message", |w| {
                w.member("role", "assistant");
                message(w);
            });
            behind(w);
        });
        ndjson::write(&json, out);
    }

    fn piece(&self, out: &mut Vec<u8>, message: impl FnOnce(&mut Json)) {
        self.line(out, message, |w| w.member("done", &false));
    }

    fn begin(&mut self, part: u64, kind: &Begins, out: &mut Vec<u8>) {
        if self.open.len() == OPEN_MAX {
            return;
        }
        let open = match kind {
            Begins::Text | Begins::Refusal => Open::Text,
            Begins::Reasoning { .. } => Open::Thoughts,
            Begins::ToolCall { id, name } => Open::Call {
                call: ToolCall { id: id.clone().into(), name: name.clone().into(), arguments: "".into() },
                signature: None,
            },
            Begins::Media { what: MediaKind::Image, data, .. } => {
                return self.piece(out, |w| {
                    w.member("content", "");
                    w.list_member("images", |w| w.value(data));
                });
            }
            Begins::Native(_) | Begins::Media { .. } => return,
        };
        self.open.push((part, open));
    }

    fn delta(&mut self, part: u64, delta: &Delta, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().position(|(own, _)| *own == part) else { return };
        match (&mut self.open[at].1, delta) {
            (Open::Text, Delta::Text(text)) => self.piece(out, |w| w.member("content", text)),
            (Open::Thoughts, Delta::Text(text)) => self.piece(out, |w| {
                w.member("content", "");
                w.member("thinking", text);
            }),
            (Open::Thoughts, Delta::Signature(signature)) => {
                if let Some(tagged) = sealed::tag(signature) {
                    self.piece(out, |w| {
                        w.member("content", "");
                        w.member("signature", &tagged);
                    });
                }
            }
            (Open::Call { signature, .. }, Delta::Signature(seal)) => *signature = Some(seal.clone()),
            (Open::Call { call, .. }, Delta::Arguments(piece)) => {
                call.arguments.to_mut().push_str(piece);
                self.waiting += piece.len();
                if self.waiting > FRAME_BYTES_MAX {
                    self.fail(&format!("the arguments of calls are larger than {FRAME_BYTES_MAX} bytes"), out);
                }
            }
            (
                Open::Text | Open::Thoughts | Open::Call { .. },
                Delta::Text(_)
                | Delta::Arguments(_)
                | Delta::Signature(_)
                | Delta::Encrypted(_)
                | Delta::Citation { .. },
            ) => {}
        }
    }

    fn end(&mut self, part: u64, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().position(|(own, _)| *own == part) else { return };
        match self.open.remove(at).1 {
            Open::Text | Open::Thoughts => {}
            Open::Call { call, signature } => {
                self.waiting = self.waiting.saturating_sub(call.arguments.len());
                self.piece(out, |w| {
                    w.member("content", "");
                    w.list_member("tool_calls", |w| write_call(w, self.calls, &call, signature.as_ref()));
                });
                self.calls += 1;
            }
        }
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        let open: Vec<u64> = self.open.iter().map(|(part, _)| *part).collect();
        open.into_iter().for_each(|part| self.end(part, out));
        if !std::mem::replace(&mut self.over, true) {
            let end = |w: &mut Json| write_end(w, self.finish.as_ref(), self.usage.as_ref());
            self.line(out, |w| w.member("content", ""), end);
        }
    }

    /// As Ollama itself fails after a 200. Nothing follows.
    fn fail(&mut self, message: &str, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.over, true) {
            ndjson::write(&Json::object_text(|w| w.member("error", message)), out);
        }
    }
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Start { model, created_s, .. } => {
                if !model.is_empty() {
                    self.model.clone_from(model);
                }
                self.created_s = created_s.unwrap_or(self.created_s);
            }
            Event::Begin { choice: 0, part, kind } => self.begin(*part, kind, out),
            Event::Delta { choice: 0, part, delta } => self.delta(*part, delta, out),
            Event::End { choice: 0, part } => self.end(*part, out),
            Event::Logprobs { choice: 0, json } => {
                if let Ok(openai) = serde_json::from_str::<&RawValue>(json) {
                    self.line(
                        out,
                        |w| w.member("content", ""),
                        |w| {
                            w.member("done", &false);
                            write_logprobs(w, openai);
                        },
                    );
                }
            }
            Event::Finish { choice: 0, reason, .. } => self.finish = Some(reason.clone()),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Error(error) => self.fail(&error.message, out),
            Event::Done => self.done(out),
            // There is one answer only.
            Event::Begin { .. }
            | Event::Delta { .. }
            | Event::End { .. }
            | Event::Logprobs { .. }
            | Event::Finish { .. }
            | Event::Beside(_)
            | Event::ServiceTier(_) => {}
        }
    }

    fn refusal(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.over, true) {
            ndjson::write(refusal_json(refusal, request_id).as_bytes(), out);
        }
    }
}
