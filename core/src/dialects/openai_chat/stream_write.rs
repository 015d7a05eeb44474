//! A stream for a caller: one chunk an event, in the order in which the provider said it.

use super::write_answer::{Form, Forms, format_name, head, write_usage};
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::Maker;
use crate::contract::refusal::Refusal;
use crate::contract::usage::Usage;
use crate::contract::write::{self, Null};
use crate::dialects::frames::sse;
use crate::dialects::openai_responses::own;
use crate::dialects::{Given, StreamWriter};

pub struct Writer {
    id: String,
    model: String,
    created_s: i64,
    call_id: String,
    include_usage: bool,
    usage: Option<Usage>,
    service_tier: Option<String>,
    parts: Vec<Part>,
    forms: Forms,
    /// Choices that have said who speaks.
    begun: Vec<u64>,
}

struct Part {
    choice: u64,
    part: u64,
    kind: Begins,
    /// Of a call: its place among the calls of its choice.
    index: u64,
    said: bool,
    form: Form,
    /// Arguments of a call of free text: what it says is known when they are whole.
    waits: String,
    /// Whose models sealed it, where that was told.
    by: Maker,
}

impl Writer {
    pub fn new(given: &Given<'_>) -> Self {
        Writer {
            id: String::new(),
            model: given.model.to_owned(),
            created_s: given.now_s,
            call_id: given.call_id.to_owned(),
            include_usage: given.include_usage,
            usage: None,
            service_tier: None,
            parts: Vec::new(),
            forms: Forms::of(given),
            begun: Vec::new(),
        }
    }

    fn chunk(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut write::Writer)) {
        let given = Given {
            call_id: &self.call_id,
            now_s: self.created_s,
            model: &self.model,
            stream: true,
            include_usage: self.include_usage,
            as_array: false,
            own_tools: &[],
            asked: &[],
        };
        let json = write::Writer::object_text(|w| {
            head(w, &self.id, "chat.completion.chunk", Some(self.created_s), &self.model, &given);
            w.member_some("service_tier", &self.service_tier);
            write(w);
        });
        sse::write(None, &json, out);
    }

    /// One piece of a choice. The first one says who speaks.
    fn piece(&mut self, choice: u64, finish: Option<&str>, out: &mut Vec<u8>, delta: impl FnOnce(&mut write::Writer)) {
        let first = !self.begun.contains(&choice);
        if first {
            self.begun.push(choice);
        }
        self.chunk(out, |w| {
            w.list_member("choices", |w| {
                w.object(|w| {
                    w.member("index", &choice);
                    w.object_member("delta", |w| {
                        if first {
                            w.member("role", "assistant");
                        }
                        delta(w);
                    });
                    w.member("logprobs", &Null);
                    match finish {
                        Some(finish) => w.member("finish_reason", finish),
                        None => w.member("finish_reason", &Null),
                    }
                });
            });
        });
    }

    fn begin(&mut self, choice: u64, part: u64, kind: &Begins, out: &mut Vec<u8>) {
        let is_call = |kind: &Begins| matches!(kind, Begins::ToolCall { .. });
        let index = self.parts.iter().filter(|p| p.choice == choice && is_call(&p.kind)).count() as u64;
        let form = if let Begins::ToolCall { name, .. } = kind { self.forms.form(name) } else { Form::Function };
        let waits = String::new();
        self.parts.push(Part { choice, part, kind: kind.clone(), index, said: false, form, waits, by: Maker::Other });
        let Begins::ToolCall { id, name } = kind else { return };
        match form {
            Form::Function => self.piece(choice, None, out, |w| {
                call(w, index, |w| {
                    w.member("id", id);
                    w.member("type", "function");
                    w.object_member("function", |w| {
                        w.member("name", name);
                        w.member("arguments", "");
                    });
                });
            }),
            Form::Custom => self.piece(choice, None, out, |w| {
                call(w, index, |w| {
                    w.member("id", id);
                    w.member("type", "custom");
                    w.object_member("custom", |w| {
                        w.member("name", name);
                        w.member("input", "");
                    });
                });
            }),
            // An answer has one of them.
            Form::Older if index == 0 => self.piece(choice, None, out, |w| {
                w.object_member("function_call", |w| {
                    w.member("name", name);
                    w.member("arguments", "");
                });
            }),
            Form::Older => {}
        }
    }

    fn arguments(&mut self, at: usize, text: &str, out: &mut Vec<u8>) {
        let (choice, index) = (self.parts[at].choice, self.parts[at].index);
        match self.parts[at].form {
            Form::Function => self.piece(choice, None, out, |w| {
                call(w, index, |w| w.object_member("function", |w| w.member("arguments", text)));
            }),
            Form::Custom => self.parts[at].waits.push_str(text),
            Form::Older if index == 0 => self.piece(choice, None, out, |w| {
                w.object_member("function_call", |w| w.member("arguments", text));
            }),
            Form::Older => {}
        }
    }

    fn delta(&mut self, choice: u64, part: u64, delta: &Delta, out: &mut Vec<u8>) {
        let Some(at) = self.parts.iter().rposition(|p| p.choice == choice && p.part == part) else { return };
        self.parts[at].said = true;
        if let Delta::Signature(signature) = delta {
            self.parts[at].by = signature.by;
            if signature.data.is_empty() {
                // It only tells whose the encrypted thoughts are that follow.
                return;
            }
        }
        let by = self.parts[at].by;
        let (kind, index) = (self.parts[at].kind.clone(), self.parts[at].index);
        match (delta, &kind) {
            (Delta::Text(text), Begins::Text) => self.piece(choice, None, out, |w| w.member("content", text)),
            (Delta::Text(text), Begins::Refusal) => self.piece(choice, None, out, |w| w.member("refusal", text)),
            (Delta::Text(text), Begins::Reasoning { .. }) => {
                self.piece(choice, None, out, |w| w.member("reasoning_content", text));
            }
            (Delta::Arguments(text), Begins::ToolCall { .. }) => self.arguments(at, text, out),
            (Delta::Signature(_), Begins::ToolCall { .. }) if self.parts[at].form == Form::Older => {}
            (Delta::Signature(signature), Begins::ToolCall { .. }) => self.piece(choice, None, out, |w| {
                call(w, index, |w| super::write_answer::write_seal(w, Some(signature)));
            }),
            (Delta::Signature(signature), Begins::Reasoning { .. }) => self.piece(choice, None, out, |w| {
                detail(w, "reasoning.text", by, |w| w.member("signature", &signature.data));
            }),
            (Delta::Encrypted(data), Begins::Reasoning { .. }) => self.piece(choice, None, out, |w| {
                detail(w, "reasoning.encrypted", by, |w| w.member("data", data));
            }),
            (Delta::Citation { url: Some(url), title, start, end, .. }, _) => self.piece(choice, None, out, |w| {
                w.list_member("annotations", |w| {
                    w.object(|w| {
                        w.member("type", "url_citation");
                        w.object_member("url_citation", |w| {
                            w.member("url", url);
                            w.member("title", title.as_deref().unwrap_or_default());
                            w.member("start_index", &start.unwrap_or(0));
                            w.member("end_index", &end.unwrap_or(0));
                        });
                    });
                });
            }),
            // What this dialect has no words for.
            (Delta::Text(_), Begins::ToolCall { .. } | Begins::Native(_))
            | (Delta::Arguments(_), Begins::Text | Begins::Refusal | Begins::Reasoning { .. } | Begins::Native(_))
            | (Delta::Signature(_), Begins::Text | Begins::Refusal | Begins::Native(_))
            | (Delta::Encrypted(_), Begins::Text | Begins::Refusal | Begins::ToolCall { .. } | Begins::Native(_))
            | (Delta::Citation { .. }, _) => {}
        }
    }

    /// A call without arguments has an empty object; what a call of free text says is said now.
    fn end(&mut self, choice: u64, part: u64, out: &mut Vec<u8>) {
        let Some(at) = self.parts.iter().rposition(|p| p.choice == choice && p.part == part) else { return };
        let (said, index) = (self.parts[at].said, self.parts[at].index);
        if !matches!(self.parts[at].kind, Begins::ToolCall { .. }) {
            return;
        }
        if self.parts[at].form == Form::Custom {
            let waits = std::mem::take(&mut self.parts[at].waits);
            let input = own::unwrap(&waits);
            self.piece(choice, None, out, |w| {
                call(w, index, |w| w.object_member("custom", |w| w.member("input", &input)));
            });
        } else if !said {
            self.arguments(at, "{}", out);
        }
    }
}

fn call(w: &mut write::Writer, index: u64, write: impl FnOnce(&mut write::Writer)) {
    w.list_member("tool_calls", |w| {
        w.object(|w| {
            w.member("index", &index);
            write(w);
        });
    });
}

fn detail(w: &mut write::Writer, kind: &str, by: Maker, write: impl FnOnce(&mut write::Writer)) {
    w.list_member("reasoning_details", |w| {
        w.object(|w| {
            w.member("type", kind);
            w.member("format", format_name(by));
            write(w);
        });
    });
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created_s } => {
                self.id.clone_from(id);
                if !model.is_empty() {
                    self.model.clone_from(model);
                }
                self.created_s = created_s.unwrap_or(self.created_s);
            }
            Event::Begin { choice, part, kind } => self.begin(*choice, *part, kind, out),
            Event::Delta { choice, part, delta } => self.delta(*choice, *part, delta, out),
            Event::End { choice, part } => self.end(*choice, *part, out),
            Event::Logprobs { choice, json } => self.chunk(out, |w| {
                w.list_member("choices", |w| {
                    w.object(|w| {
                        w.member("index", choice);
                        w.object_member("delta", |_| {});
                        w.json_member("logprobs", json);
                        w.member("finish_reason", &Null);
                    });
                });
            }),
            Event::Finish { choice, reason, .. } => {
                let finish = self.forms.finish(reason).to_owned();
                self.piece(*choice, Some(&finish), out, |_| {});
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::ServiceTier(tier) => self.service_tier = Some(tier.clone()),
            Event::Beside(_) => {}
            // Said by `refusal`: the pipeline makes one of it.
            Event::Error(_) => {}
            Event::Done => {
                if let Some(usage) = self.usage.filter(|_| self.include_usage) {
                    self.chunk(out, |w| {
                        w.list_member("choices", |_| {});
                        w.object_member("usage", |w| write_usage(w, &usage));
                    });
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
        }
    }

    fn refusal(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        sse::write(None, refusal.openai_json(request_id).as_bytes(), out);
    }
}
