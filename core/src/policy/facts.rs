//! What a policy may see: read-only, complete before it is asked, and recorded, so that a decision can be made again.
//!
//! The fields and their types are listed in `schema`; this file holds the values.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use serde::{Deserialize, Serialize};

use super::effect::StickyBy;
use crate::contract::words::{PromptFacts, TextPart, Unclear};
use crate::contract::{Dialect, Operation};
use crate::dialects::words::Words;

/// All facts of a call at one hook. Built from JSON (cases, receipts) or from a live call.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    pub call: CallFacts,
    pub caller: Caller,
    pub meta: Meta,
    pub intent: Intent,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub budget: BTreeMap<String, LimitFact>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rate: BTreeMap<String, LimitFact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerFacts>,
    /// Given by cases and receipts; computed from `words` in a live call.
    #[serde(with = "once", skip_serializing_if = "once::is_absent")]
    prompt: OnceLock<PromptFacts>,
    /// Given by cases only: never recorded.
    #[serde(skip_serializing, deserialize_with = "once::deserialize")]
    text: OnceLock<Vec<TextPart>>,
    /// Buckets asked for so far, by `name@by`; those given here are used as they are.
    #[serde(skip_serializing_if = "no_buckets")]
    bucket: Mutex<BTreeMap<String, u16>>,
    /// The body of a live call.
    #[serde(skip)]
    pub words: Option<Words>,
    /// A policy asked for words that can be read in two ways: the call is refused, whatever was decided without them.
    #[serde(skip)]
    unclear: OnceLock<Unclear>,
}

fn no_buckets(buckets: &Mutex<BTreeMap<String, u16>>) -> bool {
    buckets.lock().map_or(true, |b| b.is_empty())
}

/// A value that is given or computed once, as JSON.
mod once {
    use std::sync::OnceLock;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn is_absent<T>(cell: &OnceLock<T>) -> bool {
        cell.get().is_none()
    }

    pub fn serialize<T: Serialize, S: Serializer>(cell: &OnceLock<T>, to: S) -> Result<S::Ok, S::Error> {
        cell.get().serialize(to)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<OnceLock<T>, D::Error> {
        T::deserialize(from).map(OnceLock::from)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallFacts {
    pub id: Arc<str>,
    /// Milliseconds since 1970, frozen for the call.
    pub time_ms: i64,
    pub dialect: Dialect,
    pub operation: Operation,
    pub stream: bool,
    pub body_bytes: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
}

/// Where a field of the caller comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    #[default]
    Absent,
    /// Said by the caller.
    Asserted,
    /// Proven by a key, token or certificate.
    Verified,
}

impl Source {
    fn is_absent(&self) -> bool {
        *self == Source::Absent
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caller {
    pub tenant: Arc<str>,
    pub tenant_source: Source,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub app: Arc<str>,
    #[serde(skip_serializing_if = "Source::is_absent")]
    pub app_source: Source,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user: Arc<str>,
    #[serde(skip_serializing_if = "Source::is_absent")]
    pub user_source: Source,
    /// The id of the key, never the key.
    pub key: Arc<str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Arc<str>>,
    /// The tenant's region, from `tenants.yaml`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub region: Arc<str>,
    pub address: Arc<str>,
}

/// `public < internal < confidential < restricted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataClass {
    #[default]
    Unstated,
    Public,
    Internal,
    Confidential,
    Restricted,
}

impl DataClass {
    pub fn name(self) -> &'static str {
        match self {
            DataClass::Unstated => "",
            DataClass::Public => "public",
            DataClass::Internal => "internal",
            DataClass::Confidential => "confidential",
            DataClass::Restricted => "restricted",
        }
    }
}

/// What the caller says of the call. Empty = not said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Meta {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub use_case: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    #[serde(skip_serializing_if = "is_unstated")]
    pub data_class: DataClass,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub retention: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub redaction: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pii_mode: String,
}

fn is_unstated(class: &DataClass) -> bool {
    *class == DataClass::Unstated
}

/// What is wanted, not which model. Empty = not said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intent {
    /// The model string as it was sent.
    pub asked: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Pinned by the caller: `openai/gpt-4o-mini`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub family: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tier: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_nanousd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency_ms: Option<u64>,
}

/// One rule that applies, as its ledger stood when the call came. Advisory: the hold is the enforcement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitFact {
    /// In the rule's unit: nano-dollars, tokens, requests or calls in flight. 0 = no limit (the rule does not apply).
    pub limit: i64,
    pub used: i64,
    pub held: i64,
    pub remaining: i64,
    /// (used + held) / limit; 0 without limit.
    pub ratio: f64,
    /// Milliseconds since 1970; 0 = never.
    pub resets_at_ms: i64,
}

/// At post-response: how the call went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerFacts {
    pub target: Arc<str>,
    pub status: u16,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub estimated: bool,
    /// `None` where the price is not known.
    pub cost_nanousd: Option<i64>,
    pub latency_ms: u64,
    pub first_token_ms: u64,
    pub attempts: u32,
    pub finish_reason: String,
}

impl Facts {
    pub fn prompt(&self) -> &PromptFacts {
        self.prompt.get_or_init(|| self.read(Words::prompt))
    }

    /// The words. Only for policies that list `text` in `reads`.
    pub fn text(&self) -> &[TextPart] {
        self.text.get_or_init(|| self.read(Words::text))
    }

    fn read<T: Default>(&self, how: fn(&Words) -> Result<T, Unclear>) -> T {
        let Some(words) = &self.words else { return T::default() };
        how(words).unwrap_or_else(|unclear| {
            self.unclear.get_or_init(|| unclear);
            T::default()
        })
    }

    /// What of the words that were asked for cannot be read in one way only.
    pub fn unclear(&self) -> Option<&Unclear> {
        self.unclear.get()
    }

    /// A stable number in 0..9999 from the call's sticky key and `name`; the same for the same caller, on every replica.
    pub fn bucket(&self, name: &str, by: StickyBy) -> u16 {
        let (by_name, key) = self.sticky(by);
        let asked = format!("{name}@{by_name}");
        let mut buckets = self.bucket.lock().expect("no code panics while it holds the buckets");
        if let Some(known) = buckets.get(&asked).or_else(|| buckets.get(name)) {
            return *known;
        }
        let mut hasher = blake3::Hasher::new_derive_key("tollgate 2026-11 bucket");
        for part in [&self.caller.tenant, name, by_name, key] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let digest = hasher.finalize();
        let number = u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight bytes are eight"));
        let bucket = (number % 10_000) as u16;
        buckets.insert(asked, bucket);
        bucket
    }

    /// The buckets that were asked for, to be recorded.
    pub fn buckets(&self) -> BTreeMap<String, u16> {
        self.bucket.lock().expect("no code panics while it holds the buckets").clone()
    }

    /// What a decision at another hook was given and this one must be given too.
    pub fn give_buckets(&self, known: BTreeMap<String, u16>) {
        self.bucket.lock().expect("no code panics while it holds the buckets").extend(known);
    }

    /// What cases and receipts know of the prompt.
    pub fn give_prompt(&self, prompt: PromptFacts) {
        self.prompt.get_or_init(|| prompt);
    }

    fn sticky(&self, by: StickyBy) -> (&'static str, &str) {
        let caller = &self.caller;
        match by {
            StickyBy::Tenant => ("tenant", &caller.tenant),
            StickyBy::App => ("app", &caller.app),
            StickyBy::User => ("user", &caller.user),
            StickyBy::Key => ("key", &caller.key),
            StickyBy::Session => ("session", &self.meta.session),
            StickyBy::Call => ("call", &self.call.id),
            StickyBy::Sticky => [&*self.meta.session, &*caller.user, &*caller.key, &*self.call.id]
                .into_iter()
                .find(|key| !key.is_empty())
                .map_or(("sticky", ""), |key| ("sticky", key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_stable_spread_and_taken_from_the_record_where_there_is_one() {
        let of = |user: &str| {
            let facts = Facts { caller: Caller { user: user.into(), ..Caller::default() }, ..Facts::default() };
            facts.bucket("canary", StickyBy::User)
        };
        assert_eq!(of("ann"), of("ann"));
        let low = (0..2000).filter(|n| of(&format!("user-{n}")) < 2500).count();
        assert!(
            (400..600).contains(&low),
            "a quarter of the buckets holds about a quarter of the users: {low} of 2000"
        );

        let recorded: Facts = serde_json::from_str(r#"{"bucket": {"canary@user": 7}}"#).unwrap();
        assert_eq!(recorded.bucket("canary", StickyBy::User), 7);
    }

    #[test]
    fn facts_outlive_a_round_trip_through_json_without_words() {
        let facts: Facts = serde_json::from_str(
            r#"{"caller": {"tenant": "acme"}, "prompt": {"messages": 3}, "text": [{"role": "user", "text": "secret words"}]}"#,
        )
        .unwrap();
        let json = serde_json::to_string(&facts).unwrap();
        assert!(!json.contains("secret words"), "words are never recorded: {json}");
        let again: Facts = serde_json::from_str(&json).unwrap();
        assert_eq!(again.prompt().messages, 3);
        assert_eq!(&*again.caller.tenant, "acme");
    }
}
