//! Whole answers, read from providers and written for callers.

use std::collections::HashMap;

use super::items::{Item, item, put_back};
use super::output::{self, Asked, Call, Head, ended, finish_of, made_id, response_id};
use super::own::Form;
use super::parts::{content, output_text, refusal};
use super::seal::{self, Place};
use crate::contract::canonical::answer::{Answer, Choice};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Maker, Part, Signature};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_null, is_object, loose};
use crate::contract::usage::{OpenaiUsage, Usage};
use crate::contract::write::Writer;
use crate::dialects::{Given, Written, unsaid};

pub fn read(body: &[u8]) -> Result<Answer<'_>, Wrong> {
    let mut r = Reading::default();
    let root = r.value(body)?;
    let members = r.object(root)?;
    let (mut answer, mut choice) = (Answer::default(), Choice::default());
    let (mut status, mut reason) = (None, None);
    for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "id" => answer.id = as_text(raw).unwrap_or_default(),
            "model" => answer.model = as_text(raw).unwrap_or_default(),
            "created_at" => answer.created_s = raw.get().parse::<f64>().ok().map(|s| s as i64),
            "service_tier" => answer.service_tier = as_text(raw),
            "usage" => answer.usage = usage(raw),
            "status" => status = as_text(raw),
            "incomplete_details" if is_object(raw) => reason = find(&loose(raw), "reason").and_then(as_text),
            "output" => choice = r.within("output", |r| output(r, raw))?,
            _ => {}
        }
    }
    let calls = choice.parts.iter().any(|part| matches!(part.kind, Kind::ToolCall(_)));
    let finish = finish_of(status.as_deref().unwrap_or("completed"), reason.as_deref(), calls);
    choice.finish = finish.map(|finish| finish.refusing(choice.parts.iter().any(is_refusal)));
    answer.choices = vec![choice];
    Ok(answer)
}

pub fn usage(raw: Raw<'_>) -> Option<Usage> {
    serde_json::from_str::<OpenaiUsage>(raw.get()).ok().and_then(|usage| usage.disjoint())
}

fn output<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Choice<'a>, Wrong> {
    let mut choice = Choice::default();
    let parts = &mut choice.parts;
    let mut seals: HashMap<String, Signature<'a>> = HashMap::new();
    let logprobs = r.each(raw, |r, raw| {
        match output_item(r, raw)? {
            Item::Said(said) => parts.extend(said),
            Item::Asked(message) => parts.extend(message.parts),
            Item::Did(did) => parts.extend(did),
            Item::Result(_) | Item::Tools(_) => {}
            Item::Seal(Place::Call(id), seal) => drop(seals.insert(id.into_owned(), seal)),
            Item::Seal(_, seal) => put_back(parts, seal),
        }
        Ok(logprobs(raw))
    })?;
    choice.logprobs = logprobs.into_iter().flatten().next();
    for part in &mut choice.parts {
        if let Kind::ToolCall(call) = &part.kind {
            part.signature = seals.remove(&*call.id);
        }
    }
    Ok(choice)
}

/// As in a request, but that nobody else than the model speaks, and that a message may be empty.
fn output_item<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Item<'a>, Wrong> {
    let members = loose(raw);
    if find(&members, "type").and_then(as_text).as_deref() != Some("message") {
        return item(r, raw);
    }
    let parts = find(&members, "content").map(|raw| r.within("content", |r| content(r, raw))).transpose()?;
    Ok(Item::Said(parts.unwrap_or_default()))
}

/// Of the first text of a message.
fn logprobs(item: Raw<'_>) -> Option<Raw<'_>> {
    let content: Vec<Raw<'_>> = serde_json::from_str(find(&loose(item), "content")?.get()).ok()?;
    let list = |part| find(&loose(part), "logprobs").filter(|raw| raw.get().trim_start_matches('[').len() > 1);
    content.into_iter().find_map(list)
}

pub fn write(answer: &Answer<'_>, given: &Given<'_>) -> Written {
    let choice = answer.choices.first();
    let mut lost = unsaid::of_parts(choice.into_iter().flat_map(|choice| &choice.parts), |_| false);
    if answer.choices.len() > 1 {
        lost.push(Loss::value(Element::SeveralAnswers, "there is one answer in this dialect: the first is given"));
    }
    let refuses = choice.is_some_and(|choice| choice.parts.iter().any(is_refusal));
    let ended = ended(choice.and_then(|choice| choice.finish.as_ref()), refuses);
    let id = response_id(&answer.id, given.call_id);
    let asked = Asked::of(given.asked);
    let head = Head {
        id: &id,
        created_s: answer.created_s.unwrap_or(given.now_s),
        model: if answer.model.is_empty() { given.model } else { &answer.model },
        error: Some(FAILED).filter(|_| ended.status == "failed"),
        ended,
        usage: answer.usage.as_ref(),
        service_tier: answer.service_tier.as_deref(),
        asked: &asked,
    };
    let mut items = Items { given, model: head.model, at: 0, logprobs: choice.and_then(|choice| choice.logprobs) };
    let body = Writer::object_text(|w| {
        output::response(w, &head, |w| {
            w.list_member("output", |w| items.write(w, choice.map_or(&[], |choice| &choice.parts)));
        });
    });
    Written { body, lost }
}

/// The provider said that it failed, inside an answer.
const FAILED: &str = r#"{"code":"server_error","message":"the provider failed while it answered"}"#;

/// Writes the items of an answer.
struct Items<'w> {
    given: &'w Given<'w>,
    model: &'w str,
    /// Items so far.
    at: u64,
    logprobs: Option<Raw<'w>>,
}

impl Items<'_> {
    fn id(&mut self, prefix: &str) -> String {
        self.at += 1;
        made_id(prefix, self.given.call_id, &(self.at - 1).to_string())
    }

    fn write(&mut self, w: &mut Writer, parts: &[Part<'_>]) {
        let mut at = 0;
        while let Some(part) = parts.get(at) {
            let from = at;
            at += 1;
            match &part.kind {
                Kind::Text { .. } | Kind::Refusal(_) => {
                    while parts[at - 1].signature.is_none() && parts.get(at).is_some_and(is_said) {
                        at += 1;
                    }
                    self.said(w, &parts[from..at]);
                    self.seal(w, &parts[at - 1], &Place::Text);
                }
                Kind::Reasoning(first) => {
                    let same = |part: &Part<'_>| matches!(&part.kind, Kind::Reasoning(r) if r.id == first.id);
                    while first.id.is_some() && parts.get(at).is_some_and(same) {
                        at += 1;
                    }
                    self.thoughts(w, &parts[from..at]);
                }
                Kind::ToolCall(call) => {
                    let form = Form::of(&call.name, self.given.own_tools);
                    let id = self.id(form.item().1);
                    let arguments = call.arguments_json();
                    let (call_id, name, status) = (&call.id, &call.name, "completed");
                    w.object(|w| Call { form, id: &id, call_id, name, arguments, status }.write(w));
                    self.seal(w, part, &Place::Call(call.id.clone()));
                }
                Kind::Media(_) | Kind::ToolResult(_) | Kind::Native { .. } => {}
            }
        }
    }

    fn said(&mut self, w: &mut Writer, parts: &[Part<'_>]) {
        let (id, logprobs) = (self.id("msg_"), self.logprobs.take());
        w.object(|w| {
            output::message(w, &id, "completed", |w| {
                for (at, part) in parts.iter().enumerate() {
                    match &part.kind {
                        Kind::Text { text, citations } => {
                            output_text(w, text, citations, logprobs.filter(|_| at == 0).and_then(tokens));
                        }
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

    /// Thoughts with what seals them, so that they can be sent back.
    fn thoughts(&mut self, w: &mut Writer, parts: &[Part<'_>]) {
        let pieces = || parts.iter().filter_map(|p| if let Kind::Reasoning(r) = &p.kind { Some(r) } else { None });
        let told = pieces().find_map(|r| r.id.as_deref()).filter(|id| id.starts_with("rs_")).map(str::to_owned);
        let id = self.id("rs_");
        let texts: Vec<&str> = pieces().map(|r| &*r.text).filter(|text| !text.is_empty()).collect();
        let sealed = parts.iter().find_map(|part| match &part.kind {
            Kind::Reasoning(r) => sealed(part.signature.as_ref(), r.encrypted.as_deref(), self.model),
            _ => None,
        });
        w.object(|w| output::reasoning(w, told.as_deref().unwrap_or(&id), &texts, sealed.as_deref()));
    }

    /// The seal of another part, in an item of its own.
    fn seal(&mut self, w: &mut Writer, part: &Part<'_>, place: &Place<'_>) {
        if let Some(signature) = &part.signature {
            let id = self.id("rs_");
            let sealed = seal::write(signature.by, place, &signature.data);
            w.object(|w| output::reasoning::<&str>(w, &id, &[], Some(&sealed)));
        }
    }
}

fn is_refusal(part: &Part<'_>) -> bool {
    matches!(part.kind, Kind::Refusal(_))
}

fn is_said(part: &Part<'_>) -> bool {
    matches!(part.kind, Kind::Text { .. } | Kind::Refusal(_))
}

/// What seals thoughts: OpenAI's own as it is, everybody else's with its maker.
pub fn sealed(signature: Option<&Signature<'_>>, encrypted: Option<&str>, model: &str) -> Option<String> {
    match (signature, encrypted) {
        (Some(Signature { by: Maker::Openai, .. }), Some(data)) => Some(data.to_owned()),
        (Some(signature), Some(data)) => Some(seal::write(signature.by, &Place::Thoughts, data)),
        (None, Some(data)) => Some(seal::write(seal::maker_of(model), &Place::Thoughts, data)),
        (Some(signature), None) if !signature.data.is_empty() => {
            Some(seal::write(signature.by, &Place::Own, &signature.data))
        }
        (Some(_) | None, None) => None,
    }
}

/// The list of tokens, in chat's object or bare.
pub fn tokens(logprobs: Raw<'_>) -> Option<Raw<'_>> {
    if is_object(logprobs) { find(&loose(logprobs), "content") } else { Some(logprobs) }
}
