//! What a credential may be used for: operations of calls, and the operators' side by parts.

use crate::contract::{Operation, nearest};

/// A set of scopes. Written as a list of names; a key without a list may make calls of all operations, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u32);

/// One thing that a credential may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Operation(Operation),
    /// Make short-lived keys of itself.
    Mint,
    /// Manage the keys of its own tenant.
    Keys,
    /// Read everything at the operators' side.
    AdminRead,
    /// Everything at the operators' side.
    Admin,
    /// Read the balances of its own tenant.
    Budgets,
}

/// The name of all operations together.
const CALLS: &str = "calls";

impl Scope {
    pub const ALL: [Scope; Operation::ALL.len() + 5] = {
        let mut all = [Scope::Admin; Operation::ALL.len() + 5];
        let mut at = 0;
        while at < Operation::ALL.len() {
            all[at] = Scope::Operation(Operation::ALL[at]);
            at += 1;
        }
        (all[at], all[at + 1], all[at + 2], all[at + 4]) = (Scope::Mint, Scope::Keys, Scope::AdminRead, Scope::Budgets);
        all
    };

    pub fn name(self) -> &'static str {
        match self {
            Scope::Operation(operation) => operation.name(),
            Scope::Mint => "mint",
            Scope::Keys => "keys",
            Scope::AdminRead => "admin:read",
            Scope::Admin => "admin",
            Scope::Budgets => "budgets",
        }
    }

    fn bit(self) -> u32 {
        let at = Scope::ALL.iter().position(|scope| *scope == self).expect("all scopes are listed");
        1 << at
    }
}

impl Scopes {
    pub const NONE: Scopes = Scopes(0);
    /// Every operation, and nothing of the operators' side.
    pub const CALLS: Scopes = Scopes((1 << Operation::ALL.len()) - 1);

    /// An empty list is a mistake: it would let nobody do anything.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Scopes, String> {
        let mut scopes = Scopes::NONE;
        for name in names {
            scopes.0 |= match name {
                CALLS => Scopes::CALLS.0,
                _ => Scope::ALL.iter().find(|scope| scope.name() == name).ok_or_else(|| unknown(name))?.bit(),
            };
        }
        match scopes.0 {
            0 => Err("`scopes` lists nothing: leave it out for all calls, or revoke the key".to_owned()),
            _ => Ok(scopes),
        }
    }

    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    pub fn admits(self, operation: Operation) -> bool {
        self.has(Scope::Operation(operation)) || self.has(Scope::Operation(operation.granted_as()))
    }

    pub fn of(scope: Scope) -> Scopes {
        Scopes(scope.bit())
    }

    /// What one of them has.
    pub fn or(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// What both have.
    pub fn and(self, other: Scopes) -> Scopes {
        Scopes(self.0 & other.0)
    }

    pub fn contains(self, other: Scopes) -> bool {
        self.0 & other.0 == other.0
    }

    /// May make a call of some kind.
    pub fn calls(self) -> bool {
        self.0 & Scopes::CALLS.0 != 0
    }

    pub fn names(self) -> Vec<&'static str> {
        let all_calls = self.contains(Scopes::CALLS);
        let one = Scope::ALL.into_iter().filter(|scope| {
            self.has(*scope)
                && match scope {
                    Scope::Operation(_) => !all_calls,
                    Scope::Mint | Scope::Keys | Scope::AdminRead | Scope::Admin | Scope::Budgets => true,
                }
        });
        all_calls.then_some(CALLS).into_iter().chain(one.map(Scope::name)).collect()
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = std::iter::once(CALLS).chain(Scope::ALL.map(Scope::name)).collect();
    format!("`{name}` is no scope{} (known are `{}`)", nearest::hint(name, known.iter().copied()), known.join("`, `"))
}

impl Default for Scopes {
    fn default() -> Self {
        Scopes::CALLS
    }
}

impl serde::Serialize for Scopes {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.names())
    }
}

impl<'de> serde::Deserialize<'de> for Scopes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        Scopes::parse(names.iter().map(|name| &**name)).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_set_with_names() {
        let parse = |names: &[&str]| Scopes::parse(names.iter().copied());
        assert_eq!(parse(&["calls"]).unwrap(), Scopes::default());
        assert_eq!(Scopes::default().names(), ["calls"]);
        let some = parse(&["embeddings", "admin:read"]).unwrap();
        assert_eq!(some.names(), ["embeddings", "admin:read"]);
        assert!(some.admits(Operation::Embeddings) && !some.admits(Operation::Chat));
        assert!(!some.has(Scope::Admin) && some.has(Scope::AdminRead));
        assert!(parse(&["chat"]).unwrap().admits(Operation::CountTokens), "who may converse may count");
        assert!(!parse(&["admin"]).unwrap().calls(), "an operator's key makes no calls");
        assert!(!Scopes::default().has(Scope::Mint) && !Scopes::default().has(Scope::Keys));
        assert_eq!(some.and(Scopes::CALLS).names(), ["embeddings"]);
        assert!(parse(&["embedings"]).unwrap_err().contains("did you mean `embeddings`?"));
        assert!(parse(&[]).is_err());
        for scope in Scope::ALL {
            assert_eq!(Scope::ALL.iter().filter(|other| other.bit() == scope.bit()).count(), 1, "{}", scope.name());
        }
    }
}
