//! Any pieces of a stream give the same canonical events: for every recorded stream of every dialect and framing, and for
//! what every dialect writes of it.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::recorded::{Exchange, exchanges, given, read_stream};
use super::{Codec, Given, codec};
use crate::contract::Dialect;
use crate::contract::canonical::event::Event;

/// Where streams of a dialect were recorded.
const RECORDED: &[(&str, Dialect)] = &[
    ("openai.chat", Dialect::OpenaiChat),
    ("azure.chat", Dialect::OpenaiChat),
    ("groq.chat", Dialect::OpenaiChat),
    ("mistral.chat", Dialect::OpenaiChat),
    ("openrouter.chat", Dialect::OpenaiChat),
    ("other-openai.chat", Dialect::OpenaiChat),
    ("openai.responses", Dialect::OpenaiResponses),
    ("anthropic.messages", Dialect::AnthropicMessages),
    ("gemini.streamGenerateContent", Dialect::Gemini),
    ("bedrock.converse-stream", Dialect::BedrockConverse),
    ("cohere.v2.chat", Dialect::CohereChat),
    ("ollama.chat", Dialect::OllamaChat),
];

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// The same whole and in any pieces; gives the events.
fn in_pieces(what: &str, codec: &dyn Codec, given: &Given<'_>, body: &[u8], cases: u32) -> Vec<Event> {
    let whole = read_stream(codec, given, body, &[]);
    let bytes: Vec<usize> = (0..body.len().min(2_000)).collect();
    assert_eq!(read_stream(codec, given, body, &bytes), whole, "{what}: byte by byte");
    let told = runner(cases).run(&proptest::collection::vec(any::<usize>(), 1..20), |cuts| {
        prop_assert_eq!(&read_stream(codec, given, body, &cuts), &whole);
        Ok(())
    });
    told.unwrap_or_else(|why| panic!("{what}: {why}"));
    whole.map(|(events, _)| events).unwrap_or_default()
}

fn check(dialect: Dialect, exchange: &Exchange) {
    let own = codec(dialect).unwrap();
    // Google was recorded in both of its framings.
    let array = exchange.body.trim_ascii_start().starts_with(b"[");
    let events = in_pieces(&exchange.id, own, &Given { as_array: array, ..given("m") }, &exchange.body, 8);
    for theirs in Dialect::ALL.iter().filter_map(|dialect| codec(*dialect)) {
        for as_array in [false, true] {
            let given = Given { as_array, ..given("m") };
            if as_array && theirs.framing() != codec(Dialect::Gemini).unwrap().framing() {
                continue;
            }
            let (mut writer, mut written) = (theirs.stream_writer(&given), Vec::new());
            events.iter().for_each(|event| writer.event(event, &mut written));
            // Only Google's writer knows the array.
            let given = Given { as_array: as_array && written.first() == Some(&b'['), ..given };
            in_pieces(&format!("{} written again", exchange.id), theirs, &given, &written, 1);
        }
    }
}

#[test]
fn recorded_streams_are_the_same_in_any_pieces() {
    let mut streams = 0;
    for (api, dialect) in RECORDED {
        let all = exchanges(api);
        let recorded: Vec<&Exchange> =
            all.iter().filter(|exchange| exchange.stream && exchange.status == 200).collect();
        assert!(all.is_empty() || !recorded.is_empty(), "{api}: no stream among {}", all.len());
        recorded.iter().for_each(|exchange| check(*dialect, exchange));
        streams += recorded.len();
    }
    assert!(streams == 0 || streams > 50, "only {streams} recorded streams");
}
