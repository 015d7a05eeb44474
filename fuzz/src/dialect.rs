//! A dialect: whatever is read of it can be written in every dialect, and what is written is JSON that its readers take.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::IgnoredAny;
use tollgate_core::contract::Dialect;
use tollgate_core::contract::canonical::event::Event;
use tollgate_core::contract::skim::skim;
use tollgate_core::dialects::embeddings::{Wanted, embed_codec};
use tollgate_core::dialects::frames::{Framing, event_stream, framer, json_array, read};
use tollgate_core::dialects::words::Words;
use tollgate_core::dialects::{Codec, Given, Notes, Quirks, To, codec};

const GIVEN: Given<'static> = Given {
    call_id: "01890a5d-ac96-774b-bcce-b302099a8057",
    now_s: 1_790_000_000,
    model: "asked",
    stream: false,
    include_usage: true,
    as_array: false,
    own_tools: &["shell"],
    asked: b"",
};

fn codecs() -> impl Iterator<Item = (Dialect, &'static dyn Codec)> {
    Dialect::ALL.iter().filter_map(|dialect| codec(*dialect).map(|codec| (*dialect, codec)))
}

fn to(quirks: &Quirks) -> To<'_> {
    To { model: "model-1", output_tokens_max: Some(4_096), quirks }
}

fn is_json(what: &str, body: &[u8]) {
    if let Err(why) = serde_json::from_slice::<IgnoredAny>(body) {
        panic!("{what}: {why}: {}", String::from_utf8_lossy(body));
    }
}

pub fn check(dialect: Dialect, data: &[u8]) {
    let own = codec(dialect).expect("these are dialects of conversations");
    check_request(own, data);
    check_words(dialect, data);
    check_answer(own, data);
    for status in [200, 400, 429, 503] {
        let status = StatusCode::from_u16(status).expect("these are statuses");
        drop(own.read_error(status, &HeaderMap::new(), data));
    }
    check_stream(own, own.framing(), data);
    match own.framing() {
        Framing::EventStream => check_stream(own, Framing::EventStream, &events_of(data)),
        Framing::Sse if dialect == Dialect::Gemini => check_stream(own, Framing::JsonArray, data),
        Framing::Sse | Framing::Ndjson | Framing::JsonArray => {}
    }
}

fn check_request(own: &dyn Codec, data: &[u8]) {
    let Ok(skimmed) = skim(data) else { return };
    let Ok(request) = own.read_request(data, &skimmed, &GIVEN) else { return };
    let quirks = Quirks::default();
    for (dialect, theirs) in codecs() {
        drop(request.losses(|element| theirs.carries(element)));
        let written = theirs.write_request(&request, &to(&quirks));
        is_json(dialect.name(), &written.body);
        // Nesting may have grown beyond the skim's bound on the way; else it must be taken.
        if let Ok(skimmed) = skim(&written.body)
            && let Err(wrong) = theirs.read_request(&written.body, &skimmed, &GIVEN)
        {
            assert!(!wrong.why.contains("twice"), "{}: {wrong}", dialect.name());
        }
    }
}

fn check_words(dialect: Dialect, data: &[u8]) {
    let words = Words::of(Bytes::copy_from_slice(data), dialect);
    drop(words.prompt());
    drop(words.text());
    words.counts();
}

fn check_answer(own: &dyn Codec, data: &[u8]) {
    own.glance(data);
    let Ok(answer) = own.read_answer(data, &GIVEN) else { return };
    for (dialect, theirs) in codecs() {
        is_json(dialect.name(), &theirs.write_answer(&answer, &GIVEN).body);
    }
}

/// `NAME JSON` a line, as the events of Amazon's stream.
fn events_of(data: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for line in data.split(|b| *b == b'\n') {
        let at = line.iter().position(|b| *b == b' ').unwrap_or(0);
        let name = String::from_utf8_lossy(&line[..at]);
        let kind = if name.ends_with("Exception") { ":exception-type" } else { ":event-type" };
        let message = if name.ends_with("Exception") { "exception" } else { "event" };
        event_stream::write(&[(":message-type", message), (kind, &name)], line[at..].trim_ascii(), &mut stream);
    }
    stream
}

/// The events of a stream, and what stood beside them; or why it could not be read.
fn told(own: &dyn Codec, framing: Framing, pieces: Vec<Bytes>) -> Result<(Vec<Event>, Notes), String> {
    let (mut framer, mut frames) = (framer(framing), Vec::new());
    for piece in pieces {
        framer.feed(piece, &mut frames).map_err(|why| why.to_string())?;
    }
    frames.extend(Some(framer.rest()).filter(|rest| !rest.is_empty()));
    let (mut reader, mut events, mut notes) = (own.stream_reader(&GIVEN), Vec::new(), Notes::default());
    for frame in &frames {
        let frame = read(framing, frame);
        own.note(&frame, &mut notes);
        reader.frame(&frame, &mut events).map_err(|why| why.to_string())?;
    }
    reader.end(&mut events);
    Ok((events, notes))
}

fn check_stream(own: &dyn Codec, framing: Framing, data: &[u8]) {
    let mut ways = crate::cuts(data).into_iter().map(|pieces| told(own, framing, pieces));
    let whole = ways.next().expect("there is one way at least");
    for other in ways {
        match (&whole, &other) {
            (Ok(one), Ok(two)) => assert_eq!(one, two, "pieces change the events"),
            (one, two) => assert_eq!(one.is_ok(), two.is_ok(), "pieces change whether it is read"),
        }
    }
    let Ok((events, _)) = whole else { return };
    check_order(&events);
    for (_, theirs) in codecs() {
        check_written(theirs, theirs.framing(), &GIVEN, &events);
    }
    let gemini = codec(Dialect::Gemini).expect("it is one of conversations");
    check_written(gemini, Framing::JsonArray, &Given { as_array: true, ..GIVEN }, &events);
}

/// What `canonical::event` promises to every writer.
fn check_order(events: &[Event]) {
    let mut open: Vec<(u64, u64)> = Vec::new();
    let mut started = false;
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start { .. } => {
                assert!(!started, "it starts twice: {events:#?}");
                started = true;
            }
            Event::Begin { choice, part, .. } => {
                assert!(started && !open.contains(&(*choice, *part)), "part {part} begins wrongly: {events:#?}");
                open.push((*choice, *part));
            }
            Event::Delta { choice, part, .. } => {
                assert!(open.contains(&(*choice, *part)), "a piece of part {part}, which is not open: {events:#?}");
            }
            Event::End { choice, part } => {
                assert!(open.contains(&(*choice, *part)), "part {part} ends and is not open: {events:#?}");
                open.retain(|known| *known != (*choice, *part));
            }
            Event::Done => assert_eq!(at + 1, events.len(), "something behind the end: {events:#?}"),
            Event::Logprobs { .. }
            | Event::Finish { .. }
            | Event::Usage(_)
            | Event::Beside(_)
            | Event::ServiceTier(_)
            | Event::Error(_) => {}
        }
    }
}

/// A stream that we write can be cut, is JSON, and is taken by the reader of its dialect.
fn check_written(theirs: &dyn Codec, framing: Framing, given: &Given<'_>, events: &[Event]) {
    let (mut writer, mut out) = (theirs.stream_writer(given), Vec::new());
    events.iter().for_each(|event| writer.event(event, &mut out));
    let (mut framer, mut frames) = (framer(framing), Vec::new());
    let shown = || String::from_utf8_lossy(&out).into_owned();
    if let Err(why) = framer.feed(Bytes::copy_from_slice(&out), &mut frames) {
        panic!("{why}: {}", shown());
    }
    let rest = framer.rest();
    let begun = framing == Framing::JsonArray && rest.first().is_none_or(|b| *b == b'[');
    assert!(rest.is_empty() || begun, "a frame without an end: {}", shown());
    let mut reader = theirs.stream_reader(given);
    for frame in &frames {
        let frame = match framing {
            Framing::JsonArray => json_array::read(frame),
            other => read(other, frame),
        };
        if !frame.data.is_empty() && *frame.data != *b"[DONE]" {
            is_json("a frame of a stream", &frame.data);
        }
        if let Err(why) = reader.frame(&frame, &mut Vec::new()) {
            panic!("its own reader does not take it: {why}: {}", shown());
        }
    }
}

/// Embeddings in each of their dialects; the words of all calls that are no conversations.
pub fn check_embeddings(data: &[u8]) {
    for dialect in Dialect::ALL.iter().filter(|dialect| codec(**dialect).is_none()) {
        check_words(*dialect, data);
    }
    let quirks = Quirks::default();
    let codecs = || Dialect::ALL.iter().filter_map(|dialect| embed_codec(*dialect));
    for own in codecs() {
        own.usage(data);
        let request = skim(data).ok();
        let request = request.as_ref().and_then(|skimmed| own.read_request(data, skimmed, &GIVEN).ok());
        for theirs in request.iter().flat_map(|_| codecs()) {
            let request = request.as_ref().expect("there is one in this loop");
            is_json("a request", &theirs.write_request(request, &to(&quirks)).body);
        }
        let Ok(answer) = own.read_answer(data) else { continue };
        // Only vectors that can be read are written.
        if answer.vectors.iter().any(|vector| vector.numbers().is_none() || vector.base64().is_none()) {
            continue;
        }
        for encoding in [
            tollgate_core::contract::canonical::embed::Encoding::Float,
            tollgate_core::contract::canonical::embed::Encoding::Base64,
        ] {
            let wanted = Wanted { encoding, vectors: answer.vectors.len() };
            codecs().for_each(|theirs| is_json("an answer", &theirs.write_answer(&answer, &wanted, &GIVEN)));
        }
    }
}
