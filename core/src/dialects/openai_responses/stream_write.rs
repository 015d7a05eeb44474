//! A stream for a caller: the whole sequence of events, each with its place, and the complete response at the end.
//!
//! What was said is kept until the end, for the last events say it again: the pipeline bounds how much a stream may say.

use super::answer::{sealed, tokens};
use super::output::{self, Call, Ended, Head, ended, made_id, response_id};
use super::own::{self, Form};
use super::parts::url_citation;
use super::seal::{self, Place};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::Signature;
use crate::contract::read::{Raw, find, loose};
use crate::contract::refusal::Refusal;
use crate::contract::usage::Usage;
use crate::contract::write;
use crate::dialects::frames::sse;
use crate::dialects::{Given, StreamWriter};

pub struct Writer {
    call_id: String,
    own_tools: Vec<String>,
    id: String,
    model: String,
    created_s: i64,
    begun: bool,
    over: bool,
    sequence: u64,
    items: Vec<Item>,
    /// Which item, and which piece of it, a part is.
    parts: Vec<(u64, usize, usize)>,
    /// The item that takes another part: a message, or thoughts of one id.
    shared: Option<usize>,
    finish: Option<Finish>,
    usage: Option<Usage>,
    service_tier: Option<String>,
}

struct Item {
    id: String,
    kind: Kind,
    /// As JSON, when it is complete.
    json: Option<String>,
}

enum Kind {
    Message(Vec<Content>),
    Thoughts {
        told: Option<String>,
        texts: Vec<String>,
        signature: Option<Signature<'static>>,
        encrypted: Option<String>,
    },
    Call {
        form: Form,
        call_id: String,
        name: String,
        arguments: String,
    },
}

#[derive(Default)]
struct Content {
    is_refusal: bool,
    text: String,
    /// As JSON each.
    annotations: Vec<String>,
    logprobs: Vec<String>,
    /// Of the text, for an item of its own behind it.
    seal: Option<Signature<'static>>,
}

impl Content {
    fn write(&self, w: &mut write::Writer) {
        if self.is_refusal {
            w.member("type", "refusal");
            w.member("refusal", &self.text);
            return;
        }
        w.member("type", "output_text");
        w.member("text", &self.text);
        w.json_member("annotations", &format!("[{}]", self.annotations.join(",")));
        w.json_member("logprobs", &format!("[{}]", self.logprobs.join(",")));
    }
}

impl Writer {
    pub fn new(given: &Given<'_>) -> Self {
        Writer {
            call_id: given.call_id.to_owned(),
            own_tools: given.own_tools.iter().map(|name| (*name).to_owned()).collect(),
            id: response_id("", given.call_id),
            model: given.model.to_owned(),
            created_s: given.now_s,
            begun: false,
            over: false,
            sequence: 0,
            items: Vec::new(),
            parts: Vec::new(),
            shared: None,
            finish: None,
            usage: None,
            service_tier: None,
        }
    }

    fn say(&mut self, name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut write::Writer)) {
        let json = write::Writer::object_text(|w| {
            w.member("type", name);
            w.member("sequence_number", &self.sequence);
            write(w);
        });
        self.sequence += 1;
        sse::write(Some(name), &json, out);
    }

    /// An event about an item.
    fn of_item(&mut self, at: usize, name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut write::Writer)) {
        let id = self.items[at].id.clone();
        self.say(name, out, |w| {
            w.member("item_id", &id);
            w.member("output_index", &(at as u64));
            write(w);
        });
    }

    fn response(&mut self, name: &str, ended: Ended<'_>, error: Option<&str>, out: &mut Vec<u8>) {
        let items: Vec<&str> = self.items.iter().filter_map(|item| item.json.as_deref()).collect();
        let items = format!("[{}]", items.join(","));
        let (id, model, tier) = (self.id.clone(), self.model.clone(), self.service_tier.clone());
        let (created_s, usage) = (self.created_s, self.usage);
        let service_tier = tier.as_deref();
        let head = Head { id: &id, created_s, model: &model, ended, error, usage: usage.as_ref(), service_tier };
        self.say(name, out, |w| {
            w.object_member("response", |w| output::response(w, &head, |w| w.json_member("output", &items)));
        });
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            for name in ["response.created", "response.in_progress"] {
                self.response(name, Ended { status: "in_progress", reason: None }, None, out);
            }
        }
    }

    /// A new item, told as it begins.
    fn add(&mut self, prefix: &str, kind: Kind, out: &mut Vec<u8>) -> usize {
        let at = self.items.len();
        let id = match &kind {
            Kind::Thoughts { told: Some(id), .. }
                if id.starts_with("rs_") && !self.items.iter().any(|i| i.id == *id) =>
            {
                id.clone()
            }
            Kind::Thoughts { .. } | Kind::Message(_) | Kind::Call { .. } => {
                made_id(prefix, &self.call_id, &at.to_string())
            }
        };
        self.items.push(Item { id, kind, json: None });
        let json = self.json(at, "in_progress");
        self.say("response.output_item.added", out, |w| {
            w.member("output_index", &(at as u64));
            w.json_member("item", &json);
        });
        at
    }

    fn json(&self, at: usize, status: &str) -> String {
        let item = &self.items[at];
        let json = write::Writer::object_text(|w| match &item.kind {
            Kind::Message(contents) => output::message(w, &item.id, status, |w| {
                contents.iter().for_each(|content| w.object(|w| content.write(w)));
            }),
            Kind::Thoughts { texts, signature, encrypted, .. } => {
                let sealed = sealed(signature.as_ref(), encrypted.as_deref(), &self.model);
                output::reasoning(w, &item.id, texts, sealed.as_deref());
            }
            Kind::Call { form, call_id, name, arguments } => {
                let arguments = if status == "in_progress" { in_progress(*form) } else { arguments };
                Call { form: *form, id: &item.id, call_id, name, arguments, status }.write(w);
            }
        });
        String::from_utf8(json).expect("JSON is a text")
    }

    /// The item is complete.
    fn complete(&mut self, at: usize, out: &mut Vec<u8>) {
        if self.items[at].json.is_some() {
            return;
        }
        self.arguments_done(at, out);
        let json = self.json(at, "completed");
        self.say("response.output_item.done", out, |w| {
            w.member("output_index", &(at as u64));
            w.json_member("item", &json);
        });
        self.items[at].json = Some(json);
    }

    fn arguments_done(&mut self, at: usize, out: &mut Vec<u8>) {
        let Kind::Call { form, arguments, name, .. } = &mut self.items[at].kind else { return };
        if arguments.trim().is_empty() {
            // A call without arguments has an empty object.
            *arguments = "{}".to_owned();
        }
        let (form, arguments, name) = (*form, arguments.clone(), name.clone());
        match form {
            Form::Function => self.of_item(at, "response.function_call_arguments.done", out, |w| {
                w.member("name", &name);
                w.member("arguments", &arguments);
            }),
            Form::Custom => {
                let input = own::unwrap(&arguments);
                self.of_item(at, "response.custom_tool_call_input.delta", out, |w| w.member("delta", &input));
                self.of_item(at, "response.custom_tool_call_input.done", out, |w| w.member("input", &input));
            }
            // Told whole, when it is.
            Form::Shell => {}
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(at) = self.shared.take() {
            self.complete(at, out);
        }
    }

    fn begin(&mut self, part: u64, kind: &Begins, out: &mut Vec<u8>) {
        let (at, piece) = match kind {
            Begins::Text => self.content(false, out),
            Begins::Refusal => self.content(true, out),
            Begins::Reasoning { id, .. } => self.thoughts(id.as_deref(), out),
            Begins::ToolCall { id, name } => {
                self.close(out);
                let form = Form::of(name, &self.own_tools);
                let call_id = match id.is_empty() {
                    true => made_id("call_", &self.call_id, &self.items.len().to_string()),
                    false => id.clone(),
                };
                let call = Kind::Call { form, call_id, name: name.clone(), arguments: String::new() };
                (self.add(form.item().1, call, out), 0)
            }
            // Known to its own dialect alone.
            Begins::Native(_) => return,
        };
        self.parts.push((part, at, piece));
    }

    /// Another content of the message that is open, or of a new one.
    fn content(&mut self, is_refusal: bool, out: &mut Vec<u8>) -> (usize, usize) {
        let at = match self.shared.filter(|at| matches!(self.items[*at].kind, Kind::Message(_))) {
            Some(at) => at,
            None => {
                self.close(out);
                let at = self.add("msg_", Kind::Message(Vec::new()), out);
                self.shared = Some(at);
                at
            }
        };
        let Kind::Message(contents) = &mut self.items[at].kind else { return (at, 0) };
        contents.push(Content { is_refusal, ..Content::default() });
        let index = contents.len() - 1;
        self.of_content(at, index, "response.content_part.added", out);
        (at, index)
    }

    /// An event that tells a content as a whole.
    fn of_content(&mut self, at: usize, index: usize, name: &str, out: &mut Vec<u8>) {
        let Kind::Message(contents) = &self.items[at].kind else { return };
        let part = write::Writer::object_text(|w| contents[index].write(w));
        let part = String::from_utf8(part).expect("JSON is a text");
        self.of_item(at, name, out, |w| {
            w.member("content_index", &(index as u64));
            w.json_member("part", &part);
        });
    }

    /// Thoughts of one id are pieces of one item.
    fn thoughts(&mut self, id: Option<&str>, out: &mut Vec<u8>) -> (usize, usize) {
        let same = |item: &Item| matches!(&item.kind, Kind::Thoughts { told: Some(told), .. } if Some(&**told) == id);
        let at = match self.shared.filter(|at| same(&self.items[*at])) {
            Some(at) => at,
            None => {
                self.close(out);
                let told = id.map(str::to_owned);
                let kind = Kind::Thoughts { told, texts: Vec::new(), signature: None, encrypted: None };
                let at = self.add("rs_", kind, out);
                self.shared = Some(at);
                at
            }
        };
        let Kind::Thoughts { texts, .. } = &self.items[at].kind else { return (at, 0) };
        (at, texts.len())
    }

    fn delta(&mut self, part: u64, delta: &Delta, out: &mut Vec<u8>) {
        let Some(&(_, at, index)) = self.parts.iter().rev().find(|(known, ..)| *known == part) else { return };
        match delta {
            Delta::Text(text) => self.text(at, index, text, out),
            Delta::Arguments(text) => {
                let Kind::Call { form, arguments, .. } = &mut self.items[at].kind else { return };
                arguments.push_str(text);
                if *form == Form::Function && !text.is_empty() {
                    self.of_item(at, "response.function_call_arguments.delta", out, |w| w.member("delta", text));
                }
            }
            Delta::Signature(signature) => match &mut self.items[at].kind {
                Kind::Thoughts { signature: known, .. } => *known = Some(signature.clone()),
                Kind::Message(contents) => contents[index].seal = Some(signature.clone()),
                Kind::Call { call_id, .. } => {
                    let place = Place::Call(call_id.clone().into());
                    self.seal(signature, &place, out);
                }
            },
            Delta::Encrypted(data) => {
                if let Kind::Thoughts { encrypted, .. } = &mut self.items[at].kind {
                    *encrypted = Some(data.clone());
                }
            }
            Delta::Citation { url: Some(url), title, start, end, .. } => {
                let json = write::Writer::object_text(|w| url_citation(w, url, title.as_deref(), *start, *end));
                self.annotation(at, index, String::from_utf8(json).expect("JSON is a text"), out);
            }
            // What has no address has no words here.
            Delta::Citation { url: None, .. } => {}
        }
    }

    fn text(&mut self, at: usize, index: usize, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        match &mut self.items[at].kind {
            Kind::Message(contents) => {
                contents[index].text.push_str(text);
                let is_refusal = contents[index].is_refusal;
                let name = if is_refusal { "response.refusal.delta" } else { "response.output_text.delta" };
                self.of_item(at, name, out, |w| {
                    w.member("content_index", &(index as u64));
                    w.member("delta", text);
                    if !is_refusal {
                        w.list_member("logprobs", |_| {});
                    }
                });
            }
            Kind::Thoughts { texts, .. } => {
                let begins = texts.len() == index;
                if begins {
                    texts.push(String::new());
                }
                texts[index].push_str(text);
                if begins {
                    self.of_summary(at, index, "response.reasoning_summary_part.added", out, |w| {
                        w.object_member("part", |w| output::summary_text(w, ""));
                    });
                }
                self.of_summary(at, index, "response.reasoning_summary_text.delta", out, |w| w.member("delta", text));
            }
            Kind::Call { .. } => {}
        }
    }

    fn of_summary(
        &mut self,
        at: usize,
        index: usize,
        name: &str,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut write::Writer),
    ) {
        self.of_item(at, name, out, |w| {
            w.member("summary_index", &(index as u64));
            write(w);
        });
    }

    fn annotation(&mut self, at: usize, index: usize, json: String, out: &mut Vec<u8>) {
        let Kind::Message(contents) = &mut self.items[at].kind else { return };
        let place = contents[index].annotations.len() as u64;
        contents[index].annotations.push(json.clone());
        self.of_item(at, "response.output_text.annotation.added", out, |w| {
            w.member("content_index", &(index as u64));
            w.member("annotation_index", &place);
            w.json_member("annotation", &json);
        });
    }

    /// The seal of another part, in an item of its own.
    fn seal(&mut self, signature: &Signature<'_>, place: &Place<'_>, out: &mut Vec<u8>) {
        let sealed = seal::write(signature.by, place, &signature.data);
        let (at, id) = (self.items.len(), made_id("rs_", &self.call_id, &self.items.len().to_string()));
        let json = write::Writer::object_text(|w| output::reasoning::<&str>(w, &id, &[], Some(&sealed)));
        let json = String::from_utf8(json).expect("JSON is a text");
        for name in ["response.output_item.added", "response.output_item.done"] {
            self.say(name, out, |w| {
                w.member("output_index", &(at as u64));
                w.json_member("item", &json);
            });
        }
        let kind = Kind::Thoughts { told: None, texts: Vec::new(), signature: None, encrypted: None };
        self.items.push(Item { id, kind, json: Some(json) });
    }

    fn end(&mut self, part: u64, out: &mut Vec<u8>) {
        let Some(&(_, at, index)) = self.parts.iter().rev().find(|(known, ..)| *known == part) else { return };
        match &mut self.items[at].kind {
            Kind::Message(contents) => {
                let (text, is_refusal) = (contents[index].text.clone(), contents[index].is_refusal);
                let logprobs = format!("[{}]", contents[index].logprobs.join(","));
                let seal = contents[index].seal.take();
                let name = if is_refusal { "response.refusal.done" } else { "response.output_text.done" };
                self.of_item(at, name, out, |w| {
                    w.member("content_index", &(index as u64));
                    w.member(if is_refusal { "refusal" } else { "text" }, &text);
                    if !is_refusal {
                        w.json_member("logprobs", &logprobs);
                    }
                });
                self.of_content(at, index, "response.content_part.done", out);
                if let Some(seal) = seal {
                    self.close(out);
                    self.seal(&seal, &Place::Text, out);
                }
            }
            Kind::Thoughts { told, texts, .. } => {
                let (alone, text) = (told.is_none(), texts.get(index).cloned());
                if let Some(text) = text {
                    self.of_summary(at, index, "response.reasoning_summary_text.done", out, |w| {
                        w.member("text", &text)
                    });
                    self.of_summary(at, index, "response.reasoning_summary_part.done", out, |w| {
                        w.object_member("part", |w| output::summary_text(w, &text));
                    });
                }
                if alone {
                    self.close(out);
                }
            }
            Kind::Call { .. } => self.complete(at, out),
        }
    }

    /// They belong to what was just said: an empty piece carries them.
    fn logprobs(&mut self, json: &str, out: &mut Vec<u8>) {
        let Ok(raw) = serde_json::from_str::<&serde_json::value::RawValue>(json) else { return };
        let Some(list) = tokens(raw).and_then(|raw| raw.get().strip_prefix('[')?.strip_suffix(']')) else { return };
        let Some(at) = self.shared else { return };
        let Kind::Message(contents) = &mut self.items[at].kind else { return };
        let Some(content) = contents.last_mut().filter(|content| !content.is_refusal && !list.trim().is_empty()) else {
            return;
        };
        content.logprobs.push(list.to_owned());
        let index = contents.len() - 1;
        self.of_item(at, "response.output_text.delta", out, |w| {
            w.member("content_index", &(index as u64));
            w.member("delta", "");
            w.json_member("logprobs", &format!("[{list}]"));
        });
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        for at in 0..self.items.len() {
            self.complete(at, out);
        }
        let finish = self.finish.take();
        let ended = ended(finish.as_ref());
        self.over = true;
        match ended.status {
            "failed" => {
                self.failed(r#"{"code":"server_error","message":"the provider failed while it answered"}"#, out)
            }
            "incomplete" => self.response("response.incomplete", ended, None, out),
            _ => self.response("response.completed", ended, None, out),
        }
    }

    fn failed(&mut self, error: &str, out: &mut Vec<u8>) {
        self.over = true;
        self.response("response.failed", Ended { status: "failed", reason: None }, Some(error), out);
    }
}

/// What a call that begins says of its arguments.
fn in_progress(form: Form) -> &'static str {
    match form {
        Form::Function | Form::Custom => "",
        Form::Shell => r#"{"command":[]}"#,
    }
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        if let Event::Start { id, model, created_s } = event
            && !self.begun
        {
            self.id = response_id(id, &self.call_id);
            if !model.is_empty() {
                self.model.clone_from(model);
            }
            self.created_s = created_s.unwrap_or(self.created_s);
        }
        self.start(out);
        match event {
            // There is one answer in this dialect.
            Event::Begin { choice: 1.., .. }
            | Event::Delta { choice: 1.., .. }
            | Event::End { choice: 1.., .. }
            | Event::Logprobs { choice: 1.., .. }
            | Event::Finish { choice: 1.., .. } => {}
            Event::Start { .. } => {}
            Event::Begin { part, kind, .. } => self.begin(*part, kind, out),
            Event::Delta { part, delta, .. } => self.delta(*part, delta, out),
            Event::End { part, .. } => self.end(*part, out),
            Event::Logprobs { json, .. } => self.logprobs(json, out),
            Event::Finish { reason, .. } => {
                self.close(out);
                self.finish = Some(reason.clone());
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::ServiceTier(tier) => self.service_tier = Some(tier.clone()),
            // Said by `refusal`: the pipeline makes one of it.
            Event::Error(_) => {}
            Event::Done => self.done(out),
        }
    }

    /// The `error` event, which the official clients raise, and the failed response, which agents read.
    fn refusal(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        let body = refusal.openai_json(request_id);
        let members = serde_json::from_str::<Raw<'_>>(&body).map(loose).unwrap_or_default();
        let Some(error) = find(&members, "error") else { return };
        let (json, inner) = (error.get(), loose(error));
        let member = |name: &str| find(&inner, name).map_or("null", |raw| raw.get());
        self.say("error", out, |w| {
            w.json_member("code", member("code"));
            w.json_member("message", member("message"));
            w.json_member("param", member("param"));
            w.json_member("error", json);
        });
        self.failed(json, out);
    }
}
