//! Client certificates: whom one speaks of, and which of them were revoked.

use std::collections::HashSet;
use std::sync::{Arc, RwLock};

use serde::{Deserialize, Serialize};

use super::scopes::{Scope, Scopes};

/// Whom a certificate speaks of, as the config reads its names. All of it is verified; made once per connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Certified {
    /// What receipts have as the key: it stays when the certificate is renewed under the same names.
    pub key: Arc<str>,
    /// What lists of revoked certificates know it by.
    pub id: Arc<str>,
    /// Empty = of no tenant: then it makes no calls by itself.
    pub tenant: Arc<str>,
    pub app: Arc<str>,
    pub user: Arc<str>,
    pub groups: Vec<Arc<str>>,
    pub scopes: Scopes,
    /// Milliseconds since 1970.
    pub until_ms: i64,
}

/// What a short-lived key keeps of the certificate that made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeBy {
    pub id: Arc<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Arc<str>>,
}

impl Certified {
    /// What it may do alone. Without a tenant only the operators' side is left: whatever else there is, is some tenant's.
    pub fn alone(&self) -> Scopes {
        match self.tenant.is_empty() {
            true => [Scope::Admin, Scope::AdminRead].into_iter().fold(Scopes::NONE, |kept, scope| {
                if self.scopes.has(scope) { kept.or(Scopes::of(scope)) } else { kept }
            }),
            false => self.scopes,
        }
    }
}

/// The certificates that callers' lists have revoked.
#[derive(Debug, Default)]
pub struct Revoked {
    ids: RwLock<Option<Arc<HashSet<Box<str>>>>>,
}

/// How a certificate stands that is not shown itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Good,
    Revoked,
    /// No certificates of callers are taken here.
    Unasked,
}

impl Revoked {
    /// Replaces all lists at once.
    pub fn put(&self, ids: HashSet<Box<str>>) {
        *self.ids.write().expect("no code panics while it holds the lists") = Some(Arc::new(ids));
    }

    pub fn standing(&self, id: &str) -> Standing {
        match &*self.ids.read().expect("no code panics while it holds the lists") {
            None => Standing::Unasked,
            Some(ids) if ids.contains(id) => Standing::Revoked,
            Some(_) => Standing::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_tenant_only_the_operators_side_is_left() {
        for (tenant, scopes, left, why) in [
            ("acme", &["chat", "admin"][..], &["chat", "admin"][..], "a tenant's keeps all"),
            ("", &["calls", "mint", "keys", "admin:read"], &["admin:read"], "calls and keys are some tenant's"),
            ("", &["calls"], &[], "nothing"),
        ] {
            let certified = Certified {
                key: "cert:~1".into(),
                id: "a.1".into(),
                tenant: tenant.into(),
                app: "".into(),
                user: "".into(),
                groups: Vec::new(),
                scopes: Scopes::parse(scopes.iter().copied()).unwrap(),
                until_ms: 0,
            };
            assert_eq!(certified.alone().names(), left, "{why}");
        }
    }

    #[test]
    fn where_nobody_is_asked_for_certificates_none_stands() {
        let revoked = Revoked::default();
        assert_eq!(revoked.standing("a.1"), Standing::Unasked);
        revoked.put(HashSet::from(["a.1".into()]));
        assert_eq!((revoked.standing("a.1"), revoked.standing("a.2")), (Standing::Revoked, Standing::Good));
        revoked.put(HashSet::new());
        assert_eq!(revoked.standing("a.1"), Standing::Good, "a list may take one back");
    }
}
