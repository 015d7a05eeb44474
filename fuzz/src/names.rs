//! Short texts that callers choose: paths, models, seals, keys, and the object `tollgate`.

use serde_json::value::RawValue;
use tollgate_core::contract::base64;
use tollgate_core::contract::canonical::part::{Maker, Signature};
use tollgate_core::contract::meta::{Declared, Field};
use tollgate_core::contract::{glob, model_string, nearest};
use tollgate_core::dialects::{paths, sealed};
use tollgate_core::identity::key;

pub fn check(data: &[u8]) {
    let encoded = base64::encode(data);
    for spelled in [encoded.clone(), encoded.replace('=', ""), encoded.replace('+', "-").replace('/', "_")] {
        assert_eq!(base64::decode(&spelled).as_deref(), Some(data), "{spelled}");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    drop(base64::decode(text));
    check_paths(text);
    check_seals(text);
    let pinned = model_string::parse(text, |provider| provider == "openai");
    let is_refused =
        text.is_empty() || text.starts_with('@') || text.len() > 1024 || has_control(text) || has_dots(text);
    assert!(pinned.is_ok() || is_refused);
    drop(nearest::hint(text, paths_known()));
    if let Ok(glob) = glob::Glob::new(text) {
        glob.matches(text);
    }
    if let Some(key) = key::Presented::parse(text) {
        assert!(text.starts_with(&format!("tg_{}_", key.id)));
    }
    check_declared(text);
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn has_dots(text: &str) -> bool {
    text.split(['/', '\\']).any(|part| matches!(part, "." | ".."))
}

fn paths_known() -> [&'static str; 3] {
    ["/v1/chat/completions", "/v1/messages", "/api/chat"]
}

/// A model's name comes back out of a path, whatever it is.
fn check_paths(text: &str) {
    drop(paths::address(text));
    let path = format!("/model/{}/converse", paths::encoded(text, b""));
    let told = paths::address(&path).and_then(|address| address.model);
    assert_eq!(told.as_deref(), (!text.is_empty()).then_some(text), "{path}");
    let path = format!("/v1beta/models/{}:countTokens", paths::encoded(text, b"/"));
    let told = paths::address(&path).and_then(|address| address.model);
    assert_eq!(told.as_deref(), (!text.is_empty()).then_some(text), "{path}");
}

/// A seal comes back as it went, and is seen in a body whatever holds it.
fn check_seals(text: &str) {
    drop(sealed::unseal_id(text.into()));
    sealed::ride_in(text.as_bytes());
    for by in [Maker::Anthropic, Maker::Google, Maker::Openai] {
        let signature = Signature { by, data: text.into() };
        let tagged = sealed::tag(&signature).expect("each of these makers has a name");
        assert_eq!(sealed::untag(&tagged).as_ref(), Some(&signature));
        let id = sealed::seal_id("call_1", Some(&signature));
        for body in [tagged.clone(), id.clone().into_owned(), base64::encode(tagged.as_bytes())] {
            assert!(sealed::ride_in(body.as_bytes()), "{body}");
        }
        assert_eq!(sealed::unseal_id(id), ("call_1".into(), Some(signature)));
    }
}

fn check_declared(text: &str) {
    let Ok(object) = serde_json::from_str::<&RawValue>(text) else { return };
    let mut declared = Declared::default();
    if declared.join_object(object).is_ok() {
        for value in Field::ALL.iter().filter_map(|field| declared.get(*field)) {
            assert!(!value.is_empty() && value.len() <= 256 && !has_control(value), "{value:?}");
        }
    }
}
