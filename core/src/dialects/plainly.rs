//! Conversations of texts alone, known by their bytes: what a bound counts of them is there without reading them.

use memchr::memmem;

use super::words::Words;
use crate::contract::Dialect;

/// Members of a chat that bring nothing to read but texts; with any other the request is read.
const PLAIN: [&str; 20] = [
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "stream",
    "stream_options",
    "user",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "metadata",
    "reasoning_effort",
    "tollgate",
];
/// What a name may be written with.
const ESCAPE: &[u8] = b"\\u";

impl Words {
    /// How many messages there are, or more, where all of them are texts. A part that is anything else says its type, and so
    /// does a tool; what an earlier answer sounded like is an `audio`.
    pub(super) fn plain_messages(&self) -> Option<u64> {
        let skim = self.skimmed.as_ref().filter(|_| self.dialect == Dialect::OpenaiChat)?;
        let is_plain = skim.members.iter().all(|member| PLAIN.contains(&member.name(&self.body)));
        let says = |word: &[u8]| memmem::find(&self.body, word).is_some();
        if !is_plain || says(b"\"type\"") || says(b"\"audio\"") || says(ESCAPE) {
            return None;
        }
        Some(memmem::find_iter(&self.body, b"\"role\"").count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::contract::skim;
    use crate::dialects::recorded::exchanges;

    fn words(body: &str) -> Words {
        let found = Arc::new(skim::skim(body.as_bytes()).unwrap());
        Words::skimmed(Bytes::copy_from_slice(body.as_bytes()), Dialect::OpenaiChat, found)
    }

    #[test]
    fn only_texts_are_plain() {
        for (more, messages, why) in [
            ("", Some(2), "two messages"),
            (r#","temperature":1,"n":2,"tollgate":{"tier":"high"}"#, Some(2), "nothing to read"),
            (r#","tools":[]"#, None, "tools are read"),
            (r#","plugins":[]"#, None, "what is not known is read"),
            (r#","user":"\u0061""#, None, "a name may be written so"),
            (r#","metadata":{"type":"x"}"#, None, "it may be a part"),
        ] {
            let body = format!(
                r#"{{"model":"m","messages":[{{"role":"system","content":"a \"role\" of yours"}},{{"role":"user","content":"b"}}]{more}}}"#
            );
            assert_eq!(words(&body).plain_messages(), messages, "{why}");
        }
        for content in [r#"[{"type":"text","text":"a"}]"#, r#"null,"audio":{"id":"a"}"#] {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"assistant","content":{content}}}]}}"#);
            assert_eq!(words(&body).plain_messages(), None, "{content}");
        }
    }

    #[test]
    fn recorded_chats_count_no_less_than_when_they_are_read() {
        let mut plain = 0;
        for exchange in exchanges("openai.chat") {
            let words = words(&exchange.request.to_string());
            let read = words.weighed(false, &|_| ()).0;
            let told = words.counts_for_bound();
            assert!(told.messages >= read.messages && told.body == read.body, "{}: {told:?}, {read:?}", exchange.id);
            let others = [read.tools, read.pictures, read.sound, read.documents, read.outside, read.prompted];
            assert!(words.plain_messages().is_none() || others == [0; 6], "{}: {read:?}", exchange.id);
            plain += u64::from(words.plain_messages().is_some());
        }
        assert!(plain > 5 || exchanges("openai.chat").is_empty(), "{plain} of them are plain");
    }
}
