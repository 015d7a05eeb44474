//! The decision digest: BLAKE3 of the canonical JSON of what policies decided.
//!
//! Canonical means: members in the order of the alphabet, no white space, decisions by hook and policy, effects as a set.
//! Lines, engines and operations are left out, so that the same decision in another language has the same digest.

use std::ops::Range;

use serde::Serialize;

use crate::contract::json;
use crate::policy::effect::Said;
use crate::policy::verdict::{Outcome, Verdict};

/// The canonical text of all decisions of a call.
pub fn canonical<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Vec<u8> {
    let mut decisions: Vec<&Verdict> = verdicts.into_iter().filter(|v| v.matched()).collect();
    decisions.sort_by(|a, b| (a.hook, &a.policy.name).cmp(&(b.hook, &b.policy.name)));
    let mut out = Vec::with_capacity(192 * decisions.len() + 8);
    out.push(b'[');
    for (at, verdict) in decisions.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"effects\":[" } else { b"{\"effects\":[" });
        effects(&mut out, verdict.effects());
        let outcome = match &verdict.outcome {
            Outcome::Decided(_) => "decided",
            Outcome::NotMatched(_) => "not_matched",
            Outcome::Failed(_) => "failed",
        };
        let hook = verdict.hook.name();
        for part in ["],\"hook\":\"", hook, "\",\"outcome\":\"", outcome, "\",\"policy\":"] {
            out.extend_from_slice(part.as_bytes());
        }
        put(&mut out, &verdict.policy.name);
        out.push(b'}');
    }
    out.push(b']');
    out
}

/// Effects as a set: in the order of their texts, each once.
fn effects(out: &mut Vec<u8>, said: &[Said]) {
    if let [one] = said {
        return put(out, &one.effect);
    }
    let mut text = Vec::with_capacity(64 * said.len());
    let mut parts: Vec<Range<usize>> = Vec::with_capacity(said.len());
    for said in said {
        let from = text.len();
        put(&mut text, &said.effect);
        parts.push(from..text.len());
    }
    parts.sort_unstable_by(|a, b| text[a.clone()].cmp(&text[b.clone()]));
    parts.dedup_by(|a, b| text[a.clone()] == text[b.clone()]);
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&text[part]);
    }
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    json::put(out, value).expect("effects have text keys");
}

/// The digest as receipts tell it: 64 hex digits.
pub fn decision<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> String {
    blake3::hash(&canonical(verdicts)).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::effect::{At, Cap, Deny, Effect, Said};
    use crate::policy::verdict::{Engine, Layer, Standing};
    use crate::policy::{Hook, Mode};

    #[test]
    fn the_same_decision_in_another_language_or_order_has_the_same_digest() {
        let verdict = |name: &str, engine, effects: Vec<Effect>| Verdict {
            policy: Arc::new(Standing {
                name: name.into(),
                layer: Layer::Platform,
                priority: 0,
                engine,
                declared: At::default(),
            }),
            hook: Hook::PreRoute,
            mode: Mode::Enforce,
            lowered: None,
            outcome: Outcome::Decided(effects.into_iter().map(|effect| Said { effect, at: At::default() }).collect()),
            ops: 7,
        };
        let cap = Effect::Cap(Cap::MaxTokens(5));
        let deny = Effect::Deny(Deny { code: "c".into(), reason: "r".into() });
        let one = [verdict("a", Engine::Cel, vec![cap.clone(), deny.clone()]), verdict("b", Engine::Rhai, vec![])];
        let two = [verdict("b", Engine::Cel, vec![]), verdict("a", Engine::Rhai, vec![deny, cap.clone(), cap])];
        assert_eq!(canonical(&one), canonical(&two));
        assert_eq!(
            String::from_utf8(canonical(&one)).unwrap(),
            r#"[{"effects":[{"cap":{"max_tokens":5}},{"deny":{"code":"c","reason":"r"}}],"hook":"pre-route","outcome":"decided","policy":"a"},{"effects":[],"hook":"pre-route","outcome":"decided","policy":"b"}]"#
        );
    }
}
