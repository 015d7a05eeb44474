//! A conversation as `systemInstruction` and `contents`: turns of user and model that alternate.

use std::borrow::Cow;
use std::collections::HashMap;

use super::read_parts::{is_googles, mime_of_uri};
use super::thinking::generation;
use super::{results, seal};
use crate::contract::canonical::Request;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Maker, Media, MediaKind, Part, Role, Source, ToolCall, ToolResult};
use crate::contract::write::Writer;
use crate::dialects::{To, Written};

/// What Google tells to send where a call has no seal because another model made it: it is taken for one, in base64.
const SEAL_OF_OTHERS: &str = "Y29udGV4dF9lbmdpbmVlcmluZ19pc190aGVfd2F5X3RvX2dv";

struct Turns<'r> {
    /// Names of called tools by the ids of their calls: results must tell them.
    names: HashMap<&'r str, &'r str>,
    /// Calls without a seal are refused (third generation and later).
    seals_needed: bool,
    /// Results can have media in themselves.
    media_inside: bool,
}

pub fn conversation(w: &mut Writer, request: &Request<'_>, to: &To<'_>, lost: &mut Vec<Loss>) {
    // Instructions have one place here; that later ones stand there too was told.
    let (system, rest) = request.gather_system();
    let said: Vec<&str> = system.iter().flat_map(|m| &m.parts).filter_map(Part::as_text).collect();
    if !said.is_empty() {
        w.object_member("systemInstruction", |w| {
            w.list_member("parts", |w| said.iter().for_each(|text| w.object(|w| w.member("text", *text))));
        });
    }
    let mut turns: Vec<(&str, Vec<&Part<'_>>)> = Vec::new();
    for message in rest {
        let role = if message.role == Role::Assistant { "model" } else { "user" };
        let parts = message.parts.iter().filter(|part| is_said(part));
        match turns.last_mut() {
            Some((last, known)) if *last == role => known.extend(parts),
            Some(_) | None => turns.push((role, parts.collect())),
        }
    }
    let how = Turns {
        names: names(request),
        seals_needed: generation(to.model).is_some_and(|generation| generation >= 3),
        media_inside: to.quirks.has.contains(&Element::ToolResultMedia),
    };
    w.list_member("contents", |w| {
        for (role, parts) in turns.iter().filter(|(_, parts)| !parts.is_empty()) {
            w.object(|w| {
                w.member("role", *role);
                w.list_member("parts", |w| how.turn(w, parts, lost));
            });
        }
    });
}

fn names<'r>(request: &'r Request<'_>) -> HashMap<&'r str, &'r str> {
    let calls = request.messages.iter().flat_map(|m| &m.parts).filter_map(|part| match &part.kind {
        Kind::ToolCall(call) => Some((&*call.id, &*call.name)),
        Kind::Text { .. }
        | Kind::Refusal(_)
        | Kind::Media(_)
        | Kind::ToolResult(_)
        | Kind::Reasoning(_)
        | Kind::Native { .. } => None,
    });
    calls.collect()
}

/// Does it leave anything behind when it is written?
fn is_said(part: &Part<'_>) -> bool {
    let sealed = part.signature.as_ref().is_some_and(|s| s.by == Maker::Google && !s.data.is_empty());
    match &part.kind {
        Kind::Text { text, .. } | Kind::Refusal(text) => !text.is_empty() || sealed,
        Kind::Reasoning(reasoning) => !reasoning.text.is_empty() || sealed,
        Kind::Native { .. } => false,
        Kind::Media(_) | Kind::ToolCall(_) | Kind::ToolResult(_) => true,
    }
}

impl Turns<'_> {
    fn turn(&self, w: &mut Writer, parts: &[&Part<'_>], lost: &mut Vec<Loss>) {
        let mut called = false;
        for part in parts {
            let own = self.seal(part, &mut called, lost);
            match &part.kind {
                Kind::Text { text, .. } | Kind::Refusal(text) => sealed(w, own, |w| w.member("text", text)),
                Kind::Reasoning(reasoning) => sealed(w, own, |w| {
                    w.member("text", &reasoning.text);
                    if !reasoning.text.is_empty() || reasoning.summary {
                        w.member("thought", &true);
                    }
                }),
                Kind::Media(media) => write_media(w, media, own, lost),
                Kind::ToolCall(call) => sealed(w, own, |w| {
                    w.object_member("functionCall", |w| {
                        if !write_call(w, call) {
                            lost.push(Loss::value(Element::ToolCalls, not_an_object(call)));
                        }
                    });
                }),
                Kind::ToolResult(result) => self.result(w, result, lost),
                Kind::Native { .. } => {}
            }
        }
    }

    /// Google's own seal, or what stands for it on the first call of a turn.
    fn seal<'p>(&self, part: &'p Part<'_>, called: &mut bool, lost: &mut Vec<Loss>) -> Option<Cow<'p, str>> {
        let first_call = matches!(part.kind, Kind::ToolCall(_)) && !std::mem::replace(called, true);
        let own = match &part.signature {
            Some(signature) if signature.by == Maker::Google && !signature.data.is_empty() => seal::signed(signature),
            Some(_) => {
                let foreign = Loss::value(Element::ReasoningSigned, "only its maker can read it");
                if !lost.contains(&foreign) {
                    lost.push(foreign);
                }
                None
            }
            None => None,
        };
        own.or((first_call && self.seals_needed).then_some(Cow::Borrowed(SEAL_OF_OTHERS)))
    }

    fn result(&self, w: &mut Writer, result: &ToolResult<'_>, lost: &mut Vec<Loss>) {
        let texts: Vec<&str> = result.parts.iter().filter_map(Part::as_text).collect();
        let media: Vec<&Media<'_>> = result
            .parts
            .iter()
            .filter_map(|part| if let Kind::Media(media) = &part.kind { Some(media) } else { None })
            .collect();
        let name = result.name.as_deref().or_else(|| self.names.get(&*result.call_id).copied());
        w.object(|w| {
            w.object_member("functionResponse", |w| {
                w.member("id", &result.call_id);
                w.member("name", name.unwrap_or(&result.call_id));
                results::write(w, &texts.join("\n"), result.error);
                if self.media_inside && !media.is_empty() {
                    w.list_member("parts", |w| media.iter().for_each(|media| write_media(w, media, None, lost)));
                }
            });
        });
        if !self.media_inside {
            media.iter().for_each(|media| write_media(w, media, None, lost));
        }
    }
}

fn sealed(w: &mut Writer, seal: Option<Cow<'_, str>>, write: impl FnOnce(&mut Writer)) {
    w.object(|w| {
        write(w);
        w.member_some("thoughtSignature", &seal);
    });
}

/// A call's members. `false` = its arguments are no object, and stand in one.
pub fn write_call(w: &mut Writer, call: &ToolCall<'_>) -> bool {
    if !call.id.is_empty() {
        w.member("id", &call.id);
    }
    w.member("name", &call.name);
    let args = call.arguments_told();
    w.json_member("args", &args);
    matches!(args, Cow::Borrowed(_))
}

fn not_an_object(call: &ToolCall<'_>) -> String {
    format!("the arguments of the call `{}` of `{}` are no JSON object", call.id, call.name)
}

/// `inlineData` or `fileData`; a document of text is the text that it is.
pub fn write_media(w: &mut Writer, media: &Media<'_>, seal: Option<Cow<'_, str>>, lost: &mut Vec<Loss>) {
    match &media.source {
        Source::Text(_) => sealed(w, seal, |w| w.member("text", &media.words().unwrap_or_default())),
        Source::Base64(data) => sealed(w, seal, |w| {
            w.object_member("inlineData", |w| {
                w.member("mimeType", if media.mime.is_empty() { usual_mime(media.what) } else { &media.mime });
                w.member("data", data);
            });
        }),
        Source::File(uri) if !is_googles(uri) => {
            lost.push(Loss::value(Element::FileId, format!("`{uri}` is no file of Google's")));
        }
        Source::Url(uri) | Source::File(uri) => sealed(w, seal, |w| {
            w.object_member("fileData", |w| {
                match media.mime.is_empty() {
                    true => w.member_some("mimeType", &mime_of_uri(uri)),
                    false => w.member("mimeType", &media.mime),
                }
                w.member("fileUri", uri);
            });
        }),
    }
}

fn usual_mime(what: MediaKind) -> &'static str {
    match what {
        MediaKind::Image => "image/png",
        MediaKind::Audio => "audio/wav",
        MediaKind::Video => "video/mp4",
        MediaKind::Document => "application/pdf",
    }
}

/// Parts of an answer for a caller; seals of others ride along, to come back.
pub fn answer(w: &mut Writer, parts: &[Part<'_>], written: &mut Written) {
    for part in parts {
        let seal = seal::write(part).filter(|seal| !seal.is_empty());
        match &part.kind {
            Kind::Text { text, .. } | Kind::Refusal(text) if text.is_empty() && seal.is_none() => {}
            Kind::Text { text, .. } | Kind::Refusal(text) => sealed(w, seal, |w| w.member("text", text)),
            Kind::Reasoning(reasoning) if reasoning.text.is_empty() && seal.is_none() => {}
            Kind::Reasoning(reasoning) => sealed(w, seal, |w| {
                w.member("text", &reasoning.text);
                if !reasoning.text.is_empty() || reasoning.summary || reasoning.encrypted.is_some() {
                    w.member("thought", &true);
                }
            }),
            Kind::Media(media) => write_media(w, media, seal, &mut written.lost),
            Kind::ToolCall(call) => sealed(w, seal, |w| {
                w.object_member("functionCall", |w| {
                    if !write_call(w, call) {
                        written.lost.push(Loss::value(Element::ToolCalls, not_an_object(call)));
                    }
                });
            }),
            Kind::ToolResult(_) => {}
            Kind::Native { kind, .. } => {
                written.lost.push(Loss::value(Element::NativePart, format!("`{kind}` is known to its provider only")));
            }
        }
    }
}
