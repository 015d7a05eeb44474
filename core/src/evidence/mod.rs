//! What remains of a call: its receipt, and the digest that a replay must reach again.

pub mod digest;
pub mod intent;
pub mod receipt;

pub mod replay;
