//! Foreign pages stay out, on every transport alike and before any upgrade; named ones get what a browser needs.

use serde_json::json;

use crate::helper::TestServer;
use crate::raw::{Raw, RawAnswer};

const DRAFT: &str = r#"{"from":"ann","text":"hi"}"#;

/// A request of each kind, with these headers beside its own.
fn requests(host: &str, headers: &str) -> [(&'static str, String); 5] {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    [
        ("short-poll", get("/short-poll")),
        ("long-poll", get("/long-poll")),
        ("sse", get("/sse")),
        (
            "ws",
            format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{upgrade}{key}{headers}\r\n"),
        ),
        (
            "messages",
            format!(
                "POST /messages HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{DRAFT}",
                DRAFT.len()
            ),
        ),
    ]
}

async fn ask(server: &TestServer, request: &str) -> RawAnswer {
    let mut raw = Raw::connect(server.addr).await;
    raw.send(request).await;
    raw.answer().await.expect("an answer")
}

/// The first line of the answer, for answers that do not end.
async fn status(server: &TestServer, request: &str) -> u16 {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let mut stream = BufReader::new(tokio::net::TcpStream::connect(server.addr).await.unwrap());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line.split(' ')
        .nth(1)
        .expect("a status")
        .parse()
        .expect("a number")
}

#[tokio::test]
async fn a_foreign_page_gets_403_everywhere_and_nothing_is_stored() {
    let server = TestServer::start("--allow-origin https://named.example");
    let host = server.addr.to_string();
    let foreign = [
        "http://evil.example".to_owned(),
        "null".to_owned(),
        format!("http://sub.{host}"),
        format!("https://{host}"),
        "http://127.0.0.1:1".to_owned(),
        "https://named.example.evil".to_owned(),
        "https://sub.named.example".to_owned(),
        "http://named.example".to_owned(),
        "https://named.example:8443".to_owned(),
    ];
    for origin in &foreign {
        for (what, request) in requests(&host, &format!("Origin: {origin}\r\n")) {
            let answer = ask(&server, &request).await;
            assert_eq!(answer.status, 403, "{what} from {origin}");
            assert!(
                answer.body.contains("--allow-origin"),
                "it names the flag: {}",
                answer.body
            );
        }
    }
    assert_eq!(
        server.get("/short-poll").await.json()["messages"],
        json!([])
    );
}

#[tokio::test]
async fn the_pages_and_what_they_show_are_served_to_any_page() {
    let server = TestServer::start("");
    let foreign = "Host: test\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors";
    for path in [
        "/",
        "/ws.html",
        "/favicon.ico",
        "/report.html",
        "/source/ws.rs",
    ] {
        assert_eq!(
            ask(
                &server,
                &format!("GET {path} HTTP/1.1\r\n{foreign}\r\n\r\n")
            )
            .await
            .status,
            200,
            "{path}"
        );
    }
    for path in [
        "/stats",
        "/tap",
        "/nothing",
        "/source/nothing.rs",
        "/short-poll",
    ] {
        assert_eq!(
            ask(
                &server,
                &format!("GET {path} HTTP/1.1\r\n{foreign}\r\n\r\n")
            )
            .await
            .status,
            403,
            "{path}"
        );
    }
}

#[tokio::test]
async fn pages_of_the_same_host_and_clients_that_are_no_browsers_are_let_in() {
    let server = TestServer::start("");
    let host = server.addr.to_string();
    for headers in [String::new(), format!("Origin: http://{host}\r\n")] {
        for (what, request) in requests(&host, &headers) {
            let expected = match what {
                "ws" => 101,
                "messages" => 201,
                _ => 200,
            };
            assert_eq!(
                status(&server, &request).await,
                expected,
                "{what} with {headers:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_named_origin_is_let_in_and_its_browser_told_that_it_may_read() {
    let server = TestServer::start(
        "--allow-origin https://named.example --allow-origin http://other.example:8080",
    );
    let client = reqwest::Client::new();
    for origin in ["https://named.example", "http://other.example:8080"] {
        let answer = client
            .get(server.url("/short-poll"))
            .header("Origin", origin)
            .send()
            .await
            .unwrap();
        assert_eq!(
            (
                answer.status().as_u16(),
                &answer.headers()["access-control-allow-origin"]
            ),
            (200, &origin.parse().unwrap())
        );
        assert!(
            answer.headers()["access-control-expose-headers"]
                .to_str()
                .unwrap()
                .contains("etag")
        );
        let asked = client
            .request(reqwest::Method::OPTIONS, server.url("/messages"))
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header(
                "Access-Control-Request-Headers",
                "content-type,if-none-match",
            );
        let answer = asked.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        let allowed = answer.headers()["access-control-allow-headers"]
            .to_str()
            .unwrap();
        assert!(
            allowed.contains("content-type") && allowed.contains("if-none-match"),
            "{allowed}"
        );
        assert!(
            answer.headers()["access-control-allow-methods"]
                .to_str()
                .unwrap()
                .contains("POST")
        );
    }
}

#[tokio::test]
async fn where_no_origin_is_named_the_answers_stay_lean() {
    let server = TestServer::start("");
    let cursor = server.publish("hi").await;
    for path in [
        "/short-poll".to_owned(),
        format!("/short-poll?after={cursor}"),
        "/long-poll".to_owned(),
    ] {
        let answer = server.get(&path).await;
        let mut names: Vec<&str> = answer
            .headers
            .keys()
            .map(reqwest::header::HeaderName::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "cache-control",
                "content-length",
                "content-type",
                "date",
                "etag"
            ],
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_not_json_is_415() {
    let server = TestServer::start("");
    let post = |kind: &'static str| {
        reqwest::Client::new()
            .post(server.url("/messages"))
            .header("Content-Type", kind)
            .body(DRAFT)
    };
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "multipart/form-data",
    ] {
        let answer = post(kind).send().await.unwrap();
        assert_eq!(answer.status(), 415, "{kind}");
        let body = answer.text().await.unwrap();
        assert!(
            body.contains("application/json") && body.contains(kind),
            "{body}"
        );
    }
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(post(kind).send().await.unwrap().status(), 201, "{kind}");
    }
}

#[tokio::test]
async fn a_request_has_one_host() {
    let server = TestServer::start("");
    for hosts in ["", "Host: a\r\nHost: b\r\n", "Host: test\r\nHost: test\r\n"] {
        let answer = ask(&server, &format!("GET /short-poll HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_eq!(answer.status, 400, "{hosts:?}");
        assert!(
            answer.body.contains(r#""parameter":"Host""#),
            "{}",
            answer.body
        );
    }
    assert_eq!(
        ask(&server, "GET /short-poll HTTP/1.0\r\n\r\n")
            .await
            .status,
        200
    );
}

const ID: &str = "0123456789abcdef0123456789abcdef";

/// That no room was made, and no tap: one would have noted this poll.
async fn assert_nothing_was_made(server: &TestServer) {
    assert_eq!(server.stats().await["rooms"], 0);
    server.get(&format!("/short-poll?tap={ID}")).await;
    let tap = server.get(&format!("/tap?id={ID}")).await.json();
    assert_eq!(
        tap["entries"],
        json!([]),
        "no tap was there before it was read"
    );
}

/// Requests of each kind and one for a tap, which nobody of these may have.
async fn assert_all_refused(
    server: &TestServer,
    host: &str,
    headers: &str,
    status: u16,
    says: &str,
) {
    let tap = format!("GET /tap?id={ID} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    for (what, request) in requests(host, headers).into_iter().chain([("tap", tap)]) {
        let answer = ask(server, &request).await;
        assert_eq!(answer.status, status, "{what} with {headers:?}: {answer:?}");
        assert!(
            answer.body.contains(says),
            "{says} is named: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn what_a_foreign_page_embeds_or_links_to_makes_nothing() {
    let server = TestServer::start("--allow-origin https://named.example");
    let host = server.addr.to_string();
    for site in [
        "cross-site",
        "same-site",
        "",
        "Same-Origin",
        "same-origin\r\nSec-Fetch-Site: cross-site",
    ] {
        for mode in ["navigate", "no-cors", "cors", "websocket"] {
            for origin in ["", &format!("Origin: http://{host}\r\n")] {
                let headers =
                    format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\n{origin}");
                assert_all_refused(&server, &host, &headers, 403, "--allow-origin").await;
            }
        }
    }
    assert_nothing_was_made(&server).await;
}

#[tokio::test]
async fn the_own_page_what_is_typed_in_and_named_origins_are_let_in() {
    let server = TestServer::start("--allow-origin https://named.example");
    let host = server.addr.to_string();
    for headers in [
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n",
        "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nOrigin: https://named.example\r\n",
    ] {
        for (what, request) in requests(&host, headers) {
            let status = status(&server, &request).await;
            assert!(
                [101, 200, 201].contains(&status),
                "{what} with {headers:?}: {status}"
            );
        }
    }
    let tap = |headers: &str| format!("GET /tap?id={ID} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    assert_eq!(
        ask(&server, &tap("Origin: https://named.example\r\n"))
            .await
            .status,
        403,
        "a tap is for own pages"
    );
    assert_eq!(
        ask(&server, &tap("Sec-Fetch-Site: same-origin\r\n"))
            .await
            .status,
        200
    );
}

/// Flags that put hosts on the list: one by itself, and one by its origin.
const LISTED: &str = "--allow-host chat.example --allow-origin https://named.example";

const PATHS: [&str; 5] = ["/", "/ws.html", "/healthz", "/stats", "/nothing"];

#[tokio::test]
async fn a_host_that_is_not_on_the_list_is_421_before_anything_is_made_for_pages_too() {
    let server = TestServer::start(LISTED);
    let evil = format!("evil.example:{}", server.addr.port());
    for headers in [
        String::new(),
        format!("Origin: http://{evil}\r\nSec-Fetch-Site: same-origin\r\n"),
    ] {
        assert_all_refused(&server, &evil, &headers, 421, "--allow-host evil.example ").await;
    }
    for path in PATHS {
        for host in [
            &evil,
            "0.0.0.0",
            "192.168.1.5",
            "[2001:db8::1]",
            "sub.chat.example",
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(ask(&server, &request).await.status, 421, "{host}");
        }
    }
    let old = "GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n";
    assert_eq!(ask(&server, old).await.status, 421);
    assert_nothing_was_made(&server).await;
}

/// RFC 9112 section 3.2.2.
#[tokio::test]
async fn the_authority_in_the_target_takes_the_place_of_host() {
    let server = TestServer::start(LISTED);
    for path in PATHS {
        for (target, host, status) in [
            ("evil.example", "localhost", 421),
            ("localhost", "evil.example", 200),
        ] {
            let request = format!("GET http://{target}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = ask(&server, &request).await;
            assert!(
                answer.status == status || (path, answer.status, status) == ("/nothing", 404, 200),
                "{answer:?}"
            );
        }
    }
    let of_another_scheme = "GET https://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ask(&server, of_another_scheme).await.status, 400);
    assert_nothing_was_made(&server).await;
}

#[tokio::test]
async fn hosts_on_the_list_and_those_of_this_machine_are_let_in() {
    let server = TestServer::start(LISTED);
    let own = format!("a.localhost:{}", server.addr.port());
    for host in [
        "localhost",
        "127.0.0.2:1",
        "[::1]",
        &own,
        "Chat.Example.:8080",
        "named.example",
    ] {
        let request = format!("GET /short-poll HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(ask(&server, &request).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_host_that_is_none_is_400_whatever_the_origin() {
    let server = TestServer::start("");
    for host in [
        "",
        "user@localhost",
        "localhost:x",
        "localhost:99999",
        "[::1%25lo]",
        "a b",
        "localhost/",
    ] {
        for origin in [
            "",
            "Origin: http://\r\n",
            &format!("Origin: http://{host}\r\n"),
        ] {
            assert_all_refused(&server, host, origin, 400, "Host").await;
        }
    }
    assert_nothing_was_made(&server).await;
}

#[tokio::test]
async fn the_default_port_is_the_same_origin_whether_or_not_it_is_written() {
    let server = TestServer::start("");
    for (host, origin, right) in [
        ("localhost:80", "http://localhost", 101),
        ("localhost", "http://localhost:80", 101),
        ("LOCALHOST.", "http://localhost", 101),
        ("localhost", "http://localhost:3000", 403),
        ("localhost", "https://localhost", 403),
    ] {
        for (what, request) in requests(host, &format!("Origin: {origin}\r\n")) {
            if what == "ws" {
                assert_eq!(status(&server, &request).await, right, "{origin} at {host}");
            }
        }
    }
    // What is wrong is most often a proxy: what would be right there is said, too.
    for (origin, says) in [
        ("http://localhost:3000", "proxy_set_header Host $http_host;"),
        ("https://localhost", "TLS"),
    ] {
        let request = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n");
        let answer = ask(&server, &request).await;
        assert!(
            answer.status == 403 && answer.body.contains(says),
            "{answer:?}"
        );
        assert!(
            answer.body.contains(&format!("--allow-origin {origin} ")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn clients_built_on_fetch_may_send_their_headers_and_apps_are_origins_like_others() {
    let extension = "chrome-extension://abcdefghijklmnopabcdefghijklmnop";
    let flags = ["capacitor://localhost", "app://.", extension]
        .map(|origin| format!("--allow-origin {origin}"));
    let server = TestServer::start(&flags.join(" "));
    for origin in ["capacitor://localhost", "app://.", extension] {
        for path in ["/sse", "/short-poll", "/long-poll", "/messages"] {
            let asked = "cache-control,last-event-id,accept,content-type,if-none-match,authorization,pragma,x-requested-with";
            let request = format!(
                "OPTIONS {path} HTTP/1.1\r\nHost: test\r\nOrigin: {origin}\r\nSec-Fetch-Site: cross-site\r\n\
                 Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: {asked}\r\n\r\n"
            );
            let answer = ask(&server, &request).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let line = |name: &str| {
                answer
                    .head
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_default()
            };
            let allowed: Vec<_> = line("access-control-allow-headers: ")
                .split(',')
                .map(str::trim)
                .collect();
            assert!(
                asked.split(',').all(|name| allowed.contains(&name)),
                "{path}: {answer:?}"
            );
            assert_eq!(line("access-control-allow-origin: "), origin);
        }
        let request = format!("GET /short-poll HTTP/1.1\r\nHost: test\r\nOrigin: {origin}\r\n\r\n");
        assert!(
            ask(&server, &request)
                .await
                .head
                .contains(&format!("access-control-allow-origin: {origin}\r\n"))
        );
    }
}
