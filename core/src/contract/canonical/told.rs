//! A whole answer, told as a stream: for callers who asked for one where the provider answered whole.

use super::answer::{Answer, Choice};
use super::event::{Begins, Delta, Event};
use super::part::{Kind, Media, Part, Signature, Source};

/// The events that say this answer; `None` = it holds something that no stream can say.
pub fn told(answer: &Answer<'_>) -> Option<Vec<Event>> {
    let mut events =
        vec![Event::Start { id: answer.id.to_string(), model: answer.model.to_string(), created_s: answer.created_s }];
    for choice in &answer.choices {
        tell(choice, &mut events)?;
    }
    events.extend(answer.service_tier.as_ref().map(|tier| Event::ServiceTier(tier.to_string())));
    events.extend(answer.usage.map(Event::Usage));
    if !answer.beside.is_empty() {
        events.push(Event::Beside(answer.beside.clone()));
    }
    events.push(Event::Done);
    Some(events)
}

fn tell(said: &Choice<'_>, events: &mut Vec<Event>) -> Option<()> {
    let choice = said.index;
    for (part, at) in said.parts.iter().zip(0..) {
        let (kind, deltas) = begun(part)?;
        events.push(Event::Begin { choice, part: at, kind });
        events.extend(deltas.into_iter().map(|delta| Event::Delta { choice, part: at, delta }));
        events.push(Event::End { choice, part: at });
    }
    events.extend(said.logprobs_json().map(|json| Event::Logprobs { choice, json: json.get().to_owned() }));
    if let Some(reason) = said.finish.clone() {
        let stop_sequence = said.stop_sequence.as_ref().map(ToString::to_string);
        events.push(Event::Finish { choice, reason, stop_sequence });
    }
    Some(())
}

/// What begins with a part, and what follows.
fn begun(part: &Part<'_>) -> Option<(Begins, Vec<Delta>)> {
    let (kind, mut deltas) = match &part.kind {
        Kind::Text { text, citations } => {
            let mut deltas = vec![Delta::Text(text.to_string())];
            deltas.extend(citations.iter().map(|c| Delta::Citation {
                url: c.url.as_ref().map(ToString::to_string),
                title: c.title.as_ref().map(ToString::to_string),
                cited: c.cited.as_ref().map(ToString::to_string),
                start: c.start,
                end: c.end,
            }));
            (Begins::Text, deltas)
        }
        Kind::Refusal(text) => (Begins::Refusal, vec![Delta::Text(text.to_string())]),
        Kind::Reasoning(thoughts) => {
            let id = thoughts.id.as_ref().map(ToString::to_string);
            let text = Some(&thoughts.text).filter(|text| !text.is_empty());
            let mut deltas: Vec<Delta> = text.map(|text| Delta::Text(text.to_string())).into_iter().collect();
            deltas.extend(thoughts.encrypted.as_ref().map(|sealed| Delta::Encrypted(sealed.to_string())));
            (Begins::Reasoning { summary: thoughts.summary, id }, deltas)
        }
        Kind::ToolCall(call) => (
            Begins::ToolCall { id: call.id.to_string(), name: call.name.to_string() },
            vec![Delta::Arguments(call.arguments_json().to_owned())],
        ),
        Kind::Media(Media { what, mime, source: Source::Base64(data), .. }) => {
            (Begins::Media { what: *what, mime: mime.to_string(), data: data.to_string() }, Vec::new())
        }
        Kind::Media(_) | Kind::ToolResult(_) | Kind::Native { .. } => return None,
    };
    deltas.extend(
        part.signature
            .as_ref()
            .map(|seal| Delta::Signature(Signature { by: seal.by, data: seal.data.to_string().into() })),
    );
    Some((kind, deltas))
}
