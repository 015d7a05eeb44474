//! How idempotency records and the ids of what providers hold lie in the state file.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tollgate_core::ports::{Kept, Origin};

use crate::keyed::{Raw, Table};

/// By the digest of the key: what became of it.
pub(super) const KEYS: Table<Claimed> = Table::named("idempotency");
/// By the same: the answer.
pub(super) const ANSWERS: Table<Raw> = Table::named("idempotency_answers");
/// By the id that a provider gave.
pub(super) const ORIGINS: Table<Noted> = Table::named("origins");

/// A key whose call has left for a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Claimed {
    pub call_id: Arc<str>,
    pub body_digest: [u8; 32],
    pub at_ms: i64,
    /// Empty = of a version that did not write whose it is.
    #[serde(default)]
    pub tenant: Arc<str>,
    /// Of its answer; `None` = there is none that could be given again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub tenant: Arc<str>,
    pub provider: Arc<str>,
    pub target: Arc<str>,
    pub at_ms: i64,
}

impl Noted {
    pub(super) fn of(origin: &Origin, at_ms: i64) -> Noted {
        let Origin { tenant, provider, target } = origin.clone();
        Noted { tenant, provider, target, at_ms }
    }

    pub(super) fn origin(self) -> Origin {
        Origin { tenant: self.tenant, provider: self.provider, target: self.target }
    }
}

/// The name of a row: no key of a caller is written, and none is too long.
pub(super) fn name(key: &str) -> String {
    blake3::hash(key.as_bytes()).to_hex().to_string()
}

/// What the lines of an answer mostly need.
const LINES_BYTES: usize = 1_024;

/// An answer as text lines (status, call, revision, headers, an empty one) and its body; in no more memory than it needs.
pub(super) fn write(kept: &Kept) -> Bytes {
    let mut bytes = Vec::with_capacity(LINES_BYTES + kept.body.len());
    let first = format!("{}\n{}\n{}\n", kept.status.as_u16(), kept.call_id, kept.revision);
    bytes.extend_from_slice(first.as_bytes());
    for (name, value) in &kept.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        // A value has no line end in it, whatever else it has.
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    }
    bytes.push(b'\n');
    bytes.extend_from_slice(&kept.body);
    Bytes::from(bytes.into_boxed_slice())
}

/// `None` = it is none of ours.
pub(super) fn read(bytes: Bytes) -> Option<Kept> {
    let mut at = 0;
    let mut line = || {
        let end = at + memchr::memchr(b'\n', bytes.get(at..)?)?;
        let line = &bytes[at..end];
        at = end + 1;
        Some(line)
    };
    let text = |line: &[u8]| std::str::from_utf8(line).ok().map(str::to_owned);
    let status = StatusCode::from_bytes(line()?).ok()?;
    let (call_id, revision) = (text(line()?)?.into(), text(line()?)?.into());
    let mut headers = HeaderMap::new();
    loop {
        let header = line()?;
        if header.is_empty() {
            break;
        }
        let colon = memchr::memmem::find(header, b": ")?;
        let name = HeaderName::from_bytes(&header[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(&header[colon + 2..]).ok()?);
    }
    let body = bytes.slice(at..);
    Some(Kept { status, headers, body, call_id, revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("text/event-stream"));
        headers.append("x-a", HeaderValue::from_bytes(b"caf\xe9: \"x\"").unwrap());
        headers.append("x-a", HeaderValue::from_static(""));
        for body in [&b""[..], b"data: {}\n\n", b"\0\xff\n\n\n"] {
            let kept = Kept {
                status: StatusCode::CREATED,
                headers: headers.clone(),
                body: Bytes::from_static(body),
                call_id: "c".into(),
                revision: "r".into(),
            };
            let again = read(write(&kept)).unwrap();
            assert_eq!((again.status, &again.headers, &again.body), (kept.status, &kept.headers, &kept.body));
            assert_eq!((again.call_id, again.revision), (kept.call_id, kept.revision));
        }
        for wrong in ["", "200", "200\nc\nr\n", "two\nc\nr\n\n", "200\nc\nr\nno header\n\n"] {
            assert!(read(Bytes::from_static(wrong.as_bytes())).is_none(), "{wrong:?}");
        }
    }
}
