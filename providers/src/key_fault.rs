//! Some tell of a wrong key as of a bad request (Google does): that it is about the key stands in the body alone.

use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use tollgate_core::contract::Dialect;
use tollgate_core::pipeline::translate::voice;
use tollgate_core::ports::ReplyBody;

/// By its code alone: messages repeat what a caller sent.
const CODES: [&str; 3] = ["API_KEY_INVALID", "API_KEY_EXPIRED", "invalid_api_key"];
/// Errors about keys are far shorter.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Is a bad request one about the key? The body is given back as it came.
pub(crate) async fn is_told(
    dialect: Dialect,
    status: StatusCode,
    headers: &HeaderMap,
    mut body: ReplyBody,
) -> (bool, ReplyBody) {
    if status != StatusCode::BAD_REQUEST {
        return (false, body);
    }
    let (mut came, mut text) = (Vec::new(), Vec::new());
    while text.len() <= BODY_BYTES_MAX {
        let Some(piece) = body.next().await else { break };
        text.extend_from_slice(piece.as_deref().unwrap_or_default());
        let is_last = piece.is_err();
        came.push(piece);
        if is_last {
            break;
        }
    }
    let said = voice(dialect).read_error(status, headers, &text);
    let is_told = said.and_then(|said| said.code).is_some_and(|code| CODES.contains(&&*code));
    (is_told, Box::pin(stream::iter(came).chain(body)))
}
