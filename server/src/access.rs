//! Who may talk to the server: a page of its own host, or of an origin that was named; and whoever is no browser.
//!
//! A browser lets any page send requests anywhere and open WebSockets to anyone; it says in `Origin` which page it is.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use futures_util::TryFutureExt;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri, Version};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_service::Service;
use tracing::Level;

use crate::App;
use crate::distance;
use crate::error::{ApiError, Invalid, excerpt};
use crate::pages;
use crate::problems::Problem;
use crate::query::single;

/// The longest path with its query, in bytes: a room of 64 characters, each escaped at its longest, has 768.
const MAX_TARGET: usize = 4096;

/// Answers a request, or refuses it before any upgrade: those of foreign pages and those that do not say which host
/// they mean. Counts and logs what is refused, here or further on.
///
/// Not a layer of the router: that would be two more boxes for each request, and for each held poll as long as it
/// waits.
pub(crate) fn answer(
    app: &Arc<App>,
    routes: &Router,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    let asked = tracing::enabled!(Level::DEBUG).then(|| format!("{} {}", request.method(), request.uri().path()));
    let answer = match check(app, &request) {
        Ok(()) => match app.taps.of(request.uri()) {
            None => Either::Left(routes.clone().call(request)),
            Some(tap) => Either::Right(distance::between(tap, routes.clone(), request)),
        },
        Err(error) => Either::Right(Box::pin(ready(Ok(error.into_response()))) as _),
    };
    let app = Arc::clone(app);
    answer.inspect_ok(move |response| {
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            app.stats.refusal(status);
            tracing::debug!(asked, status = status.as_u16(), "a request was refused");
        }
    })
}

fn check(app: &Arc<App>, request: &Request<Incoming>) -> Result<(), ApiError> {
    check_target(request.uri())?;
    let host = host(request)?;
    // Images and the like of a foreign page come without an Origin, and make rooms all the same.
    let headers = request.headers();
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    if is("sec-fetch-site", "cross-site") && is("sec-fetch-mode", "no-cors") && !pages::serves(request.uri().path()) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "a page of another site may not load this"));
    }
    for origin in headers.get_all(header::ORIGIN) {
        // The demo pages are nobody's secret, and loaded under another name they are to say what is wrong.
        let allowed = is_own(origin, host) || app.config.allow_origin.contains(origin);
        if !allowed && !pages::serves(request.uri().path()) {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            app.problem(Problem::Foreign, None, &origin);
            let origin = excerpt(&origin);
            let reason =
                format!("a page of {origin} may not use this server; start it with --allow-origin {origin} if it may");
            return Err(ApiError::new(StatusCode::FORBIDDEN, reason));
        }
    }
    Ok(())
}

/// What a browser has to be told so that a page of a named origin may read the answers.
pub(crate) fn cors(named: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(named.iter().cloned()))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE, header::IF_NONE_MATCH, HeaderName::from_static("last-event-id")])
        .expose_headers([header::ETAG, header::RETRY_AFTER])
}

/// A body that says what it is says that it is JSON: a foreign page can send other kinds without asking first.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(kind) = single(headers, "Content-Type")? else { return Ok(()) };
    let kind = String::from_utf8_lossy(kind.as_bytes());
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let invalid = Invalid::not("Content-Type", "application/json", essence);
    Err(ApiError::unsupported(invalid, header::ACCEPT, "application/json"))
}

/// A path, and one of a sensible length; longer than a whole head may be, and hyper has answered 431.
fn check_target(uri: &Uri) -> Result<(), ApiError> {
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > MAX_TARGET {
        let reason = format!("a path with its query may have {MAX_TARGET} bytes, found {length}");
        return Err(ApiError::new(StatusCode::URI_TOO_LONG, reason));
    }
    if !uri.path().starts_with('/') {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "what is requested must begin with /"));
    }
    Ok(())
}

/// The one `Host` of a request (RFC 9112 section 3.2: none or two are refused); HTTP/1.0 may go without.
fn host(request: &Request<Incoming>) -> Result<Option<&HeaderValue>, Invalid> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Ok(Some(host)),
        (None, None) if request.version() == Version::HTTP_10 => Ok(None),
        (first, _) => {
            let found = if first.is_some() { "more" } else { "none" };
            Err(Invalid::new("Host", format!("a request must have one Host header, found {found}")))
        }
    }
}

/// The origin of the server's own pages, which are served without TLS: behind a proxy that adds it, name the origin.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let authority = origin.as_bytes().strip_prefix(b"http://");
    authority.is_some_and(|authority| host.is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority)))
}
