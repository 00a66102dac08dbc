//! The demo pages, in a real browser.

use std::net::SocketAddr;
use std::process::Stdio;

use reqwest::Client;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::browser::{Browser, Tab};
use crate::helper::TestServer;

const BOTH: [&str; 2] = ["/short-poll.html", "/ws.html"];
const NEW_EPOCH: &str =
    "The room has started anew, with a new server or after a long rest. What had not arrived before is lost.";

#[tokio::test]
async fn two_short_polling_tabs_in_one_room_see_each_others_messages_once_and_in_order() {
    two_tabs_see_each_others_messages("/short-poll.html", "/short-poll.html").await;
}

#[tokio::test]
async fn two_websocket_tabs_in_one_room_see_each_others_messages_once_and_in_order() {
    two_tabs_see_each_others_messages("/ws.html", "/ws.html").await;
}

#[tokio::test]
async fn a_short_polling_tab_and_a_websocket_tab_see_each_others_messages() {
    two_tabs_see_each_others_messages("/short-poll.html", "/ws.html").await;
}

async fn two_tabs_see_each_others_messages(one: &str, other: &str) {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let ann = browser.open(&server.url(&format!("{one}?room=tea&name=ann"))).await;
    let bob = browser.open(&server.url(&format!("{other}?room=tea&name=bob"))).await;
    let mut said = Vec::new();
    for [from_ann, from_bob] in [["1", "2"], ["3", "4"]] {
        for (tab, text) in [(&ann, from_ann), (&bob, from_bob)] {
            tab.send(text).await;
            said.push(text);
            ann.lists(&said).await;
            bob.lists(&said).await;
        }
    }
    // Three at once keep their order too.
    for text in ["5", "6", "7"] {
        ann.send(text).await;
        said.push(text);
    }
    bob.lists(&said).await;
    ann.lists(&said).await;
    ann.until("#pending li", <[_]>::is_empty).await;
    assert_eq!(bob.texts("#messages bdi").await, ["ann", "bob", "ann", "bob", "ann", "ann", "ann"]);
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_hostile_text_and_a_hostile_name_are_shown_as_text() {
    let hostile = "<img src=x onerror=alert(1)>";
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tabs = open_both(&browser, &server, "?room=h").await;
    for tab in &tabs {
        tab.fill("#name", hostile).await;
        tab.send(hostile).await;
    }
    for tab in &tabs {
        tab.lists(&[hostile, hostile]).await;
        assert_eq!(tab.texts("#messages bdi").await, [hostile, hostile]);
        assert_eq!(tab.texts("img").await, [""; 0]);
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn the_start_page_leads_to_every_technique_and_complains_of_nothing() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    for page in BOTH {
        let start = browser.open(&server.url("/")).await;
        start.click(&format!("a[href='{page}']")).await;
        start.is("open").await;
    }
    browser.open(&server.url("/stats")).await;
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn another_room_is_joined_by_its_name_and_shows_what_was_said_there() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    publish(&server, "other", 1).await;
    for tab in open_both(&browser, &server, "?room=one").await {
        tab.is("open").await;
        tab.fill("#room", "other").await;
        tab.click("#join button").await;
        tab.lists(&["1"]).await;
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_long_history_is_read_to_its_end_and_the_list_keeps_the_newest_500() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    publish(&server, "long", 1100).await;
    let newest: Vec<String> = (601..=1100).map(|n| n.to_string()).collect();
    for tab in open_both(&browser, &server, "?room=long").await {
        tab.until("#messages .text", |texts| texts == newest).await;
        tab.until("#older:not([hidden])", |texts| texts.len() == 1).await;
    }
}

#[tokio::test]
async fn a_page_that_fell_behind_the_window_says_how_many_messages_it_missed() {
    let (server, browser) = (TestServer::start("--window-messages 3"), Browser::start().await);
    let tab = browser.open(&server.url("/short-poll.html?room=w")).await;
    tab.is("open").await;
    publish(&server, "w", 1).await;
    tab.lists(&["1"]).await;
    publish(&server, "w", 10).await;
    // A poll may fall in between: however many gaps there are, they and the messages make up all that was said.
    tab.until("#messages > li", |rows| rows.last().is_some_and(|row| row.contains("counter10"))).await;
    let notes = tab.texts("#messages .note").await;
    let missed = notes.iter().map(|note| note.split_once(" messages were missed").expect("a gap").0);
    let missed: usize = missed.map(|count| count.parse::<usize>().expect("a number")).sum();
    assert_eq!(missed + tab.texts("#messages .text").await.len(), 11);
}

#[tokio::test]
async fn a_refused_room_says_why_and_is_not_asked_for_again() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    for tab in open_both(&browser, &server, &format!("?room={}", "x".repeat(65))).await {
        tab.is("refused").await;
        assert!(tab.texts("#detail").await[0].starts_with("room must be 1 to 64 characters"));
    }
}

#[tokio::test]
async fn a_refused_message_stays_in_sight_with_the_reason_until_it_is_discarded() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    for tab in open_both(&browser, &server, "?name=a%07b").await {
        tab.is("open").await;
        tab.send("hello").await;
        tab.until("#pending .refusal", |why| matches!(why, [why] if why.contains("a control character"))).await;
        tab.click("#pending button:last-child").await;
        tab.until("#pending li", <[_]>::is_empty).await;
    }
}

#[tokio::test]
async fn the_short_polling_page_comes_back_after_a_restart_and_loses_nothing_that_was_typed() {
    comes_back_after_a_restart("/short-poll.html").await;
}

#[tokio::test]
async fn the_websocket_page_comes_back_after_a_restart_and_loses_nothing_that_was_typed() {
    comes_back_after_a_restart("/ws.html").await;
}

async fn comes_back_after_a_restart(page: &str) {
    let (mut program, browser) = (Program::start(0).await, Browser::start().await);
    let tab = browser.open(&format!("http://{}{page}?room=r", program.addr)).await;
    tab.send("before").await;
    tab.lists(&["before"]).await;
    let mut shown = vec!["before"];
    for (killed, while_away) in [(false, ["a", "b"]), (true, ["c", "d"])] {
        let port = program.addr.port();
        program.end(killed).await;
        tab.is("retrying").await;
        for text in while_away {
            tab.send(text).await;
        }
        tab.until("#pending .status", |states| states == ["sending…", "sending…"]).await;
        program = Program::start(port).await;
        shown.push(NEW_EPOCH);
        shown.extend(while_away);
        tab.lists(&shown).await;
        tab.is("open").await;
        tab.until("#pending li", <[_]>::is_empty).await;
    }
}

async fn open_both<'a>(browser: &'a Browser, server: &TestServer, query: &str) -> Vec<Tab<'a>> {
    let mut tabs = Vec::new();
    for page in BOTH {
        tabs.push(browser.open(&server.url(&format!("{page}{query}"))).await);
    }
    tabs
}

/// Publishes the numbers from 1.
async fn publish(server: &TestServer, room: &str, count: usize) {
    let (http, url) = (Client::new(), server.url(&format!("/messages?room={room}")));
    for n in 1..=count {
        let body = json!({ "from": "counter", "text": n.to_string() }).to_string();
        assert_eq!(http.post(&url).body(body).send().await.expect("an answer").status(), 201);
    }
}

/// The server as a process of its own, which can be started again on the same port, and killed.
struct Program {
    child: Child,
    addr: SocketAddr,
}

impl Program {
    async fn start(port: u16) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
            .args(["--print-addr", "--exit-with-stdin", "--port", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let stdout = child.stdout.take().expect("it is piped");
        let line = BufReader::new(stdout).lines().next_line().await.expect("text").expect("the address");
        Self { child, addr: line.parse().expect("an address") }
    }

    /// Ends it, after a drain or without one.
    async fn end(mut self, killed: bool) {
        if killed {
            self.child.kill().await.expect("it can be killed");
        }
        drop(self.child.stdin.take());
        self.child.wait().await.expect("it ends");
    }
}
