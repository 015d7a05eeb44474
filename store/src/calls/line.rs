//! What a record of the journal says: a change of the ledger, the intent of a call, or which receipts are in the trail.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_core::evidence::intent::Intent;
use tollgate_core::evidence::receipt::{Outcome, Receipt};
use tollgate_core::limits::claim::{Claim, HoldId, hex};

use crate::ledger::event::{Booked, Event};

/// A record of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// A gateway started. Holds without an end before it belong to calls whose end nobody saw: they were settled at what
    /// they held.
    Restarted {
        at_ms: i64,
        unknown: u64,
    },
    /// A gateway ended, and had nothing left to write.
    Ended {
        at_ms: i64,
    },
    /// A call that holds nothing leaves for a provider.
    Intent(Intent),
    /// It goes on to another target.
    Attempt {
        #[serde(with = "hex")]
        id: HoldId,
        target: Arc<str>,
    },
    Receipts(Receipts),
    #[serde(untagged)]
    Changed(Event),
    /// A call leaves for a provider, and so much is held for it.
    #[serde(untagged)]
    Left {
        held: Booking,
        intent: Intent,
    },
}

/// The two lines that each call writes, from what is lent.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Leaving<'a> {
    Held { held: &'a Booking, intent: &'a Intent },
    Alone { intent: &'a Intent },
}

/// What a call holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Booking {
    #[serde(with = "hex")]
    pub id: HoldId,
    pub at_ms: i64,
    pub parts: Vec<Booked>,
}

impl Booking {
    pub(crate) fn of(id: HoldId, claims: &[Claim], at_ms: i64) -> Booking {
        let booked = |claim: &Claim| Booked {
            rule: claim.rule.clone(),
            scope: Arc::from(&*claim.scope),
            amount: claim.worst,
            over_ms: None,
        };
        Booking { id, at_ms, parts: claims.iter().map(booked).collect() }
    }
}

impl From<Booking> for Event {
    fn from(Booking { id, at_ms, parts }: Booking) -> Event {
        Event::Held { id, at_ms, parts }
    }
}

/// Receipts that lie in a file of the trail, one behind the other, and that its disk has confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Receipts {
    pub at_ms: i64,
    pub file: Box<str>,
    /// Where the first begins.
    pub from: u64,
    /// They were found at a start: the gateway before was killed when it had written them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_over: bool,
    pub lines: Vec<Told>,
}

impl Receipts {
    /// Behind the last, with its line end.
    pub(crate) fn end(&self) -> u64 {
        self.from + self.lines.iter().map(|told| told.bytes + 1).sum::<u64>()
    }
}

/// How one call ended, and the digest of its receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub call: Arc<str>,
    pub kind: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_nanousd: Option<i64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input_tokens: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output_tokens: u64,
    /// Of the line, without its end.
    pub bytes: u64,
    pub blake3: Digest,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Told {
    pub(crate) fn of(receipt: &Receipt, line: &[u8]) -> Told {
        let (kind, status) = match &receipt.outcome {
            Outcome::Answered { status } => ("answered", Some(*status)),
            Outcome::Refused { status, .. } => ("refused", Some(*status)),
            Outcome::ProviderError { status, .. } => ("provider_error", Some(*status)),
            Outcome::Interrupted { .. } => ("interrupted", None),
            Outcome::CallerLeft => ("caller_left", None),
            Outcome::Unknown { .. } => ("unknown", None),
        };
        let usage = receipt.usage.unwrap_or_default();
        Told {
            call: receipt.call_id.clone(),
            kind: kind.into(),
            status,
            cost_nanousd: receipt.cost_nanousd,
            input_tokens: usage.input_all(),
            output_tokens: usage.output_all(),
            bytes: line.len() as u64,
            blake3: Digest::of(line),
        }
    }

    /// From a line of the trail; `None` = it is no whole receipt.
    pub(crate) fn read(line: &[u8]) -> Option<Told> {
        #[derive(Deserialize)]
        struct Ids {
            call_id: Arc<str>,
        }
        if let Ok(receipt) = serde_json::from_slice::<Receipt>(line) {
            return Some(Told::of(&receipt, line));
        }
        // Of a version that is not ours, or one that could not be put into words: it is vouched for all the same.
        let ids: Ids = serde_json::from_slice(line).ok()?;
        Some(Told {
            call: ids.call_id,
            kind: "unread".into(),
            status: None,
            cost_nanousd: None,
            input_tokens: 0,
            output_tokens: 0,
            bytes: line.len() as u64,
            blake3: Digest::of(line),
        })
    }
}

/// The BLAKE3 of a line, as 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(line: &[u8]) -> Digest {
        Digest(*blake3::hash(line).as_bytes())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(from)?;
        blake3::Hash::from_hex(&*text).map(|hash| Digest(*hash.as_bytes())).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_record_is_read_as_what_it_was_written() {
        let intent = r#"{"id":"00000000000000000000000000000007","request_id":"r","time_ms":1,"contract":"c","revision":"v","dialect":"openai.chat","stream":false,"tenant":"t","body_bytes":3,"target":"a/b"}"#;
        let told = Told {
            call: "c".into(),
            kind: "answered".into(),
            status: Some(200),
            cost_nanousd: Some(5),
            input_tokens: 0,
            output_tokens: 2,
            bytes: 3,
            blake3: Digest::of(b"abc"),
        };
        let receipts = Receipts { at_ms: 1, file: "f".into(), from: 10, taken_over: false, lines: vec![told] };
        assert_eq!(receipts.end(), 14);
        let receipts = serde_json::to_string(&Line::Receipts(receipts)).unwrap();
        for (line, kind) in [
            (r#"{"restarted":{"at_ms":1,"unknown":2}}"#, "Restarted"),
            (r#"{"ended":{"at_ms":1}}"#, "Ended"),
            (&format!(r#"{{"intent":{intent}}}"#), "Intent"),
            (r#"{"attempt":{"id":"00000000000000000000000000000007","target":"a/c"}}"#, "Attempt"),
            (&receipts, "Receipts"),
            (r#"{"voided":{"id":"00000000000000000000000000000007","at_ms":1}}"#, "Changed"),
            (
                &format!(
                    r#"{{"held":{{"id":"00000000000000000000000000000007","at_ms":1,"parts":[]}},"intent":{intent}}}"#
                ),
                "Left",
            ),
            (r#"{"held":{"id":"00000000000000000000000000000007","at_ms":1,"parts":[]}}"#, "Changed"),
        ] {
            let read: Line = serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}"));
            assert!(format!("{read:?}").starts_with(kind), "{line}: {read:?}");
            assert_eq!(serde_json::to_string(&read).unwrap(), line);
        }
        assert!(serde_json::from_str::<Line>(r#"{"else":{}}"#).is_err());
    }
}
