//! What has no end, or is larger than it looks: the gateway's memory is measured from outside.

use futures_util::StreamExt;

use super::server::until_closed;
use super::wholes::{gzip, zstd};
use super::*;

/// So much more than for one good call may ever have been resident: an answer that is read whole (32 MiB), the room that it
/// is put together in, and some air. What is without an end is read on far beyond.
const GROWTH_KIB_MAX: u64 = 128 << 10;

/// Asks, takes at most so many bytes, and leaves.
async fn taste(caller: Caller, gateway: &Gateway, model: &str, stream: bool, bytes_max: usize) -> (u16, Vec<u8>) {
    let came = caller.ask(gateway, model, stream).await;
    let status = came.status().as_u16();
    let (mut pieces, mut all) = (came.bytes_stream(), Vec::new());
    while let Some(Ok(piece)) = pieces.next().await {
        all.extend_from_slice(&piece);
        if all.len() > bytes_max {
            break;
        }
    }
    (status, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_whatever_comes() {
    let (faulty, gateway) = before("edge: { deadline_ms: 4000 }\n").await;
    faulty.does(&[Step::Send(http("200 OK", JSON, &chat()))]);
    taste(Caller::Chat, &gateway, "bad/m", false, 1 << 20).await;
    let base = gateway.peak_kib();
    let json = until_closed(JSON, b"{\"choices\":[],\"pad\":\"");
    let space = until_closed(JSON, b"{");
    let events = until_closed(EVENTS, b"");
    let lines = until_closed("content-type: application/x-ndjson\r\n", b"");
    let packed =
        |how: &str, kind: &str, body: Vec<u8>| until_closed(&format!("{kind}content-encoding: {how}\r\n"), &body);
    // 256 MiB each: a text in a whole answer, and one event that never ends.
    let pad = [b"{\"choices\":[],\"pad\":\"".to_vec(), b"x".repeat(256 << 20)].concat();
    let (small_gzip, small_zstd) = (gzip(&pad), zstd(&pad));
    drop(pad);
    let comment = b": nothing\n\n".repeat(1_000);
    let word = event("{\"content\":\"word \"}", "null").into_bytes();
    let argument = event(
        "{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"@\"}}]}",
        "null",
    )
    .replace('@', &"1".repeat(8_000))
    .into_bytes();
    let pad = b"x".repeat(64 << 10);
    type Row = (&'static str, &'static str, bool, Vec<u8>, Vec<u8>);
    let rows: Vec<Row> = vec![
        ("a text without an end", "bad/m", false, json, pad.clone()),
        ("space without an end", "bad/m", false, space, b" ".repeat(64 << 10)),
        ("a line without an end", "bad/m", true, events.clone(), pad.clone()),
        ("comments without an end", "bad/m", true, events.clone(), comment),
        ("words without an end", "bad/m", true, events.clone(), word.repeat(100)),
        ("arguments without an end", "bad/m", true, events.clone(), argument),
        ("a line of JSON without an end", "bad_ollama/m", true, lines, pad),
        ("a bomb in gzip", "bad/m", false, packed("gzip", JSON, small_gzip.clone()), vec![]),
        ("a bomb in zstd", "bad/m", false, packed("zstd", JSON, small_zstd.clone()), vec![]),
        ("a stream that is a bomb in gzip", "bad/m", true, packed("gzip", EVENTS, small_gzip), vec![]),
        ("a stream that is a bomb in zstd", "bad/m", true, packed("zstd", EVENTS, small_zstd), vec![]),
    ];
    for (why, model, stream, begin, more) in rows {
        for caller in [Caller::Chat, Caller::Messages] {
            let steps = [Step::Send(begin.clone()), Step::Forever(more.clone())];
            let steps = if more.is_empty() { &steps[..1] } else { &steps[..] };
            faulty.does(steps);
            let (status, body) = taste(caller, &gateway, model, stream, 384 << 20).await;
            let text = String::from_utf8_lossy(&body);
            assert!(!caller.read(&text, stream).1 || !stream, "{why}, {caller:?}: it looks complete");
            if status != 200 {
                assert_eq!(told(&text).unwrap()["fault"], "provider", "{why}, {caller:?}: {text}");
            }
            drop(body);
            let grown = gateway.peak_kib().saturating_sub(base);
            eprintln!("{why}, {caller:?}: {status}, peak + {} MiB", grown >> 10);
            assert!(grown < GROWTH_KIB_MAX, "{why}, {caller:?}: {grown} KiB more than for a good call");
            faulty.does(&[Step::Send(http("200 OK", JSON, &chat()))]);
            let (_, next) = taste(caller, &gateway, "bad/m", false, 1 << 20).await;
            assert_eq!(caller.read(&String::from_utf8_lossy(&next), false).0, TEXT, "{why}: the next call");
        }
    }
}
