//! The ledger under order, disorder and crowds.

use proptest::prelude::*;
use tollgate_core::limits::rules::{Calendar, ScopeGlobs, Window};

use super::*;

fn rule(name: &str, unit: Unit, limit: u64, window: Window) -> Arc<Rule> {
    Arc::new(Rule { name: name.into(), per: vec![], scope: ScopeGlobs::default(), unit, limit, window })
}

fn claim(rule: &Arc<Rule>, worst: u64) -> Claim {
    Claim { rule: rule.clone(), scope: rule.name.as_ref().into(), worst }
}

fn month() -> Window {
    Window::Calendar { every: Calendar::Month, zone: jiff::tz::TimeZone::UTC }
}

fn used(ledger: &MemoryLedger, rule: &Arc<Rule>, now_ms: i64) -> (u64, u64) {
    let claims = [claim(rule, 0)];
    let mut locked = ledger.lock(claims.iter().map(|c| &*c.scope));
    let standing = entry(&mut locked, &claims[0], now_ms).standing(rule);
    (standing.used, standing.held)
}

#[test]
fn a_hold_is_taken_settled_and_voided_once() {
    let ledger = MemoryLedger::default();
    let budget = rule("budget", Unit::Nanousd, 100, month());
    let spent = |nanousd| Used { nanousd, tokens: 0 };
    assert!(ledger.try_hold(1, &[claim(&budget, 60)], 0).is_ok());
    assert!(ledger.try_hold(1, &[claim(&budget, 60)], 0).is_ok(), "asked again: held once");
    assert_eq!(used(&ledger, &budget, 0), (0, 60));
    let refused = ledger.try_hold(2, &[claim(&budget, 41)], 0).unwrap_err();
    assert_eq!((refused.wanted, refused.held, refused.limit), (41, 60, 100));
    ledger.end(1, Some(spent(10)), 0);
    ledger.end(1, Some(spent(10)), 0);
    ledger.end(1, None, 0);
    assert_eq!(used(&ledger, &budget, 0), (10, 0), "settled once");
    assert!(ledger.try_hold(3, &[claim(&budget, 90)], 0).is_ok());
    ledger.end(3, None, 0);
    ledger.end(3, Some(spent(90)), 0);
    assert_eq!(used(&ledger, &budget, 0), (10, 0), "voided, and nothing after it");
}

#[test]
fn all_scopes_are_held_or_none() {
    let ledger = MemoryLedger::default();
    let (wide, narrow) = (rule("wide", Unit::Tokens, 100, month()), rule("narrow", Unit::Tokens, 5, month()));
    let refused = ledger.try_hold(1, &[claim(&wide, 10), claim(&narrow, 10)], 0).unwrap_err();
    assert_eq!(&*refused.rule, "narrow");
    assert_eq!(refused.retry_after_ms, None, "it never fits");
    assert_eq!(used(&ledger, &wide, 0), (0, 0));
}

#[test]
fn windows_pass_as_their_kinds_say() {
    let ledger = MemoryLedger::default();
    let rate = rule("rate", Unit::Requests, 2, Window::Rolling { per_ms: 1_000 });
    let flight = rule("flight", Unit::InFlight, 1, Window::None);
    for (id, at_ms, granted, why) in [
        (1, 0, true, "the first of two"),
        (2, 0, true, "the second"),
        (3, 0, false, "the bucket is full"),
        (4, 499, false, "half a second brings one back, not less"),
        (5, 500, true, "one is back"),
        (6, 100, false, "a clock that steps back gives nothing"),
    ] {
        let got = ledger.try_hold(id, &[claim(&rate, 1)], at_ms);
        ledger.end(id, None, at_ms);
        assert_eq!(got.is_ok(), granted, "{why}");
        if let Err(refused) = got {
            assert!(refused.retry_after_ms.is_some_and(|ms| (1..=1_000).contains(&ms)), "{why}: {refused:?}");
        }
    }
    assert!(ledger.try_hold(10, &[claim(&flight, 1)], 0).is_ok());
    assert!(ledger.try_hold(11, &[claim(&flight, 1)], 0).is_err());
    ledger.end(10, Some(Used::default()), 0);
    assert!(ledger.try_hold(11, &[claim(&flight, 1)], 0).is_ok());
}

#[test]
fn a_closed_period_is_never_reopened() {
    let ledger = MemoryLedger::default();
    let budget = rule("budget", Unit::Nanousd, 100, month());
    let next_month = 32 * 86_400_000;
    assert!(ledger.try_hold(1, &[claim(&budget, 60)], 0).is_ok());
    assert_eq!(used(&ledger, &budget, next_month), (0, 60), "what is under way is held in the new period too");
    ledger.end(1, Some(Used { nanousd: 50, tokens: 0 }), next_month);
    assert_eq!(used(&ledger, &budget, next_month), (0, 0), "but it was spent in the old one");
}

#[test]
fn a_forgotten_hold_expires() {
    let ledger = MemoryLedger::default();
    let budget = rule("budget", Unit::Nanousd, 100, month());
    assert!(ledger.try_hold(16, &[claim(&budget, 100)], 0).is_ok());
    let later = HOLD_MS_MAX + SWEEP_MS;
    assert!(ledger.try_hold(32, &[claim(&budget, 100)], later).is_ok(), "the same shard of holds was swept");
    ledger.check().unwrap();
}

#[test]
fn a_crowd_never_overspends() {
    let ledger = MemoryLedger::default();
    let budget = rule("budget", Unit::Nanousd, 1_000, month());
    let granted: u64 = std::thread::scope(|scope| {
        let run = |thread: u128| {
            let (ledger, budget) = (&ledger, &budget);
            move || {
                let ids = (0..200u128).map(|n| thread * 1_000 + n);
                ids.filter(|id| ledger.try_hold(*id, &[claim(budget, 7)], 0).is_ok())
                    .map(|id| ledger.end(id, Some(Used { nanousd: 7, tokens: 0 }), 0))
                    .count() as u64
            }
        };
        let threads: Vec<_> = (0..50).map(|n| scope.spawn(run(n))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(granted, 1_000 / 7, "as many as fit, and not one more");
    assert_eq!(used(&ledger, &budget, 0), (granted * 7, 0));
    ledger.check().unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Hold { id: u8, a: u64, b: u64 },
    Settle { id: u8, share: u8 },
    Void { id: u8 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..12, 0u64..40, 0u64..40).prop_map(|(id, a, b)| Step::Hold { id, a, b }),
        (0u8..12, 0u8..=100).prop_map(|(id, share)| Step::Settle { id, share }),
        (0u8..12).prop_map(|id| Step::Void { id }),
    ]
}

proptest! {
    #[test]
    fn any_order_of_steps_keeps_the_books(steps in proptest::collection::vec(any_step(), 0..80)) {
        let ledger = MemoryLedger::default();
        let (money, tokens) = (rule("money", Unit::Nanousd, 100, month()), rule("tokens", Unit::Tokens, 120, month()));
        let mut worst: HashMap<u8, (u64, u64)> = HashMap::new();
        for step in steps {
            match step {
                Step::Hold { id, a, b } => {
                    if ledger.try_hold(id.into(), &[claim(&money, a), claim(&tokens, b)], 0).is_ok() {
                        worst.entry(id).or_insert((a, b));
                    }
                }
                Step::Settle { id, share } => {
                    let (a, b) = worst.remove(&id).unwrap_or_default();
                    let part = |n: u64| n * u64::from(share) / 100;
                    ledger.end(id.into(), Some(Used { nanousd: part(a) as i64, tokens: part(b) }), 0);
                }
                Step::Void { id } => {
                    worst.remove(&id);
                    ledger.end(id.into(), None, 0);
                }
            }
            prop_assert!(ledger.check().is_ok());
            for rule in [&money, &tokens] {
                let (used, held) = used(&ledger, rule, 0);
                prop_assert!(used + held <= rule.limit, "{}: {used} used, {held} held", rule.name);
            }
        }
    }
}
