//! The answer of a ladder: a text of the house, said in the caller's dialect as a whole answer or as a stream.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::identify::Identified;
use super::translate;
use crate::contract::Dialect;
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::Part;
use crate::contract::usage::Usage;
use crate::dialects::frames::Framing;
use crate::dialects::{Given, codec};

/// Can a text be an answer in this dialect?
pub fn speaks(dialect: Dialect) -> bool {
    codec(dialect).is_some()
}

/// The whole answer, ready to be sent.
pub struct Said {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Says a text. `None` = the dialect has no such answer.
pub fn say(call: &Identified, asked: &str, text: &str) -> Option<Said> {
    let codec = codec(call.dialect)?;
    let given = translate::given(call, asked, true);
    let (body, kind) = match call.stream {
        false => {
            let choice = Choice { parts: vec![Part::text(text)], finish: Some(Finish::Stop), ..Choice::default() };
            let answer = Answer {
                id: call.call_id.to_string().into(),
                model: asked.into(),
                created_s: Some(given.now_s),
                choices: vec![choice],
                usage: Some(Usage::default()),
                ..Answer::default()
            };
            (codec.write_answer(&answer, &given).body, HeaderValue::from_static("application/json"))
        }
        true => {
            let framing = if given.as_array { Framing::JsonArray } else { codec.framing() };
            (stream(&given, text, call), super::course::content_type(framing))
        }
    };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
    Some(Said { status: StatusCode::OK, headers, body: body.into() })
}

fn stream(given: &Given<'_>, text: &str, call: &Identified) -> Vec<u8> {
    let mut body = Vec::new();
    let Some(codec) = codec(call.dialect) else { return body };
    let mut writer = codec.stream_writer(given);
    let (choice, part) = (0, 0);
    for event in [
        Event::Start { id: call.call_id.to_string(), model: given.model.to_owned(), created_s: Some(given.now_s) },
        Event::Begin { choice, part, kind: Begins::Text },
        Event::Delta { choice, part, delta: Delta::Text(text.to_owned()) },
        Event::End { choice, part },
        Event::Finish { choice, reason: Finish::Stop, stop_sequence: None },
        Event::Usage(Usage::default()),
        Event::Done,
    ] {
        writer.event(&event, &mut body);
    }
    body
}
