//! Stage two: hook *pre-auth*, then who calls, then the body under its bounds, then the metadata that is in the body.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Core;
use super::arrive::{self, Arrival, Credential, Head};
use super::body;
use super::prove::{Shown, prove};
use super::said::{BodySays, metadata};
use super::settle::After;
use super::stateful::Refers;
use super::wire::{self, Wire};
use crate::contract::Dialect;
use crate::contract::meta::{Declared, Field};
use crate::contract::refusal::{Category, Refusal};
use crate::contract::skim::Skim;
use crate::dialects::paths::Place;
use crate::evidence::receipt::{Receipt, Recorded, sealed};
use crate::identity::certificate::Certified;
use crate::policy::Hook;
use crate::policy::facts::{CallFacts, Caller, Facts, Source};
use crate::policy::revision::Revision;
use crate::policy::schema::{Group, GroupSet};
use crate::policy::terms::Terms;
use crate::ports::Beside;

/// A `user-agent` longer than this is cut in facts.
const USER_AGENT_MAX: usize = 256;

/// A call with a caller and a body.
pub struct Identified {
    pub call_id: Arc<str>,
    pub hold_id: u128,
    pub started_ms: u64,
    pub time_ms: i64,
    pub dialect: Dialect,
    /// The model, where the path says it.
    pub asked: Option<Arc<str>>,
    pub place: Place,
    pub revision: Arc<Revision>,
    pub head: Head,
    pub declared: Declared,
    /// What is known so far; `plan` completes them.
    pub facts: Facts,
    /// The object by which the call is read, and what goes on.
    pub body: Bytes,
    pub skim: Arc<Skim>,
    pub wire: Wire,
    /// What a provider holds of what the call speaks of; `plan` finds it.
    pub refers: Refers,
    pub stream: bool,
    /// Keyed digests, for the receipt.
    pub user_sealed: Arc<str>,
    pub address_sealed: Arc<str>,
    /// A second revision that was live when the call came.
    pub beside: Option<Arc<dyn Beside>>,
}

/// What a call's head says: all that the first hook may see.
struct Heading<'a> {
    call: &'a CallFacts,
    head: &'a Head,
    declared: &'a Declared,
    credential: Option<&'a Credential>,
    certificate: Option<&'a Certified>,
}

pub async fn identify(
    core: &Core,
    call: Box<Arrival>,
    receipt: &mut Receipt,
    after: &mut After,
) -> Result<Box<Identified>, Refusal> {
    let call = *call;
    let address_sealed = call.head.address_sealed.clone();
    let facts_of_call = facts_of_head(&call);
    call.wrong.map_or(Ok(()), Err)?;
    // Where another revision may take the call over, it must see the same head.
    let said_in_head = call.beside.is_some().then(|| call.declared.clone());
    let (credential, certificate) = (call.credential.as_ref(), call.certificate.as_deref());
    let heading = Heading { call: &facts_of_call, head: &call.head, declared: &call.declared, credential, certificate };
    let (mut caller, buckets) = admit_head(core, &call.revision, &heading, receipt).await?;
    let (came, length) = arrive::unpacked(&call.head.headers, call.body, call.content_length)?;
    let bytes = body::read(core, came, length, after).await?;
    receipt.body_bytes = bytes.len() as u64;
    let mut declared = call.declared;
    let wire::Came { body, skim, wire } = wire::read(bytes, call.dialect, &call.place, &call.head.headers)?;
    let said = BodySays::read(&body, &skim)?;
    join(&mut declared, &said, receipt, after)?;
    assert_identity(&declared, &said, &mut caller)?;
    receipt.stream =
        call.stream.or(said.stream).unwrap_or_else(|| wire::streams_unsaid(call.dialect, &call.place, &call.head));
    let mut facts = Facts::default();
    facts.call = CallFacts { stream: receipt.stream, body_bytes: receipt.body_bytes, ..facts_of_call.clone() };
    (facts.caller, facts.meta) = (caller, metadata(&declared, &said, &call.head)?);
    facts.words = wire.words(&body, &skim, call.dialect);
    facts.give_buckets(buckets);
    let head_said = said_in_head.as_ref().unwrap_or(&declared);
    let heading = Heading { call: &facts_of_call, head: &call.head, declared: head_said, credential, certificate };
    let second = change_over(core, call.beside.as_ref(), &heading, (&declared, &said), &mut facts, receipt).await?;
    after.revision = second.as_ref().unwrap_or(&call.revision).clone();
    let user_sealed = seal_user(core, &facts.caller.user);
    receipt.caller = sealed(&facts.caller, &user_sealed, &address_sealed);
    Ok(Box::new(Identified {
        facts,
        stream: receipt.stream,
        asked: call.asked,
        place: call.place,
        wire,
        refers: Refers::default(),
        call_id: call.call_id,
        hold_id: call.hold_id,
        started_ms: call.started_ms,
        time_ms: call.time_ms,
        dialect: call.dialect,
        revision: second.unwrap_or(call.revision),
        head: call.head,
        declared,
        body: body.clone(),
        skim,
        user_sealed,
        address_sealed,
        beside: call.beside,
    }))
}

/// The body's `tollgate` object counts like the headers do.
fn join(declared: &mut Declared, said: &BodySays<'_>, receipt: &mut Receipt, after: &mut After) -> Result<(), Refusal> {
    let Some(object) = said.tollgate else { return Ok(()) };
    declared.join_object(object)?;
    arrive::version(declared)?;
    receipt.contract = arrive::contract(declared);
    after.trailer = declared.trailer();
    Ok(())
}

/// The first hook, then the caller: what a revision can know before the body came.
async fn admit_head(
    core: &Core,
    revision: &Revision,
    heading: &Heading<'_>,
    receipt: &mut Receipt,
) -> Result<(Caller, BTreeMap<String, u16>), Refusal> {
    let buckets = pre_auth(core, revision, heading, receipt)?;
    let address = &heading.head.address;
    let (credential, certificate) = (heading.credential, heading.certificate);
    let shown = Shown { credential, certificate, address, now_ms: heading.call.time_ms };
    let proven = prove(core, revision, heading.declared, &shown).await?;
    let caller = Caller { address: address.clone(), ..proven.caller.clone() };
    receipt.caller = sealed(&caller, &"".into(), &heading.head.address_sealed);
    // Behind the receipt's caller: who was refused stands in it.
    proven.admits(heading.call.operation)?;
    Ok((caller, buckets))
}

/// Where a second revision acts for this caller, the call is its alone from here on: it begins anew with the same head, and
/// what the first said counts no more.
async fn change_over(
    core: &Core,
    beside: Option<&Arc<dyn Beside>>,
    heading: &Heading<'_>,
    (declared, said): (&Declared, &BodySays<'_>),
    facts: &mut Facts,
    receipt: &mut Receipt,
) -> Result<Option<Arc<Revision>>, Refusal> {
    let acting = beside.filter(|beside| beside.acts_for(facts)).map(|beside| beside.revision().clone());
    let Some(second) = acting else { return Ok(None) };
    receipt.revision = second.id.0.clone();
    receipt.verdicts.clear();
    receipt.facts.clear();
    facts.caller = admit_head(core, &second, heading, receipt).await?.0;
    assert_identity(declared, said, &mut facts.caller)?;
    Ok(Some(second))
}

fn facts_of_head(call: &Arrival) -> CallFacts {
    CallFacts {
        id: call.call_id.clone(),
        time_ms: call.time_ms,
        dialect: call.dialect,
        operation: call.dialect.operation(),
        stream: false,
        body_bytes: 0,
        user_agent: user_agent(&call.head),
    }
}

fn seal_user(core: &Core, user: &str) -> Arc<str> {
    if user.is_empty() { "".into() } else { core.pepper.pseudonym("user", user).into() }
}

fn user_agent(head: &Head) -> String {
    let text = head.headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.chars().take(USER_AGENT_MAX).collect()
}

/// Asks the policies that sit before authentication. Their facts are the head's: all asserted.
fn pre_auth(
    core: &Core,
    revision: &Revision,
    heading: &Heading<'_>,
    receipt: &mut Receipt,
) -> Result<BTreeMap<String, u16>, Refusal> {
    let judge = &revision.judge;
    if !judge.sits_at(Hook::PreAuth) {
        return Ok(Default::default());
    }
    let asserted = |field: Field| -> (Arc<str>, Source) {
        heading.declared.get(field).map_or(("".into(), Source::Absent), |v| (v.into(), Source::Asserted))
    };
    let mut facts = Facts::default();
    facts.call = heading.call.clone();
    (facts.caller.tenant, facts.caller.tenant_source) = asserted(Field::Tenant);
    (facts.caller.app, facts.caller.app_source) = asserted(Field::App);
    (facts.caller.user, facts.caller.user_source) = asserted(Field::User);
    facts.caller.address = heading.head.address.clone();
    facts.meta = metadata(heading.declared, &BodySays::default(), heading.head)?;
    let facts = Arc::new(facts);
    let verdicts = judge.ask(Hook::PreAuth, &facts);
    let mut groups = GroupSet::default();
    [Group::Call, Group::Caller, Group::Meta].into_iter().for_each(|g| groups.insert(g));
    let user = seal_user(core, &facts.caller.user);
    let buckets = facts.buckets();
    let recorded = Recorded::Live { facts, groups, user, address: heading.head.address_sealed.clone() };
    receipt.facts.insert(Hook::PreAuth, recorded);
    receipt.verdicts.extend(verdicts);
    receipt.terms = Arc::new(Terms::resolve(&receipt.verdicts));
    super::plan::refuse_denied(receipt)?;
    Ok(buckets)
}

/// What the caller says of itself counts where its credential leaves it open, and never contradicts it.
fn assert_identity(declared: &Declared, said: &BodySays<'_>, caller: &mut Caller) -> Result<(), Refusal> {
    let user = declared.get(Field::User).map(str::to_owned).or_else(|| said.user());
    for (name, value, field, source) in [
        ("tenant", declared.get(Field::Tenant), &mut caller.tenant, &mut caller.tenant_source),
        ("app", declared.get(Field::App), &mut caller.app, &mut caller.app_source),
        ("user", user.as_deref(), &mut caller.user, &mut caller.user_source),
    ] {
        let Some(value) = value else { continue };
        match source {
            Source::Absent => (*field, *source) = (value.into(), Source::Asserted),
            Source::Asserted | Source::Verified if **field == *value => {}
            Source::Asserted | Source::Verified => {
                // The refusal stands in the receipt, and a user's name nowhere in the clear.
                let told = match name {
                    "user" => "the call says another user than its key".to_owned(),
                    _ => format!("the call says {name} `{value}`, its key says `{field}`"),
                };
                let told = format!("{told}: leave it out, or use another key");
                return Err(Refusal::new(Category::Permission, "identity_mismatch", told));
            }
        }
    }
    Ok(())
}
