//! The recorded exchanges, and where each belongs: which dialect it is in, at which path, at which kind of provider.

use serde_json::Value;

use crate::support;
use crate::support::replay::Recorded;

/// One recorded exchange.
pub struct Exchange {
    pub id: String,
    pub api: String,
    pub path: String,
    pub query: Option<String>,
    pub model: String,
    pub stream: bool,
    pub headers: Vec<(String, String)>,
    /// Null where it had none.
    pub request: Value,
    /// As it is served again.
    pub answer: Recorded,
    /// The answer as JSON; null where it is a stream.
    pub json: Value,
    pub usage: Value,
}

/// A dialect of conversations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Talk {
    Chat,
    Responses,
    Messages,
    Gemini,
    Bedrock,
    Cohere,
    Ollama,
}

impl Talk {
    pub const ALL: [Talk; 7] =
        [Talk::Chat, Talk::Responses, Talk::Messages, Talk::Gemini, Talk::Bedrock, Talk::Cohere, Talk::Ollama];
}

/// Where an exchange goes in, and where it comes out.
pub struct Place {
    /// `api` of the provider in `tollgate.yaml`.
    pub kind: &'static str,
    /// What of the recorded path belongs to the provider's base URL.
    pub base: String,
    /// The model stands in the path.
    pub model_in_path: bool,
    /// The gateway's path, with `{model}` where it has one.
    pub path: String,
    pub model: String,
}

/// APIs that the gateway does not carry, and why.
const ELSEWHERE: &[(&str, &str)] = &[(".models", "`GET`: the list of models is the gateway's own")];

/// All exchanges, by API and name; none, and loudly so, where the corpus is not at hand.
pub fn all() -> Vec<Exchange> {
    let Some(corpus) = support::corpus("the recorded exchanges") else { return Vec::new() };
    let mut folders: Vec<_> = std::fs::read_dir(corpus.join("exchanges"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    let mut exchanges = Vec::new();
    for folder in folders {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        exchanges.extend(files.iter().map(|f| read(&serde_json::from_slice(&std::fs::read(f).unwrap()).unwrap())));
    }
    exchanges
}

fn read(exchange: &Value) -> Exchange {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let pairs = |v: &Value| -> Vec<(String, String)> {
        v.as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
    };
    let (request, response) = (&exchange["request"], &exchange["response"]);
    // Places that the recorders replaced by a mark.
    let url = text(&request["url"]).replace("<GOOGLE_CLOUD_LOCATION>", "global");
    let (path, query) = url.split_once('?').map_or((url.as_str(), None), |(p, q)| (p, Some(q.to_owned())));
    let body = match response["body_encoding"].as_str() {
        Some("text") => text(&response["body"]).into_bytes(),
        Some("base64") => base64(&text(&response["body"])),
        _ => response["body"].to_string().into_bytes(),
    };
    Exchange {
        id: text(&exchange["id"]),
        api: text(&exchange["api"]),
        path: path.to_owned(),
        query,
        model: text(&exchange["model"]),
        stream: exchange["stream"] == true,
        headers: pairs(&request["headers"]),
        request: request["body"].clone(),
        answer: Recorded {
            status: response["status"].as_u64().unwrap() as u16,
            headers: pairs(&response["headers"]),
            body,
        },
        json: if response["body_encoding"] == "json" { response["body"].clone() } else { Value::Null },
        usage: exchange["usage"].clone(),
    }
}

impl Exchange {
    /// Why it cannot be replayed.
    pub fn elsewhere(&self) -> Option<&'static str> {
        ELSEWHERE.iter().find(|(api, _)| self.api.contains(api)).map(|(_, why)| *why)
    }

    /// Its request names no model anywhere: its provider chooses.
    pub fn names_no_model(&self) -> bool {
        !self.place().model_in_path && self.request.get("model").is_none()
    }

    /// The dialect of conversations that it is in.
    pub fn talk(&self) -> Option<Talk> {
        if self.elsewhere().is_some() {
            return None;
        }
        match self.api.as_str() {
            "anthropic.messages" => Some(Talk::Messages),
            "bedrock.converse" | "bedrock.converse-stream" => Some(Talk::Bedrock),
            "cohere.v2.chat" => Some(Talk::Cohere),
            "cohere.v1.chat" => None,
            "ollama.chat" => Some(Talk::Ollama),
            api if api.ends_with("enerateContent") => Some(Talk::Gemini),
            api if api.ends_with(".chat") => Some(Talk::Chat),
            api if api.ends_with(".responses") => Some(Talk::Responses),
            _ => None,
        }
    }

    /// Its recorded answer is an answer, and no error.
    pub fn answered(&self) -> bool {
        self.answer.status == 200
    }

    pub fn place(&self) -> Place {
        let provider = self.api.split('.').next().unwrap_or_default();
        let kind =
            ["openai", "azure", "anthropic", "gemini", "vertex", "bedrock", "cohere", "ollama", "mistral", "groq"]
                .into_iter()
                .chain(["deepseek", "openrouter", "xai"])
                .find(|kind| *kind == provider)
                .unwrap_or("compatible");
        let in_body = self.request["model"].as_str().unwrap_or(&self.model).to_owned();
        let place = |base: &str, path: String, in_path: Option<&str>| Place {
            kind,
            base: base.to_owned(),
            model_in_path: in_path.is_some(),
            path,
            model: in_path.map_or(in_body.clone(), decoded),
        };
        let path = self.path.as_str();
        if let Some((base, rest)) = path.split_once("/publishers/google/models/") {
            let (model, verb) = rest.rsplit_once(':').unwrap();
            return place(base, format!("{base}/publishers/google/models/{{model}}:{verb}"), Some(model));
        }
        if let Some((version, rest)) = path.split_once("/models/").filter(|(_, rest)| rest.contains(':')) {
            let (model, verb) = rest.rsplit_once(':').unwrap();
            return place("", format!("{version}/models/{{model}}:{verb}"), Some(model));
        }
        if let Some((model, verb)) = path.strip_prefix("/model/").and_then(|rest| rest.rsplit_once('/')) {
            return place("", format!("/model/{{model}}/{verb}"), Some(model));
        }
        if let Some((deployment, rest)) = path.strip_prefix("/openai/deployments/").and_then(|r| r.split_once('/')) {
            return place("", format!("/openai/deployments/{{model}}/{rest}"), Some(deployment));
        }
        if kind == "azure" && path.starts_with("/openai/v1/") {
            return place("", path.to_owned(), None);
        }
        for end in
            ["/chat/completions", "/responses", "/embeddings", "/completions", "/moderations", "/images/generations"]
        {
            if let Some(base) = path.strip_suffix(end) {
                // Azure's other service takes many makers' models at a path of OpenAI's form.
                let kind = match kind {
                    "azure" => "compatible",
                    "compatible" if end == "/responses" => "responses",
                    kind => kind,
                };
                return Place { kind, ..place(base, format!("/v1{end}"), None) };
            }
        }
        place("", path.to_owned(), None)
    }
}

fn decoded(text: &str) -> String {
    text.replace("%3A", ":").replace("%2F", "/")
}

/// Enough of base64 for recordings.
pub fn base64(text: &str) -> Vec<u8> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut out, mut bits, mut held) = (Vec::with_capacity(text.len() * 3 / 4), 0u32, 0);
    for six in text.bytes().filter_map(value) {
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}
