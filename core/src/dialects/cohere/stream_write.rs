//! A stream as callers of Cohere read it.

use serde_json::value::RawValue;

use super::answer::finish_name;
use super::{TOOL_PLAN, citations, logprobs, usage};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event, StreamError};
use crate::contract::canonical::part::{Citation, Signature};
use crate::contract::refusal::Refusal;
use crate::contract::usage::Usage;
use crate::contract::write::Writer as Json;
use crate::dialects::frames::sse;
use crate::dialects::{Given, StreamWriter, sealed};

/// Parts that are open at once; beyond it a part is not told.
const OPEN_MAX: usize = 1_024;

#[derive(Debug)]
enum Written {
    /// A block of the content.
    Block {
        thinking: bool,
    },
    Plan,
    /// It is told when its first argument comes: its seal may come before, and rides in its id.
    Call {
        id: String,
        name: String,
        told: bool,
        seal: Option<Signature<'static>>,
        arguments: bool,
    },
}

#[derive(Debug)]
struct Open {
    part: u64,
    /// Among blocks, or among calls.
    index: u64,
    what: Written,
}

#[derive(Debug)]
pub struct Writer {
    call_id: String,
    started: bool,
    over: bool,
    open: Vec<Open>,
    blocks: u64,
    calls: u64,
    citations: u64,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

impl Writer {
    pub fn new(given: &Given<'_>) -> Self {
        Writer {
            call_id: given.call_id.to_owned(),
            started: false,
            over: false,
            open: Vec::new(),
            blocks: 0,
            calls: 0,
            citations: 0,
            finish: None,
            usage: None,
        }
    }

    fn start(&mut self, id: &str, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let id = if id.is_empty() { &*self.call_id } else { id };
        let json = Json::object_text(|w| {
            w.member("id", id);
            w.member("type", "message-start");
            w.object_member("delta", |w| {
                w.object_member("message", |w| {
                    w.member("role", "assistant");
                    w.list_member("content", |_| {});
                    w.member("tool_plan", "");
                    w.list_member("tool_calls", |_| {});
                    w.list_member("citations", |_| {});
                });
            });
        });
        sse::write(Some("message-start"), &json, out);
    }

    fn begin(&mut self, part: u64, kind: &Begins, out: &mut Vec<u8>) {
        if self.open.len() == OPEN_MAX {
            return;
        }
        let (index, what) = match kind {
            Begins::Native(_) | Begins::Media { .. } => return,
            Begins::Reasoning { id, .. } if id.as_deref() == Some(TOOL_PLAN) => (0, Written::Plan),
            Begins::Text | Begins::Refusal | Begins::Reasoning { .. } => {
                let thinking = matches!(kind, Begins::Reasoning { .. });
                let name = if thinking { "thinking" } else { "text" };
                event("content-start", Some(self.blocks), out, |w| {
                    w.object_member("content", |w| {
                        w.member("type", name);
                        w.member(name, "");
                    });
                });
                self.blocks += 1;
                (self.blocks - 1, Written::Block { thinking })
            }
            Begins::ToolCall { id, name } => {
                self.calls += 1;
                let (id, name) = (id.clone(), name.clone());
                (self.calls - 1, Written::Call { id, name, told: false, seal: None, arguments: false })
            }
        };
        self.open.push(Open { part, index, what });
    }

    fn delta(&mut self, part: u64, delta: &Delta, out: &mut Vec<u8>) {
        let Some(open) = self.open.iter_mut().find(|open| open.part == part) else { return };
        match (&mut open.what, delta) {
            (Written::Block { thinking }, Delta::Text(text)) => {
                let name = if *thinking { "thinking" } else { "text" };
                event("content-delta", Some(open.index), out, |w| {
                    w.object_member("content", |w| w.member(name, text));
                });
            }
            (Written::Block { thinking: true }, Delta::Signature(signature)) => {
                if let Some(tagged) = sealed::tag(signature) {
                    event("content-delta", Some(open.index), out, |w| {
                        w.object_member("content", |w| {
                            w.member("thinking", "");
                            w.member("signature", &tagged);
                        });
                    });
                }
            }
            (Written::Block { thinking: false }, Delta::Citation { url, title, cited, start, end }) => {
                let own = |text: &Option<String>| text.clone().map(Into::into);
                let citation = Citation {
                    url: own(url),
                    title: own(title),
                    cited: own(cited),
                    start: *start,
                    end: *end,
                    json: None,
                };
                let (at, block) = (self.citations, open.index);
                self.citations += 1;
                event("citation-start", Some(at), out, |w| citations::write(w.key("citations"), &citation, block));
                event_end("citation-end", at, out);
            }
            (Written::Plan, Delta::Text(text)) => {
                event("tool-plan-delta", None, out, |w| w.member("tool_plan", text));
            }
            (Written::Call { seal, told: false, .. }, Delta::Signature(signature)) => *seal = Some(signature.clone()),
            (Written::Call { arguments, .. }, Delta::Arguments(piece)) if !piece.is_empty() => {
                *arguments = true;
                let index = open.index;
                // Calls begin in their order, whichever has the first argument.
                self.open.iter_mut().filter(|open| open.index <= index).for_each(|open| tell_call(open, out));
                tell_arguments(index, piece, out);
            }
            (
                Written::Block { .. } | Written::Plan | Written::Call { .. },
                Delta::Text(_)
                | Delta::Arguments(_)
                | Delta::Signature(_)
                | Delta::Encrypted(_)
                | Delta::Citation { .. },
            ) => {}
        }
    }

    fn end(&mut self, part: u64, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().position(|open| open.part == part) else { return };
        let mut open = self.open.remove(at);
        match &open.what {
            Written::Block { .. } => event_end("content-end", open.index, out),
            Written::Plan => {}
            Written::Call { arguments, .. } => {
                let empty = !arguments;
                tell_call(&mut open, out);
                if empty {
                    tell_arguments(open.index, "{}", out);
                }
                event_end("tool-call-end", open.index, out);
            }
        }
    }

    fn logprobs(&mut self, json: &str, out: &mut Vec<u8>) {
        let Ok(openai) = serde_json::from_str::<&RawValue>(json) else { return };
        let block = self.open.iter().rfind(|open| matches!(open.what, Written::Block { .. }));
        let index = block.map_or(self.blocks.saturating_sub(1), |open| open.index);
        let json = Json::object_text(|w| {
            w.member("type", "content-delta");
            w.member("index", &index);
            w.object_member("delta", |w| {
                w.object_member("message", |w| w.object_member("content", |w| w.member("text", "")));
            });
            logprobs::write_item(w.key("logprobs"), openai);
        });
        sse::write(Some("content-delta"), &json, out);
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        let open: Vec<u64> = self.open.iter().map(|open| open.part).collect();
        open.into_iter().for_each(|part| self.end(part, out));
        self.over = true;
        let reason = self.finish.as_ref().map_or("COMPLETE", finish_name);
        let json = Json::object_text(|w| {
            w.member("type", "message-end");
            w.object_member("delta", |w| {
                w.member("finish_reason", reason);
                if let Some(told) = &self.usage {
                    usage::write(w, told);
                }
            });
        });
        sse::write(Some("message-end"), &json, out);
        sse::write(None, b"[DONE]", out);
    }

    /// As Cohere itself fails after a 200. Nothing follows.
    fn fail(&mut self, error: &StreamError, tollgate: Option<&str>, out: &mut Vec<u8>) {
        self.over = true;
        let json = Json::object_text(|w| {
            w.member("type", "message-end");
            w.object_member("delta", |w| {
                w.member("finish_reason", "ERROR");
                w.member("error", &error.message);
                w.member_some("error_type", &error.code);
                w.object_member("usage", |_| {});
                if let Some(tollgate) = tollgate {
                    w.json_member("tollgate", tollgate);
                }
            });
        });
        sse::write(Some("message-end"), &json, out);
        sse::write(None, b"[DONE]", out);
    }
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Start { id, .. } => self.start(id, out),
            Event::Error(error) => self.fail(error, None, out),
            Event::Begin { choice: 0, .. }
            | Event::Delta { choice: 0, .. }
            | Event::End { choice: 0, .. }
            | Event::Logprobs { choice: 0, .. }
            | Event::Finish { choice: 0, .. }
            | Event::Usage(_)
            | Event::Done => self.start("", out),
            // There is one answer only.
            Event::Begin { .. }
            | Event::Delta { .. }
            | Event::End { .. }
            | Event::Logprobs { .. }
            | Event::Finish { .. }
            | Event::Beside(_)
            | Event::ServiceTier(_) => return,
        }
        match event {
            Event::Begin { part, kind, .. } => self.begin(*part, kind, out),
            Event::Delta { part, delta, .. } => self.delta(*part, delta, out),
            Event::End { part, .. } => self.end(*part, out),
            Event::Logprobs { json, .. } => self.logprobs(json, out),
            Event::Finish { reason, .. } => self.finish = Some(reason.clone()),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Done => self.done(out),
            Event::Start { .. } | Event::Error(_) | Event::Beside(_) | Event::ServiceTier(_) => {}
        }
    }

    fn refusal(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        if !self.over {
            let error = StreamError { message: refusal.message(), code: Some(refusal.code.to_string()), status: None };
            self.fail(&error, Some(&refusal.tollgate_object(request_id).to_string()), out);
        }
    }
}

/// An event about the message.
fn event(name: &str, index: Option<u64>, out: &mut Vec<u8>, write: impl FnOnce(&mut Json)) {
    let json = Json::object_text(|w| {
        w.member("type", name);
        w.member_some("index", &index);
        w.object_member("delta", |w| w.object_member("message", write));
    });
    sse::write(Some(name), &json, out);
}

fn event_end(name: &str, index: u64, out: &mut Vec<u8>) {
    let json = Json::object_text(|w| {
        w.member("type", name);
        w.member("index", &index);
    });
    sse::write(Some(name), &json, out);
}

fn tell_call(open: &mut Open, out: &mut Vec<u8>) {
    if let Written::Call { id, name, told, seal, .. } = &mut open.what
        && !std::mem::replace(told, true)
    {
        let id = sealed::seal_id(id, seal.as_ref());
        event("tool-call-start", Some(open.index), out, |w| {
            w.object_member("tool_calls", |w| {
                w.member("id", &id);
                w.member("type", "function");
                w.object_member("function", |w| {
                    w.member("name", &*name);
                    w.member("arguments", "");
                });
            });
        });
    }
}

fn tell_arguments(index: u64, piece: &str, out: &mut Vec<u8>) {
    event("tool-call-delta", Some(index), out, |w| {
        w.object_member("tool_calls", |w| w.object_member("function", |w| w.member("arguments", piece)));
    });
}
