//! Streams that no recording shows: oddities of providers, and any legal order of events.

use proptest::prelude::*;
use serde_json::Value;

use super::{Gemini, in_order, said};
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Maker, Signature};
use crate::contract::refusal::{Category, Refusal};
use crate::contract::usage::Usage;
use crate::dialects::frames::{Frame, Framer, sse};
use crate::dialects::recorded::{events, given};
use crate::dialects::{Codec, Given};

fn stream(chunks: &[&str]) -> Vec<Event> {
    let text: String = chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect();
    let told = events(&Gemini, &given("m"), text.as_bytes()).unwrap();
    in_order("made", &told);
    told
}

#[test]
fn oddities_are_borne() {
    let finish = |reason| Event::Finish { choice: 0, reason, stop_sequence: None };
    for (chunks, expected, why) in [
        (
            vec![r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}"#],
            vec![finish(Finish::ContentFilter), Event::Done],
            "a prompt that is refused has no candidates",
        ),
        (
            vec![
                r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#,
                r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}]}"#,
            ],
            vec![finish(Finish::Stop), Event::Done],
            "older models give a reason with every chunk",
        ),
        (
            vec![r#"{"candidates":[{"content":{}}]}"#, r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#],
            vec![finish(Finish::Length), Event::Done],
            "nothing was said",
        ),
        (vec![r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#, ""], vec![], "a cut has no end"),
        (vec![r#"{"candidates":[{"finishReason":0}]}"#], vec![], "an unspecified reason is none"),
    ] {
        let told: Vec<Event> =
            stream(&chunks).into_iter().filter(|e| matches!(e, Event::Finish { .. } | Event::Done)).collect();
        assert_eq!(told, expected, "{why}");
    }
}

#[test]
fn seals_stay_on_their_parts() {
    let told = stream(&[
        r#"{"responseId":"r","candidates":[{"content":{"parts":[{"text":"th","thought":true}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"","thoughtSignature":"S1"}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"b"},{"functionCall":{"name":"f"},"thoughtSignature":"S2"},{"functionCall":{"name":"f","args":{"x":1}}}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"S3"}]},"finishReason":"STOP"}]}"#,
    ]);
    let parts = said(&told);
    assert!(parts[0].starts_with("0 Reasoning") && parts[0].ends_with(": th"), "{parts:?}");
    assert!(parts[1].starts_with("0 Text: a") && parts[1].contains("S1"), "{parts:?}");
    assert_eq!(parts[2], "0 Text: b");
    assert!(parts[3].contains("\"f\" }: {}") && parts[3].contains("S2"), "{parts:?}");
    assert!(parts[4].ends_with("}: {\"x\":1}"), "{parts:?}");
    assert!(parts[5].starts_with("0 Reasoning") && parts[5].contains("S3"), "{parts:?}");
    let ids: Vec<&String> = told
        .iter()
        .filter_map(|e| if let Event::Begin { kind: Begins::ToolCall { id, .. }, .. } = e { Some(id) } else { None })
        .collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    assert!(told.contains(&Event::Finish { choice: 0, reason: Finish::ToolCalls, stop_sequence: None }));
}

/// As Google streams them where arguments come in pieces.
#[test]
fn calls_come_whole_though_their_arguments_come_in_pieces() {
    let chunk = |parts: &str| format!(r#"{{"responseId":"r","candidates":[{{"content":{{"parts":[{parts}]}}}}]}}"#);
    let path = |value: &str| format!(r#"{{"functionCall":{{"partialArgs":[{value}],"willContinue":true}}}}"#);
    let chunks = [
        chunk(r#"{"functionCall":{"name":"theme"},"thoughtSignature":"S1"}"#),
        chunk(r#"{"functionCall":{"name":"screen","willContinue":true},"thoughtSignature":"S2"}"#),
        chunk(&path(r#"{"jsonPath":"$.id","stringValue":"A","willContinue":true}"#)),
        chunk(&path(r#"{"jsonPath":"$.id","stringValue":""}"#)),
        chunk(r#"{"functionCall":{}}"#),
        chunk(r#"{"functionCall":{"name":"screen","willContinue":true}}"#),
        chunk(&path(r#"{"jsonPath":"$.id","stringValue":"B"}"#)),
        r#"{"candidates":[{"finishReason":"STOP"}]}"#.to_owned(),
    ];
    let told = stream(&chunks.each_ref().map(String::as_str));
    let parts: Vec<String> = said(&told).into_iter().filter(|part| part.starts_with("0 ToolCall")).collect();
    assert_eq!(parts.len(), 3, "{parts:?}");
    for (part, begin, end, seal) in [
        (&parts[0], "\"theme\" }: {}", "", "S1"),
        (&parts[1], "\"screen\" }:", "{\"id\":\"A\"}", "S2"),
        (&parts[2], "\"screen\" }:", "{\"id\":\"B\"}", ""),
    ] {
        assert!(part.contains(begin) && part.contains(end) && part.contains(seal), "{part}");
    }
    assert!(told.contains(&Event::Finish { choice: 0, reason: Finish::ToolCalls, stop_sequence: None }));
    let nowhere = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","partialArgs":[{"jsonPath":"$.a[5]","stringValue":"x"}]}}]}}]}"#;
    let text = format!("data: {nowhere}\r\n\r\n");
    assert!(events(&Gemini, &given("m"), text.as_bytes()).is_err());
}

fn write(told: &[Event]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Gemini.stream_writer(&given("m"));
    told.iter().for_each(|event| writer.event(event, &mut out));
    out
}

fn chunks(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.split("\r\n\r\n")
        .filter(|c| !c.is_empty())
        .map(|c| serde_json::from_str(&c["data: ".len()..]).unwrap())
        .collect()
}

#[test]
fn calls_in_pieces_come_whole_and_a_broken_one_as_it_was_written() {
    let begin =
        |part, id: &str| Event::Begin { choice: 0, part, kind: Begins::ToolCall { id: id.into(), name: "f".into() } };
    let piece = |part, text: &str| Event::Delta { choice: 0, part, delta: Delta::Arguments(text.into()) };
    let finish = Event::Finish { choice: 0, reason: Finish::Length, stop_sequence: None };
    let start = Event::Start { id: "r".into(), model: "x".into(), created_s: None };
    let usage = Event::Usage(Usage { input: 3, output: 2, ..Usage::default() });
    let mut told =
        vec![start, begin(0, "a"), begin(1, "b"), piece(0, "{\"x\""), piece(1, "{"), piece(0, ":1}"), finish];
    told.extend([usage, Event::Done]);
    let chunks = chunks(&write(&told));
    assert_eq!(chunks.len(), 3, "{chunks:?}");
    assert_eq!(chunks[0]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"]["x"], 1);
    let broken = &chunks[1]["candidates"][0]["content"]["parts"][0]["functionCall"];
    assert_eq!((&broken["id"], &broken["args"]["_invalid_json"]), (&"b".into(), &"{".into()));
    assert_eq!(chunks[2]["candidates"][0]["finishReason"], "MAX_TOKENS", "the reason is the provider's");
    assert_eq!(chunks[2]["usageMetadata"]["totalTokenCount"], 5);
    assert!(chunks.iter().all(|c| c["responseId"] == "r" && c["modelVersion"] == "x"));
}

#[test]
fn a_call_is_told_though_nobody_says_why_it_ended() {
    let call = Begins::ToolCall { id: "c".into(), name: "f".into() };
    let (mut writer, mut out) = (Gemini.stream_writer(&given("m")), Vec::new());
    for event in [
        Event::Begin { choice: 0, part: 0, kind: call },
        Event::Delta { choice: 0, part: 0, delta: Delta::Arguments("{\"x\":1}".into()) },
        Event::Done,
    ] {
        writer.event(&event, &mut out);
    }
    assert_eq!(chunks(&out)[0]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"]["x"], 1);
}

#[test]
fn a_refusal_inside_a_stream_is_an_error_chunk() {
    let refusal = Refusal::new(Category::Interrupted, "cut", "the provider broke off");
    let (mut events_out, mut array_out) = (Vec::new(), Vec::new());
    let text = Event::Begin { choice: 0, part: 0, kind: Begins::Text };
    let said = Event::Delta { choice: 0, part: 0, delta: Delta::Text("a".into()) };
    for (mut writer, out) in [
        (Gemini.stream_writer(&given("m")), &mut events_out),
        (Gemini.stream_writer(&Given { as_array: true, ..given("m") }), &mut array_out),
    ] {
        writer.event(&text, out);
        writer.event(&said, out);
        writer.refusal(&refusal, "call-1", out);
    }
    assert_eq!(chunks(&events_out)[1]["error"]["message"], "the provider broke off");
    let array: Vec<Value> = serde_json::from_slice(&array_out).unwrap();
    assert_eq!(array[1]["error"]["status"], "UNAVAILABLE");
}

/// One part of a made stream: its kind and what is said in it.
fn made_part() -> impl Strategy<Value = (Begins, Vec<Delta>)> {
    let text = "[a-z\u{e4}\u{20ac} ]{1,6}";
    let seal = (prop_oneof![Just(Maker::Google), Just(Maker::Anthropic), Just(Maker::Openai)], "[A-Za-z]{1,8}");
    let seal = seal.prop_map(|(by, data)| Delta::Signature(Signature { by, data: data.into() }));
    let texts = proptest::collection::vec(text.prop_map(Delta::Text), 1..4);
    let with_seal = |deltas: Vec<Delta>, seal: Option<Delta>| deltas.into_iter().chain(seal).collect::<Vec<_>>();
    prop_oneof![
        texts.clone().prop_map(|deltas| (Begins::Text, deltas)),
        (texts, proptest::option::of(seal.clone())).prop_map(move |(deltas, seal)| {
            (Begins::Reasoning { summary: true, id: None }, with_seal(deltas, seal))
        }),
        ("[a-z]{1,4}", "[a-z]{1,3}", 0..9u8, proptest::option::of(seal)).prop_map(move |(id, name, n, seal)| {
            let pieces = vec![Delta::Arguments("{\"n\":".into()), Delta::Arguments(format!("{n}}}"))];
            // Of a call the seal is told first.
            (Begins::ToolCall { id, name }, seal.into_iter().chain(pieces).collect())
        }),
    ]
}

/// A legal order of events. Calls may be interleaved: all of them begin before the first of them ends.
fn made(parts: Vec<(Begins, Vec<Delta>)>, interleave: bool, usage_first: bool) -> Vec<Event> {
    let calls = parts.iter().any(|(kind, _)| matches!(kind, Begins::ToolCall { .. }));
    let mut told = vec![Event::Start { id: "r".into(), model: "x".into(), created_s: Some(5) }];
    let mut late: Vec<(Vec<Event>, Event)> = Vec::new();
    for (part, (kind, deltas)) in parts.into_iter().enumerate() {
        let part = part as u64;
        let is_call = matches!(kind, Begins::ToolCall { .. });
        told.push(Event::Begin { choice: 0, part, kind });
        let deltas: Vec<Event> = deltas.into_iter().map(|delta| Event::Delta { choice: 0, part, delta }).collect();
        let end = Event::End { choice: 0, part };
        match is_call && interleave {
            true => late.push((deltas, end)),
            false => told.extend(deltas.into_iter().chain([end])),
        }
    }
    let most = late.iter().map(|(deltas, _)| deltas.len()).max().unwrap_or(0);
    for at in 0..most {
        told.extend(late.iter().filter_map(|(deltas, _)| deltas.get(at).cloned()));
    }
    told.extend(late.into_iter().map(|(_, end)| end));
    let reason = if calls { Finish::ToolCalls } else { Finish::Stop };
    told.push(Event::Finish { choice: 0, reason, stop_sequence: None });
    let usage = Event::Usage(Usage { input: 7, cached_input: 2, output: 3, reasoning: 1, ..Usage::default() });
    told.insert(if usage_first { 1 } else { told.len() }, usage);
    told.push(Event::Done);
    told
}

/// Texts by kind in their order, calls in theirs, seals with them: pieces of one kind that follow on each other may be one.
fn gist(events: &[Event]) -> (String, String, Vec<String>) {
    let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    let mut kinds = std::collections::HashMap::new();
    for event in events {
        match event {
            Event::Begin { part, kind, .. } => {
                if let Begins::ToolCall { .. } = kind {
                    calls.push(format!("{kind:?}"));
                }
                kinds.insert(*part, (kind.clone(), calls.len()));
            }
            Event::Delta { part, delta, .. } => match (&kinds[part], delta) {
                ((Begins::Text, _), Delta::Text(said)) => text.push_str(said),
                ((Begins::Reasoning { .. }, _), Delta::Text(said)) => thoughts.push_str(said),
                ((Begins::Reasoning { .. }, _), Delta::Signature(seal)) => thoughts.push_str(&format!("{seal:?}")),
                ((Begins::ToolCall { .. }, at), Delta::Arguments(said)) => calls[at - 1].push_str(said),
                ((Begins::ToolCall { .. }, at), Delta::Signature(seal)) => calls[at - 1].push_str(&format!("{seal:?}")),
                other => panic!("{other:?}"),
            },
            _ => {}
        }
    }
    (text, thoughts, calls)
}

proptest! {
    #[test]
    fn any_legal_order_is_written_so_that_it_is_read_again(
        parts in proptest::collection::vec(made_part(), 0..6), interleave in any::<bool>(), usage_first in any::<bool>(),
    ) {
        let told = made(parts, interleave, usage_first);
        in_order("made", &told);
        let written = write(&told);
        prop_assert!(chunks(&written).iter().all(|c| c["candidates"][0]["content"]["parts"][0].is_object()), "SDKs need parts");
        let again = events(&Gemini, &given("m"), &written).unwrap();
        in_order("again", &again);
        prop_assert_eq!(gist(&again), gist(&told));
        let rest = |events: &[Event]| -> Vec<Event> {
            let mut rest: Vec<Event> = events
                .iter()
                .filter(|e| matches!(e, Event::Start { .. } | Event::Finish { .. } | Event::Done | Event::Usage(_)))
                .cloned()
                .collect();
            rest.sort_by_key(|e| matches!(e, Event::Usage(_)));
            rest
        };
        prop_assert_eq!(rest(&again), rest(&told));
    }

    #[test]
    fn pieces_change_nothing(
        parts in proptest::collection::vec(made_part(), 0..4), cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let text = write(&made(parts, false, false));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c % (text.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut framer, mut frames, mut from, mut told) = (sse::Sse::default(), Vec::new(), 0, Vec::new());
        for at in cuts.into_iter().chain([text.len()]) {
            framer.feed(bytes::Bytes::copy_from_slice(&text[from..at]), &mut frames).unwrap();
            from = at;
        }
        let mut reader = Gemini.stream_reader(&given("m"));
        frames.iter().for_each(|frame| reader.frame(&sse::read(frame), &mut told).unwrap());
        reader.end(&mut told);
        prop_assert_eq!(told, events(&Gemini, &given("m"), &text).unwrap());
    }

    #[test]
    fn no_bytes_make_a_reader_or_a_writer_panic(chunks in proptest::collection::vec(prop_oneof![
        Just(r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"x"},{"functionCall":{"name":"f"}}]}}]}"#.to_owned()),
        Just(r#"{"candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"dG9sbGdhdGU6"}]},"finishReason":"STOP"}]}"#.to_owned()),
        Just(r#"{"candidates":[{"index":99999999999,"finishReason":7}]}"#.to_owned()),
        Just(r#"{"candidates":[{"groundingMetadata":{"groundingChunks":[{}],"groundingSupports":[{"segment":{"startIndex":9e9},"groundingChunkIndices":[0,-1,7]}]},"content":{"parts":[{"text":"\u00e4"}]}}]}"#.to_owned()),
        Just(r#"{"usageMetadata":{"promptTokenCount":1,"cachedContentTokenCount":5,"thoughtsTokenCount":18446744073709551615}}"#.to_owned()),
        Just(r#"{"promptFeedback":{"blockReason":2}}"#.to_owned()),
        Just(r#"{"error":{}}"#.to_owned()),
        Just("[]".to_owned()),
        Just("nonsense".to_owned()),
        "[{}\\[\\],:\"a-z0-9 ]{0,40}",
    ], 0..10)) {
        let mut told = Vec::new();
        let mut reader = Gemini.stream_reader(&given("m"));
        let mut notes = crate::dialects::Notes::default();
        for chunk in &chunks {
            let frame = Frame::data(chunk.as_bytes());
            Gemini.note(&frame, &mut notes);
            let _ = Gemini.glance(chunk.as_bytes());
            let _ = Gemini.read_answer(chunk.as_bytes(), &given("m"));
            if reader.frame(&frame, &mut told).is_err() {
                break;
            }
        }
        reader.end(&mut told);
        in_order("any", &told);
        write(&told);
    }
}
