//! Budgets at run time: how limits stand, and what operators change of them for a while. What a change may be is decided here;
//! HTTP is not known.
//!
//! A change acts on the next call, and is on the disk before it is told as done. It ends by itself, and outlives a restart
//! and edits of limits.yaml.

mod told;
mod wanted;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_core::contract::nearest;
use tollgate_core::limits::amendment::{Amendment, Limit};
use tollgate_core::limits::balance::{Balance, Listing, Undone};
use tollgate_core::limits::claim::{Claim, Standing};
use tollgate_core::limits::rules::{Per, Rule};
use tollgate_core::limits::scope;
use tollgate_core::pipeline::Core;

pub use told::Kind;
pub use wanted::Wanted;

/// A list tells no more at once.
const PAGE_MAX: usize = 1_000;
/// Stands for every scope of a rule.
pub const EVERY: &str = "*";

/// Budgets of a running gateway.
pub struct Budgets {
    core: Arc<Core>,
    /// One change after another: what a change read is still so when it is made.
    changing: tokio::sync::Mutex<()>,
}

/// Why a change was not made, or a balance not told.
#[derive(Debug, thiserror::Error)]
pub enum Unamended {
    #[error("{0}")]
    Wrong(String),
    #[error("{0}")]
    Unknown(String),
    #[error("{0}")]
    Conflict(String),
    #[error(
        "the grants and overrides of `{0}` are not as they were when you read them: read them again (the ETag is `{1}`)"
    )]
    Stale(String, String),
    #[error(transparent)]
    NotKept(#[from] Undone),
}

/// Which balances somebody asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    rule: Option<String>,
    tenant: Option<String>,
    /// A scope, or one `name=value` of it.
    scope: Option<String>,
    /// The `next` of the page before.
    after: String,
    limit: usize,
}

impl Default for Asked {
    fn default() -> Self {
        Asked { rule: None, tenant: None, scope: None, after: String::new(), limit: PAGE_MAX }
    }
}

/// How a change was asked for.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    pub by: &'a str,
    /// The ETag that must still hold.
    pub only_if: Option<&'a str>,
    pub is_dry: bool,
}

/// What a change came to.
#[derive(Debug)]
pub struct Amended {
    /// The grant or the override, with the ETag that now holds.
    pub record: Value,
    /// Null for every scope of a rule.
    pub balance: Value,
    /// `false` = it was there under this id already.
    pub is_new: bool,
}

/// Where a change acts.
struct Place {
    rule: Arc<Rule>,
    /// The key; `None` = every scope.
    scope: Option<Box<str>>,
}

impl Place {
    fn is_of(&self, amendment: &Amendment) -> bool {
        amendment.rule == self.rule.name
            && amendment.unit == self.rule.unit
            && amendment.scope.as_deref() == self.scope.as_deref()
    }
}

impl Budgets {
    pub fn new(core: Arc<Core>) -> Budgets {
        Budgets { core, changing: tokio::sync::Mutex::new(()) }
    }

    /// A page of balances, by scope: all, or those of one tenant.
    pub async fn list(&self, asked: &Asked, of_tenant: Option<&str>) -> Result<Value, Unamended> {
        let rules = match &asked.rule {
            Some(name) => vec![self.rule(name)?],
            None => self.core.policies.pin().limits.rules.clone(),
        };
        let limit = asked.limit.clamp(1, PAGE_MAX);
        let keep = |rule: &Rule, key: &str| {
            let Some(values) = scope::values(rule, key) else { return false };
            let is_of = |tenant: &str| values.iter().any(|(per, value)| *per == Per::Tenant && *value == tenant);
            let is_named = |text: &String| {
                let one = |(per, value): &(Per, &str)| {
                    text.strip_prefix(per.name()).and_then(|rest| rest.strip_prefix('=')) == Some(*value)
                };
                text == key || *text == scope::told(rule, key) || values.iter().any(one)
            };
            of_tenant.is_none_or(is_of)
                && asked.tenant.as_deref().is_none_or(is_of)
                && asked.scope.as_ref().is_none_or(is_named)
        };
        let listing = Listing { rules: &rules, keep: &keep, after: &asked.after, count: limit + 1 };
        let mut balances = self.core.ledger.balances(listing, self.now_ms()).await?;
        let more = balances.len() > limit;
        balances.truncate(limit);
        let next = balances.last().filter(|_| more).map(|balance| balance.scope.clone());
        let amendments = self.core.ledger.amendments();
        let told: Vec<Value> = balances.iter().map(|balance| self.told(balance, &amendments)).collect();
        Ok(json!({ "budgets": told, "next": next }))
    }

    /// One balance, used or not.
    pub async fn one(&self, (rule, scope): (&str, &str), of_tenant: Option<&str>) -> Result<Value, Unamended> {
        let rule = self.rule(rule)?;
        let key = scope::parse(&rule, scope).map_err(Unamended::Wrong)?;
        let is_of = |tenant: &str| {
            let values = scope::values(&rule, &key).unwrap_or_default();
            values.iter().any(|(per, value)| *per == Per::Tenant && *value == tenant)
        };
        if !of_tenant.is_none_or(is_of) {
            // One of another tenant is told like one that is not there.
            return Err(Unamended::Unknown(format!("`{}` has no such scope of your tenant", rule.name)));
        }
        let standing = self.standing(&rule, &key).await;
        Ok(self.told(&Balance { rule, scope: Arc::from(key), standing }, &self.core.ledger.amendments()))
    }

    /// The grants or overrides of one place that are known, with the ETag of all of them.
    pub fn amendments(&self, place: (&str, &str), kind: Kind) -> Result<(Value, String), Unamended> {
        let place = self.place(place)?;
        let mut all = self.core.ledger.amendments();
        let etag = told::etag(&place.rule, place.scope.as_deref(), &all, self.now_ms());
        all.retain(|one| place.is_of(one) && Kind::of(one) == kind);
        let list: Vec<Value> = all.iter().map(|one| told::amendment(&place.rule, one, self.now_ms())).collect();
        Ok((json!({ kind.plural(): list }), etag))
    }

    /// Makes a grant or an override. A second time with the same id does nothing.
    pub async fn amend(
        &self,
        place: (&str, &str),
        kind: Kind,
        wanted: &Wanted,
        how: How<'_>,
    ) -> Result<Amended, Unamended> {
        let _changing = self.changing.lock().await;
        let place = self.place(place)?;
        let now_ms = self.now_ms();
        let amendment = wanted.amendment(&place, kind, how.by, now_ms)?;
        let known = self.core.ledger.amendments();
        if let Some(known) = known.iter().find(|known| known.id == amendment.id) {
            let same_end = wanted.ends_with_period() || known.until_ms == amendment.until_ms;
            let same = place.is_of(known) && known.what == amendment.what && known.reason == amendment.reason;
            return match same && same_end {
                true => Ok(self.came(&place, known.clone(), false).await),
                false => Err(Unamended::Conflict(format!(
                    "the id `{}` is of another grant or override: take another id, or leave it out",
                    known.id
                ))),
            };
        }
        self.is_current(&place, &known, how.only_if)?;
        self.make(place, amendment, how.is_dry).await
    }

    /// Ends a grant or an override now. A second time does nothing.
    pub async fn revoke(&self, place: (&str, &str), kind: Kind, id: &str, how: How<'_>) -> Result<Amended, Unamended> {
        let _changing = self.changing.lock().await;
        let place = self.place(place)?;
        let known = self.core.ledger.amendments();
        let found = known.iter().find(|one| *one.id == *id && place.is_of(one) && Kind::of(one) == kind);
        let Some(found) = found else {
            let (what, shown, rule) = (kind.name(), nearest::shown(id), &place.rule.name);
            return Err(Unamended::Unknown(format!("`{rule}` has no {what} `{shown}` for this scope")));
        };
        self.is_current(&place, &known, how.only_if)?;
        if !found.is_in_force(self.now_ms()) {
            return Ok(self.came(&place, found.clone(), false).await);
        }
        let revoked = Amendment { revoked_ms: Some(self.now_ms()), ..Amendment::clone(found) };
        self.make(place, revoked, how.is_dry).await
    }

    async fn make(&self, place: Place, amendment: Amendment, is_dry: bool) -> Result<Amended, Unamended> {
        let amendment = Arc::new(amendment);
        if is_dry {
            let mut all = self.core.ledger.amendments();
            all.retain(|one| one.id != amendment.id);
            all.push(amendment.clone());
            return Ok(self.view(&place, &amendment, &all, true).await);
        }
        self.core.ledger.amend(amendment.clone(), self.now_ms()).await?;
        // Another gateway may have come first, with the same under this id.
        let known = self.core.ledger.amendments().into_iter().find(|one| one.id == amendment.id);
        let is_new = known.as_ref().is_none_or(|known| *known == amendment);
        Ok(self.came(&place, known.unwrap_or(amendment), is_new).await)
    }

    async fn came(&self, place: &Place, amendment: Arc<Amendment>, is_new: bool) -> Amended {
        self.view(place, &amendment, &self.core.ledger.amendments(), is_new).await
    }

    /// The change and the balance under it.
    async fn view(&self, place: &Place, one: &Amendment, all: &[Arc<Amendment>], is_new: bool) -> Amended {
        let now_ms = self.now_ms();
        let mut record = told::amendment(&place.rule, one, now_ms);
        record["etag"] = told::etag(&place.rule, place.scope.as_deref(), all, now_ms).into();
        let balance = match &place.scope {
            None => Value::Null,
            Some(key) => {
                let here = all.iter().map(|one| &**one).filter(|one| told::speaks_of(one, &place.rule, key));
                let limit = Limit::amended(&place.rule, here, now_ms).most;
                let standing = Standing { limit, ..self.standing(&place.rule, key).await };
                self.told(&Balance { rule: place.rule.clone(), scope: Arc::from(&**key), standing }, all)
            }
        };
        Amended { record, balance, is_new }
    }

    fn is_current(&self, place: &Place, known: &[Arc<Amendment>], only_if: Option<&str>) -> Result<(), Unamended> {
        let etag = told::etag(&place.rule, place.scope.as_deref(), known, self.now_ms());
        match only_if.is_none_or(|expected| expected == "*" || expected == etag) {
            true => Ok(()),
            false => Err(Unamended::Stale(place.rule.name.to_string(), etag)),
        }
    }

    async fn standing(&self, rule: &Arc<Rule>, key: &str) -> Standing {
        let claim = Claim { rule: rule.clone(), scope: key.into(), worst: 0 };
        let standings = self.core.ledger.standing(std::slice::from_ref(&claim), self.now_ms()).await;
        standings.into_iter().next().unwrap_or(Standing { limit: rule.limit, ..Standing::default() })
    }

    fn told(&self, balance: &Balance, amendments: &[Arc<Amendment>]) -> Value {
        told::balance(balance, amendments, self.now_ms())
    }

    fn rule(&self, name: &str) -> Result<Arc<Rule>, Unamended> {
        let revision = self.core.policies.pin();
        let rules = &revision.limits.rules;
        let unknown = || {
            let hint = nearest::hint(name, rules.iter().map(|rule| &*rule.name));
            Unamended::Unknown(format!("limits.yaml has no rule `{}`{hint}", nearest::shown(name)))
        };
        rules.iter().find(|rule| *rule.name == *name).cloned().ok_or_else(unknown)
    }

    fn place(&self, (rule, scope): (&str, &str)) -> Result<Place, Unamended> {
        let rule = self.rule(rule)?;
        let scope = match scope {
            EVERY => None,
            _ => Some(scope::parse(&rule, scope).map_err(Unamended::Wrong)?),
        };
        Ok(Place { rule, scope })
    }

    /// By what limits are counted by: gateways that share them go by one clock.
    fn now_ms(&self) -> i64 {
        self.core.ledger.time_ms((self.core.clock.now_ms)())
    }
}
