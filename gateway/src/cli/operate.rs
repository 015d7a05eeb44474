//! `tollgate policy status | rehearse | canary | ...`: asks a running gateway, over its operators' port.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Ended, Operate, Steer};
use crate::start;
use crate::state::State;
use crate::tls::pinned::{Own, connect};

/// Exit code: the gateway cannot be reached.
pub const UNREACHABLE: u8 = 3;
/// An answer is read up to this size.
const ANSWER_BYTES_MAX: usize = 16 << 20;

pub fn run(verb: &Steer) -> Result<(), Ended> {
    let (to, method, path, body) = request(verb);
    let told = told_by(to, method, &path, body)?;
    match to.json {
        true => println!("{told}"),
        false => print!("{}", shown(verb, &told)),
    }
    Ok(())
}

/// What the gateway answers, where it did what was asked.
pub fn told_by(to: &Operate, method: Method, path: &str, body: Value) -> Result<Value, Ended> {
    let config = start::config(&to.places)?;
    let state = State::open(to.places.state.as_deref().or(config.store.path.as_deref())).map_err(Ended::usage)?;
    let token = state.operator_token().map_err(Ended::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Ended::failed(format!("cannot start: {why}")))?;
    let own = to.client_cert.as_ref().zip(to.client_key.as_ref()).map(|(cert, key)| Own { cert, key });
    let tls = config.listen.operators_tls.as_ref();
    let (status, told) = runtime.block_on(async {
        let (stream, at) = (reach(to.operators).await?, to.operators);
        match tls {
            None => ask(at, stream, method, path, &token, body).await,
            Some(tls) => {
                let stream = connect(tls, own, stream).await.map_err(|why| unreachable(at, &why))?;
                ask(at, stream, method, path, &token, body).await
            }
        }
    })?;
    if (200..300).contains(&status) {
        return Ok(told);
    }
    let error = told["error"].as_str().unwrap_or("the gateway gave no reason");
    let findings: String = told["findings"].as_array().into_iter().flatten().fold(String::new(), |mut all, f| {
        let place = format!("{}:{}:{}", f["file"].as_str().unwrap_or_default(), f["line"], f["column"]);
        let _ = write!(all, "\n  {place}: {} [{}]", text(&f["message"]), text(&f["code"]));
        all
    });
    Err(Ended::failed(format!("{error}{findings}")))
}

/// A name as a part of a URL.
pub fn in_url(name: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    name.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn request(verb: &Steer) -> (&Operate, Method, String, Value) {
    let base = "/admin/v1/policies";
    match verb {
        Steer::Status { to } => (to, Method::GET, base.to_owned(), Value::Null),
        Steer::Rehearse { revision, to } => {
            (to, Method::POST, format!("{base}/second"), json!({ "revision": revision }))
        }
        Steer::Canary { revision, percent, to_percent, over_s, by, guard, to } => {
            let canary =
                json!({ "percent": percent, "to_percent": to_percent, "over_s": over_s, "by": by, "guard": guard });
            (to, Method::POST, format!("{base}/second"), json!({ "revision": revision, "canary": canary }))
        }
        Steer::Stop { to } => (to, Method::DELETE, format!("{base}/second"), Value::Null),
        Steer::Pin { revision, to } => (to, Method::POST, format!("{base}/pin"), json!({ "revision": revision })),
        Steer::Unpin { to } => (to, Method::DELETE, format!("{base}/pin"), Value::Null),
        Steer::Lower { policy, to, for_s, reason, to_gateway } => {
            let body = json!({ "policy": policy, "to": to, "for_s": for_s, "reason": reason });
            (to_gateway, Method::POST, format!("{base}/lowered"), body)
        }
        Steer::Restore { policy, to } => (to, Method::DELETE, format!("{base}/lowered"), json!({ "policy": policy })),
        Steer::Rollback { to } => (to, Method::POST, format!("{base}/rollback"), Value::Null),
        Steer::Diff { revision, to } => {
            (to, Method::GET, format!("{base}/diff?revision={}", in_url(revision)), Value::Null)
        }
    }
}

fn unreachable(at: SocketAddr, why: &str) -> Ended {
    Ended {
        code: UNREACHABLE,
        said: format!("no gateway answers on {at}: {why} (is it running? `--operators ADDRESS` names another port)"),
    }
}

async fn reach(at: SocketAddr) -> Result<TcpStream, Ended> {
    TcpStream::connect(at).await.map_err(|why| unreachable(at, &why.to_string()))
}

async fn ask(
    at: SocketAddr,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    token: &str,
    body: Value,
) -> Result<(u16, Value), Ended> {
    let unreachable = |why: String| unreachable(at, &why);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|why| unreachable(why.to_string()))?;
    tokio::spawn(connection);
    let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, at.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::new(bytes))
        .map_err(|why| Ended::usage(format!("`{path}`: {why}")))?;
    let response = sender.send_request(request).await.map_err(|why| unreachable(why.to_string()))?;
    let status = response.status().as_u16();
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|why| unreachable(why.to_string()))?.to_bytes();
    let told = serde_json::from_slice(&body)
        .map_err(|_| unreachable(format!("it answered {status}, and not as a gateway does")))?;
    Ok((status, told))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The answer for people.
fn shown(verb: &Steer, told: &Value) -> String {
    match verb {
        Steer::Rehearse { .. } | Steer::Canary { .. } | Steer::Stop { .. } => second(told),
        Steer::Diff { .. } => diff(told),
        Steer::Status { .. }
        | Steer::Pin { .. }
        | Steer::Unpin { .. }
        | Steer::Rollback { .. }
        | Steer::Lower { .. }
        | Steer::Restore { .. } => status(told),
    }
}

fn status(told: &Value) -> String {
    let held = if told["pinned"] == true { ", held by an operator" } else { "" };
    let mut out = format!(
        "active    {}{held}\nsource    {}\nsince     {}{}\n",
        text(&told["active"]),
        text(&told["source"]),
        time(&told["since_ms"]),
        age(&told["since_ms"], jiff::Timestamp::now().as_millisecond())
    );
    let signers: Vec<&str> = told["signers"].as_array().into_iter().flatten().map(text).collect();
    if !signers.is_empty() {
        let _ = writeln!(out, "signed by {}", signers.join(", "));
    }
    for (name, key) in [("waiting", "waiting"), ("previous", "previous"), ("problem", "source_error")] {
        if let Some(value) = told[key].as_str() {
            let _ = writeln!(out, "{name:<9} {value}");
        }
    }
    if let Some(rejected) = told["rejected"].as_object() {
        let _ = writeln!(out, "rejected  {}", text(&rejected["id"]));
        for finding in rejected["findings"].as_array().into_iter().flatten() {
            let place = format!("{}:{}:{}", text(&finding["file"]), finding["line"], finding["column"]);
            let _ = writeln!(out, "          {place}: {} [{}]", text(&finding["message"]), text(&finding["code"]));
        }
    }
    for (policy, switch) in told["lowered"].as_object().into_iter().flatten() {
        let until = time(&switch["until_ms"]);
        let _ =
            writeln!(out, "lowered   {policy} to {} until {until}: {}", text(&switch["to"]), text(&switch["reason"]));
    }
    for held in told["quarantined"].as_array().into_iter().flatten() {
        let (policy, tenant, until) = (text(&held["policy"]), text(&held["tenant"]), time(&held["until_ms"]));
        let _ = writeln!(out, "failing   {policy} for {tenant}, tried again {until}: {}", text(&held["last"]));
    }
    for old in told["old"].as_array().into_iter().flatten() {
        let (revision, since) = (text(&old["revision"]), time(&old["since_ms"]));
        let _ = writeln!(out, "ending    {revision}: calls that began before {since} end on it");
    }
    let _ = writeln!(out, "policies");
    for policy in told["policies"].as_array().into_iter().flatten() {
        let hooks: Vec<&str> = policy["hooks"].as_array().into_iter().flatten().map(text).collect();
        let (name, mode, file) = (text(&policy["name"]), text(&policy["mode"]), text(&policy["file"]));
        let _ = writeln!(out, "  {name:<28} {:<14} {mode:<8} {file}", hooks.join(","));
    }
    if told["second"].is_object() {
        out.push_str(&second(&told["second"]));
    }
    out
}

fn second(told: &Value) -> String {
    let role = text(&told["role"]);
    let mut out = format!("{role:<9} {}", text(&told["revision"]));
    if role == "canary" {
        let _ = write!(out, ", acts for {} % of the callers", told["percent"]);
    }
    out.push('\n');
    if let Some(why) = told["rolled_back"].as_str() {
        let _ = writeln!(out, "  rolled back by itself: {why}");
    }
    for (name, side) in [("active", &told["active"]), ("second", &told["second"])] {
        let calls = side["calls"].as_u64().unwrap_or(0);
        if calls > 0 {
            let mean = |key: &str| side[key].as_f64().unwrap_or(0.0) / calls as f64;
            let _ = writeln!(
                out,
                "  {name:<8} {calls:>8} calls, {} denied, {} errors, {:.6} USD and {:.0} ms a call",
                side["denied"],
                side["errors"],
                mean("cost_nanousd") / 1e9,
                mean("latency_ms")
            );
        }
    }
    if role == "rehearsal" {
        let _ = writeln!(out, "  {} of {} calls would go another way", told["differing"], told["compared"]);
    }
    for row in told["differences"].as_array().into_iter().flatten() {
        let samples: Vec<&str> = row["samples"].as_array().into_iter().flatten().map(text).take(2).collect();
        let _ = writeln!(
            out,
            "  {:>8} {:<9} policy `{}`, tenant `{}`: {} (for example {})",
            row["calls"],
            text(&row["kind"]),
            text(&row["policy"]),
            text(&row["tenant"]),
            text(&row["told"]),
            samples.join(", ")
        );
    }
    out
}

fn diff(told: &Value) -> String {
    let mut out = format!("from {}\nto   {}\n", text(&told["from"]), text(&told["to"]));
    let list = |key: &str| told[key].as_array().cloned().unwrap_or_default();
    for (sign, key) in [("+", "added"), ("-", "removed")] {
        for name in list(key) {
            let _ = writeln!(out, "{sign} policy {}", text(&name));
        }
    }
    for changed in list("changed") {
        let value = |name: &str, n: usize| match &changed["values"][name][n] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let told = |name: &str| match changed["values"][name].is_array() {
            true => format!("{name} {} -> {}", value(name, 0), value(name, 1)),
            false => name.to_owned(),
        };
        let what: Vec<String> = changed["what"].as_array().into_iter().flatten().map(|name| told(text(name))).collect();
        let _ = writeln!(out, "~ policy {}: {}", text(&changed["policy"]), what.join(", "));
    }
    for file in list("files") {
        let _ = writeln!(out, "~ file {}", text(&file));
    }
    if out.lines().count() == 2 {
        out.push_str("no difference\n");
    }
    out
}

/// `, for 3 h 12 min`, in two units.
fn age(since_ms: &Value, now_ms: i64) -> String {
    let Some(since_ms) = since_ms.as_i64() else { return String::new() };
    let seconds = now_ms.saturating_sub(since_ms).max(0) / 1_000;
    let units = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let told: Vec<String> = units[first..].iter().take(2).map(|(count, unit)| format!("{count} {unit}")).collect();
    format!(", for {}", told.join(" "))
}

pub fn time(ms: &Value) -> String {
    let time = ms.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(String::new, |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_one_word_is_told_with_both() {
        let told = diff(&serde_json::json!({
            "from": "a", "to": "b",
            "changed": [{ "policy": "tiers", "what": ["mode", "with"], "values": { "mode": ["observe", "enforce"] } }],
        }));
        assert!(told.contains("~ policy tiers: mode observe -> enforce, with\n"), "{told}");
    }

    #[test]
    fn an_age_is_told_in_two_units() {
        for (seconds, told) in [
            (0, ", for 0 s"),
            (61, ", for 1 min 1 s"),
            (7_260, ", for 2 h 1 min"),
            (90_000, ", for 1 d 1 h"),
            (-5, ", for 0 s"),
        ] {
            assert_eq!(age(&json!(1_000), 1_000 + seconds * 1_000), told);
        }
    }
}
