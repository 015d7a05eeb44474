//! The model string serves SDKs that can set nothing else: a model, a pinned provider, a tier, a family and a tier.

/// A longer model string is refused: the longest real ones, names of deployments, have about 200 bytes.
const MODEL_BYTES_MAX: usize = 1024;

/// What a model string says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// `gpt-4o-mini`: a model or an alias.
    Model(&'a str),
    /// `openai/gpt-4o-mini`.
    Pinned { provider: &'a str, model: &'a str },
    /// `@high`: a tier, else a family of that name.
    One(&'a str),
    /// `@claude.high`.
    FamilyAndTier(&'a str, &'a str),
    /// `@auto`: policy chooses.
    Auto,
}

/// Reads a model string. Only known providers pin: model names have slashes too.
pub fn parse<'a>(text: &'a str, is_provider: impl Fn(&str) -> bool) -> Result<Asked<'a>, String> {
    if text.is_empty() {
        return Err("`model` is empty: name a model, `@TIER`, `@FAMILY.TIER` or `@auto`".to_owned());
    }
    if text.len() > MODEL_BYTES_MAX {
        return Err(format!("`model` is longer than {MODEL_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("`model` has a control character".to_owned());
    }
    // Some providers have the model in the path, where these would lead elsewhere.
    if text.split(['/', '\\']).any(|part| matches!(part, "." | "..")) {
        return Err("`model` has `.` or `..` as a part: no model has such a name".to_owned());
    }
    if let Some(intent) = text.strip_prefix('@') {
        return match intent.split_once('.') {
            None if intent == "auto" => Ok(Asked::Auto),
            None if !intent.is_empty() => Ok(Asked::One(intent)),
            Some((family, tier)) if !family.is_empty() && !tier.is_empty() => Ok(Asked::FamilyAndTier(family, tier)),
            Some(_) | None => Err(format!("`{text}` names no tier: write `@TIER`, `@FAMILY.TIER` or `@auto`")),
        };
    }
    match text.split_once('/') {
        Some((provider, model)) if !model.is_empty() && is_provider(provider) => Ok(Asked::Pinned { provider, model }),
        Some(_) | None => Ok(Asked::Model(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_string_says_one_of_five_things() {
        for (text, expected) in [
            ("gpt-4o-mini", Ok(Asked::Model("gpt-4o-mini"))),
            ("openai/gpt-4o-mini", Ok(Asked::Pinned { provider: "openai", model: "gpt-4o-mini" })),
            ("meta-llama/Llama-3", Ok(Asked::Model("meta-llama/Llama-3"))),
            ("openai/", Ok(Asked::Model("openai/"))),
            ("@high", Ok(Asked::One("high"))),
            ("@claude.high", Ok(Asked::FamilyAndTier("claude", "high"))),
            ("@auto", Ok(Asked::Auto)),
            ("@", Err(())),
            ("@a.", Err(())),
            ("", Err(())),
            ("a\0b", Err(())),
            ("openai/../../x", Err(())),
            ("openai/.", Err(())),
            ("..", Err(())),
            ("openai/gpt-4..1", Ok(Asked::Pinned { provider: "openai", model: "gpt-4..1" })),
            (&"x".repeat(1025), Err(())),
        ] {
            assert_eq!(parse(text, |p| p == "openai").map_err(|_| ()), expected, "{text}");
        }
    }
}
