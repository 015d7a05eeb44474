//! The section `identity`: whose tokens are taken, and who a token speaks of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tollgate_core::identity::scopes::Scopes;
use tollgate_providers::tokens::{self, Algorithm, Place};

use super::text::Text;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// By a name of your own: it stands in receipts.
    pub issuers: BTreeMap<String, Issuer>,
    /// Whom client certificates speak of; absent = of nobody: they let a connection in, and keys say who calls.
    pub certificates: Option<Certificates>,
}

/// Whom a client certificate speaks of: CEL over `cert`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    pub tenant: String,
    pub app: Option<String>,
    pub user: Option<String>,
    pub groups: Option<String>,
    /// What they are for; absent = calls of all operations.
    #[serde(default)]
    pub scopes: CertificateScopes,
}

/// A list for all of them, or an expression that gives a list.
#[derive(Debug, Clone, PartialEq)]
pub enum CertificateScopes {
    All(Scopes),
    Expression(String),
}

impl Default for CertificateScopes {
    fn default() -> Self {
        CertificateScopes::All(Scopes::default())
    }
}

impl<'de> Deserialize<'de> for CertificateScopes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EitherScopes)
    }
}

struct EitherScopes;

impl<'de> Visitor<'de> for EitherScopes {
    type Value = CertificateScopes;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of scopes, or an expression that gives one")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<CertificateScopes, E> {
        Ok(CertificateScopes::Expression(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<CertificateScopes, A::Error> {
        Scopes::deserialize(SeqAccessDeserializer::new(list)).map(CertificateScopes::All)
    }
}

/// One issuer of tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The claim `iss`, to the letter.
    pub issuer: Text,
    /// One of them must be in the claim `aud`.
    pub audience: Vec<Text>,
    /// What its tokens may be signed with; what a token says of it chooses nothing else.
    pub algorithms: Vec<Algorithm>,
    pub jwks: Jwks,
    /// By how much clocks may differ, at most 60.
    #[serde(default = "leeway_s")]
    pub leeway_s: u32,
    /// Between two requests for keys, whatever tokens name.
    #[serde(default = "refresh_s")]
    pub refresh_s: u64,
    /// CEL over `claims`; so are the next three. A token without a tenant is not taken.
    pub tenant: String,
    pub app: Option<String>,
    pub user: Option<String>,
    pub groups: Option<String>,
    /// What its tokens are for; absent = calls of all operations.
    #[serde(default)]
    pub scopes: Scopes,
}

/// Where an issuer's keys are; exactly one of the two.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Jwks {
    Url(Text),
    File(PathBuf),
}

fn leeway_s() -> u32 {
    30
}

fn refresh_s() -> u64 {
    60
}

impl Issuer {
    /// As those who verify take it.
    pub fn verified_as(&self, name: &str) -> tokens::Issuer {
        tokens::Issuer {
            name: name.to_owned(),
            issuer: self.issuer.to_string(),
            audience: self.audience.iter().map(|one| one.to_string()).collect(),
            algorithms: self.algorithms.clone(),
            keys: match &self.jwks {
                Jwks::Url(url) => Place::Url(url.to_string()),
                Jwks::File(path) => Place::File(path.clone()),
            },
            leeway_s: self.leeway_s,
            refresh_s: self.refresh_s,
        }
    }
}
