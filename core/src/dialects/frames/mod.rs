//! How the bytes of a stream are cut into frames. Bounded, and the same whatever the pieces in which they come.

pub mod event_stream;
pub mod json_array;
pub mod ndjson;
pub mod sse;

use std::borrow::Cow;

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

/// Cuts bytes into whole frames, each with all of its bytes, so that it can be passed on as it came.
pub trait Framer: Send {
    /// Takes what came; gives the whole frames in it, without copying where a frame does not span pieces.
    fn feed(&mut self, piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), FrameError>;

    /// The memory in which the frames of the last `feed` stand side by side from its begin, where they do: what goes on
    /// untouched goes on in one piece.
    fn side_by_side(&mut self) -> Option<Bytes> {
        None
    }

    /// The bytes have ended: what is left that is no whole frame. Empty = nothing.
    fn rest(&mut self) -> Bytes;
}

/// The framer of a framing.
pub fn framer(framing: Framing) -> Box<dyn Framer> {
    match framing {
        Framing::Sse => Box::new(sse::Sse::default()),
        Framing::Ndjson => Box::new(ndjson::Ndjson::default()),
        Framing::JsonArray => Box::new(json_array::JsonArray::default()),
        Framing::EventStream => Box::new(event_stream::EventStream::default()),
    }
}

/// Reads a frame that was cut.
pub fn read(framing: Framing, frame: &[u8]) -> Frame<'_> {
    match framing {
        Framing::Sse => sse::read(frame),
        Framing::Ndjson => ndjson::read(frame),
        Framing::JsonArray => json_array::read(frame),
        Framing::EventStream => event_stream::read(frame),
    }
}
