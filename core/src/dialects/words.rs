//! The words of a prompt, behind a handle: counted when a policy asks, decoded when one reads them.

use bytes::Bytes;
use serde::Deserialize;

use super::{Codec, Given, codec};
use crate::contract::Dialect;
use crate::contract::canonical::part::{Kind, MediaKind, Role};
use crate::contract::canonical::{self, Format, Request};
use crate::contract::skim;
use crate::contract::words::{PromptFacts, TextPart, tokens_estimate};

/// Roles and tools beyond this many are not listed in facts.
const LISTED_MAX: usize = 1000;

/// The body that was received, and what it is.
#[derive(Debug, Clone)]
pub struct Words {
    pub body: Bytes,
    pub dialect: Dialect,
}

/// The members of a request that tell about its prompt. Anything unexpected is passed over: facts never fail a call.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    messages: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    tools: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    response_format: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    reasoning_effort: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    function: Option<Function>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<serde_json::Value>),
    Other(serde::de::IgnoredAny),
}

impl Words {
    pub fn prompt(&self) -> PromptFacts {
        match self.dialect {
            Dialect::OpenaiChat | Dialect::OpenaiEmbeddings => self.openai_prompt(),
            other => match codec(other) {
                Some(codec) => self.read(codec, conversation).unwrap_or_else(|| self.unread()),
                None => self.unread(),
            },
        }
    }

    pub fn text(&self) -> Vec<TextPart> {
        match self.dialect {
            Dialect::OpenaiChat | Dialect::OpenaiEmbeddings => self.openai_text(),
            other => codec(other).and_then(|codec| self.read(codec, texts)).unwrap_or_default(),
        }
    }

    /// What cannot be read is no small prompt: all of its bytes count.
    fn unread(&self) -> PromptFacts {
        PromptFacts { tokens: tokens_estimate(self.body.len()), ..PromptFacts::default() }
    }

    /// Reads the body as its dialect says. What cannot be read has no facts: the call is refused for it elsewhere.
    fn read<T>(&self, codec: &dyn Codec, tell: fn(&Request<'_>) -> T) -> Option<T> {
        let skim = skim::skim(&self.body).ok()?;
        let given = Given { call_id: "", now_s: 0, model: "", stream: false, include_usage: false };
        codec.read_request(&self.body, &skim, &given).ok().map(|request| tell(&request))
    }

    fn openai_prompt(&self) -> PromptFacts {
        let mut facts = PromptFacts::default();
        let Ok(asked) = serde_json::from_slice::<Asked<'_>>(&self.body) else { return facts };
        let mut bytes = 0;
        if let Some(messages) = asked.messages {
            let messages: Vec<Message> = serde_json::from_str(messages.get()).unwrap_or_default();
            facts.messages = messages.len() as u64;
            for message in messages {
                match message.content {
                    Some(Content::Text(text)) => bytes += text.len(),
                    Some(Content::Parts(parts)) => {
                        for part in parts {
                            facts.has_images |= part.kind == "image_url";
                            facts.has_audio |= part.kind == "input_audio";
                            bytes += part.text.map_or(0, |t| t.len());
                        }
                    }
                    Some(Content::Other(_)) | None => {}
                }
                if facts.roles.len() < LISTED_MAX {
                    facts.roles.push(message.role);
                }
            }
        }
        if let Some(input) = asked.input {
            facts.messages = match serde_json::from_str(input.get()) {
                Ok(Input::Many(many)) if many.iter().any(|v| !v.is_number()) => many.len() as u64,
                Ok(Input::One(_) | Input::Many(_) | Input::Other(_)) | Err(_) => 1,
            };
            bytes += input.get().len();
        }
        let tools: Vec<Tool> = asked.tools.and_then(|t| serde_json::from_str(t.get()).ok()).unwrap_or_default();
        facts.tools =
            tools.into_iter().take(LISTED_MAX).filter_map(|t| t.function.map(|f| f.name).or(t.name)).collect();
        bytes += asked.tools.map_or(0, |t| t.get().len());
        facts.tokens = tokens_estimate(bytes) + 4 * facts.messages;
        let needs = [
            (!facts.tools.is_empty(), "tools"),
            (facts.has_images, "vision"),
            (facts.has_audio, "audio_input"),
            (asked.response_format.is_some_and(|f| f.get().contains("\"json_schema\"")), "json_schema"),
            (asked.reasoning_effort.is_some(), "reasoning"),
        ];
        facts.features = needs.iter().filter(|(needed, _)| *needed).map(|(_, name)| (*name).to_owned()).collect();
        facts
    }

    fn openai_text(&self) -> Vec<TextPart> {
        let Ok(asked) = serde_json::from_slice::<Asked<'_>>(&self.body) else { return Vec::new() };
        let mut parts = Vec::new();
        if let Some(messages) = asked.messages {
            let messages: Vec<Message> = serde_json::from_str(messages.get()).unwrap_or_default();
            for message in messages {
                match message.content {
                    Some(Content::Text(text)) => parts.push(TextPart { role: message.role, text }),
                    Some(Content::Parts(many)) => parts.extend(
                        many.into_iter()
                            .filter_map(|p| p.text)
                            .map(|text| TextPart { role: message.role.clone(), text }),
                    ),
                    Some(Content::Other(_)) | None => {}
                }
            }
        }
        match asked.input.map(|input| serde_json::from_str(input.get())) {
            Some(Ok(Input::One(text))) => parts.push(TextPart { role: "input".to_owned(), text }),
            Some(Ok(Input::Many(many))) => {
                parts.extend(many.into_iter().filter_map(|v| match v {
                    serde_json::Value::String(text) => Some(TextPart { role: "input".to_owned(), text }),
                    _ => None,
                }));
            }
            Some(Ok(Input::Other(_)) | Err(_)) | None => {}
        }
        parts
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// A conversation, described without its words.
fn conversation(request: &Request<'_>) -> PromptFacts {
    let mut facts = PromptFacts { messages: request.messages.len() as u64, ..PromptFacts::default() };
    let mut bytes = 0;
    each_part(request, &mut |_, part| match &part.kind {
        Kind::Text { text, .. } | Kind::Refusal(text) => bytes += text.len(),
        Kind::Media(media) => {
            facts.has_images |= media.what == MediaKind::Image;
            facts.has_audio |= media.what == MediaKind::Audio;
        }
        Kind::ToolCall(call) => bytes += call.arguments.len(),
        Kind::Reasoning(reasoning) => bytes += reasoning.text.len(),
        Kind::ToolResult(_) | Kind::Native { .. } => {}
    });
    facts.roles = request.messages.iter().take(LISTED_MAX).map(|m| role_name(m.role).to_owned()).collect();
    for tool in request.tools.iter().take(LISTED_MAX) {
        match tool {
            canonical::Tool::Function(function) => {
                facts.tools.push(function.name.to_string());
                bytes += function.parameters.map_or(0, |p| p.get().len());
                bytes += function.description.as_ref().map_or(0, |d| d.len());
            }
            canonical::Tool::Native { kind, .. } => facts.tools.push(kind.to_string()),
        }
    }
    facts.tokens = tokens_estimate(bytes) + 4 * facts.messages;
    let needs = [
        (!facts.tools.is_empty(), "tools"),
        (facts.has_images, "vision"),
        (facts.has_audio, "audio_input"),
        (matches!(request.format, Some(Format::Schema { .. })), "json_schema"),
        (request.reasoning.is_some(), "reasoning"),
    ];
    facts.features = needs.iter().filter(|(needed, _)| *needed).map(|(_, name)| (*name).to_owned()).collect();
    facts
}

fn texts(request: &Request<'_>) -> Vec<TextPart> {
    let mut parts = Vec::new();
    each_part(request, &mut |role, part| {
        if let Some(text) = part.as_text() {
            parts.push(TextPart { role: role_name(role).to_owned(), text: text.to_owned() });
        }
    });
    parts
}

/// Every part, those inside results of tools included.
fn each_part<'r>(request: &'r Request<'_>, tell: &mut dyn FnMut(Role, &'r canonical::part::Part<'r>)) {
    for message in &request.messages {
        for part in &message.parts {
            match &part.kind {
                Kind::ToolResult(result) => result.parts.iter().for_each(|part| tell(Role::Tool, part)),
                Kind::Text { .. }
                | Kind::Refusal(_)
                | Kind::Media(_)
                | Kind::ToolCall(_)
                | Kind::Reasoning(_)
                | Kind::Native { .. } => tell(message.role, part),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_described_without_its_words() {
        let words = Words {
            body: Bytes::from_static(br#"{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:"}}]},{"role":"assistant","content":null}],"tools":[{"type":"function","function":{"name":"look"}}]}"#),
            dialect: Dialect::OpenaiChat,
        };
        let facts = words.prompt();
        assert_eq!(facts.messages, 3);
        assert_eq!(facts.roles, ["system", "user", "assistant"]);
        assert_eq!(facts.tools, ["look"]);
        assert_eq!(facts.features, ["tools", "vision"]);
        assert_eq!(words.text().len(), 2);
    }

    #[test]
    fn inputs_of_embeddings_are_texts_or_token_lists() {
        for (body, messages, why) in [
            (r#"{"input":"a"}"#, 1, "one text"),
            (r#"{"input":["a","b"]}"#, 2, "two texts"),
            (r#"{"input":[1,2,3]}"#, 1, "one list of tokens"),
            (r#"{"input":[[1],[2]]}"#, 2, "two lists of tokens"),
        ] {
            let words = Words { body: Bytes::from_static(body.as_bytes()), dialect: Dialect::OpenaiEmbeddings };
            assert_eq!(words.prompt().messages, messages, "{why}");
        }
    }
}
