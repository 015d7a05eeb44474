//! `tollgate limits why`: which limit refused or lowered a call, how it stood, when the call fits, and which line says so.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use tollgate_core::evidence::receipt::{Outcome, Receipt};
use tollgate_core::limits::amendment::{Amendment, What};
use tollgate_core::limits::claim::{Claim, Held, Refused};
use tollgate_core::limits::rules::Unit;
use tollgate_core::pipeline::claims::amount;
use tollgate_core::policy::tree::Tree;
use tollgate_policy_runtime::tables::limits;
use tollgate_policy_runtime::yaml::{self, Data};
use tollgate_store::ledger::MemoryLedger;
use tollgate_store::ledger::event::{Booked, Event};
use tollgate_store::trail;

use super::explain::line;
use super::operate::{in_url, told_by};
use super::route::{self, Decided, Request, With};
use super::{Ended, Operate, reason};

#[derive(Subcommand)]
pub enum Limits {
    /// Which limit refused or lowered a call, and when it fits; of a call that was made, or of a request that is not sent
    Why(Why),
}

#[derive(Args)]
pub struct Why {
    /// A call id, or a caller's request id
    #[arg(required_unless_present = "input", conflicts_with = "input")]
    id: Option<String>,
    /// The body of a request that was not made: looked at as budgets stand now, and not sent
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    with: With,
    #[command(flatten)]
    to: Operate,
}

pub fn run(verb: &Limits) -> Result<(), Ended> {
    let Limits::Why(args) = verb;
    let (receipt, tree, by) = match (&args.input, &args.id) {
        (Some(input), _) => {
            let Decided { mut receipt, refused, tree, by, .. } = would(args, input)?;
            if let Some(refusal) = refused {
                receipt.outcome = Outcome::Refused { status: refusal.status().as_u16(), refusal };
            }
            (receipt, Ok(tree), Some(by))
        }
        (None, id) => {
            let (receipt, tree) = of_call(args, id.as_deref().unwrap_or_default())?;
            (receipt, tree, None)
        }
    };
    match args.to.json {
        true => println!("{}", in_json(&receipt, tree.as_ref().ok())),
        false => {
            print!("{}", told(&receipt, &tree));
            by.iter().for_each(|by| println!("decided by {by}"));
        }
    }
    Ok(())
}

fn of_call(args: &Why, id: &str) -> Result<(Box<Receipt>, Result<Tree, String>), Ended> {
    let state = super::trail::open(&args.to.places)?;
    let told = |why: std::io::Error| Ended::failed(format!("cannot read `{}`: {why}", state.trail().display()));
    let found = trail::find(&state.trail(), id).map_err(told)?.ok_or_else(|| {
        let trail = state.trail();
        Ended::failed(format!(
            "no call `{id}` is in the trail `{}` (the id is in the header `tollgate-call-id`)",
            trail.display()
        ))
    })?;
    let receipt: Box<Receipt> = serde_json::from_str(&found)
        .map_err(|why| Ended::failed(format!("the receipt cannot be read by this version: {why}")))?;
    let tree = reason::repository_of(&args.to.places, &state, &receipt).map(|repository| repository.tree);
    Ok((receipt, tree))
}

/// A request that is not sent, against the balances of the running gateway. Decided twice: first to learn what it claims, then with
/// the balances of that, which policies may read too.
fn would(args: &Why, input: &std::path::Path) -> Result<Decided, Ended> {
    let state = super::trail::open(&args.to.places)?;
    let pepper = || state.pepper().map_err(Ended::usage);
    let request = Request { input: input.to_owned(), with: args.with.clone() };
    let places = &args.to.places;
    let first = route::decide(&request, places, None, pepper()?)?;
    let ledger = Arc::new(MemoryLedger::default());
    let now_ms = jiff::Timestamp::now().as_millisecond();
    for (n, claim) in first.claims.iter().enumerate() {
        let path = format!("/admin/v1/budgets/{}/{}", in_url(&claim.rule.name), in_url(&claim.scope));
        let stands = told_by(&args.to, Method::GET, &path, Value::Null)?;
        stand(&ledger, claim, &stands, (n as u128, now_ms));
    }
    route::decide(&request, places, Some(ledger), pepper()?)
}

/// Makes the scope stand as the gateway says.
fn stand(ledger: &MemoryLedger, claim: &Claim, stands: &Value, (n, at_ms): (u128, i64)) {
    let number = |name: &str| stands[name].as_u64().unwrap_or(0);
    let (rule, scope): (_, Arc<str>) = (claim.rule.clone(), Arc::from(&*claim.scope));
    let limit = number("limit");
    if limit != rule.limit {
        let amendment = Amendment {
            id: format!("{n}").into(),
            rule: rule.name.clone(),
            scope: Some(scope.clone()),
            unit: rule.unit,
            what: What::Override(limit),
            made_ms: at_ms,
            until_ms: i64::MAX,
            revoked_ms: None,
            by: "".into(),
            reason: "".into(),
        };
        ledger.apply(&Event::Amended { amendment: Arc::new(amendment), at_ms });
    }
    let delta = i64::try_from(number("used")).unwrap_or(i64::MAX);
    // Ids of this one question, unlike that of its call.
    let (used, held) = ((1 << 64) + 2 * n, (1 << 64) + 2 * n + 1);
    ledger.apply(&Event::Adjusted { id: used, rule: rule.clone(), scope: scope.clone(), delta, at_ms });
    if rule.unit != Unit::Requests {
        let part = Booked { rule, scope, amount: number("held"), over_ms: None };
        ledger.apply(&Event::Held { id: held, at_ms, parts: vec![part] });
    }
}

/// Where a rule stands in limits.yaml: `limits.yaml:3:3`.
pub fn place(tree: &Tree, rule: &str) -> Option<String> {
    let Data::Map(tables) = yaml::parse(tree.read(limits::FILE)?).ok()?.data else { return None };
    let of_table = |(_, node): &(yaml::Key, yaml::Node)| match &node.data {
        Data::Map(rules) => rules.iter().find(|(key, _)| key.text == rule).map(|(key, _)| key.at),
        Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) | Data::Text(_) | Data::List(_) => None,
    };
    let at = tables.iter().filter(|(key, _)| key.text != "unknown_price").find_map(of_table)?;
    Some(format!("{}:{}:{}", limits::FILE, at.line, at.column))
}

/// The same with the revision: `limits.yaml:3:3 @ 3f2a91c`.
fn placed(tree: &Tree, rule: &str) -> Option<String> {
    place(tree, rule).map(|place| format!("{place} @ {}", tree.id.short()))
}

/// What limits made of the call besides refusing it: `RULE:max_tokens=512`, `RULE:tier=cheap`, `RULE:answer`.
fn lowered(receipt: &Receipt) -> Vec<(&str, &str)> {
    let known = |rule: &str| receipt.holds.iter().any(|held| *held.rule == *rule);
    receipt.degraded.iter().filter_map(|text| text.split_once(':')).filter(|(rule, _)| known(rule)).collect()
}

/// What the scope lacks for the call.
fn lacks(refused: &Refused) -> u64 {
    refused.used.saturating_add(refused.held).saturating_add(refused.wanted).saturating_sub(refused.limit)
}

/// When it fits if nobody else comes; `None` = never. The receipt has the time of the call's arrival, and it was looked at a little
/// later: to the next second.
fn fits_ms(receipt: &Receipt, refused: &Refused) -> Option<i64> {
    let exact = refused.retry_after_ms.map(|ms| receipt.time_ms.saturating_add_unsigned(ms));
    exact.map(|ms| ms.saturating_add(999) / 1_000 * 1_000)
}

fn in_json(receipt: &Receipt, tree: Option<&Tree>) -> Value {
    let at = |rule: &str| tree.and_then(|tree| placed(tree, rule));
    let refused = receipt.hold_refused.as_ref().map(|refused| {
        let fits = fits_ms(receipt, refused);
        let mut told = json!(refused);
        told["lacks"] = lacks(refused).into();
        told["fits_at_ms"] = fits.into();
        told["at"] = at(&refused.rule).into();
        told
    });
    let lowered: Vec<Value> =
        lowered(receipt).iter().map(|(rule, how)| json!({ "rule": rule, "how": how, "at": at(rule) })).collect();
    let (call_id, revision) = (&receipt.call_id, &receipt.revision);
    json!({ "call_id": call_id, "revision": revision, "refused": refused, "lowered": lowered, "warned": receipt.warned, "holds": receipt.holds })
}

fn told(receipt: &Receipt, tree: &Result<Tree, String>) -> String {
    let mut out = String::new();
    let at = |rule: &str| match tree {
        Ok(tree) => placed(tree, rule).unwrap_or_else(|| format!("a rule that {} does not have", limits::FILE)),
        Err(why) => why.clone(),
    };
    match (&receipt.hold_refused, &receipt.outcome) {
        (Some(refused), _) => refusal(&mut out, receipt, refused, &at(&refused.rule)),
        (None, Outcome::Refused { refusal, .. }) => {
            line(
                &mut out,
                0,
                &format!(
                    "no limit refused this call; it was refused by something else: {} ({})",
                    refusal.reason, refusal.code
                ),
            );
        }
        (None, _) => line(&mut out, 0, "no limit refused this call"),
    }
    for (rule, how) in lowered(receipt) {
        line(&mut out, 0, &format!("`{rule}` lowered it: {how}"));
        line(&mut out, 1, &format!("said by     {}", at(rule)));
    }
    for warned in &receipt.warned {
        line(&mut out, 0, &format!("it was warned: {warned}"));
    }
    if !receipt.holds.is_empty() {
        line(&mut out, 0, "held for it");
    }
    receipt.holds.iter().for_each(|held| hold(&mut out, held));
    out
}

fn refusal(out: &mut String, receipt: &Receipt, refused: &Refused, at: &str) {
    let in_unit = |n: u64| amount(n, refused.unit);
    let kind = if refused.is_budget { "budget" } else { "rate" };
    line(out, 0, &format!("{kind} `{}` refused this call, in the scope {}", refused.rule, refused.scope));
    let fits = match fits_ms(receipt, refused).map(jiff::Timestamp::from_millisecond) {
        None => "never: the call alone is above the limit".to_owned(),
        Some(Ok(time)) if refused.held > 0 => format!("{time}; sooner where calls under way use less than they hold"),
        Some(Ok(time)) => time.to_string(),
        Some(Err(_)) => "in a time too far away to tell".to_owned(),
    };
    let rows = [
        ("needed", in_unit(refused.wanted)),
        ("limit", in_unit(refused.limit)),
        ("used", in_unit(refused.used)),
        ("held", format!("{} by other calls", in_unit(refused.held))),
        ("lacks", in_unit(lacks(refused))),
        ("fits again", fits),
        ("said by", at.to_owned()),
    ];
    for (name, value) in rows {
        line(out, 1, &format!("{name:<11} {value}"));
    }
    if refused.is_budget {
        let unit = if refused.unit == Unit::Nanousd { "usd" } else { "tokens" };
        line(
            out,
            1,
            &format!(
                "to raise it tollgate budget grant {} '{}' AMOUNT{unit} --until period --reason WHY",
                refused.rule, refused.scope
            ),
        );
    }
}

fn hold(out: &mut String, held: &Held) {
    let in_unit = |n: u64| amount(n, held.unit);
    let (most, of, used, left) = (in_unit(held.held), in_unit(held.limit), in_unit(held.used), in_unit(held.remaining));
    let mut told = format!("- {}: {most} of {of}, {used} were used, {left} left", held.rule);
    let _ = write!(told, " in {}", held.scope);
    line(out, 1, &told);
}
