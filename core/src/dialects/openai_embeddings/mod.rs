//! OpenAI's embeddings, as callers and as providers speak them. Vectors are numbers, or floats of 32 bits in base64, which is
//! what the official SDKs ask for.

use std::borrow::Cow;

use super::embeddings::{EmbedCodec, Wanted};
use super::{Given, To, Written};
use crate::contract::canonical::element::Loss;
use crate::contract::canonical::embed::{EmbedAnswer, EmbedRequest, Encoding, Input, InputType, Vector};
use crate::contract::read::{Raw, Reading, Wrong, as_text, as_whole, find, is_list, is_null};
use crate::contract::skim::Skim;
use crate::contract::usage::{OpenaiUsage, Usage};
use crate::contract::write::Writer;

pub struct OpenaiEmbeddings;

impl EmbedCodec for OpenaiEmbeddings {
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
                "input" => request.inputs = r.within(name, |r| inputs(r, raw))?,
                "dimensions" => request.dimensions = Some(r.within(name, |r| r.whole(raw))?),
                "encoding_format" => request.encoding = Some(r.within(name, |r| encoding(r, raw))?),
                "user" => request.user = Some(r.within(name, |r| r.text(raw))?),
                // OpenAI has none; compatible servers of models that need it took this name.
                "input_type" => request.input_type = Some(kind(r.within(name, |r| r.text(raw))?)),
                _ => r.extra(name, raw),
            }
        }
        request.extra = r.extra;
        Ok(request)
    }

    fn write_request(&self, request: &EmbedRequest<'_>, to: &To<'_>) -> Written {
        let mut lost = Vec::new();
        if request.input_type.is_some() {
            let why = "there is no such member in this dialect".to_owned();
            lost.push(Loss { what: "input_type".into(), hint: true, why: Some(why) });
        }
        let body = Writer::object_text(|w| {
            w.member("model", to.model);
            w.list_member("input", |w| {
                for input in &request.inputs {
                    match input {
                        Input::Text(text) => w.value(text),
                        Input::Tokens(raw) => w.value(*raw),
                    }
                }
            });
            w.member_some("dimensions", &request.dimensions);
            w.member_some("user", &request.user);
        });
        Written { body, lost }
    }

    fn read_answer<'a>(&self, body: &'a [u8]) -> Result<EmbedAnswer<'a>, Wrong> {
        let mut r = Reading::default();
        let root = r.value(body)?;
        let mut answer = EmbedAnswer { usage: self.usage(body), ..EmbedAnswer::default() };
        for (name, raw) in r.object(root)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
            match &*name {
                "model" => answer.model = r.text(raw)?,
                "data" => answer.vectors = r.within("data", |r| vectors(r, raw))?,
                _ => {}
            }
        }
        Ok(answer)
    }

    fn write_answer(&self, answer: &EmbedAnswer<'_>, wanted: &Wanted, given: &Given<'_>) -> Vec<u8> {
        let model = if answer.model.is_empty() { given.model } else { &*answer.model };
        Writer::object_text(|w| {
            w.member("object", "list");
            w.list_member("data", |w| {
                for (index, vector) in answer.vectors.iter().enumerate() {
                    w.object(|w| {
                        w.member("object", "embedding");
                        w.member("index", &(index as u64));
                        match wanted.encoding {
                            Encoding::Float => w.json_member("embedding", &vector.numbers().unwrap_or("[]".into())),
                            Encoding::Base64 => w.member("embedding", &vector.base64().unwrap_or_default()),
                        }
                    });
                }
            });
            w.member("model", model);
            // The official SDKs know no answer without it; where nobody counted, it is our estimate.
            let tokens = answer.usage.unwrap_or_default().total();
            w.object_member("usage", |w| {
                w.member("prompt_tokens", &tokens);
                w.member("total_tokens", &tokens);
            });
        })
    }

    fn usage(&self, body: &[u8]) -> Option<Usage> {
        #[derive(serde::Deserialize)]
        struct Answered {
            usage: Option<OpenaiUsage>,
        }
        serde_json::from_slice::<Answered>(body).ok()?.usage.and_then(|usage| usage.disjoint())
    }
}

/// One text, one list of tokens, or a list of either.
fn inputs<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Input<'a>>, Wrong> {
    if let Some(text) = as_text(raw) {
        return Ok(vec![Input::Text(text)]);
    }
    let items = r.each(raw, |_, item| Ok(item))?;
    if items.first().is_some_and(|first| as_whole(first).is_some()) {
        return Ok(vec![Input::Tokens(raw)]);
    }
    r.each(raw, |r, item| match is_list(item) {
        true => Ok(Input::Tokens(item)),
        false => r.text(item).map(Input::Text),
    })
}

fn encoding<'a>(r: &Reading<'a>, raw: Raw<'a>) -> Result<Encoding, Wrong> {
    match &*r.text(raw)? {
        "float" => Ok(Encoding::Float),
        "base64" => Ok(Encoding::Base64),
        _ => Err(r.unsupported("is `float` or `base64`")),
    }
}

fn kind(name: Cow<'_, str>) -> InputType<'_> {
    match &*name {
        "query" | "search_query" => InputType::Query,
        "document" | "passage" | "search_document" => InputType::Document,
        "classification" => InputType::Classification,
        "clustering" => InputType::Clustering,
        "similarity" => InputType::Similarity,
        _ => InputType::Other(name),
    }
}

/// In the order that their `index` says, which is that of the inputs.
fn vectors<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Vector<'a>>, Wrong> {
    let mut at = 0;
    let mut indexed = r.each(raw, |r, item| {
        let members = r.object(item)?;
        let told = find(&members, "embedding").ok_or_else(|| r.wrong("has no `embedding`"))?;
        let vector = match as_text(told) {
            Some(text) => Vector::Base64(text),
            None => Vector::Numbers(told),
        };
        let index = find(&members, "index").and_then(as_whole).unwrap_or(at);
        at += 1;
        Ok((index, vector))
    })?;
    indexed.sort_by_key(|(index, _)| *index);
    Ok(indexed.into_iter().map(|(_, vector)| vector).collect())
}
