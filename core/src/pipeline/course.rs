//! The course of a stream from a provider to a caller. In one dialect whole events go on untouched and are read beside their
//! bytes; between two, each frame is read, and what it tells is written anew. Bytes in, bytes out: nothing here waits.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};

use super::meter::Meter;
use super::translate::voice;
use crate::contract::Dialect;
use crate::contract::canonical::event::{Event, StreamError};
use crate::contract::refusal::Refusal;
use crate::dialects::frames::{self, FrameError, Framer, Framing, sse};
use crate::dialects::halves::Whole;
use crate::dialects::{Codec, Given, Notes, StreamReader, StreamWriter, codec, cohere, unsaid};

/// What a translated stream may tell in all: writers keep what was said where their dialect repeats it at its end. The
/// longest real answers are a few MiB of words; a picture adds some ten.
const TOLD_BYTES_MAX: usize = 32 << 20;
/// What an event without words counts as.
const EVENT_BYTES: usize = 64;

pub struct Course {
    /// What the caller reads.
    ours: Dialect,
    theirs: Dialect,
    call_id: String,
    model: String,
    framer: Box<dyn Framer>,
    framing: Framing,
    framing_out: Framing,
    way: Way,
    pub notes: Notes,
    /// Frames that carried something: about one token each, where nobody counted.
    pub frames: u64,
    /// Counts the tokens, where something rests on them.
    pub meter: Option<Meter>,
    /// Reused from piece to piece.
    cut: Vec<Bytes>,
    /// Bytes that a translated stream has told.
    told: usize,
}

enum Way {
    Same {
        codec: &'static dyn Codec,
        /// We asked for usage and the caller did not.
        strip_usage: bool,
    },
    Translated {
        reader: Box<dyn StreamReader>,
        writer: Box<dyn StreamWriter>,
        told: Vec<Event>,
        /// The provider broke off with these words; the caller's error event is yet to be said.
        failed: Option<StreamError>,
    },
}

/// A stream that cannot be carried on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl From<FrameError> for Broken {
    fn from(error: FrameError) -> Self {
        Broken(error.to_string())
    }
}

impl Course {
    pub fn new(framing: Framing, ours: Dialect, theirs: Dialect, given: &Given<'_>) -> Self {
        let way = match (codec(ours), codec(theirs)) {
            (Some(caller), Some(provider)) if ours != theirs => Way::Translated {
                reader: Box::new(Whole::new(provider.stream_reader(given))),
                writer: caller.stream_writer(given),
                told: Vec::new(),
                failed: None,
            },
            (Some(_) | None, Some(_) | None) => Way::Same { codec: voice(theirs), strip_usage: !given.include_usage },
        };
        let framing_out = match (&way, codec(ours)) {
            (Way::Translated { .. }, Some(_)) if given.as_array => Framing::JsonArray,
            (Way::Translated { .. }, Some(codec)) => codec.framing(),
            (Way::Same { .. }, _) | (Way::Translated { .. }, None) => framing,
        };
        Course {
            ours,
            theirs,
            call_id: given.call_id.to_owned(),
            model: given.model.to_owned(),
            framer: frames::framer(framing),
            framing,
            framing_out,
            way,
            notes: Notes::default(),
            frames: 0,
            meter: None,
            cut: Vec::new(),
            told: 0,
        }
    }

    /// Takes what came; gives what goes on.
    pub fn feed(&mut self, piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), Broken> {
        let mut cut = std::mem::take(&mut self.cut);
        self.framer.feed(piece, &mut cut)?;
        let side_by_side = self.framer.side_by_side();
        let done = self.frames(&cut, side_by_side, out);
        cut.clear();
        self.cut = cut;
        done
    }

    /// The provider has ended: what is left goes on where the stream was complete, and is dropped where it was cut.
    pub fn end(&mut self, out: &mut Vec<Bytes>) -> Result<(), Broken> {
        let rest = self.framer.rest();
        let mut last = Vec::new();
        if !rest.is_empty() {
            let was_complete = self.complete();
            self.frames(&[rest], None, &mut last)?;
            let translated = matches!(self.way, Way::Translated { .. });
            if translated || was_complete || self.complete() {
                out.append(&mut last);
            }
        }
        if let Way::Translated { reader, told, .. } = &mut self.way {
            reader.end(told);
            self.say(out)?;
        }
        Ok(())
    }

    /// The provider brought it to its proper end, or said itself that it failed.
    pub fn complete(&self) -> bool {
        match &self.way {
            Way::Same { .. } => self.notes.done || self.notes.finish_reason.is_some() || self.notes.error.is_some(),
            Way::Translated { .. } => self.notes.done,
        }
    }

    /// Our own count of the tokens so far: about one an event, where nothing rests on it.
    pub fn metered(&self) -> u64 {
        self.meter.as_ref().map_or(self.frames, Meter::tokens)
    }

    /// Counts the tokens from here on.
    pub fn meter(&mut self) {
        self.meter = Some(Meter::of(self.theirs));
    }

    /// The provider said in another dialect that it failed: the caller has to be told.
    pub fn has_failed(&self) -> bool {
        matches!(&self.way, Way::Translated { failed: Some(_), .. })
    }

    /// The provider's own error, which the caller has read in the bytes that went on to it.
    pub fn has_told_its_error(&self) -> Option<&str> {
        match &self.way {
            Way::Same { .. } => self.notes.error.as_deref(),
            Way::Translated { .. } => None,
        }
    }

    /// Comments may stand in it without disturbing its readers.
    pub fn takes_comments(&self) -> bool {
        self.framing_out == Framing::Sse
    }

    pub fn content_type(&self) -> HeaderValue {
        content_type(self.framing_out)
    }

    /// The provider's own error, where the caller has not been told yet.
    pub fn failed(&mut self) -> Option<StreamError> {
        match &mut self.way {
            Way::Same { .. } => None,
            Way::Translated { failed, .. } => failed.take(),
        }
    }

    /// A refusal as the caller's dialect says it inside a stream.
    pub fn refusal(&mut self, refusal: &Refusal, request_id: &str) -> Bytes {
        let mut bytes = Vec::new();
        let (call_id, model) = (self.call_id.as_str(), self.model.as_str());
        match &mut self.way {
            Way::Translated { writer, .. } => writer.refusal(refusal, request_id, &mut bytes),
            Way::Same { .. } => match codec(self.ours) {
                Some(codec) => {
                    let as_array = self.framing == Framing::JsonArray;
                    let given = Given {
                        call_id,
                        now_s: 0,
                        model,
                        stream: true,
                        include_usage: true,
                        as_array,
                        own_tools: &[],
                        asked: &[],
                    };
                    codec.stream_writer(&given).refusal(refusal, request_id, &mut bytes);
                    if let Some(begins @ b'[') = bytes.first_mut().filter(|_| as_array && self.frames > 0) {
                        // The array has begun already.
                        *begins = b',';
                    }
                }
                None if self.ours == Dialect::CohereV1Chat => {
                    bytes.extend_from_slice(cohere::v1::refusal_line(refusal, request_id).as_bytes());
                }
                None if self.framing == Framing::Ndjson => {
                    bytes.extend_from_slice(voice(self.ours).write_refusal(refusal, request_id).as_bytes());
                    bytes.push(b'\n');
                }
                None => sse::write(None, refusal.openai_json(request_id).as_bytes(), &mut bytes),
            },
        }
        bytes.into()
    }

    fn frames(&mut self, cut: &[Bytes], whole: Option<Bytes>, out: &mut Vec<Bytes>) -> Result<(), Broken> {
        // What goes on untouched goes on in runs: each piece is a write.
        let mut run = 0..0;
        for frame in cut {
            let read = frames::read(self.framing, frame);
            if !is_text(self.framing, frame, &read.data) {
                out.extend(whole.filter(|_| !run.is_empty()).map(|whole| whole.slice(run)));
                self.say(out)?;
                return Err(Broken("an event of it is not UTF-8".to_owned()));
            }
            self.frames += u64::from(!read.data.is_empty());
            if let Some(meter) = &mut self.meter {
                meter.frame(&read.data);
            }
            match &mut self.way {
                Way::Same { codec, strip_usage } => {
                    self.notes.ours = false;
                    if !read.data.is_empty() {
                        codec.note(&read, &mut self.notes);
                    }
                    let end = run.end + frame.len();
                    match (self.notes.ours && *strip_usage, &whole) {
                        (false, Some(_)) => run.end = end,
                        (false, None) => out.push(frame.clone()),
                        (true, whole) => {
                            out.extend(whole.as_ref().filter(|_| !run.is_empty()).map(|whole| whole.slice(run)));
                            run = end..end;
                        }
                    }
                }
                Way::Translated { reader, told, .. } => {
                    reader.frame(&read, told).map_err(|why| Broken(why.to_string()))?;
                }
            }
        }
        out.extend(whole.filter(|_| !run.is_empty()).map(|whole| whole.slice(run)));
        self.say(out)
    }

    /// Writes what was told.
    fn say(&mut self, out: &mut Vec<Bytes>) -> Result<(), Broken> {
        let Way::Translated { writer, told, failed, .. } = &mut self.way else { return Ok(()) };
        let mut bytes = Vec::new();
        for event in told.drain(..) {
            self.told += event.words().map_or(EVENT_BYTES, |words| words.len() + EVENT_BYTES);
            if self.told > TOLD_BYTES_MAX {
                return Err(Broken(format!(
                    "it says more than {TOLD_BYTES_MAX} bytes, which is what is translated here"
                )));
            }
            if let Some(lost) = codec(self.ours).and_then(|ours| unsaid::of_event(&event, ours)) {
                self.notes.lose(lost.name());
            }
            match &event {
                Event::Usage(usage) => self.notes.usage = Some(*usage),
                Event::Beside(beside) => self.notes.beside.clone_from(beside),
                Event::Finish { reason, .. } => self.notes.finish_reason = Some(reason.name().to_owned()),
                Event::Done => self.notes.done = true,
                Event::Error(error) => {
                    self.notes.error = Some(error.message.clone());
                    *failed = Some(error.clone());
                    break;
                }
                Event::Start { .. }
                | Event::Begin { .. }
                | Event::Delta { .. }
                | Event::End { .. }
                | Event::Logprobs { .. }
                | Event::ServiceTier(_) => {}
            }
            writer.event(&event, &mut bytes);
        }
        told.clear();
        if !bytes.is_empty() {
            out.push(bytes.into());
        }
        Ok(())
    }
}

/// Text is text in all of it. Event streams hold numbers and checksums beside their payload.
fn is_text(framing: Framing, frame: &[u8], data: &[u8]) -> bool {
    let text = match framing {
        Framing::Sse | Framing::Ndjson | Framing::JsonArray => frame,
        Framing::EventStream => data,
    };
    std::str::from_utf8(text).is_ok()
}

/// The headers of an answer that go on. Between dialects the provider's own mean nothing, its type of content least of all.
pub fn headers(mut headers: HeaderMap, ours: Dialect, theirs: Dialect, stream: bool) -> HeaderMap {
    if ours != theirs {
        let limits: Vec<_> = headers.iter().filter(|(n, _)| n.as_str().starts_with("x-ratelimit-")).collect();
        headers = limits.into_iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        if !stream {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
    }
    headers
}

/// The type of content of a stream in the caller's dialect.
pub(super) fn content_type(framing: Framing) -> HeaderValue {
    HeaderValue::from_static(match framing {
        Framing::Sse => "text/event-stream; charset=utf-8",
        Framing::Ndjson => "application/x-ndjson",
        Framing::JsonArray => "application/json; charset=utf-8",
        Framing::EventStream => "application/vnd.amazon.eventstream",
    })
}

/// A comment that every reader of events passes over.
pub fn comment(text: &str) -> Bytes {
    let mut line = BytesMut::with_capacity(text.len() + 4);
    line.extend_from_slice(b": ");
    line.extend_from_slice(text.as_bytes());
    line.extend_from_slice(b"\n\n");
    line.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::refusal::Category;

    #[test]
    fn a_refusal_ends_an_array_that_has_begun() {
        let given = Given {
            call_id: "c",
            now_s: 0,
            model: "m",
            stream: true,
            include_usage: true,
            as_array: true,
            own_tools: &[],
            asked: &[],
        };
        for (theirs, piece, framing) in [
            (Dialect::Gemini, "[{\"candidates\":[]}\n,", Framing::JsonArray),
            (Dialect::Gemini, "", Framing::JsonArray),
            (
                Dialect::OpenaiChat,
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n",
                Framing::Sse,
            ),
        ] {
            let (mut course, mut out) = (Course::new(framing, Dialect::Gemini, theirs, &given), Vec::new());
            course.feed(Bytes::from_static(piece.as_bytes()), &mut out).unwrap();
            out.push(course.refusal(&Refusal::new(Category::Interrupted, "x", "why"), "r"));
            let whole: Vec<serde_json::Value> = serde_json::from_slice(&out.concat()).unwrap();
            assert_eq!(whole.len(), 1 + usize::from(!piece.is_empty()), "{whole:?}");
            assert!(whole.last().is_some_and(|last| last["error"]["code"].is_number()), "{whole:?}");
            assert!(course.content_type().as_bytes().starts_with(b"application/json"));
        }
    }
}
