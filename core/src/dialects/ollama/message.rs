//! A message as it stands in requests and in answers: text, thoughts, pictures and calls, each in a member of its own.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Media, MediaKind, Part, Reasoning, Signature, Source, ToolCall};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, is_null, is_object};
use crate::contract::write::Writer;
use crate::dialects::sealed;

/// A message without its role.
#[derive(Default)]
pub struct Message<'a> {
    pub thinking: Option<Cow<'a, str>>,
    /// A foreign seal on the thoughts: a member of ours.
    pub signature: Option<Signature<'static>>,
    pub images: Vec<Part<'a>>,
    pub content: Option<Cow<'a, str>>,
    /// Ids may be empty: they are optional.
    pub calls: Vec<Part<'a>>,
    pub tool_name: Option<Cow<'a, str>>,
    pub tool_call_id: Option<Cow<'a, str>>,
}

pub fn read<'a>(r: &mut Reading<'a>, members: Members<'a>) -> Result<Message<'a>, Wrong> {
    let mut message = Message::default();
    for (name, raw) in members {
        if is_null(raw) {
            continue;
        }
        match &*name {
            "role" => {}
            "content" => message.content = Some(r.within("content", |r| r.text(raw))?),
            "thinking" => message.thinking = Some(r.within("thinking", |r| r.text(raw))?),
            "images" => message.images = r.within("images", |r| r.each(raw, |r, raw| Ok(image(r.text(raw)?))))?,
            "tool_calls" => message.calls = r.within("tool_calls", |r| r.each(raw, read_call))?,
            "tool_name" | "name" => message.tool_name = Some(r.within(name, |r| r.text(raw))?),
            "tool_call_id" => message.tool_call_id = Some(r.within("tool_call_id", |r| r.text(raw))?),
            "signature" if as_text(raw).is_some_and(|t| sealed::untag(&t).is_some()) => {
                message.signature = as_text(raw).and_then(|t| sealed::untag(&t));
            }
            _ => r.extra(&name, raw),
        }
    }
    Ok(message)
}

impl<'a> Message<'a> {
    /// Thoughts, pictures, text, calls: the order in which templates of models say them.
    pub fn parts(self) -> Vec<Part<'a>> {
        let thoughts = self.thinking.filter(|text| !text.is_empty()).map(|text| Part {
            signature: self.signature,
            ..Kind::Reasoning(Reasoning { text, ..Reasoning::default() }).into()
        });
        let text = self.content.filter(|text| !text.is_empty() || (self.calls.is_empty() && thoughts.is_none()));
        thoughts.into_iter().chain(self.images).chain(text.map(Part::text)).chain(self.calls).collect()
    }
}

/// The type of a picture is not told, but base64 keeps the first bytes of a file legible.
fn image(data: Cow<'_, str>) -> Part<'_> {
    let begins =
        [("/9j/", "image/jpeg"), ("iVBORw0KGgo", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
    let mime = begins.iter().find(|(begin, _)| data.starts_with(begin)).map_or("", |(_, mime)| mime);
    Kind::Media(Media::of(MediaKind::Image, Source::Base64(data), mime)).into()
}

fn read_call<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let mut call = ToolCall { id: "".into(), name: "".into(), arguments: "".into() };
    for (name, raw) in r.object(raw)? {
        match &*name {
            "type" => {}
            "id" if !is_null(raw) => call.id = r.within("id", |r| r.text(raw))?,
            "function" => r.within("function", |r| read_function(r, raw, &mut call))?,
            _ => r.extra(&name, raw),
        }
    }
    let (id, signature) = sealed::unseal_id(call.id);
    call.id = id;
    Ok(Part { signature, ..Kind::ToolCall(call).into() })
}

fn read_function<'a>(r: &mut Reading<'a>, raw: Raw<'a>, call: &mut ToolCall<'a>) -> Result<(), Wrong> {
    for (name, raw) in r.object(raw)? {
        match &*name {
            // The position among the calls, which is the order in which they stand.
            "index" => {}
            "name" => call.name = r.within("name", |r| r.text(raw))?,
            "arguments" if is_object(raw) => call.arguments = Cow::Borrowed(raw.get()),
            "arguments" if !is_null(raw) => call.arguments = r.within("arguments", |r| r.text(raw))?,
            _ => r.extra(&name, raw),
        }
    }
    Ok(())
}

/// What a message says, by its members.
#[derive(Default)]
pub struct Said<'p, 'a> {
    pub texts: Vec<&'p str>,
    pub thoughts: Vec<(&'p str, Option<&'p Signature<'a>>)>,
    /// Bare base64.
    pub images: Vec<&'p str>,
    pub calls: Vec<(&'p ToolCall<'a>, Option<&'p Signature<'a>>)>,
    pub lost: Vec<Loss>,
}

impl<'p, 'a> Said<'p, 'a> {
    /// `medium` is what is lost where a medium is no picture in base64.
    pub fn of(parts: &'p [Part<'a>], medium: Element) -> Self {
        let mut said = Said::default();
        for part in parts {
            match &part.kind {
                Kind::Text { text, .. } | Kind::Refusal(text) => said.texts.push(text),
                Kind::Reasoning(reasoning) => {
                    if !reasoning.text.is_empty() {
                        said.thoughts.push((&reasoning.text, part.signature.as_ref()));
                    }
                    if reasoning.encrypted.is_some() {
                        said.lost.push(Loss::of(Element::ReasoningEncrypted));
                    }
                }
                Kind::Media(Media { what: MediaKind::Image, source: Source::Base64(data), .. }) => {
                    said.images.push(data);
                }
                Kind::Media(_) => said.lost.push(Loss::value(medium, "only pictures as base64 can be said")),
                Kind::ToolCall(call) => said.calls.push((call, part.signature.as_ref())),
                Kind::ToolResult(_) => {}
                Kind::Native { kind, .. } => {
                    said.lost
                        .push(Loss::value(Element::NativePart, format!("`{kind}` is known to its own dialect only")));
                }
            }
        }
        said
    }

    pub fn is_nothing(&self) -> bool {
        self.texts.is_empty() && self.thoughts.is_empty() && self.images.is_empty() && self.calls.is_empty()
    }

    /// The members behind `role`. What stands between two texts is the caller's to know: the pieces of an answer are one
    /// text. `seal`: foreign seals ride along, to come back.
    pub fn write(&self, w: &mut Writer, between: &str, seal: bool) {
        w.member("content", &self.texts.join(between));
        match &*self.thoughts {
            [] => {}
            [(text, signature)] => {
                w.member("thinking", *text);
                w.member_some("signature", &signature.filter(|_| seal).and_then(sealed::tag));
            }
            // A seal is on one thought: on several in one text it would be broken.
            several => w.member("thinking", &several.iter().map(|(text, _)| *text).collect::<Vec<_>>().join(between)),
        }
        if !self.images.is_empty() {
            w.list_member("images", |w| self.images.iter().for_each(|data| w.value(*data)));
        }
        if !self.calls.is_empty() {
            w.list_member("tool_calls", |w| {
                for (index, (call, signature)) in (0..).zip(&self.calls) {
                    write_call(w, index, call, signature.filter(|_| seal));
                }
            });
        }
    }

    /// Arguments that are no JSON object cannot be said as they are.
    pub fn broken_calls(&self) -> impl Iterator<Item = Loss> + '_ {
        self.calls.iter().filter(|(call, _)| arguments(call).is_none()).map(|(call, _)| {
            let why = format!("the arguments of the call `{}` of `{}` are no JSON object", call.id, call.name);
            Loss::value(Element::ToolCalls, why)
        })
    }
}

/// Arguments as the JSON object that they must be.
pub fn arguments<'c>(call: &'c ToolCall<'_>) -> Option<&'c RawValue> {
    serde_json::from_str::<&RawValue>(call.arguments_json()).ok().filter(|raw| is_object(raw))
}

pub fn write_call(w: &mut Writer, index: u64, call: &ToolCall<'_>, signature: Option<&Signature<'_>>) {
    w.object(|w| {
        w.member("id", &sealed::seal_id(&call.id, signature));
        w.object_member("function", |w| {
            w.member("index", &index);
            w.member("name", &call.name);
            w.json_member("arguments", &call.arguments_told());
        });
    });
}
