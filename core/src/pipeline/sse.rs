//! Reads a provider's stream of events beside its bytes: whole events go on untouched, usage and end are noted.
//!
//! A pure state machine: bytes in, bytes out, in whole events, so that a stream that breaks off can be ended properly.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::contract::usage::{OpenaiUsage, Usage};

/// One event may be this large; the largest real ones (whole pictures) are about 10 MiB.
pub const EVENT_BYTES_MAX: usize = 16 << 20;

/// What a stream has told so far.
#[derive(Debug, Default)]
pub struct Events {
    /// The begin of an event whose end has not come.
    carry: BytesMut,
    /// Take out the usage chunk: we asked for it and the caller did not.
    strip_usage: bool,
    pub usage: Option<Usage>,
    pub finish_reason: Option<String>,
    /// `[DONE]` came.
    pub done: bool,
    /// The provider sent an error event; its message.
    pub error: Option<String>,
    pub events: u64,
}

/// An event is larger than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {EVENT_BYTES_MAX} bytes")]
pub struct TooLarge;

/// The members of a chunk that are read. Unknown shapes are passed on unread.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    usage: Option<OpenaiUsage>,
    #[serde(default)]
    x_groq: Option<Groq>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Groq {
    #[serde(default)]
    usage: Option<OpenaiUsage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default, rename = "delta")]
    _delta: IgnoredAny,
}

impl Events {
    pub fn new(strip_usage: bool) -> Self {
        Events { strip_usage, ..Events::default() }
    }

    /// The stream came to its proper end.
    pub fn complete(&self) -> bool {
        self.done || self.finish_reason.is_some() || self.error.is_some()
    }

    /// Takes what came; gives the whole events in it to `out`, without copying where an event does not span pieces.
    pub fn feed(&mut self, piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), TooLarge> {
        let bytes = match self.carry.is_empty() {
            true => piece,
            false => {
                self.carry.extend_from_slice(&piece);
                std::mem::take(&mut self.carry).freeze()
            }
        };
        let (mut event, mut line, mut kept) = (0usize, 0usize, 0usize);
        for end in memchr::memchr_iter(b'\n', &bytes) {
            let empty = matches!(&bytes[line..end], b"" | b"\r");
            line = end + 1;
            if !empty {
                continue;
            }
            if self.read(&bytes[event..line]) {
                // Left out: what was before it goes on.
                if event > kept {
                    out.push(bytes.slice(kept..event));
                }
                kept = line;
            }
            event = line;
        }
        if event > kept {
            out.push(bytes.slice(kept..event));
        }
        if bytes.len() - event > EVENT_BYTES_MAX {
            return Err(TooLarge);
        }
        if bytes.len() > event {
            self.carry.extend_from_slice(&bytes[event..]);
        }
        Ok(())
    }

    /// The provider has ended: what is left goes on where the stream was complete, and is dropped where it was cut.
    pub fn end(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.carry).freeze();
        if rest.is_empty() {
            return None;
        }
        let strip = self.read(&rest);
        (self.complete() && !strip).then_some(rest)
    }

    /// Notes what an event tells. `true` = it is the usage chunk that the caller did not ask for.
    fn read(&mut self, event: &[u8]) -> bool {
        let Some(data) = data(event) else { return false };
        self.events += 1;
        if data == b"[DONE]" {
            self.done = true;
            return false;
        }
        // Most events tell nothing but words: two searches are cheaper than a parser.
        let tells = says_value(data, b"\"usage\"") || says_value(data, b"\"finish_reason\"") || begins_error(data);
        if !tells {
            return false;
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else { return false };
        if let Some(reason) = chunk.choices.iter().flatten().find_map(|c| c.finish_reason.clone()) {
            self.finish_reason = Some(reason);
        }
        if let Some(error) = chunk.error.filter(|e| !e.is_null()) {
            let message = error.get("message").and_then(|m| m.as_str()).map(str::to_owned);
            self.error = Some(message.unwrap_or_else(|| error.to_string()));
        }
        let usage = chunk.usage.or(chunk.x_groq.and_then(|g| g.usage));
        let told = usage.is_some();
        if let Some(usage) = usage {
            // Later tells overwrite, never add.
            self.usage = Some(usage.disjoint());
        }
        told && self.strip_usage && chunk.choices.is_some_and(|c| c.is_empty())
    }
}

/// The payload of a one-line event; `None` for comments and events without data.
fn data(event: &[u8]) -> Option<&[u8]> {
    let at = match event.starts_with(b"data:") {
        true => 0,
        // `event:`, `id:` or a comment stands before it.
        false => memmem::find(event, b"\ndata:")? + 1,
    };
    let rest = &event[at + 5..];
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    Some(rest[..end].trim_ascii())
}

/// Does the member occur with a value that is not null?
fn says_value(data: &[u8], member: &[u8]) -> bool {
    memmem::find_iter(data, member).any(|at| {
        let rest = data[at + member.len()..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
    })
}

fn begins_error(data: &[u8]) -> bool {
    let head = &data[..data.len().min(512)];
    memmem::find(head, b"\"error\"").is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORD: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{e4}\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn run(text: &str, strip: bool, cuts: &[usize]) -> (String, Events) {
        let mut events = Events::new(strip);
        let mut out = Vec::new();
        let mut from = 0;
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (text.len() + 1)).collect();
        cuts.sort_unstable();
        for cut in cuts.into_iter().chain([text.len()]) {
            events.feed(Bytes::copy_from_slice(&text.as_bytes()[from..cut]), &mut out).unwrap();
            from = cut;
        }
        out.extend(events.end());
        let bytes: Vec<u8> = out.into_iter().flatten().collect();
        (String::from_utf8(bytes).unwrap(), events)
    }

    #[test]
    fn streams_pass_untouched_but_for_the_usage_chunk_that_nobody_asked_for() {
        let whole = format!("{WORD}{FINISH}{USAGE}{DONE}");
        for (text, strip, expected, complete, why) in [
            (whole.clone(), false, whole.clone(), true, "asked for: it stays"),
            (whole.clone(), true, format!("{WORD}{FINISH}{DONE}"), true, "not asked for: it goes"),
            (format!(": hi\n\n{WORD}{DONE}"), true, format!(": hi\n\n{WORD}{DONE}"), true, "comments stay"),
            (whole.replace('\n', "\r\n"), false, whole.replace('\n', "\r\n"), true, "CRLF stays"),
            (format!("{WORD}data: {{\"cho"), true, WORD.to_owned(), false, "half an event is not handed on"),
            (format!("{WORD}{FINISH}"), true, format!("{WORD}{FINISH}"), true, "no [DONE], but a finish reason"),
            (format!("{WORD}data: [DONE]"), true, format!("{WORD}data: [DONE]"), true, "no blank line at the end"),
            (
                "event: error\ndata: {\"error\":{\"message\":\"no\"}}\n\n".to_owned(),
                true,
                "event: error\ndata: {\"error\":{\"message\":\"no\"}}\n\n".to_owned(),
                true,
                "an error ends it",
            ),
        ] {
            let (got, events) = run(&text, strip, &[]);
            assert_eq!(got, expected, "{why}");
            assert_eq!(events.complete(), complete, "{why}");
        }
    }

    #[test]
    fn usage_is_found_in_its_places_and_overwrites() {
        for (text, output, why) in [
            (USAGE.to_owned(), Some(2), "the chunk without choices"),
            (format!("{USAGE}{}", USAGE.replace(":2}", ":9}")), Some(9), "the later one counts, not the sum"),
            (
                "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"usage\":{\"completion_tokens\":7}}}\n\n".to_owned(),
                Some(7),
                "groq's own place",
            ),
            (WORD.to_owned(), None, "null is no usage"),
        ] {
            assert_eq!(run(&text, true, &[]).1.usage.map(|u| u.output), output, "{why}");
        }
    }

    #[test]
    fn an_event_without_end_is_bounded() {
        let mut events = Events::new(false);
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let fed = (0..20).map(|_| events.feed(piece.clone(), &mut Vec::new())).find(Result::is_err);
        assert_eq!(fed, Some(Err(TooLarge)));
    }

    proptest! {
        #[test]
        fn cuts_between_pieces_change_nothing(cuts in proptest::collection::vec(any::<usize>(), 0..12), strip: bool) {
            let text = format!("{WORD}{WORD}: note\n\n{FINISH}{USAGE}{DONE}");
            let (whole, one) = run(&text, strip, &[]);
            let (pieces, many) = run(&text, strip, &cuts);
            prop_assert_eq!(whole, pieces);
            prop_assert_eq!(one.usage, many.usage);
            prop_assert_eq!(one.events, many.events);
        }
    }
}
