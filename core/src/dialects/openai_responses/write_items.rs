//! A conversation as the items of a request.

use std::borrow::Cow;

use super::own::{self, Form};
use super::parts::{Parts, output_text, refusal};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Maker, Message, Part, Reasoning, Role, ToolCall, ToolResult};
use crate::contract::write::Writer;
use crate::dialects::Quirks;

/// Ids of calls longer than this are refused.
const CALL_ID_MAX: usize = 64;

/// Writes items.
pub struct Items<'w> {
    pub quirks: &'w Quirks,
    /// Tools that are declared otherwise than as functions, and the ids of their calls so far.
    pub own_tools: Vec<&'w str>,
    pub own_calls: Vec<(&'w str, Form)>,
    pub lost: Vec<Loss>,
}

impl<'w> Items<'w> {
    pub fn message(&mut self, w: &mut Writer, message: &'w Message<'_>) {
        // Results of tools are items of their own, and stand before what the user says to them.
        for part in &message.parts {
            if let Kind::ToolResult(result) = &part.kind {
                self.result(w, result);
            }
        }
        match message.role {
            Role::Assistant => self.turn(w, &message.parts),
            Role::System => self.asked(w, "system", &message.parts),
            Role::Developer if self.quirks.no_developer => self.asked(w, "system", &message.parts),
            Role::Developer => self.asked(w, "developer", &message.parts),
            Role::User | Role::Tool => self.asked(w, "user", &message.parts),
        }
    }

    fn parts(&mut self) -> Parts<'_> {
        Parts {
            marks: self.quirks.has.contains(&Element::CacheMarks),
            natives: self.quirks.has.contains(&Element::NativePart),
            lost: &mut self.lost,
        }
    }

    fn asked(&mut self, w: &mut Writer, role: &str, parts: &[Part<'_>]) {
        let said: Vec<&Part<'_>> = parts.iter().filter(|p| !matches!(p.kind, Kind::ToolResult(_))).collect();
        if said.is_empty() {
            return;
        }
        w.object(|w| {
            w.member("role", role);
            match said[..] {
                [only @ Part { kind: Kind::Text { text, .. }, .. }] if only.cache.is_none() => {
                    w.member("content", text)
                }
                _ => w.list_member("content", |w| said.iter().for_each(|part| self.parts().input(w, part))),
            }
        });
    }

    /// What the assistant said and did, in its order.
    fn turn(&mut self, w: &mut Writer, parts: &'w [Part<'_>]) {
        let mut at = 0;
        while let Some(part) = parts.get(at) {
            let from = at;
            at += 1;
            match &part.kind {
                Kind::Text { .. } | Kind::Refusal(_) => {
                    while parts.get(at).is_some_and(|p| matches!(p.kind, Kind::Text { .. } | Kind::Refusal(_))) {
                        at += 1;
                    }
                    said(w, &parts[from..at]);
                }
                Kind::Reasoning(first) => {
                    while parts.get(at).is_some_and(|p| same_item(first, &parts[at - 1], p)) {
                        at += 1;
                    }
                    self.thoughts(w, &parts[from..at]);
                }
                Kind::ToolCall(call) => self.call(w, call),
                Kind::Native { json, .. } if self.quirks.has.contains(&Element::NativePart) => w.value(*json),
                Kind::Media(_) => {
                    let why = "what a model made can only be sent as the user's";
                    self.lost.push(Loss::value(Element::MediaUrl, why));
                }
                Kind::Native { .. } | Kind::ToolResult(_) => {}
            }
            self.foreign_seal(part);
        }
    }

    /// A seal on a text or a call is Google's alone.
    fn foreign_seal(&mut self, part: &Part<'_>) {
        if part.signature.is_some() && !matches!(part.kind, Kind::Reasoning(_)) {
            self.lose(Element::ReasoningSigned, "sealed by another maker");
        }
    }

    fn lose(&mut self, element: Element, why: &str) {
        if !self.lost.iter().any(|loss| loss.what == element.name()) {
            self.lost.push(Loss::value(element, why));
        }
    }

    fn call(&mut self, w: &mut Writer, call: &'w ToolCall<'_>) {
        let form = Form::of(&call.name, &self.own_tools);
        if form != Form::Function {
            self.own_calls.push((&call.id, form));
        }
        w.object(|w| {
            w.member("type", form.item().0);
            w.member("call_id", &call_id(&call.id));
            match form {
                Form::Function => {
                    w.member("name", &call.name);
                    w.member("arguments", call.arguments_json());
                }
                Form::Custom => {
                    w.member("name", &call.name);
                    w.member("input", &own::unwrap(&call.arguments));
                }
                Form::Shell => {
                    own::action(w, &call.arguments);
                    w.member("status", "completed");
                }
            }
        });
    }

    fn result(&mut self, w: &mut Writer, result: &ToolResult<'_>) {
        let form =
            self.own_calls.iter().find(|(id, _)| *id == result.call_id).map_or(Form::Function, |(_, form)| *form);
        w.object(|w| {
            w.member(
                "type",
                match form {
                    Form::Custom => "custom_tool_call_output",
                    // The shell's results are taken in the same form.
                    Form::Function | Form::Shell => "function_call_output",
                },
            );
            w.member("call_id", &call_id(&result.call_id));
            match &result.parts[..] {
                [] => w.member("output", ""),
                [Part { kind: Kind::Text { text, .. }, cache: None, .. }] => w.member("output", text),
                parts => w.list_member("output", |w| parts.iter().for_each(|part| self.parts().input(w, part))),
            }
        });
    }

    /// Pieces of one item. The provider takes back what it encrypted; plain thoughts it refuses, but for some.
    fn thoughts(&mut self, w: &mut Writer, parts: &[Part<'_>]) {
        let pieces = || parts.iter().filter_map(|p| if let Kind::Reasoning(r) = &p.kind { Some(r) } else { None });
        let own = |part: &&Part<'_>| part.signature.as_ref().is_none_or(|s| s.by == Maker::Openai);
        let encrypted = parts.iter().filter(own).find_map(|part| match &part.kind {
            // Whose they are must be told: nobody else's may be sent.
            Kind::Reasoning(r) if part.signature.is_some() => r.encrypted.as_ref(),
            _ => None,
        });
        if encrypted.is_none() && !self.quirks.has.contains(&Element::ReasoningText) {
            if parts.iter().any(|p| p.signature.is_some()) {
                self.lose(Element::ReasoningSigned, "sealed by another maker");
            }
            if pieces().any(|r| r.encrypted.is_some()) {
                self.lose(Element::ReasoningEncrypted, "encrypted by another maker");
            }
            if pieces().any(|r| !r.text.is_empty()) {
                self.lose(Element::ReasoningText, "thoughts are taken back only as they were encrypted");
            }
            return;
        }
        let texts = |w: &mut Writer, kind: &str, summary: bool| {
            for piece in pieces().filter(|r| r.summary == summary && !r.text.is_empty()) {
                w.object(|w| {
                    w.member("type", kind);
                    w.member("text", &piece.text);
                });
            }
        };
        w.object(|w| {
            w.member("type", "reasoning");
            w.member_some("id", &pieces().find_map(|r| r.id.as_ref()));
            w.list_member("summary", |w| texts(w, "summary_text", true));
            if pieces().any(|r| !r.summary && !r.text.is_empty()) {
                w.list_member("content", |w| texts(w, "reasoning_text", false));
            }
            w.member_some("encrypted_content", &encrypted);
        });
    }
}

/// Pieces of one item have one id; where none was told, what is encrypted ends the item.
fn same_item(first: &Reasoning<'_>, before: &Part<'_>, next: &Part<'_>) -> bool {
    let Kind::Reasoning(next) = &next.kind else { return false };
    let ended = matches!(&before.kind, Kind::Reasoning(r) if r.encrypted.is_some()) || before.signature.is_some();
    next.id == first.id && !ended
}

fn said(w: &mut Writer, parts: &[Part<'_>]) {
    w.object(|w| {
        w.member("type", "message");
        w.member("role", "assistant");
        w.list_member("content", |w| {
            for part in parts {
                match &part.kind {
                    Kind::Text { text, citations } => output_text(w, text, citations, None),
                    Kind::Refusal(text) => refusal(w, text),
                    Kind::Media(_)
                    | Kind::ToolCall(_)
                    | Kind::ToolResult(_)
                    | Kind::Reasoning(_)
                    | Kind::Native { .. } => {}
                }
            }
        });
    });
}

/// The id as the service takes it: a pure function of the id, so that a call and its result still match.
fn call_id(id: &str) -> Cow<'_, str> {
    match id.len() <= CALL_ID_MAX && !id.is_empty() {
        true => Cow::Borrowed(id),
        false => Cow::Owned(format!("call_{}", &blake3::hash(id.as_bytes()).to_hex()[..24])),
    }
}
