//! Log probabilities: Cohere tells them per piece of text, OpenAI's form tells them per token.

use serde_json::value::RawValue;

use super::citations::items;
use crate::contract::read::{Raw, as_text, find, loose};
use crate::contract::write::{Null, Writer};

/// `[{text, token_ids, logprobs}]` in OpenAI's form. A piece of several tokens cannot be divided: its text stands at the
/// first, so that the probabilities keep their number and their sum.
pub fn from_items(pieces: &[Raw<'_>]) -> String {
    let json = Writer::object_text(|w| {
        w.list_member("content", |w| {
            for piece in pieces {
                let members = loose(piece);
                let text = find(&members, "text").and_then(as_text).unwrap_or_default();
                let values = find(&members, "logprobs").map(items).unwrap_or_default();
                for (at, value) in values.into_iter().enumerate() {
                    w.object(|w| {
                        w.member("token", if at == 0 { &*text } else { "" });
                        w.member("logprob", value);
                        w.member("bytes", &Null);
                        w.list_member("top_logprobs", |_| {});
                    });
                }
            }
        });
    });
    String::from_utf8(json).unwrap_or_default()
}

/// OpenAI's form as Cohere's items. Ids of tokens are nobody else's to tell: there are none.
pub fn write_items(w: &mut Writer, openai: &RawValue) {
    for token in find(&loose(openai), "content").map(items).unwrap_or_default() {
        let members = loose(token);
        w.object(|w| {
            w.member("text", &find(&members, "token").and_then(as_text).unwrap_or_default());
            w.list_member("token_ids", |_| {});
            w.list_member("logprobs", |w| find(&members, "logprob").into_iter().for_each(|value| w.value(value)));
        });
    }
}

/// OpenAI's form as one item, for a piece of a stream.
pub fn write_item(w: &mut Writer, openai: &RawValue) {
    let tokens = find(&loose(openai), "content").map(items).unwrap_or_default();
    let tokens: Vec<_> = tokens.into_iter().map(loose).collect();
    let text: String = tokens.iter().filter_map(|m| find(m, "token").and_then(as_text)).collect();
    w.object(|w| {
        w.member("text", &text);
        w.list_member("token_ids", |_| {});
        w.list_member("logprobs", |w| {
            tokens.iter().filter_map(|m| find(m, "logprob")).for_each(|value| w.value(value));
        });
    });
}
