//! A chat answer on its way: whole, or event by event, each flushed alone, with what the script does to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body::Frame;
use serde_json::{Value, json};
use tokio::time::Sleep;

use super::answer::Chat;
use super::script::Script;
use super::truth::Sent;
use super::{Asked, CREATED, STALL, Sim, common};

/// Answers a chat. The truth is written when the body has ended, or was dropped.
pub fn chat(sim: Arc<Sim>, asked: Asked, mut sent: Sent) -> Response {
    let chat = Chat::of(&asked);
    sent.usage = chat.usage();
    let stream = asked.body["stream"] == true;
    let (pieces, kind) = match stream {
        true => (events(&chat, &asked), "text/event-stream; charset=utf-8"),
        false => (whole(&chat, &asked), "application/json"),
    };
    let script = asked.script;
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    let gap = script.tps.filter(|_| stream).map_or(Duration::ZERO, |tps| Duration::from_micros(1_000_000 / tps));
    let body = Writing {
        pieces: pieces.into_iter(),
        gap,
        wait: Some(script.first),
        ends: ends(&script, stream),
        sim,
        sent: Some(sent),
        written: 0,
        timer: None,
        yielded: true,
    };
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if !stream {
        // A cut answer was promised whole.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    common(headers, asked.number);
    response
}

/// How a body ends before its end.
#[derive(Clone, Copy)]
enum Ends {
    Properly,
    /// After this many events (or bytes) the connection breaks.
    Cut(u64),
    /// After this many events nothing more comes.
    Stall(u64),
}

fn ends(script: &Script, stream: bool) -> Ends {
    match (script.cut, script.stall) {
        (Some(n), _) => Ends::Cut(if stream { n } else { 1 }),
        (None, Some(n)) => Ends::Stall(if stream { n } else { 1 }),
        (None, None) => Ends::Properly,
    }
}

/// A JSON answer in one piece; in two where it will be cut or stall.
fn whole(chat: &Chat, asked: &Asked) -> Vec<Bytes> {
    let bytes = Bytes::from(chat.json(&asked.model).to_string());
    match asked.script.cut.or(asked.script.stall) {
        Some(n) => {
            let at = (n as usize).clamp(1, bytes.len() - 1);
            vec![bytes.slice(..at), bytes.slice(at..)]
        }
        None => vec![bytes],
    }
}

/// The events of a stream, as OpenAI writes them.
fn events(chat: &Chat, asked: &Asked) -> Vec<Bytes> {
    let script = &asked.script;
    let wants_usage = asked.body["stream_options"]["include_usage"] == true;
    let chunk = |choices: Value| {
        let mut chunk = json!({
            "id": chat.id, "object": "chat.completion.chunk", "created": CREATED, "model": asked.model,
            "service_tier": "default", "system_fingerprint": "fp_sim", "choices": choices,
        });
        if wants_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let mut list: Vec<String> = Vec::new();
    for index in 0..chat.choices {
        let delta = |delta: Value, finish: Value| {
            chunk(json!([{ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish }])).to_string()
        };
        let content = if chat.tool.is_some() { Value::Null } else { "".into() };
        list.push(delta(json!({ "role": "assistant", "content": content, "refusal": null }), Value::Null));
        list.extend(chat.words.iter().map(|word| delta(json!({ "content": word }), Value::Null)));
        if let Some(tool) = &chat.tool {
            let call = |call: Value| delta(json!({ "tool_calls": [call] }), Value::Null);
            let head = json!({ "index": 0, "id": chat.tool_id(), "type": "function", "function": { "name": tool.name, "arguments": "" } });
            list.push(call(head));
            let letters: Vec<char> = tool.arguments.chars().collect();
            list.extend(letters.chunks(5).map(|piece| {
                call(json!({ "index": 0, "function": { "arguments": piece.iter().collect::<String>() } }))
            }));
        }
        list.push(delta(json!({}), chat.finish.clone().into()));
    }
    if let Some(usage) = chat.usage().filter(|_| wants_usage) {
        let mut last = chunk(json!([]));
        last["usage"] = usage;
        list.push(last.to_string());
    }
    if let Some(n) = script.malformed {
        list.insert((n as usize).min(list.len()), "{\"id\":\"chatcmpl-broken\",\"choices\":[{".to_owned());
    }
    if let Some(n) = script.error_at {
        list.truncate(n as usize);
        list.push(json!({ "error": { "message": "sim was told to fail here", "type": "server_error", "param": null, "code": "server_error" } }).to_string());
    } else if !script.nodone {
        list.push("[DONE]".to_owned());
    }
    written(list, script)
}

/// Events as bytes: line ends, comments and cuts within letters as scripted.
fn written(list: Vec<String>, script: &Script) -> Vec<Bytes> {
    let end = if script.crlf { "\r\n\r\n" } else { "\n\n" };
    let mut pieces = Vec::with_capacity(list.len());
    for data in list {
        if script.comments {
            pieces.push(Bytes::from(format!(": sim{end}")));
        }
        let event = Bytes::from(format!("data: {data}{end}"));
        match event.iter().position(|b| *b >= 0x80).filter(|_| script.split) {
            Some(at) => pieces.extend([event.slice(..at + 1), event.slice(at + 1..)]),
            None => pieces.push(event),
        }
    }
    pieces
}

/// A body being written.
struct Writing {
    pieces: std::vec::IntoIter<Bytes>,
    gap: Duration,
    /// How long to wait before the next piece.
    wait: Option<Duration>,
    ends: Ends,
    sim: Arc<Sim>,
    sent: Option<Sent>,
    written: u64,
    timer: Option<Pin<Box<Sleep>>>,
    yielded: bool,
}

impl http_body::Body for Writing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let me = &mut *self;
        if let Some(timer) = &mut me.timer {
            ready!(timer.as_mut().poll(cx));
            me.timer = None;
        } else if let Some(wait) = me.wait.take().filter(|w| !w.is_zero()) {
            let timer = me.timer.insert(Box::pin(tokio::time::sleep(wait)));
            ready!(timer.as_mut().poll(cx));
            me.timer = None;
        } else if !me.yielded {
            // Between two events the one before is flushed.
            me.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match me.ends {
            Ends::Cut(n) if me.written >= n => {
                me.tell(false);
                return Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())));
            }
            Ends::Stall(n) if me.written >= n => {
                let timer = me.timer.insert(Box::pin(tokio::time::sleep(STALL)));
                ready!(timer.as_mut().poll(cx));
            }
            Ends::Properly | Ends::Cut(_) | Ends::Stall(_) => {}
        }
        let Some(piece) = me.pieces.next() else {
            me.tell(true);
            return Poll::Ready(None);
        };
        me.written += 1;
        if let Some(sent) = &mut me.sent {
            sent.bytes += piece.len();
            sent.events = me.written;
        }
        me.wait = Some(me.gap);
        me.yielded = false;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Writing {
    /// Writes the truth, once.
    fn tell(&mut self, complete: bool) {
        if let Some(sent) = self.sent.take() {
            self.sim.truth.push(Sent { complete, ..sent });
        }
    }
}

impl Drop for Writing {
    /// Dropped before its end: the caller has left. A JSON body of known length is dropped at its end, too.
    fn drop(&mut self) {
        let complete = self.pieces.len() == 0;
        self.tell(complete);
    }
}
