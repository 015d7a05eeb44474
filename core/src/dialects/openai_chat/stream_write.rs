//! A stream for a caller: one chunk an event, in the order in which the provider said it.

use super::write_answer::{Form, Forms, format_name, head, write_seal, write_url, write_usage};
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Maker, MediaKind, Signature};
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
    /// A call that was begun and not yet told: its seal stands where it begins, and comes right behind.
    unsaid: Option<usize>,
    forms: Forms,
    /// Choices that have said who speaks.
    begun: Vec<u64>,
}

struct Part {
    choice: u64,
    part: u64,
    kind: Begins,
    /// Its place among the calls, or among the thoughts, of its choice.
    index: u64,
    said: bool,
    /// What it rests on: so many were told.
    cited: u64,
    form: Form,
    /// Arguments of a call of free text: what it says is known when they are whole.
    waits: String,
    /// Whose models sealed it, where that was told.
    by: Maker,
    /// Its seal was told, and whose it is: once, for clients that gather a stream put texts of one index together.
    sealed: bool,
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
            unsaid: None,
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
        let is_same = |known: &Begins| std::mem::discriminant(known) == std::mem::discriminant(kind);
        let index = self.parts.iter().filter(|p| p.choice == choice && is_same(&p.kind)).count() as u64;
        let form = if let Begins::ToolCall { name, .. } = kind { self.forms.form(name) } else { Form::Function };
        if let Begins::Media { what: MediaKind::Image, mime, data } = kind {
            self.piece(choice, None, out, |w| {
                entry(w, "images", index, "image_url", |w| write_url(w, mime, data));
            });
        }
        // What a model drew is said, and large.
        let kind = match kind {
            Begins::Media { what, .. } => Begins::Media { what: *what, mime: String::new(), data: String::new() },
            kind => kind.clone(),
        };
        let (waits, by) = (String::new(), Maker::Other);
        self.unsaid = matches!(kind, Begins::ToolCall { .. }).then_some(self.parts.len());
        self.parts.push(Part { choice, part, kind, index, said: false, cited: 0, form, waits, by, sealed: false });
    }

    /// Tells a call that was begun, with its seal where that is the next to be told; `true` = it was.
    fn begun_call(&mut self, event: &Event, out: &mut Vec<u8>) -> bool {
        let Some(at) = self.unsaid.take() else { return false };
        let (choice, part) = (self.parts[at].choice, self.parts[at].part);
        let seal = if let Event::Delta { choice: c, part: p, delta: Delta::Signature(seal) } = event {
            Some(seal).filter(|_| (*c, *p) == (choice, part))
        } else {
            None
        };
        self.open_call(at, seal, out);
        seal.is_some()
    }

    fn open_call(&mut self, at: usize, seal: Option<&Signature<'_>>, out: &mut Vec<u8>) {
        let Part { choice, index, form, .. } = self.parts[at];
        let Begins::ToolCall { id, name } = self.parts[at].kind.clone() else { return };
        match form {
            Form::Function => self.piece(choice, None, out, |w| {
                call(w, index, |w| {
                    w.member("id", &id);
                    w.member("type", "function");
                    w.object_member("function", |w| {
                        w.member("name", &name);
                        w.member("arguments", "");
                    });
                    write_seal(w, seal);
                });
            }),
            Form::Custom => self.piece(choice, None, out, |w| {
                call(w, index, |w| {
                    w.member("id", &id);
                    w.member("type", "custom");
                    w.object_member("custom", |w| {
                        w.member("name", &name);
                        w.member("input", "");
                    });
                    write_seal(w, seal);
                });
            }),
            // An answer has one of them.
            Form::Older if index == 0 => self.piece(choice, None, out, |w| {
                w.object_member("function_call", |w| {
                    w.member("name", &name);
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
        let (kind, index) = (self.parts[at].kind.clone(), self.parts[at].index);
        match (delta, &kind) {
            (Delta::Text(text), Begins::Text) => self.piece(choice, None, out, |w| w.member("content", text)),
            (Delta::Text(text), Begins::Refusal) => self.piece(choice, None, out, |w| w.member("refusal", text)),
            (Delta::Text(_) | Delta::Signature(_) | Delta::Encrypted(_), Begins::Reasoning { summary, id }) => {
                self.thought(at, *summary, id.as_deref(), delta, out);
            }
            (Delta::Arguments(text), Begins::ToolCall { .. }) => self.arguments(at, text, out),
            // Clients read a function, or what is custom, in every piece of a call.
            (Delta::Signature(seal), Begins::ToolCall { .. }) => match self.parts[at].form {
                Form::Function => self.piece(choice, None, out, |w| {
                    call(w, index, |w| {
                        w.object_member("function", |w| w.member("arguments", ""));
                        write_seal(w, Some(seal));
                    });
                }),
                Form::Custom => self.piece(choice, None, out, |w| {
                    call(w, index, |w| {
                        w.object_member("custom", |w| w.member("input", ""));
                        write_seal(w, Some(seal));
                    });
                }),
                Form::Older => {}
            },
            (Delta::Citation { url: Some(_), .. }, _) => self.cite(at, delta, out),
            // What this dialect has no words for.
            (Delta::Text(_), Begins::ToolCall { .. } | Begins::Native(_) | Begins::Media { .. })
            | (
                Delta::Arguments(_),
                Begins::Text | Begins::Refusal | Begins::Reasoning { .. } | Begins::Native(_) | Begins::Media { .. },
            )
            | (Delta::Signature(_), Begins::Text | Begins::Refusal | Begins::Native(_) | Begins::Media { .. })
            | (
                Delta::Encrypted(_),
                Begins::Text | Begins::Refusal | Begins::ToolCall { .. } | Begins::Native(_) | Begins::Media { .. },
            )
            | (Delta::Citation { .. }, _) => {}
        }
    }

    /// Thoughts: as a plain text, and as a piece of the entry that takes the seal.
    fn thought(&mut self, at: usize, summary: bool, id: Option<&str>, delta: &Delta, out: &mut Vec<u8>) {
        let Part { choice, index, by, .. } = self.parts[at];
        let (kind, name, said) = match delta {
            Delta::Text(said) if summary => ("reasoning.summary", "summary", said.as_str()),
            Delta::Text(said) => ("reasoning.text", "text", said.as_str()),
            Delta::Signature(seal) if summary => ("reasoning.summary", "signature", &*seal.data),
            Delta::Signature(seal) => ("reasoning.text", "signature", &*seal.data),
            Delta::Encrypted(data) => ("reasoning.encrypted", "data", data.as_str()),
            Delta::Arguments(_) | Delta::Citation { .. } => return,
        };
        let is_text = matches!(delta, Delta::Text(_));
        let whose = !is_text && !self.parts[at].sealed;
        self.parts[at].sealed |= !is_text;
        self.piece(choice, None, out, |w| {
            if is_text {
                w.member("reasoning_content", said);
            }
            entry(w, "reasoning_details", index, kind, |w| {
                w.member(name, said);
                if whose {
                    w.member_some("id", &id);
                    w.member("format", format_name(by));
                }
            });
        });
    }

    fn cite(&mut self, at: usize, delta: &Delta, out: &mut Vec<u8>) {
        let Delta::Citation { url: Some(url), title, start, end, .. } = delta else { return };
        let choice = self.parts[at].choice;
        let index = self.parts.iter().filter(|p| p.choice == choice).map(|p| p.cited).sum();
        self.parts[at].cited += 1;
        self.piece(choice, None, out, |w| {
            entry(w, "annotations", index, "url_citation", |w| {
                w.object_member("url_citation", |w| {
                    w.member("url", url);
                    w.member("title", title.as_deref().unwrap_or_default());
                    w.member("start_index", &start.unwrap_or(0));
                    w.member("end_index", &end.unwrap_or(0));
                });
            });
        });
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

/// One entry of a list, or a piece of it: clients put together what has one `index`, and take no entry without.
fn entry(w: &mut write::Writer, list: &str, index: u64, kind: &str, write: impl FnOnce(&mut write::Writer)) {
    w.list_member(list, |w| {
        w.object(|w| {
            w.member("index", &index);
            w.member("type", kind);
            write(w);
        });
    });
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.begun_call(event, out) {
            return;
        }
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
                let refuses = self.parts.iter().any(|p| p.choice == *choice && p.kind == Begins::Refusal);
                let finish = self.forms.finish(reason, refuses).to_owned();
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
        self.begun_call(&Event::Done, out);
        sse::write(None, refusal.openai_json(request_id).as_bytes(), out);
    }
}

#[cfg(test)]
#[path = "stream_write_tests.rs"]
mod tests;
