//! The words of a prompt, behind a handle: counted when a policy asks, decoded when one reads them.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::turns::{self, Turns};
use super::{Given, bedrock, codec, inputs};
use crate::contract::canonical::part::{Kind, MediaKind, Role};
use crate::contract::canonical::{self, Format, Request};
use crate::contract::read::{Wrong, decoded};
use crate::contract::skim;
use crate::contract::skim::Skim;
use crate::contract::words::{PromptFacts, TextPart, Unclear};
use crate::contract::{Dialect, Operation};

/// Roles and tools beyond this many are not listed in facts.
const LISTED_MAX: usize = 1000;

/// The body that was received, and what it is.
#[derive(Debug, Clone)]
pub struct Words {
    pub body: Bytes,
    pub dialect: Dialect,
    /// Of the body, where somebody has skimmed it.
    pub(super) skimmed: Option<Arc<Skim>>,
}

/// The members of a request that tell about its prompt.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    /// The older name of tools.
    #[serde(borrow, default)]
    functions: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_effort: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Plain(String),
    Typed(TypedPart),
}

#[derive(Deserialize)]
struct TypedPart {
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
    custom: Option<Function>,
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
}

impl Words {
    pub fn of(body: Bytes, dialect: Dialect) -> Words {
        Words { body, dialect, skimmed: None }
    }

    pub fn skimmed(body: Bytes, dialect: Dialect, skim: Arc<Skim>) -> Words {
        Words { body, dialect, skimmed: Some(skim) }
    }

    pub fn prompt(&self) -> Result<PromptFacts, Unclear> {
        if let Some(inner) = self.inner()? {
            return inner.prompt();
        }
        let facts = match self.dialect {
            Dialect::OpenaiChat | Dialect::OpenaiEmbeddings => self.openai_prompt()?,
            other => match codec(other) {
                Some(codec) => {
                    self.read(|body, skim, given| codec.read_request(body, skim, given).map(|r| conversation(&r)))?
                }
                None if other.operation() == Operation::CountTokens => {
                    self.read(|body, skim, given| inputs::counted(other, body, skim, given).map(|r| conversation(&r)))?
                }
                None => self.read(|_, skim, _| inputs::prompt(self, skim))?,
            },
        };
        let (counts, Turns { turns, repeats }) = self.weighed(true, &turns::of);
        Ok(PromptFacts { tokens: self.family().estimate(&counts), turns, repeats, ..facts })
    }

    pub fn text(&self) -> Result<Vec<TextPart>, Unclear> {
        if let Some(inner) = self.inner()? {
            return inner.text();
        }
        match self.dialect {
            Dialect::OpenaiChat | Dialect::OpenaiEmbeddings => self.openai_text(),
            other => match codec(other) {
                Some(codec) => self.read(|body, skim, given| codec.read_request(body, skim, given).map(|r| texts(&r))),
                None if other.operation() == Operation::CountTokens => {
                    self.read(|body, skim, given| inputs::counted(other, body, skim, given).map(|r| texts(&r)))
                }
                None => self.read(|_, skim, _| inputs::texts(self, skim)),
            },
        }
    }

    /// The words that stand in another form inside, or are in another dialect's form: those of `InvokeModel`, and counts of them.
    pub(super) fn inner(&self) -> Result<Option<Words>, Unclear> {
        let unclear = |member: &str| Unclear { member: member.to_owned().into(), item: None, twice: false };
        if matches!(self.dialect, Dialect::BedrockInvoke | Dialect::BedrockInvokeEmbed) {
            let skim = skim::skim(&self.body).map_err(|_| unclear("body"))?;
            // A form that is none of these is read as texts that lie about.
            let dialect = bedrock::invoke::form::of(&self.body, &skim).unwrap_or(Dialect::BedrockInvokeEmbed);
            return Ok((dialect != self.dialect).then(|| Words::of(self.body.clone(), dialect)));
        }
        if self.dialect != Dialect::BedrockCountTokens {
            return Ok(None);
        }
        let (dialect, body) = bedrock::count::inner(&self.body).map_err(|wrong| unclear(&wrong.path))?;
        Ok(Some(Words::of(body.into_owned().into(), dialect)))
    }

    /// Reads the body as its dialect says.
    pub(super) fn read<T>(
        &self,
        tell: impl for<'a> Fn(&'a [u8], &'a Skim, &Given<'a>) -> Result<T, Wrong>,
    ) -> Result<T, Unclear> {
        let unclear = |member: String, twice| Unclear { member: member.into(), item: None, twice };
        let skim = match &self.skimmed {
            Some(skim) => skim.clone(),
            None => Arc::new(skim::skim(&self.body).map_err(|_| unclear("body".to_owned(), false))?),
        };
        let given = Given {
            call_id: "",
            now_s: 0,
            model: "",
            stream: false,
            include_usage: false,
            as_array: false,
            own_tools: &[],
            asked: &[],
        };
        tell(&self.body, &skim, &given).map_err(|wrong| unclear(wrong.path, wrong.why.ends_with("twice")))
    }

    fn openai_prompt(&self) -> Result<PromptFacts, Unclear> {
        let mut facts = PromptFacts::default();
        let asked = self.asked()?;
        let messages: Vec<Message> = list("messages", asked.messages)?;
        facts.messages = messages.len() as u64;
        for message in messages {
            match message.content {
                Some(Content::Parts(parts)) => {
                    for part in parts {
                        match part {
                            Part::Plain(_) => {}
                            Part::Typed(part) => {
                                facts.has_images |= part.kind == "image_url";
                                facts.has_audio |= part.kind == "input_audio";
                            }
                        }
                    }
                }
                Some(Content::Text(_)) | None => {}
            }
            if facts.roles.len() < LISTED_MAX {
                facts.roles.push(message.role.unwrap_or_default());
            }
        }
        if let Some(input) = one::<Input>("input", asked.input)? {
            facts.messages = match input {
                Input::Many(many) if many.iter().any(|v| !v.is_number()) => many.len() as u64,
                Input::One(_) | Input::Many(_) => 1,
            };
        }
        for (member, raw) in [("tools", asked.tools), ("functions", asked.functions)] {
            let tools: Vec<Tool> = list(member, raw)?;
            let names = tools.into_iter().filter_map(|t| t.function.or(t.custom).map(|f| f.name).or(t.name));
            facts.tools.extend(names.take(LISTED_MAX - facts.tools.len()));
        }
        let needs = [
            (!facts.tools.is_empty(), "tools"),
            (facts.has_images, "vision"),
            (facts.has_audio, "audio_input"),
            (asked.response_format.is_some_and(|f| f.get().contains("\"json_schema\"")), "json_schema"),
            (asked.reasoning_effort.is_some(), "reasoning"),
        ];
        facts.features = needs.iter().filter(|(needed, _)| *needed).map(|(_, name)| (*name).to_owned()).collect();
        Ok(facts)
    }

    fn openai_text(&self) -> Result<Vec<TextPart>, Unclear> {
        let asked = self.asked()?;
        let mut parts = Vec::new();
        for message in list::<Message>("messages", asked.messages)? {
            let role = message.role.unwrap_or_default();
            match message.content {
                Some(Content::Text(text)) => parts.push(TextPart { role, text }),
                Some(Content::Parts(many)) => parts.extend(
                    many.into_iter()
                        .filter_map(|part| match part {
                            Part::Plain(text) => Some(text),
                            Part::Typed(part) => part.text,
                        })
                        .map(|text| TextPart { role: role.clone(), text }),
                ),
                None => {}
            }
        }
        match one("input", asked.input)? {
            Some(Input::One(text)) => parts.push(TextPart { role: "input".to_owned(), text }),
            Some(Input::Many(many)) => {
                parts.extend(many.into_iter().filter_map(|v| match v {
                    serde_json::Value::String(text) => Some(TextPart { role: "input".to_owned(), text }),
                    _ => None,
                }));
            }
            None => {}
        }
        Ok(parts)
    }

    fn asked(&self) -> Result<Asked<'_>, Unclear> {
        serde_json::from_slice(&self.body).map_err(|why| unclear("body", None, &why))
    }
}

/// A member that is a list, or absent, or null.
fn list<T: DeserializeOwned>(member: &'static str, raw: Option<&RawValue>) -> Result<Vec<T>, Unclear> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    decoded::<Option<Vec<T>>>(raw.get()).map(Option::unwrap_or_default).map_err(|why| {
        let items: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        let wrong = items.iter().map(|item| decoded::<T>(item.get()).err()).enumerate();
        let first = wrong.into_iter().find_map(|(at, error)| error.map(|error| unclear(member, Some(at), &error)));
        first.unwrap_or_else(|| unclear(member, None, &why))
    })
}

fn one<T: DeserializeOwned>(member: &'static str, raw: Option<&RawValue>) -> Result<Option<T>, Unclear> {
    raw.map_or(Ok(None), |raw| decoded(raw.get()).map_err(|why| unclear(member, None, &why)))
}

fn unclear(member: &'static str, item: Option<usize>, why: &serde_json::Error) -> Unclear {
    Unclear { member: member.into(), item, twice: why.to_string().starts_with("duplicate field") }
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
    each_part(request, &mut |_, part| {
        if let Kind::Media(media) = &part.kind {
            facts.has_images |= media.what == MediaKind::Image;
            facts.has_audio |= media.what == MediaKind::Audio;
        }
    });
    facts.roles = request.messages.iter().take(LISTED_MAX).map(|m| role_name(m.role).to_owned()).collect();
    for tool in request.tools.iter().take(LISTED_MAX) {
        match tool {
            canonical::Tool::Function(function) => facts.tools.push(function.name.to_string()),
            canonical::Tool::Native { kind, .. } => facts.tools.push(kind.to_string()),
        }
    }
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
pub fn each_part<'r>(request: &'r Request<'_>, tell: &mut dyn FnMut(Role, &'r canonical::part::Part<'r>)) {
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
#[path = "words_tests.rs"]
mod tests;
