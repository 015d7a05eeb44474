//! The facts as scripts see them: handles with getters, made from the one list of facts. Nothing is converted beforehand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rhai::{Dynamic, Engine, ImmutableString, NativeCallContext};
use tollgate_core::policy::effect::StickyBy;
use tollgate_core::policy::facts::{Facts, LimitFact};
use tollgate_core::policy::parse::sticky_by;
use tollgate_core::policy::schema::{FIELDS, FactValue, Field, Group, LIMIT_FIELDS};

use super::host::{Told, seen};
use super::meter;
use crate::memo;

/// `facts`
#[derive(Debug, Clone)]
pub struct FactsHandle(pub Arc<Facts>);

/// `facts.caller`
#[derive(Debug, Clone)]
struct GroupHandle {
    facts: Arc<Facts>,
    group: Group,
}

/// `facts.budget("name")`
#[derive(Debug, Clone)]
struct LimitHandle(LimitFact);

/// `facts.text`
#[derive(Debug, Clone)]
struct TextHandle(Arc<Facts>);

pub fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<FactsHandle>("Facts")
        .register_type_with_name::<GroupHandle>("FactGroup")
        .register_type_with_name::<LimitHandle>("Limit")
        .register_type_with_name::<TextHandle>("Text");
    for group in Group::ALL {
        if !matches!(group, Group::Budget | Group::Rate | Group::Text) {
            engine.register_get(word(group), move |facts: &mut FactsHandle| GroupHandle {
                facts: facts.0.clone(),
                group,
            });
        }
    }
    engine.register_get("text", |facts: &mut FactsHandle| TextHandle(facts.0.clone()));
    groups(engine);
    limits(engine);
    text(engine);
}

/// The word for a group in scripts: `call` is the language's own.
pub fn word(group: Group) -> &'static str {
    match group {
        Group::Call => "request",
        other => other.name(),
    }
}

/// One getter per name; groups may share names.
fn groups(engine: &mut Engine) {
    let names: BTreeSet<&'static str> = FIELDS.iter().map(|f| f.name).collect();
    for name in names {
        let of: BTreeMap<Group, &'static Field> =
            FIELDS.iter().filter(|f| f.name == name).map(|f| (f.group, f)).collect();
        engine.register_get(name, move |handle: &mut GroupHandle| -> Told<Dynamic> {
            match of.get(&handle.group) {
                Some(field) => Ok(value(memo::fact(&handle.facts, field))),
                None => Err(format!("`{}` has no fact `{name}`", handle.group.name()).into()),
            }
        });
    }
}

fn limits(engine: &mut Engine) {
    engine.register_fn("budget", move |context: NativeCallContext<'_>, facts: FactsHandle, name: ImmutableString| {
        seen(&context);
        LimitHandle(memo::limit(&facts.0, Group::Budget, &name))
    });
    engine.register_fn("rate", move |context: NativeCallContext<'_>, facts: FactsHandle, name: ImmutableString| {
        seen(&context);
        LimitHandle(memo::limit(&facts.0, Group::Rate, &name))
    });
    for field in LIMIT_FIELDS {
        engine.register_get(field.name, move |limit: &mut LimitHandle| value((field.get)(&limit.0)));
    }
    engine.register_fn("bucket", |facts: FactsHandle, name: ImmutableString| {
        i64::from(memo::bucket(&facts.0, &name, StickyBy::Sticky))
    });
    engine.register_fn("bucket", |facts: FactsHandle, name: ImmutableString, by: ImmutableString| -> Told<i64> {
        Ok(i64::from(memo::bucket(&facts.0, &name, sticky_by(&by)?)))
    });
}

/// The words stay with the host: scripts ask about them, and pay for the bytes.
fn text(engine: &mut Engine) {
    fn all(handle: &TextHandle) -> Told<usize> {
        memo::words();
        let bytes = handle.0.text().iter().map(|p| p.text.len()).sum();
        if meter::charge(bytes) { Ok(bytes) } else { Err("the text is larger than the policy may read".into()) }
    }
    engine.register_get("bytes", |text: &mut TextHandle| -> Told<i64> { Ok(all(text)? as i64) });
    engine.register_fn("contains", |text: &mut TextHandle, words: ImmutableString| -> Told<bool> {
        all(text)?;
        Ok(text.0.text().iter().any(|p| p.text.contains(words.as_str())))
    });
    engine.register_fn(
        "contains",
        |text: &mut TextHandle, role: ImmutableString, words: ImmutableString| -> Told<bool> {
            all(text)?;
            Ok(text.0.text().iter().any(|p| p.role == role.as_str() && p.text.contains(words.as_str())))
        },
    );
}

fn value(fact: FactValue<'_>) -> Dynamic {
    match fact {
        FactValue::Text(text) => Dynamic::from(ImmutableString::from(&*text)),
        FactValue::Int(n) => Dynamic::from_int(n),
        FactValue::Float(n) => Dynamic::from_float(n),
        FactValue::Bool(b) => Dynamic::from_bool(b),
        FactValue::TextList(list) => {
            Dynamic::from_array(list.into_iter().map(|t| Dynamic::from(ImmutableString::from(t))).collect())
        }
    }
}
