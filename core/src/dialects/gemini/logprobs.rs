//! Log probabilities: what was chosen and what might have been, here in two lists, in OpenAI's form in one.

use serde_json::value::RawValue;

use crate::contract::read::{Raw, as_text, find, is_list, loose};
use crate::contract::write::{Null, Writer};

/// `logprobsResult` in OpenAI's form.
pub fn read(raw: Raw<'_>) -> Option<Box<RawValue>> {
    let members = loose(raw);
    let chosen = list(find(&members, "chosenCandidates"));
    let top = list(find(&members, "topCandidates"));
    if chosen.is_empty() {
        return None;
    }
    let json = Writer::object_text(|w| {
        w.list_member("content", |w| {
            for (at, token) in chosen.iter().enumerate() {
                w.object(|w| {
                    of_google(w, token);
                    let others = top.get(at).map(|raw| list(find(&loose(raw), "candidates"))).unwrap_or_default();
                    w.list_member("top_logprobs", |w| {
                        others.into_iter().for_each(|other| w.object(|w| of_google(w, other)));
                    });
                });
            }
        });
    });
    RawValue::from_string(String::from_utf8(json).ok()?).ok()
}

fn of_google(w: &mut Writer, raw: Raw<'_>) {
    let members = loose(raw);
    w.member("token", &find(&members, "token").and_then(as_text).unwrap_or_default());
    match find(&members, "logProbability") {
        Some(raw) => w.member("logprob", raw),
        // A certain token: zeros are left out in Google's JSON.
        None => w.member("logprob", &0u64),
    }
    w.member("bytes", &Null);
}

/// OpenAI's form, the object or the bare list, as `logprobsResult`.
pub fn write(w: &mut Writer, openai: Raw<'_>) {
    let content = list(find(&loose(openai), "content").or(Some(openai)));
    if content.is_empty() {
        return;
    }
    w.object_member("logprobsResult", |w| {
        w.list_member("topCandidates", |w| {
            for token in &content {
                w.object(|w| {
                    w.list_member("candidates", |w| {
                        list(find(&loose(token), "top_logprobs")).into_iter().for_each(|other| of_openai(w, other));
                    });
                });
            }
        });
        w.list_member("chosenCandidates", |w| content.iter().for_each(|token| of_openai(w, token)));
    });
}

fn of_openai(w: &mut Writer, raw: Raw<'_>) {
    let members = loose(raw);
    w.object(|w| {
        w.member("token", &find(&members, "token").and_then(as_text).unwrap_or_default());
        w.member_some("logProbability", &find(&members, "logprob"));
    });
}

fn list(raw: Option<Raw<'_>>) -> Vec<Raw<'_>> {
    raw.filter(|raw| is_list(raw)).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let google = r#"{"topCandidates":[{"candidates":[{"token":"a","logProbability":-0.50},{"token":"b","logProbability":-2}]}],"chosenCandidates":[{"token":"a","logProbability":-0.50}]}"#;
        let openai = read(serde_json::from_str(google).unwrap()).unwrap();
        let expected = r#"{"content":[{"token":"a","logprob":-0.50,"bytes":null,"top_logprobs":[{"token":"a","logprob":-0.50,"bytes":null},{"token":"b","logprob":-2,"bytes":null}]}]}"#;
        assert_eq!(openai.get(), expected);
        let again = Writer::object_text(|w| write(w, &openai));
        assert_eq!(String::from_utf8(again).unwrap(), format!("{{\"logprobsResult\":{google}}}"));
        let bare = find(&loose(&openai), "content").unwrap();
        let again = Writer::object_text(|w| write(w, bare));
        assert_eq!(String::from_utf8(again).unwrap(), format!("{{\"logprobsResult\":{google}}}"));
    }
}
