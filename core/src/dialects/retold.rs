//! For tests of dialects: requests and streams written again, golden files, and what was read as lines for people.

use std::fmt::{Debug, Write as _};
use std::path::Path;

pub use super::recorded::{answers_only, files as exchanges};
use super::{Codec, Given, Notes, Quirks, To, Written, recorded};
use crate::contract::canonical::Request;
use crate::contract::canonical::answer::Answer;
use crate::contract::canonical::event::{Delta, Event};
use crate::contract::read::Wrong;
use crate::contract::skim::skim;

pub const GIVEN: Given<'static> = Given {
    call_id: "c1",
    now_s: 1_700_000_000,
    model: "asked",
    stream: false,
    include_usage: true,
    as_array: false,
    own_tools: &[],
    asked: &[],
};

/// Reads a request and hands it on, for it borrows.
pub fn with_request<T>(codec: &dyn Codec, body: &[u8], then: impl FnOnce(Result<Request<'_>, Wrong>) -> T) -> T {
    let skimmed = skim(body).unwrap();
    then(codec.read_request(body, &skimmed, &GIVEN))
}

pub fn write_request(codec: &dyn Codec, request: &Request<'_>) -> Written {
    let model = request.model.clone();
    codec.write_request(request, &To { model: &model, output_tokens_max: None, quirks: &Quirks::default() })
}

/// Cuts bytes at these places, and reads all frames: what was told, and what was noted beside.
pub fn read_stream(codec: &dyn Codec, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<Event>, Notes), String> {
    recorded::read_stream(codec, &GIVEN, bytes, cuts)
}

pub fn write_stream(codec: &dyn Codec, events: &[Event]) -> Vec<u8> {
    let (mut writer, mut out) = (codec.stream_writer(&GIVEN), Vec::new());
    events.iter().for_each(|event| writer.event(event, &mut out));
    out
}

/// The events of a stream, with what belongs together in one: pieces of one text become one.
pub fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        let (Some(Event::Delta { part: last, delta: before, .. }), Event::Delta { part, delta, .. }) =
            (all.last_mut(), &event)
        else {
            all.push(event);
            continue;
        };
        match (before, delta) {
            (Delta::Text(before), Delta::Text(more)) if last == part => before.push_str(more),
            (Delta::Arguments(before), Delta::Arguments(more)) if last == part => before.push_str(more),
            _ => all.push(event),
        }
    }
    all
}

/// Compares with a file of `golden/`, or writes it where `TOLLGATE_GOLDEN=write` says so.
pub fn golden(folder: &str, name: &str, told: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialects").join(folder).join("golden").join(name);
    if std::env::var_os("TOLLGATE_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&path, told).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(told, expected, "{}: if the change is meant, write it anew with TOLLGATE_GOLDEN=write", path.display());
}

pub fn golden_input(folder: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialects").join(folder).join("golden").join(name);
    std::fs::read(path).unwrap()
}

/// A request as a person would want to see it: a line for each thing that it says.
pub fn request_lines(request: &Request<'_>) -> String {
    let mut lines = format!("model {:?}, stream {}\n", request.model, request.stream);
    for message in &request.messages {
        writeln!(lines, "{:?}", message.role).unwrap();
        message.parts.iter().for_each(|part| writeln!(lines, "  {part:?}").unwrap());
    }
    request.tools.iter().for_each(|tool| writeln!(lines, "{tool:?}").unwrap());
    let asked: [(&str, &dyn Debug); 14] = [
        ("tool_choice", &request.tool_choice),
        ("parallel_tools", &request.parallel_tools),
        ("max_tokens", &request.max_tokens),
        ("temperature", &request.temperature),
        ("top_p", &request.top_p),
        ("top_k", &request.top_k),
        ("frequency_penalty", &request.frequency_penalty),
        ("presence_penalty", &request.presence_penalty),
        ("seed", &request.seed),
        ("stop", &request.stop),
        ("logprobs", &request.logprobs),
        ("format", &request.format),
        ("reasoning", &request.reasoning),
        ("extra", &request.extra),
    ];
    for (name, value) in asked.map(|(name, value)| (name, format!("{value:?}"))) {
        if value != "None" && value != "[]" {
            writeln!(lines, "{name} {value}").unwrap();
        }
    }
    lines
}

pub fn answer_lines(answer: &Answer<'_>) -> String {
    let mut lines = format!("id {:?}, model {:?}, created {:?}\n", answer.id, answer.model, answer.created_s);
    for choice in &answer.choices {
        choice.parts.iter().for_each(|part| writeln!(lines, "{part:?}").unwrap());
        writeln!(lines, "finish {:?}, logprobs {:?}", choice.finish, choice.logprobs_json()).unwrap();
    }
    writeln!(lines, "usage {:?}", answer.usage).unwrap();
    lines
}

pub fn event_lines(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event:?}\n")).collect()
}
