//! A place in a file of the policy repository.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

/// The line that said it: `policies/tiers/policy.rhai:12:5`, which is also how it is written down. The revision is known
/// from the receipt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct At {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            // The whole file: no line is to blame, or none is known.
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.line {
            0 => to.serialize_str(&self.file),
            // Through one text, seldom on the heap: a formatter would hand it on in five pieces, and receipts have many places.
            line => {
                let mut text = SmallVec::<[u8; 128]>::from_slice(self.file.as_bytes());
                for number in [line, self.column] {
                    text.push(b':');
                    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                }
                to.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
            }
        }
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        let mut parts = text.rsplitn(3, ':');
        let mut number = || parts.next().and_then(|n| n.parse().ok());
        Ok(match (number(), number(), parts.next()) {
            (Some(column), Some(line), Some(file)) => At { file: file.into(), line, column },
            _ => At { file: text.into(), line: 0, column: 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_people_read_it() {
        for at in [
            At { file: "policies/a/policy.rhai".into(), line: 12, column: 5 },
            At { file: "policies/a/policy.wasm".into(), line: 0, column: 0 },
            At { file: "odd:name:7/rules.yaml".into(), line: 1, column: 1 },
        ] {
            let json = serde_json::to_value(&at).unwrap();
            assert_eq!(json, serde_json::json!(at.to_string()));
            assert_eq!(serde_json::from_value::<At>(json).unwrap(), at);
        }
    }
}
