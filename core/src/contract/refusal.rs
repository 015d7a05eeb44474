//! Why a call was turned away: a closed list of categories, one shape in every dialect.

use std::borrow::Cow;
use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::contract::place::At;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    InvalidRequest,
    PolicyViolation,
    Unsupported,
    Auth,
    Permission,
    NoRoute,
    Conflict,
    TooLarge,
    ContextLength,
    ContentFiltered,
    RateLimited,
    BudgetExceeded,
    Overloaded,
    UpstreamOutage,
    Timeout,
    Internal,
    Interrupted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    Caller,
    Policy,
    Gateway,
    Provider,
}

/// One refusal. The useful sentence is `reason`; it is all that many users ever see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub category: Category,
    /// Stable, for programs.
    pub code: Cow<'static, str>,
    pub fault: Fault,
    pub reason: String,
    pub retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<str>>,
    /// `file:line:column` of the rule that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
    /// The request member or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_code: Option<String>,
}

impl Category {
    pub const ALL: [Category; 17] = [
        Category::InvalidRequest,
        Category::PolicyViolation,
        Category::Unsupported,
        Category::Auth,
        Category::Permission,
        Category::NoRoute,
        Category::Conflict,
        Category::TooLarge,
        Category::ContextLength,
        Category::ContentFiltered,
        Category::RateLimited,
        Category::BudgetExceeded,
        Category::Overloaded,
        Category::UpstreamOutage,
        Category::Timeout,
        Category::Internal,
        Category::Interrupted,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Category::InvalidRequest => "invalid_request",
            Category::PolicyViolation => "policy_violation",
            Category::Unsupported => "unsupported",
            Category::Auth => "auth",
            Category::Permission => "permission",
            Category::NoRoute => "no_route",
            Category::Conflict => "conflict",
            Category::TooLarge => "too_large",
            Category::ContextLength => "context_length",
            Category::ContentFiltered => "content_filtered",
            Category::RateLimited => "rate_limited",
            Category::BudgetExceeded => "budget_exceeded",
            Category::Overloaded => "overloaded",
            Category::UpstreamOutage => "upstream_outage",
            Category::Timeout => "timeout",
            Category::Internal => "internal",
            Category::Interrupted => "interrupted",
        }
    }

    /// What real clients do with a status decides it: only a 400 is sent once by all of them.
    pub fn status(self) -> StatusCode {
        match self {
            Category::InvalidRequest
            | Category::PolicyViolation
            | Category::Unsupported
            | Category::ContextLength
            | Category::ContentFiltered => StatusCode::BAD_REQUEST,
            Category::Auth => StatusCode::UNAUTHORIZED,
            Category::Permission => StatusCode::FORBIDDEN,
            Category::NoRoute => StatusCode::NOT_FOUND,
            Category::Conflict => StatusCode::CONFLICT,
            Category::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Category::RateLimited | Category::BudgetExceeded => StatusCode::TOO_MANY_REQUESTS,
            Category::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Category::UpstreamOutage | Category::Interrupted => StatusCode::BAD_GATEWAY,
            Category::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Category::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub fn retryable(self) -> bool {
        match self {
            Category::RateLimited
            | Category::Overloaded
            | Category::UpstreamOutage
            | Category::Timeout
            | Category::Internal
            | Category::Interrupted => true,
            Category::InvalidRequest
            | Category::PolicyViolation
            | Category::Unsupported
            | Category::Auth
            | Category::Permission
            | Category::NoRoute
            | Category::Conflict
            | Category::TooLarge
            | Category::ContextLength
            | Category::ContentFiltered
            | Category::BudgetExceeded => false,
        }
    }

    /// The `type` that OpenAI's SDKs and their users know.
    fn openai_type(self) -> &'static str {
        match self {
            Category::InvalidRequest
            | Category::PolicyViolation
            | Category::Unsupported
            | Category::NoRoute
            | Category::Conflict
            | Category::TooLarge
            | Category::ContextLength
            | Category::ContentFiltered => "invalid_request_error",
            Category::Auth => "authentication_error",
            Category::Permission => "permission_error",
            Category::RateLimited => "rate_limit_error",
            Category::BudgetExceeded => "insufficient_quota",
            Category::Overloaded
            | Category::UpstreamOutage
            | Category::Timeout
            | Category::Internal
            | Category::Interrupted => "server_error",
        }
    }
}

// Invariant: a category that is new stands in the list too.
const _: () = assert!(Category::Interrupted as usize + 1 == Category::ALL.len());

impl Refusal {
    pub fn new(category: Category, code: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        let fault = match category {
            Category::PolicyViolation | Category::BudgetExceeded | Category::RateLimited => Fault::Policy,
            Category::Overloaded | Category::Internal => Fault::Gateway,
            Category::UpstreamOutage | Category::Timeout | Category::Interrupted | Category::ContentFiltered => {
                Fault::Provider
            }
            Category::InvalidRequest
            | Category::Unsupported
            | Category::Auth
            | Category::Permission
            | Category::NoRoute
            | Category::Conflict
            | Category::TooLarge
            | Category::ContextLength => Fault::Caller,
        };
        Refusal {
            category,
            code: code.into(),
            fault,
            reason: reason.into(),
            retry_after_ms: None,
            policy: None,
            at: None,
            param: None,
            provider: None,
            provider_status: None,
            provider_code: None,
        }
    }

    /// A request that is wrong, and the member or header that makes it so.
    pub fn invalid(code: &'static str, param: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Refusal { param: Some(param.into()), ..Self::new(Category::InvalidRequest, code, reason) }
    }

    pub fn status(&self) -> StatusCode {
        match (&self.category, &*self.code) {
            (Category::Conflict, "idempotency_key_reused") => StatusCode::UNPROCESSABLE_ENTITY,
            (category, _) => category.status(),
        }
    }

    pub fn retryable(&self) -> bool {
        self.category.retryable() || (self.category == Category::Conflict && self.retry_after_ms.is_some())
    }

    /// What every dialect's refusal says besides its own members: the object `tollgate`.
    pub fn tollgate_object(&self, request_id: &str) -> serde_json::Value {
        serde_json::json!({
            "category": self.category,
            "code": self.code,
            "retryable": self.retryable(),
            "retry_after_ms": self.retry_after_ms,
            "fault": self.fault,
            "reason": self.reason,
            "policy": self.policy,
            "at": self.at.as_ref().map(ToString::to_string),
            "request_id": request_id,
            "provider": self.provider,
            "provider_status": self.provider_status,
            "provider_code": self.provider_code,
        })
    }

    /// The useful sentence, and the rule that refused.
    pub fn message(&self) -> String {
        let mut message = self.reason.clone();
        if let Some(policy) = &self.policy {
            message.push_str(&match &self.at {
                Some(at) => format!(" (policy `{policy}`, {at})"),
                None => format!(" (policy `{policy}`)"),
            });
        }
        message
    }

    /// The body in OpenAI's dialects; also the payload of an error event in a stream.
    pub fn openai_json(&self, request_id: &str) -> String {
        let code = match self.category {
            Category::BudgetExceeded => "insufficient_quota",
            _ => &*self.code,
        };
        serde_json::json!({
            "error": {
                "message": self.message(),
                "type": self.category.openai_type(),
                "param": self.param,
                "code": code,
                "tollgate": self.tollgate_object(request_id),
            }
        })
        .to_string()
    }
}
