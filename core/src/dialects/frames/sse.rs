//! Server-sent events: LF or CRLF line ends, comments, several `data:` lines, a byte order mark, and the nonstandard field
//! `error:` that some servers use where they fail.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{FRAME_BYTES_MAX, Frame, FrameError, Framer};

/// Cuts at empty lines. A frame keeps every byte that came, comments included.
#[derive(Debug, Default)]
pub struct Sse {
    /// The begin of a frame whose end has not come.
    carry: BytesMut,
    seen: Seen,
    /// What the frames of the last piece were cut from.
    fed: Option<Bytes>,
}

/// How far the carry was searched: what comes in many pieces is not read again for each.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// The begin of the last line.
    line: usize,
    bytes: usize,
}

impl Framer for Sse {
    fn feed(&mut self, piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), FrameError> {
        self.fed = None;
        let mut seen = if self.carry.is_empty() { Seen::default() } else { self.seen };
        let bytes = match self.carry.is_empty() {
            true => piece,
            false => {
                self.carry.extend_from_slice(&piece);
                // Nothing moves before a frame ends: a large one comes in many pieces.
                let before = seen;
                if end(&self.carry, &mut seen).is_none() {
                    self.seen = seen;
                    return if self.carry.len() > FRAME_BYTES_MAX { Err(FrameError::TooLarge) } else { Ok(()) };
                }
                seen = before;
                std::mem::take(&mut self.carry).freeze()
            }
        };
        let mut frame = 0;
        while let Some(end) = end(&bytes, &mut seen) {
            if end - frame > FRAME_BYTES_MAX {
                return Err(FrameError::TooLarge);
            }
            out.push(bytes.slice(frame..end));
            frame = end;
        }
        if bytes.len() - frame > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge);
        }
        self.seen = Seen { line: seen.line - frame, bytes: seen.bytes - frame };
        if bytes.len() > frame {
            self.carry.extend_from_slice(&bytes[frame..]);
        }
        self.fed = Some(bytes);
        Ok(())
    }

    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.carry).freeze()
    }

    fn side_by_side(&mut self) -> Option<Bytes> {
        self.fed.take()
    }
}

/// Where the next frame ends.
fn end(bytes: &[u8], seen: &mut Seen) -> Option<usize> {
    let from = seen.bytes;
    for at in memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| at + from) {
        let empty = matches!(&bytes[seen.line..at], b"" | b"\r");
        *seen = Seen { line: at + 1, bytes: at + 1 };
        if empty {
            return Some(at + 1);
        }
    }
    seen.bytes = bytes.len();
    None
}

/// Reads the fields of one frame. A frame without data, a comment or an empty line, has empty data.
pub fn read(frame: &[u8]) -> Frame<'_> {
    let mut read = Frame::data(b"");
    let mut lines = 0;
    for line in frame.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let (field, value) = match memchr::memchr(b':', line) {
            Some(0) | None => continue,
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
        };
        match field {
            b"data" | b"error" => {
                read.is_error |= field == b"error";
                lines += 1;
                match lines {
                    1 => read.data = Cow::Borrowed(value),
                    _ => {
                        let joined = read.data.to_mut();
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                    }
                }
            }
            b"event" => read.name = String::from_utf8_lossy(value),
            _ => {}
        }
    }
    read.is_error |= read.name == "error";
    read
}

/// One event as bytes. Data of our own never has line ends: JSON escapes them.
pub fn write(name: Option<&str>, data: &[u8], out: &mut Vec<u8>) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &[u8], cuts: &[usize]) -> (Vec<Bytes>, Bytes) {
        let (mut framer, mut out) = (Sse::default(), Vec::new());
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (text.len() + 1)).collect();
        cuts.sort_unstable();
        let mut from = 0;
        for at in cuts.into_iter().chain([text.len()]) {
            framer.feed(Bytes::copy_from_slice(&text[from..at]), &mut out).unwrap();
            from = at;
        }
        (out, framer.rest())
    }

    #[test]
    fn fields_are_read_as_the_specification_says() {
        for (frame, name, data, is_error, why) in [
            ("data: a\n\n", "", "a", false, "the usual case"),
            ("data:a\r\n\r\n", "", "a", false, "no space, CRLF"),
            ("data:  a\n\n", "", " a", false, "one space only is taken off"),
            ("event: x\ndata: a\nid: 7\nretry: 1\n\n", "x", "a", false, "other fields are passed over"),
            ("data: a\ndata: b\n\n", "", "a\nb", false, "several lines are one payload"),
            (": data: a\n\n", "", "", false, "a comment"),
            ("\u{feff}data: a\n\n", "", "a", false, "a byte order mark"),
            ("event: error\ndata: a\n\n", "error", "a", true, "an error by name"),
            ("error: {\"code\":500}\n\n", "", "{\"code\":500}", true, "an error by its own field"),
            ("data\n\n", "", "", false, "a field without a value"),
        ] {
            let read = read(frame.as_bytes());
            assert_eq!((&*read.name, &*read.data, read.is_error), (name, data.as_bytes(), is_error), "{why}");
        }
    }

    #[test]
    fn a_frame_without_an_end_is_bounded() {
        let mut framer = Sse::default();
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let fed = (0..20).map(|_| framer.feed(piece.clone(), &mut Vec::new())).find(Result::is_err);
        assert_eq!(fed, Some(Err(FrameError::TooLarge)));
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            text in "((data: [a-z\u{e4}]{0,5}|: c|event: e)?(\n|\r\n)){0,12}[a-z]{0,4}",
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            let (whole, rest) = cut(text.as_bytes(), &[]);
            prop_assert_eq!(cut(text.as_bytes(), &cuts), (whole.clone(), rest.clone()));
            let all: Vec<u8> = whole.into_iter().flatten().chain(rest).collect();
            prop_assert_eq!(all, text.as_bytes(), "no byte is lost");
        }
    }
}
