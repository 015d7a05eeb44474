//! Says every effect once, and one fact of each kind: what `tests/guests/conformance.rs` compares with other languages.

wit_bindgen::generate!({ path: "../../wit", world: "policy" });

use tollgate::policy::effects::{
    Alert, Cap, Deny, Pin, Prefer, Require, Set, Severity, Split, Tag, TraitOf, Value, Wish,
};
use tollgate::policy::facts::StickyBy;

struct Every;

impl Guest for Every {
    fn decide(_hook: Hook, facts: Facts) -> Result<Vec<Effect>, String> {
        match facts.param_text("say").as_deref() {
            Some("facts") => Ok(told(&facts)),
            Some("typo") => Ok(vec![Effect::Note(facts.budget_ratio("mnth").to_string())]),
            Some("hold") => Ok(vec![Effect::Reserve("mnth".to_owned())]),
            Some("wrong") => Ok(vec![Effect::Set(Set { name: "messages".to_owned(), value: Value::Flag(true) })]),
            Some(_) | None => Ok(every()),
        }
    }
}

fn every() -> Vec<Effect> {
    let text = str::to_owned;
    let require = |of, any: &[&str]| Effect::Require(Require { of, any: any.iter().map(|s| text(s)).collect() });
    let prefer = |wish, score| Effect::Prefer(Prefer { wish, score });
    let set = |name, value| Effect::Set(Set { name: text(name), value });
    let alert = |severity, words| Effect::Alert(Alert { severity, text: text(words) });
    vec![
        Effect::Deny(Deny { code: text("c"), reason: text("r") }),
        Effect::Cap(Cap::MaxTokens(5)),
        Effect::Cap(Cap::MaxCostUsd(text("0.25"))),
        Effect::Cap(Cap::DeadlineMs(900)),
        Effect::Cap(Cap::Attempts(2)),
        require(TraitOf::Models, &["a*"]),
        require(TraitOf::Families, &["f"]),
        require(TraitOf::Providers, &["p"]),
        require(TraitOf::Regions, &["us", "eu"]),
        require(TraitOf::Tiers, &["t"]),
        Effect::Reserve(text("month")),
        prefer(Wish::Target(text("a/b")), -3),
        prefer(Wish::Tier(text("high")), 7),
        prefer(Wish::Family(text("claude")), 100),
        Effect::Pin(Pin { target: text("a/b"), may_replace_pinned: false }),
        Effect::Split(Split {
            name: text("s"),
            by: StickyBy::User,
            weights: vec![(text("c/d"), 3), (text("a/b"), 1)],
            may_replace_pinned: false,
        }),
        Effect::Fallback(vec![text("a/b"), text("c/d")]),
        set("temperature", Value::Decimal(0.5)),
        set("seed", Value::Whole(7)),
        set("store", Value::Flag(false)),
        set("reasoning_effort", Value::Text(text("low"))),
        Effect::Drop(text("logprobs")),
        Effect::Tag(Tag { key: text("k"), value: text("v") }),
        Effect::Note(text("n")),
        alert(Severity::Info, "i"),
        alert(Severity::Warning, "w"),
        alert(Severity::Critical, "c"),
    ]
}

fn told(facts: &Facts) -> Vec<Effect> {
    let tag = |key: &str, value: String| Effect::Tag(Tag { key: key.to_owned(), value });
    vec![
        tag("tenant", facts.caller_tenant()),
        tag("source", facts.caller_tenant_source()),
        tag("tokens", facts.prompt_tokens().to_string()),
        tag("stream", facts.call_stream().to_string()),
        tag("roles", facts.prompt_roles().join(",")),
        tag("used", facts.budget_used("month").to_string()),
        tag("ratio", facts.budget_ratio("month").to_string()),
        tag("none", facts.rate_limit("rpm").to_string()),
        tag("bucket", facts.bucket("canary", StickyBy::User).to_string()),
        tag("contains", facts.text_contains("secret").to_string()),
    ]
}

export!(Every);
