//! Three ledgers on one store against the reference: whatever one of them is asked, all together answer as one would.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tollgate_core::limits::amendment::What;

use super::*;
use crate::ledger::reference::{Account, Model};

const NODES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Hold { id: HoldId, claims: Vec<(usize, u64)> },
    Extend { id: HoldId, step: u32, more: u64 },
    Settle { id: HoldId, used: u64 },
    Void { id: HoldId },
    Lost { id: HoldId, had_left: bool },
    Adjust { id: HoldId, at: usize, delta: i64 },
    Edit { at: usize, limit: u64 },
    Amend { node: usize, at: usize, is_of_scope: bool, what: What },
    Revoke { node: usize, nth: usize },
}

/// Periods do not end while the test runs, spans and buckets are so long that nothing leaves them.
fn rules() -> Vec<Arc<Rule>> {
    let calendar = |every| Window::Calendar { every, zone: TimeZone::UTC };
    let windows = [
        (Unit::Nanousd, 100, calendar(Calendar::Month)),
        (Unit::Tokens, 90, calendar(Calendar::Month)),
        (Unit::Requests, 50, calendar(Calendar::Month)),
        (Unit::Tokens, 70, Window::Sliding { span_ms: 365 * 86_400_000 }),
        (Unit::Tokens, 70, Window::Rolling { per_ms: 31 * 86_400_000 }),
        (Unit::InFlight, 9, Window::None),
    ];
    let named = |(n, (unit, limit, window))| rule(&format!("r{n}"), unit, limit, window);
    windows.into_iter().enumerate().map(named).collect()
}

fn step() -> impl Strategy<Value = Step> {
    const RULES: usize = 6;
    let id = || 0..90u128;
    prop_oneof![
        8 => (id(), prop::collection::vec((0..RULES, 1..40u64), 1..4)).prop_map(|(id, claims)| Step::Hold { id, claims }),
        4 => (id(), 0..5u32, 0..30u64).prop_map(|(id, step, more)| Step::Extend { id, step, more }),
        5 => (id(), 0..60u64).prop_map(|(id, used)| Step::Settle { id, used }),
        2 => id().prop_map(|id| Step::Void { id }),
        1 => (id(), any::<bool>()).prop_map(|(id, had_left)| Step::Lost { id, had_left }),
        1 => (1_000..1_040u128, 0..RULES, 0..30i64).prop_map(|(id, at, delta)| Step::Adjust { id, at, delta }),
        1 => (0..RULES, 60..400u64).prop_map(|(at, limit)| Step::Edit { at, limit }),
        1 => (0..NODES, 0..RULES, any::<bool>(), what()).prop_map(|(node, at, is_of_scope, what)| Step::Amend {
            node,
            at,
            is_of_scope,
            what,
        }),
        1 => (0..NODES, 0..20usize).prop_map(|(node, nth)| Step::Revoke { node, nth }),
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![(-90..200i64).prop_map(What::Grant), (0..400u64).prop_map(What::Override)]
}

/// One node is asked, and all have it.
async fn amended(nodes: &[Arc<SharedLedger>], node: usize, model: &mut Model, one: Amendment) {
    model.amendments.retain(|known| known.id != one.id);
    model.amendments.push(one.clone());
    super::granted::amended(&nodes[node], &Arc::new(one)).await;
    let known = nodes[node].amendments();
    eventually(|| nodes.iter().all(|node| node.amendments() == known)).await;
}

async fn live(nodes: &[Arc<SharedLedger>], steps: &[Step]) {
    let begin_ms = nodes[0].now_ms(0);
    let mut model = Model {
        rules: rules(),
        amendments: Vec::new(),
        accounts: rules()
            .iter()
            .map(|rule| Account { level: (0, begin_ms), seen: (rule.limit, i64::MAX), ..Account::default() })
            .collect(),
        holds: Vec::new(),
        ended: HashSet::new(),
        swept_ms: [begin_ms; 16],
        now_ms: begin_ms,
        latest_ms: begin_ms,
    };
    let mut adjusted = HashSet::new();
    for (n, step) in steps.iter().enumerate() {
        model.now_ms = nodes[0].now_ms(0);
        model.latest_ms = model.now_ms;
        let of = |id: &HoldId| &nodes[(*id % NODES as u128) as usize];
        match step {
            Step::Hold { id, claims } => {
                let one = |at: usize| matches!(model.rules[at].unit, Unit::Requests | Unit::InFlight);
                let claims: Vec<_> = claims.iter().map(|(at, w)| (*at, if one(*at) { 1 } else { *w })).collect();
                let asked: Vec<_> = claims.iter().map(|(at, worst)| claim(&model.rules[*at], *worst)).collect();
                let answer = of(id).held(*id, &asked).await;
                assert_eq!(answer.is_ok(), model.hold(*id, &claims), "{n}: {step:?}: {answer:?}");
            }
            Step::Extend { id, step: nth, more } => {
                let more = Used { nanousd: i64::try_from(*more).unwrap(), tokens: *more / 2 };
                let answer = of(id).extend(*id, *nth, more, 0).await;
                assert_eq!(answer.is_ok(), model.extend(*id, *nth, more), "{n}: {step:?}: {answer:?}");
            }
            Step::Settle { id, used } => {
                of(id).settle(*id, tokens(*used), 0).await;
                model.end(*id, Some(tokens(*used)));
            }
            Step::Void { id } => {
                of(id).void(*id, 0).await;
                model.end(*id, Some(Used::default()));
            }
            Step::Lost { id, had_left } => {
                of(id).lost(*id, *had_left, 0);
                model.end(*id, (!had_left).then(Used::default));
            }
            Step::Adjust { id, at, delta } => {
                of(id).adjust(*id, &claim(&model.rules[*at], 0), *delta, 0).await;
                if adjusted.insert((*id, *at)) {
                    let here = model.here(*at);
                    model.book(*at, &here, u64::try_from(*delta).unwrap());
                }
            }
            Step::Edit { at, limit } => {
                model.used(*at);
                model.rules[*at] = Arc::new(Rule { limit: *limit, ..(*model.rules[*at]).clone() });
                // More is held for a call by the rule of the last call that its node saw: so each sees one.
                for node in nodes {
                    node.standing(&[claim(&model.rules[*at], 0)], 0).await;
                }
            }
            Step::Amend { node, at, is_of_scope, what } => {
                let Rule { name: rule, unit, .. } = (*model.rules[*at]).clone();
                let (id, scope) = (format!("{n}").into(), is_of_scope.then(|| rule.clone()));
                let (made_ms, by, reason) = (model.now_ms, "operator-token".into(), "chance".into());
                let (until_ms, revoked_ms) = (made_ms + 86_400_000, None);
                let what = *what;
                let one = Amendment { id, rule, scope, unit, what, made_ms, until_ms, revoked_ms, by, reason };
                amended(nodes, *node, &mut model, one).await;
            }
            Step::Revoke { node, nth } => {
                if let Some(one) = model.amendments.get(*nth).cloned() {
                    // Nodes hear of the store's time a moment later or sooner.
                    let revoked = Amendment { revoked_ms: one.revoked_ms.or(Some(model.now_ms - 1_000)), ..one };
                    amended(nodes, *node, &mut model, revoked).await;
                }
            }
        }
        all_rest(nodes).await;
        // The last to speak knows what all have told.
        for at in 0..model.rules.len() {
            let stands = nodes[NODES - 1].standing(&[claim(&model.rules[at], 0)], 0).await[0];
            let (used, held) = (model.used(at), model.held(at));
            assert_eq!(
                (stands.used, stands.held, stands.limit),
                (used, held, model.limit(at).0),
                "r{at} at {n}: {step:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_ledgers_on_one_store_agree_with_the_reference() {
    if !crate::is_long() {
        eprintln!("SKIPPED: shared limits against the reference: it runs with `./test.sh --long`");
        return;
    }
    let Some(server) = Server::start() else { return };
    let (lives, length) = (200, 300);
    let mut runner = TestRunner::default();
    for _ in 0..lives {
        let steps = prop::collection::vec(step(), length..=length).new_tree(&mut runner).unwrap().current();
        server.ask(&["FLUSHALL"]);
        let mut nodes = Vec::new();
        for name in ["a", "b", "c"] {
            nodes.push(node(name, server.port).await);
        }
        live(&nodes, &steps).await;
        for node in nodes {
            node.close(Duration::from_secs(1)).await;
        }
    }
}
