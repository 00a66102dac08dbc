//! What a client is told when its request cannot be served: what was wrong, and what would be right.

use std::fmt;

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::json;

/// The headers of everything in JSON but a poll's answer.
pub(crate) const JSON: [(HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "application/json"),
    (header::CACHE_CONTROL, "no-store"),
];

/// A value that is not accepted, with the name of the field or parameter it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) parameter: &'static str,
    /// What it was and what would be right.
    pub(crate) reason: String,
}

impl Invalid {
    pub(crate) fn new(parameter: &'static str, reason: impl Into<String>) -> Self {
        Self {
            parameter,
            reason: reason.into(),
        }
    }

    /// It must be what is right, and is what was found.
    pub(crate) fn not(parameter: &'static str, right: impl fmt::Display, found: &str) -> Self {
        Self {
            parameter,
            reason: format!("{parameter} must be {right}, found {}", excerpt(found)),
        }
    }
}

/// The beginning of what somebody sent, fit to be shown.
pub(crate) fn excerpt(text: &str) -> String {
    match text {
        "" => "nothing".into(),
        text => text.chars().take(40).flat_map(char::escape_debug).collect(),
    }
}

/// An error answer: a 4xx or 503 with `{"error":{"reason","parameter"?}}`.
#[derive(Debug, Serialize)]
pub(crate) struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    /// A header that says what is right: the methods unless axum knows them, the type or the coding of a body.
    #[serde(skip)]
    right: Option<(HeaderName, &'static str)>,
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            status,
            right: None,
            reason: reason.into(),
            parameter: None,
        }
    }

    /// 405, with the methods that are right unless axum adds them.
    pub(crate) fn wrong_method(allow: Option<&'static str>) -> Self {
        let reason = "messages are sent with POST to /messages, everything else is read with GET";
        let right = allow.map(|methods| (header::ALLOW, methods));
        Self {
            right,
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, reason)
        }
    }

    /// 415, with the header that says what is accepted (RFC 9110 section 15.5.16).
    pub(crate) fn unsupported(invalid: Invalid, accept: HeaderName, right: &'static str) -> Self {
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            right: Some((accept, right)),
            ..invalid.into()
        }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The body of the answer.
    pub(crate) fn to_json(&self) -> String {
        json!({ "error": self }).to_string()
    }
}

impl From<Invalid> for ApiError {
    fn from(Invalid { parameter, reason }: Invalid) -> Self {
        Self {
            parameter: Some(parameter),
            ..Self::new(StatusCode::BAD_REQUEST, reason)
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, JSON, self.to_json()).into_response();
        let mut add = |name, value| {
            drop(
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(value)),
            );
        };
        if let Some((name, value)) = self.right {
            add(name, value);
        }
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                add(header::RETRY_AFTER, "1");
            }
            StatusCode::UPGRADE_REQUIRED => {
                add(header::CONNECTION, "Upgrade");
                add(header::UPGRADE, "websocket");
                add(header::SEC_WEBSOCKET_VERSION, "13");
            }
            _ => {}
        }
        response
    }
}
