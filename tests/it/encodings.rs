//! `content-encoding` and `accept-encoding` of callers: packed bodies are read in bounds, answers are never packed.

use std::io::Write as _;

use crate::calls::{chat, client};
use crate::support::gateway::{Gateway, eventually};

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(plain).unwrap();
    packer.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(plain).unwrap();
    packer.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; zstd_safe::compress_bound(plain.len())];
    let length = zstd_safe::compress(&mut out[..], plain, 3).unwrap();
    out.truncate(length);
    out
}

async fn post(gateway: &Gateway, packed_as: &str, body: Vec<u8>) -> (u16, String) {
    let call = client().post(gateway.url("/v1/chat/completions")).bearer_auth(&gateway.key);
    let call = call.header("content-encoding", packed_as).header("accept-encoding", "gzip, br, zstd");
    let answer = call.body(body).send().await.unwrap();
    assert!(!answer.headers().contains_key("content-encoding"), "answers are never packed");
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_are_read() {
    let gateway = Gateway::start();
    let ok = chat("sim/sim-1").to_string().into_bytes();
    for (packed_as, body, why) in [
        ("gzip", gzip(&ok), "the usual"),
        ("x-gzip", gzip(&ok), "its old name"),
        ("GZIP", gzip(&ok), "any case"),
        ("deflate", zlib(&ok), "zlib"),
        ("zstd", zstd(&ok), "what coding agents send"),
        ("identity", ok.clone(), "not packed, and said so"),
    ] {
        let (status, text) = post(&gateway, packed_as, body).await;
        assert_eq!(status, 200, "{why}: {text}");
        assert!(text.contains("\"content\":\"sim: Hello"), "{why}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_unpacked_are_refused_by_name() {
    let gateway = Gateway::start();
    let ok = chat("sim/sim-1").to_string().into_bytes();
    let bomb = [b"{\"model\":\"sim/sim-1\",\"x\":\"".to_vec(), b"y".repeat(300 << 20)].concat();
    let (bomb_gzip, bomb_zstd) = (gzip(&bomb), zstd(&bomb));
    drop(bomb);
    let base = gateway.peak_kib();
    for (packed_as, body, status, code, why) in [
        ("compress", ok.clone(), 400, "unknown_encoding", "one that nobody uses"),
        ("gzip, br", gzip(&ok), 400, "unknown_encoding", "two at once"),
        ("gzip", ok.clone(), 400, "broken_body", "not packed at all"),
        ("gzip", gzip(&ok)[..30].to_vec(), 400, "broken_body", "half of one"),
        ("zstd", b"(\xb5/\xfd garbage".to_vec(), 400, "broken_body", "garbage"),
        ("gzip", gzip(b""), 400, "empty_body", "nothing, packed"),
        ("gzip", bomb_gzip, 413, "body_too_large", "300 MiB in 300 KiB"),
        ("zstd", bomb_zstd, 413, "body_too_large", "300 MiB in 30 KiB"),
    ] {
        let (got, text) = post(&gateway, packed_as, body).await;
        assert_eq!(got, status, "{why}: {text}");
        assert!(text.contains(&format!("\"code\":\"{code}\"")), "{why}: {text}");
        if code == "unknown_encoding" {
            assert!(text.contains("`gzip`, `deflate`, `br`, `zstd`"), "{why}: it says what is taken: {text}");
        }
    }
    let grown = gateway.peak_kib().saturating_sub(base);
    assert!(grown < 100 << 10, "the bombs took {grown} KiB");
    eventually("a receipt of each", || (gateway.receipts().len() == 8).then_some(()));
    let (status, _) = post(&gateway, "identity", ok).await;
    assert_eq!(status, 200, "the next call");
}
