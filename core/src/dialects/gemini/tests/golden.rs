//! Pairs of bodies: what stands in `golden/` in Google's words, and in OpenAI's.

use serde_json::Value;

use super::{Gemini, quirks, through};
use crate::dialects::Codec;
use crate::dialects::openai_chat::OpenaiChat;
use crate::dialects::recorded::{given, meaning};

macro_rules! pair {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../golden/", $name, ".gemini.json")),
            include_str!(concat!("../golden/", $name, ".openai.json")),
        )
    };
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Requests of Google's callers, for a provider that speaks OpenAI's dialect.
#[test]
fn requests_go_to_openai() {
    // Thoughts are hints: OpenAI has no place for them.
    let thoughts = &["messages.reasoning", "messages.reasoning_signature"][..];
    for ((name, gemini, openai), losses) in
        [(pair!("read-tools"), thoughts), (pair!("read-schema"), &[]), (pair!("read-media"), &[])]
    {
        let (written, lost) = through(&Gemini, &OpenaiChat, &json(gemini), "gpt-4.1", &quirks());
        assert_eq!(meaning(&written), meaning(&json(openai)), "{name}: {written}");
        assert_eq!(lost, losses, "{name}");
    }
}

/// Requests of OpenAI's callers, for Google.
#[test]
fn requests_come_from_openai() {
    for (name, gemini, openai) in [pair!("write-tools"), pair!("write-schema"), pair!("write-media")] {
        let (written, lost) = through(&OpenaiChat, &Gemini, &json(openai), "gemini-2.5-flash", &quirks());
        assert_eq!(meaning(&written), meaning(&json(gemini)), "{name}: {written}");
        assert!(lost.is_empty(), "{name}: {lost:?}");
    }
}

#[test]
fn answers_go_to_openais_callers_and_to_googles() {
    let (name, gemini, openai) = pair!("answer");
    let answer = Gemini.read_answer(gemini.as_bytes(), &given("m")).unwrap();
    let written = json(std::str::from_utf8(&OpenaiChat.write_answer(&answer, &given("m")).body).unwrap());
    assert_eq!(meaning(&written), meaning(&json(openai)), "{name}: {written}");
    let (name, gemini, openai) = pair!("answer-back");
    let answer = OpenaiChat.read_answer(openai.as_bytes(), &given("m")).unwrap();
    let written = json(std::str::from_utf8(&Gemini.write_answer(&answer, &given("m")).body).unwrap());
    assert_eq!(meaning(&written), meaning(&json(gemini)), "{name}: {written}");
}
