//! Calls between dialects: every recorded request to a provider of every other dialect, and every recorded answer to a caller
//! of every other dialect. What is said, called and counted must be the same on both sides.

use serde_json::{Value, json};

use super::asked::{self, Asked, Item};
use super::exchange::{Exchange, Place, Talk};
use super::rig::{Ask, Came, Rig, with_model};
use super::told::{self, Told};
use super::usage::Kinds;

/// What became of a call between dialects.
pub enum Fate {
    Passed,
    /// Refused before it left, naming the field that cannot be said.
    Unsupported(String),
    /// The answer was an error, as such told.
    Error,
}

/// A provider that is asked in a dialect by callers of another.
pub fn place(from: Talk, to: Talk) -> Place {
    let (kind, model) = match to {
        // OpenAI itself would be asked in Responses.
        Talk::Chat if from == Talk::Responses => ("compatible", "gpt-4.1"),
        Talk::Chat => ("openai", "gpt-4.1"),
        Talk::Responses => ("responses", "gpt-5-pro"),
        Talk::Messages => ("anthropic", "claude-sonnet-4-5"),
        Talk::Gemini => ("gemini", "gemini-2.5-flash"),
        Talk::Bedrock => ("bedrock", "us.anthropic.claude-sonnet-4-5"),
        Talk::Cohere => ("cohere", "command-a-03-2025"),
        Talk::Ollama => ("ollama", "qwen3"),
    };
    Place { kind, base: "/cross".to_owned(), model_in_path: false, path: String::new(), model: model.to_owned() }
}

/// Between which dialects calls are translated: Ollama speaks OpenAI's chat too, and is asked in that.
pub fn pairs() -> impl Iterator<Item = (Talk, Talk)> {
    let all = Talk::ALL.iter().flat_map(|from| Talk::ALL.iter().map(|to| (*from, *to)));
    all.filter(|pair| pair.0 != pair.1 && *pair != (Talk::Chat, Talk::Ollama))
}

/// A caller's request of one dialect, for a model of somebody else's.
pub fn asking<'a>(talk: Talk, exchange: Option<&Exchange>, model: &str, stream: bool, body: &'a mut Value) -> Ask<'a> {
    let (mut path, mut query, mut in_path) = match talk {
        Talk::Chat => ("/v1/chat/completions".to_owned(), None, false),
        Talk::Responses => ("/v1/responses".to_owned(), None, false),
        Talk::Messages => ("/v1/messages".to_owned(), None, false),
        Talk::Gemini if stream => ("/v1beta/models/{model}:streamGenerateContent".to_owned(), Some("alt=sse"), true),
        Talk::Gemini => ("/v1beta/models/{model}:generateContent".to_owned(), None, true),
        Talk::Bedrock if stream => ("/model/{model}/converse-stream".to_owned(), None, true),
        Talk::Bedrock => ("/model/{model}/converse".to_owned(), None, true),
        Talk::Cohere => ("/v2/chat".to_owned(), None, false),
        Talk::Ollama => ("/api/chat".to_owned(), None, false),
    };
    if let Some(place) = exchange.map(Exchange::place) {
        (path, in_path) = (place.path, place.model_in_path);
        query = query.filter(|_| exchange.is_some_and(|e| e.query.as_deref() == Some("alt=sse")));
    }
    if !in_path {
        body["model"] = Value::from(model);
    }
    Ask { path: with_model(&path, model), query, headers: Vec::new(), body }
}

/// A recorded request to a provider of another dialect, which gives this answer.
pub async fn request(rig: &mut Rig, exchange: &Exchange, to: Talk, answer: &Exchange) -> Result<Fate, String> {
    let from = exchange.talk().ok_or("no conversation")?;
    let place = place(from, to);
    let model = format!("{}/{}", rig.provider(&place), place.model);
    let mut body = exchange.request.clone();
    let ask = asking(from, Some(exchange), &model, exchange.stream, &mut body);
    let came = rig.call(ask, answer.answer.clone()).await;
    let Some(received) = &came.received else { return refused(&came) };
    let sent: Value = serde_json::from_slice(&received.body).map_err(|e| format!("no JSON was sent: {e}"))?;
    let dropped = came.headers.get("tollgate-dropped").map_or("", |v| v.to_str().unwrap_or_default());
    same_said(from, to, &asked::read(from, &exchange.request), &asked::read(to, &sent), dropped)
        .map_err(|why| format!("{why}\n  asked {}\n  sent {sent}", exchange.request))?;
    let silent = from == Talk::Chat && exchange.request["stream_options"]["include_usage"] != true;
    same_told(from, to, exchange.stream, answer, &came, exchange.stream && silent)
}

/// The plainest request of a dialect.
pub fn plain_request(talk: Talk, stream: bool) -> Value {
    let said = json!([{ "role": "user", "content": "hi" }]);
    match talk {
        Talk::Chat if stream => {
            json!({ "messages": said, "stream": true, "stream_options": { "include_usage": true } })
        }
        Talk::Chat | Talk::Cohere | Talk::Ollama => json!({ "messages": said, "stream": stream }),
        Talk::Responses => json!({ "input": "hi", "stream": stream }),
        Talk::Messages => json!({ "max_tokens": 99, "messages": said, "stream": stream }),
        Talk::Gemini => json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] }),
        Talk::Bedrock => json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }] }),
    }
}

/// A recorded answer to a caller of another dialect.
pub async fn answer(rig: &mut Rig, exchange: &Exchange, to: Talk) -> Result<(Fate, Came), String> {
    let from = exchange.talk().ok_or("no conversation")?;
    let place = place(to, from);
    let model = format!("{}/{}", rig.provider(&place), place.model);
    let mut body = plain_request(to, exchange.stream);
    let mut ask = asking(to, None, &model, exchange.stream, &mut body);
    let as_array = ask.query.is_some() && rig.calls.is_multiple_of(2);
    ask.query = ask.query.filter(|_| !as_array);
    let came = rig.call(ask, exchange.answer.clone()).await;
    if came.received.is_none() {
        return Err(format!("a plain request was refused: {}", came.text()));
    }
    let fate = same_told(to, from, exchange.stream, exchange, &came, false)?;
    let begins = if as_array { &b"[{"[..] } else { b"data: {" };
    let crlf = as_array || came.body.ends_with(b"\r\n\r\n");
    if to == Talk::Gemini && exchange.stream && came.status == 200 && !(came.body.starts_with(begins) && crlf) {
        return Err(format!("as an array: {as_array}, but what came is {}", came.text()));
    }
    Ok((fate, came))
}

/// A refusal of ours must say which field cannot be said, and nothing worse.
fn refused(came: &Came) -> Result<Fate, String> {
    let body = came.json();
    let refusal = [&body["error"]["tollgate"], &body["tollgate"]].into_iter().find(|r| r.is_object()).cloned();
    let refusal = refusal.unwrap_or_default();
    let reason = refusal["reason"].as_str().unwrap_or_default();
    let field = reason.strip_prefix('`').and_then(|rest| rest.split('`').next());
    match (came.status, refusal["category"].as_str(), field) {
        (400, Some("unsupported"), Some(field)) => Ok(Fate::Unsupported(field.to_owned())),
        _ => Err(format!("it was refused with {}: {}", came.status, came.text())),
    }
}

/// What reached the provider says what the caller asked.
fn same_said(from: Talk, to: Talk, asked: &Asked, sent: &Asked, dropped: &str) -> Result<(), String> {
    if asked.system != sent.system {
        return Err(format!("the system says {:?} instead of {:?}", sent.system, asked.system));
    }
    tools(to, asked, sent)?;
    let mut words = sent.said.clone();
    let mut documents = sent.documents.clone();
    for document in &asked.documents {
        if let Some(at) = documents.iter().position(|d| d == document) {
            documents.remove(at);
            continue;
        }
        // Said among the words, or in a result.
        let found = words.iter_mut().find_map(|item| match item {
            Item::Text(_, words) | Item::Result { says: words, .. } if words.contains(document.as_str()) => Some(words),
            _ => None,
        });
        let words = found.ok_or_else(|| format!("the document {document:?} is not said"))?;
        *words = words.replacen(document.as_str(), "", 1);
    }
    words.retain(|item| !matches!(item, Item::Text(_, words) if words.is_empty()));
    if asked.media != sent.media && dropped.is_empty() {
        return Err(format!("{} pictures, sounds and documents went on of {}", sent.media, asked.media));
    }
    let at = (0..asked.said.len().max(words.len())).find(|at| match (asked.said.get(*at), words.get(*at)) {
        (Some(asked), Some(sent)) => !same_item(from, to, asked, sent),
        _ => true,
    });
    match at {
        None => Ok(()),
        Some(at) => Err(format!("item {at} is {:?} instead of {:?}", words.get(at), asked.said.get(at))),
    }
}

/// Where a dialect cannot choose among tools, only those are offered that may be called; where calls stand in a conversation,
/// Bedrock wants tools.
fn tools(to: Talk, asked: &Asked, sent: &Asked) -> Result<(), String> {
    let fewer = asked.chooses && sent.tools.iter().all(|tool| asked.tools.contains(tool));
    let made = to == Talk::Bedrock && asked.tools.is_empty();
    match asked.tools == sent.tools || fewer || made {
        true => Ok(()),
        false => Err(format!("the tools are {:?} instead of {:?}", sent.tools, asked.tools)),
    }
}

fn same_item(from: Talk, to: Talk, asked: &Item, sent: &Item) -> bool {
    match (asked, sent) {
        (Item::Call { id, name, arguments }, Item::Call { id: i, name: n, arguments: a }) => {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            // Ids that another dialect cannot have are made anew there.
            let made = !has_ids(from) || !has_ids(to) || !id.chars().all(fits) || id.is_empty() || id.len() > 64;
            name == n && arguments == a && (made || id == i)
        }
        // What a tool gave besides words stands elsewhere in some dialects, and a word in its place.
        (Item::Result { call, says }, Item::Result { call: c, says: s }) => call == c && (says == s || says.is_empty()),
        (asked, sent) => asked == sent,
    }
}

fn has_ids(talk: Talk) -> bool {
    !matches!(talk, Talk::Gemini | Talk::Ollama)
}

/// What came back tells what the provider told, as the caller's dialect tells it.
///
/// `silent` = the caller did not ask for usage.
fn same_told(
    ours: Talk,
    theirs: Talk,
    stream: bool,
    answer: &Exchange,
    came: &Came,
    silent: bool,
) -> Result<Fate, String> {
    if !answer.answered() {
        return match (came.status, came.headers.get("x-should-retry")) {
            (400..=599, Some(_)) => Ok(Fate::Error),
            _ => Err(format!("an error came back as {}: {}", came.status, came.text())),
        };
    }
    let mut expected = told::recorded(answer)?;
    expected.usage = expected.usage.filter(|_| !silent);
    if came.status != 200 {
        return Err(format!("{} came back: {}", came.status, came.text()));
    }
    let kind = came.headers.get("content-type").map_or("", |v| v.to_str().unwrap_or_default());
    let got = match stream {
        true => told::streamed(ours, kind, &came.body, true),
        false => told::whole(ours, &came.json()),
    };
    let got = got.map_err(|why| format!("{why}\n  {}", came.text()))?;
    compare(ours, theirs, &expected, &got).map_err(|why| format!("{why}\n  {}", came.text()))?;
    Ok(Fate::Passed)
}

fn compare(ours: Talk, theirs: Talk, expected: &Told, got: &Told) -> Result<(), String> {
    if expected.failed != got.failed {
        return Err(format!("it failed: {}, told: {}", expected.failed, got.failed));
    }
    if expected.text != got.text {
        return Err(format!("the text is {:?} instead of {:?}", got.text, expected.text));
    }
    if got.reasoning != expected.reasoning {
        return Err(format!("the reasoning is {:?} instead of {:?}", got.reasoning, expected.reasoning));
    }
    let ids = has_ids(theirs) && ours != Talk::Ollama && expected.calls.iter().all(|c| !c.id.is_empty());
    let calls = |told: &Told| -> Vec<(String, String, String)> {
        let id = |id: &str| id.split("~tollgate:").next().unwrap_or_default().to_owned();
        told.calls
            .iter()
            .map(|c| (if ids { id(&c.id) } else { String::new() }, c.name.clone(), c.arguments.clone()))
            .collect()
    };
    if calls(expected) != calls(got) {
        return Err(format!("the calls are {:?} instead of {:?}", got.calls, expected.calls));
    }
    if got.calls.iter().any(|c| c.id.is_empty()) && !matches!(ours, Talk::Ollama | Talk::Gemini) {
        return Err("a call has no id".to_owned());
    }
    if expected.failed {
        return Ok(());
    }
    if expected.native || matches!(expected.finish.as_str(), "queued" | "in_progress") {
        // It ended in what only its own dialect knows, or not yet.
        return Ok(());
    }
    // Cohere has one word for all that went wrong.
    let wrong = ours == Talk::Cohere && got.finish == "error" && expected.finish == "content_filter";
    if expected.finish != got.finish && !expected.finish.is_empty() && !wrong {
        return Err(format!("it ended with {:?} instead of {:?}", got.finish, expected.finish));
    }
    let (Some(expected), Some(got)) = (expected.usage, got.usage) else {
        return match expected.usage.is_some() {
            true => Err("its usage is not told".to_owned()),
            false => Ok(()),
        };
    };
    // Bedrock and Ollama do not say what of the output was thought, Ollama nothing of a cache either.
    let both = |kinds: Kinds| {
        let (cache, thoughts) = (ours != Talk::Ollama, !matches!(ours, Talk::Bedrock | Talk::Ollama));
        let of = |has: bool, count: u64| if has { count } else { 0 };
        (kinds.input_all(), kinds.output_all(), of(cache, kinds.cached), of(thoughts, kinds.reasoning))
    };
    match both(expected) == both(got) {
        true => Ok(()),
        false => Err(format!("its usage is {got:?} instead of {expected:?}")),
    }
}

/// Answers to choose from for requests: short, plain ones of a dialect, streamed or not.
pub fn plain_answer(exchanges: &[Exchange], talk: Talk, stream: bool) -> &Exchange {
    let plain = |e: &&Exchange| {
        let told = told::recorded(e);
        e.talk() == Some(talk)
            && e.stream == stream
            && e.answered()
            && told
                .is_ok_and(|t| !t.text.is_empty() && t.calls.is_empty() && !t.failed && !t.native && t.finish == "stop")
    };
    exchanges.iter().find(plain).expect("every dialect has a plain answer")
}
