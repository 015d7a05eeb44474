//! The first version of Cohere's chat, which is carried within itself only: what its streams tell beside their lines, and
//! how one is told that it broke off.

use memchr::memmem;

use super::usage;
use crate::contract::read::{Raw, as_text, find, loose};
use crate::contract::refusal::Refusal;
use crate::dialects::Notes;

/// Only the last line tells anything, and only it is parsed.
pub fn note(line: &[u8], notes: &mut Notes) {
    if memmem::find(line, b"\"stream-end\"").is_none() {
        return;
    }
    let Ok(raw) = serde_json::from_slice::<Raw<'_>>(line) else { return };
    let root = loose(raw);
    if find(&root, "event_type").and_then(as_text).as_deref() != Some("stream-end") {
        return;
    }
    let response = find(&root, "response").map(loose).unwrap_or_default();
    let reason = find(&root, "finish_reason").or_else(|| find(&response, "finish_reason")).and_then(as_text);
    notes.usage = find(&response, "meta").and_then(usage::read).or(notes.usage);
    match reason.filter(|reason| reason.starts_with("ERROR")) {
        Some(failed) => notes.error = Some(format!("it ended with `{failed}`")),
        None => notes.done = true,
    }
    notes.finish_reason = find(&root, "finish_reason").and_then(as_text).map(String::from);
}

/// The last line of a stream that broke off.
pub fn refusal_line(refusal: &Refusal, request_id: &str) -> String {
    let response = serde_json::json!({ "text": "", "finish_reason": "ERROR" });
    let line = serde_json::json!({
        "is_finished": true,
        "event_type": "stream-end",
        "finish_reason": "ERROR",
        "error": refusal.message(),
        "response": response,
        "tollgate": refusal.tollgate_object(request_id),
    });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::refusal::Category;
    use crate::contract::usage::Usage;

    #[test]
    fn the_last_line_tells_the_end_and_the_use() {
        let mut notes = Notes::default();
        note(br#"{"is_finished":false,"event_type":"text-generation","text":"stream-end"}"#, &mut notes);
        assert_eq!(notes, Notes::default());
        let end = br#"{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE","response":{"meta":{"billed_units":{"input_tokens":7,"output_tokens":2},"tokens":{"input_tokens":69,"output_tokens":3}}}}"#;
        note(end, &mut notes);
        assert_eq!(notes.usage, Some(Usage { input: 7, output: 2, ..Usage::default() }), "what is billed counts");
        assert!(notes.done && notes.finish_reason.as_deref() == Some("COMPLETE"));
        let mut broken = Notes::default();
        let refusal = Refusal::new(Category::Interrupted, "stream_interrupted", "it broke off");
        note(refusal_line(&refusal, "r").trim_end().as_bytes(), &mut broken);
        assert!(broken.error.is_some() && !broken.done, "a cut stream never looks complete");
    }
}
