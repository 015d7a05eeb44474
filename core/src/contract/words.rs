//! The words of a prompt, behind a handle: counted when a policy asks, decoded when one reads them.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::contract::Operation;

/// Roles and tools beyond this many are not listed in facts.
const LISTED_MAX: usize = 1000;

/// About the prompt; none of its words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptFacts {
    /// An estimate: about four bytes of text a token.
    pub tokens: u64,
    pub messages: u64,
    pub roles: Vec<String>,
    pub tools: Vec<String>,
    pub has_images: bool,
    pub has_audio: bool,
    /// Names of features that the call needs of a model.
    pub features: Vec<String>,
}

/// One part of a prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextPart {
    pub role: String,
    pub text: String,
}

/// The body that was received, and what it is.
#[derive(Debug, Clone)]
pub struct Words {
    pub body: Bytes,
    pub operation: Operation,
}

/// A member of which nobody can say what a provider will read: a policy that asks for it must not take it for empty.
/// It names a place and never words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    pub member: &'static str,
    /// Which item of the list; `None` = the member itself.
    pub item: Option<usize>,
    /// It has a member twice; else one of a wrong type.
    pub twice: bool,
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

/// Tokens of a text, estimated: about four bytes a token, never 0.
pub fn tokens_estimate(bytes: usize) -> u64 {
    bytes as u64 / 4 + 1
}

impl Words {
    pub fn prompt(&self) -> Result<PromptFacts, Unclear> {
        let mut facts = PromptFacts::default();
        let asked = self.asked()?;
        let mut bytes = 0;
        let messages: Vec<Message> = list("messages", asked.messages)?;
        facts.messages = messages.len() as u64;
        for message in messages {
            match message.content {
                Some(Content::Text(text)) => bytes += text.len(),
                Some(Content::Parts(parts)) => {
                    for part in parts {
                        match part {
                            Part::Plain(text) => bytes += text.len(),
                            Part::Typed(part) => {
                                facts.has_images |= part.kind == "image_url";
                                facts.has_audio |= part.kind == "input_audio";
                                bytes += part.text.map_or(0, |t| t.len());
                            }
                        }
                    }
                }
                None => {}
            }
            if facts.roles.len() < LISTED_MAX {
                facts.roles.push(message.role.unwrap_or_default());
            }
        }
        if let (Some(input), Some(raw)) = (one::<Input>("input", asked.input)?, asked.input) {
            facts.messages = match input {
                Input::Many(many) if many.iter().any(|v| !v.is_number()) => many.len() as u64,
                Input::One(_) | Input::Many(_) => 1,
            };
            bytes += raw.get().len();
        }
        for (member, raw) in [("tools", asked.tools), ("functions", asked.functions)] {
            let tools: Vec<Tool> = list(member, raw)?;
            let names = tools.into_iter().filter_map(|t| t.function.or(t.custom).map(|f| f.name).or(t.name));
            facts.tools.extend(names.take(LISTED_MAX - facts.tools.len()));
            bytes += raw.map_or(0, |t| t.get().len());
        }
        facts.tokens = tokens_estimate(bytes) + 4 * facts.messages;
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

    pub fn text(&self) -> Result<Vec<TextPart>, Unclear> {
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
    serde_json::from_str::<Option<Vec<T>>>(raw.get()).map(Option::unwrap_or_default).map_err(|why| {
        let items: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        let wrong = items.iter().map(|item| serde_json::from_str::<T>(item.get()).err()).enumerate();
        let first = wrong.into_iter().find_map(|(at, error)| error.map(|error| unclear(member, Some(at), &error)));
        first.unwrap_or_else(|| unclear(member, None, &why))
    })
}

fn one<T: DeserializeOwned>(member: &'static str, raw: Option<&RawValue>) -> Result<Option<T>, Unclear> {
    raw.map_or(Ok(None), |raw| serde_json::from_str(raw.get()).map_err(|why| unclear(member, None, &why)))
}

fn unclear(member: &'static str, item: Option<usize>, why: &serde_json::Error) -> Unclear {
    Unclear { member, item, twice: why.to_string().starts_with("duplicate field") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_described_without_its_words() {
        let words = Words {
            body: Bytes::from_static(br#"{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:"}}]},{"role":"assistant","content":null}],"tools":[{"type":"function","function":{"name":"look"}}]}"#),
            operation: Operation::Chat,
        };
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
            let words = Words { body: Bytes::from_static(body.as_bytes()), operation: Operation::Embeddings };
            assert_eq!(words.prompt().unwrap().messages, messages, "{why}");
        }
    }

    #[test]
    fn tools_are_named_however_they_are_offered() {
        let words = Words {
            body: Bytes::from_static(br#"{"tools":[{"type":"function","function":{"name":"a"}},{"type":"custom","custom":{"name":"b"}},{"name":"c"},{"type":"web_search"}],"functions":[{"name":"d"}]}"#),
            operation: Operation::Chat,
        };
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
            let words = Words { body: Bytes::from_static(body.as_bytes()), operation: Operation::Chat };
            assert_eq!(words.prompt().unwrap_err(), Unclear { member, item, twice }, "{body}");
        }
        let null = br#"{"messages":[{"role":null,"content":null},{"content":["plain"]}],"tools":null,"input":null}"#;
        let words = Words { body: Bytes::from_static(null), operation: Operation::Chat };
        assert_eq!(words.text().unwrap().len(), 1, "null is absent, and a plain text among parts is one");
    }
}
