//! Who answers the calls of a world, and who makes them: neither can be relied upon.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tollgate_core::contract::Dialect;
use tollgate_core::dialects::Quirks;
use tollgate_core::pipeline::outlet::{Body, Response};
use tollgate_core::ports::{Fault, Later, Outgoing, Reply, Upstream};
use tollgate_core::routing::catalog::Target;

use super::executor::Time;
use crate::journal::Random;
use crate::ledger::books::lock;

pub(super) struct Provider {
    pub time: Time,
    pub random: Arc<Mutex<Random>>,
    pub quirks: Quirks,
}

/// Words of a piece that is longer than what is held for an answer without a bound.
const LONG: usize = 4_500;

impl Provider {
    fn below(&self, bound: usize) -> usize {
        lock(&self.random).below(bound)
    }

    /// Mostly soon; at times after a whole stretch of the day, in which periods end.
    fn wait_ms(&self) -> u64 {
        match self.below(40) {
            0 => 60_000 + self.below(500_000) as u64,
            1..=5 => 1_000 + self.below(8_000) as u64,
            _ => 1 + self.below(400) as u64,
        }
    }

    /// What it says it used: mostly the truth, at times nothing, far too little or far too much.
    fn usage(&self) -> String {
        let output = match self.below(12) {
            0 => return "null".to_owned(),
            1 => 0,
            2 => 200 + self.below(1_500),
            _ => 1 + self.below(60),
        };
        format!(r#"{{"prompt_tokens":9,"completion_tokens":{output},"total_tokens":{}}}"#, output + 9)
    }

    fn whole(&self) -> Vec<String> {
        let usage = self.usage();
        vec![format!(
            r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"Hi"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
        )]
    }

    fn events(&self) -> Vec<String> {
        let mut events = Vec::new();
        for _ in 0..1 + self.below(5) {
            let words = if self.below(60) == 0 { LONG } else { 1 + self.below(20) };
            let text = "word ".repeat(words);
            events.push(format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"{text}\"}}}}]}}\n\n"
            ));
        }
        events.push("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".to_owned());
        events.push(format!("data: {{\"choices\":[],\"usage\":{}}}\n\n", self.usage()));
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    async fn reply(&self, is_stream: bool, deadline_ms: u64) -> Result<Reply, Fault> {
        let wait_ms = self.wait_ms();
        self.time.sleep(wait_ms.min(deadline_ms)).await;
        if wait_ms >= deadline_ms {
            return Err(Fault::Deadline(deadline_ms));
        }
        let broken = || Fault::Broken("reset".to_owned());
        let status = match self.below(16) {
            0 => return Err(Fault::Connect("refused".to_owned())),
            1 => return Err(broken()),
            2 => return Err(Fault::FirstByte(wait_ms)),
            3 => StatusCode::INTERNAL_SERVER_ERROR,
            4 => StatusCode::TOO_MANY_REQUESTS,
            5 => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        let (kind, mut pieces) = match (status == StatusCode::OK, is_stream) {
            (true, true) => ("text/event-stream", self.events()),
            (true, false) => ("application/json", self.whole()),
            (false, _) => ("application/json", vec![r#"{"error":{"message":"no","type":"no"}}"#.to_owned()]),
        };
        let breaks = self.below(8) == 0;
        if breaks {
            pieces.truncate(self.below(pieces.len()));
        }
        let pieces = pieces.into_iter().map(|piece| Ok(Bytes::from(piece))).chain(breaks.then(|| Err(broken())));
        let waits: Vec<_> = pieces.map(|piece| (piece, self.time.clone(), self.wait_ms())).collect();
        let body = stream::iter(waits).then(|(piece, time, wait_ms)| async move {
            time.sleep(wait_ms).await;
            piece
        });
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        Ok(Reply { status, headers, body: Box::pin(body), other_secret: false })
    }
}

impl Upstream for Provider {
    fn serves(&self, _: &str) -> bool {
        true
    }

    fn takes_unlisted(&self, _: &str) -> bool {
        false
    }

    fn speaks(&self, _: &str) -> &[Dialect] {
        &[Dialect::OpenaiChat]
    }

    fn quirks(&self, _: &str) -> &Quirks {
        &self.quirks
    }

    fn providers(&self) -> &[Arc<str>] {
        &[]
    }

    fn speakers(&self, _: Dialect) -> Vec<&str> {
        Vec::new()
    }

    fn default_provider(&self) -> Option<&str> {
        None
    }

    fn forwards(&self, _: &str) -> &[HeaderName] {
        &[]
    }

    fn send<'a>(
        &'a self,
        _: &'a Target,
        sent: Outgoing,
        _: &'a mut Option<Arc<str>>,
    ) -> Later<'a, Result<Reply, Fault>> {
        let is_stream = sent.body.windows(13).any(|bytes| bytes == br#""stream":true"#);
        Box::pin(self.reply(is_stream, sent.deadline_ms))
    }
}

/// A caller: reads its answer to the end, or leaves before.
pub(super) async fn caller(time: Time, answer: tokio::sync::oneshot::Receiver<Response>, chance: (usize, u64)) {
    let (kind, patience_ms) = chance;
    let read = async {
        let Ok(Response { body: Body::Pieces(mut pieces), .. }) = answer.await else { return };
        while pieces.recv().await.is_some() {
            if kind == 1 {
                time.sleep(patience_ms / 4).await;
            }
        }
    };
    let within = if kind == 0 { patience_ms } else { u64::MAX / 4 };
    let _ = time.no_longer(std::time::Duration::from_millis(within), read).await;
}
