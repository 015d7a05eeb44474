//! The words of this dialect: two spellings of members, reasons to finish, tiers of service.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::contract::canonical::answer::Finish;
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, is_null};
use crate::contract::skim::{Skim, skim};

/// `system_instruction` as `systemInstruction`: the service reads both.
pub fn camel(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' if !out.is_empty() => upper = true,
            c if std::mem::take(&mut upper) => out.push(c.to_ascii_uppercase()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A member that stands in a body, or in its config, in two spellings: which of them counts nobody knows.
pub fn twice(body: &[u8], skimmed: &Skim) -> Option<String> {
    let config = skimmed.members.iter().find(|member| camel(member.name(body)) == "generationConfig");
    let inner = config.and_then(|member| Some((&body[member.value.clone()], skim(&body[member.value.clone()]).ok()?)));
    let of = |body: &[u8], skimmed: &Skim| {
        let mut seen = HashSet::with_capacity(skimmed.members.len());
        let mut names = skimmed.members.iter().map(|member| member.name(body));
        names.find(|name| !seen.insert(camel(name).into_owned())).map(str::to_owned)
    };
    of(body, skimmed).or_else(|| inner.and_then(|(body, skimmed)| of(body, &skimmed)))
}

/// Reads the members of an object one by one under their camel-case names; what `read` does not know is told as extra, in
/// the caller's spelling. A member in both spellings is refused like one that stands twice.
pub fn each<'a>(
    r: &mut Reading<'a>,
    raw: Raw<'a>,
    read: impl FnMut(&mut Reading<'a>, &str, Raw<'a>) -> Result<bool, Wrong>,
) -> Result<(), Wrong> {
    let members = r.object(raw)?;
    each_of(r, members, read)
}

pub fn each_of<'a>(
    r: &mut Reading<'a>,
    members: Members<'a>,
    mut read: impl FnMut(&mut Reading<'a>, &str, Raw<'a>) -> Result<bool, Wrong>,
) -> Result<(), Wrong> {
    if members.iter().any(|(name, _)| name.contains('_')) {
        let mut seen = HashSet::with_capacity(members.len());
        if let Some((name, _)) = members.iter().find(|(name, _)| !seen.insert(camel(name))) {
            return Err(r.wrong(format!("has the member `{name}` twice, in two spellings")));
        }
    }
    for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
        let known = r.within(name.clone(), |r| read(r, &camel(&name), raw))?;
        if !known {
            r.extra(&name, raw);
        }
    }
    Ok(())
}

/// The reasons as Vertex numbers them, for clients that ask for numbers (`enum-encoding=int`).
const NUMBERED: [&str; 17] = [
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "MODEL_ARMOR",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "IMAGE_OTHER",
    "UNEXPECTED_TOOL_CALL",
    "NO_IMAGE",
];

/// A reason by name or by number; `None` = it has not finished.
pub fn reason(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let name = match as_text(raw) {
        Some(name) => name,
        None => Cow::Borrowed(*NUMBERED.get(raw.get().parse::<usize>().ok()?)?),
    };
    (!name.is_empty() && name != NUMBERED[0]).then_some(name)
}

/// Calls of tools end with `STOP` here.
pub fn finish_of(name: &str, calls: bool) -> Finish {
    match name {
        "STOP" if calls => Finish::ToolCalls,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" | "CONTINUATION" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "ESCALATION"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => Finish::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "MALFORMED_RESPONSE"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE" => Finish::Error,
        other => Finish::Other(other.to_owned()),
    }
}

/// SDKs know a closed list of names: what is none of them is `OTHER`.
pub fn finish_name(finish: &Finish) -> &str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::ToolCalls => "STOP",
        Finish::Length | Finish::ContextLength => "MAX_TOKENS",
        Finish::ContentFilter | Finish::Refusal => "SAFETY",
        Finish::Other(name) if matches!(name.as_str(), "LANGUAGE" | "NO_IMAGE" | "IMAGE_OTHER") => name,
        Finish::Pause | Finish::Error | Finish::Other(_) => "OTHER",
    }
}

/// `standard` is what others call `default`.
pub fn tier_of(name: Cow<'_, str>) -> Option<Cow<'_, str>> {
    match &*name {
        "unspecified" | "SERVICE_TIER_UNSPECIFIED" => None,
        "standard" | "STANDARD" => Some("default".into()),
        "flex" | "FLEX" => Some("flex".into()),
        "priority" | "PRIORITY" => Some("priority".into()),
        _ => Some(name),
    }
}

/// `None` = the provider's own choice, or a tier that it does not have.
pub fn tier_name(tier: &str) -> Option<&str> {
    match tier {
        "default" | "standard" => Some("standard"),
        "flex" | "priority" => Some(tier),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_known_in_both_spellings() {
        for (name, expected) in [
            ("systemInstruction", "systemInstruction"),
            ("system_instruction", "systemInstruction"),
            ("parameters_json_schema", "parametersJsonSchema"),
            ("topK", "topK"),
            ("_x", "_x"),
        ] {
            assert_eq!(camel(name), expected);
        }
        let raw: Raw<'_> = serde_json::from_str(r#"{"top_k":1,"topK":2}"#).unwrap();
        assert!(each(&mut Reading::default(), raw, |_, _, _| Ok(true)).unwrap_err().why.contains("twice"));
    }

    #[test]
    fn reasons_are_known_by_name_and_by_number() {
        for (json, calls, expected) in [
            ("\"STOP\"", false, Some(Finish::Stop)),
            ("\"STOP\"", true, Some(Finish::ToolCalls)),
            ("1", false, Some(Finish::Stop)),
            ("2", false, Some(Finish::Length)),
            ("3", false, Some(Finish::ContentFilter)),
            ("9", true, Some(Finish::Error)),
            ("0", false, None),
            ("99", false, None),
            ("null", false, None),
            ("\"NEW_REASON\"", false, Some(Finish::Other("NEW_REASON".to_owned()))),
        ] {
            let raw: Raw<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(reason(raw).map(|name| finish_of(&name, calls)), expected, "{json}");
        }
        assert_eq!(finish_name(&Finish::Other("NEW_REASON".to_owned())), "OTHER", "SDKs know a closed list");
    }
}
