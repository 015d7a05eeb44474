//! Characters that a provider's stream tells in two pieces: the first half ends one, the second begins the next.
//!
//! A reader tells U+FFFD for a half (`contract/surrogates.rs`). The one at the end of what a frame says is held back until
//! the same part goes on.

use super::frames::Frame;
use super::{StreamReader, Unreadable};
use crate::contract::canonical::event::{Delta, Event};
use crate::contract::surrogates::{at_end, at_start};

const LOST: char = char::REPLACEMENT_CHARACTER;

/// Reads what `reader` reads, with such characters whole.
pub struct Whole {
    reader: Box<dyn StreamReader>,
    held: Option<Held>,
}

/// The first half of a character, held back from the end of a text or of a call's arguments.
struct Held {
    half: u16,
    choice: u64,
    part: u64,
    arguments: bool,
}

impl Whole {
    pub fn new(reader: Box<dyn StreamReader>) -> Whole {
        Whole { reader, held: None }
    }

    /// Tells what is held, where its part goes on or anything ends: as one character if `second` is its other half.
    fn release(&mut self, second: Option<u16>, from: usize, out: &mut Vec<Event>) {
        let Some(held) = self.held.take() else { return };
        let Some(at) = out[from..].iter().position(|event| held.is_over(event)).map(|at| from + at) else {
            self.held = Some(held);
            return;
        };
        let whole = second.and_then(|second| char::decode_utf16([held.half, second]).next()?.ok());
        match (said(&mut out[at]), whole) {
            (Some((choice, part, text)), Some(whole))
                if (choice, part) == (held.choice, held.part) && text.starts_with(LOST) =>
            {
                text.replace_range(..LOST.len_utf8(), whole.encode_utf8(&mut [0; 4]));
            }
            _ => out.insert(at, held.lost()),
        }
    }

    fn hold(&mut self, half: u16, from: usize, out: &mut Vec<Event>) {
        let last = out.len().checked_sub(1).filter(|last| *last >= from);
        let Some((choice, part, text)) = last.and_then(|last| said(&mut out[last])) else { return };
        if self.held.is_some() || !text.ends_with(LOST) {
            return;
        }
        text.pop();
        let is_empty = text.is_empty();
        let arguments = matches!(out.last(), Some(Event::Delta { delta: Delta::Arguments(_), .. }));
        if is_empty {
            out.pop();
        }
        self.held = Some(Held { half, choice, part, arguments });
    }
}

impl Held {
    /// Nothing of its part may be told before it.
    fn is_over(&self, event: &Event) -> bool {
        match event {
            Event::Delta { choice, part, .. } | Event::End { choice, part } => {
                (*choice, *part) == (self.choice, self.part)
            }
            Event::Finish { choice, .. } => *choice == self.choice,
            Event::Error(_) | Event::Done => true,
            Event::Start { .. }
            | Event::Begin { .. }
            | Event::Logprobs { .. }
            | Event::Usage(_)
            | Event::Beside(_)
            | Event::ServiceTier(_) => false,
        }
    }

    fn lost(&self) -> Event {
        let text = LOST.to_string();
        let delta = if self.arguments { Delta::Arguments(text) } else { Delta::Text(text) };
        Event::Delta { choice: self.choice, part: self.part, delta }
    }
}

/// The words of a piece, and whose they are.
fn said(event: &mut Event) -> Option<(u64, u64, &mut String)> {
    let Event::Delta { choice, part, delta: Delta::Text(text) | Delta::Arguments(text) } = event else { return None };
    Some((*choice, *part, text))
}

impl StreamReader for Whole {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let from = out.len();
        self.reader.frame(frame, out)?;
        if self.held.is_some() {
            self.release(at_start(&frame.data), from, out);
        }
        if let Some(half) = at_end(&frame.data) {
            self.hold(half, from, out);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        let from = out.len();
        self.reader.end(out);
        self.release(None, from, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Dialect;
    use crate::dialects::codec;
    use crate::dialects::frames::{framer, read};
    use crate::dialects::recorded::given;

    /// What a stream of these frames says.
    fn words(dialect: Dialect, stream: String) -> String {
        let codec = codec(dialect).unwrap();
        let (framing, mut frames) = (codec.framing(), Vec::new());
        framer(framing).feed(stream.into(), &mut frames).unwrap();
        let (mut reader, mut events) = (Whole::new(codec.stream_reader(&given("m"))), Vec::new());
        frames.iter().for_each(|frame| reader.frame(&read(framing, frame), &mut events).unwrap());
        reader.end(&mut events);
        let said = events.iter().filter_map(|event| match event {
            Event::Delta { delta: Delta::Text(text) | Delta::Arguments(text), .. } => Some(text.as_str()),
            _ => None,
        });
        said.collect()
    }

    #[test]
    fn characters_in_two_pieces_are_whole() {
        let chat = |delta: &str, end: &str| {
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{end}}}]}}\n\n")
        };
        let text = |text: &str| chat(&format!(r#"{{"content":{text}}}"#), "null");
        let call = |text: &str| {
            chat(&format!(r#"{{"tool_calls":[{{"index":0,"function":{{"name":"f","arguments":{text}}}}}]}}"#), "null")
        };
        let done = || chat("{}", "\"stop\"") + "data: [DONE]\n\n";
        for (pieces, expected, why) in [
            (vec![text(r#""a\ud83d""#), text(r#""\ude00b""#), done()], "a\u{1f600}b", "two pieces of a text"),
            (vec![text(r#""\ud83d""#), text(r#""\ude00""#), done()], "\u{1f600}", "pieces of a half each"),
            (vec![text(r#""a\ud83d""#), text(r#""b""#), done()], "a\u{fffd}b", "it goes on with something else"),
            (vec![text(r#""a\ud83d""#), done()], "a\u{fffd}", "it ends"),
            (
                vec![text(r#""a \ud83d b""#), text(r#""fine""#), done()],
                "a \u{fffd} bfine",
                "nothing of a piece is lost",
            ),
            (
                vec![
                    call(r#""{\"a\":\"\ud83d""#),
                    chat(r#"{"tool_calls":[{"index":0,"function":{"arguments":"\ude00\"}"}}]}"#, "null"),
                    done(),
                ],
                "{\"a\":\"\u{1f600}\"}",
                "arguments of a call",
            ),
        ] {
            assert_eq!(words(Dialect::OpenaiChat, pieces.concat()), expected, "{why}");
        }
        let claude = |text: &str| {
            format!(
                "event: content_block_delta\ndata: {}{text}}}}}\n\n",
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"#
            )
        };
        assert_eq!(words(Dialect::AnthropicMessages, claude(r#""a\ud83d""#) + &claude(r#""\ude00b""#)), "a\u{1f600}b");
        let gemini = |text: &str| {
            format!(r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":{text}}}]}}}}]}}"#) + "\r\n\r\n"
        };
        assert_eq!(words(Dialect::Gemini, gemini(r#""a\ud83d""#) + &gemini(r#""\ude00b""#)), "a\u{1f600}b");
    }
}
