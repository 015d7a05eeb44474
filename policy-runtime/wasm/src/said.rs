//! What guests say: the types of the world's `effects`, and their way into the one grammar of effects.
#![allow(dead_code, reason = "guests make these values; here they are only read")]

use serde_json::{Map, Value, json};
use tollgate_core::policy::effect::Effect;
use tollgate_core::policy::{Hook, parse};
use wasmtime::component::{ComponentType, Lift, Lower};

/// The hook, as guests are told it.
#[derive(Debug, Clone, Copy, PartialEq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum GuestHook {
    #[component(name = "pre-auth")]
    PreAuth,
    #[component(name = "pre-route")]
    PreRoute,
    #[component(name = "post-response")]
    PostResponse,
}

impl From<Hook> for GuestHook {
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::PreAuth => GuestHook::PreAuth,
            Hook::PreRoute => GuestHook::PreRoute,
            Hook::PostResponse => GuestHook::PostResponse,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum StickyBy {
    #[component(name = "sticky")]
    Sticky,
    #[component(name = "tenant")]
    Tenant,
    #[component(name = "app")]
    App,
    #[component(name = "user")]
    User,
    #[component(name = "key")]
    Key,
    #[component(name = "session")]
    Session,
    #[component(name = "call")]
    Call,
}

impl StickyBy {
    pub fn name(self) -> &'static str {
        match self {
            StickyBy::Sticky => "sticky",
            StickyBy::Tenant => "tenant",
            StickyBy::App => "app",
            StickyBy::User => "user",
            StickyBy::Key => "key",
            StickyBy::Session => "session",
            StickyBy::Call => "call",
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub struct Deny {
    pub code: String,
    pub reason: String,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub enum Cap {
    #[component(name = "max-tokens")]
    MaxTokens(u64),
    #[component(name = "max-cost-usd")]
    MaxCostUsd(String),
    #[component(name = "deadline-ms")]
    DeadlineMs(u64),
    #[component(name = "attempts")]
    Attempts(u32),
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum TraitOf {
    #[component(name = "models")]
    Models,
    #[component(name = "families")]
    Families,
    #[component(name = "providers")]
    Providers,
    #[component(name = "regions")]
    Regions,
    #[component(name = "tiers")]
    Tiers,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub struct Require {
    pub of: TraitOf,
    pub any: Vec<String>,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub enum Wish {
    #[component(name = "target")]
    Target(String),
    #[component(name = "tier")]
    Tier(String),
    #[component(name = "family")]
    Family(String),
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub struct Prefer {
    pub wish: Wish,
    pub score: i32,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub struct Pin {
    pub target: String,
    #[component(name = "may-replace-pinned")]
    pub may_replace_pinned: bool,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub struct Split {
    pub name: String,
    pub by: StickyBy,
    pub weights: Vec<(String, u32)>,
    #[component(name = "may-replace-pinned")]
    pub may_replace_pinned: bool,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub enum SetValue {
    #[component(name = "text")]
    Text(String),
    #[component(name = "whole")]
    Whole(i64),
    #[component(name = "decimal")]
    Decimal(f64),
    #[component(name = "flag")]
    Flag(bool),
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub struct Set {
    pub name: String,
    pub value: SetValue,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum Severity {
    #[component(name = "info")]
    Info,
    #[component(name = "warning")]
    Warning,
    #[component(name = "critical")]
    Critical,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub struct Alert {
    pub severity: Severity,
    pub text: String,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub enum GuestEffect {
    #[component(name = "deny")]
    Deny(Deny),
    #[component(name = "cap")]
    Cap(Cap),
    #[component(name = "require")]
    Require(Require),
    #[component(name = "reserve")]
    Reserve(String),
    #[component(name = "prefer")]
    Prefer(Prefer),
    #[component(name = "pin")]
    Pin(Pin),
    #[component(name = "split")]
    Split(Split),
    #[component(name = "fallback")]
    Fallback(Vec<String>),
    #[component(name = "set")]
    Set(Set),
    #[component(name = "drop")]
    Drop(String),
    #[component(name = "tag")]
    Tag(Tag),
    #[component(name = "note")]
    Note(String),
    #[component(name = "alert")]
    Alert(Alert),
}

impl GuestEffect {
    /// The effect by the grammar that all languages share, so that equal decisions have equal digests.
    pub fn read(self) -> Result<Effect, String> {
        let one = |name: &str, value: Value| {
            parse::effects(name, &value)?.pop().ok_or_else(|| format!("`{name}` says nothing"))
        };
        match self {
            GuestEffect::Deny(deny) => one("deny", json!({ "code": deny.code, "reason": deny.reason })),
            GuestEffect::Cap(cap) => match cap {
                Cap::MaxTokens(n) => parse::cap("max_tokens", &n.into()),
                Cap::MaxCostUsd(usd) => parse::cap("max_cost_usd", &usd.into()),
                Cap::DeadlineMs(n) => parse::cap("deadline_ms", &n.into()),
                Cap::Attempts(n) => parse::cap("attempts", &n.into()),
            },
            GuestEffect::Require(require) => parse::require(trait_name(require.of), &require.any.into()),
            GuestEffect::Reserve(rule) => one("reserve", rule.into()),
            GuestEffect::Prefer(prefer) => {
                let (kind, name) = match prefer.wish {
                    Wish::Target(name) => ("target", name),
                    Wish::Tier(name) => ("tier", name),
                    Wish::Family(name) => ("family", name),
                };
                one("prefer", json!({ kind: name, "score": prefer.score }))
            }
            GuestEffect::Pin(pin) => {
                one("pin", json!({ "target": pin.target, "may_replace_pinned": pin.may_replace_pinned }))
            }
            GuestEffect::Split(split) => {
                let weights = split.weights.into_iter().map(|(target, weight)| (target, Some(u64::from(weight))));
                parse::split_of(split.name, parse::sticky_by(split.by.name())?, weights, split.may_replace_pinned)
            }
            GuestEffect::Fallback(targets) => one("fallback", targets.into()),
            GuestEffect::Set(set) => parse::set(&set.name, &value(set.value)?),
            GuestEffect::Drop(field) => parse::drop_field(&field),
            GuestEffect::Tag(tag) => one("tag", Value::Object(Map::from_iter([(tag.key, tag.value.into())]))),
            GuestEffect::Note(text) => one("note", text.into()),
            GuestEffect::Alert(alert) => {
                one("alert", json!({ "severity": severity_name(alert.severity), "text": alert.text }))
            }
        }
    }
}

fn trait_name(of: TraitOf) -> &'static str {
    match of {
        TraitOf::Models => "models",
        TraitOf::Families => "families",
        TraitOf::Providers => "providers",
        TraitOf::Regions => "regions",
        TraitOf::Tiers => "tiers",
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// A number that is not finite has no place in JSON, so no provider could be sent it.
fn value(value: SetValue) -> Result<Value, String> {
    match value {
        SetValue::Text(text) => Ok(text.into()),
        SetValue::Whole(n) => Ok(n.into()),
        SetValue::Decimal(n) => serde_json::Number::from_f64(n)
            .map(Value::Number)
            .ok_or_else(|| format!("`set`: `{n}` is no finite number")),
        SetValue::Flag(flag) => Ok(flag.into()),
    }
}
