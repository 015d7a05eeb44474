//! A JSON value a line: LF or CRLF line ends. An empty line is a frame without data, so that its bytes pass on like all
//! others; a last line that never got its end comes from `rest`.

use bytes::{Bytes, BytesMut};

use super::{FRAME_BYTES_MAX, Frame, FrameError, Framer};

/// Cuts behind each line end.
#[derive(Debug, Default)]
pub struct Ndjson {
    /// The begin of a line whose end has not come. It holds no line end: only what comes is searched for one.
    carry: BytesMut,
}

impl Framer for Ndjson {
    fn feed(&mut self, piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), FrameError> {
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', &piece) {
            let line = piece.slice(from..=end);
            from = end + 1;
            if self.carry.len() + line.len() > FRAME_BYTES_MAX {
                return Err(FrameError::TooLarge);
            }
            match self.carry.is_empty() {
                true => out.push(line),
                false => {
                    self.carry.extend_from_slice(&line);
                    out.push(self.carry.split().freeze());
                }
            }
        }
        if self.carry.len() + piece.len() - from > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge);
        }
        self.carry.extend_from_slice(&piece[from..]);
        Ok(())
    }

    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.carry).freeze()
    }
}

/// The payload of one line; an empty line has an empty one.
pub fn read(line: &[u8]) -> Frame<'_> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    Frame::data(line.trim_ascii())
}

/// One value as a line. Texts have no line ends, JSON escapes them; but JSON that somebody else wrote may have some between
/// its values, where a space says the same.
pub fn write(json: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    out.extend_from_slice(json);
    if memchr::memchr2(b'\n', b'\r', json).is_some() {
        out[from..].iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &[u8], cuts: &[usize]) -> (Vec<Bytes>, Bytes) {
        let (mut framer, mut out) = (Ndjson::default(), Vec::new());
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
    fn lines_are_frames() {
        let (frames, rest) = cut(b"{\"a\":1}\r\n\n {\"b\":2} \n{\"c\"", &[3, 8, 9]);
        let data: Vec<_> = frames.iter().map(|f| read(f).data.into_owned()).collect();
        assert_eq!(data, [&b"{\"a\":1}"[..], b"", b"{\"b\":2}"], "CRLF, an empty line, white space around");
        assert_eq!(&rest[..], b"{\"c\"", "the last line has no end");
        assert_eq!(&*read(b"\xef\xbb\xbf{}\n").data, b"{}", "a byte order mark");
    }

    #[test]
    fn a_value_is_one_line() {
        let mut out = Vec::new();
        write(b"{\n \"a\": \"\\n\"\r\n}", &mut out);
        assert_eq!(out, b"{  \"a\": \"\\n\"  }\n");
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let mut framer = Ndjson::default();
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let fed = (0..20).map(|_| framer.feed(piece.clone(), &mut Vec::new())).find(Result::is_err);
        assert_eq!(fed, Some(Err(FrameError::TooLarge)));
        let mut whole = vec![b'x'; FRAME_BYTES_MAX + 1];
        whole.push(b'\n');
        let fed = Ndjson::default().feed(whole.into(), &mut Vec::new());
        assert_eq!(fed, Err(FrameError::TooLarge), "nor may a line be larger that comes at once");
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            text in "(([a-z\u{e4}{}]{0,5})(\n|\r\n)){0,12}[a-z]{0,4}",
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            let (whole, rest) = cut(text.as_bytes(), &[]);
            prop_assert_eq!(cut(text.as_bytes(), &cuts), (whole.clone(), rest.clone()));
            let all: Vec<u8> = whole.into_iter().flatten().chain(rest).collect();
            prop_assert_eq!(all, text.as_bytes(), "no byte is lost");
        }
    }
}
