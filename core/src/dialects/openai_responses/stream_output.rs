//! The items of a provider's stream: what was said of each, and which part of the one order of events it is.

use std::collections::{BTreeMap, HashSet};

use super::own::{SHELL, wrap};
use super::parts::citation;
use super::seal::{self, Place};
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Maker, Signature};
use crate::contract::read::{Members, Raw, as_text, find, is_object, loose};
use crate::contract::write::quoted;
use crate::dialects::Unreadable;

/// Items of one answer; a provider that counts higher is not followed.
const ITEMS_MAX: usize = 4_096;

/// Which piece of an item is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Piece {
    Text(u64),
    Refusal(u64),
    Summary(u64),
    Thought(u64),
    Sealed,
}

impl Piece {
    fn begins(self, id: Option<String>) -> Begins {
        match self {
            Piece::Text(_) => Begins::Text,
            Piece::Refusal(_) => Begins::Refusal,
            Piece::Summary(_) => Begins::Reasoning { summary: true, id },
            Piece::Thought(_) | Piece::Sealed => Begins::Reasoning { summary: false, id },
        }
    }
}

#[derive(Default)]
struct Item {
    id: Option<String>,
    /// Pieces of which something was said.
    said: HashSet<Piece>,
    citations: usize,
    call: Option<Call>,
    native: bool,
}

struct Call {
    part: u64,
    free_text: bool,
    said: bool,
    ended: bool,
}

#[derive(Default)]
pub struct Output {
    calls: bool,
    refuses: bool,
    parts: u64,
    /// The part that takes more; calls are open beside it.
    open: Option<(u64, Piece, u64)>,
    items: BTreeMap<u64, Item>,
}

pub fn string(raw: Option<Raw<'_>>) -> Option<String> {
    raw.and_then(as_text).map(Into::into)
}

pub fn list<'a>(members: &Members<'a>, name: &str) -> Vec<Raw<'a>> {
    find(members, name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

impl Output {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The model called tools.
    pub fn calls(&self) -> bool {
        self.calls
    }

    pub fn refuses(&self) -> bool {
        self.refuses
    }

    /// Nothing more is said: what is open ends.
    pub fn end(&mut self, out: &mut Vec<Event>) {
        self.close(out);
        for at in self.items.keys().copied().collect::<Vec<_>>() {
            self.end_call(at, out);
        }
    }

    fn begin(&mut self, kind: Begins, out: &mut Vec<Event>) -> u64 {
        self.parts += 1;
        self.refuses |= kind == Begins::Refusal;
        out.push(Event::Begin { choice: 0, part: self.parts - 1, kind });
        self.parts - 1
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if let Some((.., part)) = self.open.take() {
            out.push(Event::End { choice: 0, part });
        }
    }

    fn item(&mut self, at: u64) -> Result<&mut Item, Unreadable> {
        if self.items.len() >= ITEMS_MAX && !self.items.contains_key(&at) {
            return Err(Unreadable(format!("more than {ITEMS_MAX} items in one answer")));
        }
        Ok(self.items.entry(at).or_default())
    }

    /// Says something of a piece: in the open part if it is the piece's own, else in a new one, for parts do not overlap.
    pub fn say(&mut self, at: u64, piece: Piece, delta: Delta, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let item = self.item(at)?;
        item.said.insert(piece);
        let id = item.id.clone();
        let part = match self.open {
            Some((open, its, part)) if open == at && its == piece => part,
            Some(_) | None => {
                self.close(out);
                let part = self.begin(piece.begins(id), out);
                self.open = Some((at, piece, part));
                part
            }
        };
        out.push(Event::Delta { choice: 0, part, delta });
        Ok(())
    }

    /// What is said as a whole, where no piece of it came before.
    pub fn whole(
        &mut self,
        at: u64,
        piece: Piece,
        text: Option<String>,
        out: &mut Vec<Event>,
    ) -> Result<(), Unreadable> {
        match text.filter(|text| !text.is_empty()) {
            Some(text) if !self.item(at)?.said.contains(&piece) => self.say(at, piece, Delta::Text(text), out),
            Some(_) | None => Ok(()),
        }
    }

    /// Citations beyond those that were told, while the text is open that they belong to.
    pub fn cite(
        &mut self,
        at: u64,
        piece: Piece,
        list: &[Raw<'_>],
        whole: bool,
        out: &mut Vec<Event>,
    ) -> Result<(), Unreadable> {
        let Some((_, _, part)) = self.open.filter(|(open, its, _)| *open == at && *its == piece) else { return Ok(()) };
        let item = self.item(at)?;
        let from = if whole { item.citations.min(list.len()) } else { 0 };
        item.citations += list.len() - from;
        for citation in list[from..].iter().map(|raw| citation(raw)) {
            let owned = |text: Option<std::borrow::Cow<'_, str>>| text.map(Into::into);
            let (url, title, cited) = (owned(citation.url), owned(citation.title), owned(citation.cited));
            let delta = Delta::Citation { url, title, cited, start: citation.start, end: citation.end };
            out.push(Event::Delta { choice: 0, part, delta });
        }
        Ok(())
    }

    pub fn added(&mut self, at: u64, raw: Raw<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let members = loose(raw);
        let text = |name: &str| string(find(&members, name));
        let kind = text("type").unwrap_or_default();
        let item = self.item(at)?;
        item.id = item.id.take().or_else(|| text("id"));
        if matches!(kind.as_str(), "message" | "reasoning") || item.native || item.call.is_some() {
            return Ok(());
        }
        let name = match kind.as_str() {
            "function_call" | "custom_tool_call" => text("name").unwrap_or_default(),
            "local_shell_call" => SHELL.to_owned(),
            _ => {
                item.native = true;
                self.close(out);
                let part = self.begin(Begins::Native(kind), out);
                out.push(Event::End { choice: 0, part });
                return Ok(());
            }
        };
        self.close(out);
        self.calls = true;
        let id = text("call_id").or_else(|| text("id")).unwrap_or_default();
        let part = self.begin(Begins::ToolCall { id, name }, out);
        let call = Call { part, free_text: kind == "custom_tool_call", said: false, ended: false };
        self.item(at)?.call = Some(call);
        Ok(())
    }

    /// A piece of a call's arguments. Free text is the one argument of a function.
    pub fn arguments(&mut self, at: u64, piece: Option<String>, out: &mut Vec<Event>) {
        let Some(call) = self.items.get_mut(&at).and_then(|item| item.call.as_mut()) else { return };
        let Some(piece) = piece.filter(|piece| !piece.is_empty() && !call.ended) else { return };
        let text = match (call.free_text, call.said) {
            (false, _) => piece,
            (true, said) => {
                // The text stands between the quotes of one JSON text, which the end of the call closes.
                let quoted = quoted(&piece);
                let inside = &quoted[1..quoted.len() - 1];
                if said { inside.to_owned() } else { format!("{{\"input\":\"{inside}") }
            }
        };
        call.said = true;
        out.push(Event::Delta { choice: 0, part: call.part, delta: Delta::Arguments(text) });
    }

    /// All of a call's arguments: told if no piece was.
    pub fn all_arguments(&mut self, at: u64, all: Option<String>, out: &mut Vec<Event>) {
        if !self.items.get(&at).and_then(|item| item.call.as_ref()).is_some_and(|call| call.said) {
            self.arguments(at, all, out);
        }
    }

    fn end_call(&mut self, at: u64, out: &mut Vec<Event>) {
        let Some(call) = self.items.get_mut(&at).and_then(|item| item.call.as_mut()) else { return };
        if std::mem::replace(&mut call.ended, true) {
            return;
        }
        if call.free_text {
            let text = if call.said { "\"}".to_owned() } else { wrap("") };
            out.push(Event::Delta { choice: 0, part: call.part, delta: Delta::Arguments(text) });
        }
        out.push(Event::End { choice: 0, part: call.part });
    }

    pub fn done(&mut self, at: u64, raw: Raw<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.added(at, raw, out)?;
        let members = loose(raw);
        match find(&members, "type").and_then(as_text).as_deref() {
            Some("message") => {
                let contents = list(&members, "content");
                // Some servers count contents otherwise while they are said: what was said is not said again.
                let said = |piece: &Piece| match piece {
                    Piece::Text(index) | Piece::Refusal(index) => *index >= contents.len() as u64,
                    Piece::Summary(_) | Piece::Thought(_) | Piece::Sealed => false,
                };
                let otherwise = self.item(at)?.said.iter().any(said);
                for (index, part) in (0..).zip(contents).filter(|_| !otherwise) {
                    self.content(at, index, part, out)?;
                }
            }
            Some("reasoning") => self.thoughts(at, &members, out)?,
            Some("function_call") => {
                let arguments = find(&members, "arguments");
                let object = arguments.filter(|raw| is_object(raw)).map(|raw| raw.get().to_owned());
                self.all_arguments(at, object.or_else(|| string(arguments)), out);
            }
            Some("custom_tool_call") => self.all_arguments(at, string(find(&members, "input")), out),
            Some("local_shell_call") => {
                self.all_arguments(at, find(&members, "action").map(|raw| raw.get().to_owned()), out);
            }
            Some(_) | None => {}
        }
        if self.open.is_some_and(|(open, ..)| open == at) {
            self.close(out);
        }
        self.end_call(at, out);
        Ok(())
    }

    /// A part of a message as a whole.
    pub fn content(&mut self, at: u64, index: u64, raw: Raw<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let part = loose(raw);
        let text = |name: &str| string(find(&part, name));
        match text("type").as_deref() {
            Some("refusal") => self.whole(at, Piece::Refusal(index), text("refusal"), out),
            Some("output_text" | "text") => {
                self.whole(at, Piece::Text(index), text("text"), out)?;
                self.cite(at, Piece::Text(index), &list(&part, "annotations"), true, out)
            }
            Some("reasoning_text") => self.whole(at, Piece::Thought(index), text("text"), out),
            Some(_) | None => Ok(()),
        }
    }

    fn thoughts(&mut self, at: u64, members: &Members<'_>, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        type Of = fn(u64) -> Piece;
        for (name, piece) in [("summary", Piece::Summary as Of), ("content", Piece::Thought as Of)] {
            for (index, part) in (0..).zip(list(members, name)) {
                self.whole(at, piece(index), string(find(&loose(part), "text")), out)?;
            }
        }
        let Some(sealed) = find(members, "encrypted_content").and_then(as_text).filter(|sealed| !sealed.is_empty())
        else {
            return Ok(());
        };
        if self.item(at)?.said.contains(&Piece::Sealed) {
            return Ok(());
        }
        let (place, signature) =
            seal::read(&sealed).unwrap_or((Place::Thoughts, Signature { by: Maker::Openai, data: sealed }));
        let (by, data) = (signature.by, signature.data.into_owned());
        // It belongs to the open part of this item; where that is closed, to one of its own.
        let piece = self.open.filter(|(open, ..)| *open == at).map_or(Piece::Sealed, |(_, piece, _)| piece);
        self.item(at)?.said.insert(Piece::Sealed);
        if place == Place::Own {
            return self.say(at, piece, Delta::Signature(Signature { by, data: data.into() }), out);
        }
        // Whose they are is told first: encrypted thoughts do not say it themselves.
        self.say(at, piece, Delta::Signature(Signature { by, data: "".into() }), out)?;
        self.say(at, piece, Delta::Encrypted(data), out)
    }
}
