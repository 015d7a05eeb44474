//! Streams, and all that can be wrong with one. What was cut must never look complete.

use super::server::{chunked, frame, until_closed};
use super::wholes::gzip;
use super::*;

fn whole() -> String {
    first() + &rest()
}

const CUT: Expect = Expect::Broken("stream_interrupted");

#[tokio::test(flavor = "multi_thread")]
async fn streams_in_odd_clothes_come_to_their_end() {
    let (faulty, gateway) = before("").await;
    let a = Expect::Answer;
    let ok = until_closed(EVENTS, whole().as_bytes());
    let padded = first().replacen("{\"id\"", &format!("{{\"pad\":\"{}\",\"id\"", "x".repeat(10 << 20)), 1) + &rest();
    let no_done = whole().replace("data: [DONE]\n\n", "");
    let too_long =
        [format!("HTTP/1.1 200 OK\r\n{EVENTS}content-length: 99999\r\n\r\n").into_bytes(), whole().into()].concat();
    let odd = first() + ": a comment\n\nid: 7\nretry: 1\n\n" + &rest().replace("\n\n", "\r\n\r\n");
    let half_empty = "data: {\"choices\":[]}\n\n".to_owned() + &whole();
    let cases = vec![
        case("the usual", ok.clone(), a),
        Case { why: "a byte at a time", steps: vec![Step::Drip(ok)], expect: a },
        case("chunks of one byte", chunked(EVENTS, whole().as_bytes(), 1), a),
        case("comments, ids, CRLF", until_closed(EVENTS, odd.as_bytes()), a),
        case("empty choices", until_closed(EVENTS, half_empty.as_bytes()), a),
        case("no last event", until_closed(EVENTS, no_done.as_bytes()), a),
        case("called JSON", until_closed(JSON, whole().as_bytes()), a),
        case("called a text", until_closed("content-type: text/plain\r\n", whole().as_bytes()), a),
        case("not called anything, in bytes", chunked("", whole().as_bytes(), 1), a),
        case("HTTP/1.0", [format!("HTTP/1.0 200 OK\r\n{EVENTS}\r\n").as_bytes(), whole().as_bytes()].concat(), a),
        case("gzip", until_closed(&format!("{EVENTS}content-encoding: gzip\r\n"), &gzip(whole().as_bytes())), a),
        case("an event of 10 MB", until_closed(EVENTS, padded.as_bytes()), a),
        case("broken behind its end", too_long.clone(), a),
        Case { why: "silent behind its end", steps: vec![Step::Send(too_long), Step::Stall], expect: a },
        case("garbage behind its end", until_closed(EVENTS, (whole() + "\x00garbage").as_bytes()), a),
        case("an answer that came whole", http("200 OK", JSON, &chat()), a),
        case(
            "one that came whole, called a stream of bytes",
            http("200 OK", "content-type: application/octet-stream\r\n", &chat()),
            a,
        ),
    ];
    run(&faulty, &gateway, &[Caller::Chat, Caller::Messages], true, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_cut_never_looks_complete() {
    let (faulty, gateway) = before("").await;
    let begun = until_closed(EVENTS, first().as_bytes());
    let with = |more: &[u8]| [&begun[..], more].concat();
    let then = |why, bytes: Vec<u8>, step| Case { why, steps: vec![Step::Send(bytes), step], expect: CUT };
    let chunks =
        [format!("HTTP/1.1 200 OK\r\n{EVENTS}transfer-encoding: chunked\r\n\r\n{:x}\r\n", first().len()), first()]
            .concat();
    let half = gzip(whole().as_bytes());
    let half = &half[..half.len() / 2];
    let invalid = event("{\"content\":\"?\"}", "null").into_bytes();
    let invalid: Vec<u8> = invalid.into_iter().map(|b| if b == b'?' { 0xff } else { b }).collect();
    let cases = vec![
        case("nothing at all", until_closed(EVENTS, b""), CUT),
        case("after an event", begun.clone(), CUT),
        case("in an event", with(&rest().as_bytes()[..40]), CUT),
        case("a chunk's size that is none", (chunks.clone() + "\r\nzz\r\n").into_bytes(), CUT),
        case("closed before the last chunk", (chunks + "\r\n").into_bytes(), CUT),
        case("half a gzip", until_closed(&format!("{EVENTS}content-encoding: gzip\r\n"), half), CUT),
        case("invalid UTF-8", with(&[&invalid[..], rest().as_bytes()].concat()), CUT),
        then("a reset", begun.clone(), Step::Reset),
        then("silence", begun.clone(), Step::Stall),
        case("a frame of 100 MB", with(&b"x".repeat(100 << 20)), CUT),
    ];
    run(&faulty, &gateway, &[Caller::Chat, Caller::Messages], true, cases).await;
    let unreadable = Expect::Refused(502, "provider_answer_unreadable");
    let cases = vec![
        case("a page", http("200 OK", "content-type: text/html\r\n", b"<html></html>"), unreadable),
        case("nothing", http("200 OK", JSON, b""), unreadable),
        case("half an answer", http("200 OK", JSON, &chat()[..60]), unreadable),
        case("an error with 200", http("200 OK", JSON, br#"{"error":{"message":"no","code":429}}"#), Expect::Said(429)),
    ];
    run(&faulty, &gateway, &[Caller::Chat], true, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_stream_is_told_once_and_recorded() {
    let (faulty, gateway) = before("").await;
    for (error, why) in [
        ("error: {\"message\":\"it broke\"}\n\n", "a field of its own"),
        ("event: error\ndata: {\"message\":\"it broke\"}\n\n", "an event by name"),
        ("data: {\"error\":{\"message\":\"it broke\"}}\n\n", "a member"),
        ("data: {\"error\":{\"message\":\"it broke\"}}\n\ndata: [DONE]\n\n", "an end behind it"),
    ] {
        for caller in [Caller::Chat, Caller::Messages] {
            faulty.does(&[Step::Send(until_closed(EVENTS, (first() + error).as_bytes()))]);
            let came = caller.ask(&gateway, "bad/m", true).await;
            let id = came.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
            let body = came.text().await.unwrap();
            assert_eq!(
                body.matches("it broke").count() - body.matches("broke its answer off").count(),
                match caller {
                    Caller::Chat => 1,
                    // The sentence for people, and the reason beside it.
                    Caller::Messages | Caller::Converse => 0,
                },
                "{why}, {caller:?}: {body}"
            );
            let refusal = &gateway.receipt(&id)["outcome"];
            assert_eq!(refusal["kind"], "interrupted", "{why}, {caller:?}: {refusal}");
            assert_eq!(refusal["refusal"]["code"], "provider_error_in_stream", "{why}, {caller:?}");
        }
    }
}

/// The stream of Bedrock, frame by frame.
fn frames() -> Vec<Vec<u8>> {
    [
        ("messageStart", r#"{"role":"assistant"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hel"}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"lo"}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#),
    ]
    .map(|(kind, payload)| frame(kind, payload))
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_are_checked_to_the_last_sum() {
    let (faulty, gateway) = before("").await;
    let good = frames();
    let head = "content-type: application/vnd.amazon.eventstream\r\n";
    let changed = |at: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut frames = good.clone();
        change(&mut frames[at]);
        frames.concat()
    };
    let absurd = |length: u32| changed(3, &move |f| f[..4].copy_from_slice(&length.to_be_bytes()));
    let rows: Vec<(Vec<u8>, bool, &str)> = vec![
        (good.concat(), true, "the usual"),
        (
            changed(2, &|f| {
                let last = f.len() - 1;
                f[last] ^= 1
            }),
            false,
            "a wrong checksum",
        ),
        (changed(2, &|f| f[8] ^= 1), false, "a wrong checksum of the lengths"),
        (
            changed(2, &|f| {
                let at = f.len() - 8;
                f[at] ^= 1
            }),
            false,
            "a changed payload",
        ),
        (absurd(u32::MAX), false, "an absurd length"),
        (absurd(0), false, "no length"),
        (absurd(100 << 20), false, "a length of 100 MB"),
        (good[..3].concat(), false, "no end"),
        ([good[..2].concat(), good[2][..20].to_vec()].concat(), false, "half a frame"),
        (b"data: {}\n\n".to_vec(), false, "no event stream at all"),
    ];
    for (bytes, complete, why) in rows {
        for caller in [Caller::Converse, Caller::Chat] {
            for drip in [false, true] {
                let answer = until_closed(head, &bytes);
                faulty.does(&[if drip { Step::Drip(answer) } else { Step::Send(answer) }]);
                let came = caller.ask(&gateway, "bad_bedrock/m", true).await;
                let id = came.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
                let body = came.bytes().await.unwrap();
                let body = String::from_utf8_lossy(&body);
                let kind = gateway.receipt(&id)["outcome"]["kind"].as_str().unwrap().to_owned();
                assert_eq!(kind, if complete { "answered" } else { "interrupted" }, "{why}, {caller:?}");
                assert_eq!(caller.read(&body, true).1, complete, "{why}, {caller:?}: {body}");
                assert_eq!(body.contains("broke off"), !complete, "{why}, {caller:?}: {body}");
            }
        }
    }
}
