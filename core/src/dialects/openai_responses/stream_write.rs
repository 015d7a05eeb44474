//! A stream for a caller: the whole sequence of events, each with its place, and the complete response at the end.
//!
//! What was said is kept until the end, for the last events say it again: the pipeline bounds how much a stream may say.

use super::answer::tokens;
use super::output::{self, ended};
use super::own::Form;
use super::parts::url_citation;
use super::seal::Place;
use super::stream_items::{Content, Item, Kind, Told};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::read::{Raw, find, loose};
use crate::contract::refusal::Refusal;
use crate::contract::write;
use crate::dialects::{Given, StreamWriter};

pub struct Writer {
    told: Told,
    own_tools: Vec<String>,
    /// Which item, and which piece of it, a part is.
    parts: Vec<(u64, usize, usize)>,
    /// The item that takes another part: a message, or thoughts of one id.
    shared: Option<usize>,
    finish: Option<Finish>,
    over: bool,
}

impl Writer {
    pub fn new(given: &Given<'_>) -> Self {
        Writer {
            told: Told::new(given),
            own_tools: given.own_tools.iter().map(|name| (*name).to_owned()).collect(),
            parts: Vec::new(),
            shared: None,
            finish: None,
            over: false,
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(at) = self.shared.take() {
            self.told.complete(at, out);
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
                let call_id = if id.is_empty() { self.told.call_id() } else { id.clone() };
                let call = Kind::Call { form, call_id, name: name.clone(), arguments: String::new() };
                (self.told.add(form.item().1, call, out), 0)
            }
            // Known to its own dialect alone.
            Begins::Native(_) | Begins::Media { .. } => return,
        };
        self.parts.push((part, at, piece));
    }

    /// Another content of the message that is open, or of a new one.
    fn content(&mut self, is_refusal: bool, out: &mut Vec<u8>) -> (usize, usize) {
        let at = match self.shared.filter(|at| matches!(self.told.items[*at].kind, Kind::Message(_))) {
            Some(at) => at,
            None => {
                self.close(out);
                let at = self.told.add("msg_", Kind::Message(Vec::new()), out);
                self.shared = Some(at);
                at
            }
        };
        let Kind::Message(contents) = &mut self.told.items[at].kind else { return (at, 0) };
        contents.push(Content { is_refusal, ..Content::default() });
        let index = contents.len() - 1;
        self.told.of_content(at, index, "response.content_part.added", out);
        (at, index)
    }

    /// Thoughts of one id are pieces of one item.
    fn thoughts(&mut self, id: Option<&str>, out: &mut Vec<u8>) -> (usize, usize) {
        let same = |item: &Item| matches!(&item.kind, Kind::Thoughts { told: Some(told), .. } if Some(&**told) == id);
        let at = match self.shared.filter(|at| same(&self.told.items[*at])) {
            Some(at) => at,
            None => {
                self.close(out);
                let told = id.map(str::to_owned);
                let kind = Kind::Thoughts { told, texts: Vec::new(), signature: None, encrypted: None };
                let at = self.told.add("rs_", kind, out);
                self.shared = Some(at);
                at
            }
        };
        let Kind::Thoughts { texts, .. } = &self.told.items[at].kind else { return (at, 0) };
        (at, texts.len())
    }

    fn delta(&mut self, part: u64, delta: &Delta, out: &mut Vec<u8>) {
        let Some(&(_, at, index)) = self.parts.iter().rev().find(|(known, ..)| *known == part) else { return };
        match delta {
            Delta::Text(text) => self.text(at, index, text, out),
            Delta::Arguments(text) => {
                let Kind::Call { form, arguments, .. } = &mut self.told.items[at].kind else { return };
                arguments.push_str(text);
                if *form == Form::Function && !text.is_empty() {
                    self.told.of_item(at, "response.function_call_arguments.delta", out, |w| w.member("delta", text));
                }
            }
            Delta::Signature(signature) => match &mut self.told.items[at].kind {
                Kind::Thoughts { signature: known, .. } => *known = Some(signature.clone()),
                Kind::Message(contents) => contents[index].seal = Some(signature.clone()),
                Kind::Call { call_id, .. } => {
                    let place = Place::Call(call_id.clone().into());
                    self.told.seal(signature, &place, out);
                }
            },
            Delta::Encrypted(data) => {
                if let Kind::Thoughts { encrypted, .. } = &mut self.told.items[at].kind {
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
        match &mut self.told.items[at].kind {
            Kind::Message(contents) => {
                contents[index].text.push_str(text);
                let is_refusal = contents[index].is_refusal;
                let name = if is_refusal { "response.refusal.delta" } else { "response.output_text.delta" };
                self.told.of_item(at, name, out, |w| {
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
                    self.told.of_summary(at, index, "response.reasoning_summary_part.added", out, |w| {
                        w.object_member("part", |w| output::summary_text(w, ""));
                    });
                }
                self.told
                    .of_summary(at, index, "response.reasoning_summary_text.delta", out, |w| w.member("delta", text));
            }
            Kind::Call { .. } => {}
        }
    }

    fn annotation(&mut self, at: usize, index: usize, json: String, out: &mut Vec<u8>) {
        let Kind::Message(contents) = &mut self.told.items[at].kind else { return };
        let place = contents[index].annotations.len() as u64;
        contents[index].annotations.push(json.clone());
        self.told.of_item(at, "response.output_text.annotation.added", out, |w| {
            w.member("content_index", &(index as u64));
            w.member("annotation_index", &place);
            w.json_member("annotation", &json);
        });
    }

    fn end(&mut self, part: u64, out: &mut Vec<u8>) {
        let Some(&(_, at, index)) = self.parts.iter().rev().find(|(known, ..)| *known == part) else { return };
        match &mut self.told.items[at].kind {
            Kind::Message(contents) => {
                let (text, is_refusal) = (contents[index].text.clone(), contents[index].is_refusal);
                let logprobs = format!("[{}]", contents[index].logprobs.join(","));
                let seal = contents[index].seal.take();
                let name = if is_refusal { "response.refusal.done" } else { "response.output_text.done" };
                self.told.of_item(at, name, out, |w| {
                    w.member("content_index", &(index as u64));
                    w.member(if is_refusal { "refusal" } else { "text" }, &text);
                    if !is_refusal {
                        w.json_member("logprobs", &logprobs);
                    }
                });
                self.told.of_content(at, index, "response.content_part.done", out);
                if let Some(seal) = seal {
                    self.close(out);
                    self.told.seal(&seal, &Place::Text, out);
                }
            }
            Kind::Thoughts { told, texts, .. } => {
                let (alone, text) = (told.is_none(), texts.get(index).cloned());
                if let Some(text) = text {
                    self.told.of_summary(at, index, "response.reasoning_summary_text.done", out, |w| {
                        w.member("text", &text)
                    });
                    self.told.of_summary(at, index, "response.reasoning_summary_part.done", out, |w| {
                        w.object_member("part", |w| output::summary_text(w, &text));
                    });
                }
                if alone {
                    self.close(out);
                }
            }
            Kind::Call { .. } => self.told.complete(at, out),
        }
    }

    /// They belong to what was just said: an empty piece carries them.
    fn logprobs(&mut self, json: &str, out: &mut Vec<u8>) {
        let Ok(raw) = serde_json::from_str::<&serde_json::value::RawValue>(json) else { return };
        let Some(list) = tokens(raw).and_then(|raw| raw.get().strip_prefix('[')?.strip_suffix(']')) else { return };
        let Some(at) = self.shared else { return };
        let Kind::Message(contents) = &mut self.told.items[at].kind else { return };
        let Some(content) = contents.last_mut().filter(|content| !content.is_refusal && !list.trim().is_empty()) else {
            return;
        };
        content.logprobs.push(list.to_owned());
        let index = contents.len() - 1;
        self.told.of_item(at, "response.output_text.delta", out, |w| {
            w.member("content_index", &(index as u64));
            w.member("delta", "");
            w.json_member("logprobs", &format!("[{list}]"));
        });
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        for at in 0..self.told.items.len() {
            self.told.complete(at, out);
        }
        let finish = self.finish.take();
        let refuses = self.told.items.iter().any(
            |item| matches!(&item.kind, Kind::Message(contents) if contents.iter().any(|content| content.is_refusal)),
        );
        let ended = ended(finish.as_ref(), refuses);
        self.over = true;
        match ended.status {
            "failed" => {
                self.told.failed(r#"{"code":"server_error","message":"the provider failed while it answered"}"#, out)
            }
            "incomplete" => self.told.response("response.incomplete", ended, None, out),
            _ => self.told.response("response.completed", ended, None, out),
        }
    }
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        if let Event::Start { id, model, created_s } = event {
            self.told.provider(id, model, *created_s);
        }
        self.told.start(out);
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
            Event::Usage(usage) => self.told.usage = Some(*usage),
            Event::ServiceTier(tier) => self.told.service_tier = Some(tier.clone()),
            Event::Beside(_) => {}
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
        self.told.say("error", out, |w| {
            w.json_member("code", member("code"));
            w.json_member("message", member("message"));
            w.json_member("param", member("param"));
            w.json_member("error", json);
        });
        self.over = true;
        self.told.failed(json, out);
    }
}
