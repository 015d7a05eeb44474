//! Whole answers, read from Bedrock and written for callers.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::media::Names;
use super::read_blocks::Blocks;
use super::write_blocks::tell;
use super::{finish_name, finish_of, usage};
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Role};
use crate::contract::read::{Raw, Reading, Wrong, as_text, find, is_null, loose};
use crate::contract::usage::Usage;
use crate::contract::write::Writer;
use crate::dialects::bedrock::model::Family;
use crate::dialects::{Given, Notes, Written};

pub fn read<'a>(body: &'a [u8], given: &Given<'_>) -> Result<Answer<'a>, Wrong> {
    let mut r = Reading::default();
    let root = r.value(body)?;
    let (mut answer, mut choice) = (Answer::default(), Choice::default());
    for (name, raw) in r.object(root)?.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "output" => {
                let message = find(&r.within("output", |r| r.object(raw))?, "message").map(loose).unwrap_or_default();
                if let Some(content) = find(&message, "content") {
                    let blocks = Blocks { role: Role::Assistant, maker: Family::of(given.model).maker() };
                    choice.parts = r
                        .within("output", |r| {
                            r.within("message", |r| r.within("content", |r| blocks.read(r, content)))
                        })?
                        .parts;
                }
            }
            "stopReason" => choice.finish = as_text(raw).map(|name| finish_of(&name)),
            "usage" => answer.usage = Some(usage::read(raw)),
            "serviceTier" => answer.service_tier = find(&loose(raw), "type").and_then(as_text),
            "additionalModelResponseFields" => {
                choice.stop_sequence = find(&loose(raw), "stop_sequence").and_then(as_text);
            }
            // A router of prompts tells which model it chose.
            "trace" => {
                let router = find(&loose(raw), "promptRouter").map(loose).unwrap_or_default();
                answer.model = find(&router, "invokedModelId").and_then(as_text).unwrap_or_default();
            }
            _ => {}
        }
    }
    let calls = choice.parts.iter().any(|part| matches!(part.kind, Kind::ToolCall(_)));
    if calls && choice.finish == Some(Finish::Stop) {
        choice.finish = Some(Finish::ToolCalls);
    }
    answer.choices.push(choice);
    Ok(answer)
}

pub fn write(answer: &Answer<'_>) -> Written {
    let (mut lost, mut names, mut blocks) = (Vec::new(), Names::default(), Vec::new());
    let choice = answer.choices.first();
    if answer.choices.len() > 1 {
        lost.push(Loss::of(Element::SeveralAnswers));
    }
    for part in choice.into_iter().flat_map(|c| &c.parts) {
        tell(part, &mut names, &mut lost, &mut blocks);
    }
    let body = Writer::object_text(|w| {
        w.object_member("output", |w| {
            w.object_member("message", |w| {
                w.member("role", "assistant");
                w.list_member("content", |w| blocks.iter().for_each(|block| block.write(w)));
            });
        });
        w.member("stopReason", choice.and_then(|c| c.finish.as_ref()).map_or("end_turn", finish_name));
        ending(w, &answer.usage.unwrap_or_default(), answer.service_tier.as_deref());
        if let Some(sequence) = choice.and_then(|c| c.stop_sequence.as_ref()) {
            w.object_member("additionalModelResponseFields", |w| w.member("stop_sequence", sequence));
        }
    });
    Written { body, lost }
}

/// What ends an answer and a stream. SDKs count on a latency; nobody measured one here.
pub fn ending(w: &mut Writer, used: &Usage, service_tier: Option<&str>) {
    w.object_member("usage", |w| usage::write(w, used));
    w.object_member("metrics", |w| w.member("latencyMs", &0u64));
    if let Some(tier) = service_tier {
        w.object_member("serviceTier", |w| w.member("type", tier));
    }
}

pub fn glance(body: &[u8]) -> Notes {
    #[derive(Deserialize)]
    struct Reply<'a> {
        #[serde(borrow, default)]
        usage: Option<&'a RawValue>,
        #[serde(rename = "stopReason", default)]
        stop_reason: Option<String>,
    }
    let Ok(reply) = serde_json::from_slice::<Reply<'_>>(body) else { return Notes::default() };
    Notes {
        usage: reply.usage.map(|raw: Raw<'_>| usage::read(raw)),
        done: reply.stop_reason.is_some(),
        finish_reason: reply.stop_reason,
        ..Notes::default()
    }
}
