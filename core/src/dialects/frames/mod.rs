//! How the bytes of a stream are cut into frames. Bounded, and the same whatever the pieces in which they come.

pub mod json_array;
pub mod sse;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

/// One frame may be this large; the largest real ones (whole pictures) are about 10 MiB.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// A JSON value a line.
    Ndjson,
    /// One JSON array, delivered piecemeal.
    JsonArray,
    /// `application/vnd.amazon.eventstream`.
    EventStream,
}

/// One frame, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The event's name (`event:`, `:event-type`); empty where it has none.
    pub name: Cow<'a, str>,
    /// The payload; empty for a comment.
    pub data: Cow<'a, [u8]>,
    /// It says itself that it is an error (`event: error`, the nonstandard field `error:`, `:message-type: exception`).
    pub is_error: bool,
}

impl<'a> Frame<'a> {
    pub fn data(data: &'a [u8]) -> Self {
        Frame { name: Cow::Borrowed(""), data: Cow::Borrowed(data), is_error: false }
    }

    pub fn named(name: &'a str, data: &'a [u8]) -> Self {
        Frame { name: Cow::Borrowed(name), data: Cow::Borrowed(data), is_error: false }
    }
}

/// Why a stream cannot be cut into frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("an event is larger than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the framing is broken: {0}")]
    Broken(String),
}

/// Whole frames, side by side in one piece of memory: what goes on untouched goes on in one piece.
#[derive(Debug, Default)]
pub struct Cut {
    pub whole: Bytes,
    /// Where each frame ends; the next begins there, and the first at 0.
    pub ends: Vec<usize>,
}

impl Cut {
    /// The frames' places in `whole`.
    pub fn frames(&self) -> impl Iterator<Item = Range<usize>> + use<'_> {
        self.ends.iter().enumerate().map(|(at, end)| at.checked_sub(1).map_or(0, |before| self.ends[before])..*end)
    }

    pub fn clear(&mut self) {
        self.whole = Bytes::new();
        self.ends.clear();
    }
}

/// Cuts bytes into whole frames, each with all of its bytes, so that it can be passed on as it came.
pub trait Framer: Send {
    /// Takes what came; gives the whole frames in it, without copying where a frame does not span pieces. `cut` is empty.
    fn feed(&mut self, piece: Bytes, cut: &mut Cut) -> Result<(), FrameError>;

    /// The bytes have ended: what is left that is no whole frame. Empty = nothing.
    fn rest(&mut self) -> Bytes;
}

/// The framer of a framing.
pub fn framer(framing: Framing) -> Box<dyn Framer> {
    match framing {
        Framing::Sse | Framing::Ndjson | Framing::JsonArray | Framing::EventStream => Box::new(sse::Sse::default()),
    }
}

/// Reads a frame that was cut.
pub fn read(framing: Framing, frame: &[u8]) -> Result<Frame<'_>, FrameError> {
    match framing {
        Framing::Sse | Framing::Ndjson | Framing::JsonArray | Framing::EventStream => Ok(sse::read(frame)),
    }
}
