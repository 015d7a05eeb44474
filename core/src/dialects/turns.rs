//! How far an agent has come: the turns of its model, and whether the last ones did the same over and over.

use crate::contract::canonical::Request;
use crate::contract::canonical::part::{Kind, Part, Role};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turns {
    /// Answers of the model that the conversation has.
    pub turns: u64,
    /// How many of the last turns called the same tools with the same arguments; 0 = the last one called none.
    pub repeats: u64,
}

/// The name and the arguments of a call, as they stand.
type Called<'r> = (&'r str, &'r str);

/// Messages of the model that follow each other are one turn. Words of the user where no tool has answered begin anew; beside
/// the answers of tools they are reminders.
pub fn of(request: &Request<'_>) -> Turns {
    let mut count = Counted::default();
    for message in &request.messages {
        if message.role == Role::Assistant {
            count.end_gap();
            count.open.get_or_insert_default().extend(message.parts.iter().filter_map(called));
            continue;
        }
        count.end_turn();
        let answers = message.parts.iter().any(|part| matches!(part.kind, Kind::ToolResult(_)));
        count.tool_answered |= answers;
        count.user_spoke |= message.role == Role::User && !answers;
    }
    count.end_turn();
    count.end_gap();
    count.turns
}

#[derive(Default)]
struct Counted<'r> {
    turns: Turns,
    last: Vec<Called<'r>>,
    /// The turn that is being read.
    open: Option<Vec<Called<'r>>>,
    /// What came since the last turn.
    tool_answered: bool,
    user_spoke: bool,
}

impl Counted<'_> {
    fn end_turn(&mut self) {
        let Some(calls) = self.open.take() else { return };
        self.turns.turns += 1;
        self.turns.repeats = match calls.is_empty() {
            true => 0,
            false if calls == self.last => self.turns.repeats + 1,
            false => 1,
        };
        self.last = calls;
    }

    fn end_gap(&mut self) {
        if std::mem::take(&mut self.user_spoke) & !std::mem::take(&mut self.tool_answered) {
            self.turns.repeats = 0;
            self.last.clear();
        }
    }
}

fn called<'r>(part: &'r Part<'_>) -> Option<Called<'r>> {
    match &part.kind {
        Kind::ToolCall(call) => Some((&call.name, &call.arguments)),
        Kind::Text { .. }
        | Kind::Refusal(_)
        | Kind::Media(_)
        | Kind::ToolResult(_)
        | Kind::Reasoning(_)
        | Kind::Native { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::contract::Dialect;
    use crate::dialects::words::Words;

    /// A turn of the model and the answers of its tools, as a chat has them.
    fn chat(turns: &[(&str, &str)]) -> String {
        let turn = |(at, (name, arguments)): (usize, &(&str, &str))| match *name {
            "" => r#"{"role":"assistant","content":"done"}"#.to_owned(),
            "ask" => r#"{"role":"user","content":"and now?"}"#.to_owned(),
            name => format!(
                r#"{{"role":"assistant","tool_calls":[{{"id":"c{at}","type":"function","function":{{"name":"{name}","arguments":"{arguments}"}}}}]}},{{"role":"tool","tool_call_id":"c{at}","content":"failed"}}"#
            ),
        };
        let turns: Vec<String> = turns.iter().enumerate().map(turn).collect();
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"go"}},{}]}}"#, turns.join(","))
    }

    #[test]
    fn turns_are_counted_and_the_same_calls_at_the_end_are_seen() {
        for (turns, expected, why) in [
            (&[("ls", "{}")][..], (1, 1), "one call is no repetition"),
            (&[("ls", "{}"), ("ls", "{}"), ("ls", "{}")], (3, 3), "three times the same"),
            (&[("ls", "{}"), ("ls", "{1}")], (2, 1), "other arguments are another call"),
            (&[("ls", "{}"), ("cat", "{}"), ("ls", "{}")], (3, 1), "something else was between"),
            (&[("ls", "{}"), ("ls", "{}"), ("", "")], (3, 0), "it said something and called nothing"),
            (
                &[("ls", "{}"), ("ls", "{}"), ("ask", ""), ("ls", "{}")],
                (3, 3),
                "beside a tool's answer it is a reminder",
            ),
            (&[("ls", "{}"), ("", ""), ("ask", ""), ("ls", "{}")], (3, 1), "the user asked anew"),
            (&[("ls", "{}"), ("ls", "{}"), ("", ""), ("ask", "")], (3, 0), "and does so now"),
        ] {
            let words = Words::of(Bytes::from(chat(turns)), Dialect::OpenaiChat);
            let facts = words.prompt().unwrap();
            assert_eq!((facts.turns, facts.repeats), expected, "{why}");
        }
    }

    #[test]
    fn other_dialects_are_counted_alike() {
        let anthropic = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"go"},
            {"role":"assistant","content":[{"type":"tool_use","id":"a","name":"ls","input":{}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"x"},{"type":"text","text":"a reminder"}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"b","name":"ls","input":{}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"b","content":"x"}]}]}"#;
        let responses = r#"{"model":"m","input":[{"role":"user","content":"go"},
            {"type":"function_call","call_id":"a","name":"ls","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"x"},
            {"type":"function_call","call_id":"b","name":"ls","arguments":"{}"},{"type":"function_call_output","call_id":"b","output":"x"}]}"#;
        for (dialect, body) in [(Dialect::AnthropicMessages, anthropic), (Dialect::OpenaiResponses, responses)] {
            let facts = Words::of(Bytes::from_static(body.as_bytes()), dialect).prompt().unwrap();
            assert_eq!((facts.turns, facts.repeats), (2, 2), "{dialect:?}");
        }
    }
}
