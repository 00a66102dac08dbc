//! The demo pages: everything in `static/`, embedded in the binary.

use axum::response::{IntoResponse, Response};
use hyper::{StatusCode, Uri, header};

use crate::error::ApiError;

#[derive(rust_embed::Embed)]
#[folder = "../static"]
struct Static;

/// Pages load nothing from elsewhere and run no inline script.
const POLICY: &str =
    "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// Any path that is no endpoint: a file of `static/`, or 404.
pub(crate) async fn handle(uri: Uri) -> Result<Response, ApiError> {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        // Browsers ask for it whatever the page says.
        "favicon.ico" => "favicon.svg",
        path => path,
    };
    let file = Static::get(path)
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "there is nothing here; the pages start at /"))?;
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, file.data).into_response())
}
