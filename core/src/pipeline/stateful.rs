//! What providers hold for callers (responses, conversations, files, batches): who holds it, whose it is, and what of an
//! answer says that there is something new.
//!
//! All tenants share a provider's account, so ids are kept apart here: what one tenant made, no other reaches.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr2;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Core;
use super::identify::Identified;
use super::settle::After;
use crate::contract::Dialect;
use crate::contract::refusal::{Category, Refusal};
use crate::contract::skim::{Skim, skim};
use crate::contract::splice::Edits;
use crate::dialects::paths::is_id;
use crate::policy::revision::Revision;
use crate::ports::Origin;
use crate::routing::catalog::Target;

/// Ids of files in one body that are looked up; with more of them it is refused.
const FILES_MAX: usize = 64;

/// What a call speaks of.
#[derive(Debug, Default)]
pub struct Refers {
    /// Who holds it.
    pub held: Option<Origin>,
    /// An id of which nothing is known here.
    pub unknown: Option<Arc<str>>,
}

/// Finds out who holds what the call speaks of. Another tenant's is told as unknown.
pub async fn find(core: &Core, call: &Identified) -> Result<Refers, Refusal> {
    let mut refers = Refers::default();
    let shared = is_shared(&call.revision);
    for (member, id) in named(call)? {
        match core.shelf.origin(&id).await {
            Some(origin) if origin.tenant == call.facts.caller.tenant => match &refers.held {
                Some(known) if known.provider != origin.provider => {
                    let told = format!(
                        "`{member}` names `{id}`, which `{}` holds, and the rest of the call speaks of what `{}` holds",
                        origin.provider, known.provider
                    );
                    return Err(Refusal::invalid("held_elsewhere", member, told));
                }
                Some(_) => {}
                None => refers.held = Some(origin),
            },
            None if !shared => refers.unknown = Some(id),
            Some(_) | None => return Err(unknown(member, &id)),
        }
    }
    Ok(refers)
}

/// With one tenant, what is unknown here can be nobody else's.
fn is_shared(revision: &Revision) -> bool {
    revision.tenants.tenants.len() > 1
}

fn unknown(member: &'static str, id: &str) -> Refusal {
    let told = format!(
        "nothing is known here of `{id}`: it is not this tenant's, was not made through this gateway, or was forgotten (ids are kept for 30 days, the last 60,000)"
    );
    Refusal { param: Some(member.into()), ..Refusal::new(Category::NoRoute, "unknown_id", told) }
}

/// The ids that a call names, each with where it does.
fn named(call: &Identified) -> Result<Vec<(&'static str, Arc<str>)>, Refusal> {
    let mut found: Vec<(&'static str, Arc<str>)> = Vec::new();
    if let Some(id) = &call.place.id {
        found.push(("id", id.clone()));
    }
    let (body, skim) = (&call.body, &call.skim);
    let members: [(Dialect, &'static str); 3] = [
        (Dialect::OpenaiResponses, "previous_response_id"),
        (Dialect::OpenaiResponses, "conversation"),
        (Dialect::OpenaiBatches, "input_file_id"),
    ];
    for (_, member) in members.iter().filter(|(dialect, _)| *dialect == call.dialect) {
        let Some(raw) = skim.raw(body, member) else { continue };
        match id_of(raw) {
            Some(Named::Id(id)) => found.push((*member, id.as_str().into())),
            Some(Named::Nothing) => {}
            None => {
                let told = format!("`{member}` must be an id: letters, digits, `-` and `_`");
                return Err(Refusal::invalid("wrong_value", *member, told));
            }
        }
    }
    if matches!(call.dialect, Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::OpenaiImages) {
        let files = files(body, skim);
        if files.len() > FILES_MAX {
            let told = format!("the body names more than {FILES_MAX} files");
            return Err(Refusal::invalid("too_many_files", "file_id", told));
        }
        found.extend(files.into_iter().map(|id| ("file_id", id.as_str().into())));
    }
    Ok(found)
}

enum Named {
    Id(String),
    Nothing,
}

/// `"id"`, `{"id": "id"}` or nothing; `None` = something else.
fn id_of(raw: &[u8]) -> Option<Named> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Text(String),
        Object { id: String },
    }
    match serde_json::from_slice::<Option<Value>>(raw).ok()? {
        Some(Value::Text(id) | Value::Object { id }) => is_id(&id).then_some(Named::Id(id)),
        None => Some(Named::Nothing),
    }
}

/// Values of `file_id` and `file_ids` anywhere in a body that was skimmed.
fn files(body: &[u8], skim: &Skim) -> Vec<String> {
    let mut found = Vec::new();
    if !skim.may_name_files {
        return found;
    }
    let mut at = 0;
    while let Some((name, end)) = text(body, at) {
        at = end;
        let list = matches!(&*name, "file_ids");
        let value = body[at..].trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let Some(value) = value.filter(|_| list || name == "file_id") else { continue };
        let ends = match (list, value.first()) {
            (true, Some(b'[')) => memchr::memchr(b']', value).unwrap_or(value.len()),
            (false, Some(b'"')) => value.len(),
            (true | false, _) => continue,
        };
        let mut inside = 0;
        while let Some((id, end)) = text(&value[..ends], inside) {
            found.push(id);
            inside = end;
            if found.len() > FILES_MAX {
                return found;
            }
            if !list {
                break;
            }
        }
    }
    found
}

/// The next text of JSON from `at`, and where it ends.
fn text(json: &[u8], at: usize) -> Option<(String, usize)> {
    let start = at + memchr::memchr(b'"', json.get(at..)?)?;
    let mut end = start + 1;
    loop {
        end += memchr2(b'"', b'\\', json.get(end..)?)?;
        match json[end] {
            b'"' => break,
            _ => end += 2,
        }
    }
    let raw = &json[start..=end];
    // Long texts are prompts: no name is one.
    let text = if raw.len() > 1024 { String::new() } else { serde_json::from_slice(raw).unwrap_or_default() };
    Some((text, end + 1))
}

/// Does an answer to this call tell of something that its provider now holds?
pub fn learns(call: &Identified) -> bool {
    let keeps = matches!(call.dialect, Dialect::OpenaiResponses | Dialect::OpenaiFiles | Dialect::OpenaiBatches);
    keeps && !call.place.lists_all() && call.skim.raw(&call.body, "store") != Some(b"false")
}

/// The members of an answer that name what is held.
#[derive(Deserialize)]
struct Tells {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    output_file_id: Option<String>,
    #[serde(default)]
    error_file_id: Option<String>,
    /// Of a response.
    #[serde(default)]
    conversation: Option<Inner>,
    /// Of an upload that is complete.
    #[serde(default)]
    file: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    id: Option<String>,
}

/// Notes what an answer tells of. A provider that was asked in another dialect holds nothing by these ids.
pub async fn learn(core: &Core, tenant: &Arc<str>, target: &Target, dialect: Dialect, answer: &[u8]) {
    if !core.upstream.speaks(&target.provider).contains(&dialect) {
        return;
    }
    let Ok(tells) = serde_json::from_slice::<Tells>(answer) else { return };
    let inner = |inner: Option<Inner>| inner.and_then(|inner| inner.id);
    let ids = [tells.id, tells.output_file_id, tells.error_file_id, inner(tells.conversation), inner(tells.file)];
    for id in ids.into_iter().flatten().filter(|id| is_id(id)) {
        let origin = Origin { tenant: tenant.clone(), provider: target.provider.clone(), target: target.id.clone() };
        core.shelf.note_origin(&id, origin).await;
    }
}

/// The response that an event of a stream is about, as JSON.
pub fn in_event(piece: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        response: &'a RawValue,
    }
    let data = piece.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"data:"))?;
    serde_json::from_slice::<Event<'_>>(data).ok().map(|event| event.response.get().as_bytes())
}

/// A list of what the provider's account holds, with what is this tenant's only. What cannot be read is shown to nobody.
pub async fn own(core: &Core, after: &After, tenant: &Arc<str>, list: Bytes) -> Bytes {
    if !(after.lists_all && is_shared(&after.revision)) {
        return list;
    }
    let nothing = || Bytes::from_static(br#"{"object":"list","data":[],"has_more":false}"#);
    let Ok(skimmed) = skim(&list) else { return nothing() };
    let items = skimmed.raw(&list, "data").and_then(|raw| serde_json::from_slice::<Vec<&RawValue>>(raw).ok());
    let (mut kept, mut ids) = (Vec::new(), Vec::new());
    for item in items.unwrap_or_default() {
        let Some(id) = serde_json::from_str::<Inner>(item.get()).ok().and_then(|item| item.id) else { continue };
        if core.shelf.origin(&id).await.is_some_and(|origin| origin.tenant == *tenant) {
            kept.push(item.get());
            ids.push(id);
        }
    }
    let mut edits = Edits::default();
    edits.set("data", format!("[{}]", kept.join(",")));
    for (member, id) in [("first_id", ids.first()), ("last_id", ids.last())] {
        if skimmed.raw(&list, member).is_some() {
            edits.set(member, serde_json::json!(id).to_string());
        }
    }
    edits.apply(&list, &skimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_however_they_are_written_and_words_are_none() {
        for (body, expected, why) in [
            (
                r#"{"a":[{"type":"input_file","file_id":"file-1"},{"file_id" : "file-2"}]}"#,
                &["file-1", "file-2"][..],
                "parts",
            ),
            (
                r#"{"tools":[{"container":{"file_ids":["file-1","file-2"]}}],"file_id":null}"#,
                &["file-1", "file-2"],
                "a list",
            ),
            (r#"{"a":"say \"file_id\": \"file-1\""}"#, &[], "words of a prompt"),
            (r#"{"a":"file_id","b":"file-1"}"#, &[], "a value of that name"),
            (r#"{"file\u005fid":"file-1"}"#, &["file-1"], "an escape"),
            (r#"{"a":[{"\u0066ile_id":"file-1"}]}"#, &["file-1"], "an escape further in"),
            (r#"{"a":{"file_id":"a","file_id":"b"}}"#, &["a", "b"], "both, for nobody knows which is read"),
            ("{}", &[], "nothing"),
        ] {
            assert_eq!(files(body.as_bytes(), &skim(body.as_bytes()).unwrap()), expected, "{why}");
        }
    }

    #[test]
    fn a_stream_tells_its_response_in_its_first_event() {
        let piece =
            b"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\n";
        assert_eq!(in_event(piece), Some(&br#"{"id":"resp_1"}"#[..]));
        assert_eq!(in_event(b": a comment\n\n"), None);
        assert!(matches!(id_of(br#"{"id":"conv_1"}"#), Some(Named::Id(id)) if id == "conv_1"));
        assert!(matches!(id_of(b"null"), Some(Named::Nothing)));
        assert!(id_of(b"\"../x\"").is_none() && id_of(b"5").is_none());
    }
}
