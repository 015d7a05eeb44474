//! The scope of a count: the rule's name and the values that it counts by, as the ledger has it and as people write it.

use super::rules::{Per, Rule};

/// What stands for the one scope of a rule that counts all together.
const ALL: &str = "all";
/// No scope is written longer.
const TEXT_BYTES_MAX: usize = 4_096;

/// `tenant-month|tenant=4:acme`: the identity of a counter, so that editing a rule keeps its usage.
pub fn key<'v>(rule: &Rule, value: impl Fn(Per) -> &'v str) -> Box<str> {
    let mut text = String::with_capacity(64);
    text.push_str(&rule.name);
    for per in &rule.per {
        let value = value(*per);
        // Length first: no value can pretend to be two.
        let mut length = itoa::Buffer::new();
        ["|", per.name(), "=", length.format(value.len()), ":", value].into_iter().for_each(|part| text.push_str(part));
    }
    text.into()
}

/// The values of a key, in the order of the rule's `per`; `None` = it is no key of this rule.
pub fn values<'k>(rule: &Rule, key: &'k str) -> Option<Vec<(Per, &'k str)>> {
    let mut rest = key.strip_prefix(&*rule.name)?;
    let mut values = Vec::with_capacity(rule.per.len());
    for per in &rule.per {
        let (bytes, text) = rest.strip_prefix('|')?.strip_prefix(per.name())?.strip_prefix('=')?.split_once(':')?;
        let (value, behind) = text.split_at_checked(bytes.parse().ok()?)?;
        values.push((*per, value));
        rest = behind;
    }
    rest.is_empty().then_some(values)
}

/// As people read it: `tenant=acme,app=desk`, or `all`. A key of another rule as it is.
pub fn told(rule: &Rule, key: &str) -> String {
    match values(rule, key) {
        None => key.to_owned(),
        Some(values) if values.is_empty() => ALL.to_owned(),
        Some(values) => {
            let parts: Vec<String> = values.iter().map(|(per, value)| format!("{}={value}", per.name())).collect();
            parts.join(",")
        }
    }
}

/// The key of a scope as people write it, or the key itself.
pub fn parse(rule: &Rule, text: &str) -> Result<Box<str>, String> {
    if text.len() <= TEXT_BYTES_MAX {
        if values(rule, text).is_some() {
            return Ok(text.into());
        }
        if let Some(values) = written(rule, text) {
            let value = |per| values.iter().find(|(known, _)| *known == per).map_or("", |(_, value)| *value);
            return Ok(key(rule, value));
        }
    }
    let parts: Vec<String> =
        rule.per.iter().map(|per| format!("{}={}", per.name(), per.name().to_uppercase())).collect();
    let form = if parts.is_empty() { ALL.to_owned() } else { parts.join(",") };
    let shown = crate::contract::nearest::shown(text);
    Err(format!("`{shown}` is no scope of `{}`: write `{form}`", rule.name))
}

fn written<'t>(rule: &Rule, text: &'t str) -> Option<Vec<(Per, &'t str)>> {
    if rule.per.is_empty() {
        return (text == ALL).then(Vec::new);
    }
    let mut rest = text;
    let mut values = Vec::with_capacity(rule.per.len());
    for (at, per) in rule.per.iter().enumerate() {
        let behind = rest.strip_prefix(per.name())?.strip_prefix('=')?;
        let value = match rule.per.get(at + 1) {
            None => behind,
            Some(next) => behind.split_once(&format!(",{}=", next.name()))?.0,
        };
        values.push((*per, value));
        rest = behind[value.len()..].strip_prefix(',').unwrap_or_default();
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::super::rules::{ScopeGlobs, Unit, Window};
    use super::*;

    fn rule(per: &[Per]) -> Rule {
        let (name, scope) = ("r".into(), ScopeGlobs::default());
        Rule { name, per: per.to_vec(), scope, unit: Unit::Tokens, limit: 1, window: Window::None, ladder: Vec::new() }
    }

    #[test]
    fn a_scope_is_written_told_and_read_again() {
        let two = [Per::Tenant, Per::App];
        for (per, text, key, why) in [
            (&[][..], "all", Some("r"), "one for all"),
            (&[][..], "r", Some("r"), "by its key"),
            (&[][..], "tenant=acme", None, "it counts by nothing"),
            (&two[..1], "tenant=acme", Some("r|tenant=4:acme"), "one value"),
            (&two[..1], "tenant=", Some("r|tenant=0:"), "an empty one"),
            (&two[..1], "tenant=a,app=b", Some("r|tenant=7:a,app=b"), "what looks like two is one"),
            (&two[..], "tenant=acme,app=desk", Some("r|tenant=4:acme|app=4:desk"), "two"),
            (&two[..], "tenant=a=b,c,app=d,e", Some("r|tenant=5:a=b,c|app=3:d,e"), "signs in values"),
            (&two[..], "r|tenant=4:acme|app=4:desk", Some("r|tenant=4:acme|app=4:desk"), "its key"),
            (&two[..], "tenant=acme", None, "one is missing"),
            (&two[..], "app=desk,tenant=acme", None, "in the rule's order"),
            (&two[..], "r|tenant=9:acme|app=4:desk", None, "a key that lies"),
            (&two[..1], "acme", None, "of what?"),
        ] {
            let rule = rule(per);
            assert_eq!(parse(&rule, text).ok().as_deref(), key, "{text}: {why}");
            if let Some(key) = key {
                let told = told(&rule, key);
                assert_eq!(parse(&rule, &told).as_deref(), Ok(key), "{told}");
            }
        }
        assert!(parse(&rule(&two), &"x".repeat(TEXT_BYTES_MAX + 1)).is_err_and(|told| told.len() < 500));
    }

    /// A value with the mark of the next one is read by its key alone.
    #[test]
    fn a_key_says_what_words_cannot() {
        let two = rule(&[Per::Tenant, Per::App]);
        let odd = key(&two, |per| if per == Per::Tenant { "a,app=b" } else { "c" });
        assert_eq!(values(&two, &odd), Some(vec![(Per::Tenant, "a,app=b"), (Per::App, "c")]));
        assert_eq!(parse(&two, &odd).as_deref(), Ok(&*odd));
    }
}
