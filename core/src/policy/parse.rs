//! Effects from data: the members of a CEL rule, the expectations of a case, and (later) what a guest returns.
//!
//! One grammar for all languages: `deny: {code, reason}`, `cap: {max_tokens: 4096}`, `prefer: {tier: standard, score: 100}`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::effect::{
    Alert, Cap, Deny, Effect, Pin, Prefer, Require, SETTABLE, Severity, Split, StickyBy, Trait, UNDROPPABLE, Wish,
};
use super::schema::{self, SEVERITIES, STICKY_BY};
use crate::contract::nearest;
use crate::limits::money::nanousd_from_usd;

/// The effects that `name: value` says. One name may say several (`cap` with two bounds).
/// The error is a sentence that names the member and what would be right.
pub fn effects(name: &str, value: &Value) -> Result<Vec<Effect>, String> {
    match name {
        "deny" => Ok(vec![deny(value)?]),
        "cap" => members("cap", value)?.iter().map(|(k, v)| cap(k, v)).collect(),
        "require" => members("require", value)?.iter().map(|(k, v)| require(k, v)).collect(),
        "reserve" => list("reserve", value).map(|names| names.into_iter().map(Effect::Reserve).collect()),
        "prefer" => Ok(vec![prefer(value)?]),
        "pin" => Ok(vec![pin(value)?]),
        "split" => Ok(vec![split(value)?]),
        "fallback" => Ok(vec![Effect::Fallback(list("fallback", value)?)]),
        "set" => members("set", value)?.iter().map(|(k, v)| set(k, v)).collect(),
        "drop" => list("drop", value)?.iter().map(|field| drop_field(field)).collect(),
        "tag" => members("tag", value)?
            .iter()
            .map(|(k, v)| Ok(Effect::Tag(k.clone(), text(&format!("tag.{k}"), v)?)))
            .collect(),
        "note" => Ok(vec![Effect::Note(text("note", value)?)]),
        "alert" => Ok(vec![alert(value)?]),
        _ => Err(format!("unknown effect `{name}`{}", nearest::hint(name, Effect::NAMES))),
    }
}

/// One bound by its name. `max_cost_usd` is taken as decimal dollars.
pub fn cap(name: &str, value: &Value) -> Result<Effect, String> {
    let whole = || {
        value
            .as_u64()
            .filter(|n| *n > 0)
            .ok_or_else(|| format!("`cap.{name}` must be a whole number above 0, not `{value}`"))
    };
    Ok(Effect::Cap(match name {
        "max_tokens" => Cap::MaxTokens(whole()?),
        "deadline_ms" => Cap::DeadlineMs(whole()?),
        "attempts" => Cap::Attempts(whole()?.min(u64::from(u32::MAX)) as u32),
        "max_cost_usd" | "max_cost" => {
            let text = match value {
                Value::String(s) => s.clone(),
                other => other.to_string(),
            };
            Cap::MaxCostNanousd(nanousd_from_usd(&text).map_err(|why| format!("`cap.{name}`: {why}"))?)
        }
        _ => {
            return Err(format!("unknown bound `cap.{name}`{}", nearest::hint(name, known("cap"))));
        }
    }))
}

/// `require(regions, [eu])`: one trait and the globs of which one must match.
pub fn require(name: &str, value: &Value) -> Result<Effect, String> {
    let of = match name {
        "models" => Trait::Models,
        "families" => Trait::Families,
        "providers" => Trait::Providers,
        "regions" => Trait::Regions,
        "tiers" => Trait::Tiers,
        _ => {
            return Err(format!("unknown trait `require.{name}`{}", nearest::hint(name, known("require"))));
        }
    };
    let any = list(&format!("require.{name}"), value)?.into_iter().collect();
    Ok(Effect::Require(Require { of, any }))
}

/// `set(temperature, 0)`: only parameters of [`SETTABLE`].
pub fn set(name: &str, value: &Value) -> Result<Effect, String> {
    if !SETTABLE.contains(&name) {
        return Err(format!("`set.{name}`: no parameter that a policy may set{}", nearest::hint(name, SETTABLE)));
    }
    if value.is_object() || value.is_array() {
        return Err(format!("`set.{name}` must be a number, a text or a boolean, not `{value}`"));
    }
    Ok(Effect::Set(name.to_owned(), value.clone()))
}

/// `drop(logprobs)`: any member but those without which there is no call.
pub fn drop_field(name: &str) -> Result<Effect, String> {
    if UNDROPPABLE.contains(&name) {
        return Err(format!("`drop`: `{name}` cannot be dropped, without it there is no call"));
    }
    Ok(Effect::Drop(name.to_owned()))
}

/// The severity by its name.
pub fn severity(name: &str) -> Result<Severity, String> {
    match name {
        "info" => Ok(Severity::Info),
        "warning" => Ok(Severity::Warning),
        "critical" => Ok(Severity::Critical),
        _ => Err(format!("unknown severity `{name}`{}", nearest::hint(name, SEVERITIES))),
    }
}

/// What a split or bucket is sticky by.
pub fn sticky_by(name: &str) -> Result<StickyBy, String> {
    Ok(match name {
        "sticky" => StickyBy::Sticky,
        "tenant" => StickyBy::Tenant,
        "app" => StickyBy::App,
        "user" => StickyBy::User,
        "key" => StickyBy::Key,
        "session" => StickyBy::Session,
        "call" => StickyBy::Call,
        _ => return Err(format!("unknown `by: {name}`{}", nearest::hint(name, STICKY_BY))),
    })
}

fn deny(value: &Value) -> Result<Effect, String> {
    let map = members("deny", value)?;
    only("deny", map)?;
    let code = text("deny.code", map.get("code").ok_or("`deny` needs a `code`")?)?;
    let reason = map.get("reason").map_or(Ok(String::new()), |v| text("deny.reason", v))?;
    Ok(Effect::Deny(Deny { code, reason }))
}

fn prefer(value: &Value) -> Result<Effect, String> {
    let map = members("prefer", value)?;
    only("prefer", map)?;
    let score = match map.get("score") {
        None => 100,
        Some(v) => v
            .as_i64()
            .and_then(|n| i32::try_from(n).ok())
            .ok_or_else(|| format!("`prefer.score` must be a whole number of 32 bits, not `{v}`"))?,
    };
    let named: Vec<Wish> = map
        .iter()
        .filter_map(|(k, v)| {
            let make: fn(String) -> Wish = match k.as_str() {
                "target" => Wish::Target,
                "tier" => Wish::Tier,
                "family" => Wish::Family,
                _ => return None,
            };
            Some(text(&format!("prefer.{k}"), v).map(make))
        })
        .collect::<Result<_, _>>()?;
    match <[Wish; 1]>::try_from(named) {
        Ok([wish]) => Ok(Effect::Prefer(Prefer { wish, score })),
        Err(_) => Err("`prefer` needs exactly one of `target`, `tier`, `family`".to_owned()),
    }
}

fn pin(value: &Value) -> Result<Effect, String> {
    if let Value::String(target) = value {
        return Ok(Effect::Pin(Pin { target: target.clone(), may_replace_pinned: false }));
    }
    let map = members("pin", value)?;
    only("pin", map)?;
    let target = text("pin.target", map.get("target").ok_or("`pin` needs a `target`")?)?;
    Ok(Effect::Pin(Pin { target, may_replace_pinned: flag("pin.may_replace_pinned", map)? }))
}

fn split(value: &Value) -> Result<Effect, String> {
    let map = members("split", value)?;
    only("split", map)?;
    let name = text("split.name", map.get("name").ok_or("`split` needs a `name`")?)?;
    let by = map.get("by").map_or(Ok(StickyBy::Sticky), |v| sticky_by(&text("split.by", v)?))?;
    let weights = members("split.weights", map.get("weights").ok_or("`split` needs `weights`")?)?;
    split_of(name, by, weights.iter().map(|(k, v)| (k.clone(), v.as_u64())), flag("split.may_replace_pinned", map)?)
}

/// A split from its parts: at least one weight, whole numbers, together above 0.
pub fn split_of(
    name: String,
    by: StickyBy,
    weights: impl Iterator<Item = (String, Option<u64>)>,
    may_replace_pinned: bool,
) -> Result<Effect, String> {
    let mut table = BTreeMap::new();
    for (target, weight) in weights {
        let weight = weight
            .and_then(|w| u32::try_from(w).ok())
            .filter(|w| *w <= 1_000_000)
            .ok_or_else(|| format!("`split.weights.{target}` must be a whole number from 0 to 1000000"))?;
        table.insert(target, weight);
    }
    if table.values().map(|w| u64::from(*w)).sum::<u64>() == 0 {
        return Err("`split.weights` must hold at least one weight above 0".to_owned());
    }
    Ok(Effect::Split(Split { name, by, weights: table, may_replace_pinned }))
}

fn alert(value: &Value) -> Result<Effect, String> {
    if let Value::String(text) = value {
        return Ok(Effect::Alert(Alert { severity: Severity::Warning, text: text.clone() }));
    }
    let map = members("alert", value)?;
    only("alert", map)?;
    let severity = map.get("severity").map_or(Ok(Severity::Warning), |v| severity(&text("alert.severity", v)?))?;
    Ok(Effect::Alert(Alert { severity, text: text("alert.text", map.get("text").ok_or("`alert` needs a `text`")?)? }))
}

fn members<'a>(name: &str, value: &'a Value) -> Result<&'a Map<String, Value>, String> {
    value
        .as_object()
        .filter(|m| !m.is_empty())
        .ok_or_else(|| format!("`{name}` must be a table with members, not `{value}`"))
}

/// The members that the one list gives the effect.
fn known(name: &str) -> impl Iterator<Item = &'static str> {
    schema::effect(name).into_iter().flat_map(|row| row.form.members()).map(|member| member.name)
}

fn only(name: &str, map: &Map<String, Value>) -> Result<(), String> {
    match map.keys().find(|key| !known(name).any(|known| known == *key)) {
        Some(key) => Err(format!("`{name}` has no member `{key}`{}", nearest::hint(key, known(name)))),
        None => Ok(()),
    }
}

fn text(name: &str, value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("`{name}` must be a text, not `{value}`"))
}

fn flag(name: &str, map: &Map<String, Value>) -> Result<bool, String> {
    let key = name.rsplit('.').next().unwrap_or(name);
    map.get(key).map_or(Ok(false), |v| v.as_bool().ok_or_else(|| format!("`{name}` must be true or false, not `{v}`")))
}

/// A text or a list of texts.
fn list(name: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(many) => many.iter().map(|v| text(name, v)).collect(),
        other => Err(format!("`{name}` must be a list of texts, not `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::{EFFECTS, Form, Member, Shape};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_member_is_named_with_what_would_be_right() {
        for (name, value, told) in [
            ("denny", json!({}), "unknown effect `denny`, did you mean `deny`?"),
            ("deny", json!({"code": "x", "reson": "y"}), "did you mean `reason`?"),
            ("cap", json!({"max_token": 5}), "did you mean `max_tokens`?"),
            ("cap", json!({"max_tokens": -1}), "whole number above 0"),
            ("require", json!({"region": ["eu"]}), "did you mean `regions`?"),
            ("prefer", json!({"tier": "a", "family": "b"}), "exactly one of"),
            ("split", json!({"name": "x", "weights": {"a": 0}}), "above 0"),
            ("set", json!({"messages": []}), "no parameter that a policy may set"),
            ("drop", json!("messages"), "cannot be dropped"),
        ] {
            let error = effects(name, &value).unwrap_err();
            assert!(error.contains(told), "{name} {value}: {error}");
        }
    }

    /// A value that a member of this shape may have.
    fn sample(shape: Shape) -> Value {
        match shape {
            Shape::Text => json!("x"),
            Shape::Texts => json!(["x", "y"]),
            Shape::Count => json!(7),
            Shape::Dollars => json!("0.25"),
            Shape::Score => json!(-7),
            Shape::Flag => json!(true),
            Shape::OneOf(names) => json!(names[names.len() - 1]),
            Shape::Weights => json!({ "a/b": 1 }),
        }
    }

    /// Which members each effect has is written once, in the list, and this grammar takes those and no others.
    #[test]
    fn the_grammar_takes_the_members_of_the_list_and_no_others() {
        for row in EFFECTS {
            let taken = |value: &Value| effects(row.name, value).map(|said| assert!(!said.is_empty(), "{value}"));
            let needed: Vec<Member> = row.form.members().filter(|member| member.needed).collect();
            let table = |members: &[Member]| -> Value {
                members
                    .iter()
                    .map(|member| (member.name.to_owned(), sample(member.shape)))
                    .collect::<Map<_, _>>()
                    .into()
            };
            for member in row.form.members() {
                let mut members = needed.clone();
                if let Form::OneOf(one, others) = row.form
                    && others.iter().any(|other| other.name == member.name)
                {
                    members.push(one[0]);
                }
                if !member.needed {
                    members.push(member);
                }
                taken(&table(&members)).unwrap_or_else(|why| panic!("{}.{}: {why}", row.name, member.name));
                let mut wrong = table(&members);
                wrong[member.name] = json!([[]]);
                assert!(taken(&wrong).is_err(), "{}.{}: a value of another kind", row.name, member.name);
                let mut more = table(&members);
                more["unheard_of"] = json!("x");
                assert!(taken(&more).is_err(), "{}: a member that is not listed", row.name);
            }
            for gone in &needed {
                let rest: Vec<Member> = needed.iter().filter(|member| member.name != gone.name).copied().collect();
                let value = if rest.is_empty() { json!({ "unheard_of": 1 }) } else { table(&rest) };
                assert!(taken(&value).is_err(), "{}: without `{}`", row.name, gone.name);
            }
            let (alone, wrong) = match row.form {
                Form::Text => (json!("x"), json!(["x"])),
                Form::Texts => (json!(["x"]), json!({ "x": "y" })),
                Form::Named => (json!({ "x": "y" }), json!("x")),
                Form::Settings(names) => (json!({ names[0]: 1 }), json!({ "unheard_of": 1 })),
                Form::TextOr(_) => (json!("x"), json!(["x"])),
                Form::Table(_) => (table(&needed), json!("x")),
                Form::AnyOf(members) => (table(members), json!({})),
                Form::OneOf(one, _) => (table(&one[..1]), table(one)),
            };
            taken(&alone).unwrap_or_else(|why| panic!("{}: {why}", row.name));
            assert!(taken(&wrong).is_err(), "{}: `{wrong}` is of another form", row.name);
        }
        for (names, read) in
            [(&STICKY_BY[..], sticky_by as fn(&str) -> _), (&SEVERITIES[..], |n| severity(n).map(|_| StickyBy::Call))]
        {
            assert!(names.iter().all(|name| read(name).is_ok()), "{names:?}");
        }
    }

    #[test]
    fn dollars_become_nano_dollars_exactly() {
        assert_eq!(
            effects("cap", &json!({"max_cost_usd": "0.25"})).unwrap(),
            vec![Effect::Cap(Cap::MaxCostNanousd(250_000_000))]
        );
    }
}
