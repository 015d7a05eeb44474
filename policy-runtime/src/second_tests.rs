//! Shares that grow, callers that stay on their side, guards that end a canary for good.

use std::sync::atomic::{AtomicI64, Ordering};

use tollgate_core::contract::Dialect;
use tollgate_core::contract::refusal::{Category, Refusal};
use tollgate_core::evidence::receipt::Opening;
use tollgate_core::policy::facts::Caller;

use super::*;

fn revision(name: &str) -> Arc<Revision> {
    Arc::new(Revision {
        id: RevisionId::new(name),
        catalog: Default::default(),
        tenants: Default::default(),
        limits: Default::default(),
        judge: Box::new(crate::judge::Bench::default()),
    })
}

fn receipt(revision: &str, denied: bool) -> Receipt {
    let mut receipt = Receipt::open(Opening {
        call_id: "c".into(),
        request_id: "c".into(),
        time_ms: 0,
        contract: "2026-12-01".into(),
        revision: revision.into(),
        dialect: Dialect::OpenaiChat,
    });
    receipt.outcome = match denied {
        false => Outcome::Answered { status: 200 },
        true => Outcome::Refused { status: 400, refusal: Refusal::new(Category::PolicyViolation, "x", "y") },
    };
    receipt
}

fn facts(user: &str) -> Facts {
    let mut facts = Facts::default();
    facts.caller = Caller { user: user.into(), ..Caller::default() };
    facts
}

#[test]
fn a_share_grows_and_callers_only_ever_join() {
    let now = Arc::new(AtomicI64::new(1_000));
    let clock = now.clone();
    let canary = Canary { from: 100, to: 5_000, over_ms: 10_000, by: StickyBy::User, guards: Vec::new() };
    let second = Second::new(revision("new"), Role::Canary(canary), Arc::new(move || clock.load(Ordering::Relaxed)));
    let inside = || (0..1_000).filter(|n| second.acts_for(&facts(&format!("user-{n}")))).collect::<Vec<_>>();
    let at_first = inside();
    now.store(6_000, Ordering::Relaxed);
    let half_way = inside();
    now.store(60_000, Ordering::Relaxed);
    let at_last = inside();
    assert!(at_first.len() < 30 && (180..340).contains(&half_way.len()) && (440..560).contains(&at_last.len()));
    assert!(at_first.iter().all(|n| half_way.contains(n)) && half_way.iter().all(|n| at_last.contains(n)));
    assert!(!second.rehearses());
}

#[test]
fn a_broken_guard_ends_it_for_good() {
    let guards = Guard::parse_all("denied<50%").unwrap();
    let canary = Canary { from: 10_000, to: 10_000, over_ms: 0, by: StickyBy::User, guards };
    let second = Second::new(revision("new"), Role::Canary(canary), Arc::new(|| 0));
    assert!(second.acts_for(&facts("ann")));
    (0..19).for_each(|_| second.ended(&receipt("new", true)));
    assert!(second.report().rolled_back.is_none(), "too few calls to tell");
    second.ended(&receipt("new", true));
    let told = second.report();
    assert!(told.rolled_back.as_ref().unwrap().contains("100.0 % of 20 calls") && told.percent == 0.0, "{told:?}");
    (0..1_000).for_each(|_| second.ended(&receipt("new", false)));
    assert!(!second.acts_for(&facts("ann")), "better calls that were under way do not bring it back");
    assert_eq!((told.second.calls, told.second.denied, told.active.calls), (20, 20, 0));
}
