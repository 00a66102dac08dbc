//! Publishing and short polling over HTTP, and what a client is told that asks for something else.

use serde_json::{Value, json};

use crate::helper::{Answer, TestServer};
use crate::raw::{Raw, RawWs, handshake};

fn message(text: &str, key: &str) -> String {
    json!({ "from": "ann", "text": text, "key": key }).to_string()
}

/// An error answer has the documented form, says what would be right, and is kept by no cache.
fn assert_refused(answer: &Answer, status: u16, parameter: Option<&str>) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let mut error = answer.json();
    let reason = error["error"]["reason"].take();
    assert!(
        reason
            .as_str()
            .is_some_and(|reason| (10..300).contains(&reason.len())),
        "{answer:?}"
    );
    assert!(
        !reason.as_str().unwrap().contains(char::is_control),
        "one line: {answer:?}"
    );
    let expected = match parameter {
        Some(parameter) => json!({ "error": { "reason": Value::Null, "parameter": parameter } }),
        None => json!({ "error": { "reason": Value::Null } }),
    };
    assert_eq!(error, expected);
}

#[tokio::test]
async fn the_data_that_the_report_links_to_stand_beside_it() {
    let server = TestServer::start("");
    let report = server.get("/report.html").await.body;
    let links = report
        .split("<a href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let links: Vec<&str> = links
        .filter(|link| !link.starts_with(['#', '/']) && !link.contains(':'))
        .collect();
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        let answer = server.get(&format!("/{link}")).await;
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(
            answer.status == 200 && kind != "application/octet-stream",
            "{link}: {} {kind}",
            answer.status
        );
    }
    assert_eq!(server.get("/comparison.json").await.json()["schema"], 4);
}

#[tokio::test]
async fn no_page_may_load_run_or_be_framed_but_what_is_its_own() {
    let server = TestServer::start("");
    let page = ["'self'", "'none'", "ws:", "wss:"].as_slice();
    // One file with its styles in it, which runs nothing.
    let report = ["'none'", "'unsafe-inline'"].as_slice();
    for (path, sources) in [
        ("/", page),
        ("/ws.html", page),
        ("/ws.js", page),
        ("/report.html", report),
    ] {
        let answer = server.get(path).await;
        let policy = answer
            .header("content-security-policy")
            .unwrap_or_else(|| panic!("{path} has a policy"));
        let rules: Vec<Vec<&str>> = policy
            .split(';')
            .map(|rule| rule.split_whitespace().collect())
            .collect();
        let rule = |name: &str| {
            rules
                .iter()
                .find(|rule| rule[0] == name)
                .unwrap_or_else(|| panic!("{path}: {name}"))
        };
        assert!(
            rules
                .iter()
                .all(|rule| rule[1..].iter().all(|source| sources.contains(source))),
            "{path}: {policy}"
        );
        assert!(
            matches!(rule("default-src")[1..], ["'self'" | "'none'"]),
            "{path}: {policy}"
        );
        assert_eq!(rule("frame-ancestors")[1..], ["'none'"], "{path}: {policy}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_published_message_is_read_by_the_next_poll_in_the_documented_bytes() {
    let server = TestServer::start("");
    let posted = server
        .post(
            "/messages?room=tea",
            r#"{"from":"ann","text":"hi \"you\""}"#,
        )
        .await;
    assert_eq!(
        (posted.status, posted.header("cache-control")),
        (201, Some("no-store"))
    );
    let cursor = posted.cursor();
    let (epoch, seq) = cursor.split_once('-').unwrap();
    assert_eq!((epoch.len(), seq), (8, "1"));
    assert!(
        epoch
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
    );
    assert_eq!(posted.body, format!(r#"{{"cursor":"{cursor}"}}"#));

    let polled = server.get("/short-poll?room=tea").await;
    assert_eq!(
        (polled.status, polled.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(
        polled.header("etag"),
        Some(format!("\"{cursor}\"").as_str())
    );
    let at = polled.json()["messages"][0]["at"].as_u64().unwrap();
    let message = format!(r#"{{"seq":1,"from":"ann","text":"hi \"you\"","at":{at}}}"#);
    assert_eq!(
        polled.body,
        format!(r#"{{"cursor":"{cursor}","messages":[{message}]}}"#)
    );
}

#[tokio::test]
async fn a_body_in_a_content_coding_is_refused_with_what_is_accepted() {
    let server = TestServer::start("");
    let body = message("hi", "k");
    let post = async |headers: &str| {
        let mut raw = Raw::connect(server.addr).await;
        let head = format!(
            "POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n{headers}",
            body.len()
        );
        raw.send(format!("{head}\r\n{body}")).await;
        raw.answer().await.expect("an answer")
    };
    for coding in [
        "gzip",
        "GZip",
        "br",
        "zstd",
        "deflate",
        "aes128gcm",
        "identity, gzip",
        "identity\r\nContent-Encoding: br",
    ] {
        let answer = post(&format!("content-encoding: {coding}\r\n")).await;
        assert_eq!(answer.status, 415, "{coding}: {answer:?}");
        assert!(
            answer.head.contains("\r\naccept-encoding: identity\r\n"),
            "{answer:?}"
        );
        assert!(
            answer.body.contains(r#""parameter":"Content-Encoding""#)
                && answer.body.contains("identity"),
            "{answer:?}"
        );
    }
    for kind in [
        "text/plain",
        "application/json\r\ncontent-type: text/plain",
        "text/plain\r\ncontent-type: application/json",
    ] {
        let answer = post(&format!("content-type: {kind}\r\n")).await;
        assert!([400, 415].contains(&answer.status), "{kind}: {answer:?}");
        assert!(
            answer.body.contains(r#""parameter":"Content-Type""#),
            "{answer:?}"
        );
        assert_eq!(
            answer.head.contains("\r\naccept: application/json\r\n"),
            answer.status == 415,
            "{answer:?}"
        );
    }
    assert_eq!(server.stats().await["published"], 0);
    for coding in ["identity", "Identity", "", "identity, identity"] {
        assert!(
            [200, 201].contains(
                &post(&format!("content-encoding: {coding}\r\n"))
                    .await
                    .status
            ),
            "{coding}"
        );
    }
}

#[tokio::test]
async fn the_same_key_again_answers_200_with_the_same_cursor_and_stores_nothing() {
    let server = TestServer::start("--retain-messages 2");
    let first = server.post("/messages", message("once", "k 1~")).await;
    let again = server
        .post("/messages", message("another body", "k 1~"))
        .await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.cursor(), again.cursor());
    assert_eq!(server.get("/short-poll").await.texts(), ["once"]);
    assert_eq!(
        server
            .post("/messages?room=other", message("elsewhere", "k 1~"))
            .await
            .status,
        201
    );

    server.publish("two").await;
    server.publish("three").await;
    let later = server
        .post("/messages", message("the key has left the window", "k 1~"))
        .await;
    assert_eq!((later.status, later.cursor().ends_with("-4")), (201, true));
}

#[tokio::test]
async fn the_same_key_with_another_message_is_told_that_the_cursor_is_the_first_ones() {
    let server = TestServer::start("");
    let first = server.post("/messages", message("on\"ce\\", "k")).await;
    assert_eq!(
        server
            .post("/messages", message("on\"ce\\", "k"))
            .await
            .body,
        first.body,
        "a mere repetition"
    );
    let mut ws = RawWs::open(server.addr, "?after=latest").await;
    ws.hello().await;
    for (from, text) in [
        ("ann", "on\"ce"),
        ("ann", "on\"ce\\ more"),
        ("bob", "on\"ce\\"),
        ("ann", ""),
    ] {
        let draft = json!({ "from": from, "text": text, "key": "k" });
        let again = server.post("/messages", draft.to_string()).await;
        assert_eq!((again.status, again.cursor()), (200, first.cursor()));
        let differs = again.json()["differs"]
            .as_str()
            .map(str::to_owned)
            .expect("it is told");
        assert!(differs.contains("not stored"), "{differs}");
        ws.say(&draft).await;
        let ack = ws.json().await;
        assert_eq!(
            ack["ack"],
            json!({ "cursor": first.cursor(), "key": "k", "differs": differs })
        );
    }
    assert_eq!(server.get("/short-poll").await.texts(), ["on\"ce\\"]);
}

#[tokio::test]
async fn a_poll_reads_what_comes_after_its_cursor() {
    let server = TestServer::start("");
    let empty = server.get("/short-poll").await;
    assert!(empty.cursor().ends_with("-0") && empty.texts().is_empty());
    let one = server.publish("one").await;
    let two = server.publish("two").await;
    for (after, texts) in [
        ("".into(), ["one", "two"].as_slice()),
        (format!("?after={}", empty.cursor()), &["one", "two"]),
        (format!("?after={one}"), &["two"]),
        (format!("?after={two}"), &[]),
        ("?after=latest".into(), &[]),
        ("?room=another".into(), &[]),
    ] {
        let polled = server.get(&format!("/short-poll{after}")).await;
        assert_eq!(
            (polled.status, polled.texts()),
            (200, texts.iter().map(|&text| text.into()).collect())
        );
        assert_eq!(
            polled.header("etag"),
            Some(format!("\"{}\"", polled.cursor()).as_str())
        );
        if !after.contains("room") {
            assert_eq!(polled.cursor(), two);
        }
    }
}

#[tokio::test]
async fn a_poll_returns_at_most_a_thousand_messages_and_the_next_goes_on() {
    let server = TestServer::start("");
    for n in 0..1001 {
        server.publish(&n.to_string()).await;
    }
    let first = server.get("/short-poll").await;
    assert_eq!(first.texts().len(), 1000);
    assert_eq!(
        server
            .get(&format!("/short-poll?after={}", first.cursor()))
            .await
            .texts(),
        ["1000"]
    );
}

#[tokio::test]
async fn only_a_poll_whose_etag_is_its_own_cursor_is_answered_304() {
    let server = TestServer::start("");
    let one = server.publish("one").await;
    let (path, etag) = (format!("/short-poll?after={one}"), format!("\"{one}\""));
    for list in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"other\", {etag}"),
    ] {
        let unchanged = server.get_unless(&path, &list).await;
        assert_eq!(
            (unchanged.status, unchanged.body.as_str()),
            (304, ""),
            "{list}"
        );
        assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
        assert_eq!(unchanged.header("cache-control"), Some("no-cache"));
    }
    for other in ["\"aaaaaaaa-1\"", "\"\"", "*", &one] {
        assert_eq!(server.get_unless(&path, other).await.status, 200, "{other}");
    }
    assert_eq!(
        server
            .get_unless("/short-poll?after=latest", &etag)
            .await
            .status,
        200,
        "no cursor was asked for"
    );
    assert_eq!(
        server.get_unless("/short-poll", &etag).await.texts(),
        ["one"]
    );

    server.publish("two").await;
    assert_eq!(server.get_unless(&path, &etag).await.texts(), ["two"]);
}

#[tokio::test]
async fn a_cursor_that_cannot_go_on_is_told_a_gap_and_reads_everything_retained() {
    let server = TestServer::start("--retain-messages 2");
    let first = server.get("/short-poll").await.cursor();
    let epoch = &first[..8];
    for n in 1..=5 {
        server.publish(&n.to_string()).await;
    }
    let gap = |reason, missed: Option<u64>| json!({ "reason": reason, "missed": missed, "cursor": format!("{epoch}-3") });
    for (cursor, gap) in [
        (first.clone(), Some(gap("window", Some(3)))),
        (format!("{epoch}-2"), Some(gap("window", Some(1)))),
        (format!("{epoch}-3"), None),
        (format!("{epoch}-6"), Some(gap("ahead", None))),
        (format!("{epoch}-{}", u64::MAX), Some(gap("ahead", None))),
        ("00000000-4".into(), Some(gap("epoch", None))),
    ] {
        let answer = server
            .get_unless(
                &format!("/short-poll?after={cursor}"),
                &format!("\"{cursor}\""),
            )
            .await;
        assert_eq!(
            (answer.status, answer.cursor()),
            (200, format!("{epoch}-5"))
        );
        assert_eq!(answer.json().get("gap"), gap.as_ref(), "{cursor}");
        assert_eq!(answer.texts(), ["4", "5"]);
    }
    assert_eq!(
        server.get("/short-poll").await.json().get("gap"),
        None,
        "a newcomer has missed nothing"
    );
}

#[tokio::test]
async fn an_empty_log_tells_a_gap_too() {
    let server = TestServer::start("");
    let answer = server
        .get_unless("/short-poll?after=00000000-0", "\"00000000-0\"")
        .await;
    let gap = json!({ "reason": "epoch", "missed": null, "cursor": answer.cursor() });
    assert_eq!((answer.status, answer.json()["gap"].clone()), (200, gap));
    assert!(answer.texts().is_empty() && answer.cursor().ends_with("-0"));
    let current = server
        .get_unless(
            "/short-poll?after=00000000-0",
            answer.header("etag").unwrap(),
        )
        .await;
    assert_eq!(
        (current.status, current.body),
        (200, answer.body),
        "a cursor that does not stand is no 304"
    );
}

#[tokio::test]
async fn polls_are_revalidated_and_nothing_else_is_stored_by_a_cache() {
    let server = TestServer::start("");
    server.publish("one").await;
    assert_eq!(
        server.get("/short-poll").await.header("cache-control"),
        Some("no-cache")
    );
    for path in ["/stats", "/healthz", "/short-poll?after=x", "/nowhere"] {
        assert_eq!(
            server.get(path).await.header("cache-control"),
            Some("no-store"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn healthz_says_who_it_is_and_stats_what_was_done() {
    let server = TestServer::start("");
    let said = server.get("/healthz").await.json();
    let instance = said["instance"].as_str().unwrap();
    let health = json!({
        "name": "transport-workbench",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "instance": instance,
    });
    assert_eq!(said, health);
    assert_eq!(server.get("/healthz").await.json(), health, "the same one");
    let other = TestServer::start("").get("/healthz").await.json();
    assert_ne!(other["instance"], instance, "another one");

    server.post("/messages", message("one", "k")).await;
    server.post("/messages", message("one", "k")).await;
    let cursor = server.get("/short-poll?after=00000000-0").await.cursor();
    server.get(&format!("/short-poll?after={cursor}")).await;
    let stats = server.stats().await;
    assert_eq!(stats["pid"], server.process());
    let counted = [
        "published",
        "duplicates",
        "deliveries",
        "batches",
        "empties",
        "gaps",
        "rooms",
    ]
    .map(|name| &stats[name]);
    assert_eq!(counted, [1; 7]);
    assert_eq!(
        (
            &stats["connections"]["refused"],
            &stats["connections"]["ws"]
        ),
        (&json!(0), &json!(0))
    );
    assert!(stats["connections"]["open"].as_u64() >= Some(1));
}

#[tokio::test]
async fn a_malformed_parameter_is_refused_by_name() {
    let server = TestServer::start("");
    for after in [
        "garbage",
        "",
        "-1",
        "NaN",
        "aaaaaaaa-NaN",
        "aaaaaaaa-18446744073709551616",
        "aaaaaaaa--1",
        "%0D%0Aa-1",
    ] {
        let answer = server.get(&format!("/short-poll?after={after}")).await;
        assert_refused(&answer, 400, Some("after"));
        assert!(answer.body.contains("EPOCH-SEQ"), "{answer:?}");
    }
    for room in [
        "",
        &"x".repeat(65),
        &"x".repeat(3_000),
        "a%00b",
        "a%0Ab",
        "a%C2%85b",
    ] {
        assert_refused(
            &server.get(&format!("/short-poll?room={room}")).await,
            400,
            Some("room"),
        );
        let published = server
            .post(&format!("/messages?room={room}"), message("hi", "k"))
            .await;
        assert_refused(&published, 400, Some("room"));
    }
    for heartbeat in ["", "20", "0s", "999ms", "601s", "-1s", "1m", "NaN", "1e18s"] {
        let query = format!("heartbeat={heartbeat}");
        let refused = server.get(&format!("/sse?{query}")).await;
        assert_refused(&refused, 400, Some("heartbeat"));
        let mut raw = Raw::connect(server.addr).await;
        raw.send(handshake(&format!("?{query}"), "", "")).await;
        let refused = raw.answer().await.expect("an answer");
        assert_eq!(refused.status, 400, "{heartbeat}");
        assert!(
            refused.body.contains(r#""parameter":"heartbeat""#),
            "{heartbeat}"
        );
    }
    assert_eq!(
        server.stats().await["rooms"],
        0,
        "nothing that was refused made a room"
    );
}

#[tokio::test]
async fn a_malformed_message_is_refused_by_the_field() {
    let server = TestServer::start("");
    let nested = format!(r#"{{"from":"ann","text":{}"#, "[".repeat(100_000));
    for (body, parameter) in [
        ("".into(), "body"),
        ("hello".into(), "body"),
        ("{\"from\":\"ann\",\"text\":\"\u{1}\"}".into(), "body"),
        (r#"{"from":"ann"}"#.into(), "body"),
        (r#"{"from":"ann","text":7}"#.into(), "body"),
        (nested, "body"),
        (json!({ "from": "", "text": "hi" }).to_string(), "from"),
        (
            json!({ "from": "x".repeat(65), "text": "hi" }).to_string(),
            "from",
        ),
        (json!({ "from": "a\nb", "text": "hi" }).to_string(), "from"),
        (
            json!({ "from": "ann", "text": "x".repeat(65_537) }).to_string(),
            "text",
        ),
        (message("hi", ""), "key"),
        (message("hi", &"k".repeat(65)), "key"),
        (message("hi", "clé"), "key"),
        (message("hi", "a\tb"), "key"),
    ] {
        assert_refused(&server.post("/messages", body).await, 400, Some(parameter));
    }
    assert_eq!(server.stats().await["published"], 0);

    let longest = "\u{1}".repeat(65_536);
    server.publish(&longest).await;
    assert_eq!(
        server
            .post("/messages", message("hi", &"~".repeat(64)))
            .await
            .status,
        201
    );
    let widest = json!({ "from": "ä".repeat(64), "text": "hi" }).to_string();
    assert_eq!(
        server
            .post(&format!("/messages?room={}", "%C3%A4".repeat(64)), widest)
            .await
            .status,
        201
    );
    let first = server.get("/short-poll").await;
    assert_eq!(
        first.texts(),
        [longest],
        "more than 128 KiB encoded: a batch of its own"
    );
    assert_eq!(
        server
            .get(&format!("/short-poll?after={}", first.cursor()))
            .await
            .texts(),
        ["hi"]
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_even_to_a_client_that_sends_first_and_reads_later() {
    let server = TestServer::start("");
    assert_refused(
        &server
            .post("/messages", message(&"x".repeat(1 << 20), "k"))
            .await,
        413,
        Some("body"),
    );
    for (head, end) in [
        ("content-length: 6291456\r\n\r\n", ""),
        (
            "transfer-encoding: chunked\r\n\r\n600000\r\n",
            "\r\n0\r\n\r\n",
        ),
    ] {
        let mut raw = Raw::connect(server.addr).await;
        raw.send(format!("POST /messages HTTP/1.1\r\nhost: test\r\n{head}"))
            .await;
        raw.send("x".repeat(6 << 20) + end).await;
        let answer = raw.answer().await.expect("an answer, not a reset");
        assert_eq!(answer.status, 413);
        assert!(answer.body.contains(r#""parameter":"body""#), "{answer:?}");
    }
}

#[tokio::test]
async fn at_the_room_cap_a_new_room_is_refused_and_the_old_ones_work_on() {
    let server = TestServer::start("--max-rooms 2");
    server.get("/short-poll?room=one").await;
    server.get("/short-poll?room=two").await;
    let refused = server
        .post("/messages?room=three", message("hi", "k"))
        .await;
    for refused in [server.get("/short-poll?room=three").await, refused] {
        assert_refused(&refused, 429, None);
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(refused.body.contains("--max-rooms"), "{refused:?}");
    }
    assert_eq!(
        server
            .post("/messages?room=one", message("hi", "k"))
            .await
            .status,
        201
    );
    assert_eq!(server.stats().await["rooms"], 2);
    assert_eq!(
        server.post("/messages", message("hi", "k")).await.status,
        201,
        "the lobby always has its place"
    );
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405_that_says_which_is_right() {
    let server = TestServer::start("");
    for path in ["/nowhere", "/..%2fCargo.toml", "/short-poll/"] {
        assert_refused(&server.get(path).await, 404, None);
        assert_refused(&server.post(path, "").await, 404, None);
    }
    for (answer, allow) in [
        (server.get("/messages").await, "POST,OPTIONS"),
        (server.post("/short-poll", "").await, "GET,HEAD"),
        (server.post("/stats", "").await, "GET,HEAD"),
        (server.post("/ws", "").await, "GET"),
        (server.post("/", "").await, "GET,HEAD"),
        (server.post("/report.html", "").await, "GET,HEAD"),
        (server.post("/source/ws.rs", "").await, "GET,HEAD"),
    ] {
        assert_refused(&answer, 405, None);
        assert_eq!(answer.header("allow"), Some(allow));
    }
}

#[tokio::test]
async fn no_path_leads_out_of_the_pages() {
    let server = TestServer::start("");
    let mut raw = Raw::connect(server.addr).await;
    for path in [
        "/source//etc/mtab",
        "//etc/mtab",
        "/source/../Cargo.toml",
        "/source/../..",
        "/../server/Cargo.toml",
        "/source/./ws.rs",
        "/source/ws/../ws.rs",
        "/source/%2e%2e/lib.rs",
        "/source/..%2flib.rs",
        "/source/..\\lib.rs",
        "/source/ws\\handshake.rs",
        "/source\\ws.rs",
        "/source/ws.rs%00.html",
        "/source/ws.rs/",
        "/source/",
        "/source",
        "//",
        "//ws.html",
        "/./ws.html",
        "/ws.html/",
    ] {
        assert_eq!(raw.get(path).await.status, 404, "{path}");
    }
    for path in ["/source/ws.rs", "/source/ws/publishing.rs", "/ws.html", "/"] {
        assert_eq!(raw.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_request_head_over_its_limit_is_refused_and_never_held() {
    let server = TestServer::start("");
    let mut raw = Raw::connect(server.addr).await;
    raw.send(format!(
        "GET /healthz HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n",
        "x".repeat(15_000)
    ))
    .await;
    assert_eq!(raw.answer().await.expect("within the limit").status, 200);
    raw.send(format!(
        "GET /healthz HTTP/1.1\r\nhost: test\r\nx: {}",
        "x".repeat(20_000)
    ))
    .await;
    assert_eq!(
        raw.answer().await.expect("an answer, not a reset").status,
        431
    );
    raw.rest().await;
}

#[tokio::test]
async fn requests_sent_in_one_go_are_answered_in_their_order() {
    let server = TestServer::start("");
    server.publish("one").await;
    let mut raw = Raw::connect(server.addr).await;
    raw.send(
        "GET /short-poll HTTP/1.1\r\nhost: test\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n",
    )
    .await;
    let (first, second) = (raw.answer().await.unwrap(), raw.answer().await.unwrap());
    assert_eq!((first.status, second.status), (200, 404));
    assert_eq!(raw.get("/healthz").await.status, 200);
}
