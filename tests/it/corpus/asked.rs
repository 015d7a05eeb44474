//! What a request asks, read from each dialect with that dialect's own expectations: its words, calls, results and tools.

use serde_json::{Value, json};

use super::exchange::Talk;

/// What a request says, in its order.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Asked {
    /// What the system says, wherever it stands, without white space.
    pub system: String,
    pub said: Vec<Item>,
    /// Pictures, sounds and documents, those in results of tools included.
    pub media: usize,
    /// The words of documents that are texts: some dialects have a place for them, elsewhere they stand among the words.
    pub documents: Vec<String>,
    pub tools: Vec<String>,
    /// It says which tools may be called.
    pub chooses: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Whose, and the words without white space.
    Text(Whose, String),
    Call {
        id: String,
        name: String,
        arguments: Value,
    },
    /// Of which call, by its place among them; and its words or JSON.
    Result {
        call: Option<usize>,
        says: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    User,
    Assistant,
}

/// Texts are compared without white space: dialects join their parts in different ways.
pub fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[derive(Default)]
struct Reader {
    asked: Asked,
    ids: Vec<String>,
    /// Calls whose results have no id: answered in their order, by name.
    waiting: Vec<(String, usize)>,
}

pub fn read(talk: Talk, body: &Value) -> Asked {
    let mut reader = Reader::default();
    match talk {
        Talk::Chat | Talk::Cohere | Talk::Ollama => reader.chat(body),
        Talk::Responses => reader.responses(body),
        Talk::Messages => reader.messages(body),
        Talk::Gemini => reader.gemini(body),
        Talk::Bedrock => reader.bedrock(body),
    }
    let choices = ["tool_choice", "toolConfig"].map(|name| &body[name]);
    reader.asked.chooses = choices.iter().any(|choice| !choice.is_null() && **choice != "auto");
    reader.asked.tools.sort();
    reader.asked
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A member in either of two spellings.
fn either<'a>(value: &'a Value, one: &str, other: &str) -> &'a Value {
    value.get(one).unwrap_or(&value[other])
}

fn parsed(arguments: &Value) -> Value {
    match arguments {
        Value::String(text) if text.trim().is_empty() => Value::Object(serde_json::Map::new()),
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| arguments.clone()),
        Value::Null => Value::Object(serde_json::Map::new()),
        other => other.clone(),
    }
}

impl Reader {
    fn system(&mut self, words: &str) {
        self.asked.system.push_str(&squeezed(words));
    }

    fn text(&mut self, whose: Whose, words: &str) {
        let words = squeezed(words);
        if words.is_empty() {
            return;
        }
        match self.asked.said.last_mut() {
            Some(Item::Text(last, before)) if *last == whose => before.push_str(&words),
            Some(_) | None => self.asked.said.push(Item::Text(whose, words)),
        }
    }

    fn call(&mut self, id: &str, name: &str, arguments: &Value) {
        self.waiting.push((name.to_owned(), self.ids.len()));
        self.ids.push(id.to_owned());
        let (id, name, arguments) = (id.to_owned(), name.to_owned(), parsed(arguments));
        self.asked.said.push(Item::Call { id, name, arguments });
    }

    /// Results are linked by id; without one by name, in order.
    fn result(&mut self, id: &str, name: &str, says: &str) {
        let by_id = (!id.is_empty()).then(|| self.ids.iter().rposition(|known| known == id)).flatten();
        let at = match by_id {
            Some(call) => self.waiting.iter().position(|(_, waits)| *waits == call),
            None => self.waiting.iter().position(|(known, _)| name.is_empty() || known == name),
        };
        let call = by_id.or(at.map(|at| self.waiting[at].1));
        if let Some(at) = at {
            self.waiting.remove(at);
        }
        self.asked.said.push(Item::Result { call, says: unwrapped(says) });
    }

    /// A picture, a sound, a document: where it stands is each dialect's own affair.
    fn media(&mut self, part: &Value) {
        match document(part) {
            Some(words) => self.asked.documents.push(squeezed(words)),
            None => self.asked.media += 1,
        }
    }

    /// What stands in a result of a tool besides words.
    fn media_in(&mut self, content: &Value) {
        for part in items(content) {
            let said = part["text"].is_string() || part.get("json").is_some();
            if !said && part.is_object() {
                self.media(part);
            }
        }
    }

    fn tool(&mut self, name: &Value) {
        self.asked.tools.extend(name.as_str().map(str::to_owned));
    }

    fn content(&mut self, whose: Whose, content: &Value) {
        self.text(whose, text(content));
        for part in items(content) {
            match text(&part["type"]) {
                "text" | "input_text" | "output_text" => self.text(whose, text(&part["text"])),
                "refusal" => self.text(whose, text(&part["refusal"])),
                "thinking" | "reasoning" | "redacted_thinking" => {}
                _ => self.media(part),
            }
        }
    }

    fn chat(&mut self, body: &Value) {
        for message in items(&body["messages"]) {
            let content = &message["content"];
            match text(&message["role"]) {
                "system" | "developer" => self.system(&words(content)),
                "tool" | "function" => {
                    let name = either(message, "tool_name", "name");
                    self.result(text(&message["tool_call_id"]), text(name), &words(content));
                    self.media_in(content);
                }
                "assistant" => {
                    self.content(Whose::Assistant, content);
                    self.text(Whose::Assistant, text(&message["refusal"]));
                    for call in items(&message["tool_calls"]) {
                        let function = &call["function"];
                        match call["custom"].is_object() {
                            true => {
                                let input = json!({ "input": call["custom"]["input"] });
                                self.call(text(&call["id"]), text(&call["custom"]["name"]), &input);
                            }
                            false => self.call(text(&call["id"]), text(&function["name"]), &function["arguments"]),
                        }
                    }
                    let older = &message["function_call"];
                    if older.is_object() {
                        self.call("", text(&older["name"]), &older["arguments"]);
                    }
                }
                _ => {
                    self.content(Whose::User, content);
                    items(&message["images"]).for_each(|image| self.media(image));
                }
            }
        }
        items(&body["documents"]).for_each(|document| self.media(document));
        items(&body["tools"]).for_each(|tool| self.tool(&tool["function"]["name"]));
        items(&body["tools"]).for_each(|tool| self.tool(&tool["custom"]["name"]));
        items(&body["functions"]).for_each(|function| self.tool(&function["name"]));
    }

    fn responses(&mut self, body: &Value) {
        self.system(text(&body["instructions"]));
        self.text(Whose::User, text(&body["input"]));
        for item in items(&body["input"]) {
            match item["type"].as_str().unwrap_or("message") {
                "message" => match text(&item["role"]) {
                    "system" | "developer" => self.system(&words(&item["content"])),
                    "assistant" => self.content(Whose::Assistant, &item["content"]),
                    _ => self.content(Whose::User, &item["content"]),
                },
                "function_call" => self.call(text(&item["call_id"]), text(&item["name"]), &item["arguments"]),
                // What goes to a tool of free text goes to a function as its one argument.
                "custom_tool_call" => {
                    self.call(
                        text(&item["call_id"]),
                        text(&item["name"]),
                        &serde_json::json!({ "input": item["input"] }),
                    );
                }
                "function_call_output" | "custom_tool_call_output" => {
                    self.result(text(&item["call_id"]), "", &words(&item["output"]));
                    self.media_in(&item["output"]);
                }
                "reasoning" => {}
                _ => self.media(item),
            }
        }
        items(&body["tools"])
            .filter(|t| t["type"] == "function" || t["type"] == "custom")
            .for_each(|tool| self.tool(&tool["name"]));
    }

    fn messages(&mut self, body: &Value) {
        self.system(&words(&body["system"]));
        for message in items(&body["messages"]) {
            let whose = match text(&message["role"]) {
                "system" => {
                    self.system(&words(&message["content"]));
                    continue;
                }
                "assistant" => Whose::Assistant,
                _ => Whose::User,
            };
            self.text(whose, text(&message["content"]));
            for block in items(&message["content"]) {
                match text(&block["type"]) {
                    "text" => self.text(whose, text(&block["text"])),
                    "tool_use" => self.call(text(&block["id"]), text(&block["name"]), &block["input"]),
                    "tool_result" => {
                        self.result(text(&block["tool_use_id"]), "", &words(&block["content"]));
                        self.media_in(&block["content"]);
                    }
                    "thinking" | "redacted_thinking" => {}
                    _ => self.media(block),
                }
            }
        }
        items(&body["tools"]).filter(|t| t.get("input_schema").is_some()).for_each(|tool| self.tool(&tool["name"]));
    }

    fn gemini(&mut self, body: &Value) {
        let system = either(body, "systemInstruction", "system_instruction");
        items(&system["parts"]).for_each(|part| self.system(text(&part["text"])));
        let contents = &body["contents"];
        let contents: Vec<&Value> = if contents.is_object() { vec![contents] } else { items(contents).collect() };
        for content in contents {
            let whose = if content["role"] == "model" { Whose::Assistant } else { Whose::User };
            for part in items(&content["parts"]) {
                let (call, answer) = (
                    either(part, "functionCall", "function_call"),
                    either(part, "functionResponse", "function_response"),
                );
                if part["thought"] == true {
                } else if call.is_object() {
                    self.call(text(&call["id"]), text(&call["name"]), &call["args"]);
                } else if answer.is_object() {
                    self.result(text(&answer["id"]), text(&answer["name"]), &answer["response"].to_string());
                    self.media_in(&answer["parts"]);
                } else if part["text"].is_string() {
                    self.text(whose, text(&part["text"]));
                } else if part.as_object().is_some_and(|p| !p.is_empty() && !p.contains_key("thoughtSignature")) {
                    self.media(part);
                }
            }
        }
        for tool in items(&body["tools"]) {
            let functions = either(tool, "functionDeclarations", "function_declarations");
            items(functions).for_each(|function| self.tool(&function["name"]));
        }
    }

    fn bedrock(&mut self, body: &Value) {
        items(&body["system"]).for_each(|block| self.system(text(&block["text"])));
        for message in items(&body["messages"]) {
            let whose = if message["role"] == "assistant" { Whose::Assistant } else { Whose::User };
            for block in items(&message["content"]) {
                let Some((kind, block)) = block.as_object().and_then(|members| members.iter().next()) else { continue };
                match kind.as_str() {
                    "text" => self.text(whose, text(block)),
                    "toolUse" => self.call(text(&block["toolUseId"]), text(&block["name"]), &block["input"]),
                    "toolResult" => {
                        self.result(text(&block["toolUseId"]), "", &words(&block["content"]));
                        self.media_in(&block["content"]);
                    }
                    "cachePoint" | "reasoningContent" => {}
                    _ => self.media(block),
                }
            }
        }
        items(&body["toolConfig"]["tools"]).for_each(|tool| self.tool(&tool["toolSpec"]["name"]));
    }
}

/// The words of a document that is a text: Anthropic's, Bedrock's, Cohere's.
fn document(part: &Value) -> Option<&str> {
    let inner = part.get("document").unwrap_or(part);
    let text = |v: &'_ Value| v.as_str().is_some();
    match (&inner["source"], &inner["data"]) {
        (source, _) if source["type"] == "text" => source["data"].as_str(),
        (source, _) if text(&source["text"]) => source["text"].as_str(),
        (_, data) if text(&data["text"]) => data["text"].as_str(),
        (_, data) if part.get("id").is_some() || part["type"] == "document" => data.as_str(),
        _ => None,
    }
}

/// The words of a text, or of a list of parts.
fn words(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(|part| match (&part["text"], &part["json"]) {
                (Value::String(text), _) => text.clone(),
                (_, json) if !json.is_null() => json.to_string(),
                _ if part.is_string() => text(part).to_owned(),
                _ => String::new(),
            })
            .collect(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A result as its words; JSON in one spelling, without the one member that Google needs around a text.
fn unwrapped(says: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(says) else { return squeezed(says) };
    let inner = match &value {
        Value::Object(members) if members.len() == 1 => ["output", "error"].iter().find_map(|name| members.get(*name)),
        _ => None,
    };
    match inner.unwrap_or(&value) {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::String(_)) | Err(_) => squeezed(text),
            Ok(json) => squeezed(&json.to_string()),
        },
        json => squeezed(&json.to_string()),
    }
}
