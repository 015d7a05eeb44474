//! A provider's stream, read. Every frame is an answer of its own that says a little more; nothing but the end of the bytes
//! says that there are no more, so reasons to finish are told then.

use super::answer::{Candidate, call_id, reply};
use super::error::error_of;
use super::grounding::{Offsets, citations};
use super::logprobs;
use super::names::finish_of;
use super::partial::{Arguments, Piece};
use super::read_parts::CALL_PIECE;
use crate::contract::canonical::answer::Finish;
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Kind, Media, Part, Signature, Source};
use crate::contract::read::decoded;
use crate::contract::usage::Usage;
use crate::dialects::frames::Frame;
use crate::dialects::{Given, StreamReader, Unreadable};

/// Candidates and calls of one stream; a provider that counts higher is not followed.
const CHOICES_MAX: u64 = 128;
const CALLS_MAX: u64 = 1_024;

#[derive(Default)]
pub struct Reader {
    call_id: String,
    id: String,
    started: bool,
    failed: bool,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    tier: Option<String>,
}

#[derive(Default)]
struct Choice {
    parts: u64,
    calls: u64,
    /// The text or the thoughts under way.
    open: Option<Open>,
    /// The call under way, where its arguments come in pieces.
    gathering: Option<(u64, Arguments)>,
    finish: Option<Finish>,
    offsets: Offsets,
}

#[derive(Clone, Copy)]
struct Open {
    part: u64,
    thought: bool,
}

impl Reader {
    pub fn new(given: &Given<'_>) -> Self {
        Reader { call_id: given.call_id.to_owned(), ..Reader::default() }
    }

    fn choice(&mut self, index: u64) -> Result<&mut Choice, Unreadable> {
        if index >= CHOICES_MAX {
            return Err(Unreadable(format!("candidate {index} is beyond the {CHOICES_MAX} that are read")));
        }
        let at = usize::try_from(index).unwrap_or(0);
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Choice::default);
        }
        Ok(&mut self.choices[at])
    }

    fn candidate(&mut self, candidate: Candidate<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let at = candidate.index;
        let (id, given) = (std::mem::take(&mut self.id), std::mem::take(&mut self.call_id));
        let choice = self.choice(at)?;
        for part in candidate.parts {
            choice.part(at, part, &id, &given, out)?;
        }
        for citation in citations(candidate.grounding, candidate.recited, &choice.offsets) {
            // What is cited is a text: it is still open, for sources are told with its last words.
            let Some(Open { part, thought: false }) = choice.open else { break };
            let own = |text: Option<std::borrow::Cow<'_, str>>| text.map(std::borrow::Cow::into_owned);
            let delta = Delta::Citation {
                url: own(citation.url),
                title: own(citation.title),
                cited: own(citation.cited),
                start: citation.start,
                end: citation.end,
            };
            out.push(Event::Delta { choice: at, part, delta });
        }
        if let Some(json) = candidate.logprobs.and_then(logprobs::read) {
            out.push(Event::Logprobs { choice: at, json: String::from(Box::<str>::from(json)) });
        }
        if let Some(name) = candidate.finish {
            choice.finish = Some(finish_of(&name, choice.calls > 0));
        }
        (self.id, self.call_id) = (id, given);
        Ok(())
    }
}

impl Choice {
    fn next(&mut self) -> u64 {
        self.parts += 1;
        self.parts - 1
    }

    fn close(&mut self, choice: u64, out: &mut Vec<Event>) {
        if let Some(Open { part, .. }) = self.open.take() {
            out.push(Event::End { choice, part });
        }
        if let Some((part, arguments)) = self.gathering.take() {
            out.push(Event::Delta { choice, part, delta: Delta::Arguments(arguments.into_json()) });
            out.push(Event::End { choice, part });
        }
    }

    fn part(
        &mut self,
        at: u64,
        part: Part<'_>,
        reply_id: &str,
        given: &str,
        out: &mut Vec<Event>,
    ) -> Result<(), Unreadable> {
        let signature = part.signature.map(|s| Signature { by: s.by, data: s.data.into_owned().into() });
        match part.kind {
            Kind::Text { text, .. } | Kind::Refusal(text) => {
                self.offsets.said(&text);
                self.say(at, false, text.into_owned(), signature, out);
            }
            Kind::Reasoning(reasoning) => {
                // An empty text that bears a seal belongs to the text before it, or stands for thoughts that nobody saw.
                let of_text =
                    reasoning.text.is_empty() && !reasoning.summary && self.open.is_some_and(|open| !open.thought);
                self.say(at, !of_text, reasoning.text.into_owned(), signature, out);
            }
            Kind::ToolCall(call) => {
                let part = self.begin_call(at, (&call.id, &call.name), (reply_id, given), out)?;
                // The seal first: most dialects tell it where the call begins.
                let seal = signature.map(Delta::Signature);
                for delta in seal.into_iter().chain([Delta::Arguments(call.arguments.into_owned())]) {
                    out.push(Event::Delta { choice: at, part, delta });
                }
                out.push(Event::End { choice: at, part });
            }
            Kind::Media(Media { what, mime, source: Source::Base64(data), .. }) => {
                self.whole(at, Begins::Media { what, mime: mime.into_owned(), data: data.into_owned() }, out);
            }
            Kind::Media(media) => self.native(at, media.mime.into_owned(), out),
            Kind::Native { kind, json } if kind == CALL_PIECE => {
                self.piece(at, json.get(), signature, (reply_id, given), out)?;
            }
            Kind::Native { kind, .. } => self.native(at, kind.into_owned(), out),
            Kind::ToolResult(_) => self.native(at, "functionResponse".to_owned(), out),
        }
        Ok(())
    }

    fn begin_call(
        &mut self,
        at: u64,
        (id, name): (&str, &str),
        (reply_id, given): (&str, &str),
        out: &mut Vec<Event>,
    ) -> Result<u64, Unreadable> {
        if self.calls == CALLS_MAX {
            return Err(Unreadable(format!("more than {CALLS_MAX} calls of tools in one answer")));
        }
        self.close(at, out);
        let id = if id.is_empty() { call_id(reply_id, given, at, self.calls) } else { id.to_owned() };
        self.calls += 1;
        let part = self.next();
        out.push(Event::Begin { choice: at, part, kind: Begins::ToolCall { id, name: name.to_owned() } });
        Ok(part)
    }

    /// A piece of a call: a name begins one, and what says not that it goes on ends it.
    fn piece(
        &mut self,
        at: u64,
        json: &str,
        seal: Option<Signature<'static>>,
        ids: (&str, &str),
        out: &mut Vec<Event>,
    ) -> Result<(), Unreadable> {
        let wrong = |why: String| Unreadable(format!("a call cannot be read: {why}"));
        let piece: Piece = decoded(json).map_err(|why| wrong(why.to_string()))?;
        if !piece.name.is_empty() {
            let part = self.begin_call(at, (&piece.id, &piece.name), ids, out)?;
            self.gathering = Some((part, Arguments::default()));
        }
        let Some((part, arguments)) = &mut self.gathering else { return Ok(()) };
        if let Some(seal) = seal {
            out.push(Event::Delta { choice: at, part: *part, delta: Delta::Signature(seal) });
        }
        let goes_on = piece.will_continue;
        arguments.take(piece).map_err(wrong)?;
        if !goes_on {
            self.close(at, out);
        }
        Ok(())
    }

    fn say(&mut self, at: u64, thought: bool, text: String, seal: Option<Signature<'static>>, out: &mut Vec<Event>) {
        let part = match self.open {
            Some(open) if open.thought == thought => open.part,
            Some(_) | None => {
                self.close(at, out);
                let part = self.next();
                let kind = if thought { Begins::Reasoning { summary: true, id: None } } else { Begins::Text };
                out.push(Event::Begin { choice: at, part, kind });
                self.open = Some(Open { part, thought });
                part
            }
        };
        if !text.is_empty() {
            out.push(Event::Delta { choice: at, part, delta: Delta::Text(text) });
        }
        if let Some(seal) = seal {
            out.push(Event::Delta { choice: at, part, delta: Delta::Signature(seal) });
            // It seals what stands before it, not what may follow.
            self.close(at, out);
        }
    }

    fn native(&mut self, at: u64, kind: String, out: &mut Vec<Event>) {
        self.whole(at, Begins::Native(kind), out);
    }

    /// A part without pieces.
    fn whole(&mut self, at: u64, kind: Begins, out: &mut Vec<Event>) {
        self.close(at, out);
        let part = self.next();
        out.push(Event::Begin { choice: at, part, kind });
        out.push(Event::End { choice: at, part });
    }
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        if self.failed || frame.data.trim_ascii().is_empty() {
            return Ok(());
        }
        if frame.is_error {
            self.failed = true;
            out.push(Event::Error(error_of(&frame.data)));
            return Ok(());
        }
        let reply = reply(&frame.data).map_err(|wrong| Unreadable(format!("a chunk cannot be read: {wrong}")))?;
        if reply.error.is_some() {
            self.failed = true;
            out.push(Event::Error(error_of(&frame.data)));
            return Ok(());
        }
        if !self.started {
            self.started = true;
            self.id = reply.id.clone().into_owned();
            let (id, model) = (reply.id.into_owned(), reply.model.into_owned());
            out.push(Event::Start { id, model, created_s: reply.created_s });
        }
        if reply.blocked && reply.candidates.is_empty() {
            self.choice(0)?.finish = Some(Finish::ContentFilter);
        }
        for candidate in reply.candidates {
            self.candidate(candidate, out)?;
        }
        if reply.usage.is_some() && reply.usage != self.usage {
            self.usage = reply.usage;
            out.extend(reply.usage.map(Event::Usage));
        }
        if reply.tier.is_some() && reply.tier != self.tier {
            self.tier.clone_from(&reply.tier);
            out.extend(reply.tier.map(Event::ServiceTier));
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.failed, true) {
            return;
        }
        let complete = !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some());
        for (at, choice) in self.choices.iter_mut().enumerate() {
            if let Some(reason) = choice.finish.take() {
                choice.close(at as u64, out);
                out.push(Event::Finish { choice: at as u64, reason, stop_sequence: None });
            }
        }
        if complete {
            out.push(Event::Done);
        }
    }
}
