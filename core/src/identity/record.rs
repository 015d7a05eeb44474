//! What is known of a key, wherever it is kept, and whether it is still good.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cidr::Cidr;
use super::key::{Pepper, Presented};
use super::scopes::Scopes;

/// What is known of a key. Never the key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyRecord {
    pub id: Arc<str>,
    #[serde(with = "hex")]
    pub hash: [u8; 32],
    pub tenant: Arc<str>,
    /// Empty = the caller may say it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub app: Arc<str>,
    /// Empty = the caller may say it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user: Arc<str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Arc<str>>,
    /// May the caller assert tenant and app itself (a trusted platform in front)?
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_assert: bool,
    pub scopes: Scopes,
    /// Networks from which it is taken; none = from everywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cidr: Vec<Cidr>,
    /// Whom to ask about it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub owner: Arc<str>,
    /// Milliseconds since 1970; `None` = no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// The contract version on the day the key was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The secret before the last rotation, as long as it is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_ms: Option<i64>,
}

/// A secret that ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    #[serde(with = "hex")]
    pub hash: [u8; 32],
    pub until_ms: i64,
}

/// Why a key that is known and shown with its right secret is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the key `{0}` was revoked: ask for a new one")]
    Revoked(Arc<str>),
    #[error("the key `{0}` has expired: ask for a new one")]
    Expired(Arc<str>),
    #[error("the secret of the key `{0}` was replaced, and its time is over: use the new one")]
    Replaced(Arc<str>),
    /// Without the address: receipts keep what is told, and addresses as digests only.
    #[error("the key `{0}` is not taken from this address: its `cidr` lists the networks")]
    Elsewhere(Arc<str>),
}

impl Unfit {
    pub fn code(&self) -> &'static str {
        match self {
            Unfit::Revoked(_) => "revoked_key",
            Unfit::Expired(_) => "expired_key",
            Unfit::Replaced(_) => "replaced_key",
            Unfit::Elsewhere(_) => "wrong_network",
        }
    }
}

/// Is this its secret? One that is not known costs the same as a wrong one, and `None` says neither which.
pub fn prove(
    presented: &Presented<'_>,
    pepper: &Pepper,
    known: Option<&KeyRecord>,
    address: &str,
    now_ms: i64,
) -> Option<Result<(), Unfit>> {
    let before = known.and_then(|record| record.before);
    let (now, old) =
        presented.matches(pepper, [known.map(|record| &record.hash), before.as_ref().map(|before| &before.hash)]);
    let record = known.filter(|_| now | old)?;
    let replaced = !now && before.is_some_and(|before| before.until_ms <= now_ms);
    let fit = match record.fit(address, now_ms) {
        Ok(()) if replaced => Err(Unfit::Replaced(record.id.clone())),
        fit => fit,
    };
    Some(fit)
}

impl KeyRecord {
    /// Names that other records have too are taken from there.
    pub fn share(&mut self, names: &mut HashSet<Arc<str>>) {
        let version = self.version.iter_mut();
        for name in
            [&mut self.tenant, &mut self.app, &mut self.owner].into_iter().chain(version).chain(&mut self.groups)
        {
            if name.is_empty() {
                continue;
            }
            match names.get(name) {
                Some(known) => *name = known.clone(),
                None => drop(names.insert(name.clone())),
            }
        }
    }

    /// Is it good now, from there?
    pub fn fit(&self, address: &str, now_ms: i64) -> Result<(), Unfit> {
        self.fit_anywhere(now_ms)?;
        match self.cidr.is_empty() || self.cidr.iter().any(|network| network.contains(address)) {
            true => Ok(()),
            false => Err(Unfit::Elsewhere(self.id.clone())),
        }
    }

    /// Is it good now, wherever it is shown?
    pub fn fit_anywhere(&self, now_ms: i64) -> Result<(), Unfit> {
        if self.revoked_ms.is_some() {
            return Err(Unfit::Revoked(self.id.clone()));
        }
        if self.expires_ms.is_some_and(|end| end <= now_ms) {
            return Err(Unfit::Expired(self.id.clone()));
        }
        Ok(())
    }
}

/// 32 bytes as 64 hexadecimal digits.
pub mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn encode(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn decode(text: &str) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(bytes)
    }

    /// A start reads millions of them.
    fn digit(digit: u8) -> Option<u8> {
        match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            b'A'..=b'F' => Some(digit - b'A' + 10),
            _ => None,
        }
    }

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        decode(&text).ok_or_else(|| serde::de::Error::custom("a hash is 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{mint, mint_for};
    use super::*;

    const HERE: &str = "10.1.2.3";

    #[test]
    fn a_key_is_taken_with_its_secret_while_it_is_good_and_from_where_it_may_be_used() {
        let pepper = Pepper::new([1; 32]);
        let (id, text) = mint(&[7; 55]);
        let (old, strange) = (mint_for(&id, &[9; 43]), mint_for(&id, &[3; 43]));
        let good = KeyRecord { id: id.as_str().into(), hash: pepper.hash(&text), ..KeyRecord::default() };
        let with = |change: &dyn Fn(&mut KeyRecord)| {
            let mut record = good.clone();
            change(&mut record);
            Some(record)
        };
        let rotated = |until_ms: i64| {
            let hash = pepper.hash(&old);
            with(&move |record| record.before = Some(Before { hash, until_ms }))
        };
        for (shown, known, came, why) in [
            (&text, with(&|_| ()), Some(Ok(())), "good"),
            (&strange, with(&|_| ()), None, "another secret"),
            (&text, None, None, "not known"),
            (&text, with(&|r| r.revoked_ms = Some(1)), Some(Err("revoked_key")), "revoked"),
            (&strange, with(&|r| r.revoked_ms = Some(1)), None, "who has no secret learns nothing"),
            (&text, with(&|r| r.expires_ms = Some(100)), Some(Err("expired_key")), "its last moment is over"),
            (&text, with(&|r| r.expires_ms = Some(101)), Some(Ok(())), "its last moment"),
            (&text, with(&|r| r.cidr = vec![Cidr::parse("10.0.0.0/8").unwrap()]), Some(Ok(())), "inside"),
            (
                &text,
                with(&|r| r.cidr = vec![Cidr::parse("11.0.0.0/8").unwrap()]),
                Some(Err("wrong_network")),
                "outside",
            ),
            (&old, rotated(101), Some(Ok(())), "the secret before, while both are taken"),
            (&text, rotated(101), Some(Ok(())), "and the new one"),
            (&old, rotated(100), Some(Err("replaced_key")), "the secret before, later"),
            (&text, rotated(100), Some(Ok(())), "the new one stays"),
        ] {
            let presented = Presented::parse(shown).unwrap();
            let got = prove(&presented, &pepper, known.as_ref(), HERE, 100);
            let got = got.map(|fit| fit.map_err(|unfit| unfit.code()));
            assert_eq!(got, came, "{why}");
        }
    }

    #[test]
    fn a_record_is_kept_as_text_and_never_holds_the_key() {
        let pepper = Pepper::new([1; 32]);
        let (id, text) = mint(&[7; 55]);
        let record = KeyRecord {
            id: id.as_str().into(),
            hash: pepper.hash(&text),
            tenant: "acme".into(),
            cidr: vec![Cidr::parse("10.0.0.0/8").unwrap()],
            scopes: Scopes::parse(["chat", "mint"]).unwrap(),
            before: Some(Before { hash: [3; 32], until_ms: 5 }),
            ..KeyRecord::default()
        };
        let kept = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<KeyRecord>(&kept).unwrap(), record);
        assert!(!kept.contains(&text), "{kept}");
    }
}
