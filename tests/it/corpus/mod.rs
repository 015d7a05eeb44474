//! The recorded traffic of many providers, through the gateway and back: within a dialect untouched, between dialects with
//! its meaning.

mod alone;
mod asked;
mod cross;
mod exchange;
mod failing;
pub mod frames;
mod report;
mod rig;
mod same;
mod streams;
mod told;
mod usage;

use std::collections::BTreeMap;

use cross::Fate;
use exchange::{Exchange, Talk};
use report::Report;
use rig::Rig;

/// What went wrong, by the name of the exchange and where it went.
type Wrong = BTreeMap<String, String>;

fn nothing_wrong(wrong: &Wrong, calls: usize) {
    let all: String = wrong.iter().map(|(what, why)| format!("{what}: {why}\n")).collect();
    assert!(wrong.is_empty(), "{} of {calls} calls differ:\n{all}", wrong.len());
}

/// All exchanges, in all ways, and the report of them.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_traffic_passes() {
    let exchanges = exchange::all();
    if exchanges.is_empty() {
        return;
    }
    let (mut report, mut wrong) = (Report::default(), Wrong::new());
    // Several providers of this rig are OpenAI's: of calls that name no model, one of them takes all.
    let nameless = exchanges.iter().find(|e| e.names_no_model() && e.api.starts_with("openai."));
    let mut rig = Rig::with_default(rig::places(&exchanges), nameless.map(exchange::Exchange::place)).await;
    same_dialect(&mut rig, &exchanges, &mut report, &mut wrong).await;
    let within = rig.calls;
    let mut rig = Rig::start(cross::pairs().map(|(from, to)| cross::place(from, to))).await;
    requests(&mut rig, &exchanges, &mut report, &mut wrong).await;
    answers(&mut rig, &exchanges, &mut report, &mut wrong).await;
    nothing_wrong(&wrong, within + rig.calls);
    report.compare(&exchanges);
}

/// Within its dialect each request reaches its provider as it is, each answer comes back as it is, and what was used is counted.
async fn same_dialect(rig: &mut Rig, exchanges: &[Exchange], report: &mut Report, wrong: &mut Wrong) {
    let mut calls: Vec<(&Exchange, String)> = Vec::new();
    for exchange in exchanges {
        if let Some(why) = exchange.elsewhere() {
            report.exception(exchange, why);
            continue;
        }
        match same::replay(rig, exchange).await {
            Ok(came) => calls.push((exchange, came.call_id)),
            Err(why) => drop(wrong.insert(format!("{} within its dialect", exchange.id), why)),
        }
    }
    let receipts = rig.receipts();
    for (exchange, call_id) in calls {
        match same::usage(exchange, &receipts[&call_id]) {
            Ok(counted) => report.same(exchange, counted),
            Err(why) => drop(wrong.insert(format!("{}, what it used", exchange.id), why)),
        }
    }
}

/// Each request to a provider of each other dialect.
async fn requests(rig: &mut Rig, exchanges: &[Exchange], report: &mut Report, wrong: &mut Wrong) {
    for (from, to) in cross::pairs() {
        for exchange in exchanges.iter().filter(|e| e.talk() == Some(from) && e.request.is_object()) {
            let answer = cross::plain_answer(exchanges, to, exchange.stream);
            match cross::request(rig, exchange, to, &cross::place(from, to), answer).await {
                Ok(Fate::Unsupported(field)) => report.refused(exchange, &field),
                Ok(Fate::Passed | Fate::Error) => report.asked(exchange),
                Err(why) => drop(wrong.insert(format!("{} asked of {to:?}", exchange.id), why)),
            }
        }
    }
}

/// Each answer to a caller of each other dialect.
async fn answers(rig: &mut Rig, exchanges: &[Exchange], report: &mut Report, wrong: &mut Wrong) {
    for (caller, provider) in cross::pairs() {
        for exchange in exchanges.iter().filter(|e| e.talk() == Some(provider)) {
            match cross::answer(rig, exchange, caller).await {
                Ok(_) => report.told(exchange),
                Err(why) => drop(wrong.insert(format!("{} told to {caller:?}", exchange.id), why)),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_requests_reach_those_who_follow_openai() {
    let exchanges = exchange::all();
    let mut rig = Rig::start(cross::FOLLOWERS.into_iter().map(cross::follower)).await;
    let mut wrong = Wrong::new();
    // Those who speak Responses too are asked in that.
    let talks = |e: &&Exchange| !matches!(e.talk(), None | Some(Talk::Chat | Talk::Responses)) && e.request.is_object();
    for exchange in exchanges.iter().filter(talks) {
        let answer = cross::plain_answer(&exchanges, Talk::Chat, exchange.stream);
        for kind in cross::FOLLOWERS {
            let place = cross::follower(kind);
            if let Err(why) = cross::request(&mut rig, exchange, Talk::Chat, &place, answer).await {
                wrong.insert(format!("{} asked of {kind}", exchange.id), why);
            }
        }
    }
    nothing_wrong(&wrong, rig.calls);
}
