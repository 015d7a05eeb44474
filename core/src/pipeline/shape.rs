//! The request as it leaves: the caller's bytes with the few members spliced that terms and target change, or, where the target
//! speaks another dialect, the same said in that.

use http::{HeaderMap, HeaderName, header};

use super::arrive::forwarded;
use super::identify::Identified;
use super::said::{TokenBound, token_bound};
use super::translate;
use super::wire::Wire;
use crate::contract::refusal::Refusal;
use crate::contract::splice::{Edits, with_member};
use crate::contract::{Dialect, Operation};
use crate::dialects::bedrock::invoke::form;
use crate::dialects::embeddings::Wanted;
use crate::dialects::paths::Address;
use crate::dialects::{Given, Quirks, gemini, openai_chat, sealed as seals, spots};
use crate::policy::facts::Intent;
use crate::policy::terms::Terms;
use crate::ports::Outgoing;
use crate::routing::catalog::{Feature, Target};

/// What of the request is the same for every target.
pub struct Shape {
    edits: Edits,
    /// Members that a policy dropped and the body had.
    pub dropped: Vec<String>,
    /// The caller asked for usage in its stream, or its dialect always tells it.
    pub include_usage: bool,
}

/// One attempt, made ready.
pub struct Ready {
    pub outgoing: Outgoing,
    /// What could not be said in the target's dialect.
    pub dropped: Vec<String>,
    /// Names of tools whose calls go back in the caller's own form.
    pub own_tools: Vec<String>,
    /// Of embeddings in another dialect: what the answer must fit.
    pub wanted: Option<Wanted>,
}

/// The place that one attempt is made ready for.
pub struct At<'a> {
    pub target: &'a Target,
    pub dialect: Dialect,
    pub quirks: &'a Quirks,
    /// Headers that go on to this provider besides those that go to all.
    pub besides: &'a [HeaderName],
    pub deadline_ms: u64,
}

impl Shape {
    pub fn new(call: &Identified, terms: &Terms) -> Result<Self, Refusal> {
        let (body, skim) = (&call.body, &call.skim);
        let mut shape = Shape { edits: Edits::default(), dropped: Vec::new(), include_usage: true };
        if skim.find(body, "tollgate").is_some() {
            shape.edits.remove("tollgate");
        }
        for field in &terms.drop {
            if spots::of(call.dialect, field).remove(body, skim, &mut shape.edits) {
                shape.dropped.push(field.clone());
            }
        }
        for (param, winner) in &terms.set {
            spots::of(call.dialect, param).set(body, skim, &mut shape.edits, &winner.value.to_string());
        }
        if call.stream && matches!(call.dialect, Dialect::OpenaiChat | Dialect::OpenaiCompletions) {
            shape.include_usage = asks_for_usage(call)?;
        }
        Ok(shape)
    }

    /// The call as readers and writers of dialects are given it.
    pub fn given<'a>(&self, call: &'a Identified, intent: &'a Intent) -> Given<'a> {
        translate::given(call, &intent.asked, self.include_usage)
    }

    /// The request for one target.
    pub fn ready(&self, call: &Identified, intent: &Intent, terms: &Terms, at: &At<'_>) -> Result<Ready, Refusal> {
        // Seals of another maker, that an answer brought into the conversation, are taken off on the way back.
        let same = at.dialect == call.dialect && !(seals::may_ride(call.dialect) && seals::ride_in(&call.body));
        let said = match same {
            true => self.same(call, intent, terms, at)?,
            false => translate::request(call, &self.given(call, intent), &self.edits, terms, at)?,
        };
        let address = Address {
            model: Some(at.target.upstream_model.clone()),
            stream: Some(call.stream),
            place: call.place.clone(),
            ..Address::of(at.dialect)
        };
        // What a caller tells its own provider in the URL and in headers means nothing to another.
        let mut headers = if same { forwarded(call.dialect, &call.head.headers, at.besides) } else { HeaderMap::new() };
        if let (Wire::Form(_), Some(kind)) = (&call.wire, call.head.headers.get(header::CONTENT_TYPE)) {
            headers.insert(header::CONTENT_TYPE, kind.clone());
        }
        let query = translate::query(call, at.dialect);
        let outgoing = Outgoing { address, query, headers, body: said.body, deadline_ms: at.deadline_ms };
        Ok(Ready { outgoing, dropped: said.dropped, own_tools: said.own_tools, wanted: said.wanted })
    }

    /// In the caller's own dialect: no byte changes that need not.
    fn same(&self, call: &Identified, intent: &Intent, terms: &Terms, at: &At<'_>) -> Result<translate::Said, Refusal> {
        let mut edits = self.edits.clone();
        // At a path with deployments the path alone counts, in and out.
        let versioned = call.head.query.as_deref().is_some_and(|query| query.contains("api-version="));
        let in_path =
            !spots::model_in_body(call.dialect) || (at.quirks.deployments && versioned && call.asked.is_some());
        // A call that names no model gets none: its provider has a usual one, or needs none.
        let names_one = !intent.asked.is_empty() || call.asked.is_some();
        if !in_path && names_one && (*at.target.upstream_model != *intent.asked || call.asked.is_some()) {
            edits.set("model", serde_json::Value::from(&*at.target.upstream_model).to_string());
        }
        gemini::repeated::set_model(call.dialect, &call.body, &call.skim, &at.target.upstream_model, &mut edits);
        if !self.include_usage && !at.quirks.no_stream_options {
            let raw = call.skim.raw(&call.body, "stream_options");
            edits.set("stream_options", with_member(raw, "include_usage", "true").map_err(|_| wrong_options())?);
        }
        if let Some(cap) = terms.max_tokens
            && matches!(call.dialect.operation(), Operation::Chat | Operation::Completions)
        {
            cap_tokens(&mut edits, call, at.target, cap);
        }
        let mut lost = Vec::new();
        if call.dialect == Dialect::OpenaiChat {
            lost = openai_chat::mend(&call.body, &call.skim, at.quirks, &mut edits);
        }
        let dropped = translate::accepted(lost, terms, at.target, at.dialect)?;
        let body = call.wire.apply(&call.body, &call.skim, &edits);
        Ok(translate::Said { body, dropped, ..translate::Said::default() })
    }
}

fn wrong_options() -> Refusal {
    Refusal::invalid("wrong_type", "stream_options", "`stream_options` must be an object")
}

/// Accounts need the usage of every stream: where the caller did not ask, we do, and take it out again.
fn asks_for_usage(call: &Identified) -> Result<bool, Refusal> {
    #[derive(serde::Deserialize, Default)]
    struct Options {
        #[serde(default)]
        include_usage: Option<bool>,
    }
    let options: Option<Options> = match call.skim.raw(&call.body, "stream_options") {
        None => None,
        // A list would be read as the members in their order.
        Some(raw) if raw.first() == Some(&b'[') => return Err(wrong_options()),
        Some(raw) => serde_json::from_slice(raw).map_err(|_| wrong_options())?,
    };
    Ok(options.unwrap_or_default().include_usage == Some(true))
}

/// Lowers what the caller asked for, or bounds what nobody bounded.
fn cap_tokens(edits: &mut Edits, call: &Identified, target: &Target, cap: u64) {
    let mut bounded = false;
    let spots = spots::max_tokens(call.dialect);
    for spot in spots {
        match token_bound(spot.read(&call.body, &call.skim), spot.member) {
            Ok(TokenBound::Absent) => continue,
            Ok(TokenBound::Tokens(asked)) if asked <= cap => {}
            // A wrong type was refused before there was a plan.
            Ok(TokenBound::Tokens(_) | TokenBound::Boundless) | Err(_) => {
                spot.set(&call.body, &call.skim, edits, &cap.to_string());
            }
        }
        bounded = true;
    }
    if bounded {
        return;
    }
    // Reasoning models of OpenAI's refuse the older name, most compatible servers do not know the newer one.
    let reasons = target.features.as_ref().is_some_and(|f| f.contains(&Feature::Reasoning));
    let usual = if reasons { spots.first() } else { spots.last() };
    let spot = match call.dialect == Dialect::BedrockInvoke {
        true => Some(form::bound(&call.body, &call.skim, &target.upstream_model)),
        false => usual.copied(),
    };
    if let Some(spot) = spot {
        spot.set(&call.body, &call.skim, edits, &cap.to_string());
    }
}
