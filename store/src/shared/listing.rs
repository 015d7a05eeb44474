//! How scopes stand, a page at a time, for operators: those that this gateway used, asked for or heard granted, with what all
//! gateways used of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_core::limits::balance::{Balance, Listing, Undone};
use tollgate_core::limits::claim::Claim;
use tollgate_core::limits::rules::Rule;

use super::SharedLedger;
use super::slice::plain;
use crate::ledger::books::lock;

impl SharedLedger {
    pub(super) async fn list(&self, listing: Listing<'_>, now_ms: i64) -> Result<Vec<Balance>, Undone> {
        let mut found: BTreeMap<Arc<str>, &Arc<Rule>> = BTreeMap::new();
        let rules = || listing.rules.iter();
        // This node's own ledger counts by rules without a limit.
        let without: Vec<Arc<Rule>> = rules().map(plain).collect();
        for own in self.desk.local.balances(Listing { rules: &without, ..listing }, now_ms).await? {
            let rule = rules().find(|rule| rule.name == own.rule.name);
            found.extend(rule.map(|rule| (own.scope, rule)));
        }
        let wanted = |rule: &Rule, scope: &str| scope > listing.after && (listing.keep)(rule, scope);
        for cell in self.desk.all() {
            let slice = lock(&cell.slice);
            let rule = rules().find(|rule| rule.name == slice.rule.name && rule.unit == slice.rule.unit);
            let is_used = slice.used_by_all() > 0 || slice.held_by_all() > 0;
            found.extend(
                rule.filter(|rule| is_used && wanted(rule, &cell.scope)).map(|rule| (cell.scope.clone(), rule)),
            );
        }
        for scope in self.desk.amendments.scopes(listing.after, now_ms) {
            let name = scope.split_once('|').map_or(&*scope, |(name, _)| name);
            let rule = rules().find(|rule| *rule.name == *name);
            found.extend(rule.filter(|rule| wanted(rule, &scope)).map(|rule| (scope.clone(), rule)));
        }
        let claim = |(scope, rule): (&Arc<str>, &&Arc<Rule>)| Claim {
            rule: Arc::clone(rule),
            scope: scope.as_ref().into(),
            worst: 0,
        };
        let claims: Vec<Claim> = found.iter().take(listing.count).map(claim).collect();
        let standings = self.standing_of(&claims, now_ms).await;
        let told = claims.into_iter().zip(standings);
        Ok(told
            .map(|(claim, standing)| Balance { scope: Arc::from(&*claim.scope), rule: claim.rule, standing })
            .collect())
    }
}
