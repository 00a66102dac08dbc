//! Long polling: the question waits at the server until there is an answer, and the next one is asked at once
//! (RFC 6202 section 2.1).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use tokio::time::timeout;

use crate::App;
use crate::answer::Question;
use crate::cursor::After;
use crate::error::{ApiError, Invalid};
use crate::query::{Query, time};
use crate::stats::{Streaming, Transport};

/// How long a question waits that does not say: proxies cut a silent one at 30 to 60 s.
const HOLD: Duration = Duration::from_secs(25);
/// The longest one may ask for.
const LONGEST: Duration = Duration::from_secs(60);

const CACHE: HeaderValue = HeaderValue::from_static("no-store");

/// `GET /long-poll?room=R&after=C&wait=25s&limit=N`.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    Hold(wait): Hold,
    question: Question,
) -> Result<Response, ApiError> {
    let limit = question.limit;
    // Only somebody who knows where they stand is made to wait: the first question is how one gets to know it.
    let held = match question.after {
        After::Cursor(_) => {
            let _held = Streaming::over(app.stats.of(Transport::LongPoll));
            let subscription = app.rooms.subscribe(&question.room, question.after).await?;
            let mut subscription = subscription.at_most(limit);
            question.is_here(&app, Transport::LongPoll, wait);
            timeout(wait, subscription.next()).await.ok().flatten()
        }
        After::Oldest | After::Latest => {
            question.is_here(&app, Transport::LongPoll, Duration::ZERO);
            None
        }
    };
    // The hold has ended, or the server drains: whatever there is, by now nothing.
    let batch = match held {
        Some(batch) => batch,
        None => {
            app.rooms
                .read(&question.room, question.after, limit)
                .await?
        }
    };
    question.answer(&app, Transport::LongPoll, &batch, CACHE)
}

/// How long an answer may be waited for.
pub(crate) struct Hold(Duration);

impl FromRequestParts<Arc<App>> for Hold {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        Ok(Self(wait(Query::of(&parts.uri).get("wait").as_deref())?))
    }
}

/// `wait=25s` or `wait=500ms`, 0 to 60 s.
fn wait(text: Option<&str>) -> Result<Duration, Invalid> {
    let Some(text) = text else { return Ok(HOLD) };
    let right = "a whole number of ms or s up to 60s, such as 500ms or 25s";
    time(text)
        .filter(|wait| *wait <= LONGEST)
        .ok_or_else(|| Invalid::not("wait", right, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_takes_milliseconds_and_seconds_up_to_a_minute() {
        assert_eq!(wait(None), Ok(HOLD));
        for (text, ms) in [
            ("0s", 0),
            ("0ms", 0),
            ("500ms", 500),
            ("25s", 25_000),
            ("60000ms", 60_000),
        ] {
            assert_eq!(wait(Some(text)), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "s",
            "25",
            "-1s",
            "61s",
            "60001ms",
            "1e18",
            "1e1s",
            "NaN",
            "1.5s",
            "99999999999999999999s",
        ] {
            assert_eq!(wait(Some(text)).unwrap_err().parameter, "wait", "{text}");
        }
    }
}
