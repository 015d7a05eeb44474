//! What a request holds, counted: the ground of every estimate of its tokens.

use std::borrow::Cow;

use serde::Deserialize;

use super::inputs;
use super::words::{Words, each_part};
use crate::contract::canonical::part::{Kind, Media, MediaKind, Source};
use crate::contract::canonical::{Format, Request, Tool};
use crate::contract::tokens::families::Family;
use crate::contract::tokens::{Counts, PARTS, Size, size};
use crate::contract::{Dialect, Operation};

/// Members that name what is not in the request, by how their path begins.
const OUTSIDE: [&str; 10] = [
    "previous_response_id",
    "conversation",
    "prompt",
    "cachedContent",
    "cached_content",
    "container",
    "web_search_options",
    "mcp_servers",
    "plugins",
    "connectors",
];

/// Tools that a provider declares and the caller runs, by how their kind begins.
const OURS_TO_RUN: [&str; 8] =
    ["bash", "text_editor", "computer", "memory", "local_shell", "shell", "apply_patch", "custom"];

/// How a text is sized, where somebody asks.
type Sizing = fn(&[u8]) -> Size;

impl Words {
    /// Counts what the body holds. What its dialect cannot read counts as it stands.
    pub fn counts(&self) -> Counts {
        self.weighed(true, &|_| ()).0
    }

    /// What a bound rests on: texts and declarations are not sized apart, the body's own size has them.
    pub fn counts_for_bound(&self) -> Counts {
        match self.plain_messages() {
            Some(messages) => Counts { body: size(&self.body), messages, ..Counts::default() },
            None => self.weighed(false, &|_| ()).0,
        }
    }

    /// The counts, with texts and declarations sized apart or not, and more that is told of the same reading.
    pub(super) fn weighed<T: Default>(&self, texts: bool, more: &dyn Fn(&Request<'_>) -> T) -> (Counts, T) {
        let sized: Sizing = if texts { size } else { |_| Size::default() };
        let body = size(&self.body);
        let plain = |text: Size| (Counts { text, body, messages: 1, ..Counts::default() }, T::default());
        match self.inner() {
            Ok(None) => {}
            Ok(Some(inner)) => return inner.weighed(texts, more),
            Err(_) => return plain(body),
        }
        let look = |request: Request<'_>| (counts(&request, sized), more(&request));
        let counted = match super::codec(self.dialect) {
            Some(codec) => self.read(|body, skim, given| codec.read_request(body, skim, given).map(look)),
            None if self.dialect.operation() == Operation::CountTokens => {
                self.read(|body, skim, given| inputs::counted(self.dialect, body, skim, given).map(look))
            }
            None if texts => return plain(self.texts_size(body)),
            None => return plain(Size::default()),
        };
        match counted {
            Ok(((counts, media), more)) => (Counts { body: body.without(media), ..counts }, more),
            Err(_) => plain(body),
        }
    }

    /// The family of the model in the body; where none is named there, the usual one of the dialect.
    pub(super) fn family(&self) -> &'static Family {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow, default)]
            model: Option<Cow<'a, str>>,
        }
        let named = serde_json::from_slice::<Named<'_>>(&self.body).ok().and_then(|named| named.model);
        match named {
            Some(model) if Family::knows(&model) => Family::of(&model),
            Some(_) | None => Family::of(usual_model(self.dialect)),
        }
    }

    /// Of a call that is no conversation. Where no text is found, all of the body counts: it is no small prompt.
    fn texts_size(&self, body: Size) -> Size {
        let mut sum = Size::default();
        self.text().unwrap_or_default().iter().for_each(|part| sum += size(part.text.as_bytes()));
        let tokens = self.read(|body, skim, given| inputs::tokens(self.dialect, body, skim, given));
        let tokens = tokens.unwrap_or(0).saturating_mul(PARTS);
        sum += Size { likely: tokens, most: tokens };
        if sum == Size::default() { body } else { sum }
    }
}

/// What is usually asked in a dialect; an empty name has the family of all others.
fn usual_model(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenaiChat
        | Dialect::OpenaiResponses
        | Dialect::OpenaiCompletions
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches => "gpt",
        Dialect::AnthropicMessages | Dialect::AnthropicCountTokens => "claude",
        Dialect::Gemini | Dialect::GeminiCountTokens => "gemini",
        Dialect::OpenaiEmbeddings
        | Dialect::GeminiEmbed
        | Dialect::GeminiBatchEmbed
        | Dialect::CohereEmbed
        | Dialect::CohereV1Embed
        | Dialect::BedrockInvokeEmbed
        | Dialect::VertexPredict => "embed",
        Dialect::CohereChat | Dialect::CohereV1Chat => "command",
        Dialect::BedrockConverse
        | Dialect::BedrockInvoke
        | Dialect::BedrockCountTokens
        | Dialect::CohereRerank
        | Dialect::CohereV1Rerank
        | Dialect::OllamaChat
        | Dialect::OllamaGenerate => "",
    }
}

/// Everything but the body's own size, and the size that pictures and the like have in it, which are no text.
fn counts(request: &Request<'_>, sized: Sizing) -> (Counts, Size) {
    let mut media_size = Size::default();
    let mut counts = Counts { messages: request.messages.len() as u64, ..Counts::default() };
    each_part(request, &mut |_, part| match &part.kind {
        Kind::Text { text, .. } | Kind::Refusal(text) => counts.text += sized(text.as_bytes()),
        Kind::Media(media) => media_size += media_counts(media, sized, &mut counts),
        Kind::ToolCall(call) => {
            counts.text += sized(call.name.as_bytes());
            counts.text += sized(call.arguments.as_bytes());
        }
        // Thoughts of earlier turns are left out by most providers; the body's own size, and so the bound, has them.
        Kind::Reasoning(_) | Kind::ToolResult(_) => {}
        Kind::Native { json, .. } => counts.text += sized(json.get().as_bytes()),
    });
    for tool in &request.tools {
        counts.tools += 1;
        match tool {
            Tool::Function(function) => {
                counts.declared += sized(function.name.as_bytes());
                counts.declared += sized(function.description.as_deref().unwrap_or_default().as_bytes());
                counts.declared += sized(function.parameters.map_or("", |p| p.get()).as_bytes());
            }
            Tool::Native { kind, json } => {
                counts.declared += sized(json.get().as_bytes());
                match OURS_TO_RUN.iter().any(|ours| kind.starts_with(ours)) {
                    true => counts.prompted += 1,
                    false => counts.outside += 1,
                }
            }
        }
    }
    if let Some(Format::Schema { schema, .. }) = &request.format {
        counts.declared += sized(schema.get().as_bytes());
    }
    for (path, raw) in &request.extra {
        if path.starts_with("documents") {
            counts.text += sized(raw.get().as_bytes());
        }
        counts.outside += u64::from(OUTSIDE.iter().any(|outside| path.starts_with(outside)));
    }
    (counts, media_size)
}

/// Counts a picture, sound or document, and tells the size that its data has in the body.
fn media_counts(media: &Media<'_>, sized: Sizing, counts: &mut Counts) -> Size {
    let mut in_body = Size::default();
    let length = match &media.source {
        Source::Base64(data) => {
            in_body = size(data.as_bytes());
            data.len() as u64
        }
        Source::Text(text) => {
            counts.text += sized(text.as_bytes());
            return in_body;
        }
        Source::Url(_) | Source::File(_) => {
            // A picture has a bound wherever it lies; sound, films and documents have none.
            counts.outside += u64::from(media.what != MediaKind::Image);
            0
        }
    };
    match media.what {
        MediaKind::Image => counts.pictures += 1,
        MediaKind::Audio | MediaKind::Video => counts.sound += length,
        MediaKind::Document => {
            counts.documents += length;
            counts.document_count += 1;
        }
    }
    in_body
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use serde_json::Value;

    use super::super::recorded::{Exchange, exchanges};
    use super::*;

    /// APIs of the recordings with the dialect that they speak.
    const APIS: [(&str, Dialect); 30] = [
        ("openai.chat", Dialect::OpenaiChat),
        ("azure.chat", Dialect::OpenaiChat),
        ("bedrock-mantle.chat", Dialect::OpenaiChat),
        ("cerebras.chat", Dialect::OpenaiChat),
        ("crusoe.chat", Dialect::OpenaiChat),
        ("deepseek.chat", Dialect::OpenaiChat),
        ("gpustack.chat", Dialect::OpenaiChat),
        ("groq.chat", Dialect::OpenaiChat),
        ("huggingface.chat", Dialect::OpenaiChat),
        ("mistral.chat", Dialect::OpenaiChat),
        ("ollama-openai.chat", Dialect::OpenaiChat),
        ("openrouter.chat", Dialect::OpenaiChat),
        ("other-openai.chat", Dialect::OpenaiChat),
        ("perplexity.chat", Dialect::OpenaiChat),
        ("snowflake.chat", Dialect::OpenaiChat),
        ("together.chat", Dialect::OpenaiChat),
        ("zai.chat", Dialect::OpenaiChat),
        ("openai.responses", Dialect::OpenaiResponses),
        ("azure.responses", Dialect::OpenaiResponses),
        ("xai.responses", Dialect::OpenaiResponses),
        ("openai.embeddings", Dialect::OpenaiEmbeddings),
        ("anthropic.messages", Dialect::AnthropicMessages),
        ("gemini.generateContent", Dialect::Gemini),
        ("gemini.streamGenerateContent", Dialect::Gemini),
        ("vertex.generateContent", Dialect::Gemini),
        ("bedrock.converse", Dialect::BedrockConverse),
        ("bedrock.converse-stream", Dialect::BedrockConverse),
        ("cohere.v2.chat", Dialect::CohereChat),
        ("cohere.v2.embed", Dialect::CohereEmbed),
        ("ollama.chat", Dialect::OllamaChat),
    ];

    /// All input tokens of a recorded usage, by the words of its dialect.
    fn recorded_input(usage: &Value) -> Option<u64> {
        let count = |name: &str| usage[name].as_u64();
        let cohere =
            usage["tokens"]["input_tokens"].as_u64().or_else(|| usage["billed_units"]["input_tokens"].as_u64());
        let apart = [
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "cacheReadInputTokens",
            "cacheWriteInputTokens",
            "toolUsePromptTokenCount",
        ];
        let names = ["promptTokenCount", "inputTokens", "input_tokens", "prompt_tokens", "prompt_eval_count"];
        let whole = cohere.or_else(|| names.iter().find_map(|name| count(name)))?;
        Some(whole + apart.iter().filter_map(|name| count(name)).sum::<u64>())
    }

    fn model(exchange: &Exchange) -> &str {
        exchange.request["model"].as_str().unwrap_or(&exchange.url)
    }

    /// Estimated and recorded tokens of the calls of a family that hold nothing but text and tools.
    type Estimates = BTreeMap<String, Vec<(u64, u64)>>;

    /// The errors of a family's estimates in percent, in their order.
    fn errors(estimates: &[(u64, u64)]) -> Vec<u64> {
        let mut errors: Vec<u64> = estimates.iter().map(|(ours, told)| ours.abs_diff(*told) * 100 / told).collect();
        errors.sort_unstable();
        errors
    }

    fn tell(all: &Estimates) {
        println!("| family | calls | median error | 95th percentile | calls above 200 tokens | their median error |");
        for (family, estimates) in all {
            let long: Vec<(u64, u64)> = estimates.iter().filter(|(_, told)| *told > 200).copied().collect();
            let (all, long) = (errors(estimates), errors(&long));
            let at = |errors: &[u64], share: usize| {
                errors.get(errors.len() * share / 100).map_or_else(|| "-".to_owned(), |n| format!("{n} %"))
            };
            println!(
                "| {family} | {} | {} | {} | {} | {} |",
                all.len(),
                at(&all, 50),
                at(&all, 95),
                long.len(),
                at(&long, 50)
            );
        }
    }

    #[test]
    fn recorded_calls_stay_below_their_bound_and_near_their_estimate() {
        let (mut above, mut estimates, mut calls) = (Vec::new(), Estimates::new(), 0);
        let mut wide = Vec::new();
        for (api, dialect) in APIS {
            for exchange in exchanges(api) {
                let Some(input) = recorded_input(&exchange.usage).filter(|n| *n > 0) else { continue };
                let words = Words::of(Bytes::from(exchange.request.to_string()), dialect);
                let (counts, family) = (words.counts(), Family::of(model(&exchange)));
                let (estimate, bound) = (family.estimate(&counts), family.bound(&counts, None));
                assert_eq!(family.bound(&words.counts_for_bound(), None), bound, "{}", exchange.id);
                calls += 1;
                if bound < input {
                    above.push(format!("{}: {input} above {bound}", exchange.id));
                }
                if counts.outside == 0 && counts.pictures + counts.sound + counts.document_count + counts.prompted == 0
                {
                    for name in [family.name(), "all"] {
                        estimates.entry(name.to_owned()).or_default().push((estimate, input));
                    }
                    wide.push(bound as f64 / input as f64);
                }
            }
        }
        tell(&estimates);
        wide.sort_by(f64::total_cmp);
        println!("{calls} calls; bound / recorded: median {:.1?}", wide.get(wide.len() / 2));
        assert!(above.is_empty(), "{above:#?}");
        if let Some(all) = estimates.get("all") {
            let errors = errors(all);
            assert!(errors.len() > 300, "the recordings are there: {}", errors.len());
            assert!(
                errors[errors.len() / 2] <= 15,
                "half of all estimates are within 15 %: {}",
                errors[errors.len() / 2]
            );
        }
    }

    #[test]
    fn pictures_are_counted_and_their_bytes_are_not() {
        let data = "iVBORw0KGgo".repeat(10_000);
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"text","text":"Look"}},{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}]}}"#
        );
        let counts = Words::of(body.into(), Dialect::OpenaiChat).counts();
        assert_eq!((counts.pictures, counts.messages, counts.tools), (1, 1, 0));
        assert!(counts.body.most < 1_200, "{counts:?}");
    }

    /// Bytes that only pretend to be a picture are text to their provider, and are counted as text.
    #[test]
    fn what_no_dialect_reads_is_counted_as_it_stands() {
        let data = "QUJD".repeat(1_000);
        let body = format!(r#"{{"messages":[{{"role":"user","content":"data:image/png;base64,{data}"}}]}}"#);
        let counts = Words::of(body.into(), Dialect::OpenaiChat).counts();
        assert!(counts.pictures == 0 && counts.body.most > 10_000, "{counts:?}");
        let tokens = Bytes::from_static(br#"{"model":"e","input":[[3923,374,279],[8134]]}"#);
        let counts = Words::of(tokens, Dialect::OpenaiEmbeddings).counts();
        assert_eq!(counts.text.likely, 4 * PARTS, "what is given as tokens is four of them");
    }

    /// The quickest of some turns: others run on this machine, too.
    #[test]
    fn a_kilobyte_is_counted_in_microseconds() {
        let text =
            "Read the file src/main.rs, then say what `fn main()` does in 3 lines; größer ist besser.\\n".repeat(1_000);
        let body = format!(r#"{{"model":"gpt-5","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let kilobytes = body.len() as f64 / 1_024.0;
        let words = Words::of(body.into(), Dialect::OpenaiChat);
        let turn = || {
            let begun = std::time::Instant::now();
            assert_eq!(words.counts().messages, 1);
            begun.elapsed()
        };
        let best = (0..20).map(|_| turn()).min().unwrap().as_secs_f64() * 1e6 / kilobytes;
        println!("{best:.2} us a KB, of {kilobytes:.0} KB");
        assert!(cfg!(debug_assertions) || best < 20.0, "{best} us a KB");
    }

    #[test]
    fn what_lies_elsewhere_is_counted_by_the_piece() {
        for (dialect, body, outside, prompted) in [
            (Dialect::OpenaiResponses, r#"{"input":"a","previous_response_id":"r"}"#, 1, 0),
            (Dialect::OpenaiResponses, r#"{"input":"a","tools":[{"type":"web_search"}]}"#, 1, 0),
            (
                Dialect::AnthropicMessages,
                r#"{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"bash_20250124","name":"bash"}]}"#,
                0,
                1,
            ),
            (
                Dialect::AnthropicMessages,
                r#"{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://example.com/a.pdf"}}]}]}"#,
                1,
                0,
            ),
        ] {
            let counts = Words::of(Bytes::from_static(body.as_bytes()), dialect).counts();
            assert_eq!((counts.outside, counts.prompted), (outside, prompted), "{body}");
        }
    }
}
