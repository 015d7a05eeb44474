//! The ledger against a reference that a reader can check in one sitting.
//!
//! A million random steps by default, ten million with `TOLLGATE_LONG`: time goes forth and back, across the ends of days,
//! weeks and months in three zones that change their clocks, and limits are edited.

use std::collections::HashSet;
use std::sync::Mutex;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use tollgate_core::limits::amendment::What;
use tollgate_core::limits::rules::{Calendar, ScopeGlobs, Window};

use super::reference::{Account, Model};
use super::*;

const DAY_MS: i64 = 86_400_000;

#[derive(Debug, Clone)]
enum Step {
    Hold { id: HoldId, claims: Vec<(usize, u64)> },
    Extend { id: HoldId, step: u32, more: u64 },
    Settle { id: HoldId, used: u64 },
    Void { id: HoldId },
    Lost { id: HoldId, had_left: bool },
    Adjust { id: HoldId, at: usize, delta: i64 },
    Wait { ms: i64 },
    Edit { at: usize, limit: u64 },
    Amend { id: u8, at: usize, is_of_scope: bool, what: What, lasts_ms: i64 },
    Revoke { id: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    // As high as those of calls are: the low ones belong to the adjustments of a checkpoint.
    let id = || ID_MIN..ID_MIN + 160;
    prop_oneof![
        8 => (id(), prop::collection::vec((0..RULES, 0..40u64), 1..5)).prop_map(|(id, claims)| Step::Hold { id, claims }),
        4 => (id(), 0..5u32, 0..30u64).prop_map(|(id, step, more)| Step::Extend { id, step, more }),
        5 => (id(), 0..60u64).prop_map(|(id, used)| Step::Settle { id, used }),
        2 => id().prop_map(|id| Step::Void { id }),
        1 => (id(), any::<bool>()).prop_map(|(id, had_left)| Step::Lost { id, had_left }),
        1 => (1_000..1_040u128, 0..RULES, 0..30i64).prop_map(|(id, at, delta)| Step::Adjust { id, at, delta }),
        6 => prop_oneof![
            6 => 0..10_000i64, 3 => 0..3 * 3_600_000i64, 2 => 0..2 * DAY_MS, 1 => -2 * DAY_MS..0i64
        ].prop_map(|ms| Step::Wait { ms }),
        1 => (0..RULES, 30..120u64).prop_map(|(at, limit)| Step::Edit { at, limit }),
        1 => amend(),
        1 => (0..12u8).prop_map(|id| Step::Revoke { id }),
    ]
}

fn amend() -> impl Strategy<Value = Step> {
    let what = prop_oneof![(-90..90i64).prop_map(What::Grant), (0..150u64).prop_map(What::Override)];
    let lasts_ms = prop_oneof![1..60_000i64, 1..2 * DAY_MS];
    (0..12u8, 0..RULES, any::<bool>(), what, lasts_ms).prop_map(|(id, at, is_of_scope, what, lasts_ms)| Step::Amend {
        id,
        at,
        is_of_scope,
        what,
        lasts_ms,
    })
}

const RULES: usize = 10;
const ID_MIN: HoldId = 1 << 80;

fn rules() -> Vec<Arc<Rule>> {
    let calendar = |every, zone| Window::Calendar { every, zone: TimeZone::get(zone).unwrap() };
    let windows = [
        (Unit::Nanousd, 100, calendar(Calendar::Day, "Europe/Berlin")),
        (Unit::Tokens, 90, calendar(Calendar::Month, "America/New_York")),
        (Unit::Nanousd, 95, calendar(Calendar::Week, "Australia/Lord_Howe")),
        (Unit::Tokens, 80, calendar(Calendar::Hour, "Asia/Kolkata")),
        (Unit::Tokens, 70, Window::Sliding { span_ms: 64 * 60_000 }),
        (Unit::Nanousd, 60, Window::Sliding { span_ms: 64 * 1_000 }),
        (Unit::Tokens, 70, Window::Rolling { per_ms: 1_000 }),
        (Unit::Requests, 7, Window::Rolling { per_ms: 60_000 }),
        (Unit::Requests, 50, calendar(Calendar::Day, "UTC")),
        (Unit::InFlight, 9, Window::None),
    ];
    let rule = |(n, (unit, limit, window)): (usize, (Unit, u64, Window))| {
        let name = format!("r{n}").into();
        Arc::new(Rule { name, per: vec![], scope: ScopeGlobs::default(), unit, limit, window, ladder: vec![] })
    };
    windows.into_iter().enumerate().map(rule).collect()
}

/// One life: how each counter stands after every step, in the ledger and in the reference.
fn live(begin_ms: i64, steps: &[Step]) -> Result<(), TestCaseError> {
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let kept = events.clone();
    let ledger = MemoryLedger::with_sink(Box::new(move |event| kept.lock().unwrap().push(event.clone())));
    let mut model = Model {
        rules: rules(),
        amendments: Vec::new(),
        accounts: rules()
            .iter()
            .map(|rule| Account { level: (0, begin_ms), seen: (rule.limit, i64::MAX), ..Account::default() })
            .collect(),
        holds: Vec::new(),
        ended: HashSet::new(),
        swept_ms: [0; SHARDS],
        now_ms: begin_ms,
        latest_ms: begin_ms,
    };
    let claim = |model: &Model, at: usize, worst: u64| {
        let rule = model.rules[at].clone();
        Claim { scope: rule.name.as_ref().into(), rule, worst }
    };
    for at in 0..RULES {
        ledger.standing_of(&claim(&model, at, 0), begin_ms);
    }
    let mut edited = false;
    for (n, step) in steps.iter().enumerate() {
        let now_ms = model.now_ms;
        match step {
            Step::Hold { id, claims } => {
                let one = |at: usize| matches!(model.rules[at].unit, Unit::Requests | Unit::InFlight);
                let claims: Vec<_> =
                    claims.iter().map(|(at, worst)| (*at, if one(*at) { 1 } else { *worst })).collect();
                let asked: Vec<_> = claims.iter().map(|(at, worst)| claim(&model, *at, *worst)).collect();
                prop_assert_eq!(
                    ledger.hold_now(*id, &asked, now_ms).is_ok(),
                    model.hold(*id, &claims),
                    "{}: {:?}",
                    n,
                    step
                );
            }
            Step::Extend { id, step: nth, more } => {
                let more = Used { nanousd: *more as i64, tokens: *more / 2 };
                let extended = ledger.extend_now(*id, *nth, more, now_ms).is_ok();
                prop_assert_eq!(extended, model.extend(*id, *nth, more), "{}: {:?}", n, step);
            }
            Step::Settle { id, used } => {
                let used = Used { nanousd: *used as i64, tokens: *used };
                ledger.end(*id, End::Settled(Some(used)), now_ms);
                model.end(*id, Some(used));
            }
            Step::Void { id } => {
                ledger.end(*id, End::Voided, now_ms);
                model.end(*id, Some(Used::default()));
            }
            Step::Lost { id, had_left } => {
                ledger.lost(*id, *had_left, now_ms);
                model.end(*id, (!had_left).then(Used::default));
            }
            Step::Adjust { id, at, delta } => {
                // In shards that holds do not use: an adjustment's id is no hold's.
                if ledger.adjust_now(*id, &model.rules[*at].clone(), &model.rules[*at].name, *delta, now_ms) {
                    let here = model.here(*at);
                    model.book(*at, &here, *delta as u64);
                    let (rule, scope) = (model.rules[*at].clone(), Arc::from(&*model.rules[*at].name));
                    ledger.told_of(|| Event::Adjusted { id: *id, rule, scope, delta: *delta, at_ms: now_ms });
                }
            }
            Step::Wait { ms } => {
                model.now_ms += ms;
                model.latest_ms = model.latest_ms.max(model.now_ms);
            }
            Step::Edit { at, limit } => {
                model.used(*at);
                model.rules[*at] = Arc::new(Rule { limit: *limit, ..(*model.rules[*at]).clone() });
                edited = true;
            }
            Step::Amend { id, at, is_of_scope, what, lasts_ms } => {
                let (rule, until_ms) = (model.rules[*at].clone(), model.latest_ms + lasts_ms);
                let scope = is_of_scope.then(|| Arc::from(&*rule.name));
                let (by, reason) = ("operator-token".into(), "chance".into());
                let (id, unit, what, rule) = (format!("{id}").into(), rule.unit, *what, rule.name.clone());
                let made =
                    Amendment { id, rule, scope, unit, what, made_ms: now_ms, until_ms, revoked_ms: None, by, reason };
                amended(&ledger, &mut model, made);
            }
            Step::Revoke { id } => {
                let known = model.amendments.iter().find(|one| *one.id == *format!("{id}"));
                if let Some(revoked) = known.map(|one| Amendment { revoked_ms: Some(now_ms), ..one.clone() }) {
                    amended(&ledger, &mut model, revoked);
                }
            }
        }
        for at in 0..RULES {
            let stands = ledger.standing_of(&claim(&model, at, 0), model.now_ms);
            prop_assert_eq!(
                (stands.used, stands.held, stands.limit),
                (model.used(at), model.held(at), model.limit(at).0),
                "{} at {}: {:?}",
                model.rules[at].name,
                n,
                step
            );
        }
    }
    prop_assert_eq!(ledger.check(), Ok(()));
    // What a look alone moved on, while the clock was ahead, is no change of a balance and in no event.
    let set_back = steps.iter().any(|step| matches!(step, Step::Wait { ms } if *ms < 0));
    if !edited && !set_back {
        again(&ledger, &events.lock().unwrap(), &model)?;
    }
    Ok(())
}

fn amended(ledger: &MemoryLedger, model: &mut Model, amendment: Amendment) {
    let now_ms = model.now_ms;
    model.amendments.retain(|one| one.id != amendment.id);
    model.amendments.push(amendment.clone());
    let amendment = Arc::new(amendment);
    ledger.amend_now(&amendment, now_ms).unwrap();
    ledger.told_of(|| Event::Amended { amendment, at_ms: now_ms });
}

/// The balances once more: from all events, each told twice, and from the short list of a checkpoint.
fn again(ledger: &MemoryLedger, events: &[Event], model: &Model) -> Result<(), TestCaseError> {
    let stand = |ledger: &MemoryLedger| -> Vec<_> {
        let of = |rule: &Arc<Rule>| {
            let claim = Claim { rule: rule.clone(), scope: rule.name.as_ref().into(), worst: 0 };
            let stands = ledger.standing_of(&claim, model.latest_ms);
            (stands.used, stands.held, stands.limit)
        };
        model.rules.iter().map(of).collect()
    };
    let replayed = MemoryLedger::default();
    for event in events.iter().flat_map(|event| [event, event]) {
        let text = serde_json::to_string(event).unwrap();
        replayed.apply(&serde_json::from_str(&text).unwrap());
    }
    prop_assert_eq!(replayed.check(), Ok(()));
    let checkpoint = MemoryLedger::default();
    ledger.told(model.latest_ms, || ()).1.iter().for_each(|event| checkpoint.apply(event));
    prop_assert_eq!(checkpoint.check(), Ok(()));
    // A checkpoint rounds buckets up: they hold less than a second of a rate more.
    let kept = |all: Vec<(u64, u64, u64)>| -> Vec<_> {
        let lasts = model.rules.iter().map(|rule| !matches!(rule.window, Window::Rolling { .. }));
        all.into_iter().zip(lasts).filter(|(_, lasts)| *lasts).map(|(stands, _)| stands).collect()
    };
    let (now, then, short) = (kept(stand(ledger)), kept(stand(&replayed)), kept(stand(&checkpoint)));
    prop_assert_eq!(&now, &then, "from all events");
    prop_assert_eq!(&now, &short, "from a checkpoint");
    Ok(())
}

#[test]
fn a_million_steps_agree_with_the_reference() {
    let cases = if crate::is_long() { 40_000 } else { 4_000 };
    // Around the changes of clocks in spring and autumn, and the ends of months and of a year.
    let begins = [
        "2026-03-07T20:00:00Z",
        "2026-03-28T20:00:00Z",
        "2026-04-03T20:00:00Z",
        "2026-10-24T20:00:00Z",
        "2026-10-31T20:00:00Z",
        "2026-12-30T20:00:00Z",
    ];
    let begins = begins.map(|text| text.parse::<Timestamp>().unwrap().as_millisecond());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    });
    let lives = (prop::sample::select(begins.to_vec()), prop::collection::vec(step(), 1..500));
    let ran = runner.run(&lives, |(begin_ms, steps)| live(begin_ms, &steps));
    assert!(ran.is_ok(), "{}", ran.unwrap_err());
}
