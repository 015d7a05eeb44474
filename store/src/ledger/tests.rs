//! The ledger from outside: one story per rule of the port, then chance, then many threads.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicI64;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use tollgate_core::limits::rules::{Calendar, ScopeGlobs, Window};

use super::*;

const DAY_MS: i64 = 86_400_000;

pub(super) fn rule(name: &str, unit: Unit, limit: u64, window: Window) -> Arc<Rule> {
    Arc::new(Rule {
        name: name.into(),
        per: Vec::new(),
        scope: ScopeGlobs::default(),
        unit,
        limit,
        window,
        ladder: Vec::new(),
    })
}

pub(super) fn daily(name: &str, unit: Unit, limit: u64) -> Arc<Rule> {
    rule(name, unit, limit, Window::Calendar { every: Calendar::Day, zone: TimeZone::UTC })
}

pub(super) fn claim(rule: &Arc<Rule>, worst: u64) -> Claim {
    Claim { rule: rule.clone(), scope: (&*rule.name).into(), worst }
}

pub(super) fn standing(ledger: &MemoryLedger, rule: &Arc<Rule>, now_ms: i64) -> (u64, u64) {
    let standing = ledger.standing_of(&claim(rule, 0), now_ms);
    (standing.used, standing.held)
}

pub(super) fn settled(nanousd: i64, tokens: u64) -> End {
    End::Settled(Some(Used { nanousd, tokens }))
}

/// A ledger that a checkpoint made of another.
pub(super) fn again(ledger: &MemoryLedger, now_ms: i64) -> MemoryLedger {
    let again = MemoryLedger::default();
    ledger.told(now_ms, || ()).1.iter().for_each(|event| again.apply(event));
    again
}

/// Held on one day, kept, and extended on the next: of what was used the first day has its share.
#[test]
fn a_checkpoint_knows_what_is_held_in_a_period_that_is_over() {
    let (ledger, tokens) = (MemoryLedger::default(), daily("tokens", Unit::Tokens, 10));
    ledger.hold_now(16, &[claim(&tokens, 10)], DAY_MS - 1).unwrap();
    ledger.standing_of(&claim(&tokens, 0), DAY_MS);
    for ledger in [again(&ledger, DAY_MS), again(&again(&ledger, DAY_MS), DAY_MS), ledger] {
        assert_eq!((standing(&ledger, &tokens, DAY_MS), ledger.check()), ((0, 0), Ok(())));
        ledger.extend_now(16, 1, Used { nanousd: 0, tokens: 5 }, DAY_MS + 1).unwrap();
        assert_eq!((standing(&ledger, &tokens, DAY_MS + 1), ledger.check()), ((0, 5), Ok(())));
        ledger.end(16, settled(0, 12), DAY_MS + 2);
        assert_eq!((standing(&ledger, &tokens, DAY_MS + 2), ledger.check()), ((2, 0), Ok(())));
    }
}

/// The clock went on to the second day and was set back to the first.
#[test]
fn a_checkpoint_opens_no_period_again_that_was_left() {
    for (used_later, why) in [(0, "a look alone moved the counter on"), (7, "it was used there")] {
        let (ledger, money) = (MemoryLedger::default(), daily("money", Unit::Nanousd, 100));
        for (id, used, at_ms) in [(1, 90, 0), (2, used_later, DAY_MS)] {
            ledger.hold_now(id, &[claim(&money, 90)], at_ms).unwrap();
            ledger.end(id, settled(used, 0), at_ms);
        }
        for ledger in [&ledger, &again(&ledger, 5)] {
            let stands = ledger.standing_of(&claim(&money, 0), 5);
            assert_eq!((stands.used, stands.resets_at_ms), (used_later as u64, 2 * DAY_MS), "{why}");
        }
    }
}

#[test]
fn a_checkpoint_keeps_the_moments_at_which_a_span_was_used() {
    let ledger = MemoryLedger::default();
    let names: Vec<String> = (0..8).map(|n| format!("span-{n}")).collect();
    let spans: Vec<_> =
        names.iter().map(|name| rule(name, Unit::Tokens, 100, Window::Sliding { span_ms: 64_000 })).collect();
    for (at, span) in spans.iter().enumerate() {
        let at_ms = at as i64 * 5_000;
        ledger.hold_now(at as u128 + 1, &[claim(span, 9)], at_ms).unwrap();
        ledger.end(at as u128 + 1, settled(0, 9), at_ms);
    }
    let again = again(&ledger, 40_000);
    for now_ms in (40_000..110_000).step_by(2_500) {
        let stand = |ledger| -> Vec<_> { spans.iter().map(|span| standing(ledger, span, now_ms)).collect() };
        assert_eq!(stand(&again), stand(&ledger), "at {now_ms}: each leaves when it did before");
    }
}

#[test]
fn all_claims_are_held_or_none() {
    let ledger = MemoryLedger::default();
    let (money, tokens) = (daily("money", Unit::Nanousd, 100), daily("tokens", Unit::Tokens, 10));
    let requests = rule("requests", Unit::Requests, 5, Window::Rolling { per_ms: 1_000 });
    let flight = rule("flight", Unit::InFlight, 2, Window::None);
    let claims = [claim(&requests, 1), claim(&flight, 1), claim(&money, 40), claim(&tokens, 6)];
    assert_eq!(ledger.hold_now(1, &claims, 0).unwrap().iter().map(|h| h.held).collect::<Vec<_>>(), [1, 1, 40, 6]);
    let refused = ledger.hold_now(2, &claims, 0).unwrap_err();
    assert_eq!(
        refused,
        Refused {
            rule: "tokens".into(),
            scope: "tokens".into(),
            unit: Unit::Tokens,
            is_budget: true,
            wanted: 6,
            limit: 10,
            used: 0,
            held: 6,
            resets_in_ms: DAY_MS as u64,
            retry_after_ms: Some(DAY_MS as u64),
            is_unreachable: false,
        }
    );
    for (rule, stands) in [(&requests, (1, 0)), (&flight, (0, 1)), (&money, (0, 40)), (&tokens, (0, 6))] {
        assert_eq!(standing(&ledger, rule, 0), stands, "`{}` has nothing of the refused call", rule.name);
    }
    ledger.end(1, settled(33, 4), 0);
    for (rule, stands) in [(&requests, (1, 0)), (&flight, (0, 0)), (&money, (33, 0)), (&tokens, (4, 0))] {
        assert_eq!(standing(&ledger, rule, 0), stands, "`{}` has what was used", rule.name);
    }
    ledger.check().unwrap();
}

#[test]
fn a_hold_ends_once_however_often_it_is_asked() {
    let ledger = MemoryLedger::default();
    let (money, requests) = (daily("money", Unit::Nanousd, 100), daily("requests", Unit::Requests, 10));
    let claims = [claim(&money, 40), claim(&requests, 1)];
    let first = ledger.hold_now(1, &claims, 0).unwrap();
    assert_eq!(ledger.hold_now(1, &claims, 0).unwrap().len(), first.len());
    assert_eq!((standing(&ledger, &money, 0), standing(&ledger, &requests, 0)), ((0, 40), (1, 0)), "held once");
    for (end, stands, why) in [
        (settled(30, 0), (30, 0), "settled"),
        (settled(30, 0), (30, 0), "a second settle does nothing"),
        (End::Voided, (30, 0), "nor does a void behind it"),
    ] {
        ledger.end(1, end, 0);
        assert_eq!(standing(&ledger, &money, 0), stands, "{why}");
    }
    ledger.hold_now(2, &claims, 0).unwrap();
    for (end, why) in [(End::Voided, "given back"), (End::Voided, "once"), (settled(30, 0), "and never settled")] {
        ledger.end(2, end, 0);
        assert_eq!(standing(&ledger, &money, 0), (30, 0), "{why}");
    }
    assert_eq!(standing(&ledger, &requests, 0), (2, 0), "a voided call was a request all the same");
    ledger.hold_now(3, &claims, 0).unwrap();
    ledger.end(3, settled(90, 0), 0);
    assert_eq!(standing(&ledger, &money, 0), (120, 0), "usage above a hold is booked");
    ledger.check().unwrap();
}

#[test]
fn a_hold_counts_in_the_period_it_was_made_in() {
    let ledger = MemoryLedger::default();
    let money = daily("money", Unit::Nanousd, 100);
    ledger.hold_now(1, &[claim(&money, 60)], DAY_MS - 1).unwrap();
    ledger.hold_now(2, &[claim(&money, 40)], DAY_MS - 1).unwrap();
    ledger.end(2, settled(40, 0), DAY_MS);
    assert_eq!(standing(&ledger, &money, DAY_MS - 1), (40, 60), "settled after midnight, booked before it");
    ledger.hold_now(3, &[claim(&money, 100)], DAY_MS).expect("the new day begins at zero");
    ledger.check().unwrap();
    ledger.end(1, settled(60, 0), DAY_MS + 1);
    assert_eq!(standing(&ledger, &money, DAY_MS + 1), (0, 100), "yesterday's hold neither books nor gives back here");
    ledger.check().unwrap();
}

#[test]
fn a_lost_call_gives_back_and_is_booked_if_it_comes_back_late() {
    let ledger = MemoryLedger::default();
    let (money, flight) = (daily("money", Unit::Nanousd, 100), rule("flight", Unit::InFlight, 1, Window::None));
    ledger.hold_now(48, &[claim(&money, 2)], 0).unwrap();
    ledger.end(48, settled(2, 0), 0);
    ledger.hold_now(16, &[claim(&money, 98), claim(&flight, 1)], 0).unwrap();
    assert!(ledger.hold_now(32, &[claim(&money, 1)], HOLD_MS_MAX - 1).is_err());
    ledger.hold_now(32, &[claim(&money, 1)], HOLD_MS_MAX + SWEEP_EVERY_MS).expect("the lost call's hold expired");
    ledger.check().unwrap();
    ledger.end(16, settled(70, 0), HOLD_MS_MAX + SWEEP_EVERY_MS);
    assert_eq!(standing(&ledger, &money, HOLD_MS_MAX + SWEEP_EVERY_MS), (72, 1));
    assert_eq!(standing(&ledger, &flight, HOLD_MS_MAX + SWEEP_EVERY_MS), (0, 0));
    ledger.check().unwrap();
}

#[test]
fn scopes_are_bounded_and_idle_ones_make_room() {
    let ledger = MemoryLedger { scopes_max: 8, ..MemoryLedger::default() };
    let tokens = daily("tokens", Unit::Tokens, 10);
    let scoped = |n: u128| [Claim { rule: tokens.clone(), scope: format!("tokens|user={n}").into(), worst: 5 }];
    let mut refused = 0;
    for n in 0..1_000 {
        match ledger.hold_now(n, &scoped(n), 0) {
            Ok(_) => ledger.end(n, settled(0, 5), 0),
            Err(full) => {
                assert_eq!((full.retry_after_ms, full.is_budget), (Some(FULL_RETRY_MS), false));
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1_000 - 8 * SHARDS);
    ledger.hold_now(5_000, &scoped(0), 0).expect("who is known goes on");
    ledger.hold_now(5_001, &scoped(999), DAY_MS).expect("the next day has room: the counts of yesterday say nothing");
    ledger.check().unwrap();
}

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Hold { id: HoldId, claims: Vec<(usize, u64)> },
    Settle { id: HoldId, percent: u64 },
    Void { id: HoldId },
    Wait { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..48u128;
    prop_oneof![
        4 => (id.clone(), prop::collection::vec((0..6usize, 0..40u64), 1..5)).prop_map(|(id, claims)| Step::Hold { id, claims }),
        3 => (id.clone(), 0..=100u64).prop_map(|(id, percent)| Step::Settle { id, percent }),
        1 => id.prop_map(|id| Step::Void { id }),
        1 => prop_oneof![4 => 0..10_000i64, 1 => -1_000..0i64].prop_map(|ms| Step::Wait { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_steps_overspends_or_loses_a_hold(steps in prop::collection::vec(step(), 1..120)) {
        let ledger = MemoryLedger::default();
        let rules = [
            daily("money", Unit::Nanousd, 100),
            daily("tokens", Unit::Tokens, 90),
            rule("rate", Unit::Tokens, 70, Window::Rolling { per_ms: 1_000 }),
            rule("requests", Unit::Requests, 7, Window::Rolling { per_ms: 3_000 }),
            daily("requests-day", Unit::Requests, 50),
            rule("flight", Unit::InFlight, 9, Window::None),
        ];
        let mut smallest: HashMap<HoldId, u64> = HashMap::new();
        let mut ended: HashSet<HoldId> = HashSet::new();
        // Shortly before midnight, so that lives cross it; too short for a hold to expire.
        let mut now_ms = DAY_MS - 60_000;
        for step in steps {
            match step {
                Step::Hold { id, claims } => {
                    let claims: Vec<Claim> = claims.iter().map(|(at, worst)| {
                        let one = matches!(rules[*at].unit, Unit::Requests | Unit::InFlight);
                        claim(&rules[*at], if one { 1 } else { *worst })
                    }).collect();
                    let before: Vec<_> = rules.iter().map(|r| standing(&ledger, r, now_ms)).collect();
                    match ledger.hold_now(id, &claims, now_ms) {
                        Ok(_) => {
                            // Within what every rule holds: the smallest claim in money or tokens.
                            let counted = claims.iter().filter(|c| matches!(c.rule.unit, Unit::Nanousd | Unit::Tokens));
                            smallest.entry(id).or_insert(counted.map(|c| c.worst).min().unwrap_or(0));
                        }
                        Err(refused) => {
                            let after: Vec<_> = rules.iter().map(|r| standing(&ledger, r, now_ms)).collect();
                            prop_assert_eq!(before, after, "a refused hold leaves nothing behind");
                            let no_room = refused.wanted > 0 && refused.used + refused.held + refused.wanted > refused.limit;
                            prop_assert!(no_room || ended.contains(&id), "an id that has ended is held no more: {id}");
                        }
                    }
                }
                Step::Settle { id, percent } => {
                    ended.extend(smallest.contains_key(&id).then_some(id));
                    let used = smallest.remove(&id).unwrap_or(0) * percent / 100;
                    ledger.end(id, settled(used as i64, used), now_ms);
                }
                Step::Void { id } => {
                    ended.extend(smallest.remove(&id).map(|_| id));
                    ledger.end(id, End::Voided, now_ms);
                }
                Step::Wait { ms } => now_ms += ms,
            }
            prop_assert_eq!(ledger.check(), Ok(()));
            for rule in &rules {
                let (used, held) = standing(&ledger, rule, now_ms);
                prop_assert!(used + held <= rule.limit, "`{}`: {used} used and {held} held of {}", rule.name, rule.limit);
            }
        }
    }
}

#[test]
fn fifty_threads_on_a_nearly_spent_budget_overspend_nothing() {
    let ledger = MemoryLedger::default();
    let budgets = [daily("a", Unit::Nanousd, 1_000), daily("b", Unit::Nanousd, 5_000), daily("c", Unit::Tokens, 900)];
    let flight = rule("flight", Unit::InFlight, 20, Window::None);
    let spent = AtomicI64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..50u128 {
            let (ledger, budgets, flight, spent) = (&ledger, &budgets, &flight, &spent);
            scope.spawn(move || {
                for n in 0..400u128 {
                    let id = thread << 64 | n;
                    // Claims in different orders: shards are locked in one order all the same.
                    let mut claims: Vec<Claim> =
                        budgets.iter().map(|b| claim(b, 7)).chain([claim(flight, 1)]).collect();
                    claims.rotate_left((n % 4) as usize);
                    if ledger.hold_now(id, &claims, 0).is_err() {
                        continue;
                    }
                    std::thread::yield_now();
                    match (thread + n) % 3 {
                        0 => ledger.end(id, End::Voided, 0),
                        _ => {
                            let used = (n % 8) as i64;
                            ledger.end(id, settled(used, used as u64), 0);
                            spent.fetch_add(used, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    ledger.check().unwrap();
    let spent = spent.into_inner() as u64;
    for rule in &budgets {
        assert_eq!(standing(&ledger, rule, 0), (spent, 0), "`{}` has every call once", rule.name);
        assert!(spent <= rule.limit);
    }
    assert!(spent > 850, "{spent} of 900 were spent: the budget did come near its end");
    assert_eq!(standing(&ledger, &flight, 0), (0, 0));
}

/// The negative control: what looks first and books afterwards overspends as soon as two look before one books.
#[test]
fn to_check_and_then_to_add_overspends_where_holds_do_not() {
    const CALLERS: usize = 50;
    let (budget, worst) = (daily("money", Unit::Nanousd, 100), 40);
    let run = |holds: bool| {
        let (ledger, looked) = (MemoryLedger::default(), std::sync::Barrier::new(CALLERS));
        std::thread::scope(|scope| {
            for id in 0..CALLERS as u128 {
                let (ledger, looked, budget) = (&ledger, &looked, &budget);
                scope.spawn(move || {
                    let fits = match holds {
                        true => ledger.hold_now(id, &[claim(budget, worst)], 0).is_ok(),
                        false => standing(ledger, budget, 0).0 + worst <= budget.limit,
                    };
                    looked.wait();
                    match (fits, holds) {
                        (true, true) => ledger.end(id, settled(worst as i64, 0), 0),
                        (true, false) => drop(ledger.adjust_now(id, budget, &budget.name, worst as i64, 0)),
                        (false, _) => {}
                    }
                });
            }
        });
        standing(&ledger, &budget, 0).0
    };
    assert_eq!(run(true), 80, "two of 40 fit into 100");
    assert_eq!(run(false), 50 * 40, "all fifty saw an empty budget");
}

#[test]
fn what_is_added_after_a_month_has_ended_counts_in_the_new_one() {
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let ledger = MemoryLedger::default();
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let money = rule("money", Unit::Nanousd, 100, Window::Calendar { every: Calendar::Month, zone });
    let (before, after) = (at("2026-10-31T22:59:59Z"), at("2026-10-31T23:00:00Z"));
    let more = Used { nanousd: 70, tokens: 0 };
    ledger.hold_now(1, &[claim(&money, 60)], before).unwrap();
    assert_eq!(ledger.extend_now(1, 1, more, before).unwrap_err().wanted, 70, "October has no room");
    ledger.extend_now(1, 1, more, after).expect("November has");
    ledger.extend_now(1, 1, more, after).expect("the same step again does nothing");
    assert_eq!(standing(&ledger, &money, after), (0, 70));
    ledger.end(1, settled(90, 0), after);
    assert_eq!(standing(&ledger, &money, after), (30, 0), "60 of it were October's");
    ledger.check().unwrap();
}

#[test]
fn a_lost_call_is_booked_at_its_hold_if_it_had_left_and_a_grant_counts_once() {
    let ledger = MemoryLedger::default();
    let (money, flight) = (daily("money", Unit::Nanousd, 100), rule("flight", Unit::InFlight, 2, Window::None));
    for (id, had_left, used) in [(1, false, 0), (2, true, 40)] {
        ledger.hold_now(id, &[claim(&money, 40), claim(&flight, 1)], 0).unwrap();
        ledger.lost(id, had_left, 0);
        ledger.lost(id, had_left, 0);
        assert_eq!((standing(&ledger, &money, 0), standing(&ledger, &flight, 0)), ((used, 0), (0, 0)));
        assert!(ledger.hold_now(id, &[claim(&money, 40)], 0).is_err(), "an id that has ended is held no more");
    }
    for _ in 0..2 {
        ledger.adjust_now(9, &money, &money.name, -30, 0);
        assert_eq!(standing(&ledger, &money, 0), (10, 0), "granted once");
    }
}
