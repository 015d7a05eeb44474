//! The same answer in every dialect of conversations but OpenAI's chat: the core's codecs read the question and write the
//! answer, as they do for callers of a gateway.

use std::borrow::Cow;

use axum::body::Bytes;
use tollgate_core::contract::Dialect;
use tollgate_core::contract::canonical::answer::{Answer, Choice, Finish};
use tollgate_core::contract::canonical::event::{Begins, Delta, Event};
use tollgate_core::contract::canonical::part::{Kind, Maker, Part, Reasoning, Signature, ToolCall};
use tollgate_core::dialects::frames::{self, Framing, event_stream};
use tollgate_core::dialects::{Codec, Given};

use super::answer::Chat;
use super::body::{self, Ready};
use super::errors::{self, Family, family};
use super::script::Script;
use super::{Asked, CREATED};

/// Seals on thoughts: base64 like real ones, and as little to be read in them.
const SEAL: &str = "c2ltIHNlYWxzIHRoaXM=";

/// Says an answer.
pub fn ready(chat: &Chat, asked: &Asked, codec: &dyn Codec, own_tools: &[&str]) -> Ready {
    let call_id = format!("sim{:012}", chat.number);
    let given = Given {
        call_id: &call_id,
        now_s: CREATED as i64,
        model: &asked.model,
        stream: asked.stream,
        include_usage: true,
        as_array: asked.as_array,
        own_tools,
        asked: &asked.bytes,
    };
    if !asked.stream {
        let bytes = codec.write_answer(&answer(chat, asked), &given).body;
        let pieces = body::whole(bytes.into(), &asked.script);
        return Ready { pieces, stream: false, content_type: "application/json" };
    }
    let framing = if asked.as_array { Framing::JsonArray } else { codec.framing() };
    let mut writer = codec.stream_writer(&given);
    let mut bytes = Vec::new();
    events(chat, asked).iter().for_each(|event| writer.event(event, &mut bytes));
    Ready { pieces: scripted(bytes.into(), framing, asked), stream: true, content_type: content_type(framing) }
}

/// The same in one piece, however it was asked for: what is kept of it.
pub fn whole(chat: &Chat, asked: &Asked, codec: &dyn Codec) -> Vec<u8> {
    let call_id = format!("sim{:012}", chat.number);
    let given = Given {
        call_id: &call_id,
        now_s: CREATED as i64,
        model: &asked.model,
        stream: false,
        include_usage: true,
        as_array: false,
        own_tools: &[],
        asked: &asked.bytes,
    };
    codec.write_answer(&answer(chat, asked), &given).body
}

fn content_type(framing: Framing) -> &'static str {
    match framing {
        Framing::Sse => "text/event-stream; charset=utf-8",
        Framing::Ndjson => "application/x-ndjson",
        Framing::JsonArray => "application/json; charset=UTF-8",
        Framing::EventStream => "application/vnd.amazon.eventstream",
    }
}

/// The answer's id, where the dialect's begin in a way of their own; else it is left to its writer.
fn id(dialect: Dialect, number: u64) -> String {
    match family(dialect) {
        Family::Openai => format!("resp_sim{number:045}"),
        Family::Anthropic => format!("msg_sim{number:021}"),
        Family::Cohere => format!("00000000-0000-4000-8000-{number:012}"),
        Family::Google | Family::Bedrock | Family::Ollama => String::new(),
    }
}

/// A call's id. Google's models tell none.
fn call_id(dialect: Dialect, number: u64, at: usize) -> String {
    match family(dialect) {
        Family::Google => String::new(),
        Family::Anthropic => format!("toolu_sim{at:05}{number:016}"),
        Family::Bedrock => format!("tooluse_sim{at:05}{number:014}"),
        Family::Openai | Family::Cohere | Family::Ollama => format!("call_sim{at:05}{number:016}"),
    }
}

/// Who sealed what was thought; `None` = this dialect seals nothing.
fn maker(dialect: Dialect) -> Option<Maker> {
    match family(dialect) {
        Family::Anthropic | Family::Bedrock => Some(Maker::Anthropic),
        Family::Google => Some(Maker::Google),
        Family::Openai | Family::Cohere | Family::Ollama => None,
    }
}

fn finish(name: &str) -> Finish {
    match name {
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        "tool_calls" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

fn answer<'a>(chat: &'a Chat, asked: &'a Asked) -> Answer<'a> {
    let seal = maker(asked.dialect).map(|by| Signature { by, data: SEAL.into() });
    let parts = |_| {
        let mut parts: Vec<Part<'a>> = Vec::new();
        if !chat.thoughts.is_empty() {
            let text = chat.thoughts.concat().into();
            parts
                .push(Part { signature: seal.clone(), ..Kind::Reasoning(Reasoning { text, ..summary(asked) }).into() });
        }
        if chat.tools.is_empty() {
            parts.push(Part::text(chat.words.concat()));
        }
        parts.extend(chat.tools.iter().enumerate().map(|(at, tool)| {
            let id = call_id(asked.dialect, chat.number, at).into();
            let (name, arguments) = (Cow::Borrowed(&*tool.name), Cow::Borrowed(&*tool.arguments));
            Kind::ToolCall(ToolCall { id, name, arguments }).into()
        }));
        parts
    };
    let choice = |index| Choice { index, parts: parts(index), finish: Some(finish(&chat.finish)), ..Choice::default() };
    Answer {
        id: id(asked.dialect, chat.number).into(),
        model: Cow::Borrowed(&asked.model),
        created_s: Some(CREATED as i64),
        choices: (0..chat.choices).map(choice).collect(),
        usage: chat.usage(),
        ..Answer::default()
    }
}

/// Thoughts as the dialect shows them: OpenAI's are summaries with an id.
fn summary(asked: &Asked) -> Reasoning<'static> {
    let summary = asked.dialect == Dialect::OpenaiResponses;
    let id = summary.then(|| format!("rs_sim{:045}", asked.number).into());
    Reasoning { summary, id, ..Reasoning::default() }
}

fn events(chat: &Chat, asked: &Asked) -> Vec<Event> {
    let mut list = vec![Event::Start {
        id: id(asked.dialect, chat.number),
        model: asked.model.clone(),
        created_s: Some(CREATED as i64),
    }];
    for choice in 0..chat.choices {
        let mut parts = 0;
        let mut part = |kind: Begins, deltas: Vec<Delta>| {
            let part = parts;
            parts += 1;
            list.push(Event::Begin { choice, part, kind });
            list.extend(deltas.into_iter().map(|delta| Event::Delta { choice, part, delta }));
            list.push(Event::End { choice, part });
        };
        if !chat.thoughts.is_empty() {
            let Reasoning { summary, id, .. } = summary(asked);
            let seal = maker(asked.dialect).map(|by| Delta::Signature(Signature { by, data: SEAL.into() }));
            let texts = chat.thoughts.iter().map(|text| Delta::Text((*text).to_owned()));
            part(Begins::Reasoning { summary, id: id.map(Into::into) }, texts.chain(seal).collect());
        }
        if chat.tools.is_empty() {
            part(Begins::Text, chat.words.iter().cloned().map(Delta::Text).collect());
        }
        for (at, tool) in chat.tools.iter().enumerate() {
            let letters: Vec<char> = tool.arguments.chars().collect();
            let pieces = letters.chunks(5).map(|piece| Delta::Arguments(piece.iter().collect()));
            let begin = Begins::ToolCall { id: call_id(asked.dialect, chat.number, at), name: tool.name.clone() };
            part(begin, pieces.collect());
        }
        list.push(Event::Finish { choice, reason: finish(&chat.finish), stop_sequence: None });
    }
    list.extend(chat.usage().map(Event::Usage));
    list.push(Event::Done);
    list
}

/// The bytes of a stream, event by event, with what the script does to them.
fn scripted(bytes: Bytes, framing: Framing, asked: &Asked) -> Vec<Bytes> {
    let script = &asked.script;
    let (mut framer, mut list) = (frames::framer(framing), Vec::new());
    // What our own writers write can be framed.
    let framed = framer.feed(bytes.clone(), &mut list);
    if framed.is_err() {
        return vec![bytes];
    }
    if script.nodone {
        list.pop();
    }
    if let Some(at) = script.malformed.map(|n| (n as usize).min(list.len().saturating_sub(1))) {
        let broken = list.get(at).map(|frame| broken(frame, framing));
        list.splice(at..at, broken);
    }
    if let Some(n) = script.error_at {
        list.truncate(n as usize);
        list.push(errors::in_stream(asked.dialect, framing, list.len()));
    }
    match framing {
        Framing::Sse => body::written(list.into_iter().map(|frame| ends(frame, script)), script),
        Framing::Ndjson | Framing::JsonArray | Framing::EventStream => {
            list.into_iter().flat_map(|frame| body::divided(frame, script)).collect()
        }
    }
}

/// The same event, and its JSON lacks its end.
fn broken(frame: &Bytes, framing: Framing) -> Bytes {
    let text = frame.trim_ascii_end();
    let cut = &text[..text.len().saturating_sub(1)];
    match framing {
        Framing::Sse => [cut, b"\n\n"].concat().into(),
        Framing::Ndjson => [cut, b"\n"].concat().into(),
        Framing::JsonArray => Bytes::copy_from_slice(cut),
        Framing::EventStream => {
            let read = frames::read(framing, frame);
            let headers =
                [(":event-type", &*read.name), (":content-type", "application/json"), (":message-type", "event")];
            let mut out = Vec::new();
            event_stream::write(&headers, &read.data[..read.data.len().saturating_sub(1)], &mut out);
            out.into()
        }
    }
}

/// Other line ends, where the script wants them and the dialect has not got them anyway. JSON has none of its own.
fn ends(frame: Bytes, script: &Script) -> Bytes {
    if !script.crlf {
        return frame;
    }
    let lines: Vec<&[u8]> = frame.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    lines.join(&b"\r\n"[..]).into()
}
