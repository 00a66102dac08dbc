//! Who may talk to the server: a page of its own host, or of an origin that was named; and whoever is no browser.
//!
//! A browser lets any page send requests anywhere and open WebSockets to anyone. It says in `Origin` which page it is,
//! but not in every request: images, frames and links go without. Those it marks with `Sec-Fetch-Site`. Both compare
//! names: that the name is this server's is the first thing to be checked (`host`).

mod host;
pub(crate) mod origin;

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use futures_util::TryFutureExt;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri, Version, http};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_service::Service;
use tracing::Level;

use self::host::Authority;
pub(crate) use self::host::{Hosts, parse as allowed_host};
use crate::App;
use crate::distance;
use crate::error::{ApiError, Invalid};
use crate::pages;
use crate::problems::Problem;

/// From how far away a request comes, as the browser has it (Fetch Metadata). Pages cannot set it.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers that a page of a named origin may send: what clients of event streams and polls send that are built on
/// `fetch`. `authorization` may be for a proxy in front: the server itself reads none.
const ASKED: [&str; 8] = [
    "accept",
    "authorization",
    "cache-control",
    "content-type",
    "if-none-match",
    "last-event-id",
    "pragma",
    "x-requested-with",
];

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
    let asked = tracing::enabled!(Level::DEBUG)
        .then(|| format!("{} {}", request.method(), request.uri().path()));
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

/// Whether a request may be answered; a refused one leaves nothing behind.
fn check<B>(app: &Arc<App>, request: &Request<B>) -> Result<(), ApiError> {
    let uri = request.uri();
    check_target(uri)?;
    let own = authority(request)?;
    if let Some((own, host)) = own
        && !app.hosts.serves(own.host)
    {
        app.problem(
            Problem::Foreign,
            None,
            &format!("Host: {host}, which --allow-host does not name"),
        );
        let (host, name) = (shown(host), shown(host::split(host).0));
        let reason = format!(
            "this server is not {host}; start it with --allow-host {name} if it is to answer for it"
        );
        return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, reason));
    }
    let own = own.map(|(own, _)| own);
    // The demo pages are nobody's secret, and opening a page makes nothing.
    match check_page(app, request, own) {
        Err(reason) if !pages::serves(uri.path()) => {
            let from = request
                .headers()
                .get(header::ORIGIN)
                .or_else(|| request.headers().get(SITE));
            let from = from
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .unwrap_or_default();
            app.problem(Problem::Foreign, None, &from);
            Err(ApiError::new(StatusCode::FORBIDDEN, reason))
        }
        _ => Ok(()),
    }
}

/// Whether the page that a request comes from may use the server; otherwise why not.
fn check_page<B>(
    app: &App,
    request: &Request<B>,
    own: Option<Authority<'_>>,
) -> Result<(), String> {
    let headers = request.headers();
    let mut named = false;
    for from in headers.get_all(header::ORIGIN) {
        let is_named = app.config.allow_origin.contains(from);
        if is_named && request.uri().path() == "/tap" {
            return Err("taps are for the server's own pages".into());
        }
        if !is_named && !origin::is_own(from, own) {
            return Err(foreign(&shown(&String::from_utf8_lossy(from.as_bytes()))));
        }
        named |= is_named;
    }
    let elsewhere = |site: &&HeaderValue| *site != "same-origin" && *site != "none";
    match headers.get_all(SITE).iter().find(elsewhere) {
        Some(site) if !named => Err(format!(
            "a page of another origin (Sec-Fetch-Site: {}) may not load this without an Origin that --allow-origin names",
            shown(&String::from_utf8_lossy(site.as_bytes()))
        )),
        _ => Ok(()),
    }
}

/// Why a page of this origin is refused; it may be the server's own behind a proxy.
fn foreign(origin: &str) -> String {
    let proxy = if origin.starts_with("https://") {
        "behind a proxy that adds TLS, the server's own pages have to be named, too"
    } else {
        "if it is the server's own, the proxy in front must pass Host on as it came \
         (nginx: proxy_set_header Host $http_host;)"
    };
    format!(
        "a page of {origin} may not use this server; {proxy}; start it with --allow-origin {origin} if it may"
    )
}

/// What somebody sent, fit to be shown: the longest host name has 253 characters.
fn shown(text: &str) -> String {
    match text {
        "" => "nothing".into(),
        text => text
            .chars()
            .take(300)
            .flat_map(char::escape_debug)
            .collect(),
    }
}

/// What a browser has to be told so that a page of a named origin may read the answers.
pub(crate) fn cors(named: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(named.iter().cloned()))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(ASKED.map(HeaderName::from_static))
        .expose_headers([header::ETAG, header::RETRY_AFTER])
}

/// A path, and one of a sensible length; longer than a whole head may be, and hyper has answered 431.
fn check_target(uri: &Uri) -> Result<(), ApiError> {
    let length = uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if length > MAX_TARGET {
        let reason = format!("a path with its query may have {MAX_TARGET} bytes, found {length}");
        return Err(ApiError::new(StatusCode::URI_TOO_LONG, reason));
    }
    let is_plain = uri.scheme_str().is_none_or(|scheme| scheme == "http");
    if !is_plain || !uri.path().starts_with('/') {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "what is requested must begin with / or http://",
        ));
    }
    Ok(())
}

/// Whom a request is for, and how it said so: the authority of its target, or else of its one `Host` (RFC 9112 section
/// 3.2: none or two are refused); HTTP/1.0 may go without.
fn authority<B>(request: &Request<B>) -> Result<Option<(Authority<'_>, &str)>, Invalid> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.to_str().unwrap_or_default()),
        (None, None) if request.version() == Version::HTTP_10 => None,
        (first, _) => {
            let found = if first.is_some() { "more" } else { "none" };
            return Err(Invalid::new(
                "Host",
                format!("a request must have one Host header, found {found}"),
            ));
        }
    };
    let Some(text) = request
        .uri()
        .authority()
        .map(http::uri::Authority::as_str)
        .or(host)
    else {
        return Ok(None);
    };
    let parsed =
        Authority::parse(text).ok_or_else(|| Invalid::not("Host", "a host or host:port", text))?;
    Ok(Some((parsed, text)))
}

#[cfg(test)]
mod tests;
