//! What guests may call: one function for each fact, made from the one list of facts. All of it is pure and in memory.

use std::sync::Arc;

use memchr::memmem;
use serde_json::Value;
use tollgate_core::policy::facts::Facts;
use tollgate_core::policy::parse;
use tollgate_core::policy::schema::{FIELDS, FactValue, Field, Group, Kind, LIMIT_FIELDS, LimitField};
use tollgate_policy_runtime::memo;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime::{Engine, Result, StoreContextMut, bail};

use super::asked::Asked;
use super::said::StickyBy;
use super::wit;

/// `text-find` tells no more places, and takes no more needles.
const FOUND_MAX: usize = 256;
const NEEDLES_MAX: usize = 256;

/// The resource `facts`. The facts themselves lie in the store; there is one per call.
pub struct Handle;

/// A place in the words.
#[derive(Debug, Clone, Copy, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Found {
    needle: u32,
    part: u32,
    start: u32,
}

type Instance<'a> = LinkerInstance<'a, Asked>;
type Store<'a> = StoreContextMut<'a, Asked>;
type Borrowed = Resource<Handle>;

/// A linker that knows the world's imports and nothing else.
pub fn linker(engine: &Engine) -> Result<Linker<Asked>> {
    let mut linker = Linker::new(engine);
    linker.instance(wit::EFFECTS)?;
    let mut facts = linker.instance(wit::FACTS)?;
    facts.resource("facts", ResourceType::host::<Handle>(), |_, _| Ok(()))?;
    for field in FIELDS {
        fact(&mut facts, field)?;
    }
    for field in LIMIT_FIELDS {
        limit(&mut facts, Group::Budget, field)?;
        limit(&mut facts, Group::Rate, field)?;
    }
    asides(&mut facts)?;
    words(&mut facts)?;
    Ok(linker)
}

fn method(name: &str) -> String {
    format!("[method]facts.{name}")
}

/// One fact. What it gives is paid for by its bytes.
fn fact(to: &mut Instance<'_>, field: &'static Field) -> Result<()> {
    match field.kind {
        Kind::Text => {
            give(to, field, |fact| if let FactValue::Text(t) = fact { Some(t.into_owned()) } else { None }, String::len)
        }
        Kind::Int => give(to, field, |fact| if let FactValue::Int(n) = fact { Some(n) } else { None }, |_| 0),
        Kind::Float => give(to, field, |fact| if let FactValue::Float(n) = fact { Some(n) } else { None }, |_| 0),
        Kind::Bool => give(to, field, |fact| if let FactValue::Bool(b) = fact { Some(b) } else { None }, |_| 0),
        Kind::TextList => give(to, field, list, |texts| texts.iter().map(|text| text.len() + size_of::<u64>()).sum()),
    }
}

fn list(fact: FactValue<'_>) -> Option<Vec<String>> {
    match fact {
        FactValue::TextList(list) => Some(list.into_iter().map(str::to_owned).collect()),
        FactValue::Text(_) | FactValue::Int(_) | FactValue::Float(_) | FactValue::Bool(_) => None,
    }
}

fn give<T: ComponentType + Lower + 'static>(
    to: &mut Instance<'_>,
    field: &'static Field,
    take: fn(FactValue<'_>) -> Option<T>,
    weigh: fn(&T) -> usize,
) -> Result<()> {
    let name = method(&wit::accessor(field.group, field.name));
    to.func_wrap(&name, move |mut store: Store<'_>, (_,): (Borrowed,)| {
        let asked = store.data_mut();
        asked.read(field.group)?;
        let value = take(memo::fact(&asked.facts, field));
        // The list of facts has a test of its own that this cannot be.
        let Some(value) = value else { bail!("the fact `{}` is of another kind than its list says", field.name) };
        asked.pay(weigh(&value))?;
        Ok((value,))
    })
}

/// One field of the rules of `budget` or `rate`. A rule that does not apply reads as ratio 0 without limit.
fn limit(to: &mut Instance<'_>, group: Group, field: &'static LimitField) -> Result<()> {
    let name = method(&wit::accessor(group, field.name));
    let find = move |store: &mut Store<'_>, rule: String| -> Result<FactValue<'static>> {
        let asked = store.data_mut();
        asked.rule(group, &rule)?;
        Ok((field.get)(&memo::limit(&asked.facts, group, &rule)))
    };
    let other = move || wasmtime::format_err!("`{}` is of another kind than its list says", field.name);
    match field.kind {
        Kind::Float => to.func_wrap(&name, move |mut store: Store<'_>, (_, rule): (Borrowed, String)| {
            let FactValue::Float(n) = find(&mut store, rule)? else { return Err(other()) };
            Ok((n,))
        }),
        Kind::Int | Kind::Text | Kind::Bool | Kind::TextList => {
            to.func_wrap(&name, move |mut store: Store<'_>, (_, rule): (Borrowed, String)| {
                let FactValue::Int(n) = find(&mut store, rule)? else { return Err(other()) };
                Ok((n,))
            })
        }
    }
}

/// What is no fact of the list: buckets and the policy's own parameters.
fn asides(to: &mut Instance<'_>) -> Result<()> {
    to.func_wrap(&method("bucket"), |mut store: Store<'_>, (_, name, by): (Borrowed, String, StickyBy)| {
        let asked = store.data_mut();
        asked.bucket()?;
        asked.pay(name.len())?;
        let by = parse::sticky_by(by.name()).map_err(wasmtime::Error::msg)?;
        Ok((u32::from(memo::bucket(&asked.facts, &name, by)),))
    })?;
    param(to, "param-text", |value| value.as_str().map(str::to_owned))?;
    param(to, "param-whole", Value::as_i64)?;
    param(to, "param-decimal", Value::as_f64)?;
    param(to, "param-flag", Value::as_bool)?;
    param(to, "param-texts", |value| {
        value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
    })?;
    param(to, "param-json", |value| Some(value.to_string()))
}

/// One kind of accessor of parameters. They are the repository's, so a look costs no more than the value is long.
fn param<T: ComponentType + Lower + 'static>(
    to: &mut Instance<'_>,
    name: &str,
    take: fn(&Value) -> Option<T>,
) -> Result<()> {
    to.func_wrap(&method(name), move |mut store: Store<'_>, (_, name): (Borrowed, String)| {
        let asked = store.data_mut();
        asked.called()?;
        asked.pay(name.len())?;
        let terms = asked.terms.clone();
        let Some(value) = terms.params.get(&name) else { return Ok((None,)) };
        asked.pay(weight(value))?;
        Ok((take(value),))
    })
}

/// About the bytes that a value is copied as.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => size_of::<u64>(),
        Value::String(text) => text.len() + size_of::<u64>(),
        Value::Array(list) => list.iter().map(weight).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + weight(value)).sum(),
    }
}

/// The words stay with the host: guests ask about them, and pay for the bytes that are looked at.
fn words(to: &mut Instance<'_>) -> Result<()> {
    to.func_wrap(&method("text-parts"), |mut store: Store<'_>, (_,): (Borrowed,)| {
        Ok((read(&mut store)?.text().len() as u32,))
    })?;
    to.func_wrap(&method("text-role"), |mut store: Store<'_>, (_, part): (Borrowed, u32)| {
        let facts = read(&mut store)?;
        let role = facts.text().get(part as usize).map_or(String::new(), |part| part.role.clone());
        store.data_mut().pay(role.len())?;
        Ok((role,))
    })?;
    to.func_wrap(&method("text-len"), |mut store: Store<'_>, (_, part): (Borrowed, u32)| {
        Ok((read(&mut store)?.text().get(part as usize).map_or(0, |part| part.text.len() as u32),))
    })?;
    to.func_wrap(&method("text-slice"), |mut store: Store<'_>, (_, part, start, len): (Borrowed, u32, u32, u32)| {
        let facts = read(&mut store)?;
        let text = facts.text().get(part as usize).map_or("", |part| part.text.as_str());
        let slice = slice(text, start as usize, len as usize);
        store.data_mut().pay(slice.len())?;
        Ok((slice.to_owned(),))
    })?;
    to.func_wrap(&method("text-contains"), |mut store: Store<'_>, (_, needle): (Borrowed, String)| {
        let facts = read(&mut store)?;
        store.data_mut().pay(needle.len())?;
        let finder = memmem::Finder::new(&needle);
        for part in facts.text() {
            store.data_mut().pay(part.text.len())?;
            if finder.find(part.text.as_bytes()).is_some() {
                return Ok((true,));
            }
        }
        Ok((false,))
    })?;
    to.func_wrap(&method("text-find"), |mut store: Store<'_>, (_, needles): (Borrowed, Vec<String>)| {
        let facts = read(&mut store)?;
        if needles.len() > NEEDLES_MAX {
            bail!("`text-find` takes at most {NEEDLES_MAX} needles, not {}", needles.len());
        }
        Ok((find(store.data_mut(), &facts, &needles)?,))
    })
}

/// The facts, for a guest that may read the words.
fn read(store: &mut Store<'_>) -> Result<Arc<Facts>> {
    let asked = store.data_mut();
    asked.read(Group::Text)?;
    memo::words();
    Ok(asked.facts.clone())
}

/// Both ends move down to the first byte of a character, so that no piece cuts one and pieces join without a gap.
fn slice(text: &str, start: usize, len: usize) -> &str {
    let (start, end) = (start.min(text.len()), start.saturating_add(len).min(text.len()));
    &text[text.floor_char_boundary(start)..text.floor_char_boundary(end)]
}

/// Each needle costs a pass over each part.
fn find(asked: &mut Asked, facts: &Facts, needles: &[String]) -> Result<Vec<Found>> {
    let finders: Vec<memmem::Finder<'_>> = needles.iter().map(memmem::Finder::new).collect();
    asked.pay(needles.iter().map(String::len).sum())?;
    let mut found = Vec::new();
    for (part, text) in facts.text().iter().enumerate() {
        let before = found.len();
        for (needle, finder) in finders.iter().enumerate().filter(|(at, _)| !needles[*at].is_empty()) {
            asked.pay(text.text.len())?;
            let places = finder.find_iter(text.text.as_bytes()).take(FOUND_MAX);
            found.extend(places.map(|start| Found { needle: needle as u32, part: part as u32, start: start as u32 }));
        }
        found[before..].sort_unstable_by_key(|found| (found.start, found.needle));
        if found.len() >= FOUND_MAX {
            found.truncate(FOUND_MAX);
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_the_words_never_cut_a_character() {
        for (start, len, right) in
            [(0, 1, "a"), (1, 1, ""), (1, 2, "ä"), (2, 9, "äb"), (9, 9, ""), (0, usize::MAX, "aäb")]
        {
            assert_eq!(slice("aäb", start, len), right, "{start} {len}");
        }
    }
}
