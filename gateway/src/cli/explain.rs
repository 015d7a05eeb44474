//! `tollgate explain ID`: the chain of decisions of one call, from its receipt.

use std::fmt::Write as _;

use tollgate_core::contract::nearest;
use tollgate_core::contract::usage::Usage;
use tollgate_core::evidence::receipt::{Booked, Outcome, Receipt};
use tollgate_core::limits::money::usd_text;
use tollgate_core::pipeline::{claims, targets};
use tollgate_core::policy::facts::Source;
use tollgate_core::policy::terms::Terms;
use tollgate_core::policy::tree::{RevisionId, Tree};
use tollgate_core::policy::verdict::{LoweredBy, Outcome as Said, Verdict};
use tollgate_core::policy::{Hook, Mode, OnError};
use tollgate_policy_runtime::codes;
use tollgate_store::trail;

use super::{Ended, Explain, reason};

pub fn run(args: &Explain) -> Result<(), Ended> {
    if let Some(code) = args.id.as_deref().and_then(codes::explain) {
        println!("{}: {}\n\nwhat to do: {}", code.code, code.means, code.mend);
        return Ok(());
    }
    if let Some(code) = args.id.as_deref().filter(|id| looks_like_a_code(id)) {
        let known: Vec<&str> = codes::all().map(|known| known.code).collect();
        let hint = nearest::hint(&code.to_ascii_uppercase(), known);
        return Err(Ended::failed(format!("there is no code `{code}`{hint}")));
    }
    let state = super::trail::open(&args.places)?;
    let told = |why: std::io::Error| Ended::failed(format!("cannot read `{}`: {why}", state.trail().display()));
    let line = match &args.id {
        Some(id) => trail::find(&state.trail(), id).map_err(told)?,
        None => trail::tail(&state.trail(), 1).map_err(told)?.pop(),
    };
    let Some(line) = line else {
        let what = args.id.as_ref().map_or("no call".to_owned(), |id| format!("no call `{id}`"));
        return Err(Ended::failed(format!(
            "{what} is in the trail `{}` (the id is in the answer's header `tollgate-call-id`)",
            state.trail().display()
        )));
    };
    if args.json {
        println!("{line}");
        return Ok(());
    }
    let receipt: Receipt = serde_json::from_str(&line).map_err(|why| unread(&line, &why))?;
    let read = reason::repository_of(&args.places, &state, &receipt);
    print!("{}", tree(&receipt, read.as_ref().ok().map(|read| &read.tree)));
    print!("{}", reason::of_receipt(&read, &receipt));
    Ok(())
}

/// `TG` and four digits: no call id is so short, and a caller's own id may be, but seldom is.
fn looks_like_a_code(id: &str) -> bool {
    let digits = id.strip_prefix("TG").or_else(|| id.strip_prefix("tg"));
    digits.is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// A line that is no receipt: of another version, or of a call whose receipt could not be put into words.
fn unread(line: &str, why: &serde_json::Error) -> Ended {
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    match line["unwritable"].as_str() {
        Some(why) => Ended::failed(format!(
            "the receipt of this call could not be written when it ended: {why}; this is a fault of the gateway, please report it"
        )),
        None => Ended::failed(format!("the receipt cannot be read by this version: {why}")),
    }
}

/// The receipt as a tree: hooks, policies, effects with their lines, terms, candidates, attempts, cost.
fn tree(receipt: &Receipt, files: Option<&Tree>) -> String {
    let mut out = decision(receipt, files);
    end(&mut out, receipt);
    out
}

/// The part that is known before a call is sent. With the files of its revision, limits are told with their lines.
pub fn decision(receipt: &Receipt, files: Option<&Tree>) -> String {
    let mut out = String::new();
    head(&mut out, receipt);
    for hook in Hook::ALL {
        let verdicts: Vec<&Verdict> = receipt.verdicts.iter().filter(|v| v.hook == hook).collect();
        if !verdicts.is_empty() {
            line(&mut out, 0, hook.name());
            verdicts.iter().for_each(|v| policy(&mut out, v));
        }
    }
    line(&mut out, 0, "terms");
    terms(&mut out, &receipt.terms);
    if let Some(shadow) = &receipt.shadow {
        line(&mut out, 0, "terms if `observe` and `warn` acted");
        terms(&mut out, shadow);
    }
    if let Some(rehearsed) = &receipt.rehearsed {
        let id = RevisionId(rehearsed.revision.clone());
        line(&mut out, 0, &format!("in rehearsal: revision {}", id.short()));
        if rehearsed.differences.is_empty() {
            line(&mut out, 1, "the same way, under the same terms");
        }
        for difference in &rehearsed.differences {
            let policy = difference.policy.as_ref().map_or(String::new(), |name| format!(" by `{name}`"));
            line(&mut out, 1, &format!("{}{policy}", difference.told));
        }
    }
    route(&mut out, receipt, files);
    out
}

pub fn line(out: &mut String, depth: usize, text: &str) {
    let indent = "  ".repeat(depth);
    writeln!(out, "{indent}{text}").expect("writing to a text cannot fail");
}

fn head(out: &mut String, r: &Receipt) {
    let time = jiff::Timestamp::from_millisecond(r.time_ms).map(|t| t.to_string()).unwrap_or_default();
    line(out, 0, &format!("call {} at {time}", r.call_id));
    if r.request_id != r.call_id {
        line(out, 1, &format!("request id {}", r.request_id));
    }
    let c = &r.caller;
    let mut who = Vec::new();
    for (name, value, source) in [
        ("tenant", &c.tenant, Some(c.tenant_source)),
        ("app", &c.app, Some(c.app_source)),
        ("user", &c.user, Some(c.user_source)),
        ("key", &c.key, None),
    ] {
        if !value.is_empty() {
            let source = source
                .filter(|source| *source != Source::Absent)
                .map_or(String::new(), |s| format!(" ({})", format!("{s:?}").to_lowercase()));
            who.push(format!("{name} {value}{source}"));
        }
    }
    line(out, 1, &format!("who: {}", if who.is_empty() { "not known".to_owned() } else { who.join(", ") }));
    let asked = r.asked().map(|(intent, meta)| {
        let use_case = if meta.use_case.is_empty() { String::new() } else { format!(", use case {}", meta.use_case) };
        let model = if intent.asked.is_empty() { String::new() } else { format!(" for `{}`", intent.asked) };
        format!("{model}{use_case}")
    });
    let stream = if r.stream { ", streaming" } else { "" };
    let place = r.place.as_ref().map_or_else(String::new, |place| format!(", {place}"));
    let asked = asked.unwrap_or_default();
    line(out, 1, &format!("asked: {}{place}{asked}{stream}, {} bytes", r.dialect.name(), r.body_bytes));
    line(out, 1, &format!("revision {}", RevisionId(r.revision.clone()).short()));
}

pub fn policy(out: &mut String, v: &Verdict) {
    let mode = match v.mode {
        Mode::Enforce => "",
        Mode::Warn => " [warn: did not act]",
        Mode::Observe => " [observe: did not act]",
        Mode::Off => " [off]",
    };
    let name = &v.policy.name;
    match &v.outcome {
        Said::NotMatched(why) => line(out, 1, &format!("- {name}: not asked, `{why}` did not match")),
        Said::Decided(effects) if effects.is_empty() => line(out, 1, &format!("- {name}{mode}: nothing to say")),
        Said::Decided(effects) => {
            line(out, 1, &format!("- {name}{mode}"));
            for said in effects {
                let effect = serde_json::to_value(&said.effect).map(|v| told(&v)).unwrap_or_default();
                line(out, 3, &format!("{effect}    {}", said.at));
            }
        }
        Said::Failed(failure) => {
            let then = match failure.on_error {
                OnError::Deny => "the call was refused (`on_error: deny`)",
                OnError::Skip => "it counted as absent (`on_error: skip`)",
                OnError::Degrade => "it counted as absent and the answer says so (`on_error: degrade`)",
            };
            line(out, 1, &format!("- {name}{mode}: failed at {}: {}; {then}", failure.at, failure.what));
        }
    }
    if let Some(lowered) = &v.lowered {
        let by = match (&lowered.by, &lowered.at) {
            (LoweredBy::Waiver, Some(at)) => format!("a waiver at {at}"),
            (LoweredBy::Waiver, None) => "a waiver".to_owned(),
            (LoweredBy::Operator, _) => "an operator".to_owned(),
        };
        let until =
            jiff::Timestamp::from_millisecond(lowered.until_ms).map_or_else(|_| "?".to_owned(), |t| t.to_string());
        line(out, 3, &format!("lowered by {by} until {until}: {}", lowered.reason));
    }
}

/// `{"prefer":{"score":100,"wish":{"tier":"x"}}}` as `prefer score 100, wish tier x`.
fn told(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(map) => {
            map.iter().map(|(k, v)| format!("{k} {}", told(v))).collect::<Vec<_>>().join(", ")
        }
        serde_json::Value::Array(list) => format!("[{}]", list.iter().map(told).collect::<Vec<_>>().join(", ")),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

pub fn terms(out: &mut String, terms: &Terms) {
    let Ok(serde_json::Value::Object(map)) = serde_json::to_value(terms) else { return };
    if map.is_empty() {
        line(out, 1, "none: no policy had anything to say");
    }
    for (name, value) in &map {
        match value {
            serde_json::Value::Array(list) => list.iter().for_each(|v| line(out, 1, &format!("{name}: {}", told(v)))),
            other => line(out, 1, &format!("{name}: {}", told(other))),
        }
    }
}

fn route(out: &mut String, r: &Receipt, files: Option<&Tree>) {
    if let Some(replaced) = &r.intent_replaced {
        line(out, 0, &format!("intent replaced by policy: {replaced}"));
    }
    if !r.candidates.is_empty() {
        line(out, 0, "candidates");
    }
    for c in &r.candidates {
        let score = if c.score == 0 { String::new() } else { format!(", score {}", c.score) };
        let cut = c.cut.as_ref().map_or(String::new(), |cut| format!(": dropped, {}", targets::words(cut)));
        line(out, 1, &format!("- {} ({}{score}){cut}", c.target, c.why));
    }
    limits(out, r, files);
    if !r.attempts.is_empty() {
        line(out, 0, "attempts");
    }
    for a in &r.attempts {
        let status = a.status.map_or_else(String::new, |s| format!(" {s}"));
        let fault = a.fault.as_ref().map_or_else(String::new, |f| format!(", {f}"));
        let secret = a.secret.as_ref().map_or_else(String::new, |secret| format!(", with {secret}"));
        let id = a.provider_request_id.as_ref().map_or_else(String::new, |id| format!(", its id {id}"));
        // Of one whose end nobody saw it is not known.
        let took = match r.outcome {
            Outcome::Unknown { .. } => String::new(),
            _ => format!(" in {} ms", a.latency_ms),
        };
        line(out, 1, &format!("- {}{status}{took}{fault}{secret}{id}", a.target));
        if a.may_have_cost_nanousd.is_some() || a.may_have_used_tokens.is_some() {
            let cost = usd_text(a.may_have_cost_nanousd.unwrap_or(0));
            let tokens = a.may_have_used_tokens.unwrap_or(0);
            line(out, 2, &format!("nobody saw its end: {cost} USD, {tokens} tokens are booked that it may have used"));
        }
    }
}

fn limits(out: &mut String, r: &Receipt, files: Option<&Tree>) {
    if !r.holds.is_empty() || r.hold_refused.is_some() {
        line(out, 0, "limits");
    }
    let place = |rule: &str| {
        let place = files.and_then(|files| super::limits::place(files, rule));
        place.map_or_else(String::new, |place| format!("    {place}"))
    };
    for hold in &r.holds {
        let [held, limit, used] = [hold.held, hold.limit, hold.used].map(|n| claims::amount(n, hold.unit));
        let (rule, scope, at) = (&hold.rule, &hold.scope, place(&hold.rule));
        line(out, 1, &format!("- {rule} held {held} of {limit} ({used} were used) in {scope}{at}"));
    }
    if let Some(refused) = &r.hold_refused {
        let [wanted, limit, used, held] =
            [refused.wanted, refused.limit, refused.used, refused.held].map(|n| claims::amount(n, refused.unit));
        let (rule, scope, at) = (&refused.rule, &refused.scope, place(&refused.rule));
        let told =
            format!("- {rule} refused: it needs {wanted}, limit {limit}, {used} used, {held} held in {scope}{at}");
        line(out, 1, &told);
    }
}

fn end(out: &mut String, r: &Receipt) {
    line(out, 0, "end");
    let how = match &r.outcome {
        Outcome::Answered { status } => format!("answered {status}"),
        Outcome::Refused { status, refusal } => {
            let at = refusal.at.as_ref().map_or(String::new(), |at| format!(" at {at}"));
            let policy = refusal.policy.as_ref().map_or(String::new(), |p| format!(" by policy `{p}`{at}"));
            format!("refused {status} {} ({}){policy}: {}", refusal.category.name(), refusal.code, refusal.reason)
        }
        Outcome::ProviderError { refusal, .. } => format!("the provider's error was handed over: {}", refusal.reason),
        Outcome::Interrupted { refusal } => format!("interrupted: {}", refusal.reason),
        Outcome::CallerLeft => "the caller left before the end".to_owned(),
        Outcome::Unknown { found_ms, booked } => return unknown(out, r, *found_ms, booked),
    };
    line(out, 1, &how);
    if let Some(from) = &r.replayed_from {
        line(
            out,
            1,
            &format!("the stored answer of call {} (same idempotency key, revision {})", from.call_id, from.revision),
        );
    }
    if let Some(u) = &r.usage {
        let estimated = if u.estimated { " (estimated)" } else { "" };
        line(out, 1, &format!("used: {}{estimated}", kinds(u)));
        for beside in &r.usage_beside {
            let by = if beside.model.is_empty() { "for the same answer" } else { &*beside.model };
            line(out, 1, &format!("used beside it, {by}: {}", kinds(&beside.usage)));
        }
        match (&r.cost_nanousd, &r.price) {
            (Some(cost), Some(row)) => {
                let price = if row.assumed { "no price is known; worst case, price" } else { "price" };
                line(out, 1, &format!("cost: {} USD ({price} of {}, {})", usd_text(*cost), row.as_of, row.source));
            }
            _ => line(out, 1, "cost: not known, the catalog has no price for this target"),
        }
    }
    let first = r.first_byte_ms.map_or(String::new(), |ms| format!(", first byte after {ms} ms"));
    line(out, 1, &format!("took {} ms{first}, {} bytes", r.latency_ms, r.answer_bytes));
    if !r.decision_digest.is_empty() {
        line(out, 1, &format!("decision digest {}", r.decision_digest));
    }
}

/// The end of a call that nobody saw.
fn unknown(out: &mut String, r: &Receipt, found_ms: i64, booked: &[Booked]) {
    let found = jiff::Timestamp::from_millisecond(found_ms).map(|t| t.to_string()).unwrap_or_default();
    line(out, 1, "unknown: the call left for its provider, and the gateway ended before the call did");
    line(out, 1, &format!("found at {found}; the provider may have carried it out, and may bill it"));
    for booked in booked {
        let amount = claims::amount(booked.amount, booked.unit);
        line(out, 1, &format!("booked in {}: {amount}, all that was held for it, in {}", booked.rule, booked.scope));
    }
    if let Some(cost) = r.cost_nanousd {
        line(out, 1, &format!("cost: {} USD, settled before the gateway ended", usd_text(cost)));
    }
}

/// The kinds of tokens that were used: the usual four always, the others where there are any.
fn kinds(usage: &Usage) -> String {
    let kinds = [
        ("input", usage.input, true),
        ("cached input", usage.cached_input, true),
        ("cache write", usage.cache_write, false),
        ("cache write for an hour", usage.cache_write_1h, false),
        ("audio input", usage.input_audio, false),
        ("output", usage.output, true),
        ("audio output", usage.output_audio, false),
        ("reasoning", usage.reasoning, true),
    ];
    let told = kinds.iter().filter(|(_, n, always)| *always || *n > 0).map(|(kind, n, _)| format!("{n} {kind}"));
    format!("{} tokens", told.collect::<Vec<_>>().join(", "))
}
