//! `CountTokens`: a request of another operation inside, and its count.

use std::borrow::Cow;

use crate::contract::Dialect;
use crate::contract::base64;
use crate::contract::read::{Reading, Wrong, find};
use crate::contract::write::Writer;

/// The request that is counted, and the dialect in which it is: `{input: {converse}}`, `{input: {invokeModel: {body}}}`.
pub fn inner(body: &[u8]) -> Result<(Dialect, Cow<'_, [u8]>), Wrong> {
    let mut r = Reading::default();
    let root = r.value(body)?;
    let root = r.object(root)?;
    r.within("input", |r| {
        let Some(raw) = find(&root, "input") else { return Err(r.wrong("is missing")) };
        let input = r.object(raw)?;
        if let Some(raw) = find(&input, "converse") {
            r.within("converse", |r| r.object(raw))?;
            return Ok((Dialect::BedrockConverse, Cow::Borrowed(raw.get().as_bytes())));
        }
        let Some(raw) = find(&input, "invokeModel") else {
            return Err(r.wrong("must hold `converse` or `invokeModel`"));
        };
        r.within("invokeModel", |r| {
            let members = r.object(raw)?;
            r.within("body", |r| {
                let text = find(&members, "body").map_or(Ok("".into()), |raw| r.text(raw))?;
                match base64::decode(&text) {
                    Some(decoded) => Ok((Dialect::BedrockInvoke, Cow::Owned(decoded))),
                    None => Err(r.wrong("is no base64")),
                }
            })
        })
    })
}

pub fn write_answer(tokens: u64) -> Vec<u8> {
    Writer::object_text(|w| w.member("inputTokens", &tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_stands_inside() {
        let invoke = format!(r#"{{"input":{{"invokeModel":{{"body":"{}"}}}}}}"#, base64::encode(b"{\"prompt\":\"a\"}"));
        for (body, expected) in [
            (r#"{"input":{"converse":{"messages":[]}}}"#, Ok((Dialect::BedrockConverse, &b"{\"messages\":[]}"[..]))),
            (&*invoke, Ok((Dialect::BedrockInvoke, &b"{\"prompt\":\"a\"}"[..]))),
            (r#"{}"#, Err("input")),
            (r#"{"input":{}}"#, Err("input")),
            (r#"{"input":{"converse":1}}"#, Err("input.converse")),
            (r#"{"input":{"invokeModel":{"body":"*"}}}"#, Err("input.invokeModel.body")),
        ] {
            match (inner(body.as_bytes()), expected) {
                (Ok((dialect, inner)), Ok(expected)) => assert_eq!((dialect, &*inner), expected, "{body}"),
                (Err(wrong), Err(path)) => assert_eq!(wrong.path, path, "{body}"),
                (got, _) => panic!("{body}: {got:?}"),
            }
        }
    }
}
