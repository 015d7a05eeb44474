//! `embedContent` and `batchEmbedContents`: texts and their vectors, one by one or many at once.

use std::borrow::Cow;

use super::count_tokens::model_path;
use super::names::{each, each_of};
use super::read_parts;
use crate::contract::canonical::element::Loss;
use crate::contract::canonical::embed::{EmbedAnswer, EmbedRequest, Input, InputType, Vector};
use crate::contract::canonical::part::only_text;
use crate::contract::read::{Members, Raw, Reading, Wrong, find, is_null, is_object, loose};
use crate::contract::skim::Skim;
use crate::contract::usage::Usage;
use crate::contract::write::Writer;
use crate::dialects::embeddings::{EmbedCodec, Wanted};
use crate::dialects::{Given, To, Written};

pub struct GeminiEmbed {
    /// `batchEmbedContents`.
    pub batch: bool,
}

impl EmbedCodec for GeminiEmbed {
    fn read_request<'a>(&self, body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<EmbedRequest<'a>, Wrong> {
        read_request(body, skim, given)
    }

    fn write_request(&self, request: &EmbedRequest<'_>, to: &To<'_>) -> Written {
        write_request(request, to, self.batch)
    }

    fn read_answer<'a>(&self, body: &'a [u8]) -> Result<EmbedAnswer<'a>, Wrong> {
        read_answer(body)
    }

    fn write_answer(&self, answer: &EmbedAnswer<'_>, _: &Wanted, _: &Given<'_>) -> Vec<u8> {
        write_answer(answer, self.batch)
    }

    fn usage(&self, body: &[u8]) -> Option<Usage> {
        let members = loose(serde_json::from_slice(body).ok()?);
        find(&members, "usageMetadata").and_then(super::usage::Told::read).and_then(|told| told.disjoint())
    }
}

/// Reads either body: that of many has `requests`.
pub fn read_request<'a>(body: &'a [u8], skim: &'a Skim, given: &Given<'a>) -> Result<EmbedRequest<'a>, Wrong> {
    let mut r = Reading::default();
    let mut request = EmbedRequest { model: Cow::Borrowed(given.model), ..EmbedRequest::default() };
    let mut members: Members<'a> = Vec::with_capacity(skim.members.len());
    let mut many = None;
    for member in &skim.members {
        let name = member.name(body);
        let raw = r.within(name, |r| r.value(&body[member.value.clone()]))?;
        match name {
            "requests" => many = Some(raw),
            _ => members.push((Cow::Borrowed(name), raw)),
        }
    }
    match many {
        None => one(&mut r, members, &mut request)?,
        Some(raw) => {
            let mut first = true;
            r.within("requests", |r| {
                r.each(raw, |r, item| {
                    let mut single = EmbedRequest::default();
                    let members = r.object(item)?;
                    one(r, members, &mut single)?;
                    let same = single.dimensions == request.dimensions && single.input_type == request.input_type;
                    if !same && !first {
                        return Err(r.unsupported("asks for another kind of vector than the first"));
                    }
                    first = false;
                    (request.dimensions, request.input_type) = (single.dimensions, single.input_type);
                    request.inputs.append(&mut single.inputs);
                    Ok(())
                })
            })?;
            members.retain(|(name, _)| !matches!(&**name, "model" | "tollgate"));
            members.into_iter().for_each(|(name, raw)| r.extra(&name, raw));
        }
    }
    request.extra = r.extra;
    Ok(request)
}

fn one<'a>(r: &mut Reading<'a>, members: Members<'a>, request: &mut EmbedRequest<'a>) -> Result<(), Wrong> {
    each_of(r, members, |r, name, raw| {
        match name {
            "model" | "tollgate" => {}
            "content" => {
                let parts = read_parts::instruction(r, raw)?;
                match only_text(&parts) {
                    Some(text) => request.inputs.push(Input::Text(text)),
                    None => return Err(r.unsupported("has other parts than texts")),
                }
            }
            "taskType" => request.input_type = task(r.text(raw)?),
            "outputDimensionality" => request.dimensions = Some(r.whole(raw)?),
            // Newer SDKs gather them so.
            "embedContentConfig" if is_object(raw) => each(r, raw, |r, name, raw| {
                match name {
                    "taskType" => request.input_type = task(r.text(raw)?),
                    "outputDimensionality" => request.dimensions = Some(r.whole(raw)?),
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })
}

fn task(name: Cow<'_, str>) -> Option<InputType<'_>> {
    match &*name {
        "TASK_TYPE_UNSPECIFIED" => None,
        "RETRIEVAL_QUERY" => Some(InputType::Query),
        "RETRIEVAL_DOCUMENT" => Some(InputType::Document),
        "CLASSIFICATION" => Some(InputType::Classification),
        "CLUSTERING" => Some(InputType::Clustering),
        "SEMANTIC_SIMILARITY" => Some(InputType::Similarity),
        _ => Some(InputType::Other(name)),
    }
}

fn task_name<'a>(kind: &'a InputType<'_>) -> Option<&'a str> {
    match kind {
        InputType::Query => Some("RETRIEVAL_QUERY"),
        InputType::Document => Some("RETRIEVAL_DOCUMENT"),
        InputType::Classification => Some("CLASSIFICATION"),
        InputType::Clustering => Some("CLUSTERING"),
        InputType::Similarity => Some("SEMANTIC_SIMILARITY"),
        InputType::Other(name) => {
            let known = ["QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY"];
            known.contains(&&**name).then_some(&**name)
        }
    }
}

/// A body of `batchEmbedContents`, or of `embedContent` where `batch` is not set (then the first text counts).
pub fn write_request(request: &EmbedRequest<'_>, to: &To<'_>, batch: bool) -> Written {
    let mut lost = Vec::new();
    let told = |what: &'static str, hint, why: &str| Loss { what: what.into(), hint, why: Some(why.to_owned()) };
    let texts: Vec<&str> = request
        .inputs
        .iter()
        .filter_map(|input| match input {
            Input::Text(text) => Some(&**text),
            Input::Tokens(_) => None,
        })
        .collect();
    if texts.len() < request.inputs.len() {
        lost.push(told("input", false, "tokens are known to their own models only: send texts"));
    }
    if !batch && texts.len() > 1 {
        lost.push(told("input", false, "one text at a time is asked for so"));
    }
    let task = request.input_type.as_ref().and_then(task_name);
    if request.input_type.is_some() && task.is_none() {
        lost.push(told("input_type", true, "there is no such kind"));
    }
    if request.user.is_some() {
        lost.push(told("user", true, "it is not told to this provider"));
    }
    let single = |w: &mut Writer, text: &str| {
        w.member("model", &model_path(to.model));
        w.object_member("content", |w| w.list_member("parts", |w| w.object(|w| w.member("text", text))));
        w.member_some("taskType", &task);
        w.member_some("outputDimensionality", &request.dimensions);
    };
    let body = Writer::object_text(|w| match batch {
        true => w.list_member("requests", |w| texts.iter().for_each(|text| w.object(|w| single(w, text)))),
        false => single(w, texts.first().copied().unwrap_or_default()),
    });
    Written { body, lost }
}

/// Reads either answer: `embedding`, or `embeddings`.
pub fn read_answer(body: &[u8]) -> Result<EmbedAnswer<'_>, Wrong> {
    let mut r = Reading::default();
    let root = r.value(body)?;
    let mut answer = EmbedAnswer::default();
    for (name, raw) in r.object(root)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "embedding" => answer.vectors.push(r.within(name, |r| vector(r, raw))?),
            "embeddings" => answer.vectors = r.within(name, |r| r.each(raw, vector))?,
            "usageMetadata" => answer.usage = super::usage::Told::read(raw).and_then(|told| told.disjoint()),
            _ => {}
        }
    }
    Ok(answer)
}

fn vector<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vector<'a>, Wrong> {
    let values = find(&r.object(raw)?, "values").ok_or_else(|| r.wrong("has no `values`"))?;
    Ok(Vector::Numbers(values))
}

/// An answer for a caller of `batchEmbedContents`, or of `embedContent`.
pub fn write_answer(answer: &EmbedAnswer<'_>, batch: bool) -> Vec<u8> {
    let values = |w: &mut Writer, vector: &Vector<'_>| {
        w.json_member("values", vector.numbers().as_deref().unwrap_or("[]"));
    };
    Writer::object_text(|w| {
        match (batch, answer.vectors.first()) {
            (true, _) => w.list_member("embeddings", |w| {
                answer.vectors.iter().for_each(|vector| w.object(|w| values(w, vector)));
            }),
            (false, Some(vector)) => w.object_member("embedding", |w| values(w, vector)),
            (false, None) => {}
        }
        if let Some(Usage { input, .. }) = &answer.usage {
            w.object_member("usageMetadata", |w| w.member("promptTokenCount", input));
        }
    })
}
