//! The webhook: one message after another, signed, tried again with growing pauses up to a bound.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Full;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tollgate_core::identity::record::hex;
use tollgate_providers::client::{Client, client};
use tollgate_providers::{SecretSource, is_loopback};

use super::kept::{Kept, Row, Waits};
use super::{Kind, signed};
use crate::config::alerts::Webhook;
use crate::metrics::Metrics;
use crate::state;

/// A connection is up within this, and an answer there.
const CONNECT_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// One message, the same in all attempts.
pub struct Message {
    kind: Kind,
    /// What is the same alert.
    same: Arc<str>,
    /// By which its receiver knows a repetition.
    id: String,
    body: Bytes,
}

impl Message {
    pub fn new(kind: Kind, same: Arc<str>, body: String) -> Result<Message, String> {
        let id = format!("msg_{}", hex::encode(&state::random::<16>()?));
        Ok(Message { kind, same, id, body: body.into() })
    }

    /// One that waited before a restart.
    pub fn again(row: Row) -> Option<Message> {
        let Waits { kind, id, body } = row.waits?;
        Some(Message { kind, same: row.same, id, body: body.into() })
    }

    /// How it is kept until the webhook has it.
    fn waits(&self) -> Waits {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        Waits { kind: self.kind, id: self.id.clone(), body }
    }
}

/// The queue before the webhook, and who empties it.
pub struct Delivery {
    host: String,
    queue: mpsc::Sender<Message>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
    kept: Kept,
    metrics: Arc<Metrics>,
}

/// How an attempt ended.
enum Came {
    Taken,
    /// Another attempt may do better.
    Later(String),
    /// It would be refused again.
    Never(String),
}

struct Sender {
    url: Uri,
    secrets: Vec<SecretSource>,
    client: Client,
    attempts_max: u32,
    backoff: Duration,
    stop: watch::Receiver<bool>,
    kept: Kept,
    metrics: Arc<Metrics>,
}

impl Delivery {
    /// Begins with what waits already.
    pub fn start(hook: &Webhook, before: Vec<Message>, kept: Kept, metrics: Arc<Metrics>) -> Result<Delivery, String> {
        let (url, host) = address(&hook.url)?;
        let (over, before) = newest(before, hook.queue_max.get());
        for message in over {
            metrics.alert_came_to(message.kind.name(), "dropped");
            kept.ended(message.same, message.id);
        }
        let (queue, waiting) = mpsc::channel(hook.queue_max.get());
        let (stop, stopped) = watch::channel(false);
        let sender = Sender {
            url,
            secrets: hook.secret.sources(),
            client: client(CONNECT_MAX).map_err(|why| format!("alerts.webhook: no client can be made: {why}"))?,
            attempts_max: hook.attempts_max.get(),
            backoff: Duration::from_millis(hook.backoff_ms.get()),
            stop: stopped,
            kept: kept.clone(),
            metrics: metrics.clone(),
        };
        let task = Mutex::new(Some(tokio::spawn(sender.run(before, waiting))));
        Ok(Delivery { host, queue, stop, task, kept, metrics })
    }

    /// `false` = the queue is full. The message is kept before anybody can tell that it came.
    pub fn put(&self, message: Message, row: Row) -> bool {
        let Ok(room) = self.queue.try_reserve() else { return false };
        let kind = message.kind;
        self.kept.raised(Row { waits: Some(message.waits()), ..row });
        room.send(message);
        self.metrics.alert_came_to(kind.name(), "queued");
        true
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Each message that waits is tried once more; `false` where there was no time for all.
    pub async fn close(&self, at_most: Duration) -> bool {
        let _ = self.stop.send(true);
        let task = self.task.lock().expect("no code panics while it holds the task").take();
        match task {
            Some(task) => tokio::time::timeout(at_most, task).await.is_ok(),
            None => true,
        }
    }
}

/// What there is no room for, and the newest that there is room for.
fn newest(mut before: Vec<Message>, room: usize) -> (Vec<Message>, Vec<Message>) {
    let kept = before.split_off(before.len().saturating_sub(room));
    (before, kept)
}

/// The address, and its host: the path may be a secret of its own, and is never told.
pub fn address(text: &str) -> Result<(Uri, String), String> {
    let wrong = |why: &str| format!("alerts.webhook.url: {why}");
    let url: Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
    let host = url.host().unwrap_or_default().to_owned();
    if host.is_empty() || url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("it must be `https://HOST/PATH`"));
    }
    match url.scheme_str() {
        Some("https") => Ok((url, host)),
        Some("http") if is_loopback(&host) => Ok((url, host)),
        Some(_) => Err(wrong(&format!("it must begin with `https://`: alerts leave this machine for `{host}`"))),
        // One word is read as a host: who knows what it is.
        None => Err(wrong("it must be `https://HOST/PATH`")),
    }
}

impl Sender {
    async fn run(mut self, before: Vec<Message>, mut waiting: mpsc::Receiver<Message>) {
        for message in before {
            self.deliver(&message).await;
        }
        loop {
            let is_stopping = *self.stop.borrow();
            let message = match is_stopping {
                true => waiting.try_recv().ok(),
                false => tokio::select! {
                    message = waiting.recv() => message,
                    _ = self.stop.changed() => continue,
                },
            };
            let Some(message) = message else { return };
            self.deliver(&message).await;
        }
    }

    async fn deliver(&mut self, message: &Message) {
        let mut told = String::new();
        for attempt in 0..self.attempts_max {
            // Where the gateway ends, what waits for its turn has it now, and no other.
            let is_last = attempt > 0 && !self.wait(attempt).await;
            let why = match self.attempt(message).await {
                Came::Taken => {
                    self.kept.ended(message.same.clone(), message.id.clone());
                    return self.metrics.alert_came_to(message.kind.name(), "sent");
                }
                Came::Later(why) => why,
                Came::Never(why) => {
                    told = why;
                    break;
                }
            };
            self.metrics.alert_came_to(message.kind.name(), "again");
            tracing::debug!(%why, attempt, id = message.id, "an alert is tried again");
            told = why;
            if is_last || *self.stop.borrow() {
                tracing::warn!(
                    why = told,
                    id = message.id,
                    "an alert did not reach the webhook: the next start tries again"
                );
                return;
            }
        }
        self.kept.ended(message.same.clone(), message.id.clone());
        self.metrics.alert_came_to(message.kind.name(), "failed");
        tracing::error!(why = told, id = message.id, "an alert did not reach the webhook and is given up");
    }

    /// Doubled for each attempt; between half of it and the whole. `false` = the gateway ends.
    async fn wait(&mut self, attempt: u32) -> bool {
        let whole = self.backoff.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(PAUSE_MAX);
        let share = state::random::<1>().map_or(1.0, |[byte]| 0.5 + f64::from(byte) / 510.0);
        tokio::select! {
            () = tokio::time::sleep(whole.mul_f64(share)) => true,
            _ = self.stop.wait_for(|stop| *stop) => false,
        }
    }

    async fn attempt(&self, message: &Message) -> Came {
        let request = match self.request(message).await {
            Ok(request) => request,
            Err(why) => return Came::Later(why),
        };
        let answered = match tokio::time::timeout(ANSWER_MAX, self.client.request(request)).await {
            Ok(answered) => answered,
            Err(_) => return Came::Later(format!("it did not answer within {} s", ANSWER_MAX.as_secs())),
        };
        let status = match answered {
            Ok(answer) => answer.status(),
            Err(why) if why.is_connect() => return Came::Later("it cannot be connected to".to_owned()),
            Err(_) => return Came::Later("the connection broke".to_owned()),
        };
        let may_do_better = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
        match status.is_success() {
            true => Came::Taken,
            false if may_do_better => Came::Later(format!("it answered {}", status.as_u16())),
            false => Came::Never(format!("it answered {}", status.as_u16())),
        }
    }

    /// Signed anew for each attempt: the time is in the signature, and a secret may have changed.
    async fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, String> {
        let sources = self.secrets.clone();
        let read = move || -> Result<Vec<Vec<u8>>, String> {
            let key = |source: &SecretSource| {
                let secret = source.read().map_err(|why| format!("its secret {}: {why}", source.name()))?;
                signed::key(secret.text())
            };
            sources.iter().map(key).collect()
        };
        let keys = tokio::task::spawn_blocking(read).await.map_err(|_| "its secret could not be read".to_owned())??;
        let at_s = jiff::Timestamp::now().as_second();
        let signatures: Vec<String> =
            keys.iter().map(|key| signed::signature(key, &message.id, at_s, &message.body)).collect();
        let request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", at_s)
            .header("webhook-signature", signatures.join(" "));
        request.body(Full::new(message.body.clone())).map_err(|why| why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_leave_this_machine_over_tls_only_and_their_path_is_not_told() {
        for (url, expected) in [
            ("https://hooks.example/services/canary", Ok("hooks.example")),
            ("http://127.0.0.1:9/canary", Ok("127.0.0.1")),
            ("http://hooks.example/canary", Err("must begin with `https://`")),
            ("https://user:canary@hooks.example/", Err("must be `https://HOST/PATH`")),
            ("canary", Err("alerts.webhook.url")),
        ] {
            let read = address(url).map(|(_, host)| host);
            let told = format!("{read:?}");
            assert!(!told.contains("canary"), "{url}: {told}");
            match (read, expected) {
                (Ok(host), Ok(expected)) => assert_eq!(host, expected),
                (Err(why), Err(part)) => assert!(why.contains(part), "{url}: {why}"),
                (read, _) => panic!("{url}: {read:?}"),
            }
        }
    }
}
