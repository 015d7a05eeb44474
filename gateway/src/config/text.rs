//! A text of the config in which `${NAME}`, `${NAME:-else}` and `${file:PATH}` are filled in.

use serde::{Deserialize, Deserializer};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(from)?;
        fill(&raw, &|name| std::env::var(name).ok()).map(Text).map_err(serde::de::Error::custom)
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Fills in what stands between `${` and `}`.
fn fill(raw: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, behind) = after.split_once('}').ok_or_else(|| format!("`{raw}` has a `${{` without `}}`"))?;
        if let Some(path) = name.strip_prefix("file:") {
            let text = std::fs::read_to_string(path).map_err(|why| format!("cannot read `{path}`: {why}"))?;
            out.push_str(text.trim_end());
        } else {
            let (name, otherwise) = name.split_once(":-").map_or((name, None), |(n, o)| (n, Some(o)));
            let value = variable(name).or_else(|| otherwise.map(str::to_owned));
            out.push_str(
                &value.ok_or_else(|| {
                    format!("the environment has no `{name}`: set it, or write `${{{name}:-DEFAULT}}`")
                })?,
            );
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_or_named() {
        let variable = |name: &str| (name == "HOME").then(|| "/h".to_owned());
        for (raw, expected) in [
            ("plain", Ok("plain")),
            ("${HOME}/x", Ok("/h/x")),
            ("${NONE:-y}", Ok("y")),
            ("${NONE}", Err("has no `NONE`")),
            ("${HOME", Err("without `}`")),
            ("${file:/does/not/exist}", Err("cannot read")),
        ] {
            match (fill(raw, &variable), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected),
                (Err(got), Err(part)) => assert!(got.contains(part), "{raw}: {got}"),
                (got, _) => panic!("{raw}: {got:?}"),
            }
        }
    }
}
