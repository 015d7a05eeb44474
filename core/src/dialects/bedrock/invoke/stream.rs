//! Streams of Anthropic's events, each as base64 in a frame of Amazon's, read and written.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use super::super::Bedrock;
use super::notes::METRICS;
use crate::contract::base64;
use crate::contract::canonical::event::Event;
use crate::contract::refusal::Refusal;
use crate::contract::usage::Usage;
use crate::contract::write;
use crate::dialects::anthropic::Anthropic;
use crate::dialects::frames::sse::{self, Sse};
use crate::dialects::frames::{Frame, Framer, event_stream};
use crate::dialects::{Codec, Given, StreamReader, StreamWriter, Unreadable};

/// The headers of a frame that is no exception.
const CHUNK: [(&str, &str); 3] =
    [(":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")];

/// The vendor's event in a frame's payload: `{"bytes": BASE64, "p": PADDING}`.
pub fn event(payload: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        bytes: Cow<'a, str>,
    }
    base64::decode(&serde_json::from_slice::<Chunk<'_>>(payload).ok()?.bytes)
}

pub struct Reader {
    events: Box<dyn StreamReader>,
    exceptions: Box<dyn StreamReader>,
}

impl Reader {
    pub fn new(given: &Given<'_>) -> Reader {
        Reader { events: Anthropic.stream_reader(given), exceptions: Bedrock.stream_reader(given) }
    }
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        if frame.is_error {
            return self.exceptions.frame(frame, out);
        }
        let Some(event) = event(&frame.data) else {
            return Err(Unreadable("a frame holds no event in base64".to_owned()));
        };
        self.events.frame(&Frame::data(&event), out)
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        self.events.end(out);
    }
}

pub struct Writer {
    events: Box<dyn StreamWriter>,
    exceptions: Box<dyn StreamWriter>,
    framer: Sse,
    usage: Usage,
}

impl Writer {
    pub fn new(given: &Given<'_>) -> Writer {
        let (events, exceptions) = (Anthropic.stream_writer(given), Bedrock.stream_writer(given));
        Writer { events, exceptions, framer: Sse::default(), usage: Usage::default() }
    }

    /// The last event has Amazon's count in it.
    fn chunk(&self, event: &Frame<'_>, out: &mut Vec<u8>) {
        let mut json = event.data.to_vec();
        if event.name == "message_stop" && json.last() == Some(&b'}') {
            json.pop();
            json.push(b',');
            let metrics = write::Writer::object_text(|w| w.object_member(METRICS, |w| self.metrics(w)));
            json.extend_from_slice(&metrics[1..]);
        }
        let payload = write::Writer::object_text(|w| w.member("bytes", &base64::encode(&json)));
        event_stream::write(&CHUNK, &payload, out);
    }

    fn metrics(&self, w: &mut write::Writer) {
        w.member("inputTokenCount", &self.usage.input.saturating_add(self.usage.input_audio));
        w.member("outputTokenCount", &self.usage.output_all());
        w.member("cacheReadInputTokenCount", &self.usage.cached_input);
        w.member("cacheWriteInputTokenCount", &self.usage.cache_write.saturating_add(self.usage.cache_write_1h));
    }
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        if let Event::Usage(usage) = event {
            self.usage = *usage;
        }
        let (mut said, mut frames) = (Vec::new(), Vec::new());
        self.events.event(event, &mut said);
        // What we wrote ourselves is whole and well framed.
        if self.framer.feed(Bytes::from(said), &mut frames).is_ok() {
            frames.iter().for_each(|frame| self.chunk(&sse::read(frame), out));
        }
    }

    fn refusal(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        self.exceptions.refusal(refusal, request_id, out);
    }
}
