//! What scripts say: one function per effect, each with its line, joined by `+`.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, Array, Dynamic, Engine, Expr, ImmutableString, Map, NativeCallContext, Position, Stmt};
use serde_json::Value;
use tollgate_core::policy::effect::{At, Deny, Effect, Prefer, Said, Wish};
use tollgate_core::policy::parse;

use super::host::{Told, seen, with_asked};
use super::meter;
use crate::targets::Named;

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
    engine.register_fn("+", |mut a: Decision, b: Decision| -> Told<Decision> { join(&mut a, b).map(|()| a) });
    engine.register_fn("+=", join);
    denials(engine);
    bounds(engine);
    places(engine);
    words(engine);
}

fn join(a: &mut Decision, b: Decision) -> Told<()> {
    pay(b.0.iter().map(|said| bytes(&said.effect)).sum())?;
    a.0.extend(b.0);
    match a.0.len() > EFFECTS_MAX {
        true => Err(format!("a decision has at most {EFFECTS_MAX} effects").into()),
        false => Ok(()),
    }
}

type Context<'a> = NativeCallContext<'a>;
type Text = ImmutableString;

fn denials(engine: &mut Engine) {
    let deny = |code: Text, reason: Text| Ok(Effect::Deny(Deny { code: code.into(), reason: reason.into() }));
    engine.register_fn("deny", move |c: Context<'_>, code: Text| one(&c, deny(code, Text::new())));
    engine.register_fn("deny", move |c: Context<'_>, code: Text, reason: Text| one(&c, deny(code, reason)));
}

fn bounds(engine: &mut Engine) {
    // The usual types have functions of their own: a value of any type costs a second look-up.
    engine.register_fn("cap", |c: Context<'_>, name: Text, value: i64| one(&c, parse::cap(&name, &value.into())));
    engine.register_fn("cap", |c: Context<'_>, name: Text, value: Dynamic| one(&c, parse::cap(&name, &json(&value)?)));
    engine.register_fn("require", |c: Context<'_>, of: Text, any: Array| {
        one(&c, parse::require(&of, &json(&Dynamic::from_array(any))?))
    });
    engine.register_fn("reserve", |c: Context<'_>, rule: Text| one(&c, Ok(Effect::Reserve(rule.to_string()))));
    engine.register_fn("set", |c: Context<'_>, name: Text, value: Dynamic| one(&c, parse::set(&name, &json(&value)?)));
    engine.register_fn("drop", |c: Context<'_>, field: Text| one(&c, parse::drop_field(&field)));
}

fn places(engine: &mut Engine) {
    let prefer = |wish: fn(String) -> Wish| {
        move |c: Context<'_>, name: Text, score: i64| one(&c, prefer(wish(name.into()), score))
    };
    engine.register_fn("prefer_target", prefer(Wish::Target));
    engine.register_fn("prefer_tier", prefer(Wish::Tier));
    engine.register_fn("prefer_family", prefer(Wish::Family));
    // A name with a slash is a target, any other a tier.
    engine.register_fn("prefer", |c: Context<'_>, name: Text, score: i64| {
        let wish = if name.contains('/') { Wish::Target } else { Wish::Tier };
        one(&c, self::prefer(wish(name.into()), score))
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
    let tag = |key: Text, value: String| Ok(Effect::Tag(key.into(), value));
    engine.register_fn("tag", move |c: Context<'_>, key: Text, value: Text| one(&c, tag(key, value.into())));
    engine.register_fn("tag", move |c: Context<'_>, key: Text, value: Dynamic| one(&c, tag(key, value.to_string())));
    engine.register_fn("note", |c: Context<'_>, text: Text| one(&c, Ok(Effect::Note(text.into()))));
    engine.register_fn("alert", |c: Context<'_>, text: Text| said(&c, "alert", text.as_str().into()));
    engine.register_fn("alert", |c: Context<'_>, severity: Text, text: Text| {
        said(&c, "alert", serde_json::json!({ "severity": severity.as_str(), "text": text.as_str() }))
    });
}

fn prefer(wish: Wish, score: i64) -> Result<Effect, String> {
    let score = i32::try_from(score).map_err(|_| format!("`prefer`: the score {score} has more than 32 bits"))?;
    Ok(Effect::Prefer(Prefer { wish, score }))
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
    let effect = effect?;
    pay(bytes(&effect))?;
    with_asked(context, |asked| match effect.legal_at(asked.hook) {
        true => Ok(Decision(vec![Said { effect, at: At { file: asked.shown.clone(), line, column } }])),
        false => Err(format!("`{}` has no effect at {}", effect.name(), asked.hook.name()).into()),
    })?
}

/// What is said is held, and copied where decisions are joined: it is paid for as what is read.
fn pay(bytes: usize) -> Told<()> {
    if meter::charge(bytes) { Ok(()) } else { Err("more is said than the policy may say".into()) }
}

/// The bytes of an effect's texts.
fn bytes(effect: &Effect) -> usize {
    match effect {
        Effect::Deny(deny) => deny.code.len() + deny.reason.len(),
        Effect::Require(require) => require.any.iter().map(String::len).sum(),
        Effect::Prefer(prefer) => match &prefer.wish {
            Wish::Target(name) | Wish::Tier(name) | Wish::Family(name) => name.len(),
        },
        Effect::Pin(pin) => pin.target.len(),
        Effect::Split(split) => split.name.len() + split.weights.keys().map(String::len).sum::<usize>(),
        Effect::Fallback(targets) => targets.iter().map(String::len).sum(),
        Effect::Set(name, value) => name.len() + value.as_str().map_or(0, str::len),
        Effect::Tag(key, value) => key.len() + value.len(),
        Effect::Reserve(text) | Effect::Drop(text) | Effect::Note(text) => text.len(),
        Effect::Alert(alert) => alert.text.len(),
        Effect::Cap(_) => 0,
    }
}

fn json(value: &Dynamic) -> Told<Value> {
    rhai::serde::from_dynamic(value)
}

/// Calls each function that the text of a script calls, with its arguments and place.
fn calls(ast: &AST, mut each: impl FnMut(&str, &[Expr], Position)) {
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, at))) | Some(ASTNode::Stmt(Stmt::FnCall(call, at))) => {
                each(&call.name, &call.args, *at);
            }
            Some(_) | None => {}
        }
        true
    });
}

/// The effects of one voice that a script calls for: `pin`, `split`, and `set` with a name that stands there.
pub fn writes(ast: &AST) -> Vec<String> {
    let mut found = BTreeSet::new();
    calls(ast, |name, args, _| match (name, args.first()) {
        ("pin" | "split", _) => drop(found.insert(name.to_owned())),
        ("set", Some(Expr::StringConstant(name, _))) => drop(found.insert(format!("set {name}"))),
        _ => {}
    });
    found.into_iter().collect()
}

/// Targets, tiers and families that stand in the text of a script.
pub fn names(ast: &AST, shown: &str) -> Vec<Named> {
    let mut found = Vec::new();
    calls(ast, |name, args, at| {
        let wish: fn(String) -> Wish = match name {
            "pin" | "split" | "fallback" | "prefer_target" => Wish::Target,
            "prefer_tier" => Wish::Tier,
            "prefer_family" => Wish::Family,
            "prefer" => |name| if name.contains('/') { Wish::Target(name) } else { Wish::Tier(name) },
            _ => return,
        };
        let named = if name == "split" { args.last() } else { args.first() };
        for (text, place) in named.map(|value| texts(value, at)).unwrap_or_default() {
            let (line, column) = (place.line().unwrap_or(0) as u32, place.position().unwrap_or(1) as u32);
            found.push(Named { wish: wish(text), at: At { file: shown.into(), line, column } });
        }
    });
    found
}

/// The texts that an expression is: itself, elements of a list, keys of a map. What is computed has none.
fn texts(value: &Expr, at: Position) -> Vec<(String, Position)> {
    match value {
        Expr::StringConstant(text, at) => vec![(text.to_string(), *at)],
        Expr::Array(list, _) => list.iter().flat_map(|item| texts(item, at)).collect(),
        Expr::Map(map, _) => map.0.iter().map(|(key, _)| (key.name.to_string(), key.pos)).collect(),
        // A list or a map of constants only is folded into one.
        Expr::DynamicConstant(folded, place) => {
            let place = if place.is_none() { at } else { *place };
            let list = folded
                .read_lock::<Array>()
                .map(|list| list.iter().filter_map(|item| item.clone().into_string().ok()).collect());
            let keys = || folded.read_lock::<Map>().map(|map| map.keys().map(ToString::to_string).collect());
            let texts: Vec<String> = list.or_else(keys).unwrap_or_default();
            texts.into_iter().map(|text| (text, place)).collect()
        }
        _ => Vec::new(),
    }
}
