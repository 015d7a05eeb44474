//! Framings: pieces change nothing, no byte is lost, and every frame can be read.

use bytes::Bytes;
use tollgate_core::dialects::frames::{FrameError, Framing, event_stream, framer, read};

/// Whole frames and what is left behind them; after an error the frames before it.
type Cut = (Vec<Bytes>, Result<Bytes, FrameError>);

fn cut(framing: Framing, pieces: Vec<Bytes>) -> Cut {
    let (mut framer, mut frames) = (framer(framing), Vec::new());
    for piece in pieces {
        if let Err(error) = framer.feed(piece, &mut frames) {
            return (frames, Err(error));
        }
    }
    (frames, Ok(framer.rest()))
}

pub fn check(framing: Framing, data: &[u8]) {
    let mut ways = crate::cuts(data).into_iter().map(|pieces| cut(framing, pieces));
    let whole = ways.next().expect("there is one way at least");
    if let (frames, Ok(rest)) = &whole {
        let all: Vec<u8> = frames.iter().chain([rest]).flatten().copied().collect();
        assert_eq!(all, data, "a byte is lost, or one is invented");
    }
    for other in ways {
        match (&whole.1, &other.1) {
            (Ok(_), _) | (_, Ok(_)) => assert_eq!(whole, other, "pieces change the frames"),
            // What stood before the error may have been given or not: the stream is broken in either case.
            (Err(one), Err(two)) => assert_eq!(one, two, "pieces change what is told"),
        }
    }
    whole.0.iter().for_each(|frame| drop(read(framing, frame)));
    if let Ok(rest) = &whole.1 {
        drop(read(framing, rest));
    }
}

/// An event whose sums are right, so that what is behind them is reached; then one of which a byte is wrong.
pub fn check_event_stream(data: &[u8]) {
    check(Framing::EventStream, data);
    let Some((first, rest)) = data.split_first() else { return };
    let (headers, payload) = rest.split_at(usize::from(*first).min(rest.len()));
    let mut frame = raw_event(headers, payload);
    check(Framing::EventStream, &frame);
    let name = String::from_utf8_lossy(headers);
    let mut ours = Vec::new();
    event_stream::write(&[(":message-type", "event"), (":event-type", &name)], payload, &mut ours);
    let told = event_stream::read(&ours);
    assert_eq!((&*told.name, &*told.data), (&*name, payload), "what is written is read");
    let wrong = usize::from(*first) % frame.len();
    frame[wrong] ^= 1;
    let (frames, _) = cut(Framing::EventStream, vec![frame.into()]);
    assert!(frames.is_empty(), "an event with a wrong byte at {wrong} passed");
}

fn raw_event(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        let mut sum = u32::MAX;
        for byte in bytes {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
            }
        }
        (!sum).to_be_bytes()
    };
    let length = |bytes: usize| u32::try_from(bytes).expect("inputs are short").to_be_bytes();
    let mut frame = [length(16 + headers.len() + payload.len()), length(headers.len())].concat();
    frame.extend(crc(&frame));
    frame.extend(headers);
    frame.extend(payload);
    frame.extend(crc(&frame));
    frame
}
