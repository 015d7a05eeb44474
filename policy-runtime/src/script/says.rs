//! What scripts say: one function per effect, each with its line, joined by `+`.

use rhai::{Array, Dynamic, Engine, ImmutableString, Map, NativeCallContext};
use serde_json::Value;
use tollgate_core::policy::effect::{At, Effect, Said};
use tollgate_core::policy::parse;

use super::host::{Told, asked, seen};

/// A decision says no more than this.
const EFFECTS_MAX: usize = 256;

/// Effects with their lines.
#[derive(Debug, Clone, Default)]
pub struct Decision(Vec<Said>);

impl Decision {
    pub fn into_effects(self) -> Vec<Said> {
        self.0
    }
}

pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Decision>("Decision");
    engine.register_fn("none", Decision::default);
    engine.register_fn("+", |mut a: Decision, b: Decision| -> Told<Decision> {
        a.0.extend(b.0);
        if a.0.len() > EFFECTS_MAX {
            Err(format!("a decision has at most {EFFECTS_MAX} effects").into())
        } else {
            Ok(a)
        }
    });
    denials(engine);
    bounds(engine);
    places(engine);
    words(engine);
}

type Context<'a> = NativeCallContext<'a>;
type Text = ImmutableString;

fn denials(engine: &mut Engine) {
    engine.register_fn("deny", |c: Context<'_>, code: Text| {
        said(&c, "deny", serde_json::json!({ "code": code.as_str() }))
    });
    engine.register_fn("deny", |c: Context<'_>, code: Text, reason: Text| {
        said(&c, "deny", serde_json::json!({ "code": code.as_str(), "reason": reason.as_str() }))
    });
}

fn bounds(engine: &mut Engine) {
    engine.register_fn("cap", |c: Context<'_>, name: Text, value: Dynamic| one(&c, parse::cap(&name, &json(&value)?)));
    engine.register_fn("require", |c: Context<'_>, of: Text, any: Array| {
        one(&c, parse::require(&of, &json(&Dynamic::from_array(any))?))
    });
    engine.register_fn("reserve", |c: Context<'_>, rule: Text| one(&c, Ok(Effect::Reserve(rule.to_string()))));
    engine.register_fn("set", |c: Context<'_>, name: Text, value: Dynamic| one(&c, parse::set(&name, &json(&value)?)));
    engine.register_fn("drop", |c: Context<'_>, field: Text| one(&c, parse::drop_field(&field)));
}

fn places(engine: &mut Engine) {
    let prefer = |kind: &'static str| {
        move |c: Context<'_>, name: Text, score: i64| {
            said(&c, "prefer", serde_json::json!({ kind: name.as_str(), "score": score }))
        }
    };
    engine.register_fn("prefer_target", prefer("target"));
    engine.register_fn("prefer_tier", prefer("tier"));
    engine.register_fn("prefer_family", prefer("family"));
    // A name with a slash is a target, any other a tier.
    engine.register_fn("prefer", |c: Context<'_>, name: Text, score: i64| {
        let kind = if name.contains('/') { "target" } else { "tier" };
        said(&c, "prefer", serde_json::json!({ kind: name.as_str(), "score": score }))
    });
    engine.register_fn("pin", |c: Context<'_>, target: Text| said(&c, "pin", target.as_str().into()));
    engine.register_fn("split", |c: Context<'_>, name: Text, weights: Map| split(&c, &name, "sticky", weights));
    engine.register_fn("split", |c: Context<'_>, name: Text, by: Text, weights: Map| split(&c, &name, &by, weights));
    engine.register_fn("fallback", |c: Context<'_>, targets: Array| {
        said(&c, "fallback", json(&Dynamic::from_array(targets))?)
    });
    engine.register_fn("fallback", |c: Context<'_>, target: Text| said(&c, "fallback", target.as_str().into()));
}

fn words(engine: &mut Engine) {
    engine.register_fn("tag", |c: Context<'_>, key: Text, value: Dynamic| {
        one(&c, Ok(Effect::Tag(key.to_string(), value.to_string())))
    });
    engine.register_fn("note", |c: Context<'_>, text: Text| said(&c, "note", text.as_str().into()));
    engine.register_fn("alert", |c: Context<'_>, text: Text| said(&c, "alert", text.as_str().into()));
    engine.register_fn("alert", |c: Context<'_>, severity: Text, text: Text| {
        said(&c, "alert", serde_json::json!({ "severity": severity.as_str(), "text": text.as_str() }))
    });
}

fn split(context: &Context<'_>, name: &str, by: &str, weights: Map) -> Told<Decision> {
    let weights = json(&Dynamic::from_map(weights))?;
    said(context, "split", serde_json::json!({ "name": name, "by": by, "weights": weights }))
}

/// An effect by the grammar that all languages share.
fn said(context: &Context<'_>, name: &str, value: Value) -> Told<Decision> {
    let mut effects = parse::effects(name, &value)?;
    one(context, effects.pop().ok_or_else(|| format!("`{name}` says nothing")))
}

/// One effect, with the line that says it.
fn one(context: &Context<'_>, effect: Result<Effect, String>) -> Told<Decision> {
    let (line, column) = seen(context);
    let asked = asked(context)?;
    let effect = effect?;
    if !effect.legal_at(asked.hook) {
        return Err(format!("`{}` has no effect at {}", effect.name(), asked.hook.name()).into());
    }
    Ok(Decision(vec![Said { effect, at: At { file: asked.shown, line, column } }]))
}

fn json(value: &Dynamic) -> Told<Value> {
    rhai::serde::from_dynamic(value)
}
