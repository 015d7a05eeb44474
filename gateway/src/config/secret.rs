//! Secrets by reference: `{ env: NAME }`, `{ file: PATH }` or `{ command: [PROGRAM] }`, or a list of them.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tollgate_providers::SecretSource;

/// Told in place of the value: it may be the secret itself.
const NAMED: &str =
    "a secret is named here, not written: `{ env: NAME }`, `{ file: PATH }` or `{ command: [PROGRAM] }`";

/// Exactly one of the three.
#[derive(Debug, Clone)]
pub struct Secret(SecretSource);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    env: Option<String>,
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
    /// How often a command is run anew.
    every_s: Option<NonZeroU32>,
}

impl TryFrom<Written> for Secret {
    type Error = String;

    fn try_from(written: Written) -> Result<Secret, String> {
        let every = written.every_s.map(|seconds| Duration::from_secs(u64::from(seconds.get())));
        if every.is_some() && written.command.is_none() {
            return Err("`every_s` is for a `command`: files are watched".to_owned());
        }
        match (written.env, written.file, written.command) {
            (Some(name), None, None) => Ok(Secret(SecretSource::Env(name))),
            (None, Some(path), None) => Ok(Secret(SecretSource::File(path))),
            (None, None, Some(words)) => Ok(Secret(SecretSource::Command { words, every })),
            (_, _, _) => Err("a secret is exactly one of `env`, `file` and `command`".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One;

        impl<'de> Visitor<'de> for One {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, `{ env: NAME }`")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Secret, E> {
                Err(E::custom(NAMED))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
                let written = Written::deserialize(MapAccessDeserializer::new(map))?;
                Secret::try_from(written).map_err(A::Error::custom)
            }
        }

        from.deserialize_any(One)
    }
}

impl Secret {
    pub fn source(&self) -> SecretSource {
        self.0.clone()
    }
}

/// One secret, or several of which the first counts that is good.
#[derive(Debug, Clone)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    pub fn sources(&self) -> Vec<SecretSource> {
        self.0.iter().map(Secret::source).collect()
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Secrets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, `{ env: NAME }`, or a list of secrets")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Secrets, E> {
                Err(E::custom(NAMED))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secrets, A::Error> {
                Secret::deserialize(MapAccessDeserializer::new(map)).map(|one| Secrets(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Secrets, A::Error> {
                let list = Vec::<Secret>::deserialize(SeqAccessDeserializer::new(list))?;
                match list.is_empty() {
                    true => Err(A::Error::custom("the list of secrets is empty")),
                    false => Ok(Secrets(list)),
                }
            }
        }

        from.deserialize_any(OneOrMore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_of_three_or_a_list() {
        for (text, expected) in [
            ("{ env: A }", Ok("env:A")),
            ("{ file: /run/a }", Ok("file:/run/a")),
            ("{ command: [pass, show, canary], every_s: 60 }", Ok("command:pass")),
            ("[{ file: new }, { env: OLD }]", Ok("file:new, env:OLD")),
            ("[]", Err("list of secrets is empty")),
            ("{}", Err("exactly one of")),
            ("{ env: A, file: b }", Err("exactly one of")),
            ("{ file: b, every_s: 3 }", Err("files are watched")),
            ("{ command: [a], every_s: 0 }", Err("nonzero")),
            ("{ enw: A }", Err("unknown field")),
            ("sk-canary", Err("named here, not written")),
            ("[sk-canary]", Err("named here, not written")),
        ] {
            let read = serde_saphyr::from_str::<Secrets>(text);
            match (read, expected) {
                (Ok(read), Ok(expected)) => {
                    let names: Vec<String> = read.sources().iter().map(SecretSource::name).collect();
                    assert_eq!(names.join(", "), expected, "{text}");
                }
                (Err(why), Err(part)) => {
                    let why = why.to_string();
                    assert!(why.contains(part), "{text}: {why}");
                }
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }
}
