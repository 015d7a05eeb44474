//! Who calls: keys, the tenants' table, and what each may use.

pub mod key;
pub mod tenants;
