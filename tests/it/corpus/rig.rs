//! The gateway between a caller and a provider that replays: one provider in its config for each kind and base URL.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::exchange::{Exchange, Place};
use crate::support::gateway::{Gateway, eventually};
use crate::support::replay::{Received, Recorded, Replay};

/// The provider's key, which no caller may see and every provider must.
const SECRET: &str = "secret-of-the-provider";

pub struct Rig {
    pub gateway: Gateway,
    replay: Replay,
    client: reqwest::Client,
    /// By kind and base.
    names: BTreeMap<(&'static str, String), String>,
    pub calls: usize,
}

/// What a call came to.
pub struct Came {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The receipt's name.
    pub call_id: String,
    /// What reached the provider; absent = the call was refused before.
    pub received: Option<Received>,
}

impl Came {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(1_500)]).into_owned()
    }
}

/// A call for the gateway.
pub struct Ask<'a> {
    pub path: String,
    pub query: Option<&'a str>,
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: &'a Value,
}

impl Rig {
    pub async fn start(places: impl Iterator<Item = Place>) -> Rig {
        Rig::with_default(places, None).await
    }

    /// With one provider that takes calls for no model or none that is known.
    pub async fn with_default(places: impl Iterator<Item = Place>, default: Option<Place>) -> Rig {
        let replay = Replay::default();
        let address = replay.serve().await;
        let mut names = BTreeMap::new();
        for Place { kind, base, .. } in places {
            let next = format!("{kind}-{}", names.len());
            names.entry((kind, base)).or_insert(next);
        }
        let mut config = "providers:\n".to_owned();
        for ((kind, base), name) in &names {
            let base_url = format!("{address}/{name}{base}");
            let secret = "secret: { env: PROVIDER_KEY }";
            let is_default = default.as_ref().is_some_and(|place| place.kind == *kind && place.base == *base);
            let more = format!("unlisted: true, default: {is_default}, {secret}");
            writeln!(config, "  {name}: {{ base_url: \"{base_url}\", api: {kind}, {more} }}").unwrap();
        }
        let gateway = Gateway::in_environment(&[("PROVIDER_KEY", SECRET)], &config);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Rig { gateway, replay, client, names, calls: 0 }
    }

    /// The name of the provider of this place.
    pub fn provider(&self, place: &Place) -> &str {
        &self.names[&(place.kind, place.base.clone())]
    }

    /// Asks the gateway; the provider answers with what was recorded.
    pub async fn call(&mut self, ask: Ask<'_>, answer: Recorded) -> Came {
        self.replay.answer_next(answer);
        self.calls += 1;
        let query = ask.query.map_or_else(String::new, |q| format!("?{q}"));
        let mut request = self
            .client
            .post(format!("{}{query}", self.gateway.url(&ask.path)))
            .bearer_auth(&self.gateway.key)
            .header("content-type", "application/json")
            .body(ask.body.to_string());
        for (name, value) in &ask.headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let call_id = headers.get("tollgate-call-id").map_or("", |id| id.to_str().unwrap()).to_owned();
        let body = answer.bytes().await.unwrap().to_vec();
        let mut received = self.replay.take();
        assert!(received.len() < 2, "{}: the provider was asked {} times", ask.path, received.len());
        Came { status, headers, body, call_id, received: received.pop() }
    }

    /// All receipts, by call.
    pub fn receipts(&self) -> HashMap<String, Value> {
        eventually("the receipts", || {
            let receipts = self.gateway.receipts();
            (receipts.len() >= self.calls).then(|| {
                receipts.into_iter().map(|r| (r["call_id"].as_str().unwrap_or_default().to_owned(), r)).collect()
            })
        })
    }
}

/// A path with the model that stands in it, encoded as clients do.
pub fn with_model(path: &str, model: &str) -> String {
    let encoded = model.bytes().map(|b| match b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    });
    path.replace("{model}", &encoded.collect::<String>())
}

/// The provider was shown its own key and nothing of the caller's.
pub fn credentials(received: &Received) -> Result<(), String> {
    let values = || received.headers.iter().map(|(_, v)| String::from_utf8_lossy(v.as_bytes()));
    if values().any(|v| v.contains("tg_")) {
        return Err("the caller's key reached the provider".to_owned());
    }
    match values().filter(|v| v.contains(SECRET)).count() {
        1 => Ok(()),
        n => Err(format!("the provider was shown its key {n} times")),
    }
}

/// Places of all exchanges that can be replayed.
pub fn places(exchanges: &[Exchange]) -> impl Iterator<Item = Place> {
    exchanges.iter().filter(|e| e.elsewhere().is_none()).map(Exchange::place)
}
