//! What a client is told when its request cannot be served: what was wrong, and what would be right.

use axum::response::{IntoResponse, Response};
use hyper::{StatusCode, header};
use serde::Serialize;

/// A value that is not accepted, with the name of the field or parameter it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The field or parameter.
    pub parameter: &'static str,
    /// What it was and what would be right.
    pub reason: String,
}

impl Invalid {
    pub(crate) fn new(parameter: &'static str, reason: impl Into<String>) -> Self {
        Self { parameter, reason: reason.into() }
    }
}

/// An error answer: a 4xx or 503 with `{"error":{"reason","parameter"?}}`.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    /// The methods that are right, unless axum knows them.
    allow: Option<&'static str>,
    body: Explained,
}

#[derive(Debug, Serialize)]
struct Explained {
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, allow: None, body: Explained { reason: reason.into(), parameter: None } }
    }

    /// 405, with the methods that are right unless axum adds them.
    pub(crate) fn wrong_method(allow: Option<&'static str>) -> Self {
        let reason = "messages are sent with POST to /messages, everything else is read with GET";
        Self { allow, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, reason) }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The body of the answer.
    pub(crate) fn to_json(&self) -> String {
        serde_json::json!({ "error": self.body }).to_string()
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let body = Explained { reason: invalid.reason, parameter: Some(invalid.parameter) };
        Self { status: StatusCode::BAD_REQUEST, allow: None, body }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (self.status, json, self.to_json()).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        if let Some(allow) = self.allow {
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, header::HeaderValue::from_static("13"));
        }
        response
    }
}
