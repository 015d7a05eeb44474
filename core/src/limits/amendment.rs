//! What operators change of a limit while a gateway runs: a grant adds to it, an override takes its place. Each has an end.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rules::{Rule, Unit};

/// One change of a limit. It holds over edits of the rule, as long as that keeps its name and unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    pub id: Arc<str>,
    pub rule: Arc<str>,
    /// The key of one scope; absent = every scope of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Arc<str>>,
    pub unit: Unit,
    pub what: What,
    pub made_ms: i64,
    /// From here on it does nothing.
    pub until_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<i64>,
    /// Who made it: `operator-token`, or `key ID`.
    pub by: Arc<str>,
    pub reason: Arc<str>,
}

/// In the rule's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// So much more than the limit; below 0 so much less.
    Grant(i64),
    /// This in the limit's place.
    Override(u64),
}

/// The limit of a scope at some moment, and until when that is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub most: u64,
    pub until_ms: i64,
}

impl Limit {
    /// What the rule says, for ever.
    pub fn of(rule: &Rule) -> Limit {
        Limit { most: rule.limit, until_ms: i64::MAX }
    }

    /// The rule's limit under the amendments that are in force: the last override, of this scope before one of the whole rule,
    /// and all grants on top of it.
    pub fn amended<'a>(rule: &Rule, amendments: impl Iterator<Item = &'a Amendment>, now_ms: i64) -> Limit {
        let (mut instead, mut granted, mut until_ms) = (None::<(bool, i64, &str, u64)>, 0_i128, i64::MAX);
        for one in amendments.filter(|one| one.unit == rule.unit && one.is_in_force(now_ms)) {
            until_ms = until_ms.min(one.until_ms);
            match one.what {
                What::Grant(more) => granted += i128::from(more),
                What::Override(most) => {
                    let rank = (one.scope.is_some(), one.made_ms, &*one.id, most);
                    instead = instead.max(Some(rank));
                }
            }
        }
        let base = i128::from(instead.map_or(rule.limit, |(.., most)| most));
        let most = u64::try_from((base + granted).max(0)).unwrap_or(u64::MAX);
        Limit { most, until_ms }
    }
}

impl Amendment {
    pub fn is_in_force(&self, now_ms: i64) -> bool {
        now_ms < self.ends_ms()
    }

    /// When it ends, or did.
    pub fn ends_ms(&self) -> i64 {
        self.revoked_ms.map_or(self.until_ms, |revoked| revoked.min(self.until_ms))
    }

    /// Is it the same change of the same limit, whoever made it and when?
    pub fn says_as(&self, other: &Amendment) -> bool {
        let said = |one: &Amendment| (one.unit, one.what, one.until_ms);
        let named = |one: &Amendment| (one.rule.clone(), one.scope.clone(), one.reason.clone());
        said(self) == said(other) && named(self) == named(other)
    }

    /// Of two that are known under one id: the one that was made last and, made once, the one that was revoked, first of all.
    ///
    /// Whoever compares the same two comes to the same: so gateways that tell one another what they know agree in the end.
    pub fn or_later<'a>(self: &'a Arc<Amendment>, other: &'a Arc<Amendment>) -> &'a Arc<Amendment> {
        let rank = |one: &'a Amendment| {
            let place = (&*one.rule, one.scope.as_deref(), &*one.by, &*one.reason);
            (one.made_ms, one.revoked_ms.map(Reverse), one.until_ms, one.what, place)
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Calendar, ScopeGlobs, Window};
    use super::*;

    fn rule() -> Rule {
        let window = Window::Calendar { every: Calendar::Day, zone: jiff::tz::TimeZone::UTC };
        let (name, scope) = ("r".into(), ScopeGlobs::default());
        Rule { name, per: Vec::new(), scope, unit: Unit::Tokens, limit: 100, window, ladder: Vec::new() }
    }

    fn made(id: &str, is_of_scope: bool, what: What, (made_ms, until_ms): (i64, i64)) -> Amendment {
        let scope = is_of_scope.then(|| "r|tenant=4:acme".into());
        let (by, reason) = ("operator-token".into(), "a test".into());
        let (id, unit) = (id.into(), Unit::Tokens);
        Amendment { id, rule: "r".into(), scope, unit, what, made_ms, until_ms, revoked_ms: None, by, reason }
    }

    #[test]
    fn grants_add_up_on_the_last_override_and_each_ends_by_itself() {
        let all = [
            made("a", true, What::Grant(50), (0, 10)),
            made("b", true, What::Grant(-20), (0, 20)),
            made("c", false, What::Override(1_000), (0, 30)),
            made("d", true, What::Override(10), (0, 40)),
            made("e", true, What::Override(20), (1, 15)),
            Amendment { revoked_ms: Some(5), ..made("f", true, What::Grant(1_000), (0, 50)) },
            Amendment { unit: Unit::Nanousd, ..made("g", true, What::Grant(7), (0, 50)) },
        ];
        for (named, now_ms, most, until_ms, why) in [
            ("", 0, 100, i64::MAX, "the rule's own"),
            ("a", 0, 150, 10, "a grant adds"),
            ("a", 10, 100, i64::MAX, "and ends"),
            ("ab", 9, 130, 10, "one may take away"),
            ("ab", 10, 80, 20, "the other is still there"),
            ("cd", 0, 10, 30, "the scope's own override before the rule's"),
            ("de", 2, 20, 15, "the last one"),
            ("de", 15, 10, 40, "and the one before when that ends"),
            ("cda", 0, 60, 10, "grants on top of an override"),
            ("bd", 0, 0, 20, "never below nothing"),
            ("f", 4, 1_100, 50, "not revoked yet"),
            ("f", 5, 100, i64::MAX, "revoked"),
            ("g", 0, 100, i64::MAX, "dollars say nothing about tokens"),
        ] {
            let some = all.iter().filter(|one| named.contains(&*one.id));
            assert_eq!(Limit::amended(&rule(), some, now_ms), Limit { most, until_ms }, "{named} at {now_ms}: {why}");
        }
    }

    #[test]
    fn of_two_under_one_id_all_choose_the_same() {
        let first = made("a", true, What::Grant(50), (0, 10));
        let revoked = |at| Amendment { revoked_ms: Some(at), ..first.clone() };
        for (one, other, wins, why) in [
            (first.clone(), first.clone(), 0, "the same"),
            (first.clone(), revoked(5), 1, "what is revoked stays so"),
            (revoked(7), revoked(5), 1, "since it was first"),
            (revoked(5), Amendment { made_ms: 1, ..first.clone() }, 1, "made anew under the id of one that had ended"),
            (first.clone(), Amendment { what: What::Grant(60), ..first.clone() }, 1, "one of them, always"),
        ] {
            let both = [Arc::new(one), Arc::new(other)];
            assert_eq!(both[0].or_later(&both[1]), &both[wins], "{why}");
            assert_eq!(both[1].or_later(&both[0]), &both[wins], "{why}: whoever asks");
        }
    }

    #[test]
    fn no_sum_overflows_and_what_is_written_is_read() {
        let many: Vec<_> = (0..9).map(|n| made(&format!("m{n}"), true, What::Grant(i64::MAX), (0, 9))).collect();
        assert_eq!(Limit::amended(&rule(), many.iter(), 0).most, u64::MAX);
        let text = serde_json::to_string(&many[0]).unwrap();
        assert_eq!(serde_json::from_str::<Amendment>(&text).unwrap(), many[0], "{text}");
    }
}
