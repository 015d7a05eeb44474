//! Pairs of our own making, in `golden/`. With `TOLLGATE_BLESS=1` the second of each is written anew.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::OTHER;
use super::streams::{arguments, begin, delta, end, finish, text, write};
use crate::contract::canonical::answer::{Answer, Choice, Finish};
use crate::contract::canonical::event::{Begins, Delta, Event};
use crate::contract::canonical::part::{Citation, Kind, Maker, Part, Reasoning, Signature, ToolCall};
use crate::contract::canonical::{Request, Tool};
use crate::contract::refusal::{Category, Refusal};
use crate::contract::skim::skim;
use crate::contract::usage::Usage;
use crate::dialects::openai_chat::OpenaiChat;
use crate::dialects::openai_responses::OpenaiResponses;
use crate::dialects::recorded::given;
use crate::dialects::{Codec, Given, To};

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialects/openai_responses/golden").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn same(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialects/openai_responses/golden").join(name);
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(found, golden(name), "{name}");
}

fn pretty(json: &[u8]) -> String {
    let value: Value = serde_json::from_slice(json).unwrap();
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

/// What was read, a line a thing.
fn told(request: &Request<'_>) -> String {
    let mut out = String::new();
    for message in &request.messages {
        writeln!(out, "{:?}", message.role).unwrap();
        for part in &message.parts {
            let sealed = part.signature.as_ref().map_or_else(String::new, |s| format!(" sealed by {:?}", s.by));
            writeln!(out, "    {:?}{sealed}", part.kind).unwrap();
        }
    }
    for tool in &request.tools {
        match tool {
            Tool::Function(f) => {
                let own = if f.own.is_some() { " (declared otherwise)" } else { "" };
                writeln!(out, "tool {}{own} {:?} {:?}", f.name, f.description, f.parameters.map(|p| p.get())).unwrap();
            }
            Tool::Native { kind, .. } => writeln!(out, "native tool {kind}").unwrap(),
        }
    }
    writeln!(out, "{:?} parallel {:?} store {:?}", request.tool_choice, request.parallel_tools, request.store).unwrap();
    writeln!(out, "{:?} verbosity {:?}", request.reasoning, request.verbosity).unwrap();
    writeln!(out, "cache key {:?} extra {:?}", request.cache_key, request.extra).unwrap();
    out
}

#[test]
fn what_a_coding_agent_sends_is_read_whole() {
    let body = golden("agent.json");
    let skimmed = skim(body.as_bytes()).unwrap();
    let request = OpenaiResponses.read_request(body.as_bytes(), &skimmed, &given("m")).unwrap();
    same("agent.read.txt", &told(&request));
    assert!(request.losses(|e| OpenaiResponses.carries(e)).is_empty());
    assert!(request.losses(|e| OpenaiChat.carries(e)).iter().all(|loss| loss.hint), "it can be said elsewhere");
}

#[test]
fn what_callers_of_chat_ask_is_written() {
    let body = golden("foreign.json");
    let skimmed = skim(body.as_bytes()).unwrap();
    let given = Given { stream: true, ..given("m") };
    let request = OpenaiChat.read_request(body.as_bytes(), &skimmed, &given).unwrap();
    let to = To { model: "m", output_tokens_max: None, quirks: &OTHER };
    let written = OpenaiResponses.write_request(&request, &to);
    let text = String::from_utf8(written.body).unwrap();
    assert!(
        text.contains("0.70") && text.contains(r#"{"z": 1, "a": 2}"#),
        "numbers and schemas keep their text: {text}"
    );
    same("foreign.written.json", &pretty(text.as_bytes()));
    let lost: Vec<&str> = written.lost.iter().map(|loss| &*loss.what).collect();
    assert_eq!(lost, ["messages.reasoning"], "plain thoughts are not taken back");
}

#[test]
fn an_answer_is_complete() {
    let seal = |by, data: &'static str| Some(Signature { by, data: data.into() });
    let thoughts = Reasoning { text: "Let me see.".into(), ..Reasoning::default() };
    let call = |name: &'static str, arguments: &'static str| {
        let id = if name == "f" { "toolu_1" } else { "toolu_2" };
        Kind::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() })
    };
    let citation =
        Citation { url: Some("https://example.com".into()), start: Some(0), end: Some(2), ..Citation::default() };
    let answer = Answer {
        id: "msg_01".into(),
        model: "claude-sonnet-4-5".into(),
        choices: vec![Choice {
            parts: vec![
                Part { signature: seal(Maker::Anthropic, "EqQB"), ..Kind::Reasoning(thoughts).into() },
                Kind::Text { text: "It is ".into(), citations: Vec::new() }.into(),
                Kind::Text { text: "so.".into(), citations: vec![citation] }.into(),
                Part { signature: seal(Maker::Google, "Cg=="), ..call("f", "").into() },
                call("apply_patch", "{\"input\":\"*** Begin Patch\"}").into(),
            ],
            finish: Some(Finish::ToolCalls),
            ..Choice::default()
        }],
        usage: Some(Usage { input: 10, cached_input: 20, cache_write: 3, output: 5, reasoning: 4, ..Usage::default() }),
        ..Answer::default()
    };
    let given = Given { own_tools: &["apply_patch"], ..given("m") };
    same("answer.json", &pretty(&OpenaiResponses.write_answer(&answer, &given).body));
}

/// One of everything, in a legal order: thoughts with a seal, two texts, a citation, calls side by side, free text.
fn events() -> Vec<Event> {
    let call = |id: &str, name: &str| Begins::ToolCall { id: id.to_owned(), name: name.to_owned() };
    let seal = |by, data: &str| Delta::Signature(Signature { by, data: data.to_owned().into() });
    let url = Some("https://example.com".to_owned());
    vec![
        Event::Start { id: "msg_01".to_owned(), model: "claude-sonnet-4-5".to_owned(), created_s: Some(1_790_000_000) },
        begin(0, Begins::Reasoning { summary: false, id: None }),
        delta(0, text("Let me ")),
        delta(0, text("see.")),
        delta(0, seal(Maker::Anthropic, "EqQB")),
        end(0),
        begin(1, Begins::Text),
        delta(1, text("It is ")),
        end(1),
        begin(2, Begins::Text),
        delta(2, text("so.")),
        delta(2, Delta::Citation { url, title: None, cited: None, start: Some(0), end: Some(3) }),
        end(2),
        Event::Usage(Usage { input: 10, output: 1, ..Usage::default() }),
        begin(3, call("toolu_1", "f")),
        delta(3, arguments("{\"a\"")),
        begin(4, call("toolu_2", "apply_patch")),
        delta(4, arguments("{\"input\":\"*** Begin")),
        delta(3, arguments(":1}")),
        end(3),
        delta(4, arguments(" Patch\"}")),
        end(4),
        finish(Finish::ToolCalls),
        Event::Usage(Usage { input: 10, output: 9, reasoning: 4, ..Usage::default() }),
        Event::Done,
    ]
}

#[test]
fn a_stream_is_the_whole_sequence() {
    let given = Given { own_tools: &["apply_patch"], ..given("m") };
    same("stream.sse", &String::from_utf8(write(&events(), &given)).unwrap());
    let (mut out, mut writer) = (Vec::new(), OpenaiResponses.stream_writer(&given));
    events()[..8].iter().for_each(|event| writer.event(event, &mut out));
    let refusal = Refusal::new(Category::Interrupted, "interrupted", "the provider broke off");
    writer.refusal(&refusal, "req_1", &mut out);
    same("refused.sse", &String::from_utf8(out).unwrap());
}
