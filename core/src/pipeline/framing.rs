//! How the reply to a call for a stream is framed: by its type of content, or by how it begins.

use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, header};

use crate::dialects::frames::Framing;
use crate::ports::ReplyBody;

/// How a reply to a call for a stream is framed; `None` = it is none. Some servers say that events are JSON: the first bytes
/// tell, and the type of content that was not true is taken out.
pub async fn framing(headers: &mut HeaderMap, mut body: ReplyBody) -> (ReplyBody, Option<Framing>) {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    for (begin, framing) in [
        (&b"text/event-stream"[..], Framing::Sse),
        (b"application/vnd.amazon.eventstream", Framing::EventStream),
        (b"application/x-ndjson", Framing::Ndjson),
        // Cohere's first version.
        (b"application/stream+json", Framing::Ndjson),
    ] {
        if kind.starts_with(begin) {
            return (body, Some(framing));
        }
    }
    let (mut came, mut begin) = (Vec::new(), Vec::new());
    while begin.trim_ascii_start().len() < BEGIN_BYTES && begin.len() < SPACE_BYTES_MAX {
        let Some(piece) = body.next().await else { break };
        let broke = piece.is_err();
        begin.extend_from_slice(piece.as_ref().map_or(&[], |p| &p[..p.len().min(SPACE_BYTES_MAX)]));
        came.push(piece);
        if broke {
            break;
        }
    }
    let text = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&begin).trim_ascii_start();
    let framing = match text {
        t if t.starts_with(b"data:") || t.starts_with(b"event:") || t.starts_with(b":") => Some(Framing::Sse),
        t if t.starts_with(b"[") => Some(Framing::JsonArray),
        _ => None,
    };
    // An array is JSON, as its server says.
    if framing == Some(Framing::Sse) {
        headers.remove(header::CONTENT_TYPE);
    }
    (Box::pin(futures_util::stream::iter(came).chain(body)), framing)
}

/// So much of a stream tells that it is one: `event:`.
const BEGIN_BYTES: usize = 6;
/// More space than this before it is no stream.
const SPACE_BYTES_MAX: usize = 1_024;
