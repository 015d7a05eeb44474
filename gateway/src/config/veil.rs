//! What must not be shown of a config when something is wrong with it: credentials that somebody typed where only the name of
//! one belongs.
//!
//! A message quotes values, and below it stand the lines around the place. Both pass through here first.

use std::collections::BTreeSet;

use tollgate_policy_runtime::yaml::{self, Data, Key, Node};

/// A key with one of these in its name holds a credential, or says where one is.
const NAMES: [&str; 8] = ["secret", "token", "password", "passwd", "credential", "webhook", "auth", "key"];
/// What says where a credential is, and may be shown.
const REFERENCES: [&str; 4] = ["env", "file", "command", "every_s"];
/// What holds a name or an address, though it is called so.
const SHOWN: [&str; 2] = ["token_url", "service_account"];
/// A shorter text is taken out where it stands, and not wherever it is found.
const FOUND_MIN: usize = 6;
const VEIL: &str = "***";

/// The file's text as it may be quoted, with its places unmoved, and the message.
pub fn veiled(source: &str, message: &str) -> (String, String) {
    let Ok(root) = yaml::parse(source.as_bytes()) else {
        // Without its structure nobody can tell what a line holds.
        let is_safe = !source.lines().any(is_named) && !source.contains("://");
        return (if is_safe { source.to_owned() } else { String::new() }, message.to_owned());
    };
    let mut found = Found { lines: source.lines().map(str::to_owned).collect(), texts: BTreeSet::new() };
    found.look(&root, false);
    let mut shown = found.lines.join("\n");
    let mut message = message.to_owned();
    // The longest first: one may be a part of another.
    let mut texts: Vec<&String> = found.texts.iter().collect();
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    for text in texts {
        for (open, close) in [("\"", "\""), ("`", "`"), ("'", "'")] {
            message = message.replace(&format!("{open}{text}{close}"), &format!("{open}{VEIL}{close}"));
        }
        if text.len() >= FOUND_MIN {
            message = message.replace(text.as_str(), VEIL);
            shown = shown.replace(text.as_str(), &"*".repeat(text.chars().count()));
        }
    }
    (shown, message)
}

fn is_named(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|part| name.contains(part))
}

struct Found {
    lines: Vec<String>,
    texts: BTreeSet<String>,
}

impl Found {
    fn look(&mut self, node: &Node, is_secret: bool) {
        match &node.data {
            Data::Map(members) => {
                for (key, value) in members {
                    self.member(key, value, is_secret);
                }
            }
            Data::List(list) => list.iter().for_each(|node| self.look(node, is_secret)),
            Data::Text(text) if is_secret => self.hide(node.at, text),
            Data::Text(text) if let Some(password) = password(text) => {
                self.hide(node.at, text);
                self.texts.insert(password.to_owned());
            }
            Data::Int(n) if is_secret => self.hide(node.at, &n.to_string()),
            Data::Float(_) if is_secret => self.hide(node.at, ""),
            Data::Text(_) | Data::Int(_) | Data::Float(_) | Data::Bool(_) | Data::Null => {}
        }
    }

    fn member(&mut self, key: &Key, value: &Node, is_secret: bool) {
        let name = key.text.as_str();
        match is_secret {
            true if REFERENCES.contains(&name) => {}
            // `{ sk-... }` is a table with one key.
            true if value.data == Data::Null => self.hide(key.at, name),
            true => self.look(value, true),
            false => self.look(value, is_named(name) && !SHOWN.contains(&name)),
        }
    }

    /// Takes out what begins here: up to the end of the value in its line, and its lines wherever they stand.
    fn hide(&mut self, at: yaml::Place, text: &str) {
        let from = (at.column as usize).saturating_sub(1);
        if let Some(line) = self.lines.get_mut((at.line as usize).saturating_sub(1)) {
            let over = text.chars().count().max(at.length as usize).max(1);
            *line = line
                .char_indices()
                .map(|(_, c)| c)
                .enumerate()
                .map(|(n, c)| if (from..from + over).contains(&n) && c != '|' && c != '>' { '*' } else { c })
                .collect();
        }
        self.texts.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
}

/// Of `scheme://user:password@host`.
fn password(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password).filter(|password| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_that_is_typed_in_clear_is_never_quoted() {
        let canary = "canary-1234567";
        for (text, why) in [
            ("providers:\n  openai: { secret: canary-1234567 }\n", "in place of a reference"),
            ("providers:\n  openai: { secret: \"canary-1234567\" }\n", "in quotes"),
            ("providers:\n  openai: { secret: [canary-1234567] }\n", "in a list"),
            ("providers:\n  openai: { secret: { value: canary-1234567 } }\n", "under a key that is not known"),
            ("providers:\n  openai: { secret: { canary-1234567 } }\n", "as a key"),
            (
                "providers:\n  openai:\n    secret: |\n      canary-1234567\n      canary-1234567x\n",
                "in lines of its own",
            ),
            ("providers:\n  openai: { api_key: canary-1234567 }\n", "under a name that is not ours"),
            ("policies:\n  token: canary-1234567\n", "for git"),
            ("policies: { repository: 'https://user:canary-1234567@h/x.git', branhc: x }\n", "in an address"),
            ("policies:\n  token: canary-1234567\n  branch: [", "in what is not YAML"),
        ] {
            let (source, message) = veiled(text, &format!("invalid type: string \"{canary}\", key `{canary}`"));
            assert!(!source.contains(canary), "{why}: {source}");
            let is_told = message.contains(canary);
            assert_eq!(is_told, yaml::parse(text.as_bytes()).is_err(), "{why}: {message}");
        }
    }

    #[test]
    fn the_rest_is_quoted_as_it_stands() {
        for text in [
            "listen:\n  callers: here",
            "providers:\n  openai: { secret: { env: OPENAI_API_KEY } }",
            "providers:\n  openai: { secret: [{ file: /run/a }, { command: [pass, show] }] }",
            "policies: { repository: 'https://git.example/x.git' }",
        ] {
            assert_eq!(veiled(text, "m"), (text.to_owned(), "m".to_owned()));
        }
    }
}
