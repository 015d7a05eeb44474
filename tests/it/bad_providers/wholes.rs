//! Answers that come whole, and all that can be wrong with one.

use base64::Engine as _;

use super::server::{chunked, until_closed};
use super::*;

/// `chat()` packed in brotli, for which there is no packer here.
const BR_CHAT: &str = "G98AAIzDdKM9f4RwbTYZQW5L/UICGC0ZmNOggckU0zeLTlffTxdyVxQhMbOZZpKRshJfwvVkIWmMf0cT/MJ9ygHeYOfa11MIisRUBmfKwL6mtkCtlABwBbFM+qDAFrmnC2dKqUvKovny8dfq833GXL3xj08VjhiRgkDo5PYD";

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(plain).unwrap();
    packer.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(plain).unwrap();
    packer.finish().unwrap()
}

pub fn zstd(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; zstd_safe::compress_bound(plain.len())];
    let length = zstd_safe::compress(&mut out[..], plain, 3).unwrap();
    out.truncate(length);
    out
}

fn packed(as_what: &str, body: &[u8]) -> Vec<u8> {
    http("200 OK", &format!("{JSON}content-encoding: {as_what}\r\n"), body)
}

const UNREADABLE: Expect = Expect::Refused(502, "provider_answer_unreadable");
const BROKE_OFF: Expect = Expect::Refused(502, "provider_broke_off");
const SILENT: Expect = Expect::Refused(504, "provider_silent");

#[tokio::test(flavor = "multi_thread")]
async fn right_answers_in_odd_clothes_are_right_answers() {
    let (faulty, gateway) = before("").await;
    let ok = http("200 OK", JSON, &chat());
    let hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let many: String = (0..90).map(|n| format!("x-ratelimit-{n}: {}\r\n", "y".repeat(600))).collect();
    let br = base64::engine::general_purpose::STANDARD.decode(BR_CHAT).unwrap();
    let (a, broken_pipe) = (Expect::Answer, until_closed(JSON, &chat()));
    let drip = Case { why: "a byte at a time", steps: vec![Step::Drip(ok.clone())], expect: a };
    let cases = vec![
        case("the usual", ok.clone(), a),
        drip,
        case("chunks of one byte", chunked(JSON, &chat(), 1), a),
        case("no length", broken_pipe, a),
        case("HTTP/1.0", [b"HTTP/1.0 200 OK\r\n\r\n", &chat()[..]].concat(), a),
        case("called a text", http("200 OK", "content-type: text/plain\r\n", &chat()), a),
        case("called HTML", http("200 OK", "content-type: text/html\r\n", &chat()), a),
        case("not called anything", http("200 OK", "", &chat()), a),
        case("a created one", http("201 Created", JSON, &chat()), a),
        case("heads before the head", [&hints[..], &ok].concat(), a),
        case("more behind the answer's length", [&ok[..], b"HTTP/1.1 200 OK\r\n\r\nmore"].concat(), a),
        case("many large headers", http("200 OK", &format!("{JSON}{many}"), &chat()), a),
        case("gzip", packed("gzip", &gzip(&chat())), a),
        case("deflate", packed("deflate", &zlib(&chat())), a),
        case("br", packed("br", &br), a),
        case("zstd", packed("zstd", &zstd(&chat())), a),
        case("plain, and said to be so", packed("identity", &chat()), a),
        case("space around it", http("200 OK", JSON, &[b"\r\n  ", &chat()[..], b"\n\n"].concat()), a),
    ];
    run(&faulty, &gateway, &[Caller::Chat, Caller::Messages], false, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_a_refusal_that_says_so() {
    let (faulty, gateway) = before("").await;
    let ok = chat();
    let page = b"<html><body>Bad gateway</body></html>";
    let invalid = String::from_utf8(ok.clone()).unwrap().replace("Hello", "\u{1}").into_bytes();
    let invalid: Vec<u8> = invalid.into_iter().map(|b| if b == 1 { 0xff } else { b }).collect();
    let nested = [&b"{\"choices\":"[..], &b"[".repeat(100_000), &b"]".repeat(100_000), b"}"].concat();
    let mut damaged = gzip(&ok);
    damaged[20] ^= 0xff;
    let half = gzip(&ok)[..40].to_vec();
    let cases = vec![
        case("a page", http("200 OK", "content-type: text/html\r\n", page), UNREADABLE),
        case("nothing", http("200 OK", JSON, b""), UNREADABLE),
        case("no content", b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), UNREADABLE),
        case("an empty object", http("200 OK", JSON, b"{}"), UNREADABLE),
        case("a list", http("200 OK", JSON, b"[]"), UNREADABLE),
        case("a text", http("200 OK", JSON, b"\"Hello\""), UNREADABLE),
        case("two answers", http("200 OK", JSON, &[&ok[..], &ok].concat()), UNREADABLE),
        case("garbage behind it", http("200 OK", JSON, &[&ok[..], b" x"].concat()), UNREADABLE),
        case("cut at a brace", until_closed(JSON, &ok[..ok.len() - 1]), UNREADABLE),
        case("too small a length", http("200 OK", JSON, &ok[..ok.len() / 2]), UNREADABLE),
        case("invalid UTF-8", http("200 OK", JSON, &invalid), UNREADABLE),
        case("deep nesting", http("200 OK", JSON, &nested), UNREADABLE),
        case("a damaged gzip", packed("gzip", &damaged), UNREADABLE),
        case("half a gzip", packed("gzip", &half), UNREADABLE),
        case("no gzip at all", packed("gzip", &ok), UNREADABLE),
        case("an unknown packing", packed("compress", &ok), UNREADABLE),
        case("two packings", packed("gzip, br", &ok), UNREADABLE),
    ];
    run(&faulty, &gateway, &[Caller::Chat, Caller::Messages], false, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fail_are_refusals_too() {
    let (faulty, gateway) = before("").await;
    let ok = http("200 OK", JSON, &chat());
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\n{JSON}content-length: {length}\r\n\r\n").into_bytes();
    let half = chat()[..50].to_vec();
    let flood: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let huge = format!("x-huge: {}\r\n", "y".repeat(1 << 20));
    let chunks = |more: &[u8]| {
        [format!("HTTP/1.1 200 OK\r\n{JSON}transfer-encoding: chunked\r\n\r\n5\r\n{{\"a\":\r\n").as_bytes(), more]
            .concat()
    };
    let then = |why, bytes: &[u8], step, expect| Case { why, steps: vec![Step::Send(bytes.to_vec()), step], expect };
    let cases = vec![
        Case { why: "closed before the head", steps: vec![], expect: BROKE_OFF },
        case("half a head", b"HTTP/1.1 200 OK\r\ncontent-".to_vec(), BROKE_OFF),
        case("no HTTP", b"SSH-2.0-OpenSSH_9.0\r\n".to_vec(), BROKE_OFF),
        case("too large a length", [head(10_000), chat()].concat(), BROKE_OFF),
        case("a length that is none", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_vec(), BROKE_OFF),
        case("a chunk's size that is none", chunks(b"zz\r\nmore\r\n0\r\n\r\n"), BROKE_OFF),
        case("a chunk's size beyond all", chunks(b"ffffffffffffffffff\r\nmore"), BROKE_OFF),
        case("closed within a chunk", chunks(b"ff\r\nmore"), BROKE_OFF),
        case("too many headers", http("200 OK", &flood, &chat()), BROKE_OFF),
        case("too large a header", http("200 OK", &huge, &chat()), BROKE_OFF),
        then("a reset before the head", b"", Step::Reset, BROKE_OFF),
        then("a reset in the body", &[head(10_000), half.clone()].concat(), Step::Reset, BROKE_OFF),
        then("silence before the head", b"", Step::Stall, SILENT),
        then("silence in the head", &ok[..20], Step::Stall, SILENT),
        then("silence in the body", &[head(10_000), half].concat(), Step::Stall, SILENT),
    ];
    run(&faulty, &gateway, &[Caller::Chat, Caller::Messages], false, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_mean_what_they_say_whatever_their_status() {
    let (faulty, gateway) = before("").await;
    let limited = br#"{"error":{"message":"slow down","code":429}}"#;
    let long = format!("{{\"error\":{{\"message\":\"{}\",\"code\":\"x\"}}}}", "words ".repeat(100_000));
    let page = b"<html>502</html>";
    let cases = vec![
        case("an error with 200", http("200 OK", JSON, limited), Expect::Said(429)),
        case("an error as a text with 200", http("200 OK", JSON, br#"{"error":"it broke"}"#), Expect::Said(502)),
        case(
            "an error of half a megabyte",
            http("500 Internal Server Error", JSON, long.as_bytes()),
            Expect::Said(500),
        ),
        case(
            "a page",
            http("502 Bad Gateway", "content-type: text/html\r\n", page),
            Expect::Refused(502, "provider_error"),
        ),
        case("a page when busy", http("503 Busy", "", page), Expect::Refused(503, "provider_overloaded")),
        case("an empty error", http("500 Oh", "", b""), Expect::Refused(502, "provider_error")),
        case("not modified", b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(), Expect::Refused(502, "provider_error")),
        case(
            "a packed error",
            http("429 Slow", &format!("{JSON}content-encoding: gzip\r\n"), &gzip(limited)),
            Expect::Said(429),
        ),
    ];
    run(&faulty, &gateway, &[Caller::Chat], false, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_never_followed() {
    let (faulty, gateway) = before("").await;
    let elsewhere = Faulty::serve().await;
    elsewhere.does(&[Step::Send(http("200 OK", JSON, &chat()))]);
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        for port in [elsewhere.port, faulty.port] {
            for stream in [false, true] {
                let to = format!("location: http://127.0.0.1:{port}/v1/chat/completions\r\n{JSON}");
                faulty.does(&[Step::Send(http(status, &to, br#"{"error":{"message":"moved"}}"#))]);
                let came = Caller::Chat.ask(&gateway, "bad/m", stream).await;
                assert_eq!(came.status(), 502, "{status}");
                assert!(!came.headers().contains_key("location"), "{status}");
                let refusal = told(&came.text().await.unwrap()).unwrap();
                assert_eq!((&refusal["code"], &refusal["fault"]), (&json!("provider_error"), &json!("provider")));
                assert_eq!(
                    (faulty.asked(), elsewhere.asked()),
                    (1, 0),
                    "{status}: the call and its secret went nowhere else"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_is_handed_on_in_bounds() {
    let (faulty, gateway) = before("").await;
    let long = format!("{{\"error\":{{\"message\":\"{}\"}}}}", "words ".repeat(100_000));
    faulty.does(&[Step::Send(http("500 Oh", JSON, long.as_bytes()))]);
    let came = Caller::Messages.ask(&gateway, "bad/m", false).await;
    let id = came.headers()["tollgate-call-id"].to_str().unwrap().to_owned();
    let body = came.text().await.unwrap();
    assert!(body.len() < 6_000 && body.contains("(600000 bytes)"), "{}", body.len());
    assert!(gateway.receipt(&id).to_string().len() < 10_000);
}
