//! The query parameters that every endpoint shares; an error names the parameter and what it accepts.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use hyper::http::request::Parts;

use crate::error::Invalid;
use crate::log::After;
use crate::rooms::RoomName;

/// The room of a client that names none.
const DEFAULT_ROOM: &str = "lobby";

/// The query string of a request, read parameter by parameter.
pub(crate) struct Query(Option<String>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.uri.query().map(str::to_owned)))
    }
}

impl Query {
    fn get(&self, name: &str) -> Option<String> {
        let query = self.0.as_deref()?.as_bytes();
        form_urlencoded::parse(query).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// `room=R`, by default `lobby`.
    pub(crate) fn room(&self) -> Result<RoomName, Invalid> {
        RoomName::new(self.get("room").as_deref().unwrap_or(DEFAULT_ROOM))
    }

    /// `after=C`: a cursor, `latest`, or absent for everything retained.
    pub(crate) fn after(&self) -> Result<After, Invalid> {
        match self.get("after").as_deref() {
            None => Ok(After::Oldest),
            Some("latest") => Ok(After::Latest),
            Some(text) => text.parse().map(After::Cursor).map_err(|_| {
                let found: String = text.chars().take(40).flat_map(char::escape_debug).collect();
                Invalid::new(
                    "after",
                    format!("after must be a cursor (EPOCH-SEQ as given out) or latest, found {found}"),
                )
            }),
        }
    }
}
