//! A provider's stream, read. Items are told by their place in the output: ids of some servers change on the way.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::usage;
use super::output::finish_of;
use super::stream_output::{Output, Piece, list, string};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Delta, Event, StreamError};
use crate::contract::read::{Raw, as_text, find, is_list, is_object, loose};
use crate::dialects::frames::Frame;
use crate::dialects::{StreamReader, Unreadable};

/// The members of events that are read.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    part: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    output_index: Option<u64>,
    #[serde(default)]
    content_index: Option<u64>,
    #[serde(default)]
    summary_index: Option<u64>,
}

#[derive(Default)]
pub struct Reader {
    started: bool,
    over: bool,
    output: Output,
}

impl Reader {
    fn start(&mut self, response: Option<Raw<'_>>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let members = response.map(loose).unwrap_or_default();
        let text = |name: &str| string(find(&members, name)).unwrap_or_default();
        let created_s = find(&members, "created_at").and_then(|raw| raw.get().parse::<f64>().ok()).map(|s| s as i64);
        out.push(Event::Start { id: text("id"), model: text("model"), created_s });
    }

    fn delta(&mut self, piece: Piece, payload: &Payload<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        if let Some(text) = string(payload.delta).filter(|text| !text.is_empty()) {
            self.output.say(payload.output_index.unwrap_or(0), piece, Delta::Text(text), out)?;
        }
        if let Some(list) = payload.logprobs.filter(|raw| is_list(raw) && raw.get().len() > 2) {
            out.push(Event::Logprobs { choice: 0, json: format!("{{\"content\":{}}}", list.get()) });
        }
        Ok(())
    }

    /// The last event: the response as a whole.
    fn finish(&mut self, response: Option<Raw<'_>>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.start(response, out);
        let members = response.map(loose).unwrap_or_default();
        if self.output.is_empty() {
            // Some servers tell nothing before.
            for (at, item) in (0..).zip(list(&members, "output")) {
                self.output.done(at, item, out)?;
            }
        }
        self.output.end(out);
        if let Some(tier) = string(find(&members, "service_tier")) {
            out.push(Event::ServiceTier(tier));
        }
        if let Some(usage) = find(&members, "usage").and_then(usage) {
            out.push(Event::Usage(usage));
        }
        let status = string(find(&members, "status")).unwrap_or_else(|| "completed".to_owned());
        let reason = find(&members, "incomplete_details").and_then(|raw| string(find(&loose(raw), "reason")));
        self.over = true;
        match finish_of(&status, reason.as_deref(), self.output.calls()) {
            Some(Finish::Error) => out.push(Event::Error(match find(&members, "error") {
                Some(error) => error_of(error.get().as_bytes()),
                None => StreamError { message: "the response failed".to_owned(), ..StreamError::default() },
            })),
            reason => {
                let reason = reason.unwrap_or(Finish::Stop).refusing(self.output.refuses());
                out.push(Event::Finish { choice: 0, reason, stop_sequence: None });
                out.push(Event::Done);
            }
        }
        Ok(())
    }

    fn fail(&mut self, data: &[u8], out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Error(error_of(data)));
    }

    fn event(
        &mut self,
        name: &str,
        payload: &Payload<'_>,
        data: &[u8],
        out: &mut Vec<Event>,
    ) -> Result<(), Unreadable> {
        let at = payload.output_index.unwrap_or(0);
        let (content, summary) = (payload.content_index.unwrap_or(0), payload.summary_index.unwrap_or(0));
        match name {
            "response.output_item.added" => {
                return payload.item.map_or(Ok(()), |item| self.output.added(at, item, out));
            }
            "response.output_item.done" => return payload.item.map_or(Ok(()), |item| self.output.done(at, item, out)),
            "response.output_text.delta" => return self.delta(Piece::Text(content), payload, out),
            "response.output_text.done" => {
                return self.output.whole(at, Piece::Text(content), string(payload.text), out);
            }
            "response.output_text.annotation.added" => {
                let list: Vec<Raw<'_>> = payload.annotation.into_iter().collect();
                return self.output.cite(at, Piece::Text(content), &list, false, out);
            }
            "response.content_part.done" => {
                return payload.part.map_or(Ok(()), |part| self.output.content(at, content, part, out));
            }
            "response.refusal.delta" => return self.delta(Piece::Refusal(content), payload, out),
            "response.refusal.done" => {
                return self.output.whole(at, Piece::Refusal(content), string(payload.refusal), out);
            }
            "response.reasoning_summary_text.delta" => return self.delta(Piece::Summary(summary), payload, out),
            "response.reasoning_summary_text.done" => {
                return self.output.whole(at, Piece::Summary(summary), string(payload.text), out);
            }
            "response.reasoning_text.delta" => return self.delta(Piece::Thought(content), payload, out),
            "response.reasoning_text.done" => {
                return self.output.whole(at, Piece::Thought(content), string(payload.text), out);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.output.arguments(at, string(payload.delta), out);
            }
            "response.function_call_arguments.done" => self.output.all_arguments(at, string(payload.arguments), out),
            "response.custom_tool_call_input.done" => self.output.all_arguments(at, string(payload.input), out),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                return self.finish(payload.response, out);
            }
            "error" => self.fail(data, out),
            "" if payload.error.is_some_and(|error| error.get() != "null") => self.fail(data, out),
            // Progress of the provider's own tools, and what was not known when this was written.
            _ => {}
        }
        Ok(())
    }
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || self.over {
            return Ok(());
        }
        if data == b"[DONE]" {
            // Servers that know no other end.
            return if self.started { self.finish(None, out) } else { Ok(()) };
        }
        if frame.is_error {
            self.fail(data, out);
            return Ok(());
        }
        let payload: Payload<'_> = serde_json::from_slice(data)
            .map_err(|why| Unreadable(format!("an event is no JSON of a response's stream: {why}")))?;
        let kind = string(payload.kind).unwrap_or_else(|| frame.name.to_string());
        if kind.starts_with("response.") {
            self.start(payload.response, out);
        }
        self.event(&kind, &payload, data, out)
    }

    /// A stream that ends without its last event was cut.
    fn end(&mut self, _out: &mut Vec<Event>) {}
}

/// `{type: error, code, message}`, `{type: error, error: {...}}`, `{code, message}`.
pub fn error_of(data: &[u8]) -> StreamError {
    let Ok(root) = serde_json::from_slice::<&RawValue>(data) else {
        return StreamError { message: String::from_utf8_lossy(data).into_owned(), ..StreamError::default() };
    };
    let outer = loose(root);
    let inner = find(&outer, "error").filter(|raw| is_object(raw)).map_or_else(Vec::new, loose);
    let plain = |raw: Raw<'_>| as_text(raw).map_or_else(|| raw.get().to_owned(), Into::into);
    let told = |name: &str| find(&inner, name).or_else(|| find(&outer, name)).map(plain);
    let code = told("code").or_else(|| find(&inner, "type").map(plain));
    let message = told("message").or_else(|| find(&outer, "error").map(plain));
    StreamError {
        message: message.unwrap_or_else(|| root.get().to_owned()),
        status: told("status").or_else(|| code.clone()).and_then(|code| code.parse().ok()),
        code,
    }
}
