//! Rules that are edited while calls are under way.

use tollgate_core::limits::rules::{Calendar, Window};

use super::tests::{again, claim, daily, rule, settled, standing};
use super::*;

const DAY_MS: i64 = 86_400_000;

fn more(tokens: u64) -> Used {
    Used { nanousd: 0, tokens }
}

/// Held on one day, and extended on the next by the limit that is in force then, though nothing was used there since.
#[test]
fn an_extension_is_judged_by_the_limit_of_now() {
    let (ledger, was, now) = (MemoryLedger::default(), daily("r", Unit::Tokens, 10), daily("r", Unit::Tokens, 100));
    ledger.hold_now(16, &[claim(&was, 10)], DAY_MS - 1).unwrap();
    ledger.standing_of(&claim(&now, 0), DAY_MS);
    let swept_ms = DAY_MS + 2 * books::SWEEP_EVERY_MS;
    // So many that each shard is looked through.
    let other = |n| claim(&rule(&format!("other-{n}"), Unit::InFlight, 9, Window::None), 1);
    ledger.hold_now(32, &(0..256).map(other).collect::<Vec<_>>(), swept_ms).unwrap();
    assert_eq!(ledger.extend_now(16, 1, more(100), swept_ms).map_err(|refused| refused.limit), Ok(()));
    assert_eq!(ledger.extend_now(16, 2, more(1), swept_ms).map_err(|refused| refused.limit), Err(100));
    ledger.end(16, settled(0, 60), swept_ms);
    // Ten of the sixty were held for yesterday.
    assert_eq!(standing(&ledger, &now, swept_ms), (50, 0));
    assert_eq!(ledger.check(), Ok(()));
}

#[test]
fn a_call_does_not_bring_back_the_unit_that_it_began_in() {
    let was = daily("r", Unit::Tokens, 10);
    let month = Window::Calendar { every: Calendar::Month, zone: jiff::tz::TimeZone::UTC };
    for (now, why) in [
        (daily("r", Unit::Nanousd, 100), "money in place of tokens"),
        (rule("r", Unit::Nanousd, 100, month), "and another period"),
    ] {
        for is_extended in [true, false] {
            let ledger = MemoryLedger::default();
            ledger.hold_now(16, &[claim(&was, 5)], 0).unwrap();
            ledger.hold_now(32, &[claim(&now, 90)], 1).unwrap();
            ledger.end(32, settled(90, 0), 2);
            assert!(ledger.hold_now(16, &[claim(&was, 5)], 2).unwrap().is_empty(), "held again, it counts nowhere");
            if is_extended {
                ledger.extend_now(16, 1, more(5), 3).unwrap();
            }
            assert_eq!(standing(&again(&ledger, 4), &now, 4), (90, 0), "{why}, from a checkpoint");
            ledger.end(16, settled(0, 10), 4);
            assert_eq!(standing(&ledger, &now, 5), (90, 0), "{why}, extended: {is_extended}");
            assert_eq!(ledger.check(), Ok(()));
        }
    }
}
