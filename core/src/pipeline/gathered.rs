//! Answers that are kept while they go on, for a caller that asks again.

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};

use super::settle::After;
use crate::evidence::receipt::Receipt;
use crate::ports::Kept;

/// Answers of streams are kept for idempotency up to this size.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// A body gathered on its way, for a caller that asks again under the same idempotency key. A long one is not kept.
pub struct Gathered(Option<BytesMut>);

impl Gathered {
    pub fn new(after: &After) -> Gathered {
        Gathered(after.shelf_key.is_some().then(BytesMut::new))
    }

    pub fn add(&mut self, piece: &[u8]) {
        if let Some(gathered) = &mut self.0 {
            gathered.extend_from_slice(piece);
        }
        self.0.take_if(|gathered| gathered.len() > KEPT_BYTES_MAX);
    }

    pub fn complete(self, is_whole: bool, status: StatusCode, headers: HeaderMap, receipt: &Receipt) -> Option<Kept> {
        self.0.filter(|_| is_whole).map(|body| Kept {
            status,
            headers,
            body: body.freeze(),
            call_id: receipt.call_id.clone(),
            revision: receipt.revision.clone(),
        })
    }
}
