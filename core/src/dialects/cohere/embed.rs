//! Cohere's embeddings, version 2: texts with what they are for, and vectors by their type of number.

use std::borrow::Cow;

use super::usage;
use crate::contract::canonical::element::Loss;
use crate::contract::canonical::embed::{EmbedAnswer, EmbedRequest, Encoding, Input, InputType, Vector};
use crate::contract::read::{Raw, Reading, Wrong, find, is_null};
use crate::contract::skim::Skim;
use crate::contract::usage::Usage;
use crate::contract::write::Writer;
use crate::dialects::embeddings::{EmbedCodec, Wanted};
use crate::dialects::{Given, To, Written};

pub struct CohereEmbed;

impl EmbedCodec for CohereEmbed {
    fn read_request<'a>(&self, body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<EmbedRequest<'a>, Wrong> {
        let mut r = Reading::default();
        let mut request = EmbedRequest { model: Cow::Borrowed(given.model), ..EmbedRequest::default() };
        for member in &skim.members {
            let name = member.name(body);
            let raw = r.within(name, |r| r.value(&body[member.value.clone()]))?;
            if is_null(raw) {
                continue;
            }
            match name {
                "model" | "tollgate" => {}
                "texts" => {
                    let texts = r.within(name, |r| r.each(raw, |r, item| r.text(item).map(Input::Text)))?;
                    request.inputs.extend(texts);
                }
                "inputs" => {
                    let mixed = r.within(name, |r| r.each(raw, input))?;
                    request.inputs.extend(mixed);
                }
                "input_type" => request.input_type = Some(kind(r.within(name, |r| r.text(raw))?)),
                "output_dimension" => request.dimensions = Some(r.within(name, |r| r.whole(raw))?),
                "embedding_types" => request.encoding = Some(r.within(name, |r| encoding(r, raw))?),
                _ => r.extra(name, raw),
            }
        }
        request.extra = r.extra;
        Ok(request)
    }

    fn write_request(&self, request: &EmbedRequest<'_>, to: &To<'_>) -> Written {
        let mut lost = Vec::new();
        let mut told = |what: &'static str, hint, why: &str| {
            lost.push(Loss { what: what.into(), hint, why: Some(why.to_owned()) });
        };
        let texts: Vec<Cow<'_, str>> = request
            .inputs
            .iter()
            .filter_map(|input| match input {
                Input::Text(text) => Some(Cow::Borrowed(&**text)),
                Input::Tokens(_) => None,
            })
            .collect();
        if texts.len() < request.inputs.len() {
            told("input", false, "tokens are known to their own models only: send texts");
        }
        if request.user.is_some() {
            told("user", true, "it is not told to this provider");
        }
        let name = request.input_type.as_ref().map(kind_name);
        if name == Some(None) {
            told("input_type", true, "there is no such kind");
        }
        let body = Writer::object_text(|w| {
            w.member("model", to.model);
            w.texts_member("texts", &texts);
            // Cohere asks for a kind. What nobody says of a text is that it is a question.
            w.member("input_type", name.flatten().unwrap_or("search_document"));
            w.list_member("embedding_types", |w| w.value("float"));
            w.member_some("output_dimension", &request.dimensions);
        });
        Written { body, lost }
    }

    fn read_answer<'a>(&self, body: &'a [u8]) -> Result<EmbedAnswer<'a>, Wrong> {
        let mut r = Reading::default();
        let root = r.value(body)?;
        let members = r.object(root)?;
        let told = find(&members, "embeddings").ok_or_else(|| r.wrong("has no `embeddings`"))?;
        let types = r.within("embeddings", |r| r.object(told))?;
        let vectors = match (find(&types, "float"), find(&types, "base64")) {
            (Some(floats), _) => r.each(floats, |_, item| Ok(Vector::Numbers(item)))?,
            (None, Some(texts)) => r.each(texts, |r, item| r.text(item).map(Vector::Base64))?,
            (None, None) => return Err(r.wrong("has neither `embeddings.float` nor `embeddings.base64`")),
        };
        Ok(EmbedAnswer { vectors, usage: self.usage(body), ..EmbedAnswer::default() })
    }

    fn write_answer(&self, answer: &EmbedAnswer<'_>, wanted: &Wanted, given: &Given<'_>) -> Vec<u8> {
        Writer::object_text(|w| {
            w.member("id", given.call_id);
            w.object_member("embeddings", |w| match wanted.encoding {
                Encoding::Float => w.list_member("float", |w| {
                    for vector in &answer.vectors {
                        w.json(&vector.numbers().unwrap_or("[]".into()));
                    }
                }),
                Encoding::Base64 => w.list_member("base64", |w| {
                    answer.vectors.iter().for_each(|vector| w.value(&vector.base64().unwrap_or_default()));
                }),
            });
            w.object_member("meta", |w| {
                w.object_member("api_version", |w| w.member("version", "2"));
                if let Some(usage) = &answer.usage {
                    w.object_member("billed_units", |w| w.member("input_tokens", &usage.total()));
                }
            });
            w.member("response_type", "embeddings_by_type");
        })
    }

    fn usage(&self, body: &[u8]) -> Option<Usage> {
        usage::billed(body).map(|billed| billed.usage())
    }
}

/// `{"content": [{"type": "text", "text": "..."}]}`: texts only, for pictures have no vectors elsewhere.
fn input<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Input<'a>, Wrong> {
    let members = r.object(raw)?;
    let content = find(&members, "content").ok_or_else(|| r.wrong("has no `content`"))?;
    let texts = r.within("content", |r| {
        r.each(content, |r, part| {
            let members = r.object(part)?;
            let text = find(&members, "text").ok_or_else(|| r.unsupported("is no text"))?;
            r.within("text", |r| r.text(text))
        })
    })?;
    Ok(Input::Text(texts.join("\n").into()))
}

fn encoding<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Encoding, Wrong> {
    let types = r.texts(raw)?;
    match types.iter().map(|name| &**name).collect::<Vec<_>>()[..] {
        [] | ["float"] => Ok(Encoding::Float),
        ["base64"] => Ok(Encoding::Base64),
        _ => Err(r.unsupported("is `float` or `base64`, one of them")),
    }
}

fn kind(name: Cow<'_, str>) -> InputType<'_> {
    match &*name {
        "search_query" => InputType::Query,
        "search_document" => InputType::Document,
        "classification" => InputType::Classification,
        "clustering" => InputType::Clustering,
        _ => InputType::Other(name),
    }
}

fn kind_name(kind: &InputType<'_>) -> Option<&'static str> {
    match kind {
        InputType::Query => Some("search_query"),
        InputType::Document => Some("search_document"),
        InputType::Classification => Some("classification"),
        InputType::Clustering => Some("clustering"),
        InputType::Similarity | InputType::Other(_) => None,
    }
}
