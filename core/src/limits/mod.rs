//! Money, rates and budgets: the rules, what operators change of them for a while, and the claims that a call makes on a ledger.

pub mod amendment;
pub mod balance;
pub mod claim;
pub mod money;
pub mod rules;
pub mod scope;
