//! An attempt that came to no answer: what the caller is told of it, and whether another target may do better.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::contract::refusal::{Category, Fault as Whose, Refusal};
use crate::ports::Fault;
use crate::routing::catalog::Target;

/// How one attempt ended without an answer.
pub(super) struct Failed {
    pub refusal: Refusal,
    /// Another target may do better.
    pub go_on: bool,
    /// The provider had the call, and may bill it though nothing came of it.
    pub billed: bool,
    /// What to hand over if nobody does better: the provider's own words.
    pub said: Option<(StatusCode, HeaderMap, Bytes)>,
}

pub(super) fn unreadable(why: &str, status: StatusCode, target: &Target) -> Failed {
    let told = format!("`{}` answered {}, but {why}", target.id, status.as_u16());
    let refusal = Refusal {
        provider: Some(target.provider.clone()),
        provider_status: Some(status.as_u16()),
        ..Refusal::new(Category::UpstreamOutage, "provider_answer_unreadable", told)
    };
    Failed { refusal, go_on: true, billed: true, said: None }
}

pub(super) fn failed(fault: Fault, target: &Target) -> Failed {
    let (category, code, fault_of) = match &fault {
        Fault::Connect(_) => (Category::UpstreamOutage, "provider_unreachable", Whose::Provider),
        Fault::Broken(_) => (Category::UpstreamOutage, "provider_broke_off", Whose::Provider),
        Fault::Packed(_) => (Category::UpstreamOutage, "provider_answer_unreadable", Whose::Provider),
        Fault::FirstByte(_) | Fault::Idle(_) => (Category::Timeout, "provider_silent", Whose::Provider),
        Fault::Deadline(_) => (Category::Timeout, "deadline", Whose::Provider),
        Fault::NoSecret { .. } => (Category::UpstreamOutage, "no_provider_secret", Whose::Gateway),
    };
    let go_on = !matches!(fault, Fault::Deadline(_));
    let reason = format!("`{}` did not answer: {fault}", target.id);
    let refusal =
        Refusal { provider: Some(target.provider.clone()), fault: fault_of, ..Refusal::new(category, code, reason) };
    let billed = matches!(fault, Fault::Broken(_) | Fault::FirstByte(_) | Fault::Idle(_) | Fault::Deadline(_));
    Failed { refusal, go_on, billed, said: None }
}
