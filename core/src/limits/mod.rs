//! Money, rates and budgets: the rules, and the claims that a call makes on a ledger.

pub mod claim;
pub mod money;
pub mod rules;
