//! Who calls: keys, the tenants' table, and what each may use.

pub mod certificate;
pub mod cidr;
pub mod key;
pub mod record;
pub mod runtime;
pub mod scopes;
pub mod tenants;
pub mod ticket;
