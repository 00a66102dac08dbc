//! The query parameters that every endpoint shares, and headers of one value; an error names the parameter or the
//! header and what it accepts.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderValue};

use crate::cursor::After;
use crate::error::Invalid;
use crate::rooms::{LOBBY, MAX_BATCH, RoomName};

/// How often a stream may ask for a sign of life. The longest bounds how late it is noticed that a peer has vanished behind
/// a proxy: within three of them.
const HEARTBEAT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// The query string of a request, read parameter by parameter.
pub(crate) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(crate) fn of(uri: &'a Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    /// A parameter, decoded.
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        form_urlencoded::parse(self.0.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// `room=R`, by default `lobby`.
    pub(crate) fn room(&self) -> Result<RoomName, Invalid> {
        RoomName::new(self.get("room").as_deref().unwrap_or(LOBBY))
    }

    /// `after=C`: a cursor, `latest`, or absent for everything retained.
    pub(crate) fn after(&self) -> Result<After, Invalid> {
        self.get("after")
            .map_or(Ok(After::Oldest), |text| position("after", &text))
    }

    /// `limit=N`: at most this many messages in an answer; absent for as many as fit in a batch.
    pub(crate) fn limit(&self) -> Result<usize, Invalid> {
        let Some(text) = self.get("limit") else {
            return Ok(MAX_BATCH);
        };
        let limit = text.parse().ok().filter(|_| !text.starts_with('+'));
        let right = format_args!("a whole number from 1 to {MAX_BATCH}");
        limit
            .filter(|limit| (1..=MAX_BATCH).contains(limit))
            .ok_or_else(|| Invalid::not("limit", right, &text))
    }

    /// `alive=1`: signs of life are to be such that a page sees them.
    pub(crate) fn wants_signs(&self) -> Result<bool, Invalid> {
        self.flag("alive")
    }

    /// `heartbeat=60s`: how often this stream is to get a sign of life, or absent for what `--heartbeat` says.
    pub(crate) fn heartbeat(&self) -> Result<Option<Duration>, Invalid> {
        let Some(text) = self.get("heartbeat") else {
            return Ok(None);
        };
        let right = "a whole number of ms or s from 1s to 600s, such as 1500ms or 60s";
        time(&text)
            .filter(|period| HEARTBEAT.contains(period))
            .map(Some)
            .ok_or_else(|| Invalid::not("heartbeat", right, &text))
    }

    /// `NAME=1`, or absent.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, Invalid> {
        match self.get(name).as_deref() {
            None => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(Invalid::not(name, "1, or absent", other)),
        }
    }
}

/// `25s` or `500ms`.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let milliseconds = text.strip_suffix("ms").map(|digits| (digits, 1));
    let (digits, unit) = milliseconds.or(text.strip_suffix('s').map(|digits| (digits, 1000)))?;
    let number: u64 = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())??;
    number.checked_mul(unit).map(Duration::from_millis)
}

/// A header of which there may be one; two are refused, for another reader might take the other one.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a HeaderValue>, Invalid> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Invalid::new(
            name,
            format!("a request may have one {name} header, found more"),
        )),
        None => Ok(first),
    }
}

/// A cursor or `latest`, in the parameter or header of this name.
pub(crate) fn position(name: &'static str, text: &str) -> Result<After, Invalid> {
    if text == "latest" {
        return Ok(After::Latest);
    }
    let right = "a cursor (EPOCH-SEQ as given out) or latest";
    text.parse()
        .map(After::Cursor)
        .map_err(|_| Invalid::not(name, right, text))
}
