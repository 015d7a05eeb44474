//! Thoughts with their seals, in the form that OpenRouter gave them: the list `reasoning_details`.
//!
//! A stream tells one entry in pieces of one `index`. Who gathered it by appending sends the pieces back, one behind the
//! other; they are joined here.

use std::borrow::Cow;
use std::convert::Infallible;

use crate::contract::canonical::part::{Kind, Maker, Part, Reasoning, Signature};
use crate::contract::read::{Raw, Reading, Wrong, as_text, as_whole, find, loose};

/// One entry, or a piece of one.
pub struct Detail<'a> {
    pub index: Option<u64>,
    pub reasoning: Reasoning<'a>,
    /// Whose thoughts are sealed is told by the signature alone: what has data only gets an empty one.
    pub signature: Option<Signature<'a>>,
}

/// As a caller sent it: what is wrong is told by its place.
pub fn read<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Detail<'a>, Wrong> {
    let members = r.object(raw)?;
    let index = find(&members, "index").and_then(as_whole);
    detail(index, |name| find(&members, name).map(|raw| r.within(name, |r| r.text(raw))).transpose())
}

/// As a provider sent it: what is no text says nothing.
pub fn told(raw: Raw<'_>) -> Detail<'_> {
    let members = loose(raw);
    let index = find(&members, "index").and_then(as_whole);
    let Ok(told) = detail(index, |name| Ok::<_, Infallible>(find(&members, name).and_then(as_text)));
    told
}

fn detail<'a, E>(
    index: Option<u64>,
    mut text: impl FnMut(&'static str) -> Result<Option<Cow<'a, str>>, E>,
) -> Result<Detail<'a>, E> {
    let by = maker(text("format")?.as_deref().unwrap_or_default());
    let (thoughts, summary) = (text("text")?, text("summary")?);
    let is_summary = summary.is_some() || text("type")?.as_deref() == Some("reasoning.summary");
    let reasoning = Reasoning {
        summary: is_summary,
        text: thoughts.or(summary).unwrap_or_default(),
        encrypted: text("data")?,
        id: text("id")?,
    };
    let signature = text("signature")?.or(reasoning.encrypted.is_some().then_some("".into()));
    Ok(Detail { index, reasoning, signature: signature.map(|data| Signature { by, data }) })
}

fn maker(format: &str) -> Maker {
    match format.split('-').next() {
        Some("anthropic") => Maker::Anthropic,
        Some("google") => Maker::Google,
        Some("openai") => Maker::Openai,
        Some(_) | None => Maker::Other,
    }
}

/// The parts that these entries are. `plain` is what was thought as a text, beside them: an only seal without words is on it.
pub fn parts<'a>(details: Vec<Detail<'a>>, plain: Option<Cow<'a, str>>) -> Vec<Part<'a>> {
    let mut whole: Vec<Detail<'a>> = Vec::with_capacity(details.len());
    for next in details {
        match whole.last_mut() {
            Some(last) if goes_on(last, &next) => join(last, next),
            Some(_) | None => whole.push(next),
        }
    }
    if let ([only], Some(plain)) = (&mut whole[..], plain) {
        words(only, plain);
    }
    let part = |d: Detail<'a>| Part { signature: d.signature, ..Kind::Reasoning(d.reasoning).into() };
    whole.into_iter().map(part).collect()
}

/// A seal ends an entry. Where nobody told an index, a seal with words of its own is on these alone.
fn goes_on(last: &Detail<'_>, next: &Detail<'_>) -> bool {
    let (before, after) = (&last.reasoning, &next.reasoning);
    last.signature.is_none()
        && last.index == next.index
        && (next.index.is_some() || next.signature.is_none() || after.text.is_empty())
        && (before.summary == after.summary || after.text.is_empty())
        && (before.id == after.id || before.id.is_none() || after.id.is_none())
}

fn join<'a>(last: &mut Detail<'a>, next: Detail<'a>) {
    let text = next.reasoning.text;
    if last.reasoning.text.is_empty() {
        last.reasoning.text = text;
    } else if !text.is_empty() {
        last.reasoning.text.to_mut().push_str(&text);
    }
    last.reasoning.id = last.reasoning.id.take().or(next.reasoning.id);
    last.reasoning.encrypted = next.reasoning.encrypted;
    last.signature = next.signature;
}

fn words<'a>(only: &mut Detail<'a>, plain: Cow<'a, str>) {
    let Some(signature) = only.signature.as_ref().filter(|_| only.reasoning.text.is_empty()) else { return };
    match &only.reasoning.encrypted {
        None => only.reasoning.text = plain,
        // A summary stands beside what it sums up. What other makers encrypt has no words.
        Some(_) if signature.by == Maker::Openai => {
            only.reasoning.text = plain;
            only.reasoning.summary = true;
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Each part as (text, data, signature).
    fn read_all(list: &Value, plain: Option<&str>) -> Vec<(String, Option<String>, Option<String>)> {
        let text = list.to_string();
        let items: Vec<Raw<'_>> = serde_json::from_str(&text).unwrap();
        let details = items.into_iter().map(told).collect();
        let told = parts(details, plain.map(Into::into)).into_iter().map(|part| match part.kind {
            Kind::Reasoning(r) => {
                (r.text.into_owned(), r.encrypted.map(Into::into), part.signature.map(|s| s.data.into_owned()))
            }
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    #[test]
    fn pieces_of_an_entry_are_joined() {
        let piece = |index: Option<u64>, text: &str| json!({"type": "reasoning.text", "text": text, "index": index});
        let seal = |index: Option<u64>, seal: &str| json!({"type": "reasoning.text", "signature": seal, "format": "anthropic-claude-v1", "index": index});
        let is = |text: &str, seal: &str| (text.to_owned(), None, Some(seal.to_owned()));
        let (first, second) = (Some(0), Some(1));
        for (list, plain, expected, why) in [
            (json!([piece(first, "A"), piece(first, "B"), seal(first, "S")]), None, vec![is("AB", "S")], "by index"),
            (json!([piece(None, "A"), piece(None, "B"), seal(None, "S")]), None, vec![is("AB", "S")], "by their order"),
            (
                json!([piece(first, "A"), seal(first, "S"), piece(first, "B"), seal(first, "T")]),
                None,
                vec![is("A", "S"), is("B", "T")],
                "a seal ends an entry, whatever its index",
            ),
            (
                json!([piece(first, "A"), seal(second, "S")]),
                None,
                vec![("A".to_owned(), None, None), is("", "S")],
                "another index is another entry",
            ),
            (
                json!([piece(None, "A"), {"type": "reasoning.text", "text": "B", "signature": "S"}]),
                None,
                vec![("A".to_owned(), None, None), is("B", "S")],
                "a whole entry behind one without a seal",
            ),
            (json!([seal(first, "S")]), Some("Hm"), vec![is("Hm", "S")], "an only seal is on what was thought"),
            (
                json!([seal(first, "S"), seal(second, "T")]),
                Some("Hm"),
                vec![is("", "S"), is("", "T")],
                "one of two is not",
            ),
        ] {
            assert_eq!(read_all(&list, plain), expected, "{why}");
        }
    }

    #[test]
    fn a_summary_stands_beside_what_is_encrypted() {
        let data = |format: &str| json!({"type": "reasoning.encrypted", "data": "D", "format": format, "index": 0});
        let summary = json!({"type": "reasoning.summary", "summary": "Hm", "index": 0});
        let is = |text: &str| vec![(text.to_owned(), Some("D".to_owned()), Some(String::new()))];
        let (openai, anthropic) = ("openai-responses-v1", "anthropic-claude-v1");
        assert_eq!(read_all(&json!([summary, data(openai)]), None), is("Hm"), "they are one entry");
        assert_eq!(read_all(&json!([data(openai)]), Some("Hm")), is("Hm"), "it was told as plain text");
        assert_eq!(read_all(&json!([data(anthropic)]), Some("Hm")), is(""), "what is redacted has no words");
    }
}
