//! The demo pages: everything in `static/`, embedded in the binary; and the transports' files, which the pages show.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use hyper::{Method, StatusCode, Uri, header};

use crate::error::ApiError;

#[derive(rust_embed::Embed)]
#[folder = "../static"]
struct Static;

#[derive(rust_embed::Embed)]
#[folder = "src/transport"]
struct Source;

/// Pages load nothing from elsewhere and run no inline script.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// The committed comparison, as `loadgen` made it, its styles in it; and beside it what it links to.
const REPORT: [(&str, &[u8]); 6] = [
    (
        "report.html",
        include_bytes!("../../results/reference/comparison.html"),
    ),
    (
        "comparison.md",
        include_bytes!("../../results/reference/comparison.md"),
    ),
    (
        "comparison.json",
        include_bytes!("../../results/reference/comparison.json"),
    ),
    (
        "latency.hlog",
        include_bytes!("../../results/reference/latency.hlog"),
    ),
    (
        "comparison.csv",
        include_bytes!("../../results/reference/comparison.csv"),
    ),
    (
        "seconds.csv",
        include_bytes!("../../results/reference/seconds.csv"),
    ),
];
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Any path that is no endpoint: a file of `static/`, a transport's under `source/`, or 404.
pub(crate) async fn handle(method: Method, uri: Uri) -> Result<Response, ApiError> {
    let path = file_of(uri.path());
    let (policy, file) = find(path).ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "there is nothing here; the pages start at /",
        )
    })?;
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(ApiError::wrong_method(Some("GET,HEAD")));
    }
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("csv") => "text/csv; charset=utf-8",
        Some("rs" | "hlog" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, file).into_response())
}

/// Whether this is one of the pages or of their parts.
pub(crate) fn serves(path: &str) -> bool {
    find(file_of(path)).is_some()
}

/// A file, and what it may load.
///
/// Embedded in every build (`debug-embed`): read from disk, a path could lead out of its folder. Only plain names are
/// looked up all the same, so that one file has one path.
fn find(path: &str) -> Option<(&'static str, Cow<'static, [u8]>)> {
    if !path.split('/').all(is_plain) {
        return None;
    }
    if let Some((_, file)) = REPORT.iter().find(|(name, _)| *name == path) {
        return Some((REPORT_POLICY, (*file).into()));
    }
    let file = path
        .strip_prefix("source/")
        .map_or_else(|| Static::get(path), Source::get)?;
    Some((POLICY, file.data))
}

/// One part of a path, which names something: neither empty nor a dot that leads elsewhere, and nothing escaped.
fn is_plain(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(plain)
}

fn file_of(path: &str) -> &str {
    match path.strip_prefix('/').unwrap_or(path) {
        "" => "index.html",
        // Browsers ask for it whatever the page says.
        "favicon.ico" => "favicon.svg",
        path => path,
    }
}
