//! One JSON array, delivered piecemeal: what Google streams to those who do not ask for server-sent events.
//!
//! An element is a frame as soon as its last brace is there, whatever the pieces. An object without an array around it is a
//! frame too: an error may come so.

use bytes::{Bytes, BytesMut};

use super::{FRAME_BYTES_MAX, Frame, FrameError, Framer};

/// Elements nested deeper are no answers.
const DEPTH_MAX: usize = 512;

/// Cuts behind each element, and behind the array's end. A frame keeps every byte that came, commas included.
#[derive(Debug, Default)]
pub struct JsonArray {
    carry: BytesMut,
    /// So much of `carry` was looked at.
    searched: usize,
    array: Array,
    /// Objects and lists that are open inside the element.
    depth: usize,
    in_text: bool,
    escaped: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Array {
    #[default]
    Before,
    Inside,
    Behind,
}

impl JsonArray {
    /// Looks at the bytes from `from` on; gives the ends of the frames among them.
    fn ends(&mut self, bytes: &[u8], from: usize) -> Result<Vec<usize>, FrameError> {
        let (mut ends, mut at) = (Vec::new(), from);
        while at < bytes.len() {
            if self.in_text && !self.escaped {
                // Texts are nearly all of it.
                match memchr::memchr2(b'"', b'\\', &bytes[at..]) {
                    Some(skip) => at += skip,
                    None => return Ok(ends),
                }
            }
            if self.step(bytes[at])? {
                ends.push(at + 1);
            }
            at += 1;
        }
        Ok(ends)
    }

    /// Takes one byte. `true` = a frame ends behind it.
    fn step(&mut self, byte: u8) -> Result<bool, FrameError> {
        if self.in_text {
            match (self.escaped, byte) {
                (true, _) => self.escaped = false,
                (false, b'\\') => self.escaped = true,
                (false, b'"') => self.in_text = false,
                (false, _) => {}
            }
            return Ok(false);
        }
        if self.depth > 0 {
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' if self.depth == DEPTH_MAX => {
                    return Err(FrameError::Broken(format!("an element is nested deeper than {DEPTH_MAX} levels")));
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            return Ok(self.depth == 0);
        }
        match (self.array, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => Ok(false),
            (Array::Before, b'[') => {
                self.array = Array::Inside;
                Ok(false)
            }
            (Array::Inside, b',') => Ok(false),
            (Array::Before | Array::Inside, b'{') => {
                self.depth = 1;
                Ok(false)
            }
            (Array::Inside, b']') => {
                self.array = Array::Behind;
                Ok(true)
            }
            (Array::Before | Array::Inside | Array::Behind, _) => {
                Err(FrameError::Broken(format!("{:?} stands where an object should begin", char::from(byte))))
            }
        }
    }
}

impl Framer for JsonArray {
    fn feed(&mut self, piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), FrameError> {
        let (bytes, ends) = match self.carry.is_empty() {
            true => {
                let ends = self.ends(&piece, 0)?;
                (piece, ends)
            }
            false => {
                // Nothing moves before an element ends: a large one comes in many pieces.
                let mut carry = std::mem::take(&mut self.carry);
                carry.extend_from_slice(&piece);
                let ends = self.ends(&carry, self.searched)?;
                if ends.is_empty() {
                    self.searched = carry.len();
                    self.carry = carry;
                    return if self.searched > FRAME_BYTES_MAX { Err(FrameError::TooLarge) } else { Ok(()) };
                }
                (carry.freeze(), ends)
            }
        };
        let mut frame = 0;
        for end in ends {
            out.push(bytes.slice(frame..end));
            frame = end;
        }
        if bytes.len() - frame > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge);
        }
        self.searched = bytes.len() - frame;
        if bytes.len() > frame {
            self.carry.extend_from_slice(&bytes[frame..]);
        }
        Ok(())
    }

    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.carry).freeze()
    }
}

/// The element of a frame; empty where the frame only ends the array.
pub fn read(frame: &[u8]) -> Frame<'_> {
    let begin = frame.iter().position(|b| *b == b'{').unwrap_or(frame.len());
    Frame::data(frame[begin..].trim_ascii_end())
}

/// Writes an array, an element at a time.
#[derive(Debug, Default)]
pub struct ArrayWriter {
    begun: bool,
    ended: bool,
}

impl ArrayWriter {
    pub fn element(&mut self, json: &[u8], out: &mut Vec<u8>) {
        if !self.ended {
            out.extend_from_slice(if self.begun { b",\r\n" } else { b"[" });
            self.begun = true;
            out.extend_from_slice(json);
        }
    }

    /// The array is complete; an empty one is `[]`.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.extend_from_slice(if self.begun { b"\r\n]" } else { b"[]" });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &[u8], cuts: &[usize]) -> Result<(Vec<Bytes>, Bytes), FrameError> {
        let (mut framer, mut out) = (JsonArray::default(), Vec::new());
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (text.len() + 1)).collect();
        cuts.sort_unstable();
        let mut from = 0;
        for at in cuts.into_iter().chain([text.len()]) {
            framer.feed(Bytes::copy_from_slice(&text[from..at]), &mut out)?;
            from = at;
        }
        Ok((out, framer.rest()))
    }

    fn elements(text: &str) -> Vec<String> {
        let (frames, _) = cut(text.as_bytes(), &[]).unwrap();
        let data = |frame: &Bytes| String::from_utf8(read(frame).data.into_owned()).unwrap();
        frames.iter().map(data).filter(|data| !data.is_empty()).collect()
    }

    #[test]
    fn elements_are_frames() {
        for (text, expected, why) in [
            ("[{\"a\":1}\n,\r\n{\"b\":2}]", vec!["{\"a\":1}", "{\"b\":2}"], "the usual case"),
            ("[]", vec![], "an empty array"),
            ("[{\"a\":\"}]{[\\\"\\\\\"}]", vec!["{\"a\":\"}]{[\\\"\\\\\"}"], "braces and quotes in texts"),
            ("[{\"a\":[[{}],{}]}", vec!["{\"a\":[[{}],{}]}"], "nesting, and an array that was cut"),
            ("{\"error\":{}}", vec!["{\"error\":{}}"], "an object without an array"),
        ] {
            assert_eq!(elements(text), expected, "{why}");
        }
    }

    #[test]
    fn what_is_no_array_of_objects_is_told() {
        for text in ["<html>", "[1]", "[\"a\"]", "[[{}]]", "[{}]]", "[{}]{}", "\"x\""] {
            assert!(matches!(cut(text.as_bytes(), &[]), Err(FrameError::Broken(_))), "{text}");
        }
        let deep = format!("[{}", "{\"a\":".repeat(DEPTH_MAX + 1));
        assert!(matches!(cut(deep.as_bytes(), &[]), Err(FrameError::Broken(_))), "nested too deep");
    }

    #[test]
    fn an_element_without_an_end_is_bounded() {
        let mut framer = JsonArray::default();
        framer.feed(Bytes::from_static(b"[{\"a\":\""), &mut Vec::new()).unwrap();
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let fed = (0..20).map(|_| framer.feed(piece.clone(), &mut Vec::new())).find(Result::is_err);
        assert_eq!(fed, Some(Err(FrameError::TooLarge)));
    }

    #[test]
    fn what_is_written_is_read() {
        let (mut writer, mut out) = (ArrayWriter::default(), Vec::new());
        writer.element(b"{\"a\":1}", &mut out);
        writer.element(b"{\"b\":2}", &mut out);
        writer.end(&mut out);
        writer.end(&mut out);
        assert_eq!(elements(std::str::from_utf8(&out).unwrap()), ["{\"a\":1}", "{\"b\":2}"]);
        serde_json::from_slice::<Vec<serde_json::Value>>(&out).unwrap();
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            elements in proptest::collection::vec("\\{\"[a-z{}\u{e4}]{0,4}\":(\"(\\\\\"|\\\\\\\\|\\[|[a-z])*\"|\\[\\{\\}\\])\\}", 0..5),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
            cut_off in 0usize..3,
        ) {
            let mut text = format!("[{}]\r\n", elements.join("\n,\r\n"));
            text.truncate(text.len() - cut_off.min(text.len()));
            let (whole, rest) = cut(text.as_bytes(), &[]).unwrap();
            prop_assert_eq!(cut(text.as_bytes(), &cuts).unwrap(), (whole.clone(), rest.clone()));
            let read: Vec<Vec<u8>> = whole.iter().map(|f| read(f).data.into_owned()).filter(|d| !d.is_empty()).collect();
            let expected: Vec<Vec<u8>> = elements.iter().map(|e| e.as_bytes().to_vec()).collect();
            prop_assert_eq!(read, expected);
            let all: Vec<u8> = whole.into_iter().flatten().chain(rest).collect();
            prop_assert_eq!(all, text.as_bytes(), "no byte is lost");
        }

        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(any::<usize>(), 0..8)) {
            drop(cut(&text, &cuts));
        }
    }
}
