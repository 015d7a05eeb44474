//! For tests: what each dialect carries, held against what it writes and reads again, and the page that says it to people.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::{Quirks, To, codec};
use crate::contract::Dialect;
use crate::contract::canonical::element::Element;
use crate::contract::canonical::part::{
    Kind, Maker, Media, MediaKind, Message, Part, Reasoning, Role, Signature, Source, ToolCall, ToolResult,
};
use crate::contract::canonical::{CacheMark, Format, Function, Logprobs, ReasoningAsk, Request, Tool, ToolChoice};
use crate::contract::read::Number;
use crate::contract::skim::skim;
use crate::dialects::recorded::given;

/// The dialects in which conversations are had.
pub const CONVERSATIONS: [Dialect; 7] = [
    Dialect::OpenaiChat,
    Dialect::OpenaiResponses,
    Dialect::AnthropicMessages,
    Dialect::Gemini,
    Dialect::BedrockConverse,
    Dialect::CohereChat,
    Dialect::OllamaChat,
];

/// A model of each dialect that takes most of what the dialect has.
fn model(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::AnthropicMessages => "claude-sonnet-4-5",
        Dialect::BedrockConverse => "anthropic.claude-sonnet-4-5-20250929-v1:0",
        Dialect::Gemini => "gemini-2.5-flash",
        _ => "m",
    }
}

fn raw(text: &'static str) -> &'static RawValue {
    serde_json::from_str(text).unwrap()
}

fn message(role: Role, parts: Vec<Part<'static>>) -> Message<'static> {
    Message { role, name: None, parts }
}

fn media(what: MediaKind, source: Source<'static>, mime: &'static str) -> Part<'static> {
    Kind::Media(Media { name: Some("paper".into()), ..Media::of(what, source, mime) }).into()
}

fn user(part: Part<'static>) -> Request<'static> {
    Request { messages: vec![message(Role::User, vec![part])], ..Request::default() }
}

/// A turn with a call and its result.
fn turn(before: Option<Part<'static>>, result: ToolResult<'static>) -> Request<'static> {
    let call = ToolCall { id: "call_1".into(), name: "look".into(), arguments: r#"{"a":1}"#.into() };
    let said: Vec<Part<'static>> = before.into_iter().chain([Kind::ToolCall(call).into()]).collect();
    Request {
        messages: vec![
            message(Role::User, vec![Part::text("hi")]),
            message(Role::Assistant, said),
            message(Role::Tool, vec![Kind::ToolResult(result).into()]),
        ],
        ..with_tool(Function::default())
    }
}

fn result(parts: Vec<Part<'static>>, error: bool) -> ToolResult<'static> {
    ToolResult { call_id: "call_1".into(), name: Some("look".into()), parts, error }
}

fn with_tool(function: Function<'static>) -> Request<'static> {
    let function = Function {
        name: "look".into(),
        description: Some("looks".into()),
        parameters: Some(raw(
            r#"{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":false}"#,
        )),
        ..function
    };
    Request { tools: vec![Tool::Function(function)], ..user(Part::text("hi")) }
}

fn choosing(choice: ToolChoice<'static>) -> Request<'static> {
    Request { tool_choice: Some(choice), ..with_tool(Function::default()) }
}

fn number(text: &'static str) -> Option<Number<'static>> {
    Some(Number(text.into()))
}

fn plain() -> Request<'static> {
    user(Part::text("hi"))
}

/// A request that asks for this one thing, and for no more than must go with it.
fn sample(element: Element) -> Option<Request<'static>> {
    let base64 = || Source::Base64("AAAA".into());
    let thought = |reasoning: Reasoning<'static>, signature: Option<Signature<'static>>| {
        Some(Part { signature, ..Kind::Reasoning(reasoning).into() })
    };
    let text = || result(vec![Part::text("7")], false);
    Some(match element {
        Element::SystemMidway => {
            let mut request = plain();
            request.messages.push(message(Role::System, vec![Part::text("be kind")]));
            request.messages.push(message(Role::User, vec![Part::text("well?")]));
            request
        }
        Element::MessageName => {
            let mut request = plain();
            request.messages[0].name = Some("ada".into());
            request
        }
        Element::ImageBase64 => user(media(MediaKind::Image, base64(), "image/png")),
        Element::ImageUrl => user(media(MediaKind::Image, Source::Url("https://example.com/a.png".into()), "")),
        Element::ImageDetail => {
            let detail = Media { detail: Some("high".into()), ..Media::of(MediaKind::Image, base64(), "image/png") };
            user(Kind::Media(detail).into())
        }
        Element::AudioBase64 => user(media(MediaKind::Audio, base64(), "audio/wav")),
        Element::VideoBase64 => user(media(MediaKind::Video, base64(), "video/mp4")),
        Element::MediaUrl => {
            user(media(MediaKind::Video, Source::Url("https://example.com/a.mp4".into()), "video/mp4"))
        }
        Element::DocumentBase64 => user(media(MediaKind::Document, base64(), "application/pdf")),
        Element::DocumentUrl => {
            user(media(MediaKind::Document, Source::Url("https://example.com/a.pdf".into()), "application/pdf"))
        }
        Element::DocumentText => user(media(MediaKind::Document, Source::Text("boats".into()), "text/plain")),
        Element::DocumentCitations => {
            let source = Source::Text("boats".into());
            user(Kind::Media(Media { cite: true, ..Media::of(MediaKind::Document, source, "text/plain") }).into())
        }
        Element::FileId => user(media(MediaKind::Document, Source::File("file-1".into()), "application/pdf")),
        Element::Refusals => {
            let mut request = plain();
            request.messages.push(message(Role::Assistant, vec![Kind::Refusal("no".into()).into()]));
            request.messages.push(message(Role::User, vec![Part::text("well?")]));
            request
        }
        Element::ToolCalls | Element::ToolResults => turn(None, text()),
        Element::ToolResultError => turn(None, result(vec![Part::text("broke")], true)),
        Element::ToolResultMedia => turn(None, result(vec![media(MediaKind::Image, base64(), "image/png")], false)),
        Element::ReasoningText => turn(thought(Reasoning { text: "hm".into(), ..Reasoning::default() }, None), text()),
        // Whose seals a dialect takes differs: each is tried with its own where it is written.
        Element::ReasoningSigned | Element::ReasoningEncrypted => return None,
        // Known to their own dialect alone.
        Element::NativePart | Element::NativeTool => return None,
        Element::CacheMarks => user(Part { cache: Some(CacheMark::Minutes5), ..Part::text("hi") }),
        Element::Tools => with_tool(Function::default()),
        Element::ToolStrict => with_tool(Function { strict: Some(true), ..Function::default() }),
        Element::ToolChoiceNone => choosing(ToolChoice::None),
        Element::ToolChoiceRequired => choosing(ToolChoice::Required),
        Element::ToolChoiceNamed => choosing(ToolChoice::Named("look".into())),
        Element::ToolChoiceAmong => choosing(ToolChoice::Among { names: vec!["look".into()], required: true }),
        Element::ParallelTools => Request { parallel_tools: Some(true), ..with_tool(Function::default()) },
        Element::OneToolAtATime => Request { parallel_tools: Some(false), ..with_tool(Function::default()) },
        Element::Temperature => Request { temperature: number("0.5"), ..plain() },
        Element::TopP => Request { top_p: number("0.5"), ..plain() },
        Element::TopK => Request { top_k: Some(5), ..plain() },
        Element::FrequencyPenalty => Request { frequency_penalty: number("0.5"), ..plain() },
        Element::PresencePenalty => Request { presence_penalty: number("0.5"), ..plain() },
        Element::Seed => Request { seed: number("7"), ..plain() },
        Element::Stop => Request { stop: vec!["END".into()], ..plain() },
        Element::SeveralAnswers => Request { n: Some(2), ..plain() },
        Element::Logprobs => Request { logprobs: Some(Logprobs { top: Some(2) }), ..plain() },
        Element::LogitBias => Request { logit_bias: Some(raw(r#"{"50256":-100}"#)), ..plain() },
        Element::JsonObject => Request { format: Some(Format::Json), ..plain() },
        Element::JsonSchema => {
            let schema = Cow::Borrowed(raw(
                r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}"#,
            ));
            let format = Format::Schema { name: Some("a".into()), description: None, schema, strict: Some(true) };
            Request { format: Some(format), ..plain() }
        }
        Element::ReasoningAsked => reasoning(ReasoningAsk { effort: Some("high".into()), ..ReasoningAsk::default() }),
        Element::ReasoningShown => {
            let ask =
                ReasoningAsk { effort: Some("high".into()), show: Some("auto".into()), ..ReasoningAsk::default() };
            reasoning(ask)
        }
        Element::Verbosity => Request { verbosity: Some("low".into()), ..plain() },
        Element::ServiceTier => Request { service_tier: Some("priority".into()), ..plain() },
        Element::User => Request { user: Some("u-1".into()), ..plain() },
        Element::Metadata => Request { metadata: Some(raw(r#"{"a":"b"}"#)), ..plain() },
        Element::Stored => Request { store: Some(true), ..plain() },
        Element::NotStored => Request { store: Some(false), ..plain() },
        Element::CacheKey => Request { cache_key: Some("k".into()), ..plain() },
    })
}

fn reasoning(ask: ReasoningAsk<'static>) -> Request<'static> {
    Request { reasoning: Some(ask), max_tokens: Some(30_000), ..plain() }
}

fn asks_for(request: &Request<'_>, element: Element) -> bool {
    let mut found = false;
    request.elements(&mut |told| found |= told == element);
    found
}

/// Nothing is lost in silence: what a table says is carried stands in what is written, or the writing tells its loss.
#[test]
fn what_a_dialect_carries_comes_through_or_is_told() {
    let mut wrong = Vec::new();
    for dialect in CONVERSATIONS {
        let codec = codec(dialect).unwrap();
        for element in Element::ALL {
            let Some(request) = sample(*element) else { continue };
            assert!(asks_for(&request, *element), "the sample of {} does not ask for it", element.name());
            let told = request.losses(|e| codec.carries(e));
            if !codec.carries(*element) {
                assert!(told.iter().any(|l| l.what == element.name()), "{}: {}", dialect.name(), element.name());
                continue;
            }
            let quirks = Quirks::default();
            let to = To { model: model(dialect), output_tokens_max: Some(64_000), quirks: &quirks };
            let written = codec.write_request(&request, &to);
            let skimmed = skim(&written.body).unwrap();
            let again = codec.read_request(&written.body, &skimmed, &given(to.model));
            let again = again.unwrap_or_else(|why| panic!("{}: {}: {why}", dialect.name(), element.name()));
            let is_told = written.lost.iter().any(|l| l.what.starts_with(element.name().split('.').next().unwrap()));
            if !asks_for(&again, *element) && !is_told && !means_the_same(dialect, *element) {
                let body = String::from_utf8_lossy(&written.body).into_owned();
                wrong.push(format!("{}: {} is lost in {body}", dialect.name(), element.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Carried by saying it otherwise, so that it is not the same element when it is read again.
fn means_the_same(dialect: Dialect, element: Element) -> bool {
    let of = |dialects: &[Dialect]| dialects.contains(&dialect);
    match element {
        // A document of plain text goes as text.
        Element::DocumentText => of(&[Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::Gemini]),
        // What a tool gave as a picture stands beside the results.
        Element::ToolResultMedia => of(&[Dialect::OpenaiChat, Dialect::Gemini]),
        // That the model refused stands as the text in which it did.
        Element::Refusals => !of(&[Dialect::OpenaiChat, Dialect::OpenaiResponses]),
        // Only the tools that may be called are offered; for `none`, none.
        Element::ToolChoiceAmong | Element::ToolChoiceNamed => true,
        Element::ToolChoiceNone => of(&[Dialect::BedrockConverse, Dialect::OllamaChat]),
        // It is what happens there anyway.
        Element::ParallelTools | Element::NotStored => !of(&[Dialect::OpenaiChat, Dialect::OpenaiResponses]),
        Element::ReasoningShown => dialect == Dialect::OllamaChat,
        // `auto` takes what was paid for.
        Element::ServiceTier => dialect == Dialect::AnthropicMessages,
        _ => false,
    }
}

#[test]
fn the_page_says_what_the_code_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/translation.md");
    let page = page();
    if std::env::var_os("TOLLGATE_GOLDEN").is_some_and(|mode| mode == "write") {
        std::fs::write(path, &page).unwrap();
    }
    let stands = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(page, stands, "{path}: if the change is meant, write it anew with TOLLGATE_GOLDEN=write");
}

fn page() -> String {
    let mut page = String::from(
        "<!-- Made from core/src/dialects by its tests; `TOLLGATE_GOLDEN=write cargo test -p tollgate-core matrix` writes it anew. -->\n\
         # Translation: what each dialect carries\n\n\
         A call whose target speaks the caller's dialect is not translated: its bytes pass. Else it is read into one canonical\n\
         form and written in the target's dialect. A column is a dialect as a target's; the rows are the things that a request can\n\
         ask for, named as in `/v1/chat/completions`, which is the canonical request. So a pair of dialects is a column of the\n\
         target, whoever the caller is.\n\n\
         | sign | what happens |\n|---|---|\n\
         | yes | it is carried; a value that the target's dialect cannot say is refused as `unsupported`, or told |\n\
         | - | **refused**: 400 `unsupported`, naming it, unless a policy says `drop` (then it is listed in `tollgate-dropped`) |\n\
         | told | left out, for the answer means the same without it; listed in `tollgate-dropped` and in the receipt |\n\n\
         What models of one dialect differ in (generations of Claude, quirks of compatible servers) is decided by the model's name and the\n\
         provider's row, and told in the same two ways. Members that stand in no row are refused by their path in the caller's words.\n\n|",
    );
    for head in ["asked for"].into_iter().chain(CONVERSATIONS.iter().map(|d| d.name())) {
        write!(page, " {head} |").unwrap();
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(CONVERSATIONS.len()));
    page.push('\n');
    for element in Element::ALL {
        write!(page, "| `{}` |", element.name()).unwrap();
        for dialect in CONVERSATIONS {
            let sign = match (codec(dialect).unwrap().carries(*element), element.is_hint()) {
                (true, _) => "yes",
                (false, true) => "told",
                (false, false) => "-",
            };
            write!(page, " {sign} |").unwrap();
        }
        page.push('\n');
    }
    page.push_str(
        "\n`messages.native` and `tools.native` are parts and tools that only their own dialect knows (a provider's web search, its\n\
         results, compactions): they pass within a dialect. Between two a native part is refused; a native tool is refused where it is the only one or a\n\
         call is demanded, and left out and told where the model may choose from functions beside it (coding agents offer a search of the web\n\
         with every call). Instructions that come midway stand in front where a dialect has no other place for them; told too.\n\n\
         Seals on thoughts (`messages.reasoning_signature`, `messages.reasoning_encrypted`) are a provider's own: between two makers they ride\n\
         in a member that callers send back as it came, tagged `tollgate:MAKER:...`, and go to their maker alone.\n",
    );
    page
}

/// Seals come back to their maker, in every dialect that a caller may speak.
#[test]
fn a_seal_goes_to_its_maker_alone() {
    for (dialect, maker) in [(Dialect::AnthropicMessages, Maker::Anthropic), (Dialect::Gemini, Maker::Google)] {
        let codec = codec(dialect).unwrap();
        for by in [Maker::Anthropic, Maker::Google] {
            let signature = Some(Signature { by, data: "c2VhbA==".into() });
            let thought = Kind::Reasoning(Reasoning { text: "hm".into(), ..Reasoning::default() });
            let request = turn(Some(Part { signature, ..thought.into() }), result(vec![Part::text("7")], false));
            let request = Request {
                reasoning: reasoning(ReasoningAsk { budget_tokens: Some(2_000), ..Default::default() }).reasoning,
                max_tokens: Some(9_000),
                ..request
            };
            let quirks = Quirks::default();
            let to = To { model: model(dialect), output_tokens_max: None, quirks: &quirks };
            let body = String::from_utf8(codec.write_request(&request, &to).body).unwrap();
            assert_eq!(body.contains("c2VhbA=="), by == maker, "{}: {by:?}: {body}", dialect.name());
        }
    }
}
