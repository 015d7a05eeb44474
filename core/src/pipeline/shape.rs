//! The request as it leaves: the caller's bytes, with the few members spliced that terms and target change.

use http::HeaderName;

use super::arrive::forwarded;
use super::identify::Identified;
use super::said::{TOKEN_BOUNDS, TokenBound, token_bound};
use crate::contract::Operation;
use crate::contract::refusal::Refusal;
use crate::contract::splice::{Edits, with_member};
use crate::policy::facts::Intent;
use crate::policy::terms::Terms;
use crate::ports::Outgoing;
use crate::routing::catalog::{Feature, Target};

/// What of the request is the same for every target.
pub struct Shape {
    edits: Edits,
    /// Members that a policy dropped and the body had.
    pub dropped: Vec<String>,
    /// We asked for the usage chunk and the caller did not: it is taken out again.
    pub strip_usage: bool,
}

impl Shape {
    pub fn new(call: &Identified, terms: &Terms) -> Result<Self, Refusal> {
        let (body, skim) = (&call.body, &call.skim);
        let mut shape = Shape { edits: Edits::default(), dropped: Vec::new(), strip_usage: false };
        if skim.find(body, "tollgate").is_some() {
            shape.edits.remove("tollgate");
        }
        for field in &terms.drop {
            if skim.find(body, field).is_some() {
                shape.edits.remove(field);
                shape.dropped.push(field.clone());
            }
        }
        for (param, winner) in &terms.set {
            shape.edits.set(param, winner.value.to_string());
        }
        if call.stream && call.dialect.operation() == Operation::Chat {
            shape.ask_for_usage(call)?;
        }
        Ok(shape)
    }

    /// Accounts need the usage of every stream.
    fn ask_for_usage(&mut self, call: &Identified) -> Result<(), Refusal> {
        #[derive(serde::Deserialize, Default)]
        struct Options {
            #[serde(default)]
            include_usage: Option<bool>,
        }
        let raw = call.skim.raw(&call.body, "stream_options");
        let wrong = || Refusal::invalid("wrong_type", "stream_options", "`stream_options` must be an object");
        let options: Option<Options> = match raw {
            None => None,
            Some(raw) => serde_json::from_slice(raw).map_err(|_| wrong())?,
        };
        if options.unwrap_or_default().include_usage != Some(true) {
            let json = with_member(raw, "include_usage", "true").map_err(|_| wrong())?;
            self.edits.set("stream_options", json);
            self.strip_usage = true;
        }
        Ok(())
    }

    /// The request for one target.
    pub fn outgoing(
        &self,
        call: &Identified,
        intent: &Intent,
        terms: &Terms,
        target: &Target,
        besides: &[HeaderName],
        deadline_ms: u64,
    ) -> Outgoing {
        let mut edits = self.edits.clone();
        if *target.upstream_model != *intent.asked {
            edits.set("model", serde_json::Value::from(&*target.upstream_model).to_string());
        }
        if let Some(cap) = terms.max_tokens
            && call.dialect.operation() == Operation::Chat
        {
            cap_tokens(&mut edits, call, target, cap);
        }
        Outgoing {
            dialect: call.dialect,
            query: call.head.query.clone(),
            headers: forwarded(&call.head.headers, besides),
            body: edits.apply(&call.body, &call.skim),
            stream: call.stream,
            deadline_ms,
        }
    }
}

/// Lowers what the caller asked for, or bounds what nobody bounded.
fn cap_tokens(edits: &mut Edits, call: &Identified, target: &Target, cap: u64) {
    let mut bounded = false;
    for name in TOKEN_BOUNDS {
        match token_bound(&call.body, &call.skim, name) {
            Ok(TokenBound::Absent) => continue,
            Ok(TokenBound::Tokens(asked)) if asked <= cap => {}
            // A wrong type was refused before there was a plan.
            Ok(TokenBound::Tokens(_) | TokenBound::Boundless) | Err(_) => edits.set(name, cap.to_string()),
        }
        bounded = true;
    }
    if !bounded {
        // Reasoning models refuse the older name, most compatible servers do not know the newer one.
        let reasons = target.features.as_ref().is_some_and(|f| f.contains(&Feature::Reasoning));
        edits.set(if reasons { "max_completion_tokens" } else { "max_tokens" }, cap.to_string());
    }
}
