//! Why an answer broke off, as the caller is told.

use super::course::Course;
use super::readable;
use crate::contract::canonical::event::StreamError;
use crate::contract::refusal::{Category, Refusal};
use crate::routing::catalog::Target;

/// By our own words.
pub fn interrupted(target: &Target, why: &str) -> Refusal {
    Refusal {
        provider: Some(target.provider.clone()),
        ..Refusal::new(
            Category::Interrupted,
            "stream_interrupted",
            format!("the answer of `{}` broke off: {why}", target.id),
        )
    }
}

/// The provider's own words for why it broke off.
pub fn failed(target: &Target, course: Option<&mut Course>) -> Refusal {
    let told = course.as_deref().and_then(Course::has_told_its_error).unwrap_or_default().to_owned();
    let error = course.and_then(Course::failed).unwrap_or(StreamError { message: told, ..StreamError::default() });
    Refusal {
        provider: Some(target.provider.clone()),
        provider_status: error.status,
        provider_code: error.code.as_deref().map(readable::brief),
        ..Refusal::new(
            Category::Interrupted,
            "provider_error_in_stream",
            format!("`{}` broke its answer off: {}", target.id, readable::brief(&error.message)),
        )
    }
}
