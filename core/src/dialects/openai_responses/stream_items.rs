//! The items of a stream for a caller, told as they begin, grow and end.

use super::answer::sealed;
use super::output::{self, Asked, Call, Ended, Head, made_id, response_id};
use super::own::{self, Form};
use super::seal::{self, Place};
use crate::contract::canonical::part::Signature;
use crate::contract::usage::Usage;
use crate::contract::write;
use crate::dialects::Given;
use crate::dialects::frames::sse;

/// What is told so far, and about which response.
pub struct Told {
    call_id: String,
    pub id: String,
    pub model: String,
    pub created_s: i64,
    pub usage: Option<Usage>,
    pub service_tier: Option<String>,
    asked: Asked,
    begun: bool,
    sequence: u64,
    pub items: Vec<Item>,
}

pub struct Item {
    id: String,
    pub kind: Kind,
    /// As JSON, when it is complete.
    json: Option<String>,
}

pub enum Kind {
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
pub struct Content {
    pub is_refusal: bool,
    pub text: String,
    /// As JSON each.
    pub annotations: Vec<String>,
    pub logprobs: Vec<String>,
    /// Of the text, for an item of its own behind it.
    pub seal: Option<Signature<'static>>,
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

impl Told {
    pub fn new(given: &Given<'_>) -> Self {
        Told {
            call_id: given.call_id.to_owned(),
            id: response_id("", given.call_id),
            model: given.model.to_owned(),
            created_s: given.now_s,
            usage: None,
            service_tier: None,
            asked: Asked::of(given.asked),
            begun: false,
            sequence: 0,
            items: Vec::new(),
        }
    }

    /// What the provider said of itself counts until the response has begun.
    pub fn provider(&mut self, id: &str, model: &str, created_s: Option<i64>) {
        if self.begun {
            return;
        }
        self.id = response_id(id, &self.call_id);
        if !model.is_empty() {
            model.clone_into(&mut self.model);
        }
        self.created_s = created_s.unwrap_or(self.created_s);
    }

    /// An id of a call that the provider told none for: by its place.
    pub fn call_id(&self) -> String {
        made_id("call_", &self.call_id, &self.items.len().to_string())
    }

    pub fn say(&mut self, name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut write::Writer)) {
        let json = write::Writer::object_text(|w| {
            w.member("type", name);
            w.member("sequence_number", &self.sequence);
            write(w);
        });
        self.sequence += 1;
        sse::write(Some(name), &json, out);
    }

    /// An event about an item.
    pub fn of_item(&mut self, at: usize, name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut write::Writer)) {
        let id = self.items[at].id.clone();
        self.say(name, out, |w| {
            w.member("item_id", &id);
            w.member("output_index", &(at as u64));
            write(w);
        });
    }

    pub fn response(&mut self, name: &str, ended: Ended<'_>, error: Option<&str>, out: &mut Vec<u8>) {
        let items: Vec<&str> = self.items.iter().filter_map(|item| item.json.as_deref()).collect();
        let items = format!("[{}]", items.join(","));
        let (id, model, tier) = (self.id.clone(), self.model.clone(), self.service_tier.clone());
        let (created_s, usage) = (self.created_s, self.usage);
        let (service_tier, asked) = (tier.as_deref(), std::mem::take(&mut self.asked));
        let head = Head {
            id: &id,
            created_s,
            model: &model,
            ended,
            error,
            usage: usage.as_ref(),
            service_tier,
            asked: &asked,
        };
        self.say(name, out, |w| {
            w.object_member("response", |w| output::response(w, &head, |w| w.json_member("output", &items)));
        });
        self.asked = asked;
    }

    pub fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            for name in ["response.created", "response.in_progress"] {
                self.response(name, Ended { status: "in_progress", reason: None }, None, out);
            }
        }
    }

    /// A new item, told as it begins.
    pub fn add(&mut self, prefix: &str, kind: Kind, out: &mut Vec<u8>) -> usize {
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
    pub fn complete(&mut self, at: usize, out: &mut Vec<u8>) {
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

    /// An event that tells a content as a whole.
    pub fn of_content(&mut self, at: usize, index: usize, name: &str, out: &mut Vec<u8>) {
        let Kind::Message(contents) = &self.items[at].kind else { return };
        let part = write::Writer::object_text(|w| contents[index].write(w));
        let part = String::from_utf8(part).expect("JSON is a text");
        self.of_item(at, name, out, |w| {
            w.member("content_index", &(index as u64));
            w.json_member("part", &part);
        });
    }

    pub fn of_summary(
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

    /// The seal of another part, in an item of its own.
    pub fn seal(&mut self, signature: &Signature<'_>, place: &Place<'_>, out: &mut Vec<u8>) {
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

    pub fn failed(&mut self, error: &str, out: &mut Vec<u8>) {
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
