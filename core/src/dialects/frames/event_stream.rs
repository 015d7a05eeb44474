//! `application/vnd.amazon.eventstream`: frames with lengths, headers and two checksums, all numbers big-endian.
//!
//! Four bytes of total length, four of the headers' length, the CRC-32 of those eight; the headers; the payload; the CRC-32
//! of all before. What leaves the framer was checked: both sums hold, and the headers can be read.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{FRAME_BYTES_MAX, Frame, FrameError, Framer};

/// Both lengths and their checksum.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
/// The format's own bound on headers.
const HEADERS_BYTES_MAX: usize = 128 << 10;
/// The type of a header whose value is a text; the only one that this protocol was seen to use.
const TEXT: u8 = 7;

#[derive(Debug, Default)]
pub struct EventStream {
    /// The begin of a frame whose end has not come.
    carry: BytesMut,
}

impl Framer for EventStream {
    fn feed(&mut self, mut piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), FrameError> {
        if !self.carry.is_empty() {
            // As much of the piece as the begun frame needs, and no more: the rest need not be copied.
            loop {
                let wanted = whole(&self.carry)?.unwrap_or(PRELUDE) - self.carry.len();
                let taken = piece.split_to(wanted.min(piece.len()));
                self.carry.extend_from_slice(&taken);
                if taken.len() < wanted {
                    // A length that is too large is refused as soon as it can be read.
                    return whole(&self.carry).map(drop);
                }
                if whole(&self.carry)? == Some(self.carry.len()) {
                    break;
                }
            }
            let frame = std::mem::take(&mut self.carry).freeze();
            check(&frame)?;
            out.push(frame);
        }
        while let Some(length) = whole(&piece)? {
            if piece.len() < length {
                break;
            }
            let frame = piece.split_to(length);
            check(&frame)?;
            out.push(frame);
        }
        self.carry.extend_from_slice(&piece);
        Ok(())
    }

    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.carry).freeze()
    }
}

fn broken<T>(why: &str) -> Result<T, FrameError> {
    Err(FrameError::Broken(why.to_owned()))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(four) as usize)
}

/// The whole length of the frame that begins here; `None` = its prelude has not come.
fn whole(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(length) = number(bytes, 0) else { return Ok(None) };
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge);
    }
    let (Some(headers), Some(sum)) = (number(bytes, 4), number(bytes, 8)) else { return Ok(None) };
    if crc32fast::hash(&bytes[..8]) as usize != sum {
        return broken("the checksum of an event's lengths is wrong");
    }
    if headers > HEADERS_BYTES_MAX || length < PRELUDE + CHECKSUM + headers {
        return broken("an event's lengths do not fit one another");
    }
    Ok(Some(length))
}

/// Checks a frame of the length that it tells.
fn check(frame: &[u8]) -> Result<(), FrameError> {
    let end = frame.len() - CHECKSUM;
    if number(frame, end) != Some(crc32fast::hash(&frame[..end]) as usize) {
        return broken("the checksum of an event is wrong");
    }
    match headers(frame).last() {
        Some(None) => broken("an event's headers cannot be read"),
        Some(Some(_)) | None => Ok(()),
    }
}

/// The headers whose values are texts; one `None` at the end where they cannot be read.
fn headers(frame: &[u8]) -> impl Iterator<Item = Option<(&str, &str)>> {
    let length = number(frame, 4).unwrap_or(0);
    let mut rest = frame.get(PRELUDE..PRELUDE + length).unwrap_or_default();
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let Some((header, after)) = header(rest) else {
                rest = &[];
                return Some(None);
            };
            rest = after;
            if header.is_some() {
                return Some(header);
            }
        }
        None
    })
}

/// One header, and what stands behind it. Its inside is `None` where its value is no text.
#[expect(clippy::type_complexity, reason = "a name for it would say less than its two halves")]
fn header(bytes: &[u8]) -> Option<(Option<(&str, &str)>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    let (value, rest) = match *kind {
        // True and false have no value; then numbers of 1, 2, 4 and 8 bytes, a time, and a UUID.
        0 | 1 => (&rest[..0], rest),
        2 => rest.split_at_checked(1)?,
        3 => rest.split_at_checked(2)?,
        4 => rest.split_at_checked(4)?,
        5 | 8 => rest.split_at_checked(8)?,
        9 => rest.split_at_checked(16)?,
        6 | TEXT => {
            let (length, rest) = rest.split_at_checked(2)?;
            rest.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])))?
        }
        _ => return None,
    };
    let name = std::str::from_utf8(name).ok()?;
    match *kind {
        TEXT => Some((Some((name, std::str::from_utf8(value).ok()?)), rest)),
        _ => Some((None, rest)),
    }
}

/// Reads one frame. An exception is named by its kind; an error without a payload gets its message as one.
pub fn read(frame: &[u8]) -> Frame<'_> {
    let (mut kind, mut event, mut exception, mut code, mut message) = ("", "", "", "", "");
    for (name, value) in headers(frame).flatten() {
        match name {
            ":message-type" => kind = value,
            ":event-type" => event = value,
            ":exception-type" => exception = value,
            ":error-code" => code = value,
            ":error-message" => message = value,
            _ => {}
        }
    }
    let begin = PRELUDE + number(frame, 4).unwrap_or(0);
    let payload = frame.get(begin..frame.len().saturating_sub(CHECKSUM)).unwrap_or_default();
    match kind {
        "exception" => Frame { name: exception.into(), data: payload.into(), is_error: true },
        "error" if payload.is_empty() => {
            let told = crate::contract::write::Writer::object_text(|w| w.member("message", message));
            Frame { name: code.into(), data: Cow::Owned(told), is_error: true }
        }
        "error" => Frame { name: code.into(), data: payload.into(), is_error: true },
        _ => Frame { name: event.into(), data: payload.into(), is_error: false },
    }
}

/// One frame as bytes. Names and values of ours are short; what would not fit its length is cut.
pub fn write(headers: &[(&str, &str)], payload: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&[0; PRELUDE]);
    for (name, value) in headers {
        let name = &name.as_bytes()[..name.len().min(usize::from(u8::MAX))];
        let value = &value.as_bytes()[..value.len().min(usize::from(u16::MAX))];
        out.push(name.len() as u8);
        out.extend_from_slice(name);
        out.push(TEXT);
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
    }
    let headers_length = (out.len() - begin - PRELUDE) as u32;
    out.extend_from_slice(payload);
    let length = (out.len() - begin + CHECKSUM) as u32;
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    out[begin + 4..begin + 8].copy_from_slice(&headers_length.to_be_bytes());
    let sum = crc32fast::hash(&out[begin..begin + 8]);
    out[begin + 8..begin + PRELUDE].copy_from_slice(&sum.to_be_bytes());
    let sum = crc32fast::hash(&out[begin..]);
    out.extend_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let headers = [(":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")];
        write(&headers, payload, &mut out);
        out
    }

    fn cut(bytes: &[u8], cuts: &[usize]) -> Result<(Vec<Bytes>, Bytes), FrameError> {
        let (mut framer, mut out) = (EventStream::default(), Vec::new());
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut from = 0;
        for at in cuts.into_iter().chain([bytes.len()]) {
            framer.feed(Bytes::copy_from_slice(&bytes[from..at]), &mut out)?;
            from = at;
        }
        Ok((out, framer.rest()))
    }

    /// Lengths with checksums that fit them, so that the lengths themselves are what is wrong.
    fn prelude(length: u32, headers: u32) -> Vec<u8> {
        let mut out = [length.to_be_bytes(), headers.to_be_bytes()].concat();
        out.extend(crc32fast::hash(&out).to_be_bytes());
        out
    }

    #[test]
    fn the_frame_that_amazon_documents_is_written_and_read() {
        // The format's own test vector: one header `event-type: 40972` (an integer) and the payload `{'foo':'bar'}`.
        let documented = [
            &[0, 0, 0, 45, 0, 0, 0, 16, 65, 196, 36, 184, 10][..],
            b"event-type",
            &[4, 0, 0, 160, 12],
            b"{'foo':'bar'}",
            &[54, 244, 128, 160],
        ]
        .concat();
        let (frames, rest) = cut(&documented, &[]).unwrap();
        assert!(rest.is_empty());
        assert_eq!(&*read(&frames[0]).data, b"{'foo':'bar'}");

        let mut empty = Vec::new();
        write(&[], b"", &mut empty);
        assert_eq!(empty, [0, 0, 0, 16, 0, 0, 0, 0, 5, 194, 72, 235, 125, 152, 200, 255], "the vector `empty_message`");
    }

    #[test]
    fn messages_are_named_by_what_they_are() {
        let json = ("application/json", ":content-type");
        for (headers, payload, name, data, is_error, why) in [
            (
                vec![(":message-type", "event"), (":event-type", "messageStop"), (json.1, json.0)],
                "{}",
                "messageStop",
                "{}",
                false,
                "an event",
            ),
            (
                vec![(":message-type", "exception"), (":exception-type", "throttlingException")],
                "{\"message\":\"m\"}",
                "throttlingException",
                "{\"message\":\"m\"}",
                true,
                "an exception, by its kind",
            ),
            (
                vec![(":message-type", "error"), (":error-code", "500"), (":error-message", "a \"b\"")],
                "",
                "500",
                "{\"message\":\"a \\\"b\\\"\"}",
                true,
                "an error that nobody modelled has its words in headers",
            ),
            (vec![], "x", "", "x", false, "no headers at all"),
        ] {
            let mut bytes = Vec::new();
            write(&headers, payload.as_bytes(), &mut bytes);
            let frames = cut(&bytes, &[]).unwrap().0;
            let read = read(&frames[0]);
            assert_eq!((&*read.name, &*read.data, read.is_error), (name, data.as_bytes(), is_error), "{why}");
        }
    }

    #[test]
    fn wrong_lengths_are_told_at_once() {
        let too_large = FrameError::TooLarge;
        assert_eq!(cut(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes(), &[]), Err(too_large), "four bytes are enough");
        for (length, headers, why) in [
            (0, 0, "a frame is never shorter than its checksums"),
            (15, 0, "one byte short"),
            (16, 1, "headers longer than the frame"),
            (0x00ff_ffff, 0x00ff_0000, "headers beyond their bound"),
        ] {
            assert!(matches!(cut(&prelude(length, headers), &[]), Err(FrameError::Broken(_))), "{why}");
        }
        let mut bytes = prelude(20, 4);
        bytes.extend([200, b'a', TEXT, 0]);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        let told = cut(&bytes, &[]).unwrap_err();
        assert_eq!(told, FrameError::Broken("an event's headers cannot be read".to_owned()));
    }

    #[test]
    fn a_large_frame_in_small_pieces_is_copied_once() {
        let bytes = frame(&vec![b'x'; 8 << 20]);
        let (mut framer, mut out) = (EventStream::default(), Vec::new());
        for piece in bytes.chunks(1_000) {
            framer.feed(Bytes::copy_from_slice(piece), &mut out).unwrap();
        }
        assert_eq!(out, [Bytes::from(bytes)]);
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
            lost in 0usize..30,
        ) {
            let mut bytes: Vec<u8> = payloads.iter().flat_map(|p| frame(p)).collect();
            bytes.truncate(bytes.len().saturating_sub(lost));
            let (whole, rest) = cut(&bytes, &[]).unwrap();
            prop_assert_eq!(cut(&bytes, &cuts).unwrap(), (whole.clone(), rest.clone()));
            let read: Vec<Vec<u8>> = whole.iter().map(|f| read(f).data.into_owned()).collect();
            prop_assert_eq!(&read[..], &payloads[..read.len()]);
            let all: Vec<u8> = whole.into_iter().flatten().chain(rest).collect();
            prop_assert_eq!(all, bytes, "no byte is lost");
        }

        #[test]
        fn a_flipped_bit_is_an_error(payload in proptest::collection::vec(any::<u8>(), 0..40), bit in any::<usize>()) {
            let mut bytes = frame(&payload);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(cut(&bytes, &[]).is_err());
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..60), cuts in proptest::collection::vec(any::<usize>(), 0..5)) {
            let _ = read(&bytes);
            let _ = cut(&bytes, &cuts);
        }
    }
}
