//! Recorded traffic, pairs of what is said here and in OpenAI's words, and tables of what is easily got wrong.

mod errors;
mod golden;
mod recorded;
mod streams;
mod tables;

use serde_json::Value;

use super::Gemini;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::skim::skim;
use crate::dialects::recorded::{Exchange, exchanges, given};
use crate::dialects::{Codec, Quirks, To};

const APIS: [&str; 4] = [
    "gemini.generateContent",
    "gemini.streamGenerateContent",
    "vertex.generateContent",
    "vertex.streamGenerateContent",
];

fn all() -> Vec<Exchange> {
    APIS.into_iter().flat_map(exchanges).collect()
}

fn quirks() -> Quirks {
    Quirks::default()
}

fn to<'a>(model: &'a str, quirks: &'a Quirks) -> To<'a> {
    To { model, output_tokens_max: None, quirks }
}

/// Reads a request and writes it with another codec. The second is what could not be carried.
fn through(from: &dyn Codec, into: &dyn Codec, body: &Value, model: &str, quirks: &Quirks) -> (Value, Vec<String>) {
    let text = body.to_string();
    let skim = skim(text.as_bytes()).unwrap();
    let request = from.read_request(text.as_bytes(), &skim, &given(model)).unwrap_or_else(|e| panic!("{e} in {body}"));
    let written = into.write_request(&request, &to(model, quirks));
    let lost = request.losses(|e| into.carries(e) || quirks.has.contains(&e)).into_iter().chain(written.lost);
    (serde_json::from_slice(&written.body).unwrap(), lost.map(|l| l.what.into_owned()).collect())
}

/// The same within the dialect.
fn again(body: &Value) -> (Value, Vec<String>) {
    through(&Gemini, &Gemini, body, "gemini-2.5-flash", &quirks())
}

fn wrong(body: &Value) -> String {
    let text = body.to_string();
    let skim = skim(text.as_bytes()).unwrap();
    Gemini.read_request(text.as_bytes(), &skim, &given("m")).unwrap_err().to_string()
}

/// The promise of `canonical/event.rs`.
fn in_order(id: &str, events: &[Event]) {
    let mut open = std::collections::HashSet::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start { .. } => assert_eq!(at, 0, "{id}: a start that is not first"),
            Event::Begin { choice, part, .. } => assert!(open.insert((*choice, *part)), "{id}: begun twice"),
            Event::Delta { choice, part, .. } => assert!(open.contains(&(*choice, *part)), "{id}: said without begin"),
            Event::End { choice, part } => assert!(open.remove(&(*choice, *part)), "{id}: ended without begin"),
            Event::Finish { choice, .. } => assert!(!open.iter().any(|(c, _)| c == choice), "{id}: a part is open"),
            Event::Error(_) | Event::Done => assert_eq!(at + 1, events.len(), "{id}: something behind the end"),
            Event::Logprobs { .. } | Event::Usage(_) | Event::Beside(_) | Event::ServiceTier(_) => {}
        }
    }
}

/// What was said, whatever the pieces: parts that only their provider knows are left out, for nobody else can say them.
fn said(events: &[Event]) -> Vec<String> {
    let mut parts: std::collections::BTreeMap<(u64, u64), (String, String)> = Default::default();
    let mut rest = Vec::new();
    for event in events {
        match event {
            Event::Begin { choice, part, kind } => {
                if !matches!(kind, Begins::Native(_) | Begins::Media { .. }) {
                    parts.insert((*choice, *part), (format!("{choice} {kind:?}: "), String::new()));
                }
            }
            Event::Delta { choice, part, delta } => {
                let Some((text, marks)) = parts.get_mut(&(*choice, *part)) else { continue };
                match delta {
                    Delta::Text(said) | Delta::Arguments(said) => text.push_str(said),
                    other => marks.push_str(&format!(" {other:?}")),
                }
            }
            Event::End { .. } => {}
            Event::Usage(_) | Event::Beside(_) | Event::ServiceTier(_) => {}
            Event::Finish { .. } | Event::Start { .. } | Event::Error(_) | Event::Done | Event::Logprobs { .. } => {
                rest.push(format!("{event:?}"));
            }
        }
    }
    parts.into_values().map(|(text, marks)| text + &marks).chain(rest).collect()
}
