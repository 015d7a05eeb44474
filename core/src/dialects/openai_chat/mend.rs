//! A caller's own bytes for a provider that follows this dialect and refuses some of it: the few members that are mended, and
//! no other byte.

use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;

use super::write_request::call_id;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::skim::{Skim, skim};
use crate::contract::splice::{Edits, with_items};
use crate::dialects::{Quirks, Refused};

const NEWER_BOUND: &str = "max_completion_tokens";
/// Members of ours and of other makers in messages of the assistant, and in calls.
const THOUGHTS: [&str; 2] = ["reasoning_content", "reasoning_details"];
const SEAL: &str = "extra_content";

/// Says as the provider takes it what can be said so, and takes out what it refuses: that is told.
pub fn mend(body: &Bytes, skim: &Skim, quirks: &Quirks, edits: &mut Edits) -> Vec<Loss> {
    let at = At { body, skim };
    if quirks.refuses.contains(&Refused::NewerBound)
        && let Some(older) = quirks.max_tokens
    {
        at.bound(older, edits);
    }
    for (ours, theirs) in quirks.renamed {
        if let Some(json) = at.now(ours, edits) {
            edits.remove(ours);
            edits.set(theirs, at.now(theirs, edits).unwrap_or(json));
        }
    }
    let mut lost = Vec::new();
    let messages = skim.raw(body, "messages").filter(|raw| may_need(raw, skim, quirks));
    let messages = messages.and_then(|raw| std::str::from_utf8(raw).ok());
    if let Some(mended) = messages.and_then(|list| with_items(list, |item| message(item, quirks, &mut lost))) {
        edits.set("messages", mended);
    }
    lost
}

struct At<'a> {
    body: &'a Bytes,
    skim: &'a Skim,
}

impl At<'_> {
    /// What a member is, with the changes that are asked for.
    fn now(&self, name: &str, edits: &Edits) -> Option<String> {
        match edits.change(name) {
            Some(change) => change.map(str::to_owned),
            None => self.skim.raw(self.body, name).map(|raw| String::from_utf8_lossy(raw).into_owned()),
        }
    }

    /// The bound under its older name; where both stand, the smaller one.
    fn bound(&self, older: &str, edits: &mut Edits) {
        let Some(newer) = self.now(NEWER_BOUND, edits) else { return };
        edits.remove(NEWER_BOUND);
        let tokens = |json: &str| json.parse::<u64>().ok();
        match self.now(older, edits) {
            Some(said) if tokens(&newer).is_none_or(|newer| tokens(&said).is_some_and(|said| said <= newer)) => {}
            Some(_) | None => edits.set(older, newer),
        }
    }
}

/// Most conversations have nothing of the kind: a search tells.
fn may_need(messages: &[u8], skim: &Skim, quirks: &Quirks) -> bool {
    let says = |word: &str| memmem::find(messages, word.as_bytes()).is_some();
    let refuses = |what| quirks.refuses.contains(&what);
    refuses(Refused::Developer) && says("developer")
        || refuses(Refused::Thoughts) && (THOUGHTS.into_iter().any(says) || says(SEAL))
        || skim.may_name_calls && quirks.call_id_chars.is_some()
        || skim.may_name_calls && quirks.call_id_chars_max.is_some_and(|most| names_longer(messages, most))
}

/// Is there a result of a call whose id is longer? Without a result a call is refused anyway.
fn names_longer(messages: &[u8], most: usize) -> bool {
    const NAME: &[u8] = b"\"tool_call_id\"";
    memmem::find_iter(messages, NAME).any(|at| {
        let rest = &messages[at + NAME.len()..];
        let begin = rest.iter().position(|b| *b == b'"').map_or(rest.len(), |begin| begin + 1);
        !rest[begin..].iter().take(most + 1).any(|b| *b == b'"')
    })
}

fn message(item: &str, quirks: &Quirks, lost: &mut Vec<Loss>) -> Option<String> {
    let body = Bytes::copy_from_slice(item.as_bytes());
    let found = skim(&body).ok()?;
    let mut edits = Edits::default();
    if quirks.refuses.contains(&Refused::Developer) && found.raw(&body, "role") == Some(b"\"developer\"") {
        edits.set("role", "\"system\"");
    }
    let thoughts = THOUGHTS.into_iter().filter(|_| quirks.refuses.contains(&Refused::Thoughts));
    for name in thoughts.filter(|name| found.find(&body, name).is_some()) {
        edits.remove(name);
        tell(Element::ReasoningText, lost);
    }
    id(&body, &found, "tool_call_id", quirks, &mut edits);
    let calls = found.raw(&body, "tool_calls").and_then(|raw| std::str::from_utf8(raw).ok());
    if let Some(mended) = calls.and_then(|list| with_items(list, |item| call(item, quirks, lost))) {
        edits.set("tool_calls", mended);
    }
    changed(&body, &found, &edits)
}

fn call(item: &str, quirks: &Quirks, lost: &mut Vec<Loss>) -> Option<String> {
    let body = Bytes::copy_from_slice(item.as_bytes());
    let found = skim(&body).ok()?;
    let mut edits = Edits::default();
    id(&body, &found, "id", quirks, &mut edits);
    if quirks.refuses.contains(&Refused::Thoughts) && found.find(&body, SEAL).is_some() {
        edits.remove(SEAL);
        tell(Element::ReasoningSigned, lost);
    }
    changed(&body, &found, &edits)
}

/// An id as the provider takes it: the same for a call and for its result.
fn id(body: &Bytes, found: &Skim, name: &str, quirks: &Quirks, edits: &mut Edits) {
    let said: Option<String> = found.raw(body, name).and_then(|raw| serde_json::from_slice(raw).ok());
    if let Some(said) = said {
        let taken = call_id(&said, quirks);
        if *taken != *said {
            edits.set(name, Value::from(&*taken).to_string());
        }
    }
}

fn tell(element: Element, lost: &mut Vec<Loss>) {
    let loss = Loss::value(element, "the provider refuses thoughts that are sent back");
    if !lost.contains(&loss) {
        lost.push(loss);
    }
}

fn changed(body: &Bytes, found: &Skim, edits: &Edits) -> Option<String> {
    (!edits.is_empty()).then(|| String::from_utf8_lossy(&edits.apply(body, found)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Quirks = Quirks {
        max_tokens: Some("max_tokens"),
        renamed: &[("seed", "random_seed")],
        call_id_chars: Some(9),
        refuses: &[Refused::Developer, Refused::NewerBound, Refused::Thoughts],
        ..Quirks::NONE
    };

    fn mended(body: &str, quirks: &Quirks) -> (String, Vec<Loss>) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let (found, mut edits) = (skim(&body).unwrap(), Edits::default());
        let lost = mend(&body, &found, quirks, &mut edits);
        (String::from_utf8(edits.apply(&body, &found).to_vec()).unwrap(), lost)
    }

    #[test]
    fn what_a_provider_refuses_is_said_as_it_takes_it() {
        for (body, expected, why) in [
            (
                r#"{"messages": [{"role":"developer", "content":"developer"} ,{"role":"user","content":"a"}]}"#,
                r#"{"messages": [{"role":"system", "content":"developer"} ,{"role":"user","content":"a"}]}"#,
                "the role, and not the word",
            ),
            (r#"{"max_completion_tokens": 5}"#, r#"{"max_tokens":5}"#, "the older name"),
            (r#"{"max_tokens":3, "max_completion_tokens":5}"#, r#"{"max_tokens":3}"#, "the smaller of two"),
            (r#"{"max_tokens":9, "max_completion_tokens":5}"#, r#"{"max_tokens":5}"#, "the smaller of two"),
            (r#"{"seed": 7}"#, r#"{"random_seed":7}"#, "its own name for it"),
            (
                r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"abcdef123"}]},{"role":"tool", "tool_call_id":"abcdef123"}]}"#,
                r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"abcdef123"}]},{"role":"tool", "tool_call_id":"abcdef123"}]}"#,
                "an id that fits",
            ),
            (r#"{"messages": 5, "seed_": 1}"#, r#"{"messages": 5, "seed_": 1}"#, "nothing of the kind"),
        ] {
            assert_eq!(mended(body, &ALL), (expected.to_owned(), Vec::new()), "{why}");
        }
    }

    #[test]
    fn ids_that_do_not_fit_still_agree() {
        let long = "toolu_".to_owned() + &"y".repeat(60);
        for (quirks, id, chars) in
            [(&ALL, "toolu_1", 9), (&Quirks { call_id_chars_max: Some(40), ..Quirks::NONE }, &long, 40)]
        {
            let body = format!(
                r#"{{"messages":[{{"role":"assistant","tool_calls":[{{"id":"{id}","type":"function"}}]}},{{"role":"tool","tool_call_id":"{id}"}}]}}"#
            );
            let told: Value = serde_json::from_str(&mended(&body, quirks).0).unwrap();
            let call = told["messages"][0]["tool_calls"][0]["id"].as_str().unwrap();
            assert_eq!((call.len(), &told["messages"][1]["tool_call_id"]), (chars, &Value::from(call)));
            assert_eq!(mended(&body, &Quirks::NONE).0, body, "who takes any id gets the caller's");
        }
    }

    #[test]
    fn thoughts_that_were_told_are_taken_out_and_that_is_told() {
        let body = r#"{"messages":[{"role":"assistant","content":"a","reasoning_content":"hm","reasoning_details":[],"tool_calls":[{"id":"abcdef123","extra_content":{"google":{}}}]}]}"#;
        let (told, lost) = mended(body, &ALL);
        let names: Vec<&str> = lost.iter().map(|l| &*l.what).collect();
        assert_eq!(told, r#"{"messages":[{"role":"assistant","content":"a","tool_calls":[{"id":"abcdef123"}]}]}"#);
        assert_eq!(names, ["messages.reasoning", "messages.reasoning_signature"]);
        assert!(lost.iter().all(|loss| loss.hint), "they may be left out");
        assert_eq!(mended(body, &Quirks::NONE), (body.to_owned(), Vec::new()), "others take them, or pass over them");
    }
}
