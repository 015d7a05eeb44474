//! A grant or an override as operators ask for it: read into one that cannot be wrong, or told what is.

use std::sync::Arc;

use serde::Deserialize;
use tollgate_core::identity::record::hex;
use tollgate_core::limits::amendment::{Amendment, What};
use tollgate_core::limits::money::nanousd_from_usd;
use tollgate_core::limits::rules::{Rule, Unit, Window};
use tollgate_policy_runtime::tables::tenants::end_ms;

use super::told::Kind;
use super::{Place, Unamended};
use crate::state;

const REASON_BYTES_MAX: usize = 500;
const ID_BYTES_MAX: usize = 64;
/// Nothing lasts longer: what is to stay belongs into limits.yaml.
const LASTS_MS_MAX: i64 = 366 * 86_400_000;
/// In the place of a time: the end of the budget's present period.
const PERIOD: &str = "period";

/// What is asked for. Of the amounts one, the one that the rule counts in.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    /// In dollars, exact: `"50"`, `"-0.25"`.
    pub usd: Option<String>,
    pub tokens: Option<i64>,
    pub requests: Option<i64>,
    pub in_flight: Option<i64>,
    /// A date (to its end, UTC), a time, or `period`.
    pub until: Option<String>,
    pub reason: String,
    /// Absent = one is made.
    pub id: Option<String>,
    /// The grant takes away.
    pub negative: bool,
}

impl Wanted {
    pub fn ends_with_period(&self) -> bool {
        self.until.as_deref() == Some(PERIOD)
    }

    pub(super) fn amendment(&self, place: &Place, kind: Kind, by: &str, now_ms: i64) -> Result<Amendment, Unamended> {
        self.checked(place, kind, by, now_ms).map_err(Unamended::Wrong)
    }

    fn checked(&self, place: &Place, kind: Kind, by: &str, now_ms: i64) -> Result<Amendment, String> {
        let what = self.what(place, kind)?;
        if self.reason.trim().is_empty() {
            return Err("`reason` is missing: it stands in the trail, for whoever asks later".to_owned());
        }
        if self.reason.len() > REASON_BYTES_MAX || self.reason.chars().any(char::is_control) {
            return Err(format!("`reason` is one line of at most {REASON_BYTES_MAX} bytes"));
        }
        Ok(Amendment {
            id: self.id()?,
            rule: place.rule.name.clone(),
            scope: place.scope.as_deref().map(Arc::from),
            unit: place.rule.unit,
            what,
            made_ms: now_ms,
            until_ms: self.until_ms(&place.rule, now_ms)?,
            revoked_ms: None,
            by: by.into(),
            reason: self.reason.as_str().into(),
        })
    }

    fn what(&self, place: &Place, kind: Kind) -> Result<What, String> {
        let (rule, amount) = (&place.rule, self.amount(&place.rule)?);
        match kind {
            Kind::Grant if !rule.is_budget() => {
                Err(format!("`{}` is a rate: it takes no grants; override its limit instead", rule.name))
            }
            Kind::Grant if place.scope.is_none() => {
                Err("a grant is of one scope: name it, or override the limit of the whole rule".to_owned())
            }
            Kind::Grant if amount == 0 => Err("a grant of nothing does nothing".to_owned()),
            Kind::Grant if (amount < 0) != self.negative => Err(match self.negative {
                true => "`negative` says that the grant takes away, and its amount is above 0".to_owned(),
                false => "the amount is below 0, which takes away: say `negative: true` if that is meant".to_owned(),
            }),
            Kind::Grant => Ok(What::Grant(amount)),
            Kind::Override if self.negative => {
                Err("`negative` is of grants: an override is the limit itself".to_owned())
            }
            Kind::Override => {
                let most = u64::try_from(amount).map_err(|_| "a limit is not below 0".to_owned())?;
                Ok(What::Override(most))
            }
        }
    }

    fn amount(&self, rule: &Rule) -> Result<i64, String> {
        let given = [
            ("usd", Unit::Nanousd, self.usd.is_some()),
            ("tokens", Unit::Tokens, self.tokens.is_some()),
            ("requests", Unit::Requests, self.requests.is_some()),
            ("in_flight", Unit::InFlight, self.in_flight.is_some()),
        ];
        let needed = given.iter().find(|(_, unit, _)| *unit == rule.unit).map_or("usd", |(name, ..)| name);
        if let Some((other, ..)) = given.iter().find(|(name, _, is_given)| *is_given && *name != needed) {
            return Err(format!("`{}` counts in `{needed}`, not in `{other}`", rule.name));
        }
        let amount = match rule.unit {
            Unit::Nanousd => self.usd.as_deref().map(signed).transpose()?,
            Unit::Tokens => self.tokens,
            Unit::Requests => self.requests,
            Unit::InFlight => self.in_flight,
        };
        amount.ok_or_else(|| format!("`{needed}` is missing: how much, in what `{}` counts", rule.name))
    }

    fn until_ms(&self, rule: &Rule, now_ms: i64) -> Result<i64, String> {
        let until_ms = match (self.until.as_deref(), &rule.window) {
            (None, _) => return Err("`until` is missing: write 2027-03-31, a time, or `period`".to_owned()),
            (Some(PERIOD), Window::Calendar { every, zone }) => every.around(now_ms, zone).1,
            (Some(PERIOD), _) => return Err(format!("`{}` has no periods: give `until` a time", rule.name)),
            (Some(text), _) => end_ms(text).map_err(|why| format!("`until`: {why}"))?,
        };
        if until_ms <= now_ms {
            return Err("`until` is over already: it would never act".to_owned());
        }
        if until_ms - now_ms > LASTS_MS_MAX {
            return Err("`until` is more than 366 days away: what is to stay belongs into limits.yaml".to_owned());
        }
        Ok(until_ms)
    }

    fn id(&self) -> Result<Arc<str>, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        match self.id.as_deref() {
            None => {
                let random: [u8; 8] = state::random()?;
                Ok(hex::encode(&random).into())
            }
            Some(id) if !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(plain) => Ok(id.into()),
            Some(_) => Err(format!("`id` is up to {ID_BYTES_MAX} letters, digits, `-`, `_` and `.`")),
        }
    }
}

fn signed(text: &str) -> Result<i64, String> {
    match text.strip_prefix('-') {
        Some(rest) => nanousd_from_usd(rest).map(|nanousd| -nanousd).map_err(|why| format!("`usd`: {why}")),
        None => nanousd_from_usd(text).map_err(|why| format!("`usd`: {why}")),
    }
}
