//! What facts and texts are read of a body, and what cannot be read in one way.

use super::*;

#[test]
fn a_prompt_is_described_without_its_words() {
    let words = Words::of(
        Bytes::from_static(br#"{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:"}}]},{"role":"assistant","content":null}],"tools":[{"type":"function","function":{"name":"look"}}]}"#),
        Dialect::OpenaiChat,
    );
    let facts = words.prompt().unwrap();
    assert_eq!(facts.messages, 3);
    assert_eq!(facts.roles, ["system", "user", "assistant"]);
    assert_eq!(facts.tools, ["look"]);
    assert_eq!(facts.features, ["tools", "vision"]);
    assert_eq!(words.text().unwrap().len(), 2);
}

#[test]
fn inputs_of_embeddings_are_texts_or_token_lists() {
    for (body, messages, why) in [
        (r#"{"input":"a"}"#, 1, "one text"),
        (r#"{"input":["a","b"]}"#, 2, "two texts"),
        (r#"{"input":[1,2,3]}"#, 1, "one list of tokens"),
        (r#"{"input":[[1],[2]]}"#, 2, "two lists of tokens"),
    ] {
        let words = Words::of(Bytes::from_static(body.as_bytes()), Dialect::OpenaiEmbeddings);
        assert_eq!(words.prompt().unwrap().messages, messages, "{why}");
    }
}

#[test]
fn tools_are_named_however_they_are_offered() {
    let words = Words::of(
        Bytes::from_static(br#"{"tools":[{"type":"function","function":{"name":"a"}},{"type":"custom","custom":{"name":"b"}},{"name":"c"},{"type":"web_search"}],"functions":[{"name":"d"}]}"#),
        Dialect::OpenaiChat,
    );
    assert_eq!(words.prompt().unwrap().tools, ["a", "b", "c", "d"]);
}

/// Two readers of one such body would see two prompts.
#[test]
fn what_can_be_read_in_two_ways_is_not_taken_for_empty() {
    for (body, member, item, twice) in [
        (r#"{"messages":[{"role":"user"},{"content":"bad","content":"good"}]}"#, "messages", Some(1), true),
        (r#"{"messages":[{"content":5}]}"#, "messages", Some(0), false),
        (r#"{"messages":[{"content":[{"type":"text","text":"a","text":"b"}]}]}"#, "messages", Some(0), false),
        (r#"{"messages":"hello"}"#, "messages", None, false),
        (r#"{"tools":[{"function":{"name":"a","name":"b"}}]}"#, "tools", Some(0), true),
        (r#"{"functions":{"name":"a"}}"#, "functions", None, false),
        (r#"{"input":7}"#, "input", None, false),
    ] {
        let words = Words::of(Bytes::from_static(body.as_bytes()), Dialect::OpenaiChat);
        assert_eq!(words.prompt().unwrap_err(), Unclear { member: member.into(), item, twice }, "{body}");
    }
    let null = br#"{"messages":[{"role":null,"content":null},{"content":["plain"]}],"tools":null,"input":null}"#;
    let words = Words::of(Bytes::from_static(null), Dialect::OpenaiChat);
    assert_eq!(words.text().unwrap().len(), 1, "null is absent, and a plain text among parts is one");
}

/// Policies read it as the provider will.
#[test]
fn half_a_character_hides_no_prompt() {
    let body =
        br#"{"messages":[{"role":"user","content":"a \ud83d b"},{"content":[{"type":"text","text":"\ude00"}]}]}"#;
    let words = Words::of(Bytes::from_static(body), Dialect::OpenaiChat);
    let texts: Vec<String> = words.text().unwrap().into_iter().map(|part| part.text).collect();
    assert_eq!(texts, ["a \u{fffd} b", "\u{fffd}"]);
    assert_eq!(words.prompt().unwrap().messages, 2);
}
