//! Request bodies: read under the caller's bound and the process's budget, given back when the call ends.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Core;
use super::arrive::{BodyFault, Incoming};
use super::settle::After;
use crate::contract::packed::PackedError;
use crate::contract::refusal::{Category, Refusal};

/// The process-wide budget of body bytes: above it calls are `overloaded`, not swapped.
pub struct Bodies {
    bytes: Semaphore,
    bytes_max: usize,
}

/// Body bytes in units of this many: a semaphore counts to 2^29 at least.
const UNIT: usize = 1024;

impl Bodies {
    pub fn new(bytes_max: usize) -> Self {
        Bodies { bytes: Semaphore::new(bytes_max.div_ceil(UNIT)), bytes_max }
    }

    /// Reserves room for a body of this size, at once or not at all.
    fn admit(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).ok()?;
        self.bytes.try_acquire_many(units).ok()
    }
}

/// Reads the body under the caller's bound and the process's budget. The permit lives as long as the call.
pub async fn read(
    core: &Core,
    mut body: Incoming,
    content_length: Option<u64>,
    after: &mut After,
) -> Result<Bytes, Refusal> {
    let max = core.bounds.body_bytes_max;
    let too_large = || {
        Refusal::new(
            Category::TooLarge,
            "body_too_large",
            format!("the body is larger than {max} bytes, which is the bound here (`edge.body_bytes_max`)"),
        )
    };
    let told = content_length.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if told.is_some_and(|n| n > max) {
        return Err(too_large());
    }
    let overloaded = || Refusal {
        retry_after_ms: Some(1_000),
        ..Refusal::new(
            Category::Overloaded,
            "bodies_full",
            format!("request bodies under way fill the {} bytes they may take: try again", core.bodies.bytes_max),
        )
    };
    // A body of untold length reserves as it grows.
    let mut reserved = told.unwrap_or(0);
    after.body_units += units(core.bodies.admit(reserved).ok_or_else(overloaded)?);
    let mut whole: Option<Bytes> = None;
    let mut gathered = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(broken)?;
        let length = gathered.len() + whole.as_ref().map_or(0, Bytes::len) + piece.len();
        if length > max {
            return Err(too_large());
        }
        if length > reserved {
            after.body_units += units(core.bodies.admit(length - reserved).ok_or_else(overloaded)?);
            reserved = length;
        }
        match whole.take() {
            // The usual case: one piece is the body, and is never copied.
            None if gathered.is_empty() => whole = Some(piece),
            None => gathered.extend_from_slice(&piece),
            Some(first) => {
                gathered.reserve(told.unwrap_or_else(|| first_room(length, max)));
                gathered.extend_from_slice(&first);
                gathered.extend_from_slice(&piece);
            }
        }
    }
    Ok(whole.unwrap_or_else(|| gathered.freeze()))
}

/// Room for the first pieces of a body of untold length. It doubles from there and ends at the bound, never beyond it.
fn first_room(bytes: usize, max: usize) -> usize {
    std::iter::successors(Some(max), |room| Some(room / 2)).take_while(|room| *room >= bytes).last().unwrap_or(bytes)
}

fn units(permit: SemaphorePermit<'_>) -> usize {
    let units = permit.num_permits();
    // Given back by `settle`, which always runs.
    permit.forget();
    units
}

/// Gives back what `read` reserved.
pub fn release(core: &Core, units: usize) {
    core.bodies.bytes.add_permits(units);
}

fn broken(fault: BodyFault) -> Refusal {
    match fault {
        BodyFault::Broken(what) => Refusal::invalid("broken_body", "body", format!("the body broke off: {what}")),
        BodyFault::Packed(error @ PackedError::Bomb) => {
            Refusal::new(Category::TooLarge, "body_too_large", format!("the body cannot be read: {error}"))
        }
        BodyFault::Packed(error) => {
            Refusal::invalid("broken_body", "content-encoding", format!("the body cannot be read: {error}"))
        }
        BodyFault::Slow(ms) => Refusal::invalid("slow_body", "body", format!("no byte of the body came for {ms} ms")),
    }
}
