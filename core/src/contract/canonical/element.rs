//! The things that a request can ask for, one by one: what a dialect carries and what it does not is a table over them.

use std::borrow::Cow;

use super::part::{Kind, MediaKind, Message, Part, Role, Source};
use super::{Format, Request, Tool, ToolChoice};

macro_rules! elements {
    ($($variant:ident $name:literal $hint:literal,)*) => {
        /// One thing that a request can ask for. Its name is the member of the canonical request, for policies' `drop` and for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Element { $($variant,)* }

        impl Element {
            pub const ALL: &'static [Element] = &[$(Element::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Element::$variant => $name,)* }
            }

            /// Without it the answer means the same: it is left out and told, not refused.
            pub fn is_hint(self) -> bool {
                match self { $(Element::$variant => $hint,)* }
            }
        }
    };
}

elements! {
    SystemMidway "messages.system_midway" true,
    MessageName "messages.name" true,
    ImageBase64 "messages.image" false,
    ImageUrl "messages.image_url" false,
    ImageDetail "messages.image_detail" true,
    AudioBase64 "messages.audio" false,
    VideoBase64 "messages.video" false,
    MediaUrl "messages.media_url" false,
    DocumentBase64 "messages.document" false,
    DocumentUrl "messages.document_url" false,
    DocumentText "messages.document_text" false,
    DocumentCitations "messages.document_citations" false,
    FileId "messages.file_id" false,
    Refusals "messages.refusal" true,
    ToolCalls "messages.tool_calls" false,
    ToolResults "messages.tool_results" false,
    ToolResultError "messages.tool_result_error" true,
    ToolResultMedia "messages.tool_result_media" false,
    ReasoningText "messages.reasoning" true,
    ReasoningSigned "messages.reasoning_signature" true,
    ReasoningEncrypted "messages.reasoning_encrypted" true,
    NativePart "messages.native" false,
    CacheMarks "cache_control" true,
    Tools "tools" false,
    ToolStrict "tools.strict" true,
    NativeTool "tools.native" false,
    ToolChoiceNone "tool_choice.none" false,
    ToolChoiceRequired "tool_choice.required" true,
    ToolChoiceNamed "tool_choice.named" false,
    ToolChoiceAmong "tool_choice.among" false,
    ParallelTools "parallel_tool_calls" true,
    OneToolAtATime "parallel_tool_calls.false" true,
    Temperature "temperature" false,
    TopP "top_p" false,
    TopK "top_k" false,
    FrequencyPenalty "frequency_penalty" false,
    PresencePenalty "presence_penalty" false,
    Seed "seed" false,
    Stop "stop" false,
    SeveralAnswers "n" false,
    Logprobs "logprobs" false,
    LogitBias "logit_bias" false,
    JsonObject "response_format.json_object" false,
    JsonSchema "response_format.json_schema" false,
    ReasoningAsked "reasoning" true,
    ReasoningShown "reasoning.summary" true,
    Verbosity "verbosity" true,
    ServiceTier "service_tier" true,
    User "user" true,
    Metadata "metadata" true,
    Stored "store" false,
    NotStored "store.false" true,
    CacheKey "prompt_cache_key" true,
}

/// Members without a canonical place that change nothing that is said: one manages what a long conversation costs, one asks
/// for members of the model's own answer beside the dialect's.
const EXTRA_HINTS: [&str; 2] = ["context_management", "additionalModelResponseFieldPaths"];

/// Something that was asked for and is not carried on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The element's name, or the member's path in the caller's words.
    pub what: Cow<'static, str>,
    /// Without it the answer means the same.
    pub hint: bool,
    /// Beyond the name: which value, and why not.
    pub why: Option<String>,
}

impl Loss {
    pub fn of(element: Element) -> Loss {
        Loss { what: element.name().into(), hint: element.is_hint(), why: None }
    }

    /// An element that is carried in general, with a value that is not.
    pub fn value(element: Element, why: impl Into<String>) -> Loss {
        Loss { why: Some(why.into()), ..Loss::of(element) }
    }
}

impl Request<'_> {
    /// What of this request is lost in a dialect that carries only what `carries` says. Each loss is named once.
    pub fn losses(&self, carries: impl Fn(Element) -> bool) -> Vec<Loss> {
        let mut lost: Vec<Loss> = Vec::new();
        self.elements(&mut |element| {
            if !carries(element) && !lost.iter().any(|l| l.what == element.name()) {
                lost.push(Loss::of(element));
            }
        });
        let among_others = self.offers_functions_too();
        lost.iter_mut().filter(|l| l.what == Element::NativeTool.name()).for_each(|l| l.hint = among_others);
        lost.extend(self.extra.iter().map(|(path, _)| {
            let hint = EXTRA_HINTS.iter().any(|known| path.split(['.', '[']).next() == Some(known));
            Loss { what: path.clone().into(), hint, why: None }
        }));
        lost
    }

    /// A provider's own tool among functions that the model may choose from is an offer; alone, or where a call is demanded,
    /// it is what the caller wants.
    fn offers_functions_too(&self) -> bool {
        let free = matches!(self.tool_choice, None | Some(ToolChoice::Auto | ToolChoice::None));
        free && self.tools.iter().any(|tool| matches!(tool, Tool::Function(_)))
    }

    /// Names everything that this request asks for.
    pub fn elements(&self, tell: &mut impl FnMut(Element)) {
        if self.instructs_midway() {
            tell(Element::SystemMidway);
        }
        for message in &self.messages {
            of_message(message, tell);
        }
        self.of_tools(tell);
        self.of_sampling(tell);
        let asked = [
            (self.reasoning.is_some(), Element::ReasoningAsked),
            (self.reasoning.as_ref().is_some_and(|r| r.show.is_some()), Element::ReasoningShown),
            (self.verbosity.is_some(), Element::Verbosity),
            (self.service_tier.as_deref().is_some_and(|t| t != "auto"), Element::ServiceTier),
            (self.user.is_some(), Element::User),
            (self.metadata.is_some(), Element::Metadata),
            (self.store == Some(true), Element::Stored),
            (self.store == Some(false), Element::NotStored),
            (self.cache_key.is_some(), Element::CacheKey),
        ];
        asked.into_iter().filter(|(is, _)| *is).for_each(|(_, element)| tell(element));
        match &self.format {
            None => {}
            Some(Format::Json) => tell(Element::JsonObject),
            Some(Format::Schema { .. }) => tell(Element::JsonSchema),
        }
    }

    fn of_tools(&self, tell: &mut impl FnMut(Element)) {
        for tool in &self.tools {
            match tool {
                Tool::Native { .. } => tell(Element::NativeTool),
                Tool::Function(function) => {
                    tell(Element::Tools);
                    if function.strict == Some(true) {
                        tell(Element::ToolStrict);
                    }
                    if function.cache.is_some() {
                        tell(Element::CacheMarks);
                    }
                }
            }
        }
        match &self.tool_choice {
            None | Some(ToolChoice::Auto) => {}
            Some(ToolChoice::None) => tell(Element::ToolChoiceNone),
            Some(ToolChoice::Required) => tell(Element::ToolChoiceRequired),
            Some(ToolChoice::Named(_)) => tell(Element::ToolChoiceNamed),
            Some(ToolChoice::Among { .. }) => tell(Element::ToolChoiceAmong),
        }
        match self.parallel_tools {
            None => {}
            Some(true) => tell(Element::ParallelTools),
            Some(false) => tell(Element::OneToolAtATime),
        }
    }

    /// Values that are every provider's default ask for nothing.
    fn of_sampling(&self, tell: &mut impl FnMut(Element)) {
        let not_zero = |n: &Option<super::Number<'_>>| n.as_ref().is_some_and(|n| n.float() != 0.0);
        let asked = [
            (self.temperature.is_some(), Element::Temperature),
            (self.top_p.as_ref().is_some_and(|p| p.float() != 1.0), Element::TopP),
            (self.top_k.is_some(), Element::TopK),
            (not_zero(&self.frequency_penalty), Element::FrequencyPenalty),
            (not_zero(&self.presence_penalty), Element::PresencePenalty),
            (self.seed.is_some(), Element::Seed),
            (!self.stop.is_empty(), Element::Stop),
            (self.n.is_some_and(|n| n > 1), Element::SeveralAnswers),
            (self.logprobs.is_some(), Element::Logprobs),
            (self.logit_bias.is_some_and(|b| b.get().contains(':')), Element::LogitBias),
        ];
        asked.into_iter().filter(|(is, _)| *is).for_each(|(_, element)| tell(element));
    }
}

fn of_message(message: &Message<'_>, tell: &mut impl FnMut(Element)) {
    if message.name.is_some() && message.role != Role::Tool {
        tell(Element::MessageName);
    }
    for part in &message.parts {
        of_part(part, tell);
    }
}

/// Names everything that one part asks for.
pub fn of_part(part: &Part<'_>, tell: &mut impl FnMut(Element)) {
    if part.cache.is_some() {
        tell(Element::CacheMarks);
    }
    if part.signature.is_some() {
        tell(Element::ReasoningSigned);
    }
    match &part.kind {
        Kind::Text { .. } => {}
        Kind::Refusal(_) => tell(Element::Refusals),
        Kind::Media(media) => {
            if media.detail.as_deref().is_some_and(|d| d != "auto") {
                tell(Element::ImageDetail);
            }
            if media.cite {
                tell(Element::DocumentCitations);
            }
            if let (kind @ (MediaKind::Audio | MediaKind::Video), Source::File(_)) = (media.what, &media.source) {
                // A file of a kind that cannot be said is none either.
                tell(if kind == MediaKind::Audio { Element::AudioBase64 } else { Element::VideoBase64 });
            }
            tell(match (media.what, &media.source) {
                (_, Source::File(_)) => Element::FileId,
                (MediaKind::Image, Source::Url(_)) => Element::ImageUrl,
                (MediaKind::Image, Source::Base64(_) | Source::Text(_)) => Element::ImageBase64,
                (MediaKind::Document, Source::Url(_)) => Element::DocumentUrl,
                (MediaKind::Document, Source::Base64(_)) => Element::DocumentBase64,
                (MediaKind::Document, Source::Text(_)) => Element::DocumentText,
                (MediaKind::Audio | MediaKind::Video, Source::Url(_)) => Element::MediaUrl,
                (MediaKind::Audio, Source::Base64(_) | Source::Text(_)) => Element::AudioBase64,
                (MediaKind::Video, Source::Base64(_) | Source::Text(_)) => Element::VideoBase64,
            });
        }
        Kind::ToolCall(_) => tell(Element::ToolCalls),
        Kind::ToolResult(result) => {
            tell(Element::ToolResults);
            if result.error {
                tell(Element::ToolResultError);
            }
            if result.parts.iter().any(|p| matches!(p.kind, Kind::Media(_))) {
                tell(Element::ToolResultMedia);
            }
            if result.parts.iter().any(|p| matches!(p.kind, Kind::Native { .. })) {
                tell(Element::NativePart);
            }
        }
        Kind::Reasoning(reasoning) => {
            if !reasoning.text.is_empty() {
                tell(Element::ReasoningText);
            }
            if reasoning.encrypted.is_some() {
                tell(Element::ReasoningEncrypted);
            }
        }
        Kind::Native { .. } => tell(Element::NativePart),
    }
}

#[cfg(test)]
mod tests {
    use super::super::part::Media;
    use super::*;

    /// SDKs send some members with every call, whatever the caller asked for.
    #[test]
    fn members_that_change_nothing_that_is_said_are_hints() {
        let json: &serde_json::value::RawValue = serde_json::from_str("[\"/stop_sequence\"]").unwrap();
        for (path, hint, why) in [
            ("additionalModelResponseFieldPaths", true, "what the answer says is the same without"),
            ("context_management.edits[0]", true, "it saves tokens"),
            ("guardrailConfig", false, "what is not known may be anything"),
        ] {
            let request = Request { extra: vec![(path.to_owned(), json)], ..Request::default() };
            assert_eq!(request.losses(|_| true)[0].hint, hint, "{path}: {why}");
        }
    }

    #[test]
    fn a_file_of_a_kind_that_is_not_carried_is_not_carried() {
        for (what, lost) in [
            (MediaKind::Image, None),
            (MediaKind::Video, Some("messages.video")),
            (MediaKind::Audio, Some("messages.audio")),
        ] {
            let media = Media::of(what, Source::File("s3://a/b".into()), "");
            let parts = vec![Kind::Media(media).into()];
            let request =
                Request { messages: vec![Message { role: Role::User, name: None, parts }], ..Request::default() };
            let losses = request.losses(|element| element == Element::FileId);
            assert_eq!(losses.first().map(|loss| &*loss.what), lost);
        }
    }
}
