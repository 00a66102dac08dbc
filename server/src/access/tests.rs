//! Which requests are let in, each by itself, without a connection.

use axum::body::Body;
use axum::routing::get;
use clap::Parser;

use super::*;
use crate::{Config, Server};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

fn app(flags: &str) -> Arc<App> {
    let arguments = ["test", "--port", "0"]
        .into_iter()
        .chain(flags.split_whitespace());
    Server::bind(Flags::parse_from(arguments).config)
        .expect("a free port")
        .app
}

/// A request with these headers, `Name: value` each.
fn request(target: &str, headers: &[&str]) -> Request<Body> {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers.iter().filter_map(|header| header.split_once(": ")) {
        request = request.header(name, value);
    }
    request.body(Body::empty()).expect("a request")
}

/// The status of the refusal and what it says; 200 if there is none.
fn answer_to<B>(app: &Arc<App>, request: &Request<B>) -> (u16, String) {
    match check(app, request) {
        Ok(()) => (200, String::new()),
        Err(error) => {
            let reason = error.reason.clone();
            (error.into_response().status().as_u16(), reason)
        }
    }
}

const HOST: &str = "Host: localhost:1";
const POLL: &str = "/short-poll";

#[tokio::test]
async fn a_request_says_once_whom_it_is_for_and_that_is_this_server() {
    let app = app("");
    let long = |length: usize| format!("/{}", "x".repeat(length - 1));
    for (target, headers, status, says) in [
        (POLL, &[HOST][..], 200, ""),
        (POLL, &["Host: 127.0.0.1:9"], 200, ""),
        (POLL, &[], 400, "found none"),
        (POLL, &[HOST, HOST], 400, "found more"),
        (
            POLL,
            &["Host: evil.example:1"],
            421,
            "start it with --allow-host evil.example if",
        ),
        (
            "http://evil.example/short-poll",
            &[HOST],
            421,
            "evil.example",
        ),
        ("http://localhost:1/short-poll", &[HOST], 200, ""),
        (
            "https://localhost:1/short-poll",
            &[HOST],
            400,
            "must begin with /",
        ),
        ("*", &[HOST], 400, "must begin with /"),
        (&long(MAX_TARGET), &[HOST], 200, ""),
        (
            &long(MAX_TARGET + 1),
            &[HOST],
            414,
            "4096 bytes, found 4097",
        ),
    ] {
        let (found, reason) = answer_to(&app, &request(target, headers));
        assert_eq!(found, status, "{target} {headers:?}: {reason}");
        assert!(reason.contains(says), "{target} {headers:?}: {reason}");
    }
    let mut old = request(POLL, &[]);
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(
        answer_to(&app, &old).0,
        200,
        "before HTTP/1.1 there need not be a Host"
    );
    let named = self::app("--allow-host evil.example");
    assert_eq!(
        answer_to(&named, &request(POLL, &["Host: evil.example:1"])).0,
        200
    );
}

#[tokio::test]
async fn a_page_is_the_servers_own_or_its_origin_is_named() {
    const OWN: &str = "Origin: http://localhost:1";
    const NAMED: &str = "Origin: https://app.example";
    const FOREIGN: &str = "Origin: http://evil.example";
    const CROSS: &str = "Sec-Fetch-Site: cross-site";
    let app = app("--allow-origin https://app.example");
    for (target, headers, status, says) in [
        (POLL, &[OWN][..], 200, ""),
        (POLL, &[NAMED], 200, ""),
        (
            POLL,
            &[FOREIGN],
            403,
            "a page of http://evil.example may not use this server; if it is the server's own",
        ),
        (
            POLL,
            &["Origin: https://evil.example"],
            403,
            "behind a proxy that adds TLS",
        ),
        (
            POLL,
            &[NAMED, FOREIGN],
            403,
            "--allow-origin http://evil.example",
        ),
        ("/ws.html", &[FOREIGN, CROSS], 200, ""),
        ("/tap", &[OWN], 200, ""),
        ("/tap", &[NAMED], 403, "taps are for the server's own pages"),
        (POLL, &[CROSS], 403, "Sec-Fetch-Site: cross-site"),
        (
            POLL,
            &["Sec-Fetch-Site: same-site"],
            403,
            "Sec-Fetch-Site: same-site",
        ),
        (POLL, &["Sec-Fetch-Site: "], 403, "Sec-Fetch-Site: nothing"),
        (POLL, &["Sec-Fetch-Site: none"], 200, ""),
        (POLL, &["Sec-Fetch-Site: same-origin"], 200, ""),
        (POLL, &[CROSS, OWN], 403, "cross-site"),
        (POLL, &[CROSS, NAMED], 200, ""),
    ] {
        let headers: Vec<&str> = [HOST].iter().chain(headers).copied().collect();
        let (found, reason) = answer_to(&app, &request(target, &headers));
        assert_eq!(found, status, "{target} {headers:?}: {reason}");
        assert!(reason.contains(says), "{target} {headers:?}: {reason}");
    }
}

#[tokio::test]
async fn a_browser_is_told_that_a_page_of_a_named_origin_may_read() {
    let named = HeaderValue::from_static("https://app.example");
    let mut routes: Router = Router::new()
        .route(POLL, get(async || ""))
        .layer(cors(std::slice::from_ref(&named)));
    for (origin, told) in [
        ("Origin: https://app.example", Some(&named)),
        ("Origin: http://evil.example", None),
    ] {
        let answer = routes
            .call(request(POLL, &[HOST, origin]))
            .await
            .expect("an answer");
        assert_eq!(
            answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN),
            told,
            "{origin}"
        );
    }
}
