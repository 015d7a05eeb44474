//! The truth log: what was received and what was sent, for tests that compare it with what others say.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::Value;

/// Of a request's body, this much is kept.
const BODY_BYTES_KEPT: usize = 64 * 1024;
/// Headers that carry credentials: that they were there is kept, and a digest, never the value.
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// One request and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Sent {
    pub number: u64,
    pub time_ms: u64,
    pub path: String,
    pub model: String,
    pub headers: Vec<(String, String)>,
    pub body_bytes: usize,
    pub body: String,
    pub status: u16,
    /// Bytes and events that were written.
    pub bytes: usize,
    pub events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Value>,
    /// The answer was written to its end; `false` = the caller left, or the script cut it.
    pub complete: bool,
}

pub struct Truth {
    log: Mutex<VecDeque<Sent>>,
    max: usize,
    number: AtomicU64,
}

impl Truth {
    pub fn new(max: usize) -> Self {
        Truth { log: Mutex::default(), max, number: AtomicU64::new(0) }
    }

    /// The number of the next request, from 1.
    pub fn next(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn push(&self, sent: Sent) {
        let mut log = self.log.lock().expect("no code panics while it holds the log");
        if log.len() >= self.max {
            log.pop_front();
        }
        log.push_back(sent);
    }

    pub fn clear(&self) {
        self.log.lock().expect("no code panics while it holds the log").clear();
    }

    /// All of it as JSON lines.
    pub fn lines(&self) -> String {
        let log = self.log.lock().expect("no code panics while it holds the log");
        log.iter().map(|s| serde_json::to_string(s).expect("texts and numbers are JSON") + "\n").collect()
    }
}

impl Sent {
    pub fn new(number: u64, path: &str, headers: &HeaderMap, body: &[u8]) -> Self {
        let shown = |name: &str, value: &[u8]| match CREDENTIALS.contains(&name) {
            true => format!("digest:{}", digest(value)),
            false => String::from_utf8_lossy(value).into_owned(),
        };
        Sent {
            number,
            time_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
            path: path.to_owned(),
            model: String::new(),
            headers: headers.iter().map(|(k, v)| (k.to_string(), shown(k.as_str(), v.as_bytes()))).collect(),
            body_bytes: body.len(),
            body: String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_KEPT)]).into_owned(),
            status: 200,
            bytes: 0,
            events: 0,
            usage: None,
            complete: true,
        }
    }
}

fn digest(value: &[u8]) -> String {
    let hash = value.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
