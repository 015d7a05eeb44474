//! What a case expects of a decision, and how the two differ. Also: an effect as people write it.

use serde_json::Value;
use tollgate_core::limits::money::usd_text;
use tollgate_core::policy::effect::{Cap, Effect, Said, Severity, StickyBy, Trait, Wish};
use tollgate_core::policy::parse;

use crate::engine::{Answer, Stop};
use crate::reading::Reading;
use crate::yaml::{Data, Node};

/// What must be true of a decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expectation {
    wanted: Vec<Wanted>,
    /// Kinds of effects that must be absent.
    absent: Vec<&'static str>,
    nothing: bool,
    error: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    Exact(Effect),
    /// A denial with this code, whatever its reason says.
    Denial(String),
}

impl Expectation {
    pub fn read(reading: &Reading<'_>, node: &Node) -> Option<Expectation> {
        let table = reading.open_table(node, "`expect`")?;
        let mut expected = Expectation::default();
        for (key, value) in table.members {
            match key.text.as_str() {
                "nothing" => expected.nothing = table.flag("nothing")?,
                "error" => expected.error = table.flag("error")?,
                "not" => {
                    let kinds = Effect::NAMES.map(|name| (name, name));
                    expected.absent = table.picks("not", &kinds);
                }
                name => match wanted(name, value) {
                    Ok(wanted) => expected.wanted.extend(wanted),
                    Err(why) => {
                        let help = "effects as in a rule, or `nothing: true`, `not: [deny]`, `error: true`";
                        reading.tell_help("TG0314", key.at, format!("`expect`: {why}"), help);
                    }
                },
            }
        }
        // `expect: {}` says: nothing at all.
        expected.nothing |= table.members.is_empty();
        if (expected.nothing || expected.error) && !expected.wanted.is_empty() {
            let other = if expected.error { "error" } else { "nothing" };
            reading.tell(
                "TG0314",
                node.at,
                format!("`expect` has effects and `{other}: true`: they exclude one another"),
            );
        }
        Some(expected)
    }

    /// What differs, one sentence each. None = the case passes.
    pub fn differences(&self, got: &Result<Answer, Stop>) -> Vec<String> {
        let answer = match (got, self.error) {
            (Err(_), true) => return Vec::new(),
            (Err(stop), false) => return vec![format!("the policy failed at {}: {}", stop.at, stop.what)],
            (Ok(answer), true) => return vec![format!("expected a failure, got {}", said_all(&answer.effects))],
            (Ok(answer), false) => answer,
        };
        let got = &answer.effects;
        if self.nothing && !got.is_empty() {
            return vec![format!("expected nothing, got {}", said_all(got))];
        }
        let mut differences = Vec::new();
        for wanted in self.wanted.iter().filter(|w| !got.iter().any(|said| w.is(&said.effect))) {
            differences.push(format!("expected {}, got {}", wanted.text(), said_all(got)));
        }
        for said in got.iter().filter(|said| self.absent.contains(&said.effect.name())) {
            differences.push(format!(
                "expected no `{}`, got {} at {}",
                said.effect.name(),
                text(&said.effect),
                said.at
            ));
        }
        differences
    }
}

impl Wanted {
    fn is(&self, effect: &Effect) -> bool {
        match (self, effect) {
            (Wanted::Exact(wanted), effect) => wanted == effect,
            (Wanted::Denial(code), Effect::Deny(deny)) => *code == deny.code,
            (Wanted::Denial(_), _) => false,
        }
    }

    fn text(&self) -> String {
        match self {
            Wanted::Exact(effect) => text(effect),
            Wanted::Denial(code) => format!("deny: {code}"),
        }
    }
}

/// One effect, or a list of effects of the same kind.
fn wanted(name: &str, node: &Node) -> Result<Vec<Wanted>, String> {
    match &node.data {
        Data::Text(code) if name == "deny" => Ok(vec![Wanted::Denial(code.clone())]),
        Data::Map(members) if name == "deny" && !members.iter().any(|(k, _)| k.text == "reason") => {
            let denial = parse::effects(name, &node.json())?;
            Ok(denial
                .into_iter()
                .filter_map(|e| if let Effect::Deny(d) = e { Some(Wanted::Denial(d.code)) } else { None })
                .collect())
        }
        // `reserve`, `fallback` and `drop` take lists of names in their own grammar.
        Data::List(items) if !matches!(name, "reserve" | "fallback" | "drop") => {
            let each: Result<Vec<Vec<Wanted>>, String> = items.iter().map(|item| wanted(name, item)).collect();
            Ok(each?.into_iter().flatten().collect())
        }
        _ => Ok(parse::effects(name, &node.json())?.into_iter().map(Wanted::Exact).collect()),
    }
}

fn said_all(effects: &[Said]) -> String {
    if effects.is_empty() {
        return "nothing".to_owned();
    }
    effects.iter().map(|said| text(&said.effect)).collect::<Vec<_>>().join("; ")
}

/// An effect in the grammar of rules, on one line: `prefer: {tier: standard, score: 100}`.
pub fn text(effect: &Effect) -> String {
    let name = effect.name();
    let list = |names: &mut dyn Iterator<Item = &String>| names.map(String::as_str).collect::<Vec<_>>().join(", ");
    let may_replace = |yes: bool| if yes { ", may_replace_pinned: true" } else { "" };
    match effect {
        Effect::Deny(deny) if deny.reason.is_empty() => format!("{name}: {{code: {}}}", deny.code),
        Effect::Deny(deny) => format!("{name}: {{code: {}, reason: {}}}", deny.code, quoted(&deny.reason)),
        Effect::Cap(cap) => match cap {
            Cap::MaxTokens(n) => format!("{name}: {{max_tokens: {n}}}"),
            Cap::MaxCostNanousd(n) => format!("{name}: {{max_cost_usd: \"{}\"}}", usd_text(*n)),
            Cap::DeadlineMs(n) => format!("{name}: {{deadline_ms: {n}}}"),
            Cap::Attempts(n) => format!("{name}: {{attempts: {n}}}"),
        },
        Effect::Require(require) => {
            let of = match require.of {
                Trait::Models => "models",
                Trait::Families => "families",
                Trait::Providers => "providers",
                Trait::Regions => "regions",
                Trait::Tiers => "tiers",
            };
            format!("{name}: {{{of}: [{}]}}", list(&mut require.any.iter()))
        }
        Effect::Reserve(rule) => format!("{name}: {rule}"),
        Effect::Prefer(prefer) => {
            let (what, which) = match &prefer.wish {
                Wish::Target(target) => ("target", target),
                Wish::Tier(tier) => ("tier", tier),
                Wish::Family(family) => ("family", family),
            };
            format!("{name}: {{{what}: {which}, score: {}}}", prefer.score)
        }
        Effect::Pin(pin) => format!("{name}: {{target: {}{}}}", pin.target, may_replace(pin.may_replace_pinned)),
        Effect::Split(split) => {
            let weights: Vec<String> =
                split.weights.iter().map(|(target, weight)| format!("{target}: {weight}")).collect();
            let by = match split.by {
                StickyBy::Sticky => "sticky",
                StickyBy::Tenant => "tenant",
                StickyBy::App => "app",
                StickyBy::User => "user",
                StickyBy::Key => "key",
                StickyBy::Session => "session",
                StickyBy::Call => "call",
            };
            let replace = may_replace(split.may_replace_pinned);
            format!("{name}: {{name: {}, by: {by}, weights: {{{}}}{replace}}}", split.name, weights.join(", "))
        }
        Effect::Fallback(targets) => format!("{name}: [{}]", list(&mut targets.iter())),
        Effect::Set(param, value) => format!("{name}: {{{param}: {value}}}"),
        Effect::Drop(field) => format!("{name}: {field}"),
        Effect::Tag(key, value) => format!("{name}: {{{key}: {}}}", quoted(value)),
        Effect::Note(note) => format!("{name}: {}", quoted(note)),
        Effect::Alert(alert) => {
            let severity = match alert.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            };
            format!("{name}: {{severity: {severity}, text: {}}}", quoted(&alert.text))
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::CASES;
    use tollgate_core::policy::effect::At;
    use tollgate_core::policy::verdict::FailureKind;

    fn expect(text: &str) -> (Option<Expectation>, Vec<String>) {
        let reading = Reading::of("cases.yaml", CASES);
        let node = reading.parse(text.as_bytes()).unwrap();
        let expected = Expectation::read(&reading, &node);
        (expected, reading.findings().iter().map(ToString::to_string).collect())
    }

    fn said(rules: &[(&str, Value)]) -> Result<Answer, Stop> {
        let effects = rules.iter().flat_map(|(name, value)| parse::effects(name, value).unwrap());
        let effects = effects.map(|effect| Said { effect, at: At::default() }).collect();
        Ok(Answer { effects, ops: 1 })
    }

    #[test]
    fn expectations_are_compared_as_sets() {
        let denial = || ("deny", serde_json::json!({"code": "late", "reason": "too late"}));
        let caps = || ("cap", serde_json::json!({"max_tokens": 5, "attempts": 2}));
        let failed =
            Err(Stop { kind: FailureKind::Error, what: "division by zero".to_owned(), at: At::default(), ops: 3 });
        for (expected, got, difference, why) in [
            ("{deny: late}", said(&[denial()]), None, "the short form asks for the code"),
            ("{deny: {code: late}}", said(&[denial()]), None, "so does a table without reason"),
            (
                "{deny: {code: late, reason: never}}",
                said(&[denial()]),
                Some("got deny: {code: late, reason: \"too late\"}"),
                "a reason is compared",
            ),
            ("{deny: early}", said(&[]), Some("expected deny: early, got nothing"), "an absent effect"),
            ("{cap: {max_tokens: 5}}", said(&[caps()]), None, "others may be there"),
            ("{cap: {max_tokens: 6}}", said(&[caps()]), Some("expected cap: {max_tokens: 6}"), "exactly"),
            ("{cap: [{max_tokens: 5}, {attempts: 2}]}", said(&[caps()]), None, "a list of one kind"),
            ("{}", said(&[]), None, "nothing"),
            ("{}", said(&[caps()]), Some("expected nothing, got cap"), "and that is compared"),
            ("{nothing: true}", said(&[]), None, "the same in words"),
            ("{not: deny}", said(&[caps()]), None, "a kind is absent"),
            ("{not: [cap, deny]}", said(&[caps()]), Some("expected no `cap`"), "or is not"),
            ("{error: true}", failed.clone(), None, "a failure"),
            ("{error: true}", said(&[]), Some("expected a failure"), "or none"),
            ("{not: deny}", failed, Some("division by zero"), "a failure is never passed over"),
        ] {
            let differences = expect(expected).0.unwrap().differences(&got);
            match difference {
                None => assert!(differences.is_empty(), "{why}: {differences:?}"),
                Some(told) => assert!(differences.iter().any(|d| d.contains(told)), "{why}: {differences:?}"),
            }
        }
    }

    #[test]
    fn a_wrong_expectation_is_told() {
        for (text, told) in [
            ("{denny: x}", "cases.yaml:1:2: `expect`: unknown effect `denny`, did you mean `deny`?"),
            ("{cap: {max_token: 5}}", "did you mean `max_tokens`?"),
            ("{not: dney}", "did you mean `deny`?"),
            ("{nothing: true, note: x}", "exclude one another"),
        ] {
            let (_, findings) = expect(text);
            assert!(findings.iter().any(|f| f.contains(told)), "{text}: {findings:?}");
        }
    }

    #[test]
    fn the_text_of_an_effect_reads_back_as_the_same_effect() {
        for rule in [
            "{deny: {code: a, reason: b c}}",
            "{cap: {max_cost_usd: '0.25'}}",
            "{require: {regions: [eu, us]}}",
            "{prefer: {tier: high, score: -3}}",
            "{pin: {target: a/b, may_replace_pinned: true}}",
            "{split: {name: x, by: user, weights: {a/b: 1, a/c: 2}}}",
            "{fallback: [a/b, a/c]}",
            "{set: {temperature: 0.5}}",
            "{tag: {tier: 'x: y'}}",
            "{alert: {severity: critical, text: t}}",
        ] {
            let of = |text: &str| {
                let node = crate::yaml::parse(text.as_bytes()).unwrap();
                let Data::Map(members) = node.data else { panic!("{text}") };
                parse::effects(&members[0].0.text, &members[0].1.json()).unwrap()
            };
            let effects = of(rule);
            assert_eq!(of(&text(&effects[0])), effects, "{rule}");
        }
    }
}
