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
        ("ws", format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{upgrade}{key}{headers}\r\n")),
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
    line.split(' ').nth(1).expect("a status").parse().expect("a number")
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
            assert!(answer.body.contains("--allow-origin"), "it names the flag: {}", answer.body);
        }
    }
    assert_eq!(server.get("/short-poll").await.json()["messages"], json!([]));
}

#[tokio::test]
async fn the_pages_and_what_they_show_are_served_to_any_page() {
    let server = TestServer::start("");
    let foreign = "Host: test\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors";
    for path in ["/", "/ws.html", "/favicon.ico", "/report.html", "/source/ws.rs"] {
        assert_eq!(ask(&server, &format!("GET {path} HTTP/1.1\r\n{foreign}\r\n\r\n")).await.status, 200, "{path}");
    }
    for path in ["/stats", "/tap", "/nothing", "/source/nothing.rs"] {
        assert_eq!(ask(&server, &format!("GET {path} HTTP/1.1\r\n{foreign}\r\n\r\n")).await.status, 403, "{path}");
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
            assert_eq!(status(&server, &request).await, expected, "{what} with {headers:?}");
        }
    }
}

#[tokio::test]
async fn a_named_origin_is_let_in_and_its_browser_told_that_it_may_read() {
    let server = TestServer::start("--allow-origin https://named.example --allow-origin http://other.example:8080");
    let client = reqwest::Client::new();
    for origin in ["https://named.example", "http://other.example:8080"] {
        let answer = client.get(server.url("/short-poll")).header("Origin", origin).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["access-control-allow-origin"]),
            (200, &origin.parse().unwrap())
        );
        assert!(answer.headers()["access-control-expose-headers"].to_str().unwrap().contains("etag"));
        let asked = client
            .request(reqwest::Method::OPTIONS, server.url("/messages"))
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type,if-none-match");
        let answer = asked.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        let allowed = answer.headers()["access-control-allow-headers"].to_str().unwrap();
        assert!(allowed.contains("content-type") && allowed.contains("if-none-match"), "{allowed}");
        assert!(answer.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    }
}

#[tokio::test]
async fn where_no_origin_is_named_the_answers_stay_lean() {
    let server = TestServer::start("");
    let cursor = server.publish("hi").await;
    for path in ["/short-poll".to_owned(), format!("/short-poll?after={cursor}"), "/long-poll".to_owned()] {
        let answer = server.get(&path).await;
        let mut names: Vec<&str> = answer.headers.keys().map(reqwest::header::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "content-length", "content-type", "date", "etag"], "{path}");
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_not_json_is_415() {
    let server = TestServer::start("");
    let post = |kind: &'static str| {
        reqwest::Client::new().post(server.url("/messages")).header("Content-Type", kind).body(DRAFT)
    };
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data"] {
        let answer = post(kind).send().await.unwrap();
        assert_eq!(answer.status(), 415, "{kind}");
        let body = answer.text().await.unwrap();
        assert!(body.contains("application/json") && body.contains(kind), "{body}");
    }
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(post(kind).send().await.unwrap().status(), 201, "{kind}");
    }
}

#[tokio::test]
async fn a_request_has_one_host() {
    let server = TestServer::start("");
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let answer = ask(&server, &format!("GET /short-poll HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_eq!(answer.status, 400, "{hosts:?}");
        assert!(answer.body.contains(r#""parameter":"Host""#), "{}", answer.body);
    }
    assert_eq!(ask(&server, "GET /short-poll HTTP/1.0\r\n\r\n").await.status, 200);
}
