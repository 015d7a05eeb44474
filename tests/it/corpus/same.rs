//! A call in the dialect that its provider speaks: what was asked reaches the provider as it is, what it answers comes back
//! as it is, and the receipt has the usage that was recorded.

use serde_json::{Value, json};

use super::exchange::{Exchange, Place, Talk};
use super::rig::{Ask, Came, Rig, credentials, with_model};
use super::usage::Kinds;
use crate::support::replay::Received;

/// Headers of recorders and clients that mean something to a provider, and must reach it as they were.
const KEPT: [&str; 5] = ["anthropic-", "openai-", "x-stainless-", "user-agent", "x-amzn-bedrock-"];

/// Headers that end here.
const DROPPED: [(&str, &str); 5] = [
    ("cookie", "a=b"),
    ("x-hop", "1"),
    ("te", "trailers"),
    ("x-forwarded-for", "10.0.0.1"),
    ("tollgate-use-case", "corpus"),
];

/// Sends what was recorded.
pub async fn replay(rig: &mut Rig, exchange: &Exchange) -> Result<Came, String> {
    let place = exchange.place();
    let provider = rig.provider(&place).to_owned();
    let pinned = format!("{provider}/{}", place.model);
    let mut body = exchange.request.clone();
    match &mut body {
        Value::Object(members) => {
            members.insert("tollgate".to_owned(), json!({ "channel": "batch" }));
            if !place.model_in_path && !exchange.names_no_model() {
                members.insert("model".to_owned(), Value::from(&*pinned));
            }
        }
        // The recorder dropped it.
        Value::Null => body = json!({}),
        _ => return Err("its recorded body is no object".to_owned()),
    }
    let kept = exchange.headers.iter().filter(|(name, _)| KEPT.iter().any(|begin| name.starts_with(begin)));
    let mut headers: Vec<(&str, &str)> = kept.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    headers.extend(DROPPED);
    headers.push(("connection", "x-hop"));
    let query = exchange.query.as_deref();
    let ask = Ask { path: with_model(&place.path, &pinned), query, headers, body: &body };
    let came = rig.call(ask, exchange.answer.clone()).await;
    let received = came.received.as_ref().ok_or_else(|| format!("it was refused: {} {}", came.status, came.text()))?;
    request(exchange, &place, &provider, received)?;
    answer(exchange, &came)?;
    Ok(came)
}

/// What reached the provider.
fn request(exchange: &Exchange, place: &Place, provider: &str, received: &Received) -> Result<(), String> {
    credentials(received)?;
    let plain = |path: &str| path.replace("%3A", ":").replace("%2F", "/");
    let expected = format!("/{provider}{}", exchange.path);
    if plain(&received.path) != plain(&expected) {
        return Err(format!("it was sent to `{}` instead of `{expected}`", received.path));
    }
    if received.query != exchange.query {
        return Err(format!("it was sent with the query {:?} instead of {:?}", received.query, exchange.query));
    }
    for (name, _) in DROPPED {
        if received.headers.contains_key(name) {
            return Err(format!("header `{name}` went on"));
        }
    }
    for (name, value) in exchange.headers.iter().filter(|(name, _)| KEPT.iter().any(|k| name.starts_with(k))) {
        let sent: Vec<_> =
            received.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        if sent != [value.as_str()] {
            return Err(format!("header `{name}` went on as {sent:?} instead of `{value}`"));
        }
    }
    let mut sent: Value = serde_json::from_slice(&received.body).map_err(|e| e.to_string())?;
    let mut asked = if exchange.request.is_null() { json!({}) } else { exchange.request.clone() };
    if place.model_in_path && asked.get("model").is_none() && sent["model"] == *place.model {
        // Azure's path names the deployment; the body that goes on names it too.
        asked["model"] = Value::from(&*place.model);
    }
    if asked["stream"] == true && sent["stream_options"] != asked["stream_options"] {
        let mut merged = asked["stream_options"].as_object().cloned().unwrap_or_default();
        merged.insert("include_usage".to_owned(), true.into());
        if sent["stream_options"] != Value::Object(merged) {
            return Err("`stream_options` was changed in another way than asked for".to_owned());
        }
        match asked.get("stream_options") {
            Some(options) => sent["stream_options"] = options.clone(),
            None => drop(sent.as_object_mut().unwrap().remove("stream_options")),
        }
    }
    if sent == asked { Ok(()) } else { Err(format!("another request reached the provider: {sent}")) }
}

/// What came back.
fn answer(exchange: &Exchange, came: &Came) -> Result<(), String> {
    let recorded = &exchange.answer;
    let told = |what: &str| Err(format!("{what}: {}", came.text()));
    if came.status != recorded.status {
        return told(&format!("status {} instead of {}", came.status, recorded.status));
    }
    let content_type = recorded.headers.iter().find(|(name, _)| name == "content-type");
    // Events that their server called JSON are called events.
    let called_json = |kind: &str| kind.starts_with("application/json") && recorded.body.starts_with(b"data:");
    if let Some((_, kind)) = content_type.filter(|(_, kind)| !called_json(kind))
        && came.headers.get("content-type").is_none_or(|v| v != kind)
    {
        return told(&format!("another type of content than `{kind}`"));
    }
    if !exchange.json.is_null() {
        return if came.json() == exchange.json { Ok(()) } else { told("another body came back") };
    }
    if exchange.talk() != Some(Talk::Chat) {
        return if came.body == recorded.body { Ok(()) } else { told("another stream came back") };
    }
    let asked_usage = exchange.request["stream_options"]["include_usage"] == true;
    let (expected, got) = (without_ours(&recorded.body, asked_usage), without_ours(&came.body, asked_usage));
    if expected == got { Ok(()) } else { told("another stream came back") }
}

/// Comments of ours and the usage chunk that we asked for and the caller did not are no difference.
fn without_ours(sse: &[u8], asked_usage: bool) -> String {
    let keep = |event: &&str| {
        let ours = event.starts_with(": tollgate");
        let usage = !asked_usage && event.contains("\"choices\":[]") && event.contains("\"usage\":{");
        !ours && !usage
    };
    String::from_utf8_lossy(sse).split_inclusive("\n\n").filter(keep).collect()
}

/// The receipt has the recorded usage, kind by kind; `false` = none was recorded.
pub fn usage(exchange: &Exchange, receipt: &Value) -> Result<bool, String> {
    let Some(recorded) = Kinds::recorded(exchange).filter(|_| exchange.answered()) else { return Ok(false) };
    let usage = &receipt["usage"];
    let got = Kinds::of_receipt(usage);
    match got == recorded && usage["estimated"] != true {
        true => Ok(true),
        false => Err(format!("the receipt has the usage {usage}, recorded is {recorded:?}: {}", exchange.usage)),
    }
}
