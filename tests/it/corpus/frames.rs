//! The framings of streams, read here once more and plainly: events, lines, an array, Amazon's messages with their checksums.

use serde_json::Value;

/// One frame: its event's name, where it has one, and its JSON. `[DONE]` is the text that it is.
pub struct Frame {
    pub name: String,
    pub data: Value,
}

/// Cuts a whole stream.
pub fn cut(content_type: &str, body: &[u8]) -> Result<Vec<Frame>, String> {
    match content_type {
        kind if kind.starts_with("application/vnd.amazon.eventstream") => messages(body),
        kind if kind.starts_with("application/x-ndjson") => lines(body),
        _ if body.trim_ascii_start().starts_with(b"[") => array(body),
        _ => events(body),
    }
}

fn json(text: &str) -> Result<Value, String> {
    match text {
        "[DONE]" => Ok(Value::from("[DONE]")),
        text => serde_json::from_str(text).map_err(|e| format!("{e}: {text}")),
    }
}

fn events(body: &[u8]) -> Result<Vec<Frame>, String> {
    let text = String::from_utf8_lossy(body).replace("\r\n", "\n");
    let mut frames = Vec::new();
    for event in text.split("\n\n") {
        let (mut name, mut data) = (String::new(), Vec::new());
        for line in event.lines() {
            match line.split_once(':') {
                Some(("event", value)) => value.trim().clone_into(&mut name),
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                // The field that one server writes its errors in.
                Some(("error", value)) => {
                    "error".clone_into(&mut name);
                    data.push(value.trim());
                }
                _ => {}
            }
        }
        let data = data.join("\n");
        if !data.is_empty() {
            frames.push(Frame { name, data: json(&data)? });
        }
    }
    Ok(frames)
}

fn lines(body: &[u8]) -> Result<Vec<Frame>, String> {
    let text = String::from_utf8_lossy(body);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| Ok(Frame { name: String::new(), data: json(line)? })).collect()
}

fn array(body: &[u8]) -> Result<Vec<Frame>, String> {
    let elements: Vec<Value> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    Ok(elements.into_iter().map(|data| Frame { name: String::new(), data }).collect())
}

/// Amazon's: lengths, headers and two checksums around each payload.
fn messages(mut body: &[u8]) -> Result<Vec<Frame>, String> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let word = |at: usize| body.get(at..at + 4).map(|four| u32::from_be_bytes(four.try_into().unwrap()) as usize);
        let (total, headers) = (word(0).ok_or("cut")?, word(4).ok_or("cut")?);
        if body.len() < total || total < headers + 16 {
            return Err("a message is longer than what is there".to_owned());
        }
        let sum = |bytes: &[u8]| crc32(bytes) as usize;
        if word(8) != Some(sum(&body[..8])) || word(total - 4) != Some(sum(&body[..total - 4])) {
            return Err("a checksum is wrong".to_owned());
        }
        let (mut name, mut rest) = (String::new(), &body[12..12 + headers]);
        while let Some((length, more)) = rest.split_first() {
            let (key, more) = more.split_at(usize::from(*length));
            let length = usize::from(u16::from_be_bytes([more[1], more[2]]));
            let value = String::from_utf8_lossy(&more[3..3 + length]).into_owned();
            if matches!(key, b":event-type" | b":exception-type") {
                name = value;
            }
            rest = &more[3 + length..];
        }
        let data = json(&String::from_utf8_lossy(&body[12 + headers..total - 4]))?;
        frames.push(Frame { name, data });
        body = &body[total..];
    }
    Ok(frames)
}

pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (0u32.wrapping_sub(crc & 1)));
        }
    }
    !crc
}

/// A message of Amazon's with these headers.
pub fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(name.len() as u8);
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&(value.len() as u16).to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let total = (head.len() + payload.len() + 16) as u32;
    let mut out = total.to_be_bytes().to_vec();
    out.extend_from_slice(&(head.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32(&out).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(&crc32(&out).to_be_bytes());
    out
}
