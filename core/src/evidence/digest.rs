//! The decision digest: BLAKE3 of the canonical JSON of what policies decided.
//!
//! Canonical means: members in the order of the alphabet, no white space, decisions by hook and policy, effects as a set.
//! Lines, engines and operations are left out, so that the same decision in another language has the same digest.

use std::fmt::Write;

use crate::policy::verdict::{Outcome, Verdict};

/// The canonical text of all decisions of a call.
pub fn canonical<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> String {
    let mut decisions: Vec<&Verdict> = verdicts.into_iter().filter(|v| v.matched()).collect();
    decisions.sort_by(|a, b| (a.hook, &a.policy.name).cmp(&(b.hook, &b.policy.name)));
    let mut out = String::with_capacity(128 * decisions.len() + 8);
    out.push('[');
    for (at, verdict) in decisions.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str("{\"effects\":[");
        let mut effects: Vec<String> = verdict
            .effects()
            .iter()
            .map(|said| serde_json::to_string(&said.effect).expect("effects have text keys and finite numbers"))
            .collect();
        effects.sort_unstable();
        effects.dedup();
        out.push_str(&effects.join(","));
        let outcome = match &verdict.outcome {
            Outcome::Decided(_) => "decided",
            Outcome::NotMatched(_) => "not_matched",
            Outcome::Failed(_) => "failed",
        };
        let policy = serde_json::Value::from(&*verdict.policy.name);
        write!(out, "],\"hook\":\"{}\",\"outcome\":\"{outcome}\",\"policy\":{policy}}}", verdict.hook.name())
            .expect("writing to a text cannot fail");
    }
    out.push(']');
    out
}

/// The digest as receipts tell it: 64 hex digits.
pub fn decision<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> String {
    blake3::hash(canonical(verdicts).as_bytes()).to_hex().to_string()
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
            outcome: Outcome::Decided(effects.into_iter().map(|effect| Said { effect, at: At::default() }).collect()),
            ops: 7,
        };
        let cap = Effect::Cap(Cap::MaxTokens(5));
        let deny = Effect::Deny(Deny { code: "c".into(), reason: "r".into() });
        let one = [verdict("a", Engine::Cel, vec![cap.clone(), deny.clone()]), verdict("b", Engine::Rhai, vec![])];
        let two = [verdict("b", Engine::Cel, vec![]), verdict("a", Engine::Rhai, vec![deny, cap.clone(), cap])];
        assert_eq!(canonical(&one), canonical(&two));
        assert_eq!(
            canonical(&one),
            r#"[{"effects":[{"cap":{"max_tokens":5}},{"deny":{"code":"c","reason":"r"}}],"hook":"pre-route","outcome":"decided","policy":"a"},{"effects":[],"hook":"pre-route","outcome":"decided","policy":"b"}]"#
        );
    }
}
